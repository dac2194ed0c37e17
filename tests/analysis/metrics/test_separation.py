"""Separation readings against scikit-learn and float64 NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import silhouette_score

from analysis.metrics.separation import FISHER_RIDGE, class_balance, classes, fisher_trace, silhouette

SILHOUETTE = jax.jit(silhouette, static_argnums=2)
FISHER = jax.jit(fisher_trace, static_argnums=2)


def groups(seed, n=256, width=16, n_classes=4, gap=1.0, weights=None):
    """Gaussian classes, float32, with int32 labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(n_classes, size=n, p=weights).astype(np.int32)
    z = gap * rng.normal(size=(n_classes, width))[labels] + rng.normal(size=(n, width))
    return z.astype(np.float32), labels


def reference_silhouette(z, labels):
    return silhouette_score(z.astype(np.float64), labels)


def reference_fisher_trace(z, labels):
    """The documented formula, with explicit scatter matrices in float64."""
    z = np.asarray(z, np.float64)
    z = (z - z.mean(0)) / np.abs(z - z.mean(0)).max()
    within = np.zeros((z.shape[1],) * 2)
    between = np.zeros_like(within)
    for label in np.unique(labels):
        members = z[labels == label]
        within += (members - members.mean(0)).T @ (members - members.mean(0)) / len(z)
        between += np.outer(members.mean(0), members.mean(0)) * len(members) / len(z)
    return np.trace(np.linalg.solve(within + FISHER_RIDGE * (within + between), between))


@pytest.mark.parametrize("weights", [None, [0.85, 0.1, 0.05, 0.0]])
@pytest.mark.parametrize("offset", [0, 1000])
def test_silhouette_agrees_with_scikit_learn(weights, offset):
    z, labels = groups(0, weights=weights)
    z = z + np.float32(offset)
    # A mean of float32 distances, each good to 1e-6.
    np.testing.assert_allclose(SILHOUETTE(z, labels, 4), reference_silhouette(z, labels), atol=3e-6)


def test_silhouette_with_singletons_absent_classes_and_duplicates():
    z, labels = groups(1)
    labels[labels == 3] = 5
    labels[7] = 6
    z[10:40] = z[100:130]
    expected = reference_silhouette(z, labels)
    np.testing.assert_allclose(SILHOUETTE(z, labels, 8), expected, atol=3e-6)


def test_silhouette_of_collapsed_classes():
    """Every class one point: within 0, score 1. Two classes on the same point: both distances 0, score 0."""
    labels = (np.arange(64) % 4).astype(np.int32)
    corners = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(SILHOUETTE(corners[labels], labels, 4), 1.0)
    corners[1] = corners[0]
    expected = silhouette_score(corners[labels].astype(np.float64), labels)
    np.testing.assert_allclose(SILHOUETTE(corners[labels], labels, 4), expected, atol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.85, 0.1, 0.05, 0.0]])
@pytest.mark.parametrize("gap", [0.0, 1.0, 10.0])
def test_fisher_agrees_with_explicit_matrices(gap, weights):
    z, labels = groups(2, gap=gap, weights=weights)
    # The ridge enters S_W at 1e-5 and float32 eigenvalues at 1e-7 of S_T: 1 % at the far end (gap 10).
    rtol = 1e-4 if gap < 10 else 1e-3
    np.testing.assert_allclose(FISHER(z, labels, 4), reference_fisher_trace(z, labels), rtol=rtol)


@pytest.mark.slow
def test_fisher_is_what_discriminant_analysis_maximizes():
    """Without the ridge: the sum of the generalized eigenvalues of S_B against S_W."""
    z, labels = groups(3)
    analysis = LinearDiscriminantAnalysis(solver="svd").fit(z.astype(np.float64), labels)
    scores = analysis.transform(z.astype(np.float64))
    parts = [scores[labels == c] for c in range(4)]
    within = np.mean(np.concatenate([part - part.mean(0) for part in parts]) ** 2)  # a multiple of the identity
    between = sum(np.square(part.mean(0)).sum() * len(part) / 256 for part in parts)
    np.testing.assert_allclose(FISHER(z, labels, 4), between / within, rtol=1e-4)


