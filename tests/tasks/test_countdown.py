"""Countdown: legal solutions, all of them accepted, the sides of the hash, reserved targets, random play."""

import itertools
from collections import Counter
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, TaskError
from tasks.draw import hash_bit
from tasks.planning.take_apart import Rules, random_play, surprise
from tests.tasks.task_cases import draw as drawn
from tests.tasks.task_cases import first_by_default, one, quick_jit, within, world

SIZES = {"operands": 3, "more_operands": 4, "largest": 20, "reserved_targets": 4}
STEPS, POSTFIX = make("countdown", **SIZES), make("countdown", answer="postfix", **SIZES)
TINY = make("countdown", operands=2, more_operands=3, largest=9, reserved_targets=2, operations="+-*")
LENGTH = 4 + 2 + 12
SCORES = {task: quick_jit(task.score) for task in (STEPS, POSTFIX)}


def problems(task, split, seed=0):
    """64 problems (of TINY 2,048)."""
    return draw(task, task.splits[split].difficulty, seed)


def draw(task, difficulty, seed):
    """One compiled program a task, and one world for both ways to answer: it does not depend on them."""
    fixed = world(TINY if task is TINY else STEPS)
    return drawn(task, difficulty, LENGTH, 2048 if task is TINY else 64, seed, fixed=fixed)


def read(task, example):
    """Numbers, target and the written solution as words."""
    tokens = example.tokens.tolist()
    to = tokens.index(1 + task.largest + len(task.operations))
    sign = dict(enumerate(task.operations, 1 + task.largest))
    words = [sign.get(t, t) for t in example.targets[example.weights > 0].tolist()]
    return tokens[:to], tokens[to + 1], words


def combine(a, b, signs="+-*/", largest=20):
    """Every legal (sign, result) of a and b in this order."""
    results = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if a % b == 0 else 0}
    return [(s, r) for s, r in results.items() if s in signs and 1 <= r <= largest]


@cache
def solutions(numbers, target, signs="+-*/", largest=20):
    """All lists of steps (a, sign, b, result) that use the numbers (a sorted tuple) and end with the target."""
    if len(numbers) == 1:
        return [()] if numbers[0] == target else []
    found = []
    for i, j in itertools.permutations(range(len(numbers)), 2):
        rest = [numbers[k] for k in range(len(numbers)) if k not in (i, j)]
        for sign, result in combine(numbers[i], numbers[j], signs, largest):
            later = solutions(tuple(sorted([*rest, result])), target, signs, largest)
            found += [((numbers[i], sign, numbers[j], result), *steps) for steps in later]
    return list(dict.fromkeys(found))


