"""Published benchmarks, read from their own files: `read("babi", folder, part=1)`. See docs/text.md.

`tasks.text.published` makes tasks of them, which studies name like any other.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from tasks.base import TaskError
from tasks.text.babi import BABI
from tasks.text.choices import COMMONSENSEQA, LOGIQA
from tasks.text.deduction import PRONTOQA, PROOFWRITER, RULETAKER
from tasks.text.families import CLUTRR
from tasks.text.formulas import LISTOPS, LOGICAL_ENTAILMENT
from tasks.text.items import Dataset, Item, Option, Reader, Value
from tasks.text.sequences import COGS, SCAN
from tasks.text.summary import Summary, summaries, vocabulary
from tasks.text.tables import MULTIPLE_CHOICE, QUESTION_ANSWER

READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "babi": BABI,
        "scan": SCAN,
        "cogs": COGS,
        "clutrr": CLUTRR,
        "prontoqa": PRONTOQA,
        "proofwriter": PROOFWRITER,
        "ruletaker": RULETAKER,
        "logiqa": LOGIQA,
        "commonsenseqa": COMMONSENSEQA,
        "listops": LISTOPS,
        "logical_entailment": LOGICAL_ENTAILMENT,
        "question_answer": QUESTION_ANSWER,
        "multiple_choice": MULTIPLE_CHOICE,
    }
)

TRUTHS = {"yes": True, "true": True, "no": False, "false": False}

__all__ = ["READERS", "Dataset", "Item", "Summary", "read", "reader", "summaries", "vocabulary"]


def reader(name: str) -> Reader:
    """The reader of a format.

    Raises:
      TaskError: for a name that no format has.
    """
    if name not in READERS:
        near = difflib.get_close_matches(name, READERS, n=3, cutoff=0.5) or READERS
        raise TaskError(f"there is no text format '{name}'. Nearest: {', '.join(near)}.")
    return READERS[name]


def read(name: str, folder: str | Path, **options: Value) -> Dataset:
    """All splits of a published benchmark.

    Args:
      name: of the format, see `READERS`.
      folder: where its files lie.
      options: those of the format; text as the command line has it is read as the option's kind.

    Raises:
      TaskError: as `values_of`; for files that are missing, and a malformed line, named by file and line.
    """
    chosen, values = reader(name), values_of(name, options)
    loaded = chosen.load(Path(folder), values)
    return Dataset(name, loaded.splits, loaded.out_of_distribution, chosen.words, chosen.source, chosen.licence)


def values_of(name: str, options: Mapping[str, Value]) -> dict[str, Value]:
    """The value of every option of a format, each of the kind that the option is of.

    Raises:
      TaskError: for an unknown name or option, and for a value of another kind.
    """
    chosen = reader(name)
    for option in options:
        if option not in chosen.options:
            near = difflib.get_close_matches(option, chosen.options, n=3, cutoff=0.5) or chosen.options or ["none"]
            raise TaskError(f"{name} has no option '{option}'. Nearest: {', '.join(near)}.")
    return {key: _value(name, key, option, options.get(key, option.default)) for key, option in chosen.options.items()}


def _value(name: str, key: str, option: Option, given: Value) -> Value:
    """The value as the kind that the option's default is of."""
    if isinstance(option.default, bool):
        value = TRUTHS.get(given.lower()) if isinstance(given, str) else given
        if not isinstance(value, bool):
            raise TaskError(f"{name}: {key} must be yes or no, not {given!r}.")
        return value
    if isinstance(option.default, int):
        if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= 9:
            return int(given)
        if not isinstance(given, int) or isinstance(given, bool):
            raise TaskError(f"{name}: {key} must be a whole number, not {given!r}.")
        return given
    if not isinstance(given, str | int) or isinstance(given, bool):
        raise TaskError(f"{name}: {key} must be text, not {given!r}.")
    return str(given)
