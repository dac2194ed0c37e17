"""Static fields of a study's tasks as knobs: `axis("task.add.p", (31, 61, 97))`, a program each.

Every value makes another task, with vocabulary, splits and floors of its own. Neutral is what `config.tasks` says,
whose cells have the keys of a study without the axis; those of another value have the keys of a study whose config says
so. `Study.at` gives the study of the cells with one value, in which the task has it as its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from lab.errors import UserError, shown
from lab.mechanisms.base import Knob
from lab.mechanisms.task_fields import NAME, field_knobs, knob_name
from lab.nn.model import ModelSpec
from lab.study.grid import AT_TEST, Axis
from lab.study.parts import TaskUse
from lab.values import exact
from tasks import TaskError, with_sizes
from tasks.base import title
from tasks.fields import knob_fields
from tasks.mixture import Mixture
from tasks.planted import DIFFICULTIES, SHORTCUTS, Planted, unplanted

WHOLE = float(2**53)  # the task itself says which numbers it takes


def fields_of(use: TaskUse) -> dict[str, Any]:
    """The static fields of a task that can be an axis, and their values.

    Those that hold one number or name and are no difficulty, which is traced; a name next to a difficulty of the same
    name, such as the kind of a scratchpad next to its share, is one, too.
    """
    task, planted = use.task, {}
    if isinstance(task, Planted):
        planted = {name: getattr(task, name) for name in SHORTCUTS if name not in DIFFICULTIES}
        task = task.task
    found = {field.name: getattr(task, field.name) for field in dataclasses.fields(cast(Any, task))} | planted
    traced = {name for name in knob_fields(use.task) if not isinstance(found.get(name), str)}
    return {n: value for n, value in found.items() if n not in traced and isinstance(value, (int, float, str))}


def knobs(tasks: Sequence[TaskUse], axes: Sequence[Axis], fixed: Collection[str]) -> dict[str, Knob]:
    """The static fields of tasks that are axes, as knobs; neutral is what `config.tasks` says.

    Args:
      tasks: of the study.
      axes: of its grid.
      fixed: names of the knobs that `config.knobs` sets.

    Raises:
      UserError: for one that is set as a knob, tuned away or named at test, and for a value that the task can't have.
    """
    found = {}
    for use in tasks:
        own = {knob_name(use.label, name): (name, value) for name, value in fields_of(use).items()}
        for a in (a for a in axes if a.knob in own):
            name, value = own[a.knob]
            if name in knob_fields(use.task) and not any(isinstance(one, str) for one in a.values):
                continue  # numbers are the difficulty's
            if a.tuned:
                raise UserError(f"sweep(): '{a.knob}' makes another task of each value; none is best: drop tuned().")
            if a.stage == AT_TEST:
                raise UserError(f"sweep(): axis '{a.knob}' can't have at='test': its value is part of the model.")
            found[a.knob] = _knob(a, use, name, value)
        for name in (n for n, (field, _) in own.items() if n in fixed and field not in knob_fields(use.task)):
            raise UserError(f"config.knobs.{name}: a field of a task is set as config.tasks.{name.split('.', 1)[1]}.")
    return found


def _knob(axis: Axis, use: TaskUse, name: str, value: Any) -> Knob:
    """The knob of one field; which numbers it may have is the task's to say, see `check`."""
    for one in axis.values:
        if isinstance(one, str) != isinstance(value, str) or isinstance(one, bool) != isinstance(value, bool):
            kind = "a name" if isinstance(value, str) else "True or False" if isinstance(value, bool) else "a number"
            raise UserError(f"sweep(): axis '{axis.knob}': {shown(one)} must be {kind}, as {shown(value)} is.")
    named = isinstance(value, (str, bool))
    return Knob(
        name=axis.knob,
        low=-WHOLE,
        high=WHOLE,
        neutral=value,
        choices=tuple(dict.fromkeys((value, *axis.values))) if named else (),
        static=not named,
        integer=not named and _kind(use, name) == "int",
        pinned=True,
        about=f"{name.replace('_', ' ')} of {title(use.task)}",
        source=use.task.source,
    )


def _kind(use: TaskUse, name: str) -> str:
    """What the task declares a field to be: 'int', 'float'."""
    task: Any = unplanted(use.task)
    return next(str(field.type) for field in dataclasses.fields(task) if field.name == name)


