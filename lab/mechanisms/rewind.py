"""Weight rewinding: the weights of an early step come back as the second stage begins, under the masks chosen there.

Pruning chooses its masks from the trained weights, as that stage is entered; the stage's first update is then replaced
by the early weights, masked, so that what is trained from there on is a candidate for a lottery ticket. One round only.
Adam's moments and the learning rate go on as they are: rewinding the rate too (Renda et al. 2020) would need a schedule
that a cell's knobs can turn back.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import NEVER, Context, Extra, Knob, Knobs, Mechanism, Params, Update

TO = Knob(
    name="rewind.to",
    high=NEVER,
    neutral=NEVER,
    integer=True,
    pinned=True,
    about="step of the first stage whose weights come back as the second begins; 0 is before training, later is never",
    source="Frankle et al. 2020, arXiv 1912.05671; Renda et al. 2020, arXiv 2003.02389",
)


class Rewind(Mechanism):
    """See the module's docstring."""

    name = "rewind"
    knobs = (TO,)

    def init(self, params: Params, context: Context) -> Extra:
        """The early weights, those before training so far; the step that they replace; whether it is that step."""
        return {"early": params, "at": jnp.int32(context.opening), "now": jnp.zeros((), bool)}

    def follow(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """Keep the weights after the update that makes them `rewind.to` steps old."""
        step, to, at = update.step, knobs[TO.name], extra["at"]
        keep = (step + 1).astype(jnp.float32) == to
        early = jax.tree.map(lambda now, old: jnp.where(keep, now, old), params, extra["early"])
        return {"early": early, "at": at, "now": (step == at) & (to <= at.astype(jnp.float32))}

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """The early weights in place of the one update; masks come after."""
        del knobs
        return jax.tree.map(lambda now, early: jnp.where(extra["now"], early, now), params, extra["early"])
