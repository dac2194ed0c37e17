"""Nested expressions: values against a recursive reader, shapes, exact halves, scratchpads, baselines."""

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import TaskError, make
from tasks.base import PROCESS
from tasks.reasoning.trees import most_operations
from tests.tasks.task_cases import draw, draw_split, one, within

SIZES = dict(depth=3, deeper=4, operations=5, more_operations=7, scratchpad="valid")
TASKS = {
    (4, "min max med sum"): make("nested_expression", modulus=10, arguments=4, **SIZES),
    (2, "sum"): make("nested_expression", kinds="sum", modulus=2, arguments=2, **SIZES),
    (3, "med max"): make("nested_expression", kinds="med max", modulus=7, arguments=3, **SIZES),
}
COUNT = 64  # one compiled sampler a task
NAMES = ("shallowest", "deepest", "fewest", "most", "held_out", "scratchpad")


def difficulty(depths, operations, held_out=0, share=0.0):
    return dict(zip(NAMES, (*depths, *operations, held_out, share), strict=True))


def some(task, chosen, seed=0):
    return draw(task, chosen, 7 * (task.arguments + 1) + 10, COUNT, seed)


def words(task, tokens):
    names = ["", *map(str, range(task.modulus)), *(f"[{kind}" for kind in task.kinds.split()), "]"]
    return [names[t] for t in itertools.takewhile(lambda t: 0 < t < len(names), tokens.tolist())]


def read(text, modulus):
    """(value, depth, values of the operations as they close, argument counts) of a list of words, consumed."""
    word = text.pop(0)
    if word.isdigit():
        return int(word), 0, [], []
    kind, values, depth, closed, arities = word[1:], [], 0, [], []
    while text[0] != "]":
        value, below, inner, counts = read(text, modulus)
        values.append(value)
        depth, closed, arities = max(depth, below), closed + inner, arities + counts
    text.pop(0)
    median = int(statistics.median(values))
    value = {"min": min(values), "max": max(values), "med": median, "sum": sum(values) % modulus}[kind]
    return value, depth + 1, [*closed, value], [*arities, len(values)]


