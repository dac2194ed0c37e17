"""Cluster indices against scikit-learn and a brute-force cosine matrix, on clean and on nasty clouds."""

import jax
import numpy as np
import pytest
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score
from sklearn.metrics.pairwise import cosine_distances

from analysis.metrics.cluster_indices import calinski_harabasz, class_separation, davies_bouldin
from tests.analysis.conftest import of_another_shape, slow_where


def reference_class_separation(z, labels):
    """The paper's double sums, pair by pair, on the centred cloud."""
    far = cosine_distances(np.asarray(z, np.float64) - np.asarray(z, np.float64).mean(0))
    present = np.unique(labels)
    mean = np.array([[far[np.ix_(labels == a, labels == b)].mean() for b in present] for a in present])
    return 1 - np.diag(mean).mean() / mean.mean()


reference_davies_bouldin, reference_calinski_harabasz = davies_bouldin_score, calinski_harabasz_score

READ = {
    "davies_bouldin": (jax.jit(davies_bouldin, static_argnums=2), reference_davies_bouldin),
    "calinski_harabasz": (jax.jit(calinski_harabasz, static_argnums=2), reference_calinski_harabasz),
    "class_separation": (jax.jit(class_separation, static_argnums=2), reference_class_separation),
}
C = 6


def groups(seed, n=128, width=16, gap=1.0, weights=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(C, size=n, p=weights).astype(np.int32)
    z = gap * rng.normal(size=(C, width))[labels] + rng.normal(size=(n, width))
    return z.astype(np.float32), labels


def nasty(kind):
    """A cloud and labels that trip a careless reading."""
    z, labels = groups(0, weights=[0.7, 0.1, 0.1, 0.1, 0, 0] if kind == "unequal" else None)
    if kind == "mean of 1000":
        z = z + np.float32(1000)
    if kind == "duplicates":
        z[10:50] = z[60:100]
    if kind == "rank deficient":
        z[:, 4:] = z[:, :4].repeat(3, axis=1)
    if kind == "singleton":
        labels[labels == 3] = 2
        labels[7] = 3
    return groups(1, n=24, width=64) if kind == "N below D" else (z, labels)


KINDS = ["clean", "unequal", "mean of 1000", "duplicates", "rank deficient", "singleton", "N below D"]


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
@pytest.mark.parametrize("name", READ)
def test_agrees_with_the_reference(name, kind):
    read, reference = READ[name]
    z, labels = nasty(kind)
    np.testing.assert_allclose(read(z, labels, C), reference(z.astype(np.float64), labels), rtol=1e-4, atol=2e-6)


def test_collapsed_classes():
    """Every class one point. scikit-learn's Calinski–Harabasz would say 1 at exactly no spread; here it is large."""
    labels = (np.arange(96) % C).astype(np.int32)
    z = np.random.default_rng(2).normal(size=(C, 16)).astype(np.float32)[labels]
    np.testing.assert_allclose(READ["davies_bouldin"][0](z, labels, C), 0, atol=1e-5)
    np.testing.assert_allclose(READ["class_separation"][0](z, labels, C), 1, atol=1e-5)
    assert 1e8 < READ["calinski_harabasz"][0](z, labels, C) < np.inf


def test_two_classes_on_one_mean_make_no_pair():
    """The mirror image of a class has the same mean: scikit-learn leaves the pair out, in exact arithmetic."""
    half = np.random.default_rng(3).integers(-8, 9, size=(16, 8)).astype(np.float32)
    z = np.concatenate([half, -half, 2 * half, -2 * half, half + 20, 20 - half])
    labels = np.repeat(np.arange(3, dtype=np.int32), 32)
    expected = davies_bouldin_score(z.astype(np.float64), labels)
    np.testing.assert_allclose(READ["davies_bouldin"][0](z, labels, C), expected, rtol=1e-5)


def test_class_separation_without_class_signal_is_one_over_n():
    z, labels = groups(4, n=60 * C, width=64, gap=0)
    np.testing.assert_allclose(READ["class_separation"][0](z, labels, C), 1 / 60, rtol=0.3)


@pytest.mark.parametrize("name", READ)
def test_undefined_readings_are_nan(name):
    read, (z, labels) = READ[name][0], groups(5)
    assert np.isnan(read(z, np.full_like(labels, 2), C))
    assert np.isnan(read(z, labels + 1, C))
    assert np.isnan(read(np.where(z == z[3, 3], np.nan, z).astype(np.float32), labels, C))
    assert np.isnan(read(np.full_like(z, 1000.3), labels, C))
    if name != "class_separation":  # which needs no spread within a class
        assert np.isnan(read(z[:32], np.arange(32, dtype=np.int32), 32))
