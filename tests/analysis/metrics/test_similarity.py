"""Similarity of two cells' states against float64 NumPy, SciPy and scikit-learn, on clean and nasty states."""

import jax
import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.spatial import procrustes
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from analysis.metrics import similarity
from tests.analysis.conftest import of_another_shape, slow_where

CKA = jax.jit(similarity.linear_cka)
DEBIASED = jax.jit(similarity.debiased_linear_cka)
SVCCA = jax.jit(similarity.svcca, static_argnums=2)
DISTANCE = jax.jit(similarity.procrustes_distance)
IMAGE = jax.jit(similarity.linear_image)
ALL = {"cka": CKA, "debiased": DEBIASED, "svcca": SVCCA, "distance": DISTANCE, "image": IMAGE}


def pair(seed, n=256, widths=(12, 12), shared=4):
    """Two noisy views of `shared` common factors."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(n, shared))
    return [(common @ rng.normal(size=(shared, d)) + rng.normal(size=(n, d))).astype(np.float32) for d in widths]


def nasty(kind):
    if kind == "few examples":
        return pair(0, n=20, widths=(32, 24))
    x, y = pair(0, widths=(12, 7) if kind == "two widths" else (12, 12))
    if kind == "mean of 1000":
        x = x + np.float32(1000)
    if kind == "duplicates":
        x[10:80], y[10:80] = x[100:170], y[100:170]
    if kind == "rank deficient":
        x[:, 3:] = x[:, :3].repeat(3, axis=1)
    if kind == "outlier":
        x[3] += 1e3
        y[3] += 2e3
    if kind == "tiny":
        x = x * np.float32(1e-20)
    return x, y


def centred(z):
    z = z.astype(np.float64)
    return z - z.mean(0)


KINDS = ["clean", "two widths", "few examples", "mean of 1000", "duplicates", "rank deficient", "outlier", "tiny"]


def unbiased_hsic(k, m):
    """Song et al. 2012, equation 5, from Gram matrices of zero diagonal."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    both = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 * (one @ k @ m @ one) / (n - 2)
    return both / (n * (n - 3))


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_cka_agrees_with_gram_matrices_in_float64(kind):
    x, y = nasty(kind)
    k, m = (centred(z) / np.linalg.norm(centred(z)) for z in (x, y))
    k, m = k @ k.T, m @ m.T
    np.testing.assert_allclose(CKA(x, y), np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)), rtol=1e-4)
    expected = unbiased_hsic(k, m) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
    np.testing.assert_allclose(DEBIASED(x, y), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_bias_of_cka_of_independent_data_and_its_absence():
    """The published trap in figures: biased CKA of independent data in 64 dimensions."""
    for n, expected in {32: 0.68, 64: 0.50, 256: 0.20, 1024: 0.06}.items():
        cells = np.random.default_rng(n).normal(size=(2, n, 64)).astype(np.float32)
        assert abs(CKA(*cells) - expected) < 0.025
        assert abs(DEBIASED(*cells)) < 3 / n
    x, _ = pair(1)
    np.testing.assert_allclose([CKA(x, x), DEBIASED(x, x)], 1, rtol=1e-5)


@pytest.mark.parametrize("share", slow_where(lambda share: share != 0.99, [0.8, 0.99, 1.0]))
@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_svcca_agrees_with_angles_between_principal_subspaces(kind, share):
    x, y = nasty(kind)
    rank = 3 if kind == "rank deficient" else None
    scores = []
    for z, limit in ((x, rank), (y, None)):
        pca = PCA().fit(z.astype(np.float64) / np.abs(z).max())
        ratio = pca.explained_variance_ratio_
        resolved = int(np.sum(ratio > 1e-10)) if limit is None else limit
        kept = min(int(np.searchsorted(np.cumsum(ratio), share - 1e-12)) + 1, resolved)
        scores.append(pca.transform(z.astype(np.float64) / np.abs(z).max())[:, :kept])
    expected = np.cos(subspace_angles(*scores)).mean()
    np.testing.assert_allclose(SVCCA(x, y, share), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", slow_where(of_another_shape, KINDS))
def test_procrustes_agrees_with_scipy(kind):
    x, y = nasty(kind)
    width = max(x.shape[1], y.shape[1])
    padded = [np.pad(centred(z) / np.abs(centred(z)).max(), ((0, 0), (0, width - z.shape[1]))) for z in (x, y)]
    got = float(DISTANCE(x, y))
    np.testing.assert_allclose(got - got**2 / 4, procrustes(*padded)[2], rtol=1e-4, atol=2e-6)


def reference_image(x, y, held):
    """Ridge on scores of unit variance, by scikit-learn; `held` are the rows held out."""
    scale = np.abs(centred(x)).max()
    pca = PCA().fit(centred(x)[~held] / scale)
    rank = int(np.sum(np.sqrt(pca.explained_variance_) > 1e-5))
    n = int(np.sum(~held))
    white = pca.transform(centred(x) / scale)[:, :rank] / np.sqrt(pca.explained_variance_[:rank] * (n - 1) / n)
    ridge = Ridge(alpha=similarity.IMAGE_RIDGE * n).fit(white[~held], centred(y)[~held])
    return r2_score(centred(y)[held], ridge.predict(white[held]), multioutput="variance_weighted")


def every_fourth_distinct(x, y):
    _, first, inverse = np.unique(np.concatenate([x, y], axis=1), axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # of each distinct row, in the order of first occurrence
    return rank[inverse.ravel()] % 4 == 3


@pytest.mark.parametrize(
    "kind",
    slow_where(
        of_another_shape,
        [kind for kind in KINDS if kind != "few examples"],
    ),
)
def test_images_agree_with_scikit_learns_ridge(kind):
    x, y = nasty(kind)
    held = every_fourth_distinct(x, y)
    got = IMAGE(x, y)
    np.testing.assert_allclose(got.y_from_x, reference_image(x, y, held), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(got.x_from_y, reference_image(y, x, held), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("condition", slow_where(lambda condition: condition != 10, [1, 10, 1000]))
def test_an_invertible_map_is_an_image_both_ways_and_moves_what_it_should(condition):
    rng = np.random.default_rng(2)
    x, _ = pair(2)
    left, right = (np.linalg.qr(rng.normal(size=(12, 12)))[0] for _ in range(2))
    y = (centred(x) @ left @ np.diag(np.geomspace(1, condition, 12)) @ right + 5).astype(np.float32)
    np.testing.assert_allclose(IMAGE(x, y), 1, atol=2e-4)
    np.testing.assert_allclose(SVCCA(x, y, 1.0), 1, atol=1e-4)
    rotated = condition == 1
    assert (DISTANCE(x, y) < 1e-5) == rotated
    assert (DEBIASED(x, y) > 0.9999) == rotated


def test_a_projection_is_an_image_one_way_only_and_a_bend_is_none():
    x = np.random.default_rng(3).normal(size=(512, 8)).astype(np.float32)
    got = IMAGE(x, x * (np.arange(8) < 4).astype(np.float32))
    assert got.y_from_x > 0.999
    assert 0.4 < got.x_from_y < 0.6
    assert max(IMAGE(x, np.square(x))) < 0.1
    assert max(IMAGE(x, x[::-1].copy())) < 0.1


@pytest.mark.slow
def test_few_distinct_inputs_seen_again_and_again_show_nothing():
    """With 36 inputs in 24 columns any states fit any others on inputs already seen."""
    rng = np.random.default_rng(4)
    at = rng.integers(0, 36, size=512)
    x, y = (rng.normal(size=(36, 24)).astype(np.float32)[at] for _ in range(2))
    assert np.isnan(IMAGE(x, y)).all()
    at = rng.integers(0, 96, size=512)
    x, y = (rng.normal(size=(96, 24)).astype(np.float32)[at] for _ in range(2))
    assert max(IMAGE(x, y)) < 0.2
    mix = rng.normal(size=(24, 24)).astype(np.float32)
    np.testing.assert_allclose(IMAGE(x, x @ mix), 1, atol=2e-4)
    flat = rng.normal(size=(24, 3)).astype(np.float32)[rng.integers(0, 24, size=512)] @ mix[:3]
    np.testing.assert_allclose(IMAGE(flat, flat @ mix), 1, atol=2e-4)  # 18 inputs are enough for 3 dimensions


@pytest.mark.usefixtures("unchecked")
def test_undefined_readings_are_nan_and_other_shapes_refused():
    x, y = pair(5)
    hole = np.where(y == y[3, 3], np.nan, y).astype(np.float32)
    for other in (hole, np.full_like(y, 1.3), np.full_like(y, np.inf)):
        for name, read in ALL.items():
            assert np.isnan(read(x, other)).all(), name
            assert np.isnan(read(other, x)).all(), name
    assert np.isnan(DEBIASED(np.eye(16, dtype=np.float32), y[:16]))  # equally far apart: no distances to compare
    for name, read in ALL.items():
        with pytest.raises(ValueError, match="same examples"):
            read(x, y[:-1])
        assert np.isfinite(read(x, y)).all(), name
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="share"):
            SVCCA(x, y, share)


@pytest.mark.slow
def test_vmap_equals_a_loop():
    x, y = (np.stack(side) for side in zip(*(pair(seed, n=64) for seed in range(3)), strict=True))
    for name, read in ALL.items():
        expected = [read(a, b) for a, b in zip(x, y, strict=True)]
        got = jax.jit(jax.vmap(read))(x, y)
        np.testing.assert_allclose(np.stack(got, -1) if name == "image" else got, expected, rtol=1e-4, atol=1e-5)
