"""Renaming as augmentation: the interchangeable symbols of a task change places, the answer's with them.

No task's right answer depends on which key, value, label or card is which (`tasks.base.Renamable` says where that is
so, and a test holds it), so a renamed example is a right one. It is one that training could have drawn: tasks rename
before they choose the side of the train/held-out hash, and no held-out problem gets into training. For the same reason
renaming changes little where every example is new and all symbols are alike already; it is made for training data that
comes again (`data.batches`), where an example then never comes twice with the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, Knob, Knobs, Mechanism
from lab.nn.model import ModelSpec
from tasks.base import RENAMED, interchangeable
from tasks.mixture import Mixture, at_label

SHARE = Knob(
    name="rename.share",
    about="share of training examples whose interchangeable symbols (keys, values, labels) are permuted at random",
    source="Akyürek & Andreas 2023, arXiv 2201.12926",
)


class Renaming(Mechanism):
    """See the module's docstring."""

    name = "rename"
    knobs = (SHARE,)

    def objection(self, mixture: Mixture, spec: ModelSpec, knobs: Mapping[str, Any]) -> str:
        """Some task must have symbols that may be renamed."""
        del spec, knobs
        if any(interchangeable(task) for _, task in mixture.tasks):
            return ""
        labels = ", ".join(label for label, _ in mixture.tasks)
        return (
            f"{SHARE.name}: no task ({labels}) has symbols that may be renamed; add one that has, such as mqar or"
            f" path_star, or leave it at {SHARE.neutral:g}."
        )

    def difficulty(self, knobs: Knobs, context: Context, key: jax.Array) -> dict[str, dict[str, jax.Array]]:
        """The renaming of each example, 0 for none: uint32[B]."""
        found = {}
        for label, count in context.counts:
            if count and interchangeable(context.mixture.task(label)):
                which, chance = jax.random.split(at_label(key, label))
                number_B = jnp.maximum(jax.random.bits(which, (count,)), 1)
                number_B = jnp.where(jax.random.uniform(chance, (count,)) < knobs[SHARE.name], number_B, 0)
                found[label] = {RENAMED: number_B}
        return found
