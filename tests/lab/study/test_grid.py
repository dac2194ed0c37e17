"""Axes combine as they say, and mistakes are said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.errors import UserError
from lab.study import axis, chain, conditional, loguniform, product, subsample, tuned, uniform, zipped


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_a_product_has_every_combination_once(sizes):
    grid = product(*(axis(f"k{i}", range(size)) for i, size in enumerate(sizes)))
    expected = 1
    for size in sizes:
        expected *= size
    assert len(set(grid.points)) == len(grid.points) == expected


def test_product_varies_the_last_axis_fastest():
    grid = product(axis("a", (1, 2)), axis("b", (3, 4)))
    assert grid.points == ((("a", 1), ("b", 3)), (("a", 1), ("b", 4)), (("a", 2), ("b", 3)), (("a", 2), ("b", 4)))


def test_zipped_pairs_in_order():
    assert zipped(axis("a", (1, 2)), axis("b", (3, 4))).points == ((("a", 1), ("b", 3)), (("a", 2), ("b", 4)))


def test_chain_joins_axes_of_one_name():
    grid = chain(axis("a", (1, 2)), product(axis("a", (3,)), axis("b", (4,))))
    assert [a.values for a in grid.axes] == [(1, 2, 3), (4,)]
    assert len(grid.points) == 3


@pytest.mark.parametrize(
    ("make", "reference"), [(uniform, stats.uniform(0.01, 0.99)), (loguniform, stats.loguniform(0.01, 1.0))]
)
def test_random_axes_have_the_distribution_that_they_say(make, reference):
    (found,) = make("a", 0.01, 1.0, 500, seed=3).axes
    assert stats.kstest(found.values, reference.cdf).pvalue > 0.01
    assert list(found.values) == sorted(found.values)
    assert make("a", 0.01, 1.0, 500, seed=3).axes == (found,)
    assert make("a", 0.01, 1.0, 500, seed=4).axes != (found,)
    assert make("a", 0.01, 1.0, 3, seed=3, stage="prune").axes[0].stage == "prune"


def test_a_subsample_keeps_order_and_leaves_out_values_that_no_point_has():
    grid = product(axis("a", range(30)), tuned(axis("b", range(4))))
    found = subsample(grid, 12, seed=0)
    assert len(found.points) == 12
    assert [grid.points.index(point) for point in found.points] == sorted(map(grid.points.index, found.points))
    assert {*found.axes[0].values} == {dict(point)["a"] for point in found.points}
    assert [a.tuned for a in found.axes] == [False, True]
    counts = np.zeros(4)
    for seed in range(200):
        for point in subsample(axis("a", range(4)), 2, seed).points:
            counts[dict(point)["a"]] += 1
    assert stats.chisquare(counts).pvalue > 0.001  # every point as often as the others


def test_a_conditional_axis_is_there_where_it_means_something():
    grid = conditional(
        product(axis("a", (0, 1)), axis("b", (5, 6))), lambda point: axis("c", (7, 8)) if point["a"] else None
    )
    assert [dict(point) for point in grid.points] == [
        {"a": 0, "b": 5},
        {"a": 0, "b": 6},
        {"a": 1, "b": 5, "c": 7},
        {"a": 1, "b": 5, "c": 8},
        {"a": 1, "b": 6, "c": 7},
        {"a": 1, "b": 6, "c": 8},
    ]
    assert [(a.knob, a.values) for a in grid.axes] == [("a", (0, 1)), ("b", (5, 6)), ("c", (7, 8))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform("a", 1.0, 0.0, 3, 0), "must be in ascending order"),
        (lambda: uniform("a", 0.0, 1.0, 0, 0), "ask for one or more"),
        (lambda: loguniform("a", 0.0, 1.0, 3, 0), "needs a lower end above 0"),
        (lambda: subsample(axis("a", (1, 2)), 3, 0), "3 points from a grid of 2"),
        (lambda: axis("a", ()), "axis 'a' has no values"),
        (lambda: axis("a", (1, 2, 1)), "has 1 twice"),
        (lambda: product(axis("a", (1,)), axis("a", (2,))), "'a' is an axis twice"),
        (lambda: zipped(axis("a", (1, 2)), axis("b", (1,))), "a has 2, b has 1"),
        (lambda: chain(axis("a", (1,), stage="x"), axis("a", (2,))), "acts from stage x in one part"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(UserError, match=message):
        make()
