"""Sequences for sequences: the commands of SCAN and the sentences of COGS, whose answers are strings of symbols."""

from __future__ import annotations

from collections.abc import Mapping
from glob import escape
from pathlib import Path

from tasks.base import TaskError
from tasks.text.files import filled, find, lines, some, splits_of
from tasks.text.items import Item, Loaded, Option, Reader, Value, blanks


def read_scan(file: Path) -> tuple[Item, ...]:
    """The commands of one file, each with its actions as answer.

    Raises:
      TaskError: for a line that isn't `IN: command OUT: actions`.
    """
    items = []
    for place, line in lines(file):
        command, out, actions = line.removeprefix("IN:").partition(" OUT:")
        if not line.startswith("IN:") or not out:
            raise place.error("a line must be 'IN: command OUT: actions'; get the file again.")
        command, actions = filled(command, "command", place), filled(actions, "list of actions", place)
        factors = {"command_words": len(command.split()), "actions": len(actions.split())}
        items.append(Item((), command, actions, factors=factors, file=place.file, line=place.line))
    return tuple(items)


def _scan(folder: Path, options: Mapping[str, Value]) -> Loaded:
    cut = str(options["split"])
    found = {split: find(folder, f"tasks_{split}_{escape(cut)}.txt") for split in ("train", "test")}
    if not any(found.values()):
        raise TaskError(
            f"{folder} holds no tasks_train_{cut}.txt or tasks_test_{cut}.txt (or the same with .gz); give the folder "
            "of the published files, and one of its splits: simple, length, addprim_jump …"
        )
    shifted = () if cut.startswith("simple") or not found["test"] else ("test",)
    return Loaded({split: some(file, read_scan(file)) for split, file in found.items() if file}, shifted)


def read_cogs(file: Path) -> tuple[Item, ...]:
    """The sentences of one file, each with its logical form as answer.

    Raises:
      TaskError: for a line without its three columns.
    """
    items = []
    for place, line in lines(file):
        columns = line.split("\t")
        if len(columns) != 3:
            raise place.error(f"a line has sentence, logical form and type between tabs, not {len(columns)} columns.")
        names = ("sentence", "logical form", "type")
        sentence, form, kind = (filled(text, name, place) for text, name in zip(columns, names, strict=True))
        factors = {"type": kind, "form_words": len(form.split())}
        items.append(Item((), sentence, form, factors=factors, file=place.file, line=place.line))
    return tuple(items)


def _cogs(folder: Path, options: Mapping[str, Value]) -> Loaded:
    train = str(options["train"])
    names = {"train": train, "dev": "dev", "test": "test", "gen": "gen"}
    splits = splits_of(folder, {split: (f"{escape(name)}.tsv",) for split, name in names.items()}, read_cogs)
    return Loaded(splits, tuple(split for split in ("gen",) if split in splits))


SCAN = Reader(
    about="SCAN: commands and the actions that they mean",
    load=_scan,
    words=blanks,
    source="Lake and Baroni 2018, Generalization without Systematicity, arXiv 1711.00350",
    licence="BSD 3-clause, Facebook, Inc.; github.com/brendenlake/SCAN",
    layout=(
        "simple_split/tasks_train_simple.txt, tasks_test_simple.txt",
        "length_split/tasks_train_length.txt, tasks_test_length.txt",
        "add_prim_split/tasks_train_addprim_jump.txt, tasks_test_addprim_jump.txt",
        "any other tasks_train_NAME.txt of the repository, by its NAME",
    ),
    options={"split": Option("simple", "how train and test are cut: simple, length, addprim_jump …")},
)

COGS = Reader(
    about="COGS: sentences and their logical forms",
    load=_cogs,
    words=blanks,
    source="Kim and Linzen 2020, COGS, arXiv 2010.05465",
    licence="MIT; github.com/najoungkim/COGS",
    layout=("data/train.tsv, train_100.tsv", "data/dev.tsv, test.tsv: as train", "data/gen.tsv: generalization"),
    options={"train": Option("train", "the training file: train, or train_100 with more exposure examples")},
)
