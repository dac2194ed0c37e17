"""Defaults with exceptions: who inherits what, what the context gives away, what is held out."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.task_cases import draw, draw_split, one, within

WIDE = make("defaults", depth=4, deeper=5, asides=3, names=16, scratchpad="valid")
BINARY = make("defaults", depth=4, deeper=5, asides=0, values=2, properties=1, names=16)
LENGTH = 2 * (2 * 5 + 3 + 2 * 3 + 3) + 3 + 6  # statements of the largest taxonomy, the question, scratchpad, answer
TINY = make("defaults", deeper=4, distractors=0, more_distractors=1, asides=0, values=2, properties=1, names=10)


def parse(task, example):
    """(edges, {node: value} by property, individual, property, scratchpad, answer), by looking at the weights."""
    written = np.flatnonzero(example.weights)
    tokens = [token - 1 for token in example.tokens.tolist()]
    asked_of, asked = tokens[written[0] - 2 : written[0]]
    pairs = [(tokens[i], tokens[i + 1]) for i in range(0, written[0] - 2, 2)]
    stated = [{} for _ in range(task.properties)]
    for node, symbol in pairs:
        if symbol >= task.names:
            assert node not in stated[(symbol - task.names) // task.values], "said once"
            stated[(symbol - task.names) // task.values][node] = (symbol - task.names) % task.values
    asked -= task.names + task.properties * task.values
    *steps, answer = (example.targets[written] - 1).tolist()
    assert (answer - task.names) // task.values == asked
    edges = [(low, high) for low, high in pairs if high < task.names]
    return edges, stated, asked_of, asked, steps[:-1], (answer - task.names) % task.values


def ancestors(edges, node):
    """The node, its class, …, the root."""
    above = dict(edges)
    assert len(above) == len(edges), "one class above each"
    path = [node]
    while path[-1] in above:
        path.append(above[path[-1]])
    return path


@given(
    depths=st.tuples(st.integers(1, 5), st.integers(1, 5)).map(sorted),
    levels=st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted),
    shares=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 3),
    others=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    binary=st.booleans(),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_nearest_class_that_states_it_decides(depths, levels, shares, others, binary, held_out, seed):
    task, asides = BINARY if binary else WIDE, 0 if binary else others[1]
    difficulty = dict(least_depth=depths[0], depth=depths[1], lowest=levels[0], highest=levels[1], held_out=held_out)
    difficulty |= dict(exceptions=shares[0], nested=shares[1], scratchpad=0.0 if binary else shares[2])
    batch = draw(task, {**difficulty, "distractors": others[0], "asides": asides}, LENGTH, 16, seed)
    for index in range(16):
        example = one(batch, index)
        edges, stated, individual, asked, steps, answer = parse(task, example)
        factors = {name: int(value) for name, value in example.factors.items()}
        path = ancestors(edges, individual)
        stating = [level for level, node in enumerate(path) if node in stated[asked]]
        level, root, depth = stating[0], len(path) - 1, len(path) - 1
        assert depths[0] <= depth <= depths[1]
        assert stating[-1] == root
        assert answer == stated[asked][path[level]] == factors["value"]
        assert (factors["level"], factors["decider"]) == (level, path[level])
        assert (factors["parent"], factors["exception"]) == (path[1], int(level < root))
        nested = shares[1] == 1 and depth > 1
        room = depth - 2 if nested else depth - 1
        allowed = range(min(levels[0], room), min(levels[1], room) + 1)
        assert level in allowed or (level == root and shares[0] < 1) or shares[1] == 0.5
        assert shares[0] != 0 or level == root
        if level < root and shares[1] != 0.5:
            values = [stated[asked][path[n]] for n in stating]
            assert len(values) == 2 + nested
            assert all(low != high for low, high in itertools.pairwise(values))
            assert len(set(values)) == len(values) or task.values == 2
        assert {ancestors(edges, node)[-1] for edge in edges for node in edge} == {path[root]}, "one taxonomy"
        wanted = path[1 : level + 1] if example.weights.sum() > 1 else []
        assert steps == wanted
        assert example.read.tolist() == np.flatnonzero(example.weights)[[-1, 0]].tolist()
        assert task.check((), example, example.targets)
    assert shares[2] == 0.5 or binary or np.all((batch.weights.sum(axis=1) > 1) == bool(shares[2]))


def statistics(task, example):
    """What can be counted without climbing."""
    edges, stated, individual, asked, _, answer = parse(task, example)
    parent = dict(edges)[individual]
    values = list(stated[asked].values())
    root = next(high for _, high in edges if high not in dict(edges))
    return [
        len(edges),
        len(values),
        sum(len(other) for other in stated),
        [low for low, _ in edges].index(individual),
        sum(high == parent for _, high in edges),
        sum(high == root for _, high in edges),
        values.index(stated[asked][root]),
        values.count(stated[asked][root]),
        len(set(values)),
        answer,
    ]


@pytest.mark.slow
def test_only_ancestry_tells_the_exceptional_individual_from_the_other():
    task, count = make("defaults", lowest=1, highest=1), 4096

    def gap(difficulty):
        batch = draw(task, difficulty, 25, count)
        table = np.array([statistics(task, one(batch, index)) for index in range(count)], float)
        exceptional = batch.factors["exception"] == 1
        means = table[exceptional].mean(axis=0) - table[~exceptional].mean(axis=0)
        return np.max(np.abs(means) / (table.std(axis=0) * 2 / np.sqrt(count) + 1e-9))

    difficulty = task.splits["train"].difficulty
    assert gap(difficulty) < 5
    assert within(np.mean(draw(task, difficulty, 25, count).factors["exception"]), 0.5, count)


def predictions(task, batch, generator):
    """Right or wrong, for each predictor that `baselines` names and each example."""
    for index in range(len(batch.tokens)):
        edges, stated, individual, asked, _, answer = parse(task, one(batch, index))
        default = stated[asked][ancestors(edges, individual)[-1]]
        own = stated[asked].get(individual, default)
        named = generator.choice([*stated[asked].values()])
        yield {
            "chance": generator.integers(task.values) == answer,
            "stated_value": named == answer,
            "root_default": default == answer,
            "own_statement": own == answer,
        }


@pytest.mark.slow
def test_baselines_match_the_predictors():
    task, generator = make("defaults", lowest=0, exceptions=0.3), np.random.default_rng(0)
    for split in ("iid", "depth", "exceptions", "nested", "counterfactual"):
        baselines = task.baselines(split)
        right = [*predictions(task, draw_split(task, split), generator)]
        for name, baseline in baselines.items():
            assert within(np.mean([r[name] for r in right]), baseline.exact, len(right)), (split, name)


@pytest.mark.slow
def test_the_default_is_a_good_guess_where_exceptions_are_rare_and_counterfactual_shows_it():
    task, generator = make("defaults", exceptions=0.05), np.random.default_rng(0)
    assert task.baselines("iid")["root_default"].exact == pytest.approx(0.95)
    assert task.baselines("counterfactual")["root_default"].exact == 0.0
    nats = 0.95 * np.log(0.95) + 0.05 * np.log(0.05 / 3)
    assert task.baselines("iid")["root_default"].logprob == pytest.approx(nats)
    right = [r["root_default"] for r in predictions(task, draw_split(task, "counterfactual", 256), generator)]
    assert not any(right)
    frequent = make("defaults", exceptions=0.9)
    assert frequent.splits["counterfactual"].difficulty["exceptions"] == 0.0
    unplanted = [r["root_default"] for r in predictions(task, draw_split(make("defaults"), "iid"), generator)]
    assert not within(np.mean(unplanted), 0.95, 2048), "at the default rate the shortcut is none"


def taxonomy(task, example):
    edges, stated, individual, asked, _, _ = parse(task, example)
    said = [(node, p, value) for p, of_p in enumerate(stated) for node, value in of_p.items()]
    return frozenset(edges), frozenset(said), individual, asked


def test_train_has_one_of_two_mates_and_iid_the_other_in_whatever_order():
    found = {
        split: {taxonomy(TINY, one(draw_split(TINY, split, 4096, seed), i)) for seed in range(2) for i in range(4096)}
        for split in ("train", "iid")
    }
    mates = {
        (
            frozenset((low ^ 1, high ^ 1) for low, high in edges),
            frozenset((n ^ 1, p, v) for n, p, v in said),
            who ^ 1,
            p,
        )
        for edges, said, who, p in found["train"]
    }
    assert not found["train"] & found["iid"]
    assert not found["train"] & mates
    assert len(found["iid"] & mates) > 200, "both halves were met"
    assert within(len(found["train"]) / sum(map(len, found.values())), 0.5, sum(map(len, found.values())))


def test_splits_do_what_they_say():
    task = make("defaults", depth=4, deeper=5, lowest=0, highest=2, names=16)
    levels = {}
    for split in ("train", "exceptions", "nested", "counterfactual", "depth"):
        batch = draw_split(task, split, 512)
        parsed = [parse(task, one(batch, index)) for index in range(512)]
        depth = np.array([len(ancestors(edges, who)) - 1 for edges, _, who, *_ in parsed])
        exceptional = batch.factors["exception"] == 1
        levels[split] = set(batch.factors["level"][exceptional].tolist())
        assert np.all((depth == batch.factors["level"]) | exceptional)
        assert set(depth.tolist()) == {"depth": {5}, "exceptions": {4}, "nested": {2, 3, 4}}.get(split, {1, 2, 3, 4})
        assert split != "counterfactual" or exceptional.all()
    assert levels["train"] == levels["nested"] == {0, 1, 2}
    assert levels["exceptions"] == {3}
    assert "nested" not in TINY.splits, "with two values, undoing an exception is the default"
    assert task.splits["distractors"].length == task.splits["train"].length + 8
    shares = make("defaults", scratchpad="shuffled", scratchpad_share=0.5).splits
    assert [shares[name].difficulty["scratchpad"] for name in ("train", "iid", "direct")] == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"names": 15}, "names must be even and in"),
        ({"deeper": 10}, "names must be even and in [24, 256]"),
        ({"highest": 2}, "highest must be a whole number in [1, 1]"),
        ({"lowest": 2}, "lowest must be"),
        ({"properties": 1}, "asides need another property"),
        ({"exceptions": 1.5}, "exceptions must be a number in [0.0, 1.0]"),
        ({"scratchpad": "long"}, "scratchpad must be one of"),
    ],
)
def test_bad_sizes_are_refused(sizes, words):
    with pytest.raises(TaskError, match=words.replace("[", r"\[")):
        make("defaults", **sizes)
