"""A benchmark's items as token ids, one behind the other, for the device.

Ids: 0 pads, 1 is a word that `train` lacks, 2 asks for the answer, 3 ends an answer, then a letter for each choice,
then the words of `train` in alphabetical order.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.base import TaskError
from tasks.text.items import Dataset, Item, Words
from tasks.text.summary import vocabulary

UNKNOWN, ASK, END = 1, 2, 3
SPECIAL = ("", "<unknown>", "<answer>", "<end>")
VALUES_MOST = 64  # of a factor that a probe can look for; of the answers the commonest
ANSWER = "answer"  # the factor that every benchmark has: the first word of the answer


@dataclass(frozen=True)
class Encoded:
    """The items of all splits as token ids.

    Attributes:
      words: id -> word.
      splits: name -> its rows.
      ids_T: int32, for each row its input, ASK and its answer.
      starts_R, inputs_R, answers_R: int32, a row's first place in `ids_T`, the words of its input, those of its answer.
      factors: name -> int32[R].
      factor_values: name -> what the numbers stand for.
      items_R: the items themselves.
      left_out: split -> items that are longer than the limit and in no row.
    """

    words: tuple[str, ...]
    splits: Mapping[str, range]
    ids_T: np.ndarray
    starts_R: np.ndarray
    inputs_R: np.ndarray
    answers_R: np.ndarray
    factors: Mapping[str, np.ndarray]
    factor_values: Mapping[str, tuple[str, ...]]
    items_R: tuple[Item, ...]
    left_out: Mapping[str, int]

    def longest(self, split: str) -> int:
        """Positions that hold the longest row of a split: its input, ASK, and the answer but for its last word."""
        rows = self.splits[split]
        return int(np.max((self.inputs_R + self.answers_R)[rows.start : rows.stop]))

    def longest_answer(self, split: str) -> int:
        """Words of the longest answer of a split, its END included."""
        rows = self.splits[split]
        return int(np.max(self.answers_R[rows.start : rows.stop]))


def encoded(dataset: Dataset, limit: int) -> Encoded:
    """The items of a benchmark with a `train` split as token ids.

    Args:
      dataset: what was read.
      limit: words that input and answer of an item may have together; 0 for any number. Longer items get no row.

    Raises:
      TaskError: if all items of a split are longer.
    """
    offered = all(item.choices for items in dataset.splits.values() for item in items)
    pieces = {split: [_pieces(i, dataset.words, offered) for i in items] for split, items in dataset.splits.items()}
    kept = {
        split: [n for n, (words, answer) in enumerate(each) if not limit or len(words) + len(answer) <= limit]
        for split, each in pieces.items()
    }
    for split, numbers in kept.items():
        if not numbers:
            raise TaskError(f"{dataset.name}: every item of '{split}' has more than limit={limit} words; raise it.")
    most = max(len(item.choices) for items in dataset.splits.values() for item in items) if offered else 0
    words = (*SPECIAL, *map(letter, range(most)), *sorted(vocabulary(dataset)))
    id_of = {word: number for number, word in enumerate(words)}
    # A model that writes an answer must say where it ends, unless all have one length.
    ended = len({len(answer) for each in pieces.values() for _, answer in each}) > 1
    rows, splits, items = [], {}, []
    for split, numbers in kept.items():
        splits[split] = range(len(rows), len(rows) + len(numbers))
        for number in numbers:
            asked, answer = ([id_of.get(word, UNKNOWN) for word in part] for part in pieces[split][number])
            rows.append((asked, answer + [END] * ended))
            items.append(dataset.splits[split][number])
    inputs_R, answers_R = (np.array([len(row[side]) for row in rows], np.int32) for side in (0, 1))
    factors, values = _factors(items, splits.get("train", range(0)), rows, words)
    return Encoded(
        words,
        splits,
        np.array([one for asked, answer in rows for one in (*asked, ASK, *answer)], np.int32),
        np.cumsum([0, *(inputs_R + 1 + answers_R)[:-1]]).astype(np.int32),
        inputs_R,
        answers_R,
        factors,
        values,
        tuple(items),
        {split: len(pieces[split]) - len(numbers) for split, numbers in kept.items()},
    )


def letter(number: int) -> str:
    """The word in front of a choice, and the answer that names it: `(A)` of 0."""
    return f"({chr(ord('A') + number)})" if number < 26 else f"({number + 1})"


def _pieces(item: Item, rule: Words, offered: bool) -> tuple[list[str], list[str]]:
    """The words of input and answer; where every item offers choices, each behind its letter, the letter answers."""
    words = [word for text in (*item.context, item.question) for word in rule(text)]
    if not offered:
        choices = [word for text in item.choices for word in rule(text)]
        return words + choices, list(rule(item.answer))
    for number, choice in enumerate(item.choices):
        words += [letter(number), *rule(choice)]
    return words, [letter(item.chosen)]


def _factors(
    items: Sequence[Item], train: range, rows: Sequence[tuple[list[int], list[int]]], words: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """The first word of the answer, and what the files say about every item in few different values."""
    first = [answer[0] for _, answer in rows]
    counted = Counter(first[row] for row in train)
    common = sorted(sorted(counted, key=lambda one: (-counted[one], one))[: VALUES_MOST - 1])
    names = tuple(words[one] for one in common)
    place = {one: number for number, one in enumerate(common)}
    rest = any(one not in place for one in first)
    factors = {ANSWER: np.array([place.get(one, len(common)) for one in first], np.int32)}
    values = {ANSWER: (*names, *(["another"] if rest else []))}
    for name in sorted(set.intersection(*(set(item.factors) for item in items)) - {ANSWER, "letter"}):
        own = [item.factors[name] for item in items]
        there = sorted(set(own), key=lambda one: (isinstance(one, str), one))
        if 2 <= len(there) <= VALUES_MOST:
            number = {one: place for place, one in enumerate(there)}
            factors[name] = np.array([number[one] for one in own], np.int32)
            values[name] = tuple(map(str, there))
    return factors, values


def content_of(dataset: Dataset) -> str:
    """16 hexadecimal digits of all that the files say: every field of every item, and which splits are shifted."""
    content = {
        split: [[i.context, i.question, i.answer, i.choices, i.chosen, sorted(i.factors.items())] for i in items]
        for split, items in dataset.splits.items()
    }
    said = json.dumps([content, dataset.out_of_distribution], ensure_ascii=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]
