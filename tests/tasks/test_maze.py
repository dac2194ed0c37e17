"""Mazes: the generators' distributions against independent ones, shortest ways, the split by maze, baselines."""

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
from tasks.planning import grid
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, within

MOVES = {"up": (-1, 0), "right": (0, 1), "down": (1, 0), "left": (0, -1)}
SIZES = {"side": 3, "larger": 4, "farthest": 5, "farther": 7}
TASKS = {
    "adjacency": make("maze", **SIZES, generator="dfs", other="wilson"),
    "cells": make(
        "maze",
        **SIZES,
        generator="kruskal",
        other="percolation",
        representation="cells",
        answer="moves",
        place="corner",
    ),
}
LENGTH = 2 * (15 + 4) + 3 + 6


def parsed(task, example):
    """(set of openings as frozensets of cells, origin, target), from the tokens alone; a cell is (row, column)."""
    k = task.larger
    question = (example.tokens[: np.argmax(example.weights > 0)] - 1).tolist()
    *shown, origin, target = question
    if task.representation == "adjacency":
        assert len(shown) % 2 == 0
        openings = [frozenset({divmod(a, k), divmod(b, k)}) for a, b in zip(shown[::2], shown[1::2], strict=True)]
    else:
        first = k * k + (0 if task.answer == "path" else 4)
        said = {divmod(cell, k): shown[cell] - first for cell in range(k * k)}
        ways = [
            (cell, (cell[0] + r, cell[1] + c))
            for cell, pattern in said.items()
            for bit, (r, c) in enumerate(MOVES.values())
            if pattern < 16 and pattern >> bit & 1
        ]
        assert {(b, a) for a, b in ways} == set(ways), "both sides of a wall agree"
        openings = sorted({frozenset(way) for way in ways}, key=sorted)
    assert len(set(openings)) == len(openings)
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in map(tuple, openings))
    return set(openings), divmod(origin, k), divmod(target, k)


def flooded(openings, start):
    """Cell -> steps from the start."""
    steps, edge = {start: 0}, [start]
    for cell in edge:
        for other in {c for opening in openings if cell in opening for c in opening} - steps.keys():
            steps[other] = steps[cell] + 1
            edge.append(other)
    return steps


def walked(task, origin, answer):
    cells = [origin]
    for token in answer:
        move = list(MOVES.values())[token - 1 - task.larger**2] if task.answer != "path" else None
        step = divmod(token - 1, task.larger) if move is None else (cells[-1][0] + move[0], cells[-1][1] + move[1])
        cells.append(step)
    return cells


