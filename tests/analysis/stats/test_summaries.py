"""Summaries over seeds agree with SciPy and NumPy, and leave out what is missing."""

import numpy as np
import pytest
from scipy import stats

from analysis.stats import summaries

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("seeds", [1, 2, 3, 4, 5, 8, 13])
def test_iqm_is_scipys_trimmed_mean(seeds):
    values_SxK = RNG.normal(size=(seeds, 6))
    np.testing.assert_allclose(summaries.iqm(values_SxK), stats.trim_mean(values_SxK, 0.25, axis=0), rtol=1e-12)


def test_an_outlier_does_not_move_the_iqm():
    values_SxK = np.full((8, 1), 2.0)
    values_SxK[3] = 1e9
    assert summaries.iqm(values_SxK)[0] == 2.0


def test_missing_values_are_left_out_column_by_column():
    values_SxK = RNG.normal(size=(8, 3))
    values_SxK[2:4, 1] = np.nan
    values_SxK[:, 2] = np.inf
    kept = np.delete(values_SxK[:, 1], (2, 3))
    assert summaries.iqm(values_SxK)[1] == pytest.approx(stats.trim_mean(kept, 0.25))
    assert np.isnan(summaries.iqm(values_SxK)[2])
    low, high = summaries.interval(values_SxK)
    assert low[1] < summaries.iqm(values_SxK)[1] < high[1]
    assert np.isnan([low[2], high[2]]).all()
    np.testing.assert_allclose(summaries.quantiles(values_SxK, (0.25, 0.75))[:, 1], np.quantile(kept, (0.25, 0.75)))
    assert np.isnan(summaries.quantiles(values_SxK, (0.5,))[0, 2])


def test_interval_agrees_with_scipys_bootstrap():
    values = RNG.normal(size=40)
    low, high = summaries.interval(values[:, None], draws=8000)
    found = stats.bootstrap(
        (values,), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile", n_resamples=8000, rng=1
    ).confidence_interval
    assert low[0] == pytest.approx(found.low, abs=0.03)
    assert high[0] == pytest.approx(found.high, abs=0.03)


@pytest.mark.slow
def test_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for _ in range(300):
        low, high = summaries.interval(RNG.normal(size=(30, 1)), draws=300)
        covered += low[0] <= 0 <= high[0]
    assert 0.88 <= covered / 300 <= 0.99


def test_intervals_are_fixed_by_their_seed_and_paired_over_columns():
    values = RNG.normal(size=(8, 1))
    both = np.concatenate([values, values + 5], axis=1)
    low, high = summaries.interval(both)
    again = summaries.interval(both)
    np.testing.assert_array_equal(low, again[0])
    np.testing.assert_array_equal(high, again[1])
    assert low[1] == pytest.approx(low[0] + 5)


def test_one_seed_has_no_interval():
    low, high = summaries.interval(np.ones((1, 2)))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize("seeds", [3, 9, 24])
def test_whole_columns_next_to_a_broken_one_have_the_same_iqm_to_the_bit(seeds):
    values_SxK = RNG.normal(size=(seeds, 5))
    values_SxK[0, 2] = np.nan
    expected = [stats.trim_mean(column[np.isfinite(column)], 0.25) for column in values_SxK.T]
    np.testing.assert_array_equal(summaries.iqm(values_SxK), expected)
