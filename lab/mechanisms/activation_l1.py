"""A sparsity penalty on activations: the mean magnitude of the feed-forward neurons."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StepView, relaxing
from lab.nn.model import Forward

RATE = Knob(
    name="activation_l1.rate",
    high=100.0,
    about="adds rate × the mean magnitude of the feed-forward neurons, over layers and positions, to the loss",
    source="Glorot et al. 2011, proceedings.mlr.press/v15/glorot11a",
)


class ActivationL1(Mechanism):
    """See the module's docstring."""

    name = "activation_l1"
    knobs = relaxing(RATE)

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """rate × mean |neuron|."""
        return knobs[RATE.name] * jnp.mean(jnp.abs(forward.neurons))