@given(
    which=st.sampled_from(tuple(TASKS)),
    depths=st.tuples(st.integers(1, 4), st.integers(1, 4)).map(sorted),
    operations=st.tuples(st.integers(1, 7), st.integers(1, 7)).map(sorted),
    held_out=st.integers(0, 1),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_values_shapes_and_scratchpads_are_those_of_the_text(which, depths, operations, held_out, share, seed):
    task, arguments = TASKS[which], which[0]
    batch = some(task, difficulty(depths, operations, held_out, share), seed)
    for index in range(8):
        example = one(batch, index)
        text = words(task, example.tokens)
        used = len(text)
        value, depth, closed, arities = read(text, task.modulus)
        assert not text, "one expression and nothing after it"
        assert depths[0] <= depth <= depths[1]
        fitting = min(7, most_operations(arguments, depth))
        assert min(max(depth, operations[0]), fitting) <= len(closed) <= min(max(depth, operations[1]), fitting)
        assert all(2 <= count <= arguments for count in arities)
        assert example.targets[example.weights == 1].tolist() == [1 + value]
        steps = example.targets[example.weights == PROCESS].tolist()
        thinking = example.tokens[used] == task.vocab_size - 2
        assert share == 0.5 or thinking == bool(share)
        assert steps == ([*(1 + v for v in closed), task.vocab_size - 1] if thinking else [])
        factors = {name: int(found) for name, found in example.factors.items()}
        kind = task.kinds.split().index(words(task, example.tokens)[0][1:])
        assert factors.pop("innermost") in closed
        assert factors == {"value": value, "depth": depth, "operation": kind, "operations": len(closed)}
        assert example.read.tolist() == [used + len(steps), used]
        assert task.check((), example, example.targets)


def test_train_and_iid_part_the_expressions_exactly():
    """All expressions of one operation with two digits: half the first digits of each are trained on."""
    task, parts = TASKS[2, "sum"], []
    for held_out in (0, 1):
        batch = some(task, difficulty((1, 1), (1, 1), held_out))
        parts.append({tuple(words(task, tokens)) for tokens in batch.tokens})
    assert not parts[0] & parts[1]
    everything = {("[sum", a, b, "]") for a in "01" for b in "01"}
    assert parts[0] | parts[1] == everything
    assert len(parts[0]) == len(parts[1])


@pytest.mark.slow
def test_shapes_of_two_levels_are_uniform_over_places():
    """Depth 2 and two operations: the inner one is any argument of the root, and arguments number 2 to 4 alike."""
    task, count, shapes = TASKS[4, "min max med sum"], 128 * COUNT, {}
    for row in np.concatenate([some(task, difficulty((2, 2), (2, 2)), seed).tokens for seed in range(128)]):
        text = words(task, row)
        place = next(i for i, word in enumerate(text[1:]) if word.startswith("["))
        close = text.index("]")
        inner, outer = close - place - 2, len(text) - (close - place) - 1
        shapes[inner, outer, place] = shapes.get((inner, outer, place), 0) + 1
    expected = {(i, o, p): 1 / 9 / o for i in (2, 3, 4) for o in (2, 3, 4) for p in range(o)}
    assert set(shapes) == set(expected)
    assert all(within(shapes[shape] / count, share, count) for shape, share in expected.items())


def test_where_no_place_is_free_an_operation_gets_another_argument():
    """Two levels full of operations: every argument of the root is one, though arities were drawn smaller."""
    task = TASKS[3, "med max"]
    batch = some(task, difficulty((2, 2), (4, 4)))
    for tokens in batch.tokens:
        text = words(task, tokens)
        assert [word for word in text[1:-1] if word.startswith("[")] == [w for w in text if w.startswith("[")][1:]
        *_, arities = read(text, 7)
        assert len(arities) == 4
        assert arities[-1] == 3


def test_depth_and_size_splits_hold_what_they_promise():
    task = TASKS[4, "min max med sum"]
    for name, depths, operations in (
        ("train", {1, 2, 3}, {1, 2, 3, 4, 5}),
        ("depth", {4}, {4, 5}),
        ("size", {3}, {6, 7}),
    ):
        batches = [some(task, task.splits[name].difficulty, seed).factors for seed in range(4)]
        assert set(np.concatenate([b["depth"] for b in batches]).tolist()) == depths
        assert set(np.concatenate([b["operations"] for b in batches]).tolist()) == operations
    assert task.splits["direct"].length == 5 * 5 + 2


@pytest.mark.slow
def test_shuffled_scratchpads_keep_their_values():
    task = make("nested_expression", arguments=2, depth=3, deeper=4, more_operations=7, scratchpad="shuffled")
    batch, differing = draw_split(task, "iid", COUNT), 0
    for index in range(COUNT):
        example = one(batch, index)
        closed = read(words(task, example.tokens), 10)[2]
        steps = (example.targets[example.weights == PROCESS][:-1] - 1).tolist()
        assert sorted(steps) == sorted(closed)
        differing += steps != closed
    assert differing > COUNT / 4


@pytest.mark.slow
def test_baselines_match_the_predictors_on_other_samples():
    task = make("nested_expression", modulus=5, depth=2, deeper=3, operations=3, more_operations=4)
    baselines, count = task.baselines("iid"), 4096
    batch = draw_split(task, "iid", count)
    value, kind = batch.factors["value"], batch.factors["operation"]
    table = np.zeros((4, 5))
    np.add.at(table, (kind, value), 1 / count)
    assert baselines["chance"].exact == 1 / 5
    assert baselines["majority"].exact == pytest.approx(table.sum(axis=0).max(), abs=0.03)
    assert baselines["root_operation"].exact == pytest.approx(table.max(axis=1).sum(), abs=0.03)
    right = 0
    for index in range(count):
        text = words(task, batch.tokens[index])
        kept, level = [], 0
        for word in text:
            level += word.startswith("[")
            kept += [word] * (level == 1)
            level -= word == "]"
        guess = read(kept, 5)[0] if len(kept) > 2 else table[kind[index]].argmax()
        right += guess == value[index]
    assert baselines["root_digits"].exact == pytest.approx(right / count, abs=0.04)
    share = right / count
    sure = share * np.log(share) + (1 - share) * np.log((1 - share) / 4)
    assert baselines["root_digits"].logprob == pytest.approx(sure, abs=0.05)
    entropy = -np.sum(table * np.log(table)) + np.sum(table.sum(axis=1) * np.log(table.sum(axis=1)))
    assert baselines["root_operation"].logprob == pytest.approx(-entropy, abs=0.05)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"kinds": "min mean"}, "kinds must name one or more of min, max, med, sum"),
        ({"kinds": "min min"}, "kinds must name one or more of min, max, med, sum"),
        ({"kinds": ("min", "max")}, "kinds must name one or more of min, max, med, sum"),
        ({"modulus": 1}, r"modulus must be a whole number in \[2, 64\]"),
        ({"deeper": 3}, r"deeper must be a whole number in \[4, 12\]"),
        ({"operations": 3}, r"operations must be a whole number in \[4, 16\]"),
        ({"more_operations": 14}, "more_operations must be at most 13, what fits in depth 3 with 3 arguments"),
        ({"scratchpad": "none"}, "scratchpad must be one of absent"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(TaskError, match=f"nested_expression: {message}"):
        make("nested_expression", **sizes)
