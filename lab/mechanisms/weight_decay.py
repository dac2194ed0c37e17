"""Decoupled weight decay: matrices shrink by learning rate × decay at every step, whatever the gradient."""

from __future__ import annotations

import jax

from lab.mechanisms.base import Extra, Knob, Knobs, Mechanism, Params, UpdateRule, relaxing

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

    def transform_update(
        self, rule: UpdateRule, params: Params, extra: Extra, knobs: Knobs, step: jax.Array
    ) -> UpdateRule:
        """Add decay × weight to the direction of every leaf with two axes."""
        decay = knobs[DECAY.name]
        decayed = jax.tree.map(lambda d, p: d + decay * p if p.ndim == 2 else d, rule.direction, params)
        return rule._replace(direction=decayed)
