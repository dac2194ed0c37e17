"""Blocks world: states, distances, the exact partition, optimal plans and trivial policies."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, TaskError
from tasks.planning.blocksworld import _distances_to, _moved, _towers
from tasks.planning.domains import blocks_world
from tasks.planning.state_space import IID, STRUCTURE, TRAIN
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, scorer, within

PLAN = make("blocksworld")
NEXT = make("blocksworld", blocks=3, more_blocks=4, names=5, farthest=1, answer="next")
LENGTH = 4 * 5 + 2 + 2 * 8 - 1
SCORE = quick_jit(PLAN.score)


def towers_of(support, most):
    return _towers(dict(enumerate(support)), most)


def read(task, example):
    """Both states as {block: support} and the table's token."""
    tokens = example.tokens.tolist()
    middle = tokens.index(task.names + 2)
    assert tokens[2 * middle + 1] == task.names + 3
    start, goal = tokens[:middle], tokens[middle + 1 : 2 * middle + 1]
    return dict(zip(start[::2], start[1::2], strict=True)), dict(zip(goal[::2], goal[1::2], strict=True))


@pytest.mark.parametrize(("most", "states", "longest"), [(3, 13, 4), (4, 73, 6), (5, 501, 8)])
def test_number_of_states(most, states, longest):
    """Sets of ordered lists (A000262); from tower to tower every block but the lowest is put down and up again."""
    domain, support, _ = blocks_world(most, 0.25)
    assert len(support) == states
    assert domain.distance.max() == longest == 2 * (most - 1)


def test_distances_are_those_of_a_search_over_towers():
    domain, support, _ = blocks_world(4, 0.25)
    towers = [towers_of(s, 4) for s in support.tolist()]
    assert len(set(towers)) == 73
    for goal, name in enumerate(towers):
        distance = _distances_to(name)
        assert [distance[t] for t in towers] == domain.distance[:, goal].tolist()


@pytest.mark.parametrize("count", [3, 4])
def test_parts_are_a_partition_and_structures_are_held_out_whole(count):
    domain, support, _ = blocks_world(4, 0.25)
    towers = [towers_of(s, 4) for s in support.tolist()]
    alone = [t for t in towers if all((b,) in t for b in range(count, 4))]
    parts = []
    for part in (TRAIN, IID, STRUCTURE):
        pairs = set()
        for distance in range(1, domain.longest(count, part) + 1):
            starts, goals = domain.problems_at(count, part, distance)
            assert np.all(domain.distance[starts, goals] == distance)
            assert starts.size > 0
            pairs |= {(towers[s], towers[g]) for s, g in zip(starts, goals, strict=True)}
        parts.append(pairs)
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(alone) * (len(alone) - 1)
    assert 0.2 < len(parts[IID]) / (len(parts[IID]) + len(parts[TRAIN])) < 0.3
    names = [dict(enumerate([*p, *range(count, 4)])) for p in itertools.permutations(range(count))]

    def renamings(pair):
        return {tuple(frozenset(tuple(name[b] for b in t) for t in state) for state in pair) for name in names}

    assert all(renamings(pair) <= parts[STRUCTURE] for pair in parts[STRUCTURE])
    assert np.mean([bool(renamings(pair) & parts[TRAIN]) for pair in parts[IID]]) > 0.5


@given(
    blocks=st.integers(2, 5),
    nearest=st.integers(1, 8),
    span=st.integers(0, 7),
    part=st.sampled_from([TRAIN, IID, STRUCTURE]),
    seed=st.integers(0, 2**31 - 1),
)
def test_plans_are_optimal_and_factors_true(blocks, nearest, span, part, seed):
    domain = PLAN._domain
    if blocks == 2 and part == STRUCTURE:
        nearest, span = 1, 0  # two blocks, two moves: one structure only
    farthest = min(nearest + span, 8)
    difficulty = {"blocks": blocks, "nearest": nearest, "farthest": farthest, "part": part}
    batch = draw(PLAN, difficulty, LENGTH, 8, seed)
    expected = {int(domain.closest[blocks, part, d]) for d in range(nearest, farthest + 1)}
    for index in range(8):
        example = one(batch, index)
        start, goal = read(PLAN, example)
        assert list(start) == list(goal) == sorted(start)
        assert len(start) == blocks
        distance = _distances_to(_towers(goal, PLAN.names + 1))[_towers(start, PLAN.names + 1)]
        moves = example.targets[example.weights > 0]
        assert distance in expected
        assert moves.size == 2 * distance
        assert PLAN.check((), example, example.targets)
        assert SCORE(example, example.targets)

        def settled(block, start=start, goal=goal):
            below = start[block]
            return below == goal[block] and (below not in start or settled(below))

        misplaced = sum(not settled(block) for block in start)
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == {"distance": distance, "block": moves[0] - 1, "misplaced": misplaced}
        assert example.read.tolist() == [4 * blocks + 1, 4 * blocks + 2 * distance]


