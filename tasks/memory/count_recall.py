"""Count recall: how often the queried card has been dealt so far (POPGym, Morad et al., arXiv 2303.01859)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, TaskError, World, require_range
from tasks.draw import permutation
from tasks.memory._shared import InContext, below, choose_side, require_couples, uniform, whole
from tasks.sequence import part

SIMULATED = 4096  # sequences over which the exact share of the `step` baseline is averaged
SHUFFLED_MOST = 4096  # cards of a deck that is shuffled whole for that; of a larger one only what is dealt is drawn


@dataclass(frozen=True)
class CountRecall(InContext):
    """At every step a card is dealt and a card is asked for: answer how often the second has been dealt so far.

    As in POPGym cards are dealt from a shuffled deck of `copies` of each kind, so no count exceeds `copies`, and the
    card just dealt counts. (POPGym's decks have 26 copies of 2 colours, 26 of 4 suits or 16 of 13 ranks, and are dealt
    to the end; queries come from a second such deck, here they are independent and uniform over the kinds.)
    Nothing is fed back.

    In `counts` only `fewer_kinds` of the kinds are in the deck, which ones is drawn for each example: counts are higher
    than training has them at the same step, and more often zero.

    `train` and `iid` are split by what was dealt and asked, in order, for every count depends on what came before:
    exchanging the first card's kind with its partner throughout gives the sequence's mate, and a hash of what mates
    share says which of them is trained on.

    Tokens: cards dealt 1 … kinds, then cards asked for, then the counts from 0. Sequence: dealt, asked, dealt, asked, …

    Attributes:
      length: steps in all splits but `length`. Traced in `sample`.
      longer: steps in the `length` split.
      kinds: number of kinds, even; all are in the deck in all splits but `counts`. Traced in `sample`.
      fewer_kinds: number of kinds in the deck in the `counts` split.
      copies: cards of each kind in the deck.
    """

    length: int = 8
    longer: int = 12
    kinds: int = 4
    fewer_kinds: int = 2
    copies: int = 4

    name: ClassVar[str] = "count_recall"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "POPGym (CountRecall): Morad et al. 2023, arXiv 2303.01859"
    known: ClassVar[str] = (
        "Needs memory of every kind at once, but not of their order; attention averages, so counts come out as shares."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"length": 3, "longer": 4, "kinds": 4, "fewer_kinds": 1, "copies": 3},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="eight",
            sizes={},
            expected={"iid": (0.95, 1.0), "length": (0.0, 0.05)},
            about="all kinds are counted at once, up to the step that training ends with",
            source="measured here",
            seconds=20,
            steps=2500,
        ),
    )

    def __post_init__(self):
        require_range(self, "length", 1, 1024)
        require_range(self, "longer", self.length + 1, 2048)
        require_couples(self, "kinds", 2, 512)
        require_range(self, "fewer_kinds", 1, self.kinds - 1)
        require_range(self, "copies", 1, 1024)
        least = max(-(-self.longer // self.kinds), -(-self.length // self.fewer_kinds))
        if self.copies < least:
            raise TaskError(
                f"count_recall: copies must be at least {least}, so that the deck has a card for every step of every "
                f"split, not {self.copies}."
            )

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + 2 * self.kinds + 1 + self.copies

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more steps (`length`), and higher `counts`."""

        def split(steps: int, kinds: int, held_out: int, about: str) -> Split:
            difficulty = {"length": steps, "kinds": kinds, "held_out": held_out}
            return Split(difficulty, 2 * steps, steps, 1, bool(held_out), f"{steps} steps{about}")

        return {
            "train": split(self.length, self.kinds, 0, ", a half of the sequences chosen by hash"),
            "iid": split(self.length, self.kinds, 1, ", the other half of the sequences"),
            "length": split(self.longer, self.kinds, 1, ""),
            "counts": split(
                self.length, self.fewer_kinds, 1, f", {self.fewer_kinds} of {self.kinds} kinds in the deck"
            ),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One step."""
        return {"length": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """At the last query: its `count`, the kind last `dealt`, and that `asked`: a control, it is the input token."""
        return {"count": 1 + self.copies, "asked": self.kinds, "dealt": self.kinds}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last query, where the most has been read."""
        return ("last",)

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One sequence. Difficulty: `length` ≥ 1, `kinds` with kinds·copies ≥ length, `held_out` 0 (train) or 1."""
        steps, in_deck, held_out = whole(difficulty, "length", "kinds", "held_out")
        deck, most = self.kinds * self.copies, self.longer
        bits = jax.random.bits(key, (deck + most + self.kinds,))
        name_of_kind = permutation(bits[deck + most :], self.kinds, self.kinds)
        dealt_T = name_of_kind[permutation(bits[:deck], in_deck * self.copies, most) // self.copies % self.kinds]
        kind_2T = jnp.stack([dealt_T, below(bits[deck : deck + most], self.kinds)], axis=1).reshape(-1)
        kind_2T = choose_side(part(kind_2T, 2 * steps), 0, held_out)
        dealt_T, asked_T = kind_2T[::2], kind_2T[1::2]
        step_T = jnp.arange(most, dtype=jnp.int32)
        same_TxT = (dealt_T[None, :] == asked_T[:, None]) & (step_T[None, :] <= step_T[:, None])
        count_T = jnp.sum(same_TxT, axis=1, dtype=jnp.int32)

        position_L = jnp.arange(length, dtype=jnp.int32)
        step_L, is_query_L = jnp.minimum(position_L // 2, most - 1), position_L % 2 == 1
        valid_L = position_L < 2 * steps
        kind_L = jnp.where(is_query_L, self.kinds + asked_T[step_L], dealt_T[step_L])
        return Example(
            tokens=jnp.where(valid_L, 1 + kind_L, PAD),
            targets=jnp.where(valid_L & is_query_L, 1 + 2 * self.kinds + count_T[step_L], PAD),
            weights=(valid_L & is_query_L).astype(jnp.float32),
            factors={"count": count_T[steps - 1], "asked": asked_T[steps - 1], "dealt": dealt_T[steps - 1]},
            read=(2 * steps - 1)[None],
        )

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Keep a tally."""
        tally = dict.fromkeys(range(1, 1 + self.kinds), 0)
        for token, said in zip(np.asarray(example.tokens).tolist(), np.asarray(answer).tolist(), strict=True):
            if 1 <= token <= self.kinds:
                tally[token] += 1
            elif token != PAD and said - 1 - 2 * self.kinds != tally[token - self.kinds]:
                return False
        return True

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the counts, and `step`: the likeliest count at each step, whatever was dealt.

        The exact share of `step` is a mean over simulated sequences.
        """
        difficulty = self.splits[split].difficulty
        steps, in_deck = int(difficulty["length"]), int(difficulty["kinds"])
        return {
            "chance": uniform(steps, 1 + self.copies),
            "step": _step(steps, in_deck, self.kinds, self.copies),
        }

    def render(self, example: Example) -> str:
        """`+3 (1? 0) +1 (1? 1) …`: dealt cards with a plus, queries with their answers, kinds from 0."""
        shown, (tokens, targets) = [], (np.asarray(x).tolist() for x in (example.tokens, example.targets))
        for token, target in zip(tokens, targets, strict=True):
            if 1 <= token <= self.kinds:
                shown.append(f"+{token - 1}")
            elif token != PAD:
                shown.append(f"({token - 1 - self.kinds}? {target - 1 - 2 * self.kinds})")
        return " ".join(shown)


@lru_cache(maxsize=256)
def _step(steps: int, in_deck: int, kinds: int, copies: int) -> Baseline:
    """A kind's count after t cards is hypergeometric if it is in the deck, and 0 if not.

    Its shares are computed from logarithms: the binomial coefficients of a large deck are no floats.
    """
    deck, nats, modes = in_deck * copies, 0.0, []
    log_N = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, deck + 1)))])  # of factorials
    count_C = np.arange(copies + 1)

    def ways(among: int, taken_C: np.ndarray) -> np.ndarray:
        possible_C = (taken_C >= 0) & (taken_C <= among)
        taken_C = np.where(possible_C, taken_C, 0)
        return np.where(possible_C, log_N[among] - log_N[taken_C] - log_N[among - taken_C], -np.inf)

    for t in range(1, steps + 1):
        logs_C = ways(copies, count_C) + ways(deck - copies, t - count_C) - ways(deck, np.array(t))
        share = in_deck / kinds * np.exp(logs_C)
        share[0] += 1 - in_deck / kinds
        nats += float(np.sum(share[share > 0] * np.log(share[share > 0]))) / steps
        modes.append(int(np.argmax(share.round(12))))
    return Baseline(_share_of_modes(modes, deck, kinds, copies), nats)


def _share_of_modes(modes: list[int], deck: int, kinds: int, copies: int) -> float:
    """How often every count is the likeliest of its step, over simulated sequences."""
    generator, right, steps = np.random.default_rng(0), 0, len(modes)
    simulated = SIMULATED * 64 // max(64, steps)  # fewer of long ones, which hardly ever are all right
    for _ in range(simulated):
        if deck <= SHUFFLED_MOST:
            cards_T = generator.permutation(deck)[:steps]
        else:
            cards_T = generator.choice(deck, steps, replace=False)
        dealt_T, asked_T = cards_T // copies, generator.integers(kinds, size=steps)
        right += all(np.sum(dealt_T[: t + 1] == asked_T[t]) == modes[t] for t in range(steps))
    return right / simulated
