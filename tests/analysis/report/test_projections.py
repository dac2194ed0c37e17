"""Planes of hidden states against scikit-learn and a search over all turns; which settings are shown."""

import dataclasses
import types

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from analysis.report.projections import Plane, principal_plane, settings, turned_onto
from analysis.results import Curve

rng = np.random.default_rng(0)
CLOUD_NxD = (rng.normal(size=(200, 12)) * np.linspace(3, 0.2, 12) + 1000.0).astype(np.float32)


def turn(angle, mirror):
    turn_2x2 = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn_2x2 * (np.asarray([1.0, -1.0]) if mirror else 1.0)


def test_a_plane_is_that_of_scikit_learn():
    plane, pca = principal_plane(CLOUD_NxD), PCA(2).fit(CLOUD_NxD.astype(np.float64))
    spread = np.sqrt(np.trace(np.cov(CLOUD_NxD.astype(np.float64).T, bias=True)))
    expected_Nx2 = pca.transform(CLOUD_NxD.astype(np.float64)) / spread
    assert plane.spread == pytest.approx(spread)
    np.testing.assert_allclose(np.abs(plane.points_Nx2), np.abs(expected_Nx2), atol=1e-8)
    np.testing.assert_allclose(plane.share_2, pca.explained_variance_ratio_, rtol=1e-8)
    assert (plane.points_Nx2.max(axis=0) > -plane.points_Nx2.min(axis=0)).all(), "the farthest example is at the plus"


def test_a_plane_does_not_depend_on_the_states_unit():
    plane, larger = principal_plane(CLOUD_NxD - 1000), principal_plane((CLOUD_NxD - 1000) * 64)
    np.testing.assert_allclose(larger.points_Nx2, plane.points_Nx2, atol=1e-9)
    assert larger.spread == pytest.approx(64 * plane.spread)


@pytest.mark.parametrize("bad", [np.full((20, 3), 7.1, np.float32), np.where(np.eye(20, 3) > 0, np.nan, 1.0)])
def test_states_without_spread_or_with_nan_have_no_plane(bad):
    plane = principal_plane(bad)
    assert np.isnan(plane.points_Nx2).all()
    assert plane.points_Nx2.shape == (20, 2)
    good = principal_plane(CLOUD_NxD[:20])
    assert turned_onto(plane, good) is plane
    assert turned_onto(good, plane) is good


def test_states_on_a_line_have_an_empty_second_axis():
    plane = principal_plane(np.outer(np.arange(30.0), np.ones(4)))
    np.testing.assert_allclose(plane.share_2, [1, 0], atol=1e-12)


def test_turning_finds_a_planted_turn_and_keeps_distances():
    reference = principal_plane(CLOUD_NxD)
    for angle, mirror in ((0.3, False), (2.5, True), (-1.1, True)):
        moved = Plane(reference.points_Nx2 @ turn(angle, mirror), reference.share_2, 5.0)
        found = turned_onto(moved, reference)
        np.testing.assert_allclose(found.points_Nx2, reference.points_Nx2, atol=1e-9)
        assert found.spread == 5.0


def test_no_other_turn_lies_nearer():
    reference, plane = principal_plane(CLOUD_NxD), principal_plane(np.tanh(CLOUD_NxD - 1000))
    found = turned_onto(plane, reference)
    np.testing.assert_allclose(pdist(found.points_Nx2), pdist(plane.points_Nx2), atol=1e-9)
    assert found.share_2.sum() == pytest.approx(plane.share_2.sum())
    np.testing.assert_allclose(found.share_2, found.points_Nx2.var(axis=0), rtol=1e-9)
    tried = [
        ((plane.points_Nx2 @ turn(angle, mirror) - reference.points_Nx2) ** 2).sum()
        for angle in np.linspace(0, 2 * np.pi, 721)
        for mirror in (False, True)
    ]
    gap = ((found.points_Nx2 - reference.points_Nx2) ** 2).sum()
    assert gap <= min(tried) + 1e-9
    assert gap == pytest.approx(min(tried), rel=1e-3)


@dataclasses.dataclass
class Bound:
    ability: Curve
    learned: bool = True
    free_until: float | None = None
    harmful_from: float | None = None


CURVE = Curve(np.asarray([0.0, 0.25, 0.5, 0.75, 1.0]), np.arange(2), np.zeros((2, 5)))


def broken(at):
    return types.SimpleNamespace(verdict=types.SimpleNamespace(break_at=at))


@pytest.mark.parametrize(
    ("bound", "breaks", "neutral", "expected"),
    [
        # the break goes before the bounds, and the first claim that has one decides
        (dict(free_until=0.25, harmful_from=1.0), [None, 0.6, 0.3], 0.0,
         [("neutral", 0.0), ("before the break", 0.5), ("after the break", 0.75), ("farthest", 1.0)]),
        (dict(), [0.5], 0.0,
         [("neutral", 0.0), ("before the break", 0.5), ("after the break", 0.75), ("farthest", 1.0)]),
        (dict(), [0.6], 1.0,
         [("neutral", 1.0), ("before the break", 0.75), ("after the break", 0.5), ("farthest", 0.0)]),
        (dict(), [1.0], 0.0, [("neutral", 0.0), ("before the break, farthest", 1.0)]),
        (dict(), [0.1], 0.0, [("neutral, before the break", 0.0), ("after the break", 0.25), ("farthest", 1.0)]),
        (dict(free_until=0.25, harmful_from=0.75), [], 0.0,
         [("neutral", 0.0), ("last free", 0.25), ("first harmful", 0.75), ("farthest", 1.0)]),
        (dict(free_until=0.75, harmful_from=0.0), [], 1.0,
         [("neutral", 1.0), ("last free", 0.75), ("first harmful, farthest", 0.0)]),
        (dict(free_until=0.0), [None], 0.0, [("neutral", 0.0), ("halfway", 0.5), ("farthest", 1.0)]),
        (dict(free_until=1.0), [None], 0.0, [("neutral", 0.0), ("halfway", 0.5), ("last free, farthest", 1.0)]),
        (dict(free_until=0.25, learned=False), [], 0.0, [("neutral", 0.0), ("halfway", 0.5), ("farthest", 1.0)]),
    ],
)  # fmt: skip
def test_settings_on_both_sides_of_the_break(bound, breaks, neutral, expected):
    assert settings(Bound(CURVE, **bound), [broken(at) for at in breaks], neutral) == expected


def test_settings_of_tiny_axes():
    for count in (1, 2):
        bound = Bound(Curve(np.arange(count) * 0.5, np.arange(1), np.zeros((1, count))))
        shown = settings(bound, [], 0.0)
        assert [value for _, value in shown] == [0.0, 0.5][:count]
