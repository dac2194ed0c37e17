"""Mean cosine against two loops in NumPy; the partition score against float64, over directions both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.metrics.spectra import isotropy

read = jax.jit(isotropy.function)
RANDOM = np.random.default_rng(0)


def cloud(n, width, mean=0.0):
    spread = np.geomspace(1, 0.1, width)
    return (RANDOM.normal(size=(n, width)) * spread + mean).astype(np.float32)


def reading(z_NxD):
    return read(jnp.asarray(z_NxD, jnp.float32))


def cosine_by_hand(z_NxD):
    """The mean over all pairs of different states; one that is zero has a cosine of zero with all."""
    z_NxD, total = np.asarray(z_NxD, float), 0.0
    for i, one in enumerate(z_NxD):
        for j, other in enumerate(z_NxD):
            size = np.sqrt((one**2).sum()) * np.sqrt((other**2).sum())
            total += (one * other).sum() / size if i != j and size > 0 else 0.0
    return total / (len(z_NxD) * (len(z_NxD) - 1))


def partition_by_hand(z_NxD):
    """Over the eigenvectors of ZᵀZ, all D of them, and their opposites."""
    z_NxD = np.asarray(z_NxD, float)
    z_NxD = z_NxD / np.sqrt((z_NxD**2).mean())
    _, direction_DxD = np.linalg.eigh(z_NxD.T @ z_NxD)
    log_z = [np.log(np.exp(sign * (z_NxD @ c)).sum()) for c in direction_DxD.T for sign in (1, -1)]
    return min(log_z) - max(log_z)


@pytest.mark.parametrize("mean", [0.0, 0.3, 10.0])
def test_mean_cosine_is_that_of_all_pairs(mean):
    z_NxD = cloud(24, 6, mean)
    np.testing.assert_allclose(reading(z_NxD).mean_cosine, cosine_by_hand(z_NxD), atol=2e-6)


def test_a_state_that_is_zero_has_no_cosine_with_any():
    z_NxD = cloud(24, 6, 1.0)
    z_NxD[[3, 8]] = 0
    np.testing.assert_allclose(reading(z_NxD).mean_cosine, cosine_by_hand(z_NxD), atol=2e-6)


@pytest.mark.parametrize("mean", [0.0, 0.3, 10.0])
def test_partition_is_that_in_float64(mean):
    z_NxD = cloud(24, 6, mean)
    np.testing.assert_allclose(reading(z_NxD).partition, partition_by_hand(z_NxD), rtol=1e-4)


def test_the_opposite_cloud_reads_the_same():
    z_NxD = cloud(24, 6, 0.3)
    np.testing.assert_allclose(reading(z_NxD), reading(-z_NxD), rtol=1e-5)


def test_with_fewer_states_than_dimensions_a_direction_that_none_has_a_part_in_counts():
    z_NxD = cloud(8, 12, 0.5)
    found, scaled_NxD = reading(z_NxD), z_NxD / np.sqrt((z_NxD.astype(float) ** 2).mean())
    axes_KxD = np.linalg.svd(scaled_NxD, full_matrices=False)[2]
    along = np.exp(np.concatenate([scaled_NxD @ axes_KxD.T, -scaled_NxD @ axes_KxD.T], axis=1)).sum(axis=0)
    low, high = min(*np.log(along), np.log(8)), max(*np.log(along), np.log(8))
    np.testing.assert_allclose(found.partition, low - high, rtol=1e-4)
    np.testing.assert_allclose(found.partition, partition_by_hand(z_NxD), rtol=1e-4)
    np.testing.assert_allclose(found.mean_cosine, cosine_by_hand(z_NxD), atol=2e-6)


@pytest.mark.parametrize("sides", [(1, -1), (1, 1)])
def test_where_all_states_lie_on_one_line_the_other_directions_read_log_n(sides):
    """Half the states at one place, half at another, along one axis of 12."""
    z_NxD = np.zeros((8, 12), np.float32)
    z_NxD[:, 0] = np.repeat(np.asarray([2, 1]) * sides, 4)
    scaled_N = z_NxD[:, 0] / np.sqrt((z_NxD**2).mean())
    ends = [np.log(np.exp(sign * scaled_N).sum()) for sign in (1, -1)] + [np.log(8)]
    np.testing.assert_allclose(reading(z_NxD).partition, min(ends) - max(ends), rtol=1e-5)


@pytest.mark.parametrize("factor", [2.0**-40, 1e-12, 3.7, 1e12, 1e30])
def test_a_common_factor_moves_neither(factor):
    z_NxD = cloud(24, 6, 0.3)
    scaled_NxD = z_NxD * np.float32(factor)
    np.testing.assert_allclose(reading(scaled_NxD), reading(z_NxD), rtol=1e-4)


def test_a_turned_cloud_reads_the_same():
    z_NxD = cloud(24, 6, 0.3)
    turn_DxD = np.linalg.qr(RANDOM.normal(size=(6, 6)))[0]
    np.testing.assert_allclose(reading(z_NxD @ turn_DxD), reading(z_NxD), rtol=1e-4)


def test_an_isotropic_cloud_reads_about_zero_and_one_with_a_common_mean_far_below():
    z_NxD = RANDOM.normal(size=(20_000, 4)).astype(np.float32)
    found, moved = reading(z_NxD), reading(z_NxD + 3)
    assert abs(found.mean_cosine) < 1e-3
    assert -0.1 < found.partition <= 0
    assert moved.mean_cosine > 0.8
    assert moved.partition < -2.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_entry_that_is_not_finite_makes_both_nan(bad):
    z_NxD = cloud(24, 6)
    z_NxD[3, 2] = bad
    assert np.isnan(np.asarray(reading(z_NxD))).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_states_without_spread_read_nan(value):
    assert np.isnan(np.asarray(reading(np.full((24, 6), value)))).all()


def test_cells_side_by_side_read_as_each_alone():
    z_CxNxD = np.stack([cloud(24, 6), cloud(24, 6, 5.0), np.full((24, 6), np.nan, np.float32)])
    together = jax.jit(jax.vmap(isotropy.function))(jnp.asarray(z_CxNxD))
    for cell, z_NxD in enumerate(z_CxNxD):
        np.testing.assert_allclose([each[cell] for each in together], reading(z_NxD), rtol=1e-4, atol=1e-6)
