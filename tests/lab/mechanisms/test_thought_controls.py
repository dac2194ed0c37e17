"""Whose thoughts a model reads: its own, another example's, or noise as long as its own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.mechanisms.thoughts import CONTROLS
from lab.nn import model
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.mechanisms.test_latent_computation import (
    QUESTION_B,
    ROOM,
    TOKENS_BxL,
    all_knobs,
    assert_like,
    having,
    plainly,
    run,
    traced,
    underscored,
)


def test_swapped_thoughts_are_the_next_examples():
    params, spec, room = having(**underscored(ROOM))
    asked = {"thoughts.steps": 2, "pause.tokens": 1, "loop.turns": 2}
    own = [one.thoughts for one in plainly(params, spec, asked)]
    found = run(params, spec, room, {**asked, "thoughts.control": "swapped"})
    assert_like(found, plainly(params, spec, asked, thoughts=own[1:] + own[:1]))
    assert not np.allclose(found.logits, run(params, spec, room, asked).logits, atol=1e-3)


def test_noise_is_as_long_as_the_thoughts_it_replaces():
    params, spec, room = having("none", **underscored(ROOM))
    steps = np.arange(4), QUESTION_B  # where the last thought is read when nothing comes behind it
    for count in (1, 2):
        asked = {"thoughts.steps": count, "loop.turns": 1}
        own, noise = (run(params, spec, room, asked | {"thoughts.control": c}).hidden[0] for c in ("own", "noise"))
        lengths = [np.linalg.norm(x[steps], axis=-1) for x in (own, noise)]
        np.testing.assert_allclose(*lengths, rtol=1e-5)
        cosine = (own[steps] * noise[steps]).sum(-1) / lengths[0] ** 2
        assert (np.abs(cosine) < 0.9).all()


def test_controls_act_only_where_the_model_is_read():
    params, spec, room = having(**underscored(ROOM))
    asked = {"thoughts.steps": 2, "memory.tokens": 1, "loop.turns": 1}
    trained = [run(params, spec, room, {**asked, "thoughts.control": c}, training=True).logits for c in CONTROLS]
    for one in trained[1:]:
        np.testing.assert_array_equal(one, trained[0])
    np.testing.assert_array_equal(trained[0], run(params, spec, room, asked).logits)
    nothing = {"thoughts.steps": 0, "memory.tokens": 1, "loop.turns": 1}
    unthinking = [run(params, spec, room, {**nothing, "thoughts.control": c}).logits for c in CONTROLS]
    for a, b in itertools.pairwise(unthinking):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1])
def test_a_model_that_is_read_has_slopes_where_it_thinks_less_than_it_could(count):
    """Pruning by SNIP takes the gradient of the model as it is read, noise for thoughts and all."""
    params, spec, _ = having(**underscored({"thoughts.steps": 2}))
    hook = ActiveMechanisms.reading(("thoughts",), traced(all_knobs({"thoughts.steps": count})), jnp.int32(1)).hook
    tokens, question = jnp.asarray(TOKENS_BxL), jnp.asarray(QUESTION_B)

    def loss(params):
        return jnp.sum(model.run(params, tokens, spec, hook=hook, question_B=question).logits ** 2)

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert gradient["block_0"]["attention"]["qkv"]["kernel"].any()
