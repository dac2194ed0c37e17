"""Summaries over seeds for the eye: interquartile means, bootstrap intervals, quantiles. Verdicts don't rest on them.

Missing readings (a diverged cell, a metric that is not defined) are NaN and are left out column by column.

Shape letters: S seeds, K columns (knob settings, say), R bootstrap draws.
"""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

TRIM = 0.25  # share cut from each end: what is left is the interquartile mean
DRAWS = 2000


def iqm(values_SxK: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "K"]:
    """Interquartile mean over the first axis: float64[K], NaN where a column has no finite value."""
    values_SxK = np.asarray(values_SxK, float)
    there_SxK = np.isfinite(values_SxK)
    if there_SxK.all() and len(values_SxK):
        return np.asarray(stats.trim_mean(values_SxK, TRIM, axis=0))
    iqm_K, whole_K = np.full(values_SxK.shape[1], np.nan), there_SxK.all(axis=0) & (len(values_SxK) > 0)
    if whole_K.any():  # in one call: a column each takes a hundred times as long
        iqm_K[whole_K] = stats.trim_mean(np.ascontiguousarray(values_SxK.T[whole_K]), TRIM, axis=1)
    for k in np.flatnonzero(~whole_K):
        iqm_K[k] = _trimmed(values_SxK[there_SxK[:, k], k])
    return iqm_K


def interval(
    values_SxK: Float[np.ndarray, "S K"], level: float = 0.95, draws: int = DRAWS, rng_seed: int = 0
) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """Percentile interval of each column's interquartile mean, seeds resampled with replacement.

    Columns with equally many readings get the same resamples, so intervals along a knob move together. With few seeds
    percentile intervals are somewhat too short; the break test doesn't use them.

    Args:
      values_SxK: readings, NaN where missing.
      level: coverage aimed at.
      draws: resamples.
      rng_seed: fixes the resamples.

    Returns:
      (low[K], high[K]) in the unit of the values; NaN where fewer than two values are finite.
    """
    tail = (1 - level) / 2
    bounds = [(np.nan, np.nan)] * np.asarray(values_SxK).shape[1]
    for k, column in enumerate(_columns(values_SxK)):
        if len(column) > 1:
            bounds[k] = _interval_of(column.tobytes(), tail, draws, rng_seed)
    low_K, high_K = np.asarray(bounds, float).reshape(-1, 2).T
    return low_K, high_K


@functools.lru_cache(maxsize=2**14)
def _interval_of(column: bytes, tail: float, draws: int, rng_seed: int) -> tuple[float, float]:
    """`interval` of one column of float64: several figures and tables show the same readings."""
    values_S = np.frombuffer(column)
    means_R = stats.trim_mean(values_S[_picks(len(values_S), draws, rng_seed)], TRIM, axis=1)
    low, high = np.quantile(means_R, (tail, 1 - tail))
    return float(low), float(high)


@functools.lru_cache(maxsize=16)
def _picks(count: int, draws: int, rng_seed: int) -> Int[np.ndarray, "R S"]:
    """Which of so many readings each resample takes."""
    picks_RxS = np.random.default_rng(rng_seed).integers(count, size=(draws, count))
    picks_RxS.flags.writeable = False
    return picks_RxS


def quantiles(values_SxK: Float[np.ndarray, "S K"], at: Sequence[float]) -> Float[np.ndarray, "Q K"]:
    """Quantiles over the first axis (linear interpolation): float64[len(at), K], NaN where nothing is finite."""
    columns = _columns(values_SxK)
    found = [np.quantile(column, at) if len(column) else np.full(len(at), np.nan) for column in columns]
    return np.asarray(found, float).reshape(len(columns), len(at)).T


def _columns(values_SxK: Float[np.ndarray, "S K"]) -> list[Float[np.ndarray, "_"]]:
    """The finite values of every column."""
    return [column[np.isfinite(column)] for column in np.asarray(values_SxK, float).T]


def _trimmed(values: Float[np.ndarray, "..."]) -> float:
    return float(stats.trim_mean(values, TRIM)) if len(values) else np.nan
