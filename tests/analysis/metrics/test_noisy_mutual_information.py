"""The bounds against double loops in float64, a Monte Carlo estimate of the information itself, and known limits."""

import jax
import numpy as np
import pytest
import scipy.special

from analysis.metrics.noisy_mutual_information import noise_information
from tests.analysis.conftest import of_another_shape, slow_where

READ = jax.jit(noise_information)


def reference(z, relative_noise):
    """Kolchinsky & Tracey's formula, pair by pair."""
    z = np.asarray(z, np.float64)
    z = z - z.mean(0)
    sigma = relative_noise * np.sqrt(np.square(z).sum(1).mean())

    def nats(divisor):
        overlap = [[np.exp(-np.square(a - b).sum() / (divisor * sigma**2)) for b in z] for a in z]
        return -np.mean(np.log(np.mean(overlap, axis=1)))

    return nats(8), nats(2)


def monte_carlo(z, relative_noise, draws=400):
    """I = H(mixture) − H(noise), in float64, from samples."""
    rng, z = np.random.default_rng(9), np.asarray(z, np.float64) - np.mean(z, axis=0, dtype=np.float64)
    sigma = relative_noise * np.sqrt(np.square(z).sum(1).mean())
    noise = sigma * rng.normal(size=(draws, *z.shape))
    far = np.square(z[None, :, None] + noise[:, :, None] - z[None, None]).sum(-1)
    log_mixture = scipy.special.logsumexp(-far / (2 * sigma**2), axis=2) - np.log(len(z))
    return np.mean(-np.square(noise).sum(-1) / (2 * sigma**2) - log_mixture)


def nasty(kind):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(12, 40) if kind == "N below D" else (48, 6)).astype(np.float32)
    if kind == "mean of 1000":
        z = z + np.float32(1000)
    if kind == "duplicates":
        z[5:25] = z[30]
    if kind == "rank deficient":
        z[:, 2:] = z[:, :2].repeat(2, axis=1)
    return z * np.float32(1e-18) if kind == "tiny" else z


@pytest.mark.parametrize(
    "kind",
    slow_where(
        of_another_shape,
        ["clean", "mean of 1000", "duplicates", "rank deficient", "N below D", "tiny"],
    ),
)
@pytest.mark.parametrize("noise", [0.03, 0.3, 3.0])
def test_agrees_with_the_double_loop(kind, noise):
    z = nasty(kind)
    # A mean of 1000 leaves coordinates good to 6e-5.
    np.testing.assert_allclose(READ(z, np.float32(noise)), reference(z, noise), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0])
def test_the_information_lies_between(noise):
    z = nasty("clean")
    bounds = READ(z, np.float32(noise))
    truth = monte_carlo(z, noise)
    assert bounds.lower - 0.01 < truth < bounds.upper + 0.01
    assert bounds.upper - bounds.lower > 0.05 or noise == 0.1  # they do bracket, rather than agree by accident


def test_limits_duplicates_and_scale():
    z = nasty("clean")
    np.testing.assert_allclose(READ(z, np.float32(1e-4)), np.log(48), rtol=1e-6)
    np.testing.assert_allclose(READ(z, np.float32(1e4)), 0, atol=1e-6)
    pairs = np.concatenate([z, z])  # every example twice: nothing distinguishes the copies
    np.testing.assert_allclose(READ(pairs, np.float32(0.3)), READ(z, np.float32(0.3)), rtol=1e-4)
    np.testing.assert_allclose(READ(z * np.float32(50), np.float32(0.3)), READ(z, np.float32(0.3)), rtol=1e-4)
    silent = np.concatenate([z, np.full_like(z, 7.3)], axis=1)
    np.testing.assert_allclose(READ(silent, np.float32(0.3)), READ(z, np.float32(0.3)), rtol=1e-4)


def test_undefined_readings_are_nan():
    z = nasty("clean")
    assert np.isnan(READ(z, np.float32(0))).all()
    assert np.isnan(READ(np.where(z == z[2, 2], np.inf, z).astype(np.float32), np.float32(0.3))).all()
    assert np.isnan(READ(np.full_like(z, 3.1), np.float32(0.3))).all()
