"""Dimension estimates against scikit-dimension and brute force in float64, on clean and on nasty clouds."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist

from analysis.metrics.dimension import NEIGHBOURS, gride, local_pca, mle
from analysis.metrics.geometry import two_nn
from tests.analysis.conftest import of_another_shape, slow_where

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a third-party import
    import skdim

SCALES = (1, 2, 4, 8, 16)


@jax.jit
def read(z):
    return jnp.stack([mle(z), local_pca(z), *(gride(z, k) for k in SCALES)])


def blob(seed, n=256, dim=5, width=24):
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(n, dim))
    z = np.tanh(flat @ rng.normal(size=(dim, width)) / np.sqrt(dim)) + flat @ rng.normal(size=(dim, width))
    return z.astype(np.float32)


def gride_likelihood(ratio, k):
    """The dimension at the greatest likelihood of Denti et al. 2022, written as a density and searched."""

    def loss(log_d):
        d = np.exp(log_d)
        inner = (k - 1) * np.log(ratio**d - 1).sum() if k > 1 else 0.0
        return -((len(ratio) - 1) * np.log(d) + inner - ((2 * k - 1) * d + 1) * np.log(ratio).sum())

    found = minimize_scalar(loss, bounds=(-1, 4), method="bounded", options={"xatol": 1e-8})
    return np.exp(found["x"])  # pyright: ignore[reportIndexIssue]


def reference(z):
    """All readings by brute force on the distinct rows."""
    z = np.unique(np.asarray(z, np.float64), axis=0)
    far = cdist(z, z)
    near = np.argsort(far, axis=1)[:, : NEIGHBOURS + 1]
    r = np.take_along_axis(far, near, axis=1)
    inverse = np.log(r[:, 20:21] / r[:, 1:20]).sum(1) / 19
    local = []
    for members in near:
        values = np.linalg.eigvalsh(np.cov(z[members].T))
        local.append(values.sum() ** 2 / (values**2).sum())
    return [1 / inverse.mean(), np.mean(local), *(gride_likelihood(r[:, 2 * k] / r[:, k], k) for k in SCALES)]


def nasty(kind):
    z = blob(0)
    if kind == "duplicates":
        z[:80] = z[100:180]
    if kind == "mean of 1000":
        z = z + np.float32(1000)
    if kind == "N below D":
        z = blob(1, n=64, width=96)
    if kind == "tight":  # the neighbours' squared distances, squared, underflow
        z[128:] = z[:128] + np.float32(1e3)
    return z


@pytest.mark.parametrize(
    "kind",
    slow_where(
        of_another_shape,
        ["clean", "duplicates", "mean of 1000", "N below D", "tight"],
    ),
)
def test_agrees_with_brute_force(kind):
    z = nasty(kind)
    np.testing.assert_allclose(read(z), reference(z), rtol=5e-4)


@pytest.mark.slow
def test_agrees_with_scikit_dimension():
    z = blob(2, dim=8)
    wide = z.astype(np.float64)
    got = read(z)
    np.testing.assert_allclose(got[0], float(skdim.id.MLE().fit(wide, n_neighbors=20).dimension_), rtol=1e-4)
    for place, k in enumerate(SCALES):
        expected = np.asarray(skdim.id.GRIDE(n1=k, n2=2 * k).fit(wide).dimension_, np.float64)
        np.testing.assert_allclose(got[2 + place], expected, rtol=1e-4)
    np.testing.assert_allclose(got[2], two_nn(jnp.asarray(z)).dimension, rtol=1e-4)


@pytest.mark.slow
def test_gride_falls_over_scales_where_noise_hides_a_plane():
    """The known sign of noise: a plane with small noise of full dimension looks thick at the smallest scale only."""
    rng = np.random.default_rng(3)
    z = np.concatenate([rng.normal(size=(1024, 2)), np.zeros((1024, 14))], axis=1) + 0.05 * rng.normal(size=(1024, 16))
    curve = np.asarray(read(z.astype(np.float32))[2:])
    assert (np.diff(curve) < 0).all()
    assert curve[-1] < 0.6 * curve[0]


@pytest.mark.slow
def test_duplicates_ruin_a_careless_estimate_and_not_this_one():
    z = nasty("duplicates")
    careless = np.sort(cdist(z.astype(np.float64), z.astype(np.float64)), axis=1)
    assert (careless[:, 1] == 0).mean() > 0.5
    np.testing.assert_allclose(read(z), read(z[80:]), rtol=1e-5)


def test_undefined_readings_are_nan():
    few = read(blob(4, n=20))
    assert np.isnan(few).all()
    assert np.isnan(read(np.eye(64, dtype=np.float32))[2:]).all()  # all neighbours tied
    z = blob(5, n=64)
    z[3, 2] = np.inf
    assert np.isnan(read(z)).all()
    assert np.isnan(read(np.full_like(z, 1000.3))).all()
