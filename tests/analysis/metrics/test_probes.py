"""The linear probe against scikit-learn, and its control task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge

from analysis.metrics.geometry import centre
from analysis.metrics.probes import PROBE_RIDGE, control_labels, probe, probe_accuracy, selectivity, split_halves

PROBE = jax.jit(probe, static_argnums=3)
ACCURACY = jax.jit(probe_accuracy, static_argnums=2)


def groups(seed, n=512, width=24, n_classes=8, gap=0.5, weights=None):
    rng = np.random.default_rng(seed)
    labels = rng.choice(n_classes, size=n, p=weights).astype(np.int32)
    z = gap * rng.normal(size=(n_classes, width))[labels] + rng.normal(size=(n, width))
    return z.astype(np.float32), labels


def reference_probe_accuracy(z, labels):
    half = len(z) // 2
    white = PCA(whiten=True).fit(z[:half].astype(np.float64))
    train, test = white.transform(z[:half]), white.transform(z[half:])
    # PCA divides by n − 1 and the penalty counts a summed loss.
    ridge = Ridge(alpha=PROBE_RIDGE * half * half / (half - 1)).fit(
        train * np.sqrt(half / (half - 1)), np.eye(labels.max() + 1)[labels[:half]]
    )
    return np.mean(ridge.predict(test * np.sqrt(half / (half - 1))).argmax(1) == labels[half:])


def reference_probe_selectivity(z, labels, control):
    return reference_probe_accuracy(z, labels) - reference_probe_accuracy(z, control)


@pytest.mark.parametrize("weights", [None, [0.6, 0.2, 0.1, 0.04, 0.03, 0.02, 0.01, 0.0]])
@pytest.mark.parametrize("offset", [0, 1000])
def test_accuracy_agrees_with_scikit_learns_ridge(weights, offset):
    z, labels = groups(0, weights=weights)
    z = z + np.float32(offset)
    half = len(z) // 2
    expected = reference_probe_accuracy(z, labels)
    # One held-out point may sit on a boundary that float32 moves.
    np.testing.assert_allclose(ACCURACY(z, labels, 8), expected, atol=1.01 / half)


def test_without_shrinkage_it_is_least_squares_on_the_raw_states():
    z, _ = groups(1)
    labels = (np.arange(512) % 8).astype(np.int32)
    z = z + np.random.default_rng(2).normal(size=(8, 24)).astype(np.float32)[labels]
    plain = LinearRegression().fit(z[:256].astype(np.float64), np.eye(8)[labels[:256]])
    expected = np.mean(plain.predict(z[256:].astype(np.float64)).argmax(1) == labels[256:])
    np.testing.assert_allclose(ACCURACY(z, labels, 8), expected, atol=1.01 / 256)


@pytest.mark.parametrize("condition", [1e1, 1e3])
def test_accuracy_is_neutral_to_invertible_linear_maps_and_scale(condition):
    z, labels = groups(3)
    rng = np.random.default_rng(4)
    left, right = (np.linalg.qr(rng.normal(size=(24, 24)))[0] for _ in range(2))
    mapped = z.astype(np.float64) @ (left @ np.diag(np.geomspace(1, condition, 24)) @ right)
    expected = ACCURACY(z, labels, 8)
    np.testing.assert_allclose(ACCURACY(mapped.astype(np.float32), labels, 8), expected, atol=1.01 / 256)
    np.testing.assert_allclose(ACCURACY(z * np.float32(1e-20), labels, 8), expected, atol=1.01 / 256)


@pytest.mark.slow
def test_held_out_features_do_not_touch_the_whitening():
    z, _ = groups(5)
    changed = z.copy()
    changed[256:] += 3
    halves, other = (split_halves(centre(jnp.asarray(x))) for x in (z, changed))
    np.testing.assert_allclose(halves.train_HxK.T @ halves.train_HxK / 256, np.eye(24), atol=1e-4)
    # The axes' signs may flip, so the Gram matrices are compared.
    np.testing.assert_allclose(
        other.train_HxK @ other.train_HxK.T, halves.train_HxK @ halves.train_HxK.T, rtol=1e-3, atol=1e-3
    )


@pytest.mark.slow
def test_selectivity_is_low_for_memorized_inputs_and_high_for_a_linear_factor():
    rng = np.random.default_rng(6)
    inputs = rng.integers(0, 32, size=512)
    control = np.asarray(control_labels(jnp.asarray(inputs[:, None], jnp.int32), jnp.asarray(inputs % 4, jnp.int32)))
    labels = (inputs % 4).astype(np.int32)
    one_hot = np.eye(32, dtype=np.float32)[inputs]
    got = PROBE(one_hot, labels, control, 4)
    # Every input has its own direction: any labelling is linear.
    assert got.accuracy == 1.0
    assert got.control_accuracy == 1.0
    assert got.selectivity == 0.0
    coded = np.eye(4, 32, dtype=np.float32)[labels]
    coded[:, :4] += 0.1 * rng.normal(size=(512, 4)).astype(np.float32)
    got = PROBE(coded, labels, control, 4)
    assert got.accuracy == 1.0
    assert got.control_accuracy < 0.6
    assert got.selectivity == got.accuracy - got.control_accuracy
    assert jax.jit(selectivity, static_argnums=3)(coded, labels, control, 4) == got.selectivity


def test_control_labels_depend_on_the_input_alone_and_follow_the_labels_distribution():
    rng = np.random.default_rng(7)
    tokens = jnp.asarray(rng.integers(0, 50, size=(4096, 6)), jnp.int32)
    labels = jnp.asarray(rng.choice(4, size=4096, p=[0.7, 0.2, 0.1, 0.0]), jnp.int32)
    got = np.asarray(control_labels(tokens, labels))
    again = np.asarray(control_labels(jnp.concatenate([tokens[:2048], tokens[:2048]]), labels))
    np.testing.assert_array_equal(again[:2048], again[2048:])
    # 4096 independent draws: 4 standard errors.
    np.testing.assert_allclose(np.bincount(got, minlength=4) / 4096, [0.7, 0.2, 0.1, 0.0], atol=0.035)
    share = np.square(np.bincount(np.asarray(labels), minlength=4) / 4096).sum()  # agreement by chance
    for other in (np.asarray(labels), np.asarray(control_labels(tokens, labels, seed=1))):
        assert abs(np.mean(got == other) - share) < 0.035
    swapped = np.asarray(control_labels(tokens[:, ::-1], labels))
    assert abs(np.mean(got == swapped) - share) < 0.035


def test_undefined_readings_are_nan():
    z, labels = groups(8, n=20)  # fewer points than dimensions, too
    assert np.isnan(PROBE(z, np.zeros_like(labels), labels, 8).accuracy)
    assert np.isnan(PROBE(z, labels, np.zeros_like(labels), 8).selectivity)
    assert np.isfinite(PROBE(z, labels, np.zeros_like(labels), 8).accuracy)
    assert np.isnan(ACCURACY(z, labels + 1, 8))
    assert np.isnan(ACCURACY(np.full_like(z, np.inf), labels, 8))
    assert np.isfinite(ACCURACY(z, labels, 8))


@pytest.mark.slow
def test_vmap_equals_a_loop():
    cells = [groups(seed) for seed in range(3)]
    z, labels = (np.stack(part) for part in zip(*cells, strict=True))
    got = jax.jit(jax.vmap(lambda z, y: probe_accuracy(z, y, 8)))(z, labels)
    np.testing.assert_allclose(got, [ACCURACY(*cell, 8) for cell in cells], atol=1.01 / 256)
