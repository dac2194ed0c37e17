"""Graph search: lookahead as the paper defines it, several right answers, the naive shortcut, the split by question."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, PROCESS, TaskError
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, within

SIZES = {"vertices": 10, "larger": 12, "nodes": 13, "lookahead": 3, "longer": 4, "extra": 3, "naive": 0.5}
TASKS = {answer: make("graph_search", answer=answer, **SIZES) for answer in ("next", "path")}
LENGTH = 2 * (11 + 3) + 3 + 3


def parsed(example):
    """(edges, start, goal), token ids, from the tokens alone."""
    tokens = example.tokens[: np.argmax(example.weights > 0)].tolist()
    return [tuple(tokens[i : i + 2]) for i in range(0, len(tokens) - 2, 2)], tokens[-2], tokens[-1]


def children(edges, vertex):
    return {head for tail, head in edges if tail == vertex}


def shortest_paths(edges, start, goal):
    """All of them, without the start."""
    paths = [[start]]
    while paths:
        found = [path[1:] for path in paths if path[-1] == goal]
        if found:
            return found
        paths = [[*path, child] for path in paths for child in children(edges, path[-1])]
    return []


def papers_lookahead(edges, start, following, goal):
    """Breadth-first search from the start, every vertex marked with the child of the start it was reached through."""
    frontier, seen, steps = {child: child for child in children(edges, start)}, children(edges, start), 0
    while frontier and any(branch != following for branch in frontier.values()):
        steps += 1
        if goal in frontier:
            return steps
        reached = {}
        for vertex, branch in frontier.items():
            for child in children(edges, vertex) - seen:
                if branch == following or child not in reached:
                    reached[child] = branch
        seen, frontier = seen | reached.keys(), reached
    return steps


@given(
    answer=st.sampled_from(("next", "path")),
    hops=st.sampled_from([(1, 1), (1, 3), (4, 4), (2, 4)]),
    branches=st.sampled_from([2, 3]),
    vertices=st.sampled_from([9, 12]),
    extra=st.integers(0, 3),
    naive=st.integers(0, 1),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_graphs_are_what_the_difficulty_says(answer, hops, branches, vertices, extra, naive, held_out, seed):
    branches = min(branches, 11 // hops[1])
    vertices = max(vertices, 1 + branches * hops[1])
    difficulty = {"vertices": vertices, "branches": branches, "shortest": hops[0], "lookahead": hops[1], "extra": extra}
    difficulty |= {"naive": float(naive), "held_out": held_out, "scratchpad": 0.0}
    batch = draw(TASKS[answer], difficulty, LENGTH, 8, seed)
    for index in range(8):
        example = one(batch, index)
        edges, start, goal = parsed(example)
        assert len(set(edges)) == len(edges) <= vertices - 1 + extra
        if vertices > 1 + branches * hops[1] + (extra > 0):
            assert len(edges) == vertices - 1 + extra
        assert len(set(itertools.chain(*edges))) == vertices
        rank = {label: order for order, label in enumerate(topological(edges))}
        assert len(rank) == vertices, "acyclic"
        paths = shortest_paths(edges, start, goal)
        targets = example.targets[example.weights > 0].tolist()
        assert targets == (min(paths) if answer == "path" else [min(paths)[0]])
        lookahead = papers_lookahead(edges, start, targets[0], goal)
        assert example.factors["lookahead"] == lookahead
        assert example.factors["distance"] == len(paths[0]) <= hops[1]
        assert example.factors["first_hop"] == targets[0] - 1
        assert example.factors["start"] == start - 1
        assert example.factors["goal"] == goal - 1
        listed = [head for tail, head in edges if tail == start]
        assert listed[example.factors["branch"]] == targets[0]
        if not naive:
            assert lookahead == len(paths[0]) >= hops[0]
            assert len(paths) == 1
            assert len(listed) == branches
            useful = {child for child in listed if shortest_paths(edges, child, goal)}
            assert useful == {targets[0]}


def topological(edges):
    """The vertices in an order that edges follow; fewer if there is a cycle."""
    order, left = [], set(itertools.chain(*edges))
    while ready := sorted(v for v in left if not any(head == v and tail in left for tail, head in edges)):
        order += ready
        left -= set(ready)
    return order


@pytest.mark.slow
def test_every_lookahead_is_equally_often_and_the_graph_does_not_tell_the_goal():
    task = make("graph_search", vertices=10, larger=11, nodes=12, lookahead=3, longer=4, extra=3)
    batch = draw_split(task, "train")
    counts = np.bincount(batch.factors["lookahead"], minlength=4)
    assert counts[0] == 0
    assert all(within(count / 2048, 1 / 3, 2048) for count in counts[1:])
    right, wrong = [], []  # degrees of the start's children
    for index in range(600):
        edges, start, _ = parsed(one(batch, index))
        degree = {child: sum(child in edge for edge in edges) for child in children(edges, start)}
        first = int(batch.factors["first_hop"][index]) + 1
        right.append(degree.pop(first))
        wrong += degree.values()
    spread = np.sqrt((np.var(right) + np.var(wrong)) / 600)
    assert abs(np.mean(right) - np.mean(wrong)) < 4 * spread


@pytest.mark.parametrize("answer", first_by_default(["next", "path"]))
def test_every_right_answer_counts_and_no_other(answer):
    task = TASKS[answer]
    batch = draw_split(task, "naive")
    score, several = quick_jit(jax.vmap(task.score, (None, 0))), 0
    for index in range(40):
        example = one(batch, index)
        edges, start, goal = parsed(example)
        asked = np.flatnonzero(example.weights > 0)
        if answer == "next":
            right = {(child,) for child in children(edges, start) if shortest_paths(edges, child, goal)}
        else:
            right = {tuple(path) for path in shortest_paths(edges, start, goal)}
        near = sorted({v for edge in edges for v in edge})[:9]
        tried = list(right) + [g for g in itertools.product(near, repeat=len(asked)) if g not in right][:81]
        answers = np.full((100, len(example.tokens)), NO_ANSWER)
        answers[: len(tried), asked] = tried
        verdicts = np.asarray(score(jax.tree.map(jnp.asarray, example), jnp.asarray(answers, jnp.int32)))
        assert verdicts[: len(tried)].tolist() == [guess in right for guess in tried]
        assert [task.check((), example, a) for a in answers[: len(tried)]] == verdicts[: len(tried)].tolist()
        several += len(right) > 1
    assert several > 0


def question(example):
    edges, start, goal = parsed(example)
    return frozenset(edges), start, goal


def exchanged(asked):
    edges, start, goal = asked
    swap = {start: goal, goal: start}
    return frozenset((swap.get(t, t), swap.get(h, h)) for t, h in edges), goal, start


def test_mates_lie_on_opposite_sides():
    task = make("graph_search", vertices=5, larger=6, nodes=6, lookahead=1, longer=2, extra=0)
    sides = [{question(one(draw_split(task, split), i)) for i in range(2048)} for split in ("train", "iid")]
    assert not sides[0] & sides[1]
    mates = {exchanged(asked) for asked in sides[0]}
    assert not mates & sides[0]
    assert len(mates & sides[1]) > 100


def predictions(example):
    """(looks one step ahead, picks a child of the start): the chance that each is right; whether all children are."""
    edges, start, goal = parsed(example)
    options = children(edges, start)
    lucky = sum(bool(shortest_paths(edges, child, goal)) for child in options) / len(options)
    return (1.0 if goal in options else lucky), lucky


@pytest.mark.parametrize("split", first_by_default(["train", "iid", "lookahead", "naive", "balanced"]))
def test_baselines_are_what_the_predictors_reach(split):
    batch, baselines = draw_split(TASKS["next"], split), TASKS["next"].baselines(split)
    ahead, lucky = np.mean([predictions(one(batch, index)) for index in range(1000)], axis=0)
    assert within(ahead, baselines["one_step"].exact, 1000)
    assert within(lucky, baselines["random_child"].exact, 1000)
    assert baselines["chance"].logprob == pytest.approx(-math.log(13))


@pytest.mark.slow
def test_path_baselines():
    task = make("graph_search", lookahead=2, longer=3, answer="path", nodes=12)
    found = task.baselines("iid")
    assert found["chance"].exact == pytest.approx((1 / 12 + 1 / 144) / 2)
    assert found["random_child"].exact == pytest.approx(0.5)
    assert found["random_child"].logprob == pytest.approx(-math.log(2) * (1 + 1 / 2) / 2)
    assert found["one_step"].exact == pytest.approx(0.75)
    naive = [shortest_paths(*parsed(one(draw_split(task, "naive"), i))) for i in range(1000)]
    firsts = [len({path[0] for path in paths}) for paths in naive]
    options = [len(children(*parsed(one(draw_split(task, "naive"), i))[:2])) for i in range(1000)]
    assert within(np.mean(np.divide(firsts, options)), task.baselines("naive")["random_child"].exact, 1000)


def shortcut_drop(batch, counterfactual):
    """How much looking one step ahead loses where the shortcut is absent."""
    return [np.mean([predictions(one(b, i))[0] for i in range(600)]) for b in (batch, counterfactual)]


@pytest.mark.slow
def test_naive_graphs_reward_looking_one_step_ahead_and_balanced_ones_expose_it():
    task = make("graph_search", vertices=11, larger=12, nodes=13, lookahead=4, longer=5, extra=0, naive=0.9)
    chosen = task.splits["balanced"]
    train, balanced = shortcut_drop(draw_split(task, "train"), draw_split(task, "balanced"))
    assert train - balanced > 0.1
    broken = draw(task, {**chosen.difficulty, "naive": 0.9}, chosen.length)  # a split that leaves the shortcut in
    train, kept = shortcut_drop(draw_split(task, "train"), broken)
    assert train - kept < 0.05


@pytest.mark.parametrize("kind", first_by_default(["valid", "shuffled", "wrong"]))
def test_scratchpad_searches_from_the_goal_back(kind):
    task = make("graph_search", vertices=9, larger=11, nodes=12, lookahead=3, longer=4, scratchpad=kind, extra=0)
    batch, same = draw_split(task, "iid"), 0
    for index in range(200):
        example = one(batch, index)
        path = shortest_paths(*parsed(example))[0]
        steps = example.targets[example.weights == PROCESS].tolist()
        assert steps[-1] == task.vocab_size - 1, "the last step says: now the answer"
        assert example.targets[example.weights == 1].tolist() == path[:1]
        assert example.tokens[np.argmax(example.weights > 0)] == task.vocab_size - 2
        back = path[-2::-1]
        assert len(steps) - 1 == len(back)
        same += steps[:-1] == back
        if kind == "shuffled":
            assert sorted(steps[:-1]) == sorted(back)
    assert same == 200 if kind == "valid" else same < 200
    direct = draw(task, task.splits["direct"].difficulty, task.splits["iid"].length)
    assert not np.any(direct.weights == PROCESS)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"answer": "walk"}, "answer must be one of next, path"),
        ({"branches": 1}, r"branches must be a whole number in \[2, 16\]"),
        ({"longer": 2}, r"longer must be a whole number in \[3, 31\]"),
        ({"vertices": 6}, "vertices must be at least 7 for 2 branches of 3 edges"),
        ({"larger": 8}, r"larger must be a whole number in \[9, 64\]"),
        ({"nodes": 10}, r"nodes must be a whole number in \[11, 1024\]"),
        ({"extra": 6}, "extra must be at most 5 with 8 vertices"),
        ({"naive": 1.5}, r"naive must be a number in \[0.0, 1.0\]"),
        ({"scratchpad": "long"}, "scratchpad must be one of"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("graph_search", **sizes)
