"""V-information: the fit against scikit-learn and SciPy, the reading against a float64 pipeline and known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from sklearn.linear_model import LogisticRegression

from analysis.metrics.geometry import centre
from analysis.metrics.probes import split_halves
from analysis.metrics.v_information import (
    L2_STRENGTHS,
    fit_logistic,
    log_frequencies,
    log_loss,
    select_l2,
    v_information,
)
from tests.analysis.conftest import slow_where

V_INFORMATION = jax.jit(v_information, static_argnums=2)
FIT = jax.jit(fit_logistic)


def groups(seed, n=1024, width=24, n_classes=8, gap=0.5, weights=None):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % n_classes if weights is None else rng.choice(n_classes, size=n, p=weights)).astype(
        np.int32
    )
    z = gap * rng.normal(size=(n_classes, width))[labels] + rng.normal(size=(n, width))
    return z.astype(np.float32), labels


def prepared(seed, **kwargs):
    z, labels = groups(seed, **kwargs)
    halves = split_halves(centre(jnp.asarray(z)))
    indicator = jax.nn.one_hot(labels, 8, dtype=jnp.float32)
    half = len(z) // 2
    return halves, indicator[:half], indicator[half:], labels


def reference_fit(features, indicator, base, l2):
    """The same objective in float64 by L-BFGS."""
    design = np.concatenate([np.asarray(features, np.float64), np.ones((len(features), 1))], axis=1)
    indicator, base = np.asarray(indicator, np.float64), np.asarray(base, np.float64)

    def objective(flat):
        weight = flat.reshape(design.shape[1], -1)
        logits = design @ weight + base
        loss = -np.mean(np.sum(indicator * scipy.special.log_softmax(logits, axis=1), axis=1))
        slope = design.T @ (scipy.special.softmax(logits, axis=1) - indicator) / len(design) + l2 * weight
        return loss + l2 / 2 * np.square(weight).sum(), slope.ravel()

    start = np.zeros(design.shape[1] * indicator.shape[1])
    found = scipy.optimize.minimize(objective, start, jac=True, options={"gtol": 1e-9, "maxiter": 3000})
    return found.x.reshape(design.shape[1], -1)


@pytest.mark.parametrize("gap", slow_where(lambda gap: gap != 0.5, [0.0, 0.5, 3.0]))
@pytest.mark.parametrize("l2", slow_where(lambda l2: l2 != 0.02, L2_STRENGTHS))
def test_fit_agrees_with_scikit_learn(gap, l2):
    """Equal class counts make the base logits a constant, which softmax ignores; the constant is penalized as here."""
    halves, train, test, labels = prepared(0, gap=gap)
    weight = FIT(halves.train_HxK, train, log_frequencies(train), jnp.float32(l2))
    design, held_out = (np.concatenate([x, np.ones((512, 1))], 1).astype(np.float64) for x in halves)
    model = LogisticRegression(C=1 / (512 * l2), fit_intercept=False, tol=1e-8, max_iter=2000)
    model.fit(design, labels[:512])
    expected = model.coef_.T - model.coef_.T.mean(axis=1, keepdims=True)
    # Weights are of order 1; 150 steps at the weakest l2 leave at most exp(-150·0.077) ≈ 1e-5 of the start.
    np.testing.assert_allclose(weight, expected, atol=1e-4)
    loss = log_loss(weight, halves.test_MxK, test, log_frequencies(train))
    expected_loss = -np.mean(np.sum(np.asarray(test) * model.predict_log_proba(held_out), axis=1))
    np.testing.assert_allclose(loss, expected_loss, atol=2e-5)


@pytest.mark.parametrize("l2", slow_where(lambda l2: l2 != 0.15, L2_STRENGTHS))
def test_fit_of_unequal_and_absent_classes_agrees_with_scipy(l2):
    halves, train, _, _ = prepared(1, weights=[0.6, 0.2, 0.1, 0.04, 0.03, 0.02, 0.01, 0.0])
    base = log_frequencies(train)
    weight = FIT(halves.train_HxK, train, base, jnp.float32(l2))
    np.testing.assert_allclose(weight, reference_fit(halves.train_HxK, train, base, l2), atol=1e-4)


@pytest.mark.parametrize("l2", slow_where(lambda l2: l2 != 1.0, L2_STRENGTHS))
def test_fit_to_far_classes_needs_no_more_steps(l2):
    halves, train, _, _ = prepared(2, gap=10.0)
    base = log_frequencies(train)
    weight = FIT(halves.train_HxK, train, base, jnp.float32(l2))
    np.testing.assert_allclose(weight, reference_fit(halves.train_HxK, train, base, l2), atol=1e-4)


def reference_v_information(z, labels):
    """The reading by `reference_fit` at the strength that is selected, everything after it in float64."""
    halves, half = split_halves(centre(jnp.asarray(z))), len(z) // 2
    indicator = jax.nn.one_hot(labels, labels.max() + 1, dtype=jnp.float32)
    train, test = indicator[:half], indicator[half:]
    base = log_frequencies(train)
    l2 = float(select_l2(halves.train_HxK, train, jnp.float32(1e-3)))
    weight = reference_fit(halves.train_HxK, train, base, l2)
    held_out = np.concatenate([halves.test_MxK, np.ones((len(test), 1))], 1).astype(np.float64)
    logits = held_out @ weight + np.asarray(base, np.float64)
    conditional = -np.mean(np.sum(np.asarray(test) * scipy.special.log_softmax(logits, axis=1), axis=1))
    ignorant = -np.mean(np.asarray(test) @ np.asarray(base))
    return ignorant - conditional


@pytest.mark.slow
def test_reading_agrees_with_a_float64_pipeline():
    z, labels = groups(3)
    np.testing.assert_allclose(V_INFORMATION(z, labels, 8), reference_v_information(z, labels), atol=3e-5)


def test_known_answers():
    z, labels = groups(4, gap=0.0)
    assert -0.05 < V_INFORMATION(z, labels, 8) < 0.02  # no information
    z, labels = groups(5, gap=20.0)
    np.testing.assert_allclose(V_INFORMATION(z, labels, 8), np.log(8), atol=0.05)  # all of it
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 8, 1024).astype(np.int32)
    # Three features tell two groups of classes apart, and nothing within a group; the others are masked.
    halved = (labels // 4 * 2 - 1)[:, None] + 0.05 * rng.normal(size=(1024, 24))
    halved[:, 3:] = 0
    np.testing.assert_allclose(V_INFORMATION(halved.astype(np.float32), labels, 8), np.log(2), atol=0.08)


@pytest.mark.slow
def test_noise_dimensions_without_signal_do_not_look_like_lost_information():
    """64 noise features against 4: neither says anything, and the reading does not tell them apart by much."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 16, 1024).astype(np.int32)
    wide = rng.normal(size=(1024, 64)).astype(np.float32)
    narrow = wide * (np.arange(64) < 4)
    assert abs(V_INFORMATION(wide, labels, 16) - V_INFORMATION(narrow.astype(np.float32), labels, 16)) < 0.05


