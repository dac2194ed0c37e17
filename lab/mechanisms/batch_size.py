"""A smaller batch, in the shapes of the whole one: the first examples of each label, repeated until it is full.

Whatever is a mean over examples (the loss, penalties, their gradients) is then that of the small batch, up to rounding,
and its gradient noise is the small batch's. A step costs what it cost. The examples are the first of those that the
whole batch has: cells that differ in the share are paired. Only what mechanisms draw for each example (dropout, noise)
differs between the copies of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, Knob, Knobs, Mechanism
from lab.nn.model import ModelSpec
from tasks.mixture import Batch, Mixture

SHARE = Knob(
    name="batch.share",
    low=2.0**-12,
    neutral=1.0,
    about="share of each label's examples that a step trains on; they are repeated to fill the batch, whose cost stays",
    source="McCandlish et al. 2018, arXiv 1812.06162",
)
WHOLE = 1e-6  # how far from a whole number share × examples may be, per example: room for shares such as 1/3


class BatchSize(Mechanism):
    """See the module's docstring."""

    name = "batch"
    knobs = (SHARE,)

    def objection(self, mixture: Mixture, spec: ModelSpec, knobs: Mapping[str, Any]) -> str:
        """A curriculum that learns would take the copies' losses for those of the examples they replaced."""
        del mixture, spec
        if knobs["curriculum.order"] != "progress":
            return ""
        return f"{SHARE.name}: curriculum.order='progress' needs the loss of every example; leave the share at 1."

    def uneven(self, counts: Mapping[str, int], knobs: Mapping[str, Any]) -> str:
        """Every example kept must be there equally often."""
        for label, count in counts.items():
            kept = knobs[SHARE.name] * count
            size = round(kept)
            if size < 1 or count % size or abs(kept - size) > WHOLE * count:
                valid = ", ".join(f"{n}/{count}" for n in range(1, count + 1) if count % n == 0)
                return (
                    f"{SHARE.name}={knobs[SHARE.name]:g}: of the {count} examples of '{label}' this must leave a whole"
                    f" number that divides {count}; valid are {valid}."
                )
        return ""

    def batch(self, batch: Batch, knobs: Knobs, key: jax.Array, context: Context) -> Batch:
        """Example i of a label is its example i modulo the number kept."""
        del key
        counts = dict(context.counts)
        places = context.mixture.by_label(jnp.arange(batch.tokens.shape[0]), counts)

        def kept(place_B: jax.Array) -> jax.Array:
            count = place_B.shape[0]
            size = jnp.maximum(jnp.round(knobs[SHARE.name] * count).astype(jnp.int32), 1)
            return place_B[jnp.arange(count, dtype=jnp.int32) % size]

        from_B = jnp.concatenate([kept(place_B) for place_B in places.values()])
        return Batch(*(field[from_B] for field in batch))
