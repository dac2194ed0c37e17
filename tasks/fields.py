"""Which difficulties of training a study may turn: those that keep what is held out held out, and fit the train split.

A task declares them as a property or class variable `knob_fields`, name -> `KnobField`; without a declaration they are
those that a curriculum may move, between `easiest` and the `train` split, and the share of its scratchpads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.base import Task, movable

SCRATCHPAD = "scratchpad"  # the difficulty of tasks with a scratchpad: the chance that an example shows its steps


@dataclass(frozen=True)
class KnobField:
    """A difficulty of the `train` split that a study may set for training alone.

    Neutral is the `train` split's own value, which also says whether it is a whole number.

    Attributes:
      low, high: the values that training may have, both included. At each of them examples fit into the `train` split's
        padded length, and no problem of a `disjoint` split is ever drawn.
      about: what it is of the training examples, as a noun phrase for prose: 'share of wrong labels'.
      source: the paper that varies it; empty for the task's own.
    """

    low: float
    high: float
    about: str
    source: str = ""


def share(about: str, source: str = "") -> KnobField:
    """A probability or share, from 0 to 1."""
    return KnobField(0.0, 1.0, about, source)


def knob_fields(task: Task) -> dict[str, KnobField]:
    """The difficulties of a task's training that a study may turn, by name; a task's own declaration goes first.

    A task may declare None for one that only moves together with others.
    """
    train = task.splits["train"].difficulty
    found: dict[str, KnobField | None] = {
        name: KnobField(min(ends), max(ends), name.replace("_", " ")) for name, ends in movable(task).items()
    }
    if train.get(SCRATCHPAD, 0) > 0:  # else the padded length has no room for one
        found[SCRATCHPAD] = share("share of examples that show their steps", "Nye et al. 2021, arXiv 2112.00114")
    declared: Mapping[str, KnobField | None] = getattr(task, "knob_fields", {})
    return {name: field for name, field in {**found, **declared}.items() if field is not None}
