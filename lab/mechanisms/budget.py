"""A budget of steps: a cell stops learning when it is spent, so that cells can be compared at equal or graded compute.

From that step on the learning rate is zero, hence so is every update, decay included: the parameters stay bitwise what
they are. The optimizer's moments keep moving, and so does what other mechanisms do to parameters without a rate: masks,
caps and rewinding still act as a stage starts. Later stages and repair arms learn nothing either; give a stage 0 steps
(`config.steps`) where only that one is to learn nothing. The cell still costs what it did; its budget is what it was
trained with, not what was computed. A rate that decays to the study's end hasn't decayed when the budget is spent: a
constant one is the fair comparison.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import NEVER, Extra, Knob, Knobs, Mechanism, Params, UpdateRule

STEPS = Knob(
    name="budget.steps",
    high=NEVER,
    neutral=NEVER,
    integer=True,
    about="steps that a cell learns in, of all stages; its learning rate is 0 from there on",
    source="Dodge et al. 2019, arXiv 1909.03004",
)


class Budget(Mechanism):
    """See the module's docstring."""

    name = "budget"
    knobs = (STEPS,)

    def transform_update(
        self, rule: UpdateRule, params: Params, extra: Extra, knobs: Knobs, step: jax.Array
    ) -> UpdateRule:
        """Nothing moves once the budget is spent."""
        return rule._replace(rate_scale=jnp.where(step.astype(jnp.float32) < knobs[STEPS.name], rule.rate_scale, 0.0))
