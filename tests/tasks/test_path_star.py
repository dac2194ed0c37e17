"""Path-star: the shape of the graph, no shortcut to the first hop, what is held out."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import make
from tests.tasks.task_cases import draw, draw_split, one, within, world

NODES = 14
TASKS = {direction: make("path_star", nodes=NODES, direction=direction) for direction in ("forward", "reverse")}
SIZES = [(d, n) for d in range(2, 7) for n in range(3, 8) if d * (n - 1) < NODES]
LENGTH = max(2 * d * (n - 1) + n for d, n in SIZES)


def parse(example):
    """(edges in order, query's last two tokens, answer), by looking at the weights only."""
    asked = np.flatnonzero(example.weights)
    tokens = example.tokens.tolist()
    edges = list(zip(tokens[: asked[0] - 1 : 2], tokens[1 : asked[0] - 1 : 2], strict=True))
    return edges, tokens[asked[0] - 1 : asked[0] + 1], example.targets[asked].tolist()


def walks(edges, start):
    """All maximal paths from the start, by following edges."""
    following = {}
    for tail, head in edges:
        following.setdefault(tail, []).append(head)
    paths, done = [[start]], []
    while paths:
        path = paths.pop()
        heads = following.get(path[-1], [])
        paths += [[*path, head] for head in heads]
        done += [] if heads else [path]
    return done


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from(SIZES),
    direction=st.sampled_from(sorted(TASKS)),
    held_out=st.integers(0, 1),
    unseen=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_is_a_star_with_one_arm_to_the_goal(size, direction, held_out, unseen, seed):
    (degree, nodes), task = size, TASKS[direction]
    difficulty = {"degree": degree, "length": nodes, "held_out": held_out, "unseen_labels": unseen}
    batch = draw(task, difficulty, LENGTH, 8, seed)
    for index in range(8):
        example = one(batch, index)
        edges, query, answer = parse(example)
        start, goal = query[::-1] if direction == "forward" else query
        paths = walks(edges, start)
        assert len(edges) == degree * (nodes - 1)
        assert len({label for edge in edges for label in edge}) == len(edges) + 1
        assert sorted(map(len, paths)) == [nodes] * degree
        (path,) = [path for path in paths if path[-1] == goal]
        assert answer == (path[1:] if direction == "forward" else path[-2::-1])
        labels = [label - 1 for label in path]
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == dict(first_hop=labels[1], before_goal=labels[-2], goal=labels[-1], start=labels[0])
        assert example.read.tolist() == np.flatnonzero(example.weights)[[0, -1]].tolist()
        assert (world(task).unseen_goal[labels[0]] == labels[-1]) == bool(unseen)
        assert task.check((), example, example.targets)


def graph(example):
    edges, query, _ = parse(example)
    return frozenset(edges), tuple(query)


@pytest.mark.parametrize("degree", [2, 3])
def test_held_out_graphs_occur_in_no_edge_order(degree):
    """5,760 and 268,800 graphs: the sample meets most of the first, and would often meet the same one of the others."""
    task = make("path_star", degree=degree, length=3, nodes=10 if degree == 3 else 8)
    train, iid = (
        {graph(one(draw_split(task, split, 4096, seed), i)) for seed in range(3) for i in range(4096)}
        for split in ("train", "iid")
    )
    assert not train & iid
    if degree == 2:
        permitted = 8 * 6 * math.perm(6, 3)  # starts, goals but one, the other three nodes
        assert 0.9 * permitted < len(train | iid) <= permitted
        assert within(len(train) / len(train | iid), 0.5, len(train | iid))


def test_there_is_no_shortcut_to_the_first_hop():
    """Neither labels nor positions tell the arms apart; without that 1/degree is not the floor."""
    task = make("path_star", degree=2, length=3, nodes=8)
    for split in ("train", "iid"):
        batch = draw_split(task, split, 4096)
        smaller, slots = 0, Counter()
        for index in range(4096):
            edges, (_, start), answer = parse(one(batch, index))
            hops = [head for tail, head in edges if tail == start]
            smaller += answer[0] == min(hops)
            slots[edges.index((start, answer[0]))] += 1
        assert within(smaller / 4096, 0.5, 4096)
        assert all(within(slots[slot] / 4096, 0.25, 4096) for slot in range(4))


def test_permitted_start_and_goal_pairs_are_equally_frequent():
    task = make("path_star")
    batch = draw_split(task, "train", 4096)
    pairs = Counter(zip(batch.factors["start"].tolist(), batch.factors["goal"].tolist(), strict=True))
    assert len(pairs) == 8 * 6
    assert all(within(count / 4096, 1 / 48, 4096) for count in pairs.values())


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("split", ["iid", "length", "degree"])
def test_random_arm_baseline_matches_a_simulation(direction, split):
    task, generator = make("path_star", direction=direction), np.random.default_rng(0)
    batch, right, nats = draw_split(task, split, 2048), 0, 0.0
    for index in range(2048):
        edges, query, answer = parse(one(batch, index))
        paths = walks(edges, query[1] if direction == "forward" else query[0])
        guesses = [path[1:] if direction == "forward" else path[-2::-1] for path in paths]
        right += guesses[generator.integers(len(guesses))] == answer
        nats += math.log(np.mean([guess[0] == answer[0] for guess in guesses])) / len(answer)
    baseline = task.baselines(split)["random_arm"]
    assert within(right / 2048, baseline.exact, 2048)
    assert nats / 2048 == pytest.approx(baseline.logprob)