@pytest.mark.parametrize("condition", slow_where(lambda condition: condition > 10, [1e1, 1e3]))
def test_neutral_to_invertible_linear_maps_offset_and_scale(condition):
    z, labels = groups(8)
    rng = np.random.default_rng(9)
    left, right = (np.linalg.qr(rng.normal(size=(24, 24)))[0] for _ in range(2))
    mapped = z.astype(np.float64) @ (left @ np.diag(np.geomspace(1, condition, 24)) @ right)
    expected = V_INFORMATION(z, labels, 8)
    np.testing.assert_allclose(
        V_INFORMATION(mapped.astype(np.float32), labels, 8), expected, atol=2e-7 * condition + 1e-5
    )
    np.testing.assert_allclose(V_INFORMATION(z * np.float32(1e-20), labels, 8), expected, atol=1e-5)
    # At an offset of 1000 the data themselves are rounded to 6e-5.
    np.testing.assert_allclose(V_INFORMATION(z + np.float32(1000), labels, 8), expected, atol=1e-3)


def test_rank_deficient_and_few_points():
    z, labels = groups(10)
    z[:, 12:] = 0
    doubled = np.concatenate([z[:, :12], z[:, :12]], axis=1)
    np.testing.assert_allclose(V_INFORMATION(doubled, labels, 8), V_INFORMATION(z, labels, 8), atol=1e-4)
    assert np.isfinite(V_INFORMATION(doubled[:20], labels[:20], 8))


def test_repeated_inputs_in_both_halves():
    """128 facts in 1024 examples: all inputs are known, so all of the information is there."""
    rng = np.random.default_rng(11)
    facts, values = rng.normal(size=(128, 64)).astype(np.float32), rng.integers(0, 4, 128).astype(np.int32)
    drawn = rng.integers(0, 128, 1024)
    assert V_INFORMATION(facts[drawn], values[drawn], 16) > 0.3


@pytest.mark.parametrize(("power", "seed"), [(1.5, 3), (2.0, 0)])
def test_inputs_that_the_train_half_lacks_are_not_blown_up(power, seed):
    """40 inputs at Zipf frequencies, evaluated to seven digits: a linear reader names nearly all held-out labels."""
    rng = np.random.default_rng(seed)
    states, share = rng.normal(size=(40, 64)), 1 / np.arange(1, 41) ** power
    drawn = rng.choice(40, 1024, p=share / share.sum())
    values = rng.integers(0, 16, 40)[drawn].astype(np.int32)
    z = (states[drawn] * (1 + 1e-7 * rng.normal(size=(1024, 64)))).astype(np.float32)
    assert {*drawn[512:]} - {*drawn[:512]}, "some input occurs in the held-out half only"
    frequency = np.bincount(values[512:]) / 512
    entropy = -np.sum(frequency[frequency > 0] * np.log(frequency[frequency > 0]))
    assert 0.75 * entropy < V_INFORMATION(z, values, 16) < entropy  # −2.3 and −5.6 nats before


def test_undefined_readings_are_nan():
    z, labels = groups(12, n=20)
    assert np.isnan(V_INFORMATION(z, np.zeros_like(labels), 8))
    assert np.isnan(V_INFORMATION(z, labels + 1, 8))
    assert np.isnan(V_INFORMATION(np.full_like(z, np.nan), labels, 8))
    absent = np.where(np.arange(20) < 10, labels % 4, labels).astype(np.int32)  # classes 4..7 only in the held-out half
    assert np.isfinite(V_INFORMATION(z, absent, 8))


@pytest.mark.slow
def test_vmap_equals_a_loop():
    cells = [groups(seed) for seed in range(3)]
    z, labels = (np.stack(part) for part in zip(*cells, strict=True))
    got = jax.jit(jax.vmap(lambda z, y: v_information(z, y, 8)))(z, labels)
    np.testing.assert_allclose(got, [V_INFORMATION(*cell, 8) for cell in cells], atol=1e-5)
