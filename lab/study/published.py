"""Published benchmarks in studies: `ablations/<study>.py:babi` is that study on bAbI instead of its own tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from lab.errors import UserError
from lab.study.grid import Grid, declare_own
from lab.study.parts import TaskUse
from tasks.base import Listed, title, tuning_split
from tasks.planted import unplanted
from tasks.text import READERS
from tasks.text.published import PUBLISHED, Published

EXAMPLES = 32  # a step; the study's own task had a number that fitted its own length
DATA_DIR = "data_dir"
OF_TASKS = {"task", "mixture"}  # how the names of knobs begin that are about one of the study's tasks


def on_benchmark(module: ModuleType, name: str, where: str) -> ConfigDict:
    """A study's config with a published benchmark in place of all its tasks, and the claim about its `iid`.

    Args:
      module: the study's file, with its `get_config()` and `sweep(config)`.
      name: of the format.
      where: the study's file, for the sentence.

    Raises:
      UserError: if the study trains on no tasks, or its claim, knobs or axes are about its own.
    """
    config = module.get_config()
    if not isinstance(config, ConfigDict) or "tasks" not in config or "claim" not in config:
        raise UserError(f"{where}: this study trains on no tasks, so that '{name}' can't take their place.")
    if own := _about_its_tasks(config, module.sweep(config)):
        raise UserError(
            f"{where}: {own} its own tasks, so that '{name}' can't take their place; copy the file and name the"
            " benchmark in config.tasks."
        )
    claim: Any = config.claim
    config.tasks = ConfigDict({name: dict(task=name, examples=EXAMPLES)}, type_safe=False)
    claim.abilities = (f"{name}/iid",)
    config.name = f"{config.name or 'study'}_{name}"
    # The study's own question may be about its tasks.
    config.question = f"What does {claim.knob or 'the grid'} do to latents and ability on {READERS[name].about}?"
    if DATA_DIR not in config:
        declare_own(config, {DATA_DIR: ""})
    return config


def _about_its_tasks(config: Any, grid: Any) -> str:
    """Which part of a study is about its own tasks, with its verb; '' if none is."""
    if isinstance(config.claim.gains, (tuple, list)):
        return "its claim names places of"
    if OF_TASKS & {*config.knobs}:
        return "its knobs are fields of"
    axes = grid.axes if isinstance(grid, Grid) else ()
    return "its axes are fields of" if any(axis.knob.split(".")[0] in OF_TASKS for axis in axes) else ""


def is_benchmark(name: str) -> bool:
    """Whether a name is that of a format whose files can be a study's task."""
    return name in PUBLISHED


def folder_of(config: Any, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A task's fields with the study's folder of published files, where it needs one and has none of its own."""
    if is_benchmark(name) and DATA_DIR not in fields:
        return {**fields, DATA_DIR: config.get(DATA_DIR, "")}
    return fields


def kind_of_tasks(tasks: Sequence[TaskUse]) -> str:
    """What a study trains on, for prose."""
    published = [use.label in files_of([use]) for use in tasks]
    made = "synthetic tasks" if not any(published) else "synthetic tasks and published benchmarks"
    return "published benchmarks" if all(published) else made


def notes(tasks: Sequence[TaskUse], probes: int) -> Iterator[str]:
    """What a reader of results must know of the files, a sentence each.

    Args:
      tasks: of the study.
      probes: inputs that latents are read on.
    """
    for use in tasks:
        task = unplanted(use.task)
        for note in getattr(task, "notes", ()):
            yield f"config.tasks.{use.label}: {note}."
        items = use.task.splits[use.probe].difficulty.get("count", probes) if isinstance(task, Listed) else probes
        if items < probes:
            yield (
                f"config.tasks.{use.label}: '{use.probe}' has {items:,} items for config.probe.examples={probes:,}, so"
                " that latents are read on some of them more than once."
            )


def files_of(tasks: Sequence[TaskUse]) -> dict[str, dict[str, str]]:
    """label -> where a benchmark's files lie now, and a hash of what they say: `data_dir`, `content`."""
    found = {}
    for use in tasks:
        task = unplanted(use.task)
        if isinstance(task, Published):
            found[use.label] = {
                DATA_DIR: str(Path(task.data_dir).expanduser().absolute()),
                "content": task.identity["content"],
            }
    return found


def without_folders(config: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """A config as plain values without the folders of its benchmarks: files may be moved."""
    tasks = {
        label: {name: value for name, value in fields.items() if label not in files or name != DATA_DIR}
        for label, fields in config["tasks"].items()
    }
    return {**config, "tasks": tasks}


def with_folders(config: Mapping[str, Any], files: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The reverse: with the folders that a record names."""
    tasks = {
        label: {**fields, DATA_DIR: files[label][DATA_DIR]} if label in files else fields
        for label, fields in config["tasks"].items()
    }
    return {**config, "tasks": tasks}


def changed(there: Mapping[str, Mapping[str, str]], here: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """A clause for each benchmark whose files say something else than those of a record."""
    for label in sorted({*there} & {*here}):
        if there[label]["content"] != here[label]["content"]:
            yield f"the files of config.tasks.{label} in {here[label][DATA_DIR]} are not the ones that it trained on"


def check_tuned(tasks: Sequence[TaskUse], tuned: Sequence[str]) -> None:
    """Refuse to choose settings on a published test.

    Raises:
      UserError: if a knob is tuned away, and a task has no split to choose on.
    """
    for use in tasks:
        if tuned and not tuning_split(unplanted(use.task)):
            raise UserError(
                f"sweep(): '{tuned[0]}' is tuned away, and {title(use.task)} has no validation split to choose it on"
                " but its test; give files with one, or drop tuned()."
            )
