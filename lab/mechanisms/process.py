"""Process supervision: more of the training examples show their steps, in tasks of which some do.

A task with a scratchpad (`scratchpad="valid"` and a `scratchpad_share` between 0 and 1 in the study's tasks) trains on
a mixture of examples with their intermediate steps and without. This knob gives steps to some of those without.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import DataSource, Extra, Knob, Knobs, Mechanism, StageSetup
from tasks.base import Task

STEPS = "scratchpad"  # the difficulty that tasks with a scratchpad have: the chance that an example shows its steps
EXTRA = Knob(
    name="process.extra",
    about="share of the training examples without a scratchpad that get one, in tasks where some have one",
    source="Lightman et al. 2023, arXiv 2305.20050; Nye et al. 2021, arXiv 2112.00114",
)


def share_of(task: Task) -> float:
    """The share of a task's training examples that show their steps; 0 where it can't be raised: none or all do."""
    share = float(task.splits["train"].difficulty.get(STEPS, 0.0))
    return share if share < 1 else 0.0


class Process(Mechanism):
    """See the module's docstring."""

    name = "process"
    knobs = (EXTRA,)

    def objection(self, setup: StageSetup) -> str:
        """Some task must have examples with steps and examples without."""
        if any(share_of(task) for _, task in setup.mixture.tasks):
            return ""
        return (
            f"{EXTRA.name}: in no task ({setup.labels}) do some training examples show their steps and others don't;"
            f" give one scratchpad='valid' and scratchpad_share=0.5, or leave it at {EXTRA.neutral:g}."
        )

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Raise the chance of each example to show its steps."""
        found = {}
        for label, count in source.context.counts:
            share = share_of(source.context.mixture.task(label))
            if count and share:
                found[label] = {STEPS: jnp.full(count, share + (1.0 - share) * knobs[EXTRA.name], jnp.float32)}
        return source.with_difficulty(found)
