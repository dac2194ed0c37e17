"""The tasks' own loss, which every penalty comes on top of.

Shape letters: B examples, A answer positions, V vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from tasks.mixture import Batch


def task_loss(logits_BxAxV: jax.Array, batch: Batch) -> jax.Array:
    """Mean over examples of the mean cross-entropy of the example's answer tokens, in nats: float32[].

    Every example counts the same however long its answer is, so a task's share of a batch is its share of the loss.
    """
    return -jnp.mean(answer_logprob(logits_BxAxV, batch))


def answer_logprob(logits_BxAxV: jax.Array, batch: Batch) -> jax.Array:
    """Mean log-probability of each example's answer tokens: float32[B]."""
    targets_BxA = jnp.take_along_axis(batch.targets, batch.answers, axis=1)
    logprob_BxA = jnp.take_along_axis(jax.nn.log_softmax(logits_BxAxV), targets_BxA[..., None], axis=-1)[..., 0]
    return over_answers(logprob_BxA, batch)


def over_answers(values_BxA: jax.Array, batch: Batch) -> jax.Array:
    """The mean of what stands at each example's answer positions: float32[B]."""
    mask_BxA = batch.answer_mask.astype(jnp.float32)
    return jnp.sum(values_BxA * mask_BxA, axis=1) / jnp.sum(mask_BxA, axis=1)


def heard(batch: Batch) -> jax.Array:
    """The tokens that some answer can depend on, bool[B, L]: up to where the last one is predicted."""
    last_B = jnp.max(jnp.where(batch.answer_mask, batch.answers, 0), axis=1)
    return jnp.arange(batch.tokens.shape[1])[None, :] <= last_B[:, None]