@pytest.mark.slow
@pytest.mark.parametrize("task", first_by_default([STEPS, POSTFIX]), ids=["steps", "postfix"])
@given(
    operands=st.integers(2, 4),
    held_out=st.integers(0, 1),
    reserved=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_solutions_are_right(task, operands, held_out, reserved, seed):
    batch = draw(task, {"operands": operands, "held_out": held_out, "reserved": reserved}, seed)
    reserved_targets = set(world(STEPS).targets[-4:].tolist())
    for index in range(8):
        example = one(batch, index)
        numbers, target, words = read(task, example)
        assert len(numbers) == operands
        assert all(1 <= n <= task.largest for n in numbers)
        assert (target in reserved_targets) == bool(reserved)
        assert task.check((), example, example.targets)
        signs = [w for w in words if isinstance(w, str)]
        assert set(signs) <= set(task.operations)
        assert len(signs) == operands - 1
        assert SCORES[task](example, example.targets)
        if task is STEPS:
            steps = [tuple(words[i : i + 4]) for i in range(0, len(words), 4)]
            assert tuple(steps) in solutions(tuple(sorted(numbers)), target, task.operations, task.largest)
            assert not any(sign in "*/" and 1 in (a, b) for a, sign, b, _ in steps if (sign, a) != ("/", 1))
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == {
            "first_operation": task.operations.index(signs[0]),
            "last_operation": task.operations.index(signs[-1]),
            "first_number": words[0] - 1,
            "target": target - 1,
        }
        assert example.read.tolist() == [operands + 2, operands + 1 + len(words)]


def answered(task, example, words):
    token = {sign: 1 + task.largest + code for code, sign in enumerate(task.operations)}
    answer = np.full_like(example.targets, NO_ANSWER)
    answer[example.weights > 0] = [token.get(w, w) for w in words]
    return answer


def postfix_of(steps):
    """Steps as one expression; results are distinguished by the order in which they are used."""
    made = []
    for a, sign, b, result in steps:
        parts = []
        for value in (a, b):
            known = next((m for m in made if m[0] == value), None)
            if known:
                made.remove(known)
            parts.append(known[1] if known else [value])
        made.append((result, [*parts[0], *parts[1], sign]))
    return made[-1][1]


@pytest.mark.parametrize("task", first_by_default([STEPS, POSTFIX]), ids=["steps", "postfix"])
def test_every_solution_is_right_and_nothing_else(task):
    batch, generator = problems(task, "iid"), np.random.default_rng(0)
    for index in range(12):
        example = one(batch, index)
        numbers, target, words = read(task, example)
        found = solutions(tuple(sorted(numbers)), target)
        writings = [sum(steps, ()) for steps in found] if task is STEPS else [postfix_of(steps) for steps in found]
        assert task is POSTFIX or tuple(words) in writings
        for said in writings[:10]:
            if task is POSTFIX and Counter(w for w in said if isinstance(w, int)) != Counter(numbers):
                continue  # a step's result took the place of an equal number that was given
            answer = answered(task, example, list(said))
            assert task.check((), example, answer), said
            assert SCORES[task](example, answer)
        asked = np.flatnonzero(example.weights > 0)
        for _ in range(10):
            answer = example.targets.copy()
            for position in generator.choice(asked, 2, replace=False):
                answer[position] = generator.choice(example.tokens[: asked[-1]])
            verdict = task.check((), example, answer)
            assert verdict == bool(SCORES[task](example, answer))
            if task is STEPS:
                sign = dict(enumerate(task.operations, 1 + task.largest))
                assert verdict == (tuple(sign.get(t, t) for t in answer[asked].tolist()) in writings)


def test_postfix_that_is_no_expression_is_wrong():
    example = one(problems(POSTFIX, "iid"), 0)
    numbers, target, _ = read(POSTFIX, example)
    a, b, c = numbers
    for said in [[a, "+", b, c, "+"], [a, b, c, "+", a], ["+", "+", a, b, c], [a, b, "+", "+", c], [target] * 5]:
        answer = answered(POSTFIX, example, said)
        assert not POSTFIX.check((), example, answer)
        assert not SCORES[POSTFIX](example, answer)


def instances(task, split, seeds):
    found = []
    for seed in seeds:
        batch = problems(task, split, seed)
        for example in (one(batch, index) for index in range(len(batch.tokens))):
            numbers, target, _ = read(task, example)
            found.append((tuple(sorted(numbers)), target))
    return found


def test_sides_are_disjoint_whatever_the_order_and_cover_all_problems():
    train, iid = (set(instances(TINY, split, (0, 1))) for split in ("train", "iid"))
    assert not train & iid
    common = world(TINY).targets[:-2].tolist()
    pairs = itertools.combinations_with_replacement(range(1, 10), 2)
    ordered = [(p, *ab) for p in pairs for ab in (p, p[::-1])]
    possible = {(p, r) for p, a, b in ordered for _, r in combine(a, b, "+-*", 9) if r in common}
    trivial = {(p, r) for p, r in possible if p[0] == 1 and r == p[1]}  # only by multiplying by 1
    assert possible - trivial <= train | iid <= possible


def test_reserved_targets_are_never_trained_on():
    targets = {split: {t for _, t in instances(TINY, split, (0,))} for split in ("train", "iid", "operands", "targets")}
    assert targets["targets"] == set(world(TINY).targets[-2:].tolist())
    assert targets["train"] == targets["iid"] == set(world(TINY).targets[:-2].tolist())
    assert not targets["targets"] & (targets["train"] | targets["operands"])


@pytest.mark.slow
def test_spare_problems_lie_on_their_side_and_are_rarely_needed():
    for count, side in itertools.product((2, 3, 4), (0, 1)):
        postfix = np.asarray(world(STEPS).spare.postfix[count, side])
        numbers, target = postfix[postfix > 0], int(world(STEPS).spare.target[count, side])
        assert numbers.size == count
        words = np.append(numbers, STEPS.largest + target)
        assert bool(hash_bit(words, np.ones(words.size, bool), ordered=False)) == bool(side)

    def found(bits):
        return STEPS._problem(bits, world(STEPS).targets, jnp.int32(3), jnp.bool_(True), jnp.bool_(False))[1]

    assert quick_jit(jax.vmap(found))(jax.random.bits(jax.random.key(0), (8192, 23))).mean() > 0.995


def chances(numbers, target, closing=False):
    """Share of random play that ends with the target: a uniform pair, then a uniform legal result.

    If `closing`, the last of these is the target if it can be.
    """
    if closing and len(numbers) == 2:
        return float(target in [r for _, r in combine(max(numbers), min(numbers))])
    if len(numbers) == 1:
        return float(numbers[0] == target)
    shares = []
    for i, j in itertools.combinations(range(len(numbers)), 2):
        rest = [numbers[k] for k in range(len(numbers)) if k not in (i, j)]
        high, low = max(numbers[i], numbers[j]), min(numbers[i], numbers[j])
        legal = combine(high, low)
        shares.append(np.mean([chances([*rest, r], target, closing) for _, r in legal]) if legal else 0.0)
    return float(np.mean(shares))


@pytest.mark.parametrize("split", first_by_default(["iid", "operands"]))
def test_random_play_reaches_its_baseline(split):
    count = 256 if split == "iid" else 64
    batches = [problems(STEPS, split, seed) for seed in range(count // 64)]
    asked = [read(STEPS, one(batch, index))[:2] for batch in batches for index in range(64)]
    for name, closing in (("random", False), ("closing", True)):
        shares, wanted = [chances(*each, closing) for each in asked], STEPS.baselines(split)[name].exact
        assert np.mean(shares) == pytest.approx(wanted, abs=5 * np.std(shares) / count**0.5)


def test_random_play_and_its_surprise_by_hand():
    rules = Rules(20, 4, 4)
    played = random_play(rules, np.tile([[6, 3]], (4000, 1)))[:, 0]
    assert np.unique(played).tolist() == [2, 3, 9, 18]
    assert all(within(np.mean(played == value), 0.25, 4000) for value in (2, 3, 9, 18))
    assert random_play(Rules(20, 1, 3), np.array([[20, 19, 20]])).tolist() == [[0]], "sums alone come to a dead end"
    steps = np.array([[[3, 0, 4, 7], [7, 2, 2, 14]]])
    # 3 and 4: one pair of three, of 7, 1, 12 one, in one of two orders; then 7 and 2: of 9, 5, 14 one, in two orders.
    assert surprise(rules, np.array([[4, 2, 3]]), steps)[0] == pytest.approx(np.log(3 * 3 * 2 * 3 * 2))
    steps = np.array([[[5, 1, 3, 2], [2, 0, 5, 7]]])
    # Two of three pairs hold a 5 and the 3: of 8, 2, 15 one; then of 7, 3, 10 one, in two orders.
    assert surprise(rules, np.array([[5, 5, 3]]), steps)[0] == pytest.approx(np.log(3 / 2 * 3 * 3 * 2))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"operands": 1}, "operands must be a whole number in \\[2, 5\\]"),
        ({"more_operands": 3}, "more_operands must be a whole number in \\[4, 6\\]"),
        ({"largest": 7}, "largest must be"),
        ({"reserved_targets": 29}, "reserved_targets must be a whole number in \\[1, 28\\]"),
        ({"operations": "*/"}, "operations must be one of"),
        ({"answer": "prefix"}, "answer must be one of steps, postfix"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("countdown", **sizes)
