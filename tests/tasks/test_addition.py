"""Addition: sums against whole numbers, carry chains, exact halves and distributions, scratchpads, baselines."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import TaskError, make
from tasks.base import NO_ANSWER, PROCESS
from tests.tasks.task_cases import draw, draw_split, one, within

MOST = 5
SIZES = dict(digits=MOST - 1, more_digits=MOST, carry_chain=1)
TASKS = {
    (base, order): make("addition", base=base, order=order, scratchpad="valid", **SIZES)
    for base, order in ((3, "plain"), (10, "reversed"), (16, "plain"))
}
LENGTH = 5 * MOST + 3


def difficulty(digits, chains, held_out=0, share=0.0, fewest=None):
    return {
        "fewest": fewest or digits,
        "digits": digits,
        "least_chain": chains[0],
        "most_chain": chains[1],
        "held_out": held_out,
        "scratchpad": share,
    }


def operands(task, example):
    """a and b as lists of digits, most significant first."""
    tokens = example.tokens.tolist()
    plus = tokens.index(task.base + 1)
    return [t - 1 for t in tokens[:plus]], [t - 1 for t in tokens[plus + 1 : 2 * plus + 1]]


def longhand(base, a, b):
    """[(digit, carry)] from the least significant place on, and the longest chain, as one adds on paper."""
    places, carry, chain, longest = [], 0, 0, 0
    for x, y in zip(reversed(a), reversed(b), strict=True):
        chain = (chain + 1 if x + y < base else 1) if x + y + carry >= base else 0
        carry, digit = divmod(x + y + carry, base)
        places.append((digit, carry))
        longest = max(longest, chain)
    return places, longest


@given(
    which=st.sampled_from(tuple(TASKS)),
    digits=st.tuples(st.integers(1, MOST), st.integers(1, MOST)).map(sorted),
    chains=st.tuples(st.integers(0, MOST), st.integers(0, MOST)).map(sorted),
    held_out=st.integers(0, 1),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_sums_chains_and_scratchpads_are_those_of_longhand(which, digits, chains, held_out, share, seed):
    task = TASKS[which]
    batch = draw(task, difficulty(digits[1], chains, held_out, share, digits[0]), LENGTH, 8, seed)
    for index in range(8):
        example = one(batch, index)
        a, b = operands(task, example)
        places, longest = longhand(task.base, a, b)
        assert digits[0] <= len(a) == len(b) <= digits[1]
        assert min(chains[0], len(a)) <= longest <= chains[1]
        assert all(0 <= d < task.base for d in a + b)
        total = sum(d * task.base**i for i, d in enumerate(a[::-1])) + sum(
            d * task.base**i for i, d in enumerate(b[::-1])
        )
        said = (example.targets[example.weights == 1] - 1).tolist()
        said = said if task.order == "plain" else said[::-1]
        assert len(said) == len(a) + 1
        assert sum(d * task.base**i for i, d in enumerate(said[::-1])) == total
        steps = (example.targets[example.weights == PROCESS] - 1).tolist()
        thinking = example.tokens[2 * len(a) + 1] == task.base + 2
        assert share == 0.5 or thinking == bool(share)
        assert steps == ([*itertools.chain(*places), task.base + 2] if thinking else [])
        assert example.factors == {"carry": places[-1][1], "chain": longest, "digits": len(a)}
        question = 2 * len(a) + 1
        assert example.read.tolist() == [question + len(steps), question, question + len(steps) + len(a)]
        assert task.check((), example, example.targets)


def turned(pair, digits):
    """b + a for a + b, as tokens."""
    return (*pair[digits + 1 :], pair[digits], *pair[:digits])


def mates(pair, digits):
    """What a sum in base 3 shares with its mates: the numbers above the last digits, and how these carry."""
    a, b = pair[:digits], pair[digits + 1 :]
    last = a[-1] + b[-1] - 2
    return *sorted([a[:-1], b[:-1]]), (last > 2) - (last < 2)


@pytest.mark.parametrize("digits", [1, 2])
def test_train_and_iid_part_the_pairs_exactly(digits):
    """Chains 0, 1, 2 together are all pairs of numbers; a half of the sums among mates, rounded up, is trained on."""
    task = TASKS[3, "plain"]
    parts = []
    for held_out in (0, 1):
        batch = draw(task, difficulty(digits, (0, 2), held_out), LENGTH, 4096)
        parts.append(set(map(tuple, batch.tokens[:, : 2 * digits + 1].tolist())))
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 9**digits
    for part in parts:
        assert {turned(pair, digits) for pair in part} == part, "b + a is a + b"
    sums = [Counter(mates(pair, digits) for pair in {min(p, turned(p, digits)) for p in part}) for part in parts]
    for of_mates in sums[0] | sums[1]:
        trained, held_out = (part[of_mates] for part in sums)
        assert trained - held_out in (0, 1)


@pytest.mark.slow
def test_natural_numbers_are_uniform_and_balanced_chains_too():
    """All chains allowed, natural pairs of numbers are uniform; balanced ones are uniform given the longest chain."""
    pairs = [([a // 3, a % 3], [b // 3, b % 3]) for a in range(9) for b in range(9)]
    chain = np.array([longhand(3, *pair)[1] for pair in pairs])
    kinds = np.array([(a[1] + b[1] >= 3) * 2 + (a[1] + b[1] == 2) for a, b in pairs])
    of_kind = [(a[0], b[0], kind) for (a, b), kind in zip(pairs, kinds.tolist(), strict=True)]
    for chains, wanted in (
        ("natural", np.full(81, 1 / 81)),
        ("balanced", 1 / 3 / np.bincount(chain)[chain]),
    ):
        task = make("addition", base=3, chains=chains, **SIZES)
        count, found = 8192, np.zeros(81)
        for held_out in (0, 1):
            batch = draw(task, difficulty(2, (0, 2), held_out), 3 * MOST + 2, count)
            digits = batch.tokens[:, [0, 1, 3, 4]] - 1
            index = (digits * [27, 9, 3, 1]) @ np.ones(4, int)
            order = np.array([a[0] * 27 + a[1] * 9 + b[0] * 3 + b[1] for a, b in pairs])
            share = np.bincount(index, minlength=81)[order] / count
            # Of three pairs that differ in the last digits only, and not in their kind, this side has so many.
            here = Counter(of_kind[i] for i in np.flatnonzero(share))
            found += share * np.array([here[kind] / 3 for kind in of_kind])
        assert found == pytest.approx(wanted, abs=5 * np.sqrt(wanted.max() / count))
        for kind in range(3):
            assert within(found[kinds == kind].sum(), wanted[kinds == kind].sum(), count)


def test_splits_hold_what_they_promise():
    task = make("addition", chains="natural", scratchpad="wrong")
    for name, digits, chains in (
        ("train", {1, 2, 3, 4, 5}, {0, 1, 2}),
        ("digits", {6, 7, 8}, {0, 1, 2}),
        ("carry", {4, 5}, {3, 4}),
    ):
        batch = draw_split(task, name)
        assert set(batch.factors["digits"].tolist()) == digits, name
        assert set(batch.factors["chain"].tolist()) == chains, name
    assert task.splits["direct"].length == 3 * 5 + 2
    example = one(draw_split(task, "iid"), 0)
    a, b = operands(task, example)
    wrong = (example.targets[example.weights == PROCESS][:-1] - 1).tolist()
    assert wrong != [*itertools.chain(*longhand(10, a, b)[0])]
    assert task.check((), example, example.targets)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "carry"])
@pytest.mark.parametrize("chains", ["natural", "balanced"])
def test_baselines_match_the_predictors_on_samples(chains, split):
    task = make("addition", base=4, digits=4, more_digits=5, carry_chain=2, chains=chains)
    count, batch, baselines = 4096, draw_split(task, split, 4096), task.baselines(split)
    right, carried = {"no_carry": 0, "all_carry": 0}, {}
    for index in range(count):
        example = one(batch, index)
        a, b = operands(task, example)
        carries = [carry for _, carry in longhand(4, a, b)[0]]
        carried.setdefault(len(a), []).append(carries)
        asked = example.weights == 1
        for name, carry in (("no_carry", 0), ("all_carry", 1)):
            below = [carry] * (len(a) - 1) + [0]
            guess = [carry, *((x + y + c) % 4 for x, y, c in zip(a, b, below, strict=True))]
            answer = np.full_like(example.targets, NO_ANSWER)
            answer[asked] = np.array(guess) + 1
            right[name] += np.array_equal(answer[asked], example.targets[asked])
    for name, hits in right.items():
        assert within(hits / count, baselines[name].exact, count), name
    nats = 0.0
    for digits, rows in carried.items():
        share = np.clip(np.mean(rows, axis=0), 1e-12, 1 - 1e-12)
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
        nats += len(rows) / count * entropy.sum() / (digits + 1)
    assert baselines["no_carry"].logprob == pytest.approx(-nats, abs=0.02)


@pytest.mark.slow
def test_one_place_is_enough_where_chains_are_short_and_fails_on_long_ones():
    """The shortcut that carry_chain=1 plants: a carry is what the pair below makes by itself."""
    task = make("addition", base=5, digits=4, more_digits=5, carry_chain=1)
    for split, expected in (("train", 1.0), ("carry", 0.0)):
        batch, right = draw_split(task, split), []
        for index in range(256):
            example = one(batch, index)
            a, b = operands(task, example)
            below = [int(x + y >= 5) for x, y in zip(a, b, strict=True)]
            guess = [below[0], *((x + y + c) % 5 for x, y, c in zip(a, b, [*below[1:], 0], strict=True))]
            right.append(guess == (example.targets[example.weights == 1] - 1).tolist())
        assert np.mean(right) == expected, split


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"order": "sideways"}, "order must be one of plain, reversed"),
        ({"chains": "long"}, "chains must be one of natural, balanced"),
        ({"base": 2}, r"base must be a whole number in \[3, 64\]"),
        ({"fewest": 6}, r"fewest must be a whole number in \[1, 5\]"),
        ({"more_digits": 5}, r"more_digits must be a whole number in \[6, 24\]"),
        ({"carry_chain": 4}, r"carry_chain must be a whole number in \[1, 3\]"),
        ({"scratchpad": "long"}, "scratchpad must be one of absent"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(TaskError, match=f"addition: {message}"):
        make("addition", **sizes)
