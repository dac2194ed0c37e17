"""Walks on a fixed map: streets and distances by hand, legal ways, forced turns, halves, baselines by enumeration."""

import itertools
from collections import deque

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, JudgedInWorld, TaskError, scored
from tasks.mixture import Mixture
from tasks.planning.street_map import arrivals, draw_map
from tests.tasks.memory_cases import factors_of
from tests.tasks.task_cases import draw, one, quick_jit, within, world

TASK = make("map_walk", side=3, farthest=3, farther=4)
LENGTH = 10  # holds a detour on the longest walk, too
FIRST_TURN = 10  # its token id; END is turn 4
LANES = ("tokens", "targets", "weights")
MAP = quick_jit(draw_map, static_argnums=1)
DIFFICULTY = {"nearest": 1, "farthest": 3, "held_out": 0, "wander": 0.5, "given": 0.5, "detour": 0.5}


def roads(fixed):
    """{(crossing, turn): the crossing after it}, after a look at every street from both ends."""
    found = {(v, d): int(to) for (v, d), to in np.ndenumerate(np.asarray(fixed.next_NxD)) if to >= 0}
    for (here, turn), after in found.items():
        assert found[after, (turn + 2) % 4] == here
        row, column = np.subtract(divmod(after, 3), divmod(here, 3))
        assert (row, column) == [(-1, 0), (0, 1), (1, 0), (0, -1)][turn]
    return found


def flooded(streets, goal):
    """Streets from every crossing to the goal."""
    found, queue = {goal: 0}, deque([goal])
    while queue:
        here = queue.popleft()
        for (start, _), after in streets.items():
            if start == here and after not in found:
                found[after] = found[here] + 1
                queue.append(after)
    return found


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_map_is_connected_and_its_distances_are_those_of_a_search(share):
    for seed in range(6):
        fixed = jax.tree.map(np.asarray, MAP(jax.random.key(seed), 3, share))
        streets = roads(fixed)
        for goal in range(9):
            found = flooded(streets, goal)
            assert [found[v] for v in range(9)] == fixed.distance_NxN[:, goal].tolist()
        assert len(streets) / 2 in {0.0: [8], 0.4: range(8, 13), 1.0: [12]}[share]
        assert sorted(fixed.label_N) == list(range(9))
        assert np.array_equal(fixed.held_out_NxN, fixed.held_out_NxN.T)
        for far in range(1, 4):
            pairs = np.triu(fixed.distance_NxN == far, 1)
            assert np.sum(pairs & fixed.held_out_NxN) == np.sum(pairs) // 2 > 0


def parsed(example, fixed):
    """(start, goal, turns given, turns due and ENDs), crossings and turns by number."""
    label = np.asarray(fixed.label_N).tolist()
    asked = np.flatnonzero(example.weights)
    start, goal = (label.index(token - 1) for token in example.tokens[:2].tolist())
    given = (example.tokens[2 : asked[0] + 1] - FIRST_TURN).tolist()
    return start, goal, given, (example.targets[asked] - FIRST_TURN).tolist()


