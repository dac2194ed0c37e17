"""Process supervision: more of the training examples show their steps, in tasks of which some do.

A task with a scratchpad (`scratchpad="valid"` and a `scratchpad_share` between 0 and 1 in the study's tasks) trains on
a mixture of examples with their intermediate steps and without. This knob gives steps to some of those without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, Knob, Knobs, Mechanism
from lab.nn.model import ModelSpec
from tasks.base import Task
from tasks.mixture import Mixture

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

    def objection(self, mixture: Mixture, spec: ModelSpec, knobs: Mapping[str, Any]) -> str:
        """Some task must have examples with steps and examples without."""
        del spec, knobs
        if any(share_of(task) for _, task in mixture.tasks):
            return ""
        labels = ", ".join(label for label, _ in mixture.tasks)
        return (
            f"{EXTRA.name}: in no task ({labels}) do some training examples show their steps and others don't; give one"
            f" scratchpad='valid' and scratchpad_share=0.5, or leave it at {EXTRA.neutral:g}."
        )

    def difficulty(self, knobs: Knobs, context: Context, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
        """The chance of each example to show its steps: float32[B]."""
        del key
        found = {}
        for label, count in context.counts:
            share = share_of(context.mixture.task(label))
            if count and share:
                found[label] = {STEPS: jnp.full(count, share + (1.0 - share) * knobs[EXTRA.name], jnp.float32)}
        return found
