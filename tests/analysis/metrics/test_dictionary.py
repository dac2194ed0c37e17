"""The dictionary on mixtures of known atoms, its recovery of factors against NumPy, and its random control."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.metrics import dictionary
from analysis.metrics.geometry import centre

RANDOM = np.random.default_rng(0)


def mixture(n=1024, d=16, atoms=20, active=3, noise=0.01):
    """float32[n, d] sums of a few of the atoms with positive weights, the atoms, and who is active."""
    atom_AxD = RANDOM.normal(size=(atoms, d))
    atom_AxD /= np.linalg.norm(atom_AxD, axis=1, keepdims=True)
    chosen_NxA = np.argsort(RANDOM.random((n, atoms)), axis=1) < active
    weights_NxA = chosen_NxA * RANDOM.uniform(0.8, 1.2, size=(n, atoms))
    z_NxD = weights_NxA @ atom_AxD + noise * RANDOM.normal(size=(n, d))
    return z_NxD.astype(np.float32), atom_AxD, chosen_NxA


@pytest.mark.slow
def test_known_atoms_are_found():
    """Mean over atoms of the largest cosine with a latent above .9, and above that of random directions."""
    z_NxD, atom_AxD, _ = mixture(n=4096)
    cloud = centre(jnp.asarray(z_NxD))
    trained = jax.jit(lambda x: dictionary.train(x, jax.random.key(0), 32, 3, 600))(cloud.points_NxD)
    best_A = np.abs(atom_AxD @ np.asarray(trained.decoder_KxD).T).max(axis=1)
    random_KxD = RANDOM.normal(size=(32, 16))
    random_KxD /= np.linalg.norm(random_KxD, axis=1, keepdims=True)
    assert best_A.mean() > 0.9 > np.abs(atom_AxD @ random_KxD.T).max(axis=1).mean() + 0.2


def test_correlations_are_numpys():
    a_HxK, b_HxV = RANDOM.normal(size=(50, 4)).astype(np.float32), (RANDOM.random((50, 3)) < 0.3).astype(np.float32)
    a_HxK[:, 1] = 2.0
    found = jax.jit(dictionary.correlations)(jnp.asarray(a_HxK), jnp.asarray(b_HxV))
    expected = np.abs(np.corrcoef(a_HxK[:, [0, 2, 3]].T, b_HxV.T)[:3, 3:])
    np.testing.assert_allclose(np.asarray(found)[[0, 2, 3]], expected, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(found)[1], 0.0)


def test_recovery_is_read_on_the_other_half():
    """A value that is a latent reads 1; of noise the best of many latents reads next to nothing."""
    n, k = 400, 64
    latents_NxK = RANDOM.normal(size=(n, k)).astype(np.float32)
    values_NxV = np.stack([latents_NxK[:, 7] > 0, RANDOM.random(n) < 0.5], axis=1).astype(np.float32)
    latents_NxK[:, 7] = values_NxV[:, 0]
    read = jax.jit(dictionary.recovered)
    arrays = jnp.asarray(latents_NxK), jnp.asarray(values_NxV)
    np.testing.assert_allclose(read(*arrays, jnp.asarray([True, False])), 1.0, rtol=1e-5)
    assert read(*arrays, jnp.asarray([False, True])) < 4 / np.sqrt(n / 2)


def test_the_code_is_sparse():
    of = dictionary.Dictionary(jnp.asarray(RANDOM.normal(size=(6, 10)), jnp.float32), jnp.zeros(10), jnp.zeros((10, 6)))
    x_HxD = RANDOM.normal(size=(30, 6)).astype(np.float32)
    found = np.asarray(jax.jit(dictionary.encode, static_argnums=2)(jnp.asarray(x_HxD), of, 3))
    plain = np.maximum(x_HxD @ np.asarray(of.encoder_DxK), 0)
    kept = np.sort(plain, axis=1)[:, -3:]
    np.testing.assert_allclose(np.sort(found, axis=1)[:, -3:], kept, rtol=1e-5)
    assert ((found > 0).sum(axis=1) <= 3).all()


def test_factors_that_are_directions_are_recovered_and_lost_cells_are_not(monkeypatch):
    """States that are a factor's one-hot code, next to noise; and what diverged."""
    monkeypatch.setattr(dictionary, "TRAINING_STEPS", 40)
    n = 256
    factors_NxF = np.stack([RANDOM.integers(0, 4, n), RANDOM.integers(0, 3, n)], axis=1).astype(np.int32)
    z_NxD = np.concatenate([np.eye(4)[factors_NxF[:, 0]], 0.3 * RANDOM.normal(size=(n, 4))], axis=1).astype(np.float32)
    read = jax.jit(lambda z: dictionary.dictionary.function(z, jnp.asarray(factors_NxF), (4, 3), jax.random.key(0)))
    found = read(jnp.asarray(z_NxD))
    assert found.recovery > found.random_recovery
    np.testing.assert_allclose(found.recovery_gain, found.recovery - found.random_recovery, rtol=1e-5)
    assert 0 < found.explained_variance <= 1
    assert 0 < found.l0 <= dictionary.ACTIVE
    assert np.isnan(np.asarray(read(jnp.full((n, 8), jnp.nan)))).all()
