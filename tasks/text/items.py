"""What a published benchmark holds, whatever file it came in: items, in named splits.

A reader turns files into a `Dataset` and changes no word of them: see docs/text.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

Words = Callable[[str], tuple[str, ...]]  # how a format's text falls into words
Value = str | int | bool

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


@lru_cache(maxsize=2**16)  # stories tell few sentences often
def apart(text: str) -> tuple[str, ...]:
    """Words of prose, with each punctuation mark a word of its own; case as published.

    Apostrophes and hyphens inside a word stay in it: `son-in-law` is one word, `s,s` is three.
    """
    return tuple(WORD.findall(text))


def blanks(text: str) -> tuple[str, ...]:
    """Words of a file that is published in words: split at blanks."""
    return tuple(text.split())


def characters(text: str) -> tuple[str, ...]:
    """Words of formulas: every character but blanks."""
    return tuple("".join(text.split()))


@dataclass(frozen=True)
class Item:
    """One question with its answer.

    Attributes:
      context: the sentences to answer from, in order; a text that is published in one piece is one; empty if none.
      question: as published.
      answer: as published; several words, or a list with commas, are one answer.
      choices: what the answer is chosen from; empty if nothing is offered.
      factors: name -> what the file says about the item: hops, depth, type.
      file: where it was read.
      line: of that file, from 1; the first one where an item takes several.
      chosen: which of the choices is right, from 0: two of them may be the same words. -1 where nothing is offered.
    """

    context: tuple[str, ...]
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    factors: Mapping[str, int | str] = field(default_factory=dict)
    file: str = ""
    line: int = 0
    chosen: int = -1

    @property
    def asked(self) -> tuple[object, ...]:
        """All but the answer: two items that ask the same repeat each other."""
        return self.context, self.question, self.choices

    def words(self, rule: Words) -> tuple[str, ...]:
        """The words of all but the answer, in order: context, question, choices."""
        return tuple(word for text in (*self.context, self.question, *self.choices) for word in rule(text))


@dataclass(frozen=True)
class Dataset:
    """A published benchmark as read.

    Attributes:
      name: of its reader in `READERS`.
      splits: name -> items, in the files' order. `train` is what may be learned from.
      out_of_distribution: the splits that are published as drawn otherwise than `train`.
      words: how its text falls into words.
      source: the paper to cite.
      licence: under which the files are published.
    """

    name: str
    splits: Mapping[str, tuple[Item, ...]]
    out_of_distribution: tuple[str, ...]
    words: Words
    source: str
    licence: str


class Loaded(NamedTuple):
    """What a reader finds in a folder.

    Attributes:
      splits: name -> items.
      out_of_distribution: the splits drawn otherwise than `train`.
    """

    splits: Mapping[str, tuple[Item, ...]]
    out_of_distribution: tuple[str, ...] = ()


class Option(NamedTuple):
    """An option of a reader.

    Attributes:
      default: its value where none is given, which also says whether it is text, a whole number or yes or no.
      about: one line for a person.
    """

    default: Value
    about: str


@dataclass(frozen=True)
class Reader:
    """How one published format is read.

    Attributes:
      about: one line for a person.
      load: folder and the values of all options -> what is in it. Raises TaskError for what can't be read.
      words: how its text falls into words.
      source: the paper that publishes it.
      licence: and where its files are found.
      layout: the files expected under the folder, a line each; each may be gzipped.
      options: name -> option.
    """

    about: str
    load: Callable[[Path, Mapping[str, Value]], Loaded]
    words: Words
    source: str
    licence: str
    layout: tuple[str, ...]
    options: Mapping[str, Option] = field(default_factory=dict)
