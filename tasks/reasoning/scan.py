"""The grammar of SCAN as tables (Lake & Baroni 2018, arXiv 1711.00350): what a phrase says and does, but for its verb.

Shape letters: S phrases.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

WORDS = ("turn", "left", "right", "opposite", "around", "twice", "thrice", "and", "after", "=")  # after the primitives
TURN, LEFT, RIGHT, OPPOSITE, AROUND, TWICE, THRICE, AND, AFTER, EQUALS = range(len(WORDS))
FORMS = ("bare", "direction", "opposite", "around")
VERB = -1  # stands for the phrase's verb in the tables below
LONGEST_UNIT, LONGEST_PHRASE, MOST_ACTIONS = 8, 4, 48


class Phrases(NamedTuple):
    """All phrases [S] but for the verb: a seen primitive, the held-out one, or `turn`; a form; a direction; repeats.

    Attributes:
      held_out, turns: bool[S], whether the verb is the held-out primitive, or `turn`; otherwise a seen primitive.
      form, repeats: int32[S], index into `FORMS`, and 1 to 3.
      around_right: bool[S].
      side: int32[S], 0 or 1: a phrase to the left and the same to the right have one each, 0 is that of a phrase
        without a direction. They alternate, so that either side has every form, direction and number of repeats.
      words, word_count: int32[S, LONGEST_PHRASE] and int32[S]: indices into `WORDS`, or VERB.
      unit, unit_count: int32[S, LONGEST_UNIT] and int32[S]: what is repeated; 0 turns left, 1 right, VERB acts.
      actions: int32[S], number of actions.
    """

    held_out: np.ndarray
    turns: np.ndarray
    form: np.ndarray
    repeats: np.ndarray
    around_right: np.ndarray
    side: np.ndarray
    words: np.ndarray
    word_count: np.ndarray
    unit: np.ndarray
    unit_count: np.ndarray
    actions: np.ndarray


@lru_cache
def phrases() -> Phrases:
    """The 60 phrases."""
    rows = []
    for held_out, turns in ((False, False), (True, False), (False, True)):
        verb, act = ([TURN], []) if turns else ([VERB], [VERB])
        shapes = [] if turns else [(0, -1, verb, act)]
        for right, direction in enumerate((LEFT, RIGHT)):
            shapes += [
                (1, right, [*verb, direction], [right, *act]),
                (2, right, [*verb, OPPOSITE, direction], [right, right, *act]),
                (3, right, [*verb, AROUND, direction], [right, *act] * 4),
            ]
        for form, right, words, unit in shapes:
            for repeats, adverb in enumerate(([], [TWICE], [THRICE]), 1):
                side = 0 if form == 0 else (right + form + repeats + turns) % 2
                rows.append((held_out, turns, form, repeats, form == 3 and right == 1, side, words + adverb, unit))
    held_out, turns, form, repeats, around_right, side, words, unit = zip(*rows, strict=True)

    def table(lists, width):
        return np.array([row + [0] * (width - len(row)) for row in lists], np.int32)

    unit_count = np.array([len(row) for row in unit], np.int32)
    return Phrases(
        held_out=np.array(held_out),
        turns=np.array(turns),
        form=np.array(form, np.int32),
        repeats=np.array(repeats, np.int32),
        around_right=np.array(around_right),
        side=np.array(side, np.int32),
        words=table(words, LONGEST_PHRASE),
        word_count=np.array([len(row) for row in words], np.int32),
        unit=table(unit, LONGEST_UNIT),
        unit_count=unit_count,
        actions=unit_count * np.array(repeats, np.int32),
    )


class Commands(NamedTuple):
    """All commands [S, 1 + S] but for verbs and conjunction: a first phrase, and none or a second one.

    Attributes:
      actions, words: int32[S, 1 + S].
      primitive, template: bool[S, 1 + S], whether the held-out primitive occurs, and `around right`.
    """

    actions: np.ndarray
    words: np.ndarray
    primitive: np.ndarray
    template: np.ndarray


@lru_cache
def commands() -> Commands:
    """The 60 · 61 commands."""
    table = phrases()

    def pairs(of_phrase, combine, conjunction=0):
        both = combine(of_phrase[:, None], of_phrase[None, :]) + of_phrase.dtype.type(conjunction)
        return np.concatenate([of_phrase[:, None], both], axis=1)

    return Commands(
        actions=pairs(table.actions, np.add),
        words=pairs(table.word_count, np.add, 1),
        primitive=pairs(table.held_out, np.logical_or),
        template=pairs(table.around_right, np.logical_or),
    )
