"""Products with the Hessian, its trace, its largest eigenvalue and the rise nearby, against the Hessian written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from analysis.metrics import curvature
from lab.nn import layers

RANDOM = np.random.default_rng(0)
X_NxI = RANDOM.normal(size=(32, 3)).astype(np.float32)
Y_N = RANDOM.normal(size=32).astype(np.float32)
PARAMS = {
    "first": jnp.asarray(RANDOM.normal(size=(3, 4)).astype(np.float32)).at[0, 1].set(0.0),
    "second": jnp.asarray(RANDOM.normal(size=4).astype(np.float32)),
}


def loss(params):
    """A small network with the lab's own matrix product, whose gradient is written out."""
    hidden = jnp.tanh(layers.linear(jnp.asarray(X_NxI), params["first"]))
    return jnp.mean(jnp.square(hidden @ params["second"] - jnp.asarray(Y_N)))


@pytest.fixture(scope="module")
def hessian():
    """float64[P, P] by central differences of the gradient, zero for the weight that is cut."""
    theta_P, _ = ravel_pytree(PARAMS)

    def slope(theta_P):
        """Of the same network, in float64 and by hand."""
        first, second = theta_P[:12].reshape(3, 4), theta_P[12:]
        hidden = np.tanh(X_NxI.astype(float) @ first)
        error_N = 2 * (hidden @ second - Y_N) / len(Y_N)
        back = error_N[:, None] * second * (1 - hidden**2)
        return np.concatenate([(X_NxI.T.astype(float) @ back).ravel(), hidden.T @ error_N])

    at_P = np.asarray(theta_P, float)
    steps = np.eye(at_P.size) * 1e-5
    found = np.stack([(slope(at_P + step) - slope(at_P - step)) / 2e-5 for step in steps])
    free = (at_P != 0).astype(float)
    assert free.sum() == 15
    return found * free[:, None] * free[None]


def test_the_product_is_that_with_the_hessian(hessian):
    product, free_P = curvature.hessian_product(loss, PARAMS)
    found = jax.jit(jax.vmap(product))(jnp.eye(16))
    np.testing.assert_allclose(found, hessian, atol=2e-4)
    assert free_P.sum() == 15


def test_the_trace_is_the_mean_of_the_forms(hessian):
    forms_R = jax.jit(lambda p: curvature.quadratic_forms(loss, p, jax.random.key(0), 500))(PARAMS)
    off = hessian - np.diag(np.diag(hessian))
    deviation = np.sqrt(2 * (off**2).sum() / 500)  # of the mean of as many draws
    assert abs(curvature.hessian_trace.function(forms_R) - np.trace(hessian)) < 4 * deviation
    np.testing.assert_allclose(forms_R.std(), np.sqrt(2 * (off**2).sum()), rtol=0.15)


def test_lanczos_finds_the_largest_eigenvalue(hessian):
    ritz_K = jax.jit(lambda p: curvature.ritz_values(loss, p, jax.random.key(0), 10))(PARAMS)
    eigen_P = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(curvature.hessian_top_eigenvalue.function(ritz_K), eigen_P[-1], rtol=1e-3)
    whole_K = jax.jit(lambda p: curvature.ritz_values(loss, p, jax.random.key(0), 18))(PARAMS)
    np.testing.assert_allclose(whole_K[-5:], eigen_P[-5:], rtol=1e-2, atol=1e-3)
    assert np.isfinite(whole_K).all()


def test_the_rise_is_the_worst_of_the_ball():
    """Against random points of the sphere and the point of sharpness-aware minimization; on a parabola exactly."""
    rises_S = jax.jit(lambda p: curvature.ball_rises(loss, p, 0.5, 30))(PARAMS)
    theta_P, unravel = ravel_pytree(PARAMS)
    way_DxP = RANDOM.normal(size=(2000, 16)) * (np.asarray(theta_P) != 0)
    way_DxP = 0.5 * way_DxP / np.linalg.norm(way_DxP, axis=1, keepdims=True)
    around_D = jax.jit(jax.vmap(lambda way_P: loss(unravel(theta_P + way_P))))(jnp.asarray(way_DxP, jnp.float32))
    assert curvature.ball_sharpness.function(rises_S) >= float(around_D.max() - loss(PARAMS))
    slope_P, _ = ravel_pytree(jax.grad(loss)(PARAMS))
    slope_P = slope_P * (theta_P != 0).astype(jnp.float32)
    there = loss(unravel(theta_P + 0.5 * slope_P / jnp.linalg.norm(slope_P)))
    np.testing.assert_allclose(rises_S[0], there - loss(PARAMS), rtol=1e-4)
    parabola = lambda p: 3 * p[0] ** 2 + p[1] ** 2  # noqa: E731
    rises_S = jax.jit(lambda p: curvature.ball_rises(parabola, p, 0.1, 30))(jnp.asarray([1e-3, 1e-3]))
    np.testing.assert_allclose(rises_S[-1], 3 * 0.1**2, rtol=0.05)
