"""Projections and changes of basis against brute-force NumPy in float64 and scikit-learn, on clean and nasty clouds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis.causal.subspaces import bases, factor_removal, matched_removal, random_removal
from analysis.metrics.geometry import centre, participation_ratio, spectrum
from analysis.metrics.separation import classes, fisher_trace, silhouette
from tests.analysis.conftest import of_another_shape, slow_where

C, H, D = 4, 400, 12
KINDS = ("clean", "mean of 1000", "steep", "absent class", "duplicates", "switched off")


def cloud_of(kind):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, C, H).astype(np.int32)
    if kind == "absent class":
        labels[labels == 2] = 0
    z = 1.5 * rng.normal(size=(C, D))[labels] + rng.normal(size=(H, D)) @ rng.normal(size=(D, D))
    if kind == "mean of 1000":
        z = z + 1000
    if kind == "steep":
        z = z * 10.0 ** -np.linspace(0, 2.5, D)
    if kind == "duplicates":
        z[:200], labels[:200] = z[200:], labels[200:]
    if kind == "switched off":
        z[:, 8:] = 0.0
    return z.astype(np.float32), labels


@partial(jax.jit, static_argnums=2)
def remove(z_HxD, labels_H, n_classes=C):
    cloud = centre(z_HxD)
    return factor_removal(cloud, classes(labels_H, n_classes)), spectrum(cloud.points_NxD), cloud


def numpy_leace(z, labels):
    """The closed form of 2306.03819 in its own coordinates: P = W⁺·proj(W·Σ_xz)·W with W the symmetric Σ^(-1/2)."""
    z = z.astype(np.float64) - z.astype(np.float64).mean(axis=0)
    values, axes = np.linalg.eigh(z.T @ z / len(z))
    kept = values > 1e-10 * values.max()
    root = (axes[:, kept] * np.sqrt(values[kept])) @ axes[:, kept].T
    white = (axes[:, kept] / np.sqrt(values[kept])) @ axes[:, kept].T
    target = np.eye(C)[labels] - np.eye(C)[labels].mean(axis=0)
    u, s, _ = np.linalg.svd(white @ (z.T @ target) / len(z), full_matrices=False)
    u = u[:, s > 1e-5]
    return root @ u @ u.T @ white, u.shape[1]  # acts on columns


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_removal_of_a_factor_is_leace(kind):
    z, labels = cloud_of(kind)
    removal, _, _ = remove(z, labels)
    expected, rank = numpy_leace(z, labels)
    assert float(removal.dimension) == rank == len(np.unique(labels)) - 1
    centred = z.astype(np.float64) - z.astype(np.float64).mean(axis=0)
    gone = centred @ np.asarray(removal.map_DxD, np.float64)
    np.testing.assert_allclose(gone, centred @ expected.T, atol=2e-3 * np.abs(centred).max())
    variance = np.square(centred @ expected.T).sum() / np.square(centred).sum()
    assert float(removal.variance) == pytest.approx(variance, rel=2e-3)


@pytest.mark.parametrize("kind", ["clean", "steep"])
def test_behind_it_no_linear_probe_is_better_than_a_constant(kind):
    z, labels = cloud_of(kind)
    removal, _, cloud = remove(z, labels)
    points = np.asarray(cloud.points_NxD)
    left = points - points @ np.asarray(removal.map_DxD)
    scores = []
    for states in (points, left):
        scaled = states / states.std(axis=0)
        scores.append(LogisticRegression(C=1e3, max_iter=2000).fit(scaled, labels).score(scaled, labels))
    constant = np.bincount(labels).max() / H
    assert scores[0] > constant + 0.15
    assert scores[1] <= constant + 0.02


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_a_random_projection_has_the_rank_asked_for_within_the_states(kind):
    z, labels = cloud_of(kind)
    _, spec, cloud = remove(z, labels)
    found = jax.jit(random_removal, static_argnums=3)(spec, jax.random.key(0), jnp.float32(3), 5)
    projection = np.asarray(found.map_DxD, np.float64)
    np.testing.assert_allclose(projection @ projection, projection, atol=1e-5)
    np.testing.assert_allclose(projection, projection.T, atol=1e-6)
    assert np.trace(projection) == pytest.approx(3, abs=1e-4)
    points = np.asarray(cloud.points_NxD, np.float64)
    shares = np.square(points @ projection).sum() / np.square(points).sum()
    assert float(found.variance) == pytest.approx(shares, abs=1e-4)
    if kind == "switched off":
        assert np.abs(projection[8:]).max() < 1e-4  # never a direction that no state uses


def test_random_projections_are_isotropic():
    """Of K used directions, 3 hold 3/K of the variance on average."""
    z, labels = cloud_of("clean")
    _, spec, _ = remove(z, labels)
    draw = jax.vmap(lambda key: random_removal(spec, key, jnp.float32(3), 3).variance)
    shares = np.asarray(draw(jax.random.split(jax.random.key(1), 600)))
    assert abs(shares.mean() - 3 / D) < 4 * shares.std() / np.sqrt(len(shares))


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_a_matched_projection_removes_as_much_variance(kind):
    z, labels = cloud_of(kind)
    _, spec, _ = remove(z, labels)
    match = jax.jit(matched_removal, static_argnums=3)
    variances = np.sort(np.square(np.asarray(spec.singular_K, np.float64)))[::-1]
    used = variances[variances > 1e-10 * variances[0]]
    least, most = used[-3:].sum() / used.sum(), used[:3].sum() / used.sum()
    for wanted in (1.1 * least, 0.5 * most, 0.97 * most):
        found = match(spec, jax.random.key(0), jnp.float32(3), 5, jnp.float32(wanted))
        assert float(found.variance) == pytest.approx(wanted, abs=3e-3)
        assert np.trace(np.asarray(found.map_DxD)) == pytest.approx(3, abs=1e-4)


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_bases_can_be_undone(kind):
    z, labels = cloud_of(kind)
    removal, spec, cloud = remove(z, labels)
    for name, basis in bases(spec, removal, jax.random.key(0)).items():
        there, back = (np.asarray(m, np.float64) for m in basis)
        points = np.asarray(cloud.points_NxD, np.float64)
        np.testing.assert_allclose(points @ there @ back, points, atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_what_bases_do_to_metrics_and_what_they_cannot_do():
    z, labels = map(jnp.asarray, cloud_of("clean"))
    removal, spec, _ = remove(z, labels)
    in_basis = {n: z @ b.there_DxD for n, b in bases(spec, removal, jax.random.key(0)).items()}
    rank = {n: float(participation_ratio(one)) for n, one in in_basis.items()} | {"none": float(participation_ratio(z))}
    assert rank["whitened"] > 0.99 * D
    assert rank["sharpened"] < rank["none"] == pytest.approx(rank["rotated"], rel=1e-4)
    apart = {n: float(silhouette(one, labels, C)) for n, one in in_basis.items()}
    assert apart["factor up"] > apart["factor down"] + 0.2
    fisher = float(fisher_trace(z, labels, C))
    for name, one in in_basis.items():
        assert float(fisher_trace(one, labels, C)) == pytest.approx(fisher, rel=1e-2), name


def test_a_cell_that_diverged_gives_maps_without_a_nan():
    z, labels = cloud_of("clean")
    z[3, 2] = np.nan
    removal, spec, cloud = remove(z, labels)
    assert not bool(cloud.valid)
    found = [removal, random_removal(spec, jax.random.key(0), removal.dimension, 3)]
    found.append(matched_removal(spec, jax.random.key(0), removal.dimension, 3, removal.variance))
    assert all(np.isfinite(np.asarray(one.map_DxD)).all() for one in found)
