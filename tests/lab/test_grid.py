"""Axes combine as they say, and mistakes are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UserError
from lab.grid import axis, chain, product, zipped


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
    ("make", "message"),
    [
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
