"""Breaks are located among hundreds of settings, too, at the cost of forty."""

import numpy as np

from analysis.stats.segmented import GRID_INTERVALS, MOST_SETTINGS, _designs, _joined, locate


def curves(settings, seeds=6, at=0.4):
    u_K = np.linspace(0, 1, settings)
    rng = np.random.default_rng(0)
    return u_K, -np.maximum(0, u_K - at) + 0.01 * rng.normal(size=(seeds, settings)) + rng.normal(size=(seeds, 1))


def test_a_break_among_hundreds_of_settings_is_located():
    u_K, ability_SxK = curves(200)
    found = locate(u_K, ability_SxK, "reversal", draws=20)
    assert found is not None
    assert abs(found.at - 0.4) < 1.5 / GRID_INTERVALS
    assert found.low <= 0.4 <= found.high


def test_placements_stay_as_many_however_many_settings_there_are():
    """One by one, 200 settings have 1.2 million placements of three knots: gigabytes."""
    for settings in (MOST_SETTINGS + 1, 2000):
        joined_K, joined_SxK = _joined(*curves(settings))
        assert joined_SxK.shape == (6, GRID_INTERVALS + 1) == (6, len(joined_K))
        assert (np.diff(joined_K) > 0).all()
    assert len(_designs(tuple(np.linspace(0, 1, GRID_INTERVALS + 1).tolist()), 2, 2).knots_DxJ) < 1000