def random_walk(task, example, generator, prefers):
    """An answer of random preferred moves, or of legal ones where none is preferred."""
    start, goal = read(task, example)
    table, asked = task.names + 1, np.flatnonzero(example.weights > 0)
    state, said = _towers(start, table), []
    for _ in range(asked.size // 2):
        tops = [t[-1] for t in state]
        legal = [(b, t) for b in tops for t in (*tops, None) if _moved(state, b, t) is not None]
        best = [m for m in legal if prefers(goal, m[0], table if m[1] is None else m[1], table)] or legal
        block, target = best[generator.integers(len(best))]
        state = _moved(state, block, target)
        said += [block, table if target is None else target]
    answer = np.full_like(example.targets, NO_ANSWER)
    answer[asked] = said
    return answer


@pytest.mark.parametrize(("task", "split"), first_by_default([(NEXT, "distance"), (PLAN, "train")]))
@pytest.mark.parametrize(
    ("name", "prefers"),
    [
        ("legal", lambda goal, block, target, table: True),
        ("unstack", lambda goal, block, target, table: target == table),
        ("greedy", lambda goal, block, target, table: goal[block] == target),
    ],
)
def test_policies_reach_their_baselines_and_score_agrees_with_check(task, split, name, prefers):
    batch, generator, count = draw_split(task, split), np.random.default_rng(0), 400
    score = scorer(task)
    examples = [one(batch, index) for index in range(count)]
    answers = [random_walk(task, example, generator, prefers) for example in examples]
    right = [task.check((), e, a) for e, a in zip(examples, answers, strict=True)]
    scored = [bool(score(e, a)) for e, a in zip(examples[:100], answers[:100], strict=True)]
    assert scored == right[:100]
    assert within(np.mean(right), task.baselines(split)[name].exact, count)


def test_legal_logprob_is_that_of_the_targets_under_random_moves():
    batch = draw_split(NEXT, "distance")
    nats = []
    for index in range(400):
        start, _ = read(NEXT, one(batch, index))
        state = _towers(start, NEXT.names + 1)
        tops = [t[-1] for t in state]
        nats.append(np.log(sum(_moved(state, b, t) is not None for b in tops for t in (*tops, None))) / 2)
    assert -np.mean(nats) == pytest.approx(NEXT.baselines("distance")["legal"].logprob, abs=0.03)


def test_every_optimal_move_is_drawn():
    """Questions that repeat in a sample are answered in different ways."""
    batch = draw_split(PLAN, "train")
    first = {}
    for index in range(2048):
        example = one(batch, index)
        ask = int(example.read[0])
        first.setdefault(example.tokens[: ask + 1].tobytes(), set()).add(tuple(example.targets[ask : ask + 2].tolist()))
    assert max(map(len, first.values())) > 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"blocks": 5}, "blocks must be a whole number in \\[3, 4\\]"),
        ({"more_blocks": 6}, "more_blocks must be"),
        ({"names": 4}, "names must be a whole number in \\[5, 26\\]"),
        ({"farthest": 6}, "farthest must be a whole number in \\[1, 5\\]"),
        ({"farthest": 4, "answer": "next"}, "farthest must be a whole number in \\[1, 3\\]"),
        ({"held_out": 1.0}, "held_out must be"),
        ({"answer": "both"}, "answer must be one of next, plan"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("blocksworld", **sizes)
