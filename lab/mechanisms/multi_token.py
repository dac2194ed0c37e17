"""Multi-token prediction: at every answer token, further heads predict the ones after it.

Each head is a linear layer around which the stream is carried, before the model's own final norm and unembedding. The
heads are trained with the model and not used when it answers. Examples with too short an answer add nothing.

Shape letters: B examples, A answer positions, V vocabulary, n heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StepView, relaxing
from lab.nn.model import Forward, ModelSpec
from tasks.mixture import Batch

SOURCE = "Gloeckle et al. 2024, arXiv 2404.19737"
RATE = Knob(
    name="multi_token.rate",
    high=100.0,
    pinned=True,
    about="weight of predicting further answer tokens at every answer position",
    source=SOURCE,
)
AHEAD = Knob(
    name="multi_token.ahead",
    low=1,
    high=16,
    neutral=1,
    integer=True,
    pinned=True,
    sizes=True,
    needs=(RATE.name,),
    about="further tokens that are predicted, a head each",
    source=SOURCE,
)


class MultiToken(Mechanism):
    """See the module's docstring."""

    name = "multi_token"
    knobs = (*relaxing(RATE), AHEAD)

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the heads."""
        return replace(spec, ahead=knobs[AHEAD.name])

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """Mean over examples of the heads' mean cross-entropy, summed over heads."""
        assert forward.ahead is not None
        losses_n = jnp.stack(
            [ahead_loss(logits, view.batch, number + 1) for number, logits in enumerate(forward.ahead)]
        )
        there_n = jnp.arange(losses_n.size, dtype=jnp.float32) < knobs[AHEAD.name]
        return knobs[RATE.name] * jnp.sum(jnp.where(there_n, losses_n, 0.0))


def ahead_loss(logits_BxAxV: jax.Array, batch: Batch, ahead: int) -> jax.Array:
    """Mean over examples of the mean cross-entropy, in nats, of the answer token `ahead` places on: float32[]."""
    count = logits_BxAxV.shape[1]
    if ahead >= count:
        return jnp.float32(0)
    targets_BxA = jnp.take_along_axis(batch.targets, batch.answers, axis=1)[:, ahead:]
    mask_BxA = batch.answer_mask[:, ahead:].astype(jnp.float32)
    logprob = jax.nn.log_softmax(logits_BxAxV[:, : count - ahead])
    found_BxA = jnp.take_along_axis(logprob, targets_BxA[..., None], axis=-1)[..., 0]
    return -jnp.mean(jnp.sum(found_BxA * mask_BxA, axis=1) / jnp.maximum(jnp.sum(mask_BxA, axis=1), 1.0))
