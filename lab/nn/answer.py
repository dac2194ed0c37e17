"""A model's own answers, each token fed back as the next one's input where the task does so.

Shape letters: N examples, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lab.nn import model
from tasks.base import NO_ANSWER, fed_back

Shown = Callable[[jax.Array, jax.Array], jax.Array]  # (tokens, where answers are fed back) -> tokens
Pick = Callable[[jax.Array], jax.Array]  # logits [N, L, V] -> int32[N, L]


def all_shown(tokens: jax.Array, fed: jax.Array) -> jax.Array:
    """The tokens of a model that is shown all of them."""
    return tokens


def most_likely(logits_NxLxV: jax.Array) -> jax.Array:
    """The token of the largest logit: int32[N, L]."""
    return jnp.argmax(logits_NxLxV, axis=-1).astype(jnp.int32)


def answer(
    params: Any,
    spec: model.ModelSpec,
    tokens_NxL: jax.Array,
    targets_NxL: jax.Array,
    weights_NxL: jax.Array,
    decode_steps: int,
    hook: model.Hook = model.no_hook,
    shown: Shown = all_shown,
    pick: Pick = most_likely,
) -> tuple[jax.Array, jax.Array]:
    """Free-running answers, greedy unless they are picked another way, and the mean log-probability of the right ones.

    The first pass is teacher-forced. Because attention is causal it also gives the free-running prediction at the first
    answer position (at all of them when no answer is fed back, decode_steps = 1). Each further pass puts the last
    prediction where the teacher's token stood and reads the next answer position.

    Args:
      params, spec, hook: the model.
      tokens_NxL, targets_NxL, weights_NxL: the examples.
      decode_steps: passes that an answer takes; static.
      shown: gives the tokens that the model sees in place of those of any pass, see `Mechanism.shown`. Where it hides
        the tokens that are fed back, all passes are the same one.
      pick: gives the tokens that are answered, of the logits of any pass.

    Returns:
      int32[N, L] predicted tokens, NO_ANSWER where nothing is asked, and float32[] nats.
    """
    answering = weights_NxL > 0
    order_NxL = jnp.cumsum(answering.astype(jnp.int32), axis=1) * answering.astype(jnp.int32)  # 1 for the first answer
    question_N = jnp.argmax(answering, axis=1).astype(jnp.int32)
    fed_NxL = fed_back(tokens_NxL, targets_NxL, weights_NxL) & (decode_steps > 1)
    run = lambda tokens: model.run(params, shown(tokens, fed_NxL), spec, hook=hook, question_B=question_N)  # noqa: E731
    logits = run(tokens_NxL).logits
    logprob_NxL = jnp.take_along_axis(jax.nn.log_softmax(logits), targets_NxL[..., None], axis=-1)[..., 0]
    judged_NxL = (weights_NxL >= 1).astype(jnp.float32)  # not the scratchpad
    per_example = jnp.sum(logprob_NxL * judged_NxL, axis=1) / jnp.sum(judged_NxL, axis=1)
    predicted = jnp.where(answering, pick(logits), NO_ANSWER)

    def decode(index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        tokens, predicted = carry
        fed_back = jnp.roll(jnp.where(order_NxL == index, predicted, NO_ANSWER), 1, axis=1)
        tokens = jnp.where(fed_back >= 0, fed_back, tokens)
        return tokens, jnp.where(order_NxL == index + 1, pick(run(tokens).logits), predicted)

    if decode_steps > 1:
        _, predicted = lax.fori_loop(1, decode_steps, decode, (tokens_NxL, predicted))
    return predicted, jnp.mean(per_example)