@given(
    bounds=st.sampled_from([(1, 1), (1, 3), (2, 3), (3, 3), (4, 4)]),
    wander=st.sampled_from([0.0, 0.5, 1.0]),
    given_share=st.sampled_from([0.0, 1.0]),
    detour=st.sampled_from([0.0, 1.0]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_walks_are_legal_and_arrive_in_time(bounds, wander, given_share, detour, held_out, seed):
    fixed = jax.tree.map(np.asarray, world(TASK))
    streets = roads(fixed)
    difficulty = dict(
        nearest=bounds[0], farthest=bounds[1], wander=wander, given=given_share, detour=detour, held_out=held_out
    )
    batch = draw(TASK, difficulty, LENGTH, 8, seed)
    for example in (one(batch, index) for index in range(8)):
        start, goal, shown, due = parsed(example, fixed)
        far = flooded(streets, goal)
        way = [start]
        for turn in shown + due[: due.index(4)]:
            way.append(streets[way[-1], turn])
        assert way[-1] == goal
        assert goal not in way[:-1]
        assert set(due[due.index(4) :]) == {4}
        assert bounds[0] <= far[start] <= bounds[1]
        if far[start] <= 3:
            assert fixed.held_out_NxN[start, goal] == held_out
        forced = bool(given_share and detour and far[start] > 1)
        assert bool(shown) == bool(given_share and far[start] > 1)
        assert len(shown) + len(due) == far[start] + TASK.slack + 1 + 2 * forced
        if forced:
            before = way[len(shown) - 1]
            away = [to for (v, _), to in streets.items() if v == before and far[to] > far[before]]
            assert way[len(shown)] in away or not away
        if wander == 0:
            assert len(way) - 1 == far[start] + 2 * forced
        here, left = way[len(shown)], len(way) - 1 - len(shown)
        half = max(left // 2, 1)
        assert factors_of(example) == {
            "here": fixed.label_N[here],
            "midway": fixed.label_N[way[len(shown) + half]],
            "goal": fixed.label_N[goal],
            "row": here // 3,
            "column": here % 3,
            "distance": far[here],
        }
        asked = np.flatnonzero(example.weights)
        assert example.read.tolist() == [asked[0], asked[0] + half]


def test_any_legal_way_in_time_is_right_and_nothing_else():
    fixed, judge = world(TASK), quick_jit(lambda w, e, a: scored(TASK, w, e, a))
    streets = roads(fixed)
    batch = draw(TASK, {**DIFFICULTY, "wander": 0.0, "given": 0.0}, LENGTH, 32)
    for example in (one(batch, index) for index in range(16)):
        start, _, _, due = parsed(example, fixed)
        shortest = due[: due.index(4)]

        def verdict(turns, example=example):
            asked = np.flatnonzero(example.weights)
            answer = np.full(LENGTH, NO_ANSWER, np.int32)
            answer[asked] = FIRST_TURN + np.array([*turns, *[4] * len(asked)][: len(asked)])
            said = bool(judge(fixed, example, answer))
            assert said == TASK.check(fixed, example, answer)
            return said

        assert verdict(shortest)
        for turn in range(4):
            detour = [turn, (turn + 2) % 4, *shortest]  # there and back
            assert verdict(detour) == ((start, turn) in streets)
            assert not verdict([turn, (turn + 2) % 4, *detour]), "two turns too many"
        assert not verdict(shortest[:-1]), "stops before the goal"
        assert verdict([*shortest, 4, 0]), "what comes after END isn't judged"


def test_a_task_that_is_judged_with_its_map_is_so_in_a_mixture_and_with_a_planted_cue():
    planted = make("map_walk", side=3, farthest=3, farther=4, spurious=0.5)
    assert isinstance(planted, JudgedInWorld)
    assert not isinstance(make("copy"), JudgedInWorld)
    mixture = Mixture((("walk", TASK),))
    batch, fixed = draw(TASK, DIFFICULTY, LENGTH, 4), world(TASK)
    for example in (one(batch, index) for index in range(4)):
        cued = example._replace(**{name: np.pad(getattr(example, name), (1, 0)) for name in LANES})
        own, wrong = (np.where(example.weights > 0, turns, NO_ANSWER) for turns in (example.targets, FIRST_TURN))
        for said, right in ((own, True), (wrong, False)):
            assert bool(mixture.score("walk", example, said, fixed)) == right
            assert bool(scored(planted, fixed, cued, np.pad(said, (1, 0)))) == right


def test_forced_turns_and_given_ones_come_as_often_as_was_asked_for():
    batch = draw(TASK, {**DIFFICULTY, "nearest": 2, "given": 0.25, "detour": 0.0}, LENGTH, 4096)
    assert within(np.mean(batch.weights[:, 1] == 0), 0.25, 4096)
    far = batch.factors["distance"][batch.weights[:, 1] == 1]
    assert within(np.mean(far == 2), 0.5, len(far)), "all distances equally often"


def test_baselines_are_those_of_all_ways():
    """The chance to arrive within three turns, summed over all strings of turns."""
    fixed = jax.tree.map(np.asarray, MAP(jax.random.key(3), 3, 0.4))
    streets, found = roads(fixed), arrivals(fixed.next_NxD, 3)
    for start, goal in ((0, 8), (4, 3), (1, 1), (6, 2), (5, 4)):
        exact = dict.fromkeys(found, 0.0)
        for string in itertools.product(range(5), repeat=4):  # the last place is for END
            here, chance = start, {name: 1.0 for name in found}
            for turn in string:
                chance["chance"] /= 5
                row, column = np.subtract(divmod(goal, 3), divmod(here, 3))
                towards = {0: row < 0, 1: column > 0, 2: row > 0, 3: column < 0}
                options = {
                    "legal": [t for t in range(4) if (here, t) in streets],
                    "compass": [t for t in range(4) if towards[t]],
                }
                for name, turns in options.items():
                    if here == goal:
                        chance[name] *= turn == 4
                    else:
                        chance[name] *= turn in turns and 1 / len(turns)
                if turn == 4:
                    break
                here = streets.get((here, turn), -1)
                if here < 0:
                    break
            used = string.index(4) + 1 if 4 in string else len(string)
            if turn == 4 and here == goal and all(t == 4 for t in string[used:]):
                for name, share in chance.items():
                    exact[name] += share
        for name, share in exact.items():
            assert found[name][3, goal, start] == pytest.approx(share), (name, start, goal)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"side": 2}, r"side must be a whole number in \[3, 8\], not 2"),
        ({"farthest": 6}, r"farthest must be a whole number in \[2, 5\]"),
        ({"farther": 4}, r"farther must be a whole number in \[5, 6\]"),
        ({"wander": 1.5}, r"wander must be a number in \[0.0, 1.0\]"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("map_walk", **sizes)
