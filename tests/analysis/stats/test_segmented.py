"""Breaks are located among hundreds of settings, too, at the cost of forty."""

import numpy as np

from analysis.stats.segmented import (
    GRID_INTERVALS,
    MOST_SETTINGS,
    _best_placement,
    _curves,
    _designs,
    _joined,
    locate,
)


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


def test_of_placements_that_explain_equally_much_the_first_wins():
    """Knots between two settings slide freely; without a rule the machine chose (gallery, smaller_state)."""
    u_K = np.linspace(0, 1, 9)
    right_SxK = np.full((4, 9), 512.0)
    right_SxK[:, 7:] = [(506, 275), (509, 428), (497, 246), (510, 268)]
    designs, curves_KxN = _designs(tuple(u_K.tolist()), 2, 1), (right_SxK / 512 - right_SxK.mean() / 512).T
    left_over_DxN = []
    for knots_J in designs.knots_DxJ:  # the ordinary least-squares fit of each placement
        columns_KxP = _curves(u_K, knots_J[None])[0]
        fit_PxN = np.linalg.lstsq(columns_KxP, curves_KxN, rcond=None)[0]
        left_over_DxN.append(np.square(curves_KxN - columns_KxP @ fit_PxN).sum(axis=0))
    ties_DxN = np.asarray(left_over_DxN) <= np.min(left_over_DxN, axis=0) + 1e-9
    assert (ties_DxN.sum(axis=0) > 5).all()
    assert _best_placement(designs, curves_KxN).tolist() == ties_DxN.argmax(axis=0).tolist()
