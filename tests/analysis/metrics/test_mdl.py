"""The online code against a float64 pipeline of SciPy and scikit-learn, and on labels that are free, hard or random."""

import itertools

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from analysis.metrics.mdl import block_ends, mdl_probe
from analysis.metrics.v_information import L2_STRENGTHS, PSEUDO_COUNT
from tests.analysis.conftest import of_another_shape, slow_where

MDL = jax.jit(mdl_probe, static_argnums=2)
C = 4


def groups(seed, n=200, width=10, gap=0.6, weights=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(C, size=n, p=weights).astype(np.int32)
    return (gap * rng.normal(size=(C, width))[labels] + rng.normal(size=(n, width))).astype(np.float32), labels


def nasty(kind):
    z, labels = groups(0, weights=[0.7, 0.2, 0.1, 0] if kind == "rare classes" else None)
    if kind == "mean of 1000":
        z = z + np.float32(1000)
    if kind == "duplicates":
        z[100:], labels[100:] = z[:100], labels[:100]
    if kind == "rank deficient":
        z[:, 2:] = z[:, :2].repeat(4, axis=1)
    return groups(1, n=40, width=64) if kind == "N below D" else (z, labels)


def fitted(design, labels, base, l2):
    """Weights of the penalized fit around `base`, by L-BFGS in float64."""
    indicator = np.eye(C)[labels]

    def objective(flat):
        logits = design @ flat.reshape(-1, C) + base
        slope = design.T @ (softmax(logits, axis=1) - indicator) / len(design) + l2 * flat.reshape(-1, C)
        loss = -np.mean(np.sum(indicator * log_softmax(logits, axis=1), axis=1)) + l2 / 2 * np.square(flat).sum()
        return loss, slope.ravel()

    return minimize(objective, np.zeros(design.shape[1] * C), jac=True, options={"gtol": 1e-9}).x.reshape(-1, C)


def reference(z, labels):
    """Block by block, as the paper words it."""
    pca = PCA().fit(z.astype(np.float64))
    rank = int(np.sum(pca.explained_variance_ > 1e-9 * pca.explained_variance_[0]))
    white = pca.transform(z.astype(np.float64))[:, :rank] / np.sqrt(pca.explained_variance_[:rank])
    design = np.concatenate([white * np.sqrt(len(z) / (len(z) - 1)), np.ones((len(z), 1))], axis=1)
    ends = [len(z) // 2**k for k in range(9) if len(z) // 2**k >= 16][::-1]
    total, spent = ends[0] * np.log(C), dict.fromkeys(L2_STRENGTHS, 0.0)
    for sent, end in itertools.pairwise(ends):
        count = np.bincount(labels[:sent], minlength=C) + PSEUDO_COUNT
        base = np.log(count / count.sum())
        best = min(reversed(L2_STRENGTHS), key=lambda l2: spent[l2])
        for l2 in L2_STRENGTHS:
            share = log_softmax(design[sent:end] @ fitted(design[:sent], labels[:sent], base, l2) + base, axis=1)
            cost = -share[np.arange(end - sent), labels[sent:end]].sum()
            total += cost if l2 == best else 0
            spent[l2] += cost
    return total


@pytest.mark.parametrize(
    "kind",
    slow_where(
        of_another_shape,
        ["clean", "rare classes", "mean of 1000", "duplicates", "rank deficient", "N below D"],
    ),
)
def test_codelength_agrees_with_a_float64_pipeline(kind):
    z, labels = nasty(kind)
    code, expected = MDL(z, labels, C), reference(z, labels)
    np.testing.assert_allclose(code.codelength, expected, rtol=2e-3)
    np.testing.assert_allclose(code.compression, len(z) * np.log(C) / expected, rtol=2e-3)


def test_the_reference_fits_as_scikit_learn_does():
    rng = np.random.default_rng(2)
    design, labels = rng.normal(size=(80, 6)), np.arange(80) % C
    model = LogisticRegression(C=1 / (80 * 0.02), fit_intercept=False, tol=1e-8, max_iter=2000).fit(design, labels)
    weight = fitted(design, labels, np.zeros(C), 0.02)
    np.testing.assert_allclose(weight, model.coef_.T - model.coef_.T.mean(axis=1, keepdims=True), atol=1e-4)


def test_blocks_double_and_a_short_message_is_uniform():
    assert block_ends(1024) == (16, 32, 64, 128, 256, 512, 1024)
    assert block_ends(100) == (25, 50, 100)
    z, labels = groups(3, n=31)
    np.testing.assert_allclose(MDL(z, labels, C), [31 * np.log(4), 1], rtol=1e-6)


def test_free_labels_cost_the_first_block_and_random_ones_about_the_uniform_code():
    _, labels = groups(4)
    assert MDL(np.eye(C, 10, dtype=np.float32)[labels], labels, C).compression > 4
    noise = np.random.default_rng(5).normal(size=(200, 10)).astype(np.float32)
    assert 0.9 < MDL(noise, labels, C).compression < 1.02


@pytest.mark.slow
def test_the_code_is_neutral_to_invertible_maps_but_not_to_the_order():
    z, labels = groups(6)
    rng = np.random.default_rng(7)
    left, right = (np.linalg.qr(rng.normal(size=(10, 10)))[0] for _ in range(2))
    mapped = (z.astype(np.float64) @ left @ np.diag(np.geomspace(1, 100, 10)) @ right + 3).astype(np.float32)
    expected = MDL(z, labels, C).codelength
    np.testing.assert_allclose(MDL(mapped, labels, C).codelength, expected, rtol=1e-3)
    assert abs(MDL(z[::-1].copy(), labels[::-1].copy(), C).codelength - expected) > 0.1


def test_undefined_readings_are_nan_and_vmap_equals_a_loop():
    z, labels = groups(8)
    for cloud, tags in [(z, np.full_like(labels, 2)), (z, labels + 1), (np.full_like(z, np.nan), labels)]:
        assert np.isnan(MDL(cloud, tags, C)).all()
    assert np.isnan(MDL(np.full_like(z, 1.3), labels, C)).all()
    cells = [groups(seed) for seed in range(3)]
    zs, ys = (np.stack(part) for part in zip(*cells, strict=True))
    got = jax.jit(jax.vmap(lambda z, y: mdl_probe(z, y, C)))(zs, ys)
    np.testing.assert_allclose(np.stack(got, -1), [MDL(*cell, C) for cell in cells], rtol=1e-4)
