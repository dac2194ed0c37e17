"""What is in a benchmark, in numbers: floors, lengths, unknown words and repeats of training questions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from tasks.base import TaskError
from tasks.text.items import Dataset, Item, Words

NO_TRAIN = "There is no train split: the vocabulary is empty, and neither unknown words nor repeats can be counted."


@dataclass(frozen=True)
class Summary:
    """One split in numbers. A word is what the format's rule makes of text; the input is all but the answer.

    Attributes:
      items: questions.
      distinct: different inputs among them.
      answers: different answers among them.
      commonest: the commonest answer of `train`, or of this split if there is no `train`; the first read of several.
      floor: share of items that it answers, in [0, 1].
      chance: expected share that guessing among the choices answers; None if any item has no choices.
      median, longest: words of the input.
      longest_answer: words of the answer.
      over_limit: items whose input and answer together have more words than the limit.
      unknown: occurrences of words that `train` lacks, in inputs and answers; None if there is no `train`.
      unknown_words: different such words; None if there is no `train`.
      repeats: items whose input also occurs in `train`; None for `train` itself, or if there is none.
    """

    items: int
    distinct: int
    answers: int
    commonest: str
    floor: float
    chance: float | None
    median: float
    longest: int
    longest_answer: int
    over_limit: int
    unknown: int | None
    unknown_words: int | None
    repeats: int | None


def vocabulary(dataset: Dataset) -> frozenset[str]:
    """Every word of the inputs and answers of `train`; empty if there is no `train`."""
    train, rule = dataset.splits.get("train", ()), dataset.words
    return frozenset(word for item in train for word in item.words(rule) + rule(item.answer))


def summaries(dataset: Dataset, limit: int) -> dict[str, Summary]:
    """Split -> summary.

    Args:
      dataset: what was read.
      limit: words that the input and answer of an item may have.

    Raises:
      TaskError: if the limit is below 1.
    """
    if limit < 1:
        raise TaskError(f"limit must be at least 1, not {limit}.")
    train = dataset.splits.get("train")
    known = vocabulary(dataset) if train else None
    asked = frozenset(item.asked for item in train or ())
    right = _commonest(train) if train else None
    others = {split: None if split == "train" or not train else asked for split in dataset.splits}
    return {
        split: _summary(items, dataset.words, limit, right or _commonest(items), known, others[split])
        for split, items in dataset.splits.items()
    }


def _summary(
    items: tuple[Item, ...],
    rule: Words,
    limit: int,
    commonest: str,
    known: frozenset[str] | None,
    asked: frozenset[tuple[object, ...]] | None,
) -> Summary:
    words = [(item.words(rule), rule(item.answer)) for item in items]
    inputs, answers = (np.array([len(pair[side]) for pair in words]) for side in (0, 1))
    unknown = Counter(word for pair in words for word in pair[0] + pair[1] if known is not None and word not in known)
    offered = [len(item.choices) for item in items]
    return Summary(
        items=len(items),
        distinct=len({item.asked for item in items}),
        answers=len({item.answer for item in items}),
        commonest=commonest,
        floor=sum(item.answer == commonest for item in items) / len(items),
        chance=float(np.mean(1 / np.array(offered))) if all(offered) else None,
        median=float(np.median(inputs)),
        longest=int(inputs.max()),
        longest_answer=int(answers.max()),
        over_limit=int(np.sum(inputs + answers > limit)),
        unknown=None if known is None else unknown.total(),
        unknown_words=None if known is None else len(unknown),
        repeats=None if asked is None else sum(item.asked in asked for item in items),
    )


def _commonest(items: tuple[Item, ...]) -> str:
    return Counter(item.answer for item in items).most_common(1)[0][0]
