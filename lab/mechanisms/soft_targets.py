"""Label smoothing and the confidence penalty: both keep answers from becoming certain.

Smoothing mixes the target with the uniform distribution over the vocabulary (it pulls towards uniform from below, a
forward KL); the penalty rewards the entropy of the prediction (a reverse KL).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, relaxing

SMOOTHING = Knob(
    name="label_smoothing.rate",
    high=1.0,
    about="share of the target's probability spread evenly over the vocabulary",
    source="Szegedy et al. 2016, arXiv 1512.00567",
)
CONFIDENCE = Knob(
    name="confidence_penalty.rate",
    high=10.0,
    about="takes rate × the entropy in nats of each answer's prediction off the loss",
    source="Pereyra et al. 2017, arXiv 1701.06548",
)


class LabelSmoothing(Mechanism):
    """See the module's docstring."""

    name = "label_smoothing"
    knobs = relaxing(SMOOTHING)

    def answer_penalty(self, logprob_BxAxV: jax.Array, targets_BxA: jax.Array, knobs: Knobs) -> jax.Array:
        """rate × (cross-entropy with the uniform distribution - cross-entropy with the target)."""
        right_BxA = jnp.take_along_axis(logprob_BxAxV, targets_BxA[..., None], axis=-1)[..., 0]
        return knobs[SMOOTHING.name] * (right_BxA - jnp.mean(logprob_BxAxV, axis=-1))


class ConfidencePenalty(Mechanism):
    """See the module's docstring."""

    name = "confidence_penalty"
    knobs = relaxing(CONFIDENCE)

    def answer_penalty(self, logprob_BxAxV: jax.Array, targets_BxA: jax.Array, knobs: Knobs) -> jax.Array:
        """rate × Σ p log p."""
        return knobs[CONFIDENCE.name] * jnp.sum(jnp.exp(logprob_BxAxV) * logprob_BxAxV, axis=-1)
