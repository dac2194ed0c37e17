"""What is inserted and taken out again: hidden states move, and nothing that the model computes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.metrics.geometry import two_nn
from analysis.metrics.similarity import linear_image
from lab.errors import UserError
from lab.mechanisms.insertion import stretched, written
from lab.nn import model
from lab.study import axis, product
from tests.lab.conftest import initial_params, study_of, tiny_config
from tests.lab.mechanisms.test_bottlenecks import SPEC, TOKENS_BxL, reading
from tests.tasks.task_cases import first_by_default


@functools.partial(jax.jit, static_argnums=0)
def run(hook):
    """Logits and hidden states of a model that is far from its first weights."""
    params = jax.tree.map(lambda p: p * 2, initial_params(jax.random.key(0), SPEC))
    return model.run(params, TOKENS_BxL, SPEC, hook=hook)[:2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", first_by_default([{"stretch": 5.0, "write": 0.5}, {"stretch": 9.0}, {"write": 2.0}])
)
def test_hidden_states_move_and_answers_stay(changed):
    logits, hidden = run(reading("insertion"))
    other_logits, other_hidden = run(reading("insertion", **{f"insertion__{k}": v for k, v in changed.items()}))
    np.testing.assert_allclose(other_logits, logits, atol=2e-5)
    np.testing.assert_array_equal(other_hidden[0], hidden[0])  # the embedding
    for layer in range(1, SPEC.layers + 1):
        assert float(jnp.abs(other_hidden[layer] - hidden[layer]).max()) > 0.1


def test_a_stretch_is_the_linear_map_that_it_says():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 16)).astype(np.float32)
    moved = np.asarray(stretched(jnp.asarray(x), 2, jnp.float32(7.0)))
    matrix, *_ = np.linalg.lstsq(x, moved, rcond=None)
    values = np.sort(np.linalg.eigvalsh((matrix + matrix.T) / 2))
    np.testing.assert_allclose(values, [*np.ones(15), 7.0], atol=1e-4)
    np.testing.assert_allclose(stretched(jnp.asarray(moved), 2, jnp.float32(1 / 7.0)), x, atol=1e-5)


@pytest.mark.slow
def test_what_is_written_raises_dimension_and_is_no_linear_image():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(1024, 3)) @ np.linalg.qr(rng.normal(size=(16, 3)))[0].T  # three dimensions
    x = jnp.asarray(plane, jnp.float32)
    x = x.at[:, 8:].multiply(0.01)  # seen in the first half
    moved = written(x, 1, jnp.float32(2.0))
    np.testing.assert_array_equal(moved[:, :8], x[:, :8])
    np.testing.assert_allclose(written(moved, 1, jnp.float32(-2.0)), x, atol=1e-5)

    def ratio(each):
        values = np.linalg.eigvalsh(np.cov(np.asarray(each, float).T))
        return values.sum() ** 2 / (values**2).sum()

    assert ratio(moved) > ratio(x) + 1
    assert abs(float(two_nn(moved).dimension) - 3) < 0.7  # a curved sheet keeps its dimensions
    assert min(linear_image(x, moved)) < 0.95 < min(linear_image(x, stretched(x, 1, jnp.float32(9.0))))


def test_what_masks_columns_is_refused():
    config = tiny_config()
    config.knobs = dict(width=dict(active=0.5))
    config.claim.knob = "insertion.stretch"
    with pytest.raises(UserError, match=r"mix columns, which width\.active masks"):
        study_of(config, product(axis("insertion.stretch", (1.0, 2.0)), axis("seed", range(2))))
