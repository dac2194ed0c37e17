"""Rewinding: the weights, or the learning rate, of an early step come back in a later stage.

Weights: pruning chooses its masks from the trained ones, as the second stage starts; the stage's first update is
then replaced by the early weights, masked, so that what is trained from there on is a candidate for a lottery ticket.
One round only. The optimizer's moments stay as they are.

Rate: as the last stage starts, the learning rate's schedule is turned back to an early step and continues from there;
the weights are kept. The schedule's total stays the study's, so a rate that decays doesn't reach its end again unless
the last stage is as long as what was turned back. Both together, in a study of two stages, are weight rewinding with
its schedule, but for one step: the update that the early weights replace counts.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import NEVER, Context, Extra, Knob, Knobs, Mechanism, Params, Update, UpdateRule

TO = Knob(
    name="rewind.to",
    high=NEVER,
    neutral=NEVER,
    integer=True,
    pinned=True,
    over_steps=True,
    about="step of the first stage whose weights come back as the second begins; 0 is before training, later is never",
    source="Frankle et al. 2020, arXiv 1912.05671; Renda et al. 2020, arXiv 2003.02389",
)
RATE_TO = Knob(
    name="rewind.rate_to",
    high=NEVER,
    neutral=NEVER,
    stage="last",
    integer=True,
    pinned=True,
    over_steps=True,
    about="step of training to which the learning rate's schedule goes back as the last stage begins",
    source="Renda et al. 2020, arXiv 2003.02389",
)


class Rewind(Mechanism):
    """See the module's docstring."""

    name = "rewind"
    knobs = (TO, RATE_TO)

    def init(self, params: Params, context: Context) -> Extra:
        """The early weights, those before training so far; the step that they replace; whether it is that step.

        And the step at which the schedule was turned back.
        """
        at, since = jnp.int32(context.opening), jnp.int32(NEVER)
        return {"early": params, "at": at, "now": jnp.zeros((), bool), "since": since}

    def transform_update(
        self, rule: UpdateRule, params: Params, extra: Extra, knobs: Knobs, step: jax.Array
    ) -> UpdateRule:
        """Read the schedule at the steps since it was turned back, counted from where it was turned back to."""
        to = knobs[RATE_TO.name]
        turned = to.astype(jnp.int32) + rule.schedule_step - _since(extra, step)
        return rule._replace(schedule_step=jnp.where(to < NEVER, turned, rule.schedule_step))

    def after_update(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """Keep the weights after the update that makes them `rewind.to` steps old."""
        step, to, at = update.step, knobs[TO.name], extra["at"]
        keep = (step + 1).astype(jnp.float32) == to
        early = jax.tree.map(lambda now, old: jnp.where(keep, now, old), params, extra["early"])
        since = jnp.where(knobs[RATE_TO.name] < NEVER, _since(extra, step), extra["since"])
        return {"early": early, "at": at, "now": (step == at) & (to <= at.astype(jnp.float32)), "since": since}

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Put the early weights in place of the one update; masks act later."""
        return jax.tree.map(lambda now, early: jnp.where(extra["now"], early, now), params, extra["early"])


def _since(extra: Extra, step: jax.Array) -> jax.Array:
    """The step at which the schedule was turned back, which is this one where it wasn't yet: int32[].

    The knob is neutral in earlier stages, so the first step that sees another value starts the last one.
    """
    return jnp.minimum(extra["since"], step)
