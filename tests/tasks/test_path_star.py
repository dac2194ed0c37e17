"""Path-star: the shape of the graph, no shortcut to the first hop, what is held out."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, within, world

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


@pytest.mark.parametrize("degree", first_by_default([2, 3]))
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


def lookups(example):
    """Every token that one lookup gives: (an end of the query, its first or last place, so many tokens further)."""
    asked = int(np.argmax(example.weights))
    edges = example.tokens[: asked - 1]
    found = {}
    for end in (0, 1):
        places = np.flatnonzero(edges == example.tokens[asked - 1 + end])
        for which in (0, -1):
            for step in range(-4, 5):
                place = places[which] + step
                found[end, which, step] = int(edges[place]) if 0 <= place < len(edges) else 0
    return found


def best_lookup(task, split, count=2048):
    """The largest share of first answers that one rule of `lookups` gets right."""
    batch, right = draw_split(task, split, count), Counter()
    for index in range(count):
        example = one(batch, index)
        answer = parse(example)[2][0]
        right.update(rule for rule, token in lookups(example).items() if token == answer)
    return max(right.values()) / count


@pytest.mark.parametrize("split", first_by_default(["iid", "train", "labels", "length", "degree"]))
def test_no_lookup_of_one_edge_gives_the_first_answer_at_the_default_size(split):
    """An undeclared rule above the floor would make forward path-star recall, not planning."""
    task = make("path_star")
    floor = max(baseline.exact for name, baseline in task.baselines(split).items() if name != "chance")
    assert "one_edge" in task.baselines(split)
    assert floor == 1 / task.splits[split].difficulty["degree"]
    assert best_lookup(task, split) < floor + 5 * math.sqrt(0.25 / 2048)


def test_on_paths_of_three_nodes_one_edge_is_the_answer():
    """The rule test bites: at the easy size, which has to be asked for, the edge into the goal is all there is."""
    easy = make("path_star", length=3, nodes=8)
    assert best_lookup(easy, "iid", 512) == 1.0
    assert "one_edge" not in easy.baselines("iid")  # the task itself is no trivial predictor of it
    assert "one_edge" in easy.baselines("length")
    assert "one edge answers" in easy.splits["train"].about


@pytest.mark.slow
def test_permitted_start_and_goal_pairs_are_equally_frequent():
    task = make("path_star", length=3, nodes=8)
    batch = draw_split(task, "train", 4096)
    pairs = Counter(zip(batch.factors["start"].tolist(), batch.factors["goal"].tolist(), strict=True))
    assert len(pairs) == 8 * 6
    assert all(within(count / 4096, 1 / 48, 4096) for count in pairs.values())


@pytest.mark.slow
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


@pytest.mark.parametrize("direction", first_by_default(["forward", "reverse"]))
def test_teacherless_hides_what_would_be_fed_back_and_nothing_else(direction):
    sizes = dict(degree=3, length=4, nodes=16, direction=direction)
    task, taught = make("path_star", teacherless=True, **sizes), make("path_star", **sizes)
    assert task.vocab_size == taught.vocab_size + 1
    batch, other = draw_split(task, "iid", 1024), draw_split(taught, "iid", 1024)
    fed_back = np.pad(batch.weights[:, :-1] * batch.weights[:, 1:] > 0, ((0, 0), (1, 0)))
    assert fed_back.sum() == 1024 * 2
    np.testing.assert_array_equal(batch.tokens, np.where(fed_back, 17, other.tokens))
    np.testing.assert_array_equal(batch.targets, other.targets)
    assert {split.decode_steps for split in task.splits.values()} == {1}
    assert all(split.decode_steps == split.answer_tokens for split in taught.splits.values())


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_teacherless_random_arm_guesses_all_of_the_arm_but_its_known_end(direction):
    task = make("path_star", degree=3, length=4, nodes=16, direction=direction, teacherless=True)
    batch, right, nats = draw_split(task, "iid", 1024), 0, 0.0
    for index in range(1024):
        edges, query, answer = parse(one(batch, index))
        paths = walks(edges, query[1] if direction == "forward" else query[0])
        inner = [path[1:-1] if direction == "forward" else path[-2:0:-1] for path in paths]
        guesses = [[*nodes, query[0]] for nodes in inner]  # the goal, or the start
        right += guesses[0] == answer
        nats += np.mean([math.log(np.mean([g[i] == answer[i] for g in guesses])) for i in range(3)])
    baseline = task.baselines("iid")["random_arm"]
    assert within(right / 1024, baseline.exact, 1024)
    assert nats / 1024 == pytest.approx(baseline.logprob)
    assert task.baselines("iid")["one_edge"] == (baseline.exact, pytest.approx(baseline.logprob / 2))  # n2 looked up


LEAKY = make("path_star", goal_first=0.7)


def first_edges(example):
    """(whether the goal's arm has the first edges, whether the first one out of the start is on it)."""
    edges, (_, start), answer = parse(example)
    path = [start, *answer]
    listed = [head for tail, head in edges if tail == start]
    return set(edges[: len(answer)]) == set(itertools.pairwise(path)), listed[0] == answer[0]


@pytest.mark.slow
@pytest.mark.parametrize("split", first_by_default(LEAKY.splits))
def test_goal_first_is_the_share_and_first_arm_what_it_is_worth(split):
    batch, baseline = draw_split(LEAKY, split, 2048), LEAKY.baselines(split)["first_arm"]
    arm, hop = np.array([first_edges(one(batch, index)) for index in range(2048)]).T
    share = 0.0 if split == "counterfactual" else 0.7
    assert within(arm.mean(), share, 2048) if share else not arm.any()
    assert within(hop.mean(), baseline.exact, 2048)
    degree, hops = (int(LEAKY.splits[split].difficulty[name]) for name in ("degree", "length"))
    hops -= 1
    believed = 0.7 + 0.3 * (1 / degree - 1 / math.comb(degree * hops, hops))
    logprob = np.where(hop, math.log(believed), math.log((1 - believed) / (degree - 1))) / hops
    assert logprob.mean() == pytest.approx(baseline.logprob, abs=5 * float(logprob.std()) / math.sqrt(2048))
    # The control bites: a shortcut reaches more than a guess wherever the list leaks, and less where it doesn't.
    assert (baseline.exact > 1 / degree) == (split != "counterfactual")


@pytest.mark.parametrize("goal_first", [0.0, 1.0])
def test_goal_first_moves_edges_only_and_leaves_no_graph_out(goal_first):
    difficulty = dict(degree=2, length=3, held_out=0, unseen_labels=0)
    batch = draw(make("path_star"), difficulty, 11, 2048)
    leaky = draw(LEAKY, {**difficulty, "goal_first": goal_first}, 11, 2048)
    arms = Counter()
    for index in range(2048):
        before, after = one(batch, index), one(leaky, index)
        assert graph(before) == graph(after)
        assert parse(before)[1:] == parse(after)[1:]
        assert first_edges(after)[0] == bool(goal_first)
        edges, _, answer = parse(after)
        arms[tuple(edge[1] in answer for edge in edges)] += 1
    # Which slots the goal's arm has: any two but the first, which by chance are those of the other arm instead.
    expected = {slots: 1 / 6 for slots in arms} | {(False, False, True, True): 1 / 3}
    assert len(arms) == (1 if goal_first else 5)
    assert goal_first or all(within(count / 2048, expected[slots], 2048) for slots, count in arms.items())


def test_bad_leaks_are_refused_in_a_sentence():
    with pytest.raises(TaskError, match=r"goal_first must be a number in \[0.0, 0.99\]"):
        make("path_star", goal_first=1.0)
    with pytest.raises(TaskError, match="teacherless must be True or False"):
        make("path_star", teacherless=1)
    assert "counterfactual" not in make("path_star").splits
