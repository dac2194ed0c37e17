"""Baselines at the ends of what sizes may be: numbers in their range, no overflow."""

import math
import re
from functools import cache

import pytest

from tasks import TASKS, make
from tasks.base import TaskError
from tasks.planted import SHORTCUTS

# Means over simulated examples or enumerated states, which can't overflow, and take minutes at some corner.
COUNTED = ("maze", "topological_sort", "countdown", "nested_expression", "graph_search", "fuzzy_recall", "n_back")
COUNTED += ("blocksworld", "hanoi", "sudoku4", "flip_flop", "three_sum", "map_walk")
SLOW = ("two_hop", "count_recall", "facts", "composite_facts", "copy", "dyck", "comparison", "induction", "addition")
CLOSED = [name for name in TASKS if name not in COUNTED]
RANGE = re.compile(r"\w+: (\w+) must be (?:a whole number |a number )?in \[([^,]+), ([^,\]]+)\]")
LIMIT = re.compile(r"\w+: (\w+) must be (?:at most|at least|less than)[^\d]*(\d+)")
EVEN = re.compile(r"\w+: (\w+) must be even")


def number(text):
    value = float(text)
    return int(text) if re.fullmatch(r"-?\d+", text) else value


def bounds(name, field, sizes):
    """The ends of a field's range, from the sentence that refuses a word; none of a choice."""
    try:
        make(name, **{**sizes, field: "word"})
    except TaskError as refused:
        found = RANGE.match(str(refused))
        return [number(end) for end in found.groups()[1:]] if found and found[1] == field else []
    return []


def repaired(name, sizes, wanted):
    """`sizes`, the other fields moved as little as the refusals ask for; None where the wanted don't go together."""
    sizes = dict(sizes)
    for _ in range(16):
        try:
            make(name, **sizes)
            return sizes
        except TaskError as refused:
            said = str(refused)
        field = next((found[1] for kind in (RANGE, LIMIT, EVEN) if (found := kind.match(said))), None)
        if field is None or field in wanted:
            return None
        found = RANGE.match(said)
        if found:
            low, high = (number(end) for end in found.groups()[1:])
            sizes[field] = low if low > sizes.get(field, getattr(make(name), field)) else high
        elif found := LIMIT.match(said):
            sizes[field] = int(found[2])
        else:
            sizes[field] = sizes.get(field, getattr(make(name), field)) + 1
    return None


@cache
def corners(name):
    """Sizes with one field at an end of its range, and with all of them as far up as goes."""
    task = make(name)
    fields = [
        field for field in vars(task) if field not in SHORTCUTS and not isinstance(getattr(task, field), (str, bool))
    ]
    found = []
    for field in fields:
        for end in bounds(name, field, {}):
            corner = repaired(name, {field: end}, {field})
            found += [corner] if corner else []
    highest = {}
    for field in reversed(fields):
        for end in bounds(name, field, highest)[1:]:
            highest = repaired(name, {**highest, field: end}, {field, *highest}) or highest
    return [*found, highest]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CLOSED])
def test_baselines_are_numbers_at_every_corner_of_the_sizes(name):
    assert len(corners(name)) > 2
    for sizes in corners(name):
        task = make(name, **sizes)
        for split in task.splits:
            for of, baseline in task.baselines(split).items():
                assert 0 <= baseline.exact <= 1, (sizes, split, of)
                assert -math.inf < baseline.logprob <= 1e-9, (sizes, split, of)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mqar", {"pairs": 170, "more_pairs": 171, "keys": 512, "values": 512, "ordered": 0.5}),
        ("mqar", {"pairs": 256, "more_pairs": 512, "keys": 512, "values": 512, "ordered": 0.99}),
        ("mqar", {"pairs": 256, "more_pairs": 512, "field": True, "tokens": 2048, "more_tokens": 4096}),
        ("overwrite_recall", {"pairs": 256, "keys": 256, "values": 1024}),
        ("count_recall", {"kinds": 64, "copies": 64}),
        pytest.param(
            *("count_recall", {"kinds": 64, "copies": 64, "fewer_kinds": 1, "length": 64, "longer": 512}),
            marks=pytest.mark.slow,
        ),
        ("copy", {"length": 512, "longer": 1024, "ngram": 256, "distinct": 1.0, "symbols": 4096, "shortest": 1}),
    ],
)
def test_large_sizes_of_the_recall_tasks_overflow_nowhere(name, sizes):
    task = make(name, **sizes)
    for split in task.splits:
        for baseline in task.baselines(split).values():
            assert 0 <= baseline.exact < 1
            assert -math.inf < baseline.logprob < 0
