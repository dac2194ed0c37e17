"""k-hop: answers by walking, exact halves, unseen pairs, scratchpads, and the leak of position in an ordered list."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import PROCESS, TaskError
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, within, world

MOST, LABELS, HOPS = 7, 9, 5
TASKS = {
    counter: make(
        "k_hop",
        nodes=6,
        more_nodes=MOST,
        labels=LABELS,
        hops=2,
        more_hops=HOPS,
        counter=counter,
        ordered=0.5,
        scratchpad="valid",
    )
    for counter in ("token", "unary")
}
LENGTH = 2 * MOST + HOPS + 2 + HOPS


def read(task, tokens, count):
    """(edges, start, k, marker) by place, labels from 0."""
    tokens = [t for t in tokens.tolist() if t]
    edges = list(zip(tokens[0 : 2 * count : 2], tokens[1 : 2 * count : 2], strict=True))
    start, rest = tokens[2 * count], tokens[2 * count + 1 :]
    markers = [task.vocab_size - 2, task.vocab_size - 1]
    place = next(i for i, t in enumerate(rest) if t in markers)
    k = rest[0] - task.labels if task.counter == "token" else place
    assert rest[:place] == ([rest[0]] if task.counter == "token" else [1 + task.labels] * k)
    return edges, start, k, rest[place]


@given(
    counter=st.sampled_from(sorted(TASKS)),
    nodes=st.integers(4, MOST),
    hops=st.tuples(st.integers(1, HOPS), st.integers(1, HOPS)),
    flags=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    ordered=st.sampled_from([0.0, 0.5, 1.0]),
    scratchpad=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_answer_is_found_by_walking(counter, nodes, hops, flags, ordered, scratchpad, seed):
    task, (low, high) = TASKS[counter], sorted(hops)
    difficulty = {
        "nodes": nodes,
        "hops_low": low,
        "hops": high,
        "held_out": flags[0],
        "unseen_labels": flags[1],
        "ordered": ordered,
        "scratchpad": scratchpad,
    }
    batch = draw(task, difficulty, LENGTH, 8, seed)
    unseen = np.asarray(world(task).unseen_answer)
    for index in range(8):
        example = one(batch, index)
        edges, start, k, marker = read(task, example.tokens, nodes)
        assert low <= k <= high
        sources, ends = zip(*edges, strict=True)
        assert len(set(sources)) == nodes
        assert set(sources) == set(ends) <= set(range(1, LABELS + 1))
        walk = [start]
        for _ in range(nodes):
            walk.append(ends[sources.index(walk[-1])])
        assert walk[nodes] == start
        assert len(set(walk)) == nodes, "one cycle, not several"
        way = [walk[i % nodes] for i in range(k + 1)]
        question = 2 * nodes + 1 + (1 if counter == "token" else k)
        thinks = marker == task.vocab_size - 2
        assert thinks or scratchpad < 1
        assert not thinks or scratchpad > 0
        expected = [*way[1:-1], task.vocab_size - 1, way[-1]] if thinks else [way[-1]]
        assert example.targets[question : question + len(expected)].tolist() == expected
        assert np.flatnonzero(example.weights).tolist() == list(range(question, question + len(expected)))
        assert example.weights[question : question + len(expected)].tolist() == [PROCESS] * (len(expected) - 1) + [1]
        assert example.read.tolist() == [question + len(expected) - 1, question]
        assert ordered < 1 or all(edges[i][1] == edges[(i + 1) % nodes][0] for i in range(nodes))
        assert {name: int(value) + (name != "hops") for name, value in example.factors.items()} == {
            "half_way": way[math.ceil(k / 2)],
            "first_hop": walk[1],
            "before_answer": way[-2],
            "answer": way[-1],
            "start": start,
            "hops": k,
        }
        if k % nodes:
            assert (unseen[start - 1] == way[-1] - 1) == bool(flags[1])
        assert task.check(world(task), example, example.targets)


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_train_and_iid_halve_the_permitted_cycles(hops):
    task = make("k_hop", nodes=4, more_nodes=5, labels=5, hops_low=1, hops=2, more_hops=3)
    unseen = np.asarray(world(task).unseen_answer)
    found = []
    for held_out in (0, 1):
        difficulty = {**task.splits["train"].difficulty, "hops_low": hops, "hops": hops, "held_out": held_out}
        batch = draw(task, difficulty, 11, 4096)
        walks = set()
        for tokens in batch.tokens:
            edges, start, *_ = read(task, tokens, 4)
            successor, walk = dict(edges), [start]
            while len(walk) < 4:
                walk.append(successor[walk[-1]])
            walks.add(tuple(walk))
        found.append(walks)
    permitted = {w for w in itertools.permutations(range(1, 6), 4) if unseen[w[0] - 1] != w[hops] - 1}
    assert not found[0] & found[1]
    assert found[0] | found[1] == permitted
    assert len(found[0]) == len(found[1])


def test_labels_split_asks_only_for_pairs_that_training_never_has():
    task = make("k_hop")
    pairs = {
        split: {(int(a), int(b)) for a, b in zip(f["start"], f["answer"], strict=True)}
        for split in ("train", "iid", "labels")
        for f in [draw_split(task, split).factors]
    }
    assert not pairs["labels"] & (pairs["train"] | pairs["iid"])
    assert len(pairs["labels"]) == task.labels
    assert len(pairs["train"]) == task.labels * (task.labels - 2)


@pytest.mark.slow
def test_edges_stand_in_uniform_order_and_every_hop_count_comes_equally_often():
    batch = draw_split(make("k_hop", hops=3), "train", 4096)
    places = np.argmax(batch.tokens[:, 0:12:2] == 1 + batch.factors["start"][:, None], axis=1)
    assert all(within(np.mean(places == place), 1 / 6, 4096) for place in range(6))
    assert all(within(np.mean(batch.factors["hops"] == k), 1 / 3, 4096) for k in (1, 2, 3))
    ends = np.argmax(batch.tokens[:, 1:12:2] == 1 + batch.factors["answer"][:, None], axis=1)
    assert all(within(np.mean((ends - places) % 6 == gap), share, 4096) for gap, share in [(0, 1 / 3), (2, 2 / 15)])


@pytest.mark.slow
@pytest.mark.parametrize("split", ["iid", "size", "hops", "counterfactual"])
def test_baselines_match_the_predictors(split):
    task = make("k_hop", hops=3, ordered=0.6)
    batch, baselines = draw_split(task, split, 4096), task.baselines(split)
    count, generator = int(task.splits[split].difficulty["nodes"]), np.random.default_rng(0)
    right = {"any_node": [], "first_hop": [], "position": []}
    for index in range(2048):
        edges, start, k, _ = read(task, batch.tokens[index], count)
        sources, ends = zip(*edges, strict=True)
        place = sources.index(start)
        answer = 1 + batch.factors["answer"][index]
        others = [n for n in sources if n not in (start, ends[place])]
        right["any_node"].append(generator.choice([n for n in sources if n != start]) == answer)
        right["first_hop"].append((ends[place] if k == 1 else generator.choice(others)) == answer)
        right["position"].append(ends[(place + k - 1) % count] == answer)
    for name, hits in right.items():
        assert within(np.mean(hits), baselines[name].exact, 2048), name
    hops = batch.factors["hops"]
    assert baselines["first_hop"].logprob == pytest.approx(-np.mean(hops > 1) * math.log(count - 2), abs=0.05)
    assert baselines["any_node"].logprob == pytest.approx(-math.log(count - 1))


@pytest.mark.slow
def test_position_answers_the_ordered_list_and_the_counterfactual_exposes_it():
    """Broken on purpose: a 'counterfactual' that kept the ordered lists would not tell the two apart."""
    task = make("k_hop", hops_low=2, hops=3, ordered=0.95)

    def by_position(difficulty):
        batch = draw(task, difficulty, task.splits["iid"].length)
        read_all = [read(task, tokens, task.nodes) for tokens in batch.tokens]
        said = [e[([x for x, _ in e].index(s) + k - 1) % len(e)][1] for e, s, k, _ in read_all]
        return np.mean(np.array(said) == 1 + batch.factors["answer"])

    exposed = task.splits["counterfactual"].difficulty
    assert by_position(task.splits["iid"].difficulty) > 0.9
    assert by_position(exposed) < 0.3
    assert by_position({**exposed, "ordered": task.ordered}) > 0.9
    assert "counterfactual" not in make("k_hop").splits
    assert task.baselines("iid")["position"].logprob > task.baselines("counterfactual")["position"].logprob


@pytest.mark.parametrize("kind", first_by_default(["valid", "shuffled", "wrong"]))
def test_scratchpad_kinds_and_direct_split(kind):
    task = make("k_hop", nodes=7, more_nodes=8, hops_low=4, hops=4, more_hops=6, scratchpad=kind, scratchpad_share=0.5)
    batch = draw_split(task, "iid")
    steps = batch.targets[:, 16:19]
    walks = []
    for tokens in batch.tokens:
        edges, node, *_ = read(task, tokens, 7)
        walks.append([node := dict(edges)[node] for _ in range(3)])
    same, sets = np.all(steps == walks, axis=1), np.all(np.sort(steps) == np.sort(walks), axis=1)
    assert np.all(batch.targets[:, 19] == task.vocab_size - 1)
    assert np.mean(same) == 1 if kind == "valid" else within(np.mean(same), {"shuffled": 1 / 6, "wrong": 0}[kind], 2048)
    assert np.all(sets) if kind != "wrong" else np.mean(sets) < 0.05
    train = draw(task, task.splits["train"].difficulty, task.splits["iid"].length)
    assert within(np.mean(np.any(train.weights == PROCESS, axis=1)), 0.5, 2048)
    direct = draw(task, task.splits["direct"].difficulty, task.splits["iid"].length)
    assert not np.any(direct.weights == PROCESS)
    assert task.splits["direct"].length == task.splits["iid"].length - 4


def test_a_fixed_number_of_hops_has_no_hops_factor_and_lists_no_solved_baseline():
    task = make("k_hop", hops_low=1, hops=1, more_hops=2)
    assert "hops" not in task.factor_sizes
    assert set(draw_split(task, "train").factors) == set(task.factor_sizes)
    assert set(task.baselines("iid")) == {"chance", "any_node"}
    assert jnp.all(draw_split(task, "train").tokens[:, 13] == 13)


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"nodes": 3}, "nodes must be a whole number in"),
        ({"more_hops": 6}, "more_hops must be less than nodes"),
        ({"hops": 4}, "more_hops must be a whole number in"),
        ({"labels": 7}, "labels must be a whole number in"),
        ({"ordered": 1.0}, "ordered must be a number in"),
        ({"counter": "binary"}, "counter must be one of"),
        ({"scratchpad": "long"}, "scratchpad must be one of"),
    ],
)
def test_bad_sizes_are_named(sizes, says):
    with pytest.raises(TaskError, match=says):
        make("k_hop", **sizes)
