"""Selective copying: the data tokens in order, without the noise between them (arXiv 2312.00752, 2403.17844)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, World, require_range
from tasks.draw import renamed
from tasks.memory._shared import (
    InContext,
    ask,
    below,
    choose_side,
    ends,
    require_couples,
    shuffled,
    slots,
    uniform,
    whole,
)
from tasks.sequence import part


@dataclass(frozen=True)
class SelectiveCopy(InContext):
    """Read data tokens with noise scattered between them, then write the data in order, a slot for each.

    Data tokens are uniform, their places among the noise too. As in both papers the answer is not fed back: every slot
    holds the same marker, so a model must know which slot it is at and count the data tokens, not the positions.

    `train` and `iid` are split by the data, whatever the noise and wherever it stands: exchanging the first data token
    with its partner throughout gives its mate, and a hash of what mates share says which of them is trained on.

    Tokens: data 1 … symbols, then noise, then the marker. Sequence: data and noise mixed, then a marker for each data
    token, answered in place.

    Attributes:
      length: data tokens in all splits but `length`. Traced in `sample`.
      longer: data tokens in the `length` split.
      noise: noise tokens in all splits but `noise`. Traced in `sample`.
      more_noise: noise tokens in the `noise` split.
      symbols: number of data symbols, even.
      noise_symbols: number of noise symbols; 1 in both papers.
    """

    length: int = 4
    longer: int = 6
    noise: int = 8
    more_noise: int = 16
    symbols: int = 16
    noise_symbols: int = 1

    name: ClassVar[str] = "selective_copy"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Gu & Dao 2023, arXiv 2312.00752; MAD: Poli et al. 2024, arXiv 2403.17844"
    known: ClassVar[str] = (
        "Attention and input-dependent (selective) recurrences solve it; time-invariant recurrences and convolutions, "
        "which solve plain copying, do not."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"length": 2, "longer": 3, "noise": 2, "more_noise": 3, "symbols": 4},
        {"length": 2, "longer": 4, "noise": 1, "more_noise": 3, "symbols": 6, "noise_symbols": 2},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="data4",
            sizes={},
            expected={"iid": (0.9, 1.0), "noise": (0.0, 0.05), "length": (0.0, 0.05)},
            about="data tokens are counted and found, but slots at new positions are not distinguished",
            source="Poli et al. 2024, arXiv 2403.17844",
            seconds=17,
            steps=2000,
        ),
    )

    def __post_init__(self):
        require_range(self, "length", 1, 256)
        require_range(self, "longer", self.length + 1, 512)
        require_range(self, "noise", 0, 4096)
        require_range(self, "more_noise", self.noise + 1, 8192)
        require_couples(self, "symbols", 2, 4096)
        require_range(self, "noise_symbols", 1, 4096)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 + self.symbols + self.noise_symbols

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """The data symbols, and those of the noise."""
        return (range(1, 1 + self.symbols), range(1 + self.symbols, 1 + self.symbols + self.noise_symbols))

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `noise`, and more data (`length`)."""

        def split(data: int, noise: int, held_out: int, about: str) -> Split:
            difficulty = {"length": data, "noise": noise, "held_out": held_out}
            return Split(difficulty, 2 * data + noise, data, 1, bool(held_out), f"{data} data tokens in {noise}{about}")

        return {
            "train": split(self.length, self.noise, 0, " of noise, a half chosen by hash"),
            "iid": split(self.length, self.noise, 1, " of noise, the other half"),
            "noise": split(self.length, self.more_noise, 1, " of noise"),
            "length": split(self.longer, self.noise, 1, " of noise"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One data token, no noise."""
        return {"length": 1, "noise": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `first` data token, due at the first slot, the slot `place` it was read at, and the `last` data token."""
        return {"first": self.symbols, "place": self._slots, "last": self.symbols}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The first and the last slot of the answer."""
        return ("first_answer", "last_answer")

    @property
    def _slots(self) -> int:
        return max(self.longer + self.noise, self.length + self.more_noise)

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One mixture. Difficulty: `length` ≥ 1 and `noise` ≥ 0 as in some split at most, `held_out` 0 (train) or 1."""
        count, noise, held_out = whole(difficulty, "length", "noise", "held_out")
        size = self._slots
        bits = jax.random.bits(key, (2 * size + self.longer,))
        place_Q = slots(bits[:size], count, noise, self.longer)
        data_Q = renamed(below(bits[2 * size :], self.symbols), difficulty, self.symbols)
        data_Q = choose_side(part(data_Q, count), 0, held_out)
        here_QxS = jnp.arange(size)[None, :] == place_Q[:, None]
        here_QxS = here_QxS & (jnp.arange(self.longer) < count)[:, None]
        data_S = jnp.sum(jnp.where(here_QxS, data_Q[:, None], 0), axis=0, dtype=jnp.int32)
        noise_S = renamed(below(bits[size : 2 * size], self.noise_symbols), difficulty, self.noise_symbols, 1)
        token_S = jnp.where(jnp.any(here_QxS, axis=0), data_S, self.symbols + noise_S)
        markers = part(jnp.full((self.longer,), self.symbols + self.noise_symbols, jnp.int32), count)
        factors = {"first": data_Q[0], "place": place_Q[0], "last": data_Q[count - 1]}
        return ask(part(token_S, count + noise), markers, place_Q, length, factors)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Strike the noise out of what was read."""
        tokens = np.asarray(example.tokens).tolist()
        read = tokens.index(1 + self.symbols + self.noise_symbols)
        data = [t for t in tokens[:read] if t <= self.symbols]
        return np.asarray(answer)[read : read + len(data)].tolist() == data

    def problem(self, example: Example) -> Hashable:
        """The data."""
        return tuple(t for t in np.asarray(example.tokens).tolist() if 1 <= t <= self.symbols)

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the data symbols; `shuffled`: the data tokens in random order; `ends`: both ends right, those
        between them in random order (left out where that is the whole answer).
        """
        count = int(self.splits[split].difficulty["length"])
        found = {"chance": uniform, "shuffled": shuffled, "ends": ends}
        reached = {name: baseline(count, self.symbols) for name, baseline in found.items()}
        return {name: baseline for name, baseline in reached.items() if baseline.exact < 1}

    def render(self, example: Example) -> str:
        """`. 3 . . 1 4 . → 3 1 4`, data from 0, noise as dots."""
        tokens, asked = np.asarray(example.tokens), np.asarray(example.weights) > 0
        read = " ".join(str(t - 1) if t <= self.symbols else "." for t in tokens[: int(np.argmax(asked))].tolist())
        return f"{read} → {' '.join(str(t - 1) for t in np.asarray(example.targets)[asked])}"
