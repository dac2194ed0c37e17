"""NC1 to NC4 against float64 NumPy and scikit-learn's nearest centroid, and on clouds that have collapsed."""

import jax
import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from analysis.metrics.neural_collapse import (
    class_mean_simplex,
    nearest_mean_disagreement,
    readout_alignment,
    within_class_collapse,
)
from tests.analysis.conftest import of_another_shape, slow_where

NC1 = jax.jit(within_class_collapse, static_argnums=2)
NC2 = jax.jit(class_mean_simplex, static_argnums=2)
NC3 = jax.jit(readout_alignment)
NC4 = jax.jit(nearest_mean_disagreement, static_argnums=3)
C = 5


def groups(seed, n=200, width=12, weights=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(C, size=n, p=weights).astype(np.int32)
    return (rng.normal(size=(C, width))[labels] + rng.normal(size=(n, width))).astype(np.float32), labels


def nasty(kind):
    z, labels = groups(0, weights=[0.6, 0.3, 0.1, 0, 0] if kind == "absent classes" else None)
    if kind == "mean of 1000":
        z = z + np.float32(1000)
    if kind == "duplicates":
        z[10:80] = z[100:170]
    if kind == "rank deficient":
        z[:, 3:] = z[:, :3].repeat(3, axis=1)
    return groups(1, n=24, width=64) if kind == "N below D" else (z, labels)


def means(z, labels):
    mean = np.array([np.asarray(z[labels == c], np.float64).mean(0) for c in np.unique(labels)])
    return mean - mean.mean(0)


KINDS = ["clean", "absent classes", "mean of 1000", "duplicates", "rank deficient", "N below D"]


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_within_class_collapse_agrees_with_a_pseudo_inverse(kind):
    z, labels = nasty(kind)
    exact, mean = z.astype(np.float64), means(z, labels)
    within = [np.cov(exact[labels == c].T, bias=True) for c in np.unique(labels)]
    expected = np.trace(np.mean(within, axis=0) @ np.linalg.pinv(mean.T @ mean / len(mean), rcond=1e-10)) / len(mean)
    np.testing.assert_allclose(NC1(z, labels, C), expected, rtol=2e-3)


@pytest.mark.slow
def test_without_class_signal_nc1_grows_with_the_examples_a_class():
    """The trap that the docstring names: .65 → 177."""
    rng = np.random.default_rng(6)
    few, many = (
        NC1(rng.normal(size=(10 * n, 64)).astype(np.float32), np.repeat(np.arange(10, dtype=np.int32), n), 10)
        for n in (5, 1000)
    )
    assert 0.5 < few < 0.9
    assert 140 < many < 190


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_means_and_readout_agree_with_numpy(kind):
    z, labels = nasty(kind)
    mean = means(z, labels)
    norm = np.linalg.norm(mean, axis=1)
    cosine = ((mean @ mean.T) / np.outer(norm, norm))[~np.eye(len(mean), dtype=bool)]
    expected = norm.std() / norm.mean(), cosine.std(), np.abs(cosine + 1 / (len(mean) - 1)).mean()
    np.testing.assert_allclose(NC2(z, labels, C), expected, rtol=1e-3, atol=1e-5)

    readout = np.random.default_rng(2).normal(size=(C, z.shape[1])).astype(np.float32) + np.float32(3)
    weight = readout[np.unique(labels)].astype(np.float64)
    weight = weight - weight.mean(0)
    expected = np.square(weight / np.linalg.norm(weight) - mean / np.linalg.norm(mean)).sum()
    np.testing.assert_allclose(NC3(z, labels, readout), expected, rtol=1e-3)


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_disagreement_agrees_with_nearest_centroid(kind):
    z, labels = nasty(kind)
    exact = z.astype(np.float64) - z.astype(np.float64).mean(0)
    nearest = NearestCentroid().fit(exact, labels).predict(exact)
    decisions = np.where(np.random.default_rng(3).random(len(z)) < 0.3, labels, nearest).astype(np.int32)
    # A point on a boundary may fall to either side in float32.
    np.testing.assert_allclose(NC4(z, labels, decisions, C), np.mean(decisions != nearest), atol=1.01 / len(z))
    assert NC4(z, labels, nearest.astype(np.int32), C) <= 1.01 / len(z)
    assert NC4(z, labels, np.full_like(labels, -1), C) == 1


def test_a_collapsed_cloud_is_a_simplex_and_its_readout_too():
    labels = (np.arange(100) % C).astype(np.int32)
    corners = np.eye(C, 12, dtype=np.float32) * 4 + 2
    np.testing.assert_allclose(NC2(corners[labels], labels, C), 0, atol=1e-3)
    np.testing.assert_allclose(NC1(corners[labels], labels, C), 0, atol=1e-6)
    np.testing.assert_allclose(NC3(corners[labels], labels, 0.01 * corners + 9), 0, atol=1e-5)
    np.testing.assert_allclose(NC3(corners[labels], labels, -corners), 4, rtol=1e-5)
    corners[0] *= 3
    assert NC2(corners[labels], labels, C).norm_spread > 0.1


def test_undefined_readings_are_nan():
    z, labels = groups(4)
    readout = np.ones((C, 12), np.float32) * np.arange(C, dtype=np.float32)[:, None]
    hole = np.where(z == z[3, 3], np.nan, z).astype(np.float32)
    for cloud, tags in [(z, np.full_like(labels, 2)), (z, labels + 1), (hole, labels), (np.full_like(z, 1.3), labels)]:
        assert np.isnan(NC1(cloud, tags, C))
        assert np.isnan(NC2(cloud, tags, C)).all()
        assert np.isnan(NC3(cloud, tags, readout))
        assert np.isnan(NC4(cloud, tags, labels, C))
    assert np.isnan(NC3(z, labels, np.ones_like(readout)))
    assert np.isnan(NC3(z, labels, np.where(readout == 1, np.inf, readout).astype(np.float32)))
    mirrored = np.concatenate([z[:20], -z[:20]] * C)  # every class on the same mean
    assert np.isnan(NC1(mirrored, np.repeat(np.arange(C, dtype=np.int32), 40), C))
    assert np.isnan(NC2(mirrored, np.repeat(np.arange(C, dtype=np.int32), 40), C)).all()
