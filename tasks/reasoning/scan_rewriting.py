"""Rewritings in SCAN's grammar: of which commands training has another one that tells their actions.

Shape letters: S phrases, N commands drawn.
"""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from tasks.draw import hash_bit
from tasks.reasoning.scan import phrases

DRAWN = 1 << 15  # commands on which the share is measured


def rewritten(share_SxT: np.ndarray, trained_SxT: np.ndarray, seen_verbs: int) -> float:
    """The share of held-out commands of which training has a rewriting, measured on `DRAWN` of them.

    A rewriting exchanges the two phrases along with `and` for `after`, which leaves the actions as they are, or left
    for right throughout, which exchanges them in the actions, too, or does both. Training is what the hash says it is:
    a split may have a few dozen commands, whose bits are far from half ones.

    Args:
      share_SxT: float64[S, 1 + S], how often each command is asked, as in `scan.Commands`, summing to 1.
      trained_SxT: bool[S, 1 + S], whether training may have it. Of two phrases in order it then has either the `and`
        command or the `after` command; the one that is asked is not the one trained.
      seen_verbs: how many verbs but the held-out one there are.
    """
    table, mirror_S, generator = phrases(), np.array(_mirrored()), np.random.default_rng(0)
    drawn_N = generator.choice(share_SxT.size, DRAWN, p=share_SxT.ravel())
    first_N, column_N = np.divmod(drawn_N, share_SxT.shape[1])
    phrase_2xN = np.stack([first_N, np.maximum(column_N - 1, 0)])
    verb_2xN = generator.integers(seen_verbs, size=(2, DRAWN))
    verb_2xN = np.where(table.held_out[phrase_2xN], seen_verbs, verb_2xN)
    verb_2xN = np.where(table.turns[phrase_2xN], seen_verbs + 1, verb_2xN)

    after_N = ~_trains_after(phrase_2xN, verb_2xN)  # the conjunction asked for
    found_N = np.zeros(DRAWN, bool)
    for mirrored, exchanged in ((False, True), (True, False), (True, True)):
        pair_2xN, spoken_2xN = (mirror_S[phrase_2xN] if mirrored else phrase_2xN), verb_2xN
        if exchanged:
            pair_2xN, spoken_2xN = pair_2xN[::-1], spoken_2xN[::-1]
        has_N = _trains_after(pair_2xN, spoken_2xN) == (after_N ^ exchanged)
        found_N |= has_N & trained_SxT[pair_2xN[0], 1 + pair_2xN[1]]
    alone_N = (mirror_S[first_N] != first_N) & trained_SxT[mirror_S[first_N], 0]
    return float(np.mean(np.where(column_N == 0, alone_N, found_N)))


def _trains_after(phrase_2xN: np.ndarray, verb_2xN: np.ndarray) -> np.ndarray:
    """Whether it is the `after` command of two phrases that training may have, not their `and` command: bool[N]."""
    shared_Nx4 = np.stack([phrase_2xN[0], verb_2xN[0], phrase_2xN[1], verb_2xN[1]], axis=1).astype(np.int32)
    return np.asarray(_bits(shared_Nx4))


@jax.jit
def _bits(shared_Nx4: jax.Array) -> jax.Array:
    return jax.vmap(lambda shared_4: hash_bit(shared_4, jnp.ones((4,), bool)))(shared_Nx4)


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