def check(tasks: Sequence[TaskUse], own: Iterable[Knob], cells: Sequence[Mapping[str, Any]]) -> None:
    """Refuse values that a task can't have, or with which cells have nothing in common that can be compared.

    Raises:
      UserError: in one sentence; also for a difficulty that the study turns, where the field moves what is neutral.
    """
    own = tuple(own)
    for setting in settings(own, cells):
        where = ", ".join(f"{name}={exact(value)}" for name, value in setting.items())
        mine = [cell for cell in cells if setting.items() <= cell.items()]
        for use, other in zip(tasks, tasks_with(tasks, own, setting), strict=True):
            _same_places(use, other, where)
            now = {knob.name: knob for knob in field_knobs(other.label, other.task)}
            for knob in (k for k in own if k.traced and k.name in {f.name for f in field_knobs(use.label, use.task)}):
                _turned(knob, now.get(knob.name), [cell[knob.name] for cell in mine], where)


def _turned(knob: Knob, now: Knob | None, values: Sequence[Any], where: str) -> None:
    """Refuse a difficulty that is another one where a static field of its task has other values."""
    if now is None:
        raise UserError(
            f"sweep(): where {where}, there is no '{knob.name}' to turn; give each value a study of its own."
        )
    if now.neutral != knob.neutral:
        raise UserError(
            f"sweep(): where {where}, {exact(now.neutral)} is the neutral value of '{knob.name}', and"
            f" {exact(knob.neutral)} as config.tasks says; give each value of the field a study of its own."
        )
    if outside := [value for value in values if not now.low <= value <= now.high]:
        raise UserError(
            f"sweep(): where {where}, {knob.name}={exact(outside[0])} is out of range; it must lie in"
            f" [{exact(now.low)}, {exact(now.high)}]."
        )


def _same_places(use: TaskUse, other: TaskUse, values: str) -> None:
    one, two = use.task, other.task
    places = {
        "splits": ([*one.splits], [*two.splits]),
        "read positions": ([*one.read_names], [*two.read_names]),
        "factors": ([*one.factor_sizes], [*two.factor_sizes]),
    }
    for what, (mine, its) in places.items():
        if mine != its:
            raise UserError(
                f"sweep(): where {values}, the {what} of '{use.label}' are {', '.join(its) or 'none'}, and as"
                f" config.tasks says {', '.join(mine)}: nothing to compare; give each value a study of its own."
            )
    if two.splits[use.probe].length > two.splits["train"].length:
        raise UserError(
            f"sweep(): where {values}, the inputs of '{use.probe}' are longer than training; name another split as"
            f" config.tasks.{use.label}.probe."
        )


def names(own: Iterable[Knob]) -> tuple[str, ...]:
    """Of a study's own knobs the static fields of its tasks."""
    return tuple(knob.name for knob in own if not knob.traced and knob.name.startswith(f"{NAME}."))


def settings(own: Iterable[Knob], cells: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The different settings of those fields that cells have; one empty one where there are no such fields."""
    found = names(own)
    each = dict.fromkeys(tuple(cell[name] for name in found) for cell in cells)
    return [dict(zip(found, values, strict=True)) for values in each]


def tasks_with(tasks: Sequence[TaskUse], own: Iterable[Knob], values: Mapping[str, Any]) -> tuple[TaskUse, ...]:
    """The tasks, each with the static fields that a cell's values give it.

    Raises:
      UserError: where a task can't have them.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name in (name for name in names(own) if name in values):
        _, label, field = name.split(".")
        changes.setdefault(label, {})[field] = values[name]
    return tuple(_with(use, changes[use.label]) if use.label in changes else use for use in tasks)


def _with(use: TaskUse, changes: Mapping[str, Any]) -> TaskUse:
    try:
        return replace(use, task=with_sizes(use.task, changes))
    except TaskError as error:
        given = " and ".join(f"{knob_name(use.label, field)}={shown(value)}" for field, value in changes.items())
        raise UserError(f"sweep(): {given}: {error}") from None


def room(tasks: Sequence[TaskUse]) -> tuple[int, int]:
    """(tokens, positions) that a model of these tasks needs."""
    mixture = Mixture(tuple((use.label, use.task) for use in tasks))
    longest = max(split.length for use in tasks for split in use.task.splits.values())
    return mixture.vocab_size, longest + mixture.prefix


def fitted(spec: ModelSpec, tasks: Sequence[TaskUse]) -> ModelSpec:
    """A model's sizes with room for these tasks."""
    vocab_size, longest = room(tasks)
    return replace(spec, vocab_size=vocab_size, max_length=longest)
