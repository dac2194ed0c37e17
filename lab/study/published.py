"""Published benchmarks in studies: `ablations/<study>.py:babi` is that study on bAbI instead of its own tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ml_collections import ConfigDict

from lab.errors import UserError
from lab.study.grid import declare_own
from lab.study.parts import TaskUse
from tasks.base import Listed, title, tuning_split
from tasks.planted import Planted
from tasks.text import READERS
from tasks.text.published import PUBLISHED, Published

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
        task = use.task.task if isinstance(use.task, Planted) else use.task
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
        task = use.task.task if isinstance(use.task, Planted) else use.task
        if isinstance(task, Published):
            found[use.label] = {DATA_DIR: str(Path(task.data_dir).absolute()), "content": task.identity["content"]}
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
        if tuned and not tuning_split(use.task.task if isinstance(use.task, Planted) else use.task):
            raise UserError(
                f"sweep(): '{tuned[0]}' is tuned away, and {title(use.task)} has no validation split to choose it on"
                " but its test; give files with one, or drop tuned()."
            )
