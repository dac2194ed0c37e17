"""Fracture readings against scikit-learn and brute-force NumPy, and on codes that are fractured by construction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors

from analysis.metrics.fracture import (
    cross_condition_accuracy,
    disentanglement,
    neighbour_stretch,
    noisy_probe_accuracy,
    parallelism_score,
)
from analysis.metrics.probes import PROBE_RIDGE, probe_accuracy

PARALLEL = jax.jit(parallelism_score, static_argnums=(3, 4))
CROSS = jax.jit(cross_condition_accuracy, static_argnums=(3, 4))
NOISY = jax.jit(noisy_probe_accuracy, static_argnums=2)
PROBE = jax.jit(probe_accuracy, static_argnums=2)
STRETCH = jax.jit(neighbour_stretch)
C, X, N, D = 3, 4, 240, 10


def factors(kind):
    """Labels, contexts and a cloud that codes each by its own direction."""
    rng = np.random.default_rng(0)
    labels, contexts = rng.integers(0, C, N).astype(np.int32), rng.integers(0, X, N).astype(np.int32)
    z = rng.normal(size=(C, D))[labels] + rng.normal(size=(X, D))[contexts] + 0.7 * rng.normal(size=(N, D))
    if kind == "mean of 1000":
        z = z + 1000
    if kind == "rank deficient":
        z[:, 5:] = z[:, :5]
    if kind == "duplicates":
        z[10:80] = z[120:190]
    if kind == "absent":
        labels[(contexts == 1) & (labels == 2)], contexts[contexts == 3] = 0, 0
    return z.astype(np.float32), labels, contexts


def brute_parallelism(z, labels, contexts):
    z, cosines = np.asarray(z, np.float64), []
    for a in range(C):
        for b in range(a):
            ways = []
            for x in range(X):
                first, second = z[(labels == a) & (contexts == x)], z[(labels == b) & (contexts == x)]
                if len(first) and len(second):
                    ways.append(first.mean(0) - second.mean(0))
            unit = [way / np.linalg.norm(way) for way in ways]
            cosines += [unit[i] @ unit[j] for i in range(len(unit)) for j in range(i)]
    return np.mean(cosines)


def brute_cross(z, labels, contexts):
    z, right = np.asarray(z, np.float64), []
    for x in np.unique(contexts):
        train, test = contexts != x, contexts == x
        white = PCA(whiten=True).fit(z[train])
        kept = white.explained_variance_ > 1e-8
        grow = np.sqrt(train.sum() / (train.sum() - 1))
        ridge = Ridge(alpha=PROBE_RIDGE * train.sum()).fit(
            white.transform(z[train])[:, kept] * grow, np.eye(C)[labels[train]]
        )
        right.append(np.mean(ridge.predict(white.transform(z[test])[:, kept] * grow).argmax(1) == labels[test]))
    return np.mean(right)


@pytest.mark.parametrize("kind", ["clean", "mean of 1000", "rank deficient", "duplicates", "absent"])
def test_contexts_agree_with_brute_force(kind):
    z, labels, contexts = factors(kind)
    np.testing.assert_allclose(PARALLEL(z, labels, contexts, C, X), brute_parallelism(z, labels, contexts), atol=1e-3)
    # One example on a boundary in each of the contexts.
    np.testing.assert_allclose(CROSS(z, labels, contexts, C, X), brute_cross(z, labels, contexts), atol=1.01 / 50)


@pytest.mark.slow
def test_a_fractured_code_is_read_everywhere_and_carries_over_nowhere():
    rng = np.random.default_rng(1)
    labels, contexts = (np.arange(N) % 2).astype(np.int32), (np.arange(N) // 2 % X).astype(np.int32)
    sign = (2.0 * labels - 1)[:, None]
    shared = sign * np.eye(D)[np.zeros(N, int)] + 0.1 * rng.normal(size=(N, D))
    own = sign * np.eye(D)[contexts] + 0.1 * rng.normal(size=(N, D))
    for z, parallel, cross in [(shared, (0.9, 1), (0.99, 1)), (own, (-0.1, 0.1), (0.2, 0.8))]:
        z = z.astype(np.float32)
        assert parallel[0] < PARALLEL(z, labels, contexts, 2, X) <= parallel[1] + 1e-5
        assert cross[0] <= CROSS(z, labels, contexts, 2, X) <= cross[1]
        assert PROBE(z, labels, 2) > 0.99


def test_noise():
    z, labels, _ = factors("clean")
    key = jax.random.key(0)
    clean, some, much = (NOISY(z, labels, C, np.float32(s), key) for s in (0, 0.3, 30))
    np.testing.assert_allclose(clean, PROBE(z, labels, C), atol=1.01 / 120)
    assert clean > some + 0.05 > much
    np.testing.assert_allclose(much, 1 / C, atol=0.1)
    np.testing.assert_allclose(NOISY(z * np.float32(64), labels, C, np.float32(0.3), key), some, atol=1.01 / 120)


def test_stretch_agrees_with_nearest_neighbours():
    z, _, _ = factors("clean")
    to = np.tanh(3 * z[:, :4])
    unit = [(x - x.mean(0)) / np.sqrt(np.square(x - x.mean(0)).sum(1).mean()) for x in (np.float64(z), np.float64(to))]
    nearest = NearestNeighbors(n_neighbors=2).fit(unit[0]).kneighbors(unit[0])[1][:, 1]
    ratio = np.linalg.norm(unit[1] - unit[1][nearest], axis=1) / np.linalg.norm(unit[0] - unit[0][nearest], axis=1)
    np.testing.assert_allclose(STRETCH(z, to), (np.median(ratio), ratio.max()), rtol=1e-3)
    np.testing.assert_allclose(STRETCH(z, 5 * z + 2), (1, 1), rtol=1e-3)
    assert np.isfinite(STRETCH(np.concatenate([z, z]), np.concatenate([to, to]))).all()


def test_undefined_readings_are_nan():
    z, labels, contexts = factors("clean")
    hole = np.where(z == z[3, 3], np.nan, z).astype(np.float32)
    one = np.zeros_like(labels)
    for cloud, tag, place in [
        (hole, labels, contexts),
        (z, one, contexts),
        (z, labels, one),
        (z, labels + 1, contexts),
    ]:
        assert np.isnan(PARALLEL(cloud, tag, place, C, X))
        assert np.isnan(CROSS(cloud, tag, place, C, X))
    assert np.isnan(NOISY(hole, labels, C, np.float32(0.1), jax.random.key(0)))
    assert np.isnan(STRETCH(z, hole)).all()
    assert np.isnan(STRETCH(np.ones_like(z), z)).all()


def test_disentanglement_against_numpy():
    """Importances, entropies and projectors written out in float64, on factors that are partly apart."""
    rng = np.random.default_rng(0)
    factors_NxF = np.stack([rng.integers(0, 3, 300), rng.integers(0, 2, 300)], axis=1).astype(np.int32)
    z_NxD = rng.normal(size=(300, 5))
    z_NxD[:, 0] += 3.0 * factors_NxF[:, 0]
    z_NxD[:, 1] += 2.0 * factors_NxF[:, 1] + 1.0 * factors_NxF[:, 0]
    z_NxD = z_NxD.astype(np.float32)
    read = jax.jit(lambda z: disentanglement.function(z, jnp.asarray(factors_NxF), (3, 2)))
    found = read(jnp.asarray(z_NxD))
    centred = z_NxD.astype(float) - z_NxD.astype(float).mean(axis=0)
    importance, spans = [], []
    for f, size in ((0, 3), (1, 2)):
        means = np.stack([centred[factors_NxF[:, f] == c].mean(axis=0) for c in range(size)])
        share = np.bincount(factors_NxF[:, f]) / 300
        importance.append((share[:, None] * means**2).sum(axis=0) / centred.var(axis=0))
        spans.append(np.linalg.svd(means)[2][: size - 1])
    importance = np.stack(importance)

    def one_sided(matrix):
        shares = matrix / matrix.sum(axis=0)
        scores = 1 - stats.entropy(shares, axis=0) / np.log(len(matrix))
        return (scores * matrix.sum(axis=0)).sum() / matrix.sum()

    np.testing.assert_allclose(found.coordinates, one_sided(importance), rtol=1e-4)
    np.testing.assert_allclose(found.completeness, one_sided(importance.T), rtol=1e-4)
    np.testing.assert_allclose(found.subspaces, 1 - np.square(spans[0] @ spans[1].T).sum(), rtol=1e-4)
    assert np.isnan(np.asarray(read(jnp.full((300, 5), jnp.nan)))).all()


def test_factors_on_coordinates_of_their_own_are_disentangled():
    rng = np.random.default_rng(0)
    factors_NxF = np.stack([np.repeat(np.arange(4), 64), np.tile(np.arange(4), 64)], axis=1).astype(np.int32)
    plain_NxD = factors_NxF.astype(np.float32)
    turn_DxD = np.linalg.qr(rng.normal(size=(2, 2)))[0].astype(np.float32)
    read = jax.jit(lambda z: disentanglement.function(z, jnp.asarray(factors_NxF), (4, 4)))
    apart, turned = read(jnp.asarray(plain_NxD)), read(jnp.asarray(plain_NxD @ turn_DxD))
    np.testing.assert_allclose(np.asarray(apart), 1.0, atol=1e-4)
    np.testing.assert_allclose(turned.subspaces, 1.0, atol=1e-4)
    assert turned.coordinates < 0.9
