"""Decoupled weight decay: matrices shrink by learning rate × decay at every step, whatever the gradient."""

from __future__ import annotations

import jax

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, relaxing

DECAY = Knob(
    name="weight_decay.rate",
    low=0.0,
    high=100.0,
    neutral=0.0,
    stage="first",
    about="decoupled decay of matrices and embeddings (norms are left alone), scaled by the learning rate",
    source="Loshchilov & Hutter 2019, arXiv 1711.05101",
)


class WeightDecay(Mechanism):
    """See the module's docstring."""

    name = "weight_decay"
    knobs = relaxing(DECAY)

    def direction(self, direction: Params, params: Params, knobs: Knobs) -> Params:
        """Add decay × weight to the direction of every leaf with two axes."""
        rate = knobs[DECAY.name]
        return jax.tree.map(lambda d, p: d + rate * p if p.ndim == 2 else d, direction, params)
