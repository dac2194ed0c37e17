"""Entropies against the eigenvalues of an explicit N×N Gram matrix; α-ReQ against NumPy's line fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from analysis.metrics.geometry import participation_ratio, rank_me
from analysis.metrics.spectra import alpha_req, renyi_entropy, von_neumann_entropy
from tests.analysis.conftest import of_another_shape, slow_where


@jax.jit
def read(z):
    return jnp.stack([von_neumann_entropy(z), renyi_entropy(z), alpha_req(z)])


def gram_eigenvalues(z):
    z = np.asarray(z, np.float64)
    z = z - z.mean(0)
    gram = z @ z.T
    return np.clip(np.linalg.eigvalsh(gram / np.trace(gram))[::-1], 0, None)


def reference(z, resolved):
    values = gram_eigenvalues(z)
    first, last = int(np.ceil(0.1 * resolved)), int(0.5 * resolved)
    slope, _ = np.polyfit(np.log(np.arange(first, last + 1)), np.log(values[first - 1 : last]), 1)
    return [entropy(values), -np.log(np.sum(values**2)), -slope]


def reference_von_neumann_entropy(z):
    return reference(z, z.shape[1])[0]


def reference_alpha_req(z):
    return reference(z, z.shape[1])[2]


def power_law(seed, n=256, width=48, alpha=1.2):
    """Gaussian points whose true covariance eigenvalues are i^−alpha."""
    z = np.random.default_rng(seed).normal(size=(n, width))
    return (z * np.arange(1, width + 1) ** (-alpha / 2)).astype(np.float32)


def nasty(kind):
    """A cloud and the number of directions it truly has."""
    z = power_law(0)
    if kind == "duplicates":
        z[20:100] = z[120:200]
    if kind == "mean of 1000":
        return power_law(0, alpha=0.5) + np.float32(1000), 48
    if kind == "rank deficient":
        return np.concatenate([z[:, :20], z[:, :20] - 2 * z[:, 19::-1]], axis=1), 20
    if kind == "N below D":
        return power_law(1, n=40, width=96), 39
    return z, 48


@pytest.mark.parametrize(
    "kind",
    slow_where(
        of_another_shape,
        ["clean", "duplicates", "mean of 1000", "rank deficient", "N below D"],
    ),
)
def test_agrees_with_the_reference(kind):
    z, resolved = nasty(kind)
    np.testing.assert_allclose(read(z), reference(z, resolved), rtol=1e-3 if kind == "rank deficient" else 2e-4)


@pytest.mark.slow
def test_the_entropies_in_terms_of_their_relatives():
    z = jnp.asarray(power_law(2))
    von_neumann, renyi, _ = read(z)
    np.testing.assert_allclose(renyi, np.log(participation_ratio(z)), rtol=1e-5)
    assert renyi < von_neumann < np.log(48)
    assert np.log(rank_me(z)) > von_neumann + 0.1  # RankMe's shares are of the singular values: another reading


def test_clamping_gram_entries_is_another_entropy():
    """The trap: with negative inner products set to 0 the entropy comes out too high."""
    z = power_law(3, alpha=1.8).astype(np.float64)
    gram = np.clip((z - z.mean(0)) @ (z - z.mean(0)).T, 0, None)
    clamped = entropy(np.abs(np.linalg.eigvalsh(gram / np.trace(gram))))
    assert clamped > read(z.astype(np.float32))[0] + 0.2


def test_alpha_of_a_planted_power_law():
    np.testing.assert_allclose(read(power_law(4, n=4096, alpha=1.2))[2], 1.2, atol=0.1)
    np.testing.assert_allclose(read(power_law(5, n=4096, alpha=0.0))[2], 0, atol=0.1)


def test_undefined_readings_are_nan():
    few = np.random.default_rng(6).normal(size=(64, 6)).astype(np.float32)
    got = read(few)
    assert np.isnan(got[2])
    assert np.isfinite(got[:2]).all()
    few[3, 2] = np.nan
    assert np.isnan(read(few)).all()
    assert np.isnan(read(np.full((64, 6), 1000.3, np.float32))).all()
