"""A difficulty of a task as a knob of the study: training examples are drawn with the cell's value.

Which difficulties, over which range, is the task's to say (`tasks.fields`). The knob is named `task.<label>.<field>`,
its neutral value is that of the task's `train` split, and it belongs to the study whose task it is
(`Study.own_knobs`). Evaluation and probes keep their splits as declared.

A difficulty that a curriculum moves can't be set at the same time: the curriculum's levels say what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from lab.mechanisms.base import DataSource, Extra, Knob, Knobs, Mechanism, StageSetup
from lab.values import exact
from tasks.base import Task, movable, title
from tasks.fields import SCRATCHPAD, knob_fields

NAME = "task"


def knob_name(label: str, field: str) -> str:
    """`task.<label>.<field>`."""
    return f"{NAME}.{label}.{field}"


def field_knobs(label: str, task: Task) -> Iterator[Knob]:
    """The knobs that a task brings to a study in which it has that label."""
    train = task.splits["train"].difficulty
    for field, declared in knob_fields(task).items():
        neutral = train[field]
        yield Knob(
            name=knob_name(label, field),
            low=declared.low,
            high=declared.high,
            neutral=neutral if isinstance(neutral, int) else float(neutral),
            integer=isinstance(neutral, int),
            about=f"{declared.about} in training on {title(task)}",
            source=declared.source or task.source,
        )


class TaskFields(Mechanism):
    """See the module's docstring."""

    name = NAME

    def objection(self, setup: StageSetup) -> str:
        """What else may say how hard an example is, must not."""
        for label, task in setup.mixture.tasks:
            for field in knob_fields(task):
                name = knob_name(label, field)
                if name not in setup.own or setup.knobs[name] == setup.own[name].neutral:
                    continue
                if setup.knobs["curriculum.order"] != "fixed" and field in movable(task):
                    return (
                        f"{name}={exact(setup.knobs[name])}: a curriculum moves the {field} of '{label}', too; set one"
                        " or the other."
                    )
                if setup.knobs["process.extra"] > 0 and field == SCRATCHPAD:
                    return f"{name} and process.extra both say how many examples show their steps; set one of them."
        return ""

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Put the cells' values in place of those of the `train` split."""
        found: dict[str, Mapping[str, jax.Array]] = {}
        for label, count in source.context.counts:
            task = source.context.mixture.task(label)
            train, values = task.splits["train"].difficulty, {}
            for field in knob_fields(task) if count else ():
                if (name := knob_name(label, field)) in knobs:
                    whole = isinstance(train[field], int)
                    values[field] = jnp.round(knobs[name]).astype(jnp.int32) if whole else knobs[name]
            if values:
                found[label] = values
        return replace(source, fields=found)
