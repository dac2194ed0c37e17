"""Continuous thoughts: before it answers, the model is fed its own last hidden vector a number of times.

Each thought takes a pass of its own, so training costs as many passes more. They are learned from the answers alone:
no written reasoning is replaced step by step, as the paper's curriculum does.

`thoughts.control` changes nothing in training. At inference it puts another example's thoughts in place
of the example's own, or Gaussian noise of the same length: where abilities stay, the thoughts' content isn't used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StageSetup
from lab.nn.model import ModelSpec

CONTROLS = ("own", "swapped", "noise")
STEPS = Knob(
    name="thoughts.steps",
    high=64,
    integer=True,
    pinned=True,
    sizes=True,
    about="hidden vectors that are fed back as inputs between question and answer",
    source="Hao et al. 2024, arXiv 2412.06769 (Coconut)",
)
CONTROL = Knob(
    name="thoughts.control",
    neutral="own",
    choices=CONTROLS,
    indexed=True,
    needs=(STEPS.name,),
    about="whose thoughts the model is given when it is read: its own, another example's, or noise of the same length",
    source="arXiv 2512.21711",
)


class Thoughts(Mechanism):
    """See the module's docstring."""

    name = "thoughts"
    knobs = (STEPS, CONTROL)
    hook_points = ("thought_steps", "thoughts")
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """Masks that are chosen from a pass that reads the model would be chosen under the control."""
        knobs = setup.knobs
        method = knobs["prune.method"]
        if knobs[CONTROL.name] != CONTROL.neutral and knobs["prune.sparsity"] and method in ("snip", "wanda"):
            return f"{CONTROL.name} is not for training, but prune.method='{method}' reads the model; use another."
        return ""

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the thoughts."""
        return replace(spec, thoughts=knobs[STEPS.name])

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """The number of thoughts; and at inference, whose thoughts they are."""
        if hook_point == "thought_steps":
            return knobs[STEPS.name]
        return x if key is not None else controlled(x, knobs[CONTROL.name])


def controlled(thoughts_BxSxD: jax.Array, control: jax.Array) -> jax.Array:
    """The thoughts that an example is given, by the index of CONTROLS: the next example's for 'swapped'."""
    noise = jax.random.normal(jax.random.key(0), thoughts_BxSxD.shape)
    # Thoughts that aren't there are 0, where a length has no slope.
    squared_BxSx1 = jnp.sum(jnp.square(thoughts_BxSxD), axis=-1, keepdims=True)
    there_BxSx1 = squared_BxSx1 > 0
    length = jnp.where(there_BxSx1, jnp.sqrt(jnp.where(there_BxSx1, squared_BxSx1, 1.0)), 0.0)
    drawn = jnp.linalg.norm(noise, axis=-1, keepdims=True)
    swapped = jnp.roll(thoughts_BxSxD, -1, axis=0)
    return jnp.where(control == 0, thoughts_BxSxD, jnp.where(control == 1, swapped, noise * length / drawn))
