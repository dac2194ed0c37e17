"""LiDAR against the paper's matrices in float64, and on clouds whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.metrics.lidar import WITHIN_FLOOR, lidar
from tests.analysis.conftest import of_another_shape, slow_where

READ = jax.jit(lidar)


def reference(z):
    """Σ_w^{-½} Σ_b Σ_w^{-½} by a symmetric root; the cloud scaled to a mean column variance of 1."""
    z = np.asarray(z, np.float64)
    z = z - z.mean((0, 1))
    variance = np.square(z).mean((0, 1))
    z = z / np.sqrt(variance[variance > 1e-12 * variance.max()].mean())
    mean = z.mean(1)
    residual = (z - mean[:, None]).reshape(-1, z.shape[-1])
    within = residual.T @ residual / len(residual) + WITHIN_FLOOR * np.eye(z.shape[-1])
    size, axes = np.linalg.eigh(within)
    root = axes / np.sqrt(size) @ axes.T
    eigen = np.maximum(np.linalg.eigvalsh(root @ (mean.T @ mean / len(mean)) @ root), 0)
    share = eigen / eigen.sum()
    return np.exp(-np.sum(share[share > 0] * np.log(share[share > 0])))


def views(seed, inputs=40, n_views=6, width=8, within: float | np.ndarray = 0.5):
    rng = np.random.default_rng(seed)
    scale = np.geomspace(1, 0.1, width)
    z = rng.normal(size=(inputs, 1, width)) * scale + within * rng.normal(size=(inputs, n_views, width))
    return z.astype(np.float32)


def nasty(kind):
    # Uneven and down to the floor: an even within-input covariance would hide its strength, which cancels then.
    uneven = np.geomspace(0.001, 0.3, 8)
    z = views(0, within=0 if kind == "views move nothing" else uneven if kind in ("uneven", "silent columns") else 0.5)
    if kind == "mean of 1000":
        z = z + np.float32(1000)
    if kind == "duplicates":
        z[5:20], z[:, 3] = z[25:40], z[:, 1]
    if kind == "rank deficient":
        z[..., 4:] = z[..., :4]
    if kind == "silent columns":
        z = np.concatenate([z, np.full_like(z, 1.7)], axis=2)
    return views(1, inputs=6, n_views=2, width=32) if kind == "N below D" else z


KINDS = [
    "clean",
    "uneven",
    "mean of 1000",
    "duplicates",
    "rank deficient",
    "silent columns",
    "N below D",
    "views move nothing",
]


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_agrees_with_the_matrices(kind):
    z = nasty(kind)
    # Where only the floor is left of Σ_w (1e-4), float32 is good to 1e-3 of it.
    np.testing.assert_allclose(READ(z), reference(z), rtol=3e-3)


def test_unit_and_silent_columns_change_nothing():
    z = views(2)
    np.testing.assert_allclose(READ(z * np.float32(1e-12)), READ(z), rtol=1e-4)
    np.testing.assert_allclose(READ(np.concatenate([z, 0 * z], axis=2)), READ(z), rtol=1e-4)


def test_directions_that_only_views_move_do_not_count():
    """Two directions tell inputs apart; six hold the views' own noise, with ten times the variance."""
    rng = np.random.default_rng(3)
    z = np.zeros((400, 8, 8))
    z[..., :2] = rng.normal(size=(400, 1, 2)) + 0.05 * rng.normal(size=(400, 8, 2))
    z[..., 2:] = 3 * rng.normal(size=(400, 8, 6))
    assert 1.9 < READ(z.astype(np.float32)) < 2.1
    assert READ(views(4, inputs=3, n_views=4, width=16)) <= 2.001  # C − 1


@pytest.mark.usefixtures("unchecked")
def test_undefined_readings_are_nan_and_bad_shapes_raise():
    z = views(5)
    assert np.isnan(READ(np.where(z == z[1, 2, 3], np.nan, z).astype(np.float32)))
    assert np.isnan(READ(np.full_like(z, 4.3)))
    shared_mean = np.broadcast_to(np.concatenate([z[:1], -z[:1]], axis=1), (40, 12, 8))
    assert np.isnan(READ(shared_mean.copy()))
    for bad in (z[0], z[:1], z[:, :1]):
        with pytest.raises(ValueError, match="inputs ≥ 2, views ≥ 2"):
            lidar(jnp.asarray(bad))
