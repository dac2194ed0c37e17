"""Pairs of draws: their law, and that they are independent given the key."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from tasks import make
from tasks.base import Random
from tests.tasks.task_cases import draw_split, one, quick_jit, world

TASK = make("iid_pairs", firsts=3, seconds=2, values=3, exponent=1.0)
COUNT = 8192


def drawn(split):
    """(key, first value, second value) of many examples."""
    batch = draw_split(TASK, split, COUNT)
    key = (batch.tokens[:, 0] - 1) * 2 + batch.tokens[:, 1] - 1 - 3
    return key, *(batch.targets[:, place] - 1 - 3 - 2 for place in (1, 2))


@pytest.mark.parametrize(("split", "exponent"), [("iid", 1.0), ("uniform", 0.0)])
def test_keys_come_at_their_frequencies_and_values_by_the_keys_odds(split, exponent):
    fixed, (key, *values) = world(TASK), drawn(split)
    weights = (1.0 + np.arange(6)) ** -exponent
    share = np.bincount(key, minlength=6)[np.asarray(fixed.key_of_rank)] / COUNT
    expected = weights / weights.sum()
    assert (np.abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / COUNT)).all()
    for k in range(6):
        pairs = np.zeros((3, 3))
        np.add.at(pairs, (values[0][key == k], values[1][key == k]), 1)
        odds = np.asarray(fixed.odds_KxV)[k]
        joint = np.outer(odds, odds)  # the draws are independent
        assert (np.abs(pairs / pairs.sum() - joint) < 5 * np.sqrt(joint / pairs.sum())).all()


def test_a_favourite_is_at_least_as_likely_as_any_other_and_odds_sum_to_one():
    odds = np.asarray(world(make("iid_pairs", values=4)).odds_KxV)
    np.testing.assert_allclose(odds.sum(1), 1, rtol=1e-5)
    assert (odds.max(1) >= 1 / 4 - 1e-6).all()
    assert odds.max(1).min() < 0.35
    assert odds.max(1).max() > 0.9


def test_the_odds_of_an_example_are_its_keys():
    assert isinstance(TASK, Random)
    assert not isinstance(make("facts"), Random)
    fixed, batch = world(TASK), draw_split(TASK, "iid", 64)
    odds = quick_jit(jax.vmap(TASK.odds, in_axes=(None, 0)))
    tokens, shares = odds(fixed, batch)
    np.testing.assert_array_equal(tokens, np.tile([6, 7, 8], (64, 1)))
    rows = (batch.tokens[:, 0] - 1) * 2 + batch.tokens[:, 1] - 4
    np.testing.assert_array_equal(shares, np.asarray(fixed.odds_KxV)[rows])
    np.testing.assert_array_equal(batch.factors["favourite"], np.asarray(shares).argmax(1))
    assert TASK.render(one(batch, 0)).startswith(f"key {batch.tokens[0, 0] - 1}-{batch.tokens[0, 1] - 4} → value ")
