"""Renaming as augmentation: the interchangeable symbols of a task change places, the answer's with them.

No task's right answer depends on which key, value, label or card is which (`tasks.base.Renamable` says where that is
so, and a test holds it), so a renamed example is a right one. It is one that training could have drawn: tasks rename
before they choose the side of the train/held-out hash, and no held-out problem gets into training. For the same reason
renaming changes little where every example is new and all symbols are alike already; it is made for training data that
comes again (`data.batches`), where an example then never comes twice with the same names.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import DataSource, Extra, Knob, Knobs, Mechanism, StageSetup
from tasks.base import RENAMED, interchangeable
from tasks.mixture import at_label

SHARE = Knob(
    name="rename.share",
    about="share of training examples whose interchangeable symbols (keys, values, labels) are permuted at random",
    source="Akyürek & Andreas 2023, arXiv 2201.12926",
)


class Renaming(Mechanism):
    """See the module's docstring."""

    name = "rename"
    knobs = (SHARE,)

    def objection(self, setup: StageSetup) -> str:
        """Some task must have symbols that may be renamed."""
        if any(interchangeable(task) for _, task in setup.mixture.tasks):
            return ""
        return (
            f"{SHARE.name}: no task ({setup.labels}) has symbols that may be renamed; add one that has, such as mqar or"
            f" path_star, or leave it at {SHARE.neutral:g}."
        )

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Give each example the number of its renaming, 0 for none: uint32[B]."""
        found = {}
        for label, count in source.context.counts:
            if count and interchangeable(source.context.mixture.task(label)):
                which, chance = jax.random.split(at_label(key, label))
                number_B = jnp.maximum(jax.random.bits(which, (count,)), 1)
                number_B = jnp.where(jax.random.uniform(chance, (count,)) < knobs[SHARE.name], number_B, 0)
                found[label] = {RENAMED: number_B}
        return source.with_difficulty(found)
