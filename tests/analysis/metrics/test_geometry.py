"""Geometry readings against scikit-dimension and float64 NumPy, on clean and on nasty clouds."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from analysis.metrics.geometry import (
    centre,
    participation_ratio,
    rank_me,
    spectrum,
    squared_distances,
    two_nn,
    whitening,
)
from tests.analysis.conftest import slow_where

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a third-party import
    import skdim

TWO_NN, PR, RANK_ME = jax.jit(two_nn), jax.jit(participation_ratio), jax.jit(rank_me)


def blob(seed, n=512, dim=5, width=40):
    """A curved `dim`-dimensional cloud in `width` dimensions, float32."""
    rng = np.random.default_rng(seed)
    flat = rng.normal(size=(n, dim))
    z = np.tanh(flat @ rng.normal(size=(dim, width)) / np.sqrt(dim)) + flat @ rng.normal(size=(dim, width))
    return z.astype(np.float32)


def reference_two_nn(z):
    """The same estimator in float64 on the distinct rows, by brute force."""
    z = np.unique(np.asarray(z, np.float64), axis=0)
    far = cdist(z, z)
    np.fill_diagonal(far, np.inf)
    far.sort(axis=1)
    return (len(z) - 1) / np.log(far[:, 1] / far[:, 0]).sum()


def reference_spectrum(z):
    z = np.asarray(z, np.float64)
    return np.linalg.svd(z - z.mean(0), compute_uv=False)


def reference_rank_me(z):
    share = reference_spectrum(z)
    share = share[share > 0] / share.sum()
    return np.exp(-(share * np.log(share)).sum())


def reference_participation_ratio(z):
    variance = reference_spectrum(z) ** 2
    return variance.sum() ** 2 / (variance**2).sum()


@pytest.mark.parametrize(("dim", "width"), slow_where(lambda size: size[0] != 5, [(2, 10), (5, 40), (20, 64)]))
def test_two_nn_agrees_with_scikit_dimension(dim, width):
    z = blob(dim, dim=dim, width=width)
    with np.errstate(divide="ignore"):  # it also takes the log of an empirical survival of 0, which nothing here reads
        expected = skdim.id.TwoNN(discard_fraction=0.0, method="mle").fit(z.astype(np.float64)).dimension_
    got = TWO_NN(z)
    # A squared distance carries a relative error of about 1e-6, and log(r2/r1) is of order 1/dim.
    np.testing.assert_allclose(got.dimension, expected, rtol=1e-4)
    assert got.kept == 1.0


def test_two_nn_with_a_third_of_the_points_duplicated():
    z = blob(0, n=1024)
    z[:307] = z[400:707]
    got = TWO_NN(z)
    np.testing.assert_allclose(got.dimension, reference_two_nn(z), rtol=1e-4)
    assert 4.0 < got.dimension < 6.0
    np.testing.assert_allclose(got.kept, (1024 - 307) / 1024)


def test_two_nn_of_1024_samples_of_128_inputs():
    """Most points are duplicates, in groups: the median r1 is 0, and so is r2."""
    distinct = blob(1, n=128)
    z = distinct[np.random.default_rng(2).permutation(np.arange(1024) % 128)]
    got = TWO_NN(z)
    np.testing.assert_allclose(got.dimension, TWO_NN(distinct).dimension, rtol=1e-5)
    np.testing.assert_allclose(got.kept, 128 / 1024)
    jitter = 1 + 1e-7 * np.random.default_rng(3).integers(-1, 2, z.shape)
    shaken = TWO_NN((z * jitter).astype(np.float32))
    np.testing.assert_allclose(shaken.dimension, got.dimension, rtol=1e-4)
    np.testing.assert_allclose(shaken.kept, got.kept)


def test_two_nn_drops_debris_above_the_rounding():
    """Pairs 1e-5 apart are not duplicates to float32, yet say nothing about the cloud."""
    z = blob(4)
    z[:20] = z[20:40] + 1e-5 * z.std() * np.random.default_rng(5).normal(size=z[:20].shape).astype(np.float32)
    got = TWO_NN(z)
    assert got.kept == (512 - 40) / 512
    np.testing.assert_allclose(got.dimension, reference_two_nn(z[40:]), rtol=0.1)


def test_mean_offset_of_1000():
    """Compared on the same float32 data, whose own rounding is not the estimator's fault."""
    z = blob(6, dim=20, width=64) + np.float32(1000)
    np.testing.assert_allclose(TWO_NN(z).dimension, reference_two_nn(z), rtol=1e-4)
    np.testing.assert_allclose(PR(z), reference_participation_ratio(z), rtol=1e-4)
    np.testing.assert_allclose(RANK_ME(z), reference_rank_me(z), rtol=1e-4)


