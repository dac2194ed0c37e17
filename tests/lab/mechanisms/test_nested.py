"""Nested widths: the gradient at a narrower width is that of a truly narrow model with the same weights."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.nn import model
from lab.nn.loss import task_loss
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.mixture import Batch
from tests.lab.conftest import initial_params, study_of, tiny_config
from tests.lab.mechanisms.test_bottlenecks import knobs_of, widened

SPEC, SEED = model.ModelSpec(11, 9, 16, 1, 2, 16), jnp.int32(2)


@pytest.fixture(scope="module")
def batch():
    """Four rows with two answers each."""
    random = np.random.default_rng(0)
    tokens, targets = (jnp.asarray(random.integers(1, SPEC.vocab_size, (4, 9)), jnp.int32) for _ in range(2))
    weights = jnp.zeros((4, 9), jnp.float32).at[:, 5:7].set(1.0)
    answers = jnp.tile(jnp.asarray([[5, 6]], jnp.int32), (4, 1))
    return Batch(tokens, targets, weights, answers, jnp.ones((4, 2), bool))


@jax.jit
def gradient(params, batch, knobs, step):
    active = ActiveMechanisms.of(("nested",), knobs, SEED, step)
    view = active.view("nested", batch, SPEC, step)
    return MECHANISMS["nested"].extra_gradient(params, view, knobs)


def narrowed(wide, share, thin):
    """A narrow model's weights, where `widened` puts them."""
    there = widened(jax.tree.map(jnp.ones_like, thin), SPEC, share, jnp.zeros_like)
    return jax.tree.map(lambda leaf, at, small: leaf[np.asarray(at) > 0].reshape(small.shape), wide, there, thin)


@pytest.mark.slow
def test_the_gradient_is_that_of_a_narrow_model(batch):
    thin_spec = replace(SPEC, width=8)
    params = jax.tree.map(lambda p: p + 0.1 * jnp.sin(37 * p + 1), initial_params(jax.random.key(2), SPEC))
    thin = narrowed(params, 0.5, initial_params(jax.random.key(0), thin_spec))

    @jax.jit
    @jax.grad
    def slope(params):
        return task_loss(model.run(params, batch.tokens, thin_spec, batch.answers).logits, batch)

    expected = widened(slope(thin), SPEC, 0.5, jnp.zeros_like)
    found = gradient(params, batch, knobs_of(nested__rate=0.5, nested__halvings=1), jnp.int32(3))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 0.5 * b, rtol=1e-4, atol=1e-6), found, expected)


def test_each_width_is_drawn(batch):
    """Of 3 halvings a third each: at every step the dimensions that take part, 8, 4 or 2 of 16."""
    params, knobs = initial_params(jax.random.key(2), SPEC), knobs_of(nested__rate=1.0, nested__halvings=3)
    found = [gradient(params, batch, knobs, jnp.int32(step))["embedding"] for step in range(24)]
    counts = [int(np.asarray(each).any(axis=0).sum()) for each in found]
    assert {*counts} == {8, 4, 2}


@pytest.mark.parametrize("cut", ["width.active", "head_dim.active"])
def test_a_model_that_is_cut_is_trained_as_it_is(batch, cut):
    params, knobs = initial_params(jax.random.key(2), SPEC), knobs_of(nested__rate=1.0)
    found = gradient(params, batch, knobs | {cut: jnp.float32(0.5)}, jnp.int32(3))
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("knobs", "positions", "message"),
    [
        (dict(nested=dict(rate=1.0, halvings=4)), "learned", "nested.halvings may be at most 3"),
        (dict(nested=dict(rate=1.0)), "rotary", "change config.model.positions"),
    ],
)
def test_widths_that_the_model_lacks_are_refused(knobs, positions, message):
    config = tiny_config()
    config.knobs, config.model.positions = knobs, positions
    with pytest.raises(UserError, match=message):
        study_of(config)
