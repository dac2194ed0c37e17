"""Published benchmarks in studies: `ablations/<study>.py:babi` is that study on bAbI instead of its own tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from ml_collections import ConfigDict

from lab.errors import UserError
from lab.study.grid import declare_own
from lab.study.parts import TaskUse
from tasks.base import title, tuning_split
from tasks.planted import Planted
from tasks.text import READERS
from tasks.text.published import PUBLISHED

EXAMPLES = 32  # a step; the study's own task had a number that fitted its own length
DATA_DIR = "data_dir"


def on_benchmark(config: Any, name: str, where: str) -> Any:
    """A study's config with a published benchmark in place of all its tasks, and the claim about its `iid`.

    Args:
      config: of the study, made without a variant.
      name: of the format.
      where: the study's file, for the sentence.

    Raises:
      UserError: if the study's claim or knobs are about its own tasks.
    """
    if not isinstance(config, ConfigDict) or "tasks" not in config or "claim" not in config:
        raise UserError(f"{where}:{name}: this study trains on no tasks, so that '{name}' can't take their place.")
    claim, knobs = cast(Any, config.claim), cast(Any, config.knobs)
    if isinstance(claim.gains, (tuple, list)):
        own = "its claim names places of its own tasks"
    else:
        own = "its knobs are fields of its own tasks" if {"task", "mixture"} & {*knobs} else ""
    if own:
        raise UserError(
            f"{where}:{name}: {own}, so that a benchmark can't take their place; copy the file and name the benchmark"
            " in config.tasks."
        )
    config.tasks = ConfigDict({name: dict(task=name, examples=EXAMPLES)}, type_safe=False)
    claim.abilities = (f"{name}/iid",)
    config.name = f"{config.name or 'study'}_{name}"
    config.question = f"{config.question} Asked of {READERS[name].about}."
    if DATA_DIR not in config:
        declare_own(config, {DATA_DIR: ""})
    return config


def is_benchmark(name: str) -> bool:
    """Whether a name is that of a format whose files can be a study's task."""
    return name in PUBLISHED


def folder_of(config: Any, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A task's fields with the study's folder of published files, where it needs one and has none of its own."""
    if is_benchmark(name) and DATA_DIR not in fields:
        return {**fields, DATA_DIR: config.get(DATA_DIR, "")}
    return fields


def notes(tasks: Sequence[TaskUse]) -> Iterator[str]:
    """What a reader of results must know of the files, a sentence each."""
    for use in tasks:
        task = use.task.task if isinstance(use.task, Planted) else use.task
        for note in getattr(task, "notes", ()):
            yield f"config.tasks.{use.label}: {note}."


def check_tuned(tasks: Sequence[TaskUse], tuned: Sequence[str]) -> None:
    """Refuse to choose settings on a published test.

    Raises:
      UserError: if a knob is tuned away, and a task has no split to choose on.
    """
    for use in tasks:
        if tuned and not tuning_split(use.task.task if isinstance(use.task, Planted) else use.task):
            raise UserError(
                f"sweep(): '{tuned[0]}' is tuned away, and {title(use.task)} has no validation split to choose it on"
                " but its test; give files with one, or drop tuned()."
            )