@given(
    name=st.sampled_from(tuple(TASKS)),
    side=st.integers(2, 4),
    other=st.integers(0, 1),
    cycles=st.integers(0, 4),
    distances=st.sampled_from([(1, 1), (1, 5), (6, 7), (1, 7)]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_mazes_are_what_the_difficulty_says(name, side, other, cycles, distances, held_out, seed):
    task = TASKS[name]
    difficulty = {"side": side, "other": other, "cycles": cycles, "nearest": distances[0], "farthest": distances[1]}
    batch = draw(task, difficulty | {"held_out": held_out}, LENGTH, 8, seed)
    for index in range(8):
        example = one(batch, index)
        openings, origin, target = parsed(task, example)
        assert len(openings) == side**2 - 1 + min(cycles, (side - 1) ** 2)
        cells = set(itertools.chain(*openings))
        for axis in (0, 1):
            assert max(c[axis] for c in cells) - min(c[axis] for c in cells) < side
        steps = flooded(openings, target)
        if not (name == "cells" and other):
            assert len(steps) == side**2, "every cell can be reached"
        way = walked(task, origin, example.targets[example.weights > 0].tolist())
        assert way[-1] == target
        assert all(frozenset(pair) in openings for pair in itertools.pairwise(way))
        distance = len(way) - 1
        assert distance == steps[origin]
        assert distance <= distances[1]
        farthest = [max(flooded(openings, end).values()) for end in (origin, target)]
        assert distance >= distances[0] or distance in farthest
        assert best_way(openings, steps, origin) == way
        ends = [sum(cell in opening for opening in openings) for cell in way[:-1]]
        factors = {factor: int(value) for factor, value in example.factors.items()}
        assert factors == {
            "first_move": list(MOVES.values()).index((way[1][0] - origin[0], way[1][1] - origin[1])),
            "distance": distance,
            "forks": int(ends[0] > 1) + sum(count > 2 for count in ends[1:]),
            "dead_ends": sum(sum(cell in opening for opening in openings) == 1 for cell in cells),
            "target": target[0] * 4 + target[1],
        }


SURE = [(side, cycles) for side in (4, 3) for cycles in (0, 1, 3) if grid.longest(side, cycles) > 4]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("other", [0, 1])
@pytest.mark.parametrize(("side", "cycles"), first_by_default(SURE))
def test_the_distance_split_is_longer_than_any_trained_way(name, other, side, cycles):
    """Each generator, at the longest distance that sizes permit."""
    task, nearest = TASKS[name], min(grid.longest(side, cycles), 7)
    difficulty = {"side": side, "other": other, "cycles": cycles, "nearest": nearest, "farthest": 7}
    for held_out in (0, 1):
        batch = draw(task, difficulty | {"held_out": held_out}, LENGTH, 512)
        assert nearest <= batch.factors["distance"].min() <= batch.factors["distance"].max() <= 7
        for index in range(4):
            openings, origin, target = parsed(task, one(batch, index))
            assert len(openings) == side**2 - 1 + cycles
            assert flooded(openings, target)[origin] >= nearest


@pytest.mark.slow
@pytest.mark.parametrize("generator", grid.GENERATORS)
def test_the_distance_split_is_out_of_distribution_at_the_default_size(generator):
    task = make("maze", generator=generator, other="dfs" if generator != "dfs" else "wilson")
    trained, batch = (draw_split(task, split, 512) for split in ("train", "distance"))
    assert trained.factors["distance"].max() == task.farthest < batch.factors["distance"].min()
    corridors = Counter(frozenset(relative(*parsed(task, one(batch, i))[:1], (), 4)[0]) for i in range(512))
    assert max(corridors.values()) < 512 / 20, "the fallback is not the rule"


def test_a_corridor_has_the_way_by_which_sizes_are_refused():
    """Breadth-first from its first cell, for every side and number of openings."""
    sizes = [(side, cycles) for side in range(2, 8) for cycles in range((side - 1) ** 2)]
    make_all = quick_jit(jax.vmap(lambda side, openings: grid.corridor(side, 8, openings)))
    side_C, cycles_C = np.array(sizes, np.int32).T
    for (side, cycles), open_4xKxK in zip(sizes, np.asarray(make_all(side_C, side_C**2 - 1 + cycles_C)), strict=True):
        openings = {
            frozenset({(r, c), (r + dr, c + dc)})
            for d, (dr, dc) in enumerate(MOVES.values())
            for r, c in zip(*np.nonzero(open_4xKxK[d]), strict=True)
        }
        steps = flooded(openings, (0, 0))
        assert len(openings) == side**2 - 1 + cycles
        assert len(steps) == side**2
        assert max(steps.values()) == grid.longest(side, cycles)
        assert [cell for cell in steps if cell[0] == 0 and sum(cell in o for o in openings) == 1] == [(0, 0)]


def best_way(openings, steps, origin):
    """The shortest way that takes the first of up, right, down, left wherever it may choose."""
    way = [origin]
    while steps[way[-1]]:
        r, c = way[-1]
        options = [(r + dr, c + dc) for dr, dc in MOVES.values()]
        way.append(next(o for o in options if {o, way[-1]} in openings and steps[o] == steps[way[-1]] - 1))
    return way


# --- the generators, against other algorithms for the same distributions


def neighbours(cell, side):
    return [
        (cell[0] + r, cell[1] + c) for r, c in MOVES.values() if 0 <= cell[0] + r < side and 0 <= cell[1] + c < side
    ]


def recursive_dfs(side, generator):
    """Randomized depth-first search with a stack of cells."""
    start = tuple(generator.integers(side, size=2).tolist())
    stack, seen, openings = [start], {start}, set()
    while stack:
        new = [cell for cell in neighbours(stack[-1], side) if cell not in seen]
        if not new:
            stack.pop()
            continue
        chosen = new[generator.integers(len(new))]
        openings.add(frozenset({stack[-1], chosen}))
        seen.add(chosen)
        stack.append(chosen)
    return frozenset(openings)


def union_find_kruskal(side, generator):
    """Pairs in random order, each opened if its cells are not connected yet."""
    cells = list(itertools.product(range(side), repeat=2))
    pairs = sorted({frozenset({cell, other}) for cell in cells for other in neighbours(cell, side)}, key=sorted)
    group, openings = {cell: cell for cell in cells}, set()
    for index in generator.permutation(len(pairs)):
        a, b = pairs[index]
        if group[a] != group[b]:
            openings.add(pairs[index])
            group = {cell: group[a] if mark == group[b] else mark for cell, mark in group.items()}
    return frozenset(openings)


@cache
def drawn_trees(generator, count=8192):
    """Trees of side 3 as frozensets of openings, from train and iid alike."""
    other = "wilson" if generator != "wilson" else "kruskal"
    task = make("maze", side=3, larger=4, farthest=1, farther=2, generator=generator, other=other, place="corner")
    found = []
    for held_out in (0, 1):
        difficulty = {**task.splits["train"].difficulty, "held_out": held_out}
        batch = draw(task, difficulty, task.splits["train"].length, count // 2, held_out)
        tokens = batch.tokens[:, :16].reshape(-1, 8, 2) - 1
        found += [frozenset(frozenset({divmod(a, 4), divmod(b, 4)}) for a, b in tree) for tree in tokens.tolist()]
    return found


def counts(trees, support):
    index = {tree: i for i, tree in enumerate(support)}
    return np.bincount([index[tree] for tree in trees], minlength=len(support))


def test_wilson_trees_are_uniform():
    trees = drawn_trees("wilson")
    support = sorted(set(trees), key=lambda tree: sorted(map(sorted, tree)))
    assert len(support) == 192, "the number of spanning trees of the 3x3 grid"
    assert set(itertools.chain(*support[0])) == set(itertools.product(range(3), repeat=2)), "in the corner, as asked"
    observed = counts(trees, support)
    chi_square = np.sum((observed - len(trees) / 192) ** 2) / (len(trees) / 192)
    assert chi_square < 191 + 5 * np.sqrt(2 * 191)


@pytest.mark.slow
@pytest.mark.parametrize(("generator", "reference"), [("dfs", recursive_dfs), ("kruskal", union_find_kruskal)])
def test_trees_are_distributed_as_by_another_algorithm(generator, reference):
    trees, random = drawn_trees(generator), np.random.default_rng(0)
    others = [reference(3, random) for _ in range(6000)]
    support = sorted(set(trees) | set(others), key=lambda tree: sorted(map(sorted, tree)))
    one_, two = counts(trees, support), counts(others, support)
    expected = (one_ + two) / (len(trees) + len(others))
    chi_square = sum(np.sum((c - expected * c.sum()) ** 2 / (expected * c.sum())) for c in (one_, two))
    assert chi_square < len(support) + 5 * np.sqrt(2 * len(support))
    uniform = np.sum((one_ - len(trees) / 192) ** 2) / (len(trees) / 192) + len(trees) / 192 * (192 - len(support))
    assert uniform > 191 + 5 * np.sqrt(2 * 191), "neither is uniform: the test sees a wrong distribution"


@pytest.mark.slow
def test_uniform_trees_stay_trees_on_the_largest_grid():
    """What rounding does over 112 rank-one changes: nothing that the growth of the tree would have to repair."""
    side = jnp.int32(8)

    def tree(key):
        pair_E = grid.uniform_tree(jax.random.uniform(key, (112,)), side, 8)
        steps = grid.from_pairs(pair_E, 8)
        grown = grid.spanning_tree(jax.random.bits(key, (6,)), side, jnp.bool_(False), steps)
        return jnp.sum(pair_E, dtype=jnp.int32), jnp.all(grown == steps)

    openings, unrepaired = quick_jit(jax.vmap(tree))(jax.random.split(jax.random.key(0), 256))
    assert np.all(np.asarray(openings) == 63)
    assert np.all(np.asarray(unrepaired))


def test_percolation_opens_walls_uniformly():
    """Each of the 12 pairs of neighbours with chance 8/12; half the mazes show it for a pair with its mirror image."""
    batch = draw_split(TASKS["cells"], "generator")
    mazes = [parsed(TASKS["cells"], one(batch, index)) for index in range(2048)]
    pairs = {frozenset({c, o}) for c in itertools.product(range(3), repeat=2) for o in neighbours(c, 3)}
    for pair in pairs:
        image = frozenset((r, 2 - c) for r, c in pair)
        share = np.mean([((pair in openings) + (image in openings)) / 2 for openings, *_ in mazes])
        assert within(share, 8 / 12, 2048)
    assert any(len(flooded(openings, target)) < 9 for openings, _, target in mazes[:200]), "parts are unreachable"


def relative(openings, ends, side, flip=False):
    """The question wherever the maze is placed; or its mirror image."""
    cells = set(itertools.chain(*openings))
    row, column = (min(c[axis] for c in cells) for axis in (0, 1))

    def moved(cell):
        across = cell[1] - column
        return cell[0] - row, side - 1 - across if flip else across

    return frozenset(frozenset(map(moved, opening)) for opening in openings), *map(moved, ends)


def test_splits_hold_different_mazes_and_mirror_images_lie_on_opposite_sides():
    task = make("maze", **SIZES, generator="wilson", other="dfs", representation="cells", answer="first")
    sides = []
    for split in ("train", "iid"):
        found = [parsed(task, one(draw_split(task, split), index)) for index in range(2048)]
        sides.append([(relative(m, ends, 3), relative(m, ends, 3, flip=True)) for m, *ends in found])
    mazes = [{q[0] for q, image in side if q[0] != image[0]} for side in sides]
    images = [{image[0] for q, image in side if q[0] != image[0]} for side in sides]
    assert len(mazes[0]) == len(mazes[1]) == (192 - symmetric()) // 2
    assert not mazes[0] & mazes[1]
    assert mazes[0] == images[1]
    own = [{q for q, image in side if q[0] == image[0]} for side in sides]
    assert len({maze for maze, *_ in own[0]}) == symmetric()
    assert not own[0] & own[1]
    assert not own[0] & {(maze, target, origin) for maze, origin, target in own[0]}


@cache
def symmetric():
    """How many mazes are their own mirror image."""
    return sum(
        tree == frozenset(frozenset((r, 2 - c) for r, c in opening) for opening in tree)
        for tree in set(drawn_trees("wilson"))
    )


@pytest.mark.parametrize("answer", first_by_default(["path", "moves", "first"]))
def test_every_right_answer_counts_and_no_other(answer):
    task = make("maze", **{**SIZES, "farthest": 2}, cycles=3, more_cycles=4, answer=answer, representation="cells")
    batch, score, several = draw_split(task, "train", 256), quick_jit(jax.vmap(task.score, (None, 0))), 0
    for index in range(40):
        example = one(batch, index)
        openings, origin, target = parsed(task, example)
        asked, steps = np.flatnonzero(example.weights > 0), flooded(openings, target)
        tokens = range(1, 17) if answer == "path" else range(17, 21)
        guesses = list(itertools.product(tokens, repeat=len(asked)))
        right = []
        for guess in guesses:
            way = walked(task, origin, guess)
            possible = all({a, b} in openings for a, b in itertools.pairwise(way))
            right.append(possible and steps[way[-1]] == steps[origin] - len(asked))
        answers = np.full((256, len(example.tokens)), NO_ANSWER)
        answers[: len(guesses), asked] = guesses
        verdicts = np.asarray(score(jax.tree.map(jnp.asarray, example), jnp.asarray(answers, jnp.int32)))
        assert verdicts[: len(guesses)].tolist() == right
        assert [task.check((), example, a) for a in answers[: len(guesses)]] == right
        several += sum(right) > 1
    assert several > 0


@pytest.mark.slow
@pytest.mark.parametrize("split", ["iid", "generator"])
def test_baselines_are_what_walkers_reach(split):
    """Simulated here by walking at random, there by summing over all walks."""

    def apart(one_cell, other):
        return sum(abs(a - b) for a, b in zip(one_cell, other, strict=True))

    task, random = TASKS["adjacency"], np.random.default_rng(1)
    batch, reached = draw_split(task, split), {"random_walk": [], "compass": []}
    for index in range(1500):
        openings, origin, target = parsed(task, one(batch, index))
        steps = flooded(openings, target)
        for name in reached:
            way = [origin]
            for _ in range(steps[origin]):
                options = [c for o in openings if way[-1] in o for c in o if c != way[-1]]
                options = [c for c in options if len(way) < 2 or c != way[-2]] or options
                nearer = [c for c in options if apart(c, target) < apart(way[-1], target)]
                options = nearer if name == "compass" and nearer else options
                way.append(options[random.integers(len(options))])
            reached[name].append(way[-1] == target)
    for name, hits in reached.items():
        assert within(np.mean(hits), task.baselines(split)[name].exact, 600)  # 1500 here, 1024 there


def test_chance_in_closed_form():
    found = TASKS["cells"].baselines("iid")["chance"]
    distance = draw_split(TASKS["cells"], "iid").factors["distance"]
    assert found.exact == pytest.approx(np.mean(0.25**distance), rel=0.2)
    assert found.logprob == pytest.approx(-np.log(4))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"generator": "prim"}, "generator must be one of dfs, kruskal, wilson, percolation"),
        ({"generator": "wilson"}, "other must be another generator than 'wilson'"),
        ({"side": 2}, r"side must be a whole number in \[3, 7\]"),
        ({"larger": 4}, r"larger must be a whole number in \[5, 8\]"),
        ({"cycles": 9}, r"cycles must be a whole number in \[0, 8\]"),
        ({"more_cycles": 0}, r"more_cycles must be a whole number in \[1, 9\]"),
        ({"farthest": 15}, r"farthest must be a whole number in \[1, 14\]"),
        ({"farther": 6}, r"farther must be a whole number in \[7, 15\]"),
        ({"cycles": 8, "more_cycles": 9}, "farthest must be at most 5 for side 4 and cycles 8, or no maze"),
        ({"answer": "cells"}, "answer must be one of path, moves, first"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("maze", **sizes)