def test_neighbours_in_tight_far_clusters():
    """Clusters 1e4 times smaller than their distance: a Gram matrix in float32 has no digit left for them."""
    rng = np.random.default_rng(7)
    z = (rng.normal(size=(8, 32))[np.arange(512) % 8] + 1e-4 * rng.normal(size=(512, 32))).astype(np.float32)
    # The data's own rounding (6e-8 of 1) is 6e-4 of a cluster; the distances between these float32 numbers are exact.
    np.testing.assert_allclose(TWO_NN(z).dimension, reference_two_nn(z), rtol=2e-3)


def test_distances_are_exact_for_duplicates_and_symmetric():
    z = blob(8, n=70)
    z[3] = z[11]
    squared = np.asarray(squared_distances(jnp.asarray(z)))
    assert squared[3, 11] == 0
    np.testing.assert_array_equal(squared, squared.T)
    wide = z.astype(np.float64)
    expected = np.square(wide[:, None] - wide[None]).sum(-1)
    np.testing.assert_allclose(squared, expected, rtol=5e-6)


@pytest.mark.parametrize("shape", [(512, 40), (48, 96)])
def test_spectral_readings_agree_with_references(shape):
    n, width = shape
    z = blob(9, n=n, width=width)
    expected = skdim.id.lPCA(ver="participation_ratio").fit(z.astype(np.float64)).dimension_
    np.testing.assert_allclose(PR(z), expected, rtol=1e-5)
    np.testing.assert_allclose(RANK_ME(z), reference_rank_me(z), rtol=1e-4)


def test_rank_deficient_cloud():
    rng = np.random.default_rng(10)
    z = (rng.normal(size=(256, 5)) @ rng.normal(size=(5, 64))).astype(np.float32)
    np.testing.assert_allclose(PR(z), reference_participation_ratio(z), rtol=1e-5)
    # 59 singular values of rounding size, not exactly 0, carry 59·1e-7 of the mass times a log of 16.
    np.testing.assert_allclose(RANK_ME(z), reference_rank_me(z), rtol=1e-3)
    assert RANK_ME(z) < 5.01


def test_participation_ratio_is_biased_at_small_n():
    """The figures in the science notes for an isotropic cloud of 64 dimensions."""
    z = np.random.default_rng(11).normal(size=(4096, 64)).astype(np.float32)
    got = [float(PR(z[:n])) for n in (64, 256, 1024, 4096)]
    np.testing.assert_allclose(got, [31, 51, 60, 63], atol=1.5)


@pytest.mark.parametrize("scale", [2.0**-100, 1e-25, 1e25, 2.0**100])
def test_scale_does_not_matter(scale):
    z = blob(12, n=128)
    big = z * np.float32(scale)
    rtol = 0 if np.log2(scale).is_integer() else 1e-5
    for reading in (lambda x: TWO_NN(x).dimension, PR, RANK_ME):
        np.testing.assert_allclose(reading(big), reading(z), rtol=rtol)


def test_no_reading_without_information():
    few = blob(13, n=20)
    assert np.isnan(TWO_NN(few).dimension)
    assert TWO_NN(few).kept == 1.0
    assert np.isnan(TWO_NN(np.eye(64, dtype=np.float32)).dimension)  # all neighbours tied
    for z in (np.zeros((64, 64), np.float32), np.full((64, 64), 1000.3, np.float32)):
        assert np.isnan([TWO_NN(z).dimension, TWO_NN(z).kept, PR(z), RANK_ME(z)]).all()


def read_all(z):
    return jnp.stack([*two_nn(z), participation_ratio(z), rank_me(z)])


READ, READ_CELLS = jax.jit(read_all), jax.jit(jax.vmap(read_all))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_cell_reads_nan_and_spares_its_neighbours(bad):
    cells = np.stack([blob(seed, n=64, width=12) for seed in range(3)])
    cells[1, 5, 3] = bad

    got = READ_CELLS(cells)
    assert np.isnan(got[1]).all()
    for cell in (0, 2):
        np.testing.assert_allclose(got[cell], READ(cells[cell]), rtol=1e-5)


def test_whitening_gives_unit_variance_and_drops_rounding_noise():
    rng = np.random.default_rng(14)
    z = (rng.normal(size=(256, 5)) @ rng.normal(size=(5, 16))).astype(np.float32)
    cloud = centre(jnp.asarray(z))
    white = np.asarray(cloud.points_NxD @ whitening(spectrum(cloud.points_NxD), 256, cloud.resolution))
    np.testing.assert_allclose(white.T @ white / 256, np.diag([1.0] * 5 + [0.0] * 11), atol=1e-2)


@pytest.mark.parametrize("z", [np.zeros((4, 3), np.float32), np.zeros((16, 3), np.float64), np.zeros(16, np.float32)])
@pytest.mark.usefixtures("unchecked")
def test_wrong_shape_or_type_is_refused(z):
    with pytest.raises(ValueError, match="hidden states must be float32"):
        centre(z)
