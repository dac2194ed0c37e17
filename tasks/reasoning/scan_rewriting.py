"""Rewritings in SCAN's grammar: of which commands training has another one that tells their actions.

Shape letters: S phrases.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tasks.reasoning.scan import phrases

Spoken = tuple[int, int]  # a phrase and a number for its verb


def rewritten(share_SxT: np.ndarray, trained_SxT: np.ndarray, seen_verbs: int) -> float:
    """The share of held-out commands of which training has a rewriting, over fair hash bits.

    A rewriting exchanges the two phrases along with `and` for `after`, which leaves the actions as they are, or left
    for right throughout, which exchanges them in the actions, too, or does both.

    Args:
      share_SxT: float64[S, 1 + S], how often each command is asked, as in `scan.Commands`, summing to 1.
      trained_SxT: bool[S, 1 + S], whether training may have it. Of two phrases in order it then has either the `and`
        command or the `after` command; the one that is asked is not the one trained.
      seen_verbs: how many verbs but the held-out one there are.
    """
    table, mirror_S, known = phrases(), _mirrored(), 0.0
    seen_S = ~(table.turns | table.held_out)
    for first, column in np.argwhere(share_SxT > 0).tolist():
        if column == 0:
            found = mirror_S[first] != first and trained_SxT[mirror_S[first], 0]
        else:
            second = column - 1
            alike = 1 / seen_verbs if seen_S[first] and seen_S[second] else 1.0
            found = alike * _probability((first, 0), (second, 0), trained_SxT)
            found += (1 - alike) * _probability((first, 0), (second, 1), trained_SxT)
        known += share_SxT[first, column] * found
    return float(known)


def _probability(first: Spoken, second: Spoken, trained_SxT: np.ndarray) -> float:
    """That training has a rewriting of the `and` command of two phrases (of their `after` command it is the same)."""
    mirror_S = _mirrored()
    one, two = ((mirror_S[phrase], verb) for phrase, verb in (first, second))
    options: dict[tuple[Spoken, Spoken], set[str]] = {
        (first, second): {"and"}
    }  # by hash bit; the one asked is no option
    for pair, conjunction in (((second, first), "after"), ((one, two), "and"), ((two, one), "after")):
        if trained_SxT[pair[0][0], 1 + pair[1][0]]:
            options.setdefault(pair, set()).add(conjunction)
    if any(len(conjunctions) == 2 for conjunctions in options.values()):
        return 1.0
    return 1.0 - 0.5 ** (len(options) - 1)


@lru_cache
def _mirrored() -> list[int]:
    """Phrase -> the same with left for right."""
    table = phrases()
    rows = [tuple(row) for row in np.where(table.unit > 1, 0, table.unit).tolist()]  # 0 turns left, 1 right
    kind = list(zip(table.held_out, table.turns, table.form, table.repeats, strict=True))
    right = [1 in row for row in rows]
    return [
        next((other for other in range(len(kind)) if kind[other] == kind[i] and right[other] != right[i]), i)
        for i in range(len(kind))
    ]