def test_fisher_of_noise_is_not_zero():
    """The documented level, (C−1)·D/(N−C−D), of 128 noise features at the protocol's least N."""
    z, labels = groups(10, n=1024, width=128, n_classes=8, gap=0.0)
    np.testing.assert_allclose(FISHER(z, labels, 8), 7 * 128 / (1024 - 8 - 128), rtol=0.1)


@pytest.mark.parametrize("condition", [1e1, 1e3])
def test_fisher_is_neutral_to_invertible_linear_maps(condition):
    z, labels = groups(4)
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.normal(size=(16, 16)))[0] for _ in range(2))
    matrix = left @ np.diag(np.geomspace(1, condition, 16)) @ right
    mapped = (z.astype(np.float64) @ matrix + 3).astype(np.float32)
    # Rounding the mapped data to float32 already moves its smallest directions by 1e-7·condition.
    np.testing.assert_allclose(FISHER(mapped, labels, 4), FISHER(z, labels, 4), rtol=1e-6 * condition + 1e-5)


def test_fisher_of_degenerate_clouds_is_finite_and_capped():
    labels = (np.arange(256) % 4).astype(np.int32)
    corners = np.random.default_rng(6).normal(size=(4, 16)).astype(np.float32)
    np.testing.assert_allclose(FISHER(corners[labels], labels, 4), 3 / FISHER_RIDGE, rtol=0.05)
    z, labels = groups(7, n=24, width=64)  # fewer points than dimensions
    got = FISHER(z, labels, 4)
    assert np.isfinite(got)
    assert got < 3 / FISHER_RIDGE * 1.05
    z, labels = groups(8)
    z[:, 8:] = z[:, :8]  # rank deficient
    alone = z * (np.arange(16) < 8)
    np.testing.assert_allclose(FISHER(z, labels, 4), reference_fisher_trace(z[:, :8], labels), rtol=1e-4)
    np.testing.assert_allclose(FISHER(alone.astype(np.float32), labels, 4), FISHER(z, labels, 4), rtol=1e-4)


@pytest.mark.parametrize("read", [SILHOUETTE, FISHER])
def test_undefined_readings_are_nan(read):
    z, labels = groups(9)
    assert np.isnan(read(z, np.full_like(labels, 2), 4))  # one class
    assert np.isnan(read(z, np.where(labels == 0, -1, labels).astype(np.int32), 4))  # out of range
    assert np.isnan(read(z, labels + 1, 4))
    assert np.isnan(read(np.where(z == z[3, 3], np.nan, z).astype(np.float32), labels, 4))
    assert np.isnan(read(np.ones_like(z), labels, 4))


def test_silhouette_of_as_many_classes_as_points_is_nan():
    z, _ = groups(9, n=32)
    assert np.isnan(SILHOUETTE(z, np.arange(32, dtype=np.int32), 32))


@pytest.mark.parametrize("read", [silhouette, fisher_trace])
@pytest.mark.slow
def test_vmap_equals_a_loop(read):
    cells = [groups(seed) for seed in range(3)]
    z, labels = (np.stack(part) for part in zip(*cells, strict=True))
    got = jax.jit(jax.vmap(partial(read, n_classes=4)))(z, labels)
    alone = jax.jit(read, static_argnums=2)
    np.testing.assert_allclose(got, [alone(*cell, 4) for cell in cells], rtol=1e-5)


def test_class_balance():
    got = class_balance(classes(jnp.asarray([0, 0, 0, 2, 2, 5], jnp.int32), 8))
    assert {name: float(value) for name, value in got.items()} == {
        "class_count_min": 1,
        "class_count_max": 3,
        "classes_present": 3,
    }
