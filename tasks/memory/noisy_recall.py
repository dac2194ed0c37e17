"""Associative recall from a context with noise in it (MAD, Poli et al., arXiv 2403.17844)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, World, require_range
from tasks.draw import permutation, renamed
from tasks.memory._recall import VALUES_MOST, context_value, look_up, shown, written
from tasks.memory._shared import (
    InContext,
    arrangement,
    ask,
    below,
    choose_side_of_pairs,
    require_couples,
    slots,
    uniform,
    whole,
)
from tasks.sequence import part


@dataclass(frozen=True)
class NoisyRecall(InContext):
    """Read key–value pairs with noise between them, then every key again: answer each with its value, in place.

    As in MAD noise comes from a vocabulary of its own and never stands between a key and its value; how it is spread
    over the gaps is uniform, so that keys stand at odd and even positions. Keys of an example differ, and so do values,
    as in `mqar`, whose queries this task shares too: all keys, in random order, after the context. (MAD asks for the
    value whenever a key comes again within the context.) Nothing is fed back.

    `train` and `iid` are split by the set of pairs, whatever the order of pairs and queries and whatever the noise:
    exchanging the smallest key's value with its partner throughout gives its mate, and a hash of what mates share says
    which of them is trained on.

    Tokens: values 1 … values, then keys, then noise. Sequence: pairs and noise, then the n queries.

    Attributes:
      pairs: n in all splits but `pairs`. Traced in `sample`.
      more_pairs: n in the `pairs` split.
      noise: noise tokens in all splits but `noise`. Traced in `sample`.
      more_noise: noise tokens in the `noise` split.
      keys: number of key tokens.
      values: number of value tokens, even.
      noise_symbols: number of noise tokens to draw from.
    """

    pairs: int = 4
    more_pairs: int = 6
    noise: int = 6
    more_noise: int = 12
    keys: int = 16
    values: int = 16
    noise_symbols: int = 16

    name: ClassVar[str] = "noisy_recall"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "MAD: Poli et al. 2024, arXiv 2403.17844"
    known: ClassVar[str] = (
        "Adds to recall that the noise vocabulary must be learned to be ignored: a mixer with a fixed-size state must "
        "not store it, attention must not look at it."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"pairs": 2, "more_pairs": 3, "noise": 1, "more_noise": 2, "keys": 3, "values": 4, "noise_symbols": 1},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="pairs4",
            sizes={},
            expected={"iid": (0.95, 1.0)},
            about="leaves its 1/K plateau and is solved",
            source="Poli et al. 2024, arXiv 2403.17844",
            seconds=37,
            steps=3000,
        ),
    )

    def __post_init__(self):
        require_range(self, "pairs", 2, 256)
        require_range(self, "more_pairs", self.pairs + 1, 512)
        require_range(self, "noise", 0, 4096)
        require_range(self, "more_noise", self.noise + 1, 8192)
        require_range(self, "keys", self.more_pairs, VALUES_MOST)
        require_couples(self, "values", self.more_pairs, VALUES_MOST)
        require_range(self, "noise_symbols", 1, 4096)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.values + self.keys + self.noise_symbols

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """Values, keys, and noise."""
        keys, noise = 1 + self.values, 1 + self.values + self.keys
        return (range(1, keys), range(keys, noise), range(noise, self.vocab_size))

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `noise`, and more `pairs`."""

        def split(pairs: int, noise: int, held_out: int, about: str) -> Split:
            difficulty = {"pairs": pairs, "noise": noise, "held_out": held_out}
            sizes = f"{pairs} pairs in {noise} of noise"
            return Split(difficulty, 3 * pairs + noise, pairs, 1, bool(held_out), sizes + about)

        return {
            "train": split(self.pairs, self.noise, 0, ", a half chosen by hash"),
            "iid": split(self.pairs, self.noise, 1, ", the other half"),
            "noise": split(self.pairs, self.more_noise, 1, ""),
            "pairs": split(self.more_pairs, self.noise, 1, ""),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two pairs and no noise."""
        return {"pairs": 2, "noise": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Of the first query: its `value`, the `pair` it was, counted from 0, and the `place` of its key."""
        return {"value": self.values, "pair": self.more_pairs, "place": self._context}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The first and the last query."""
        return ("first_query", "last_query")

    @property
    def _context(self) -> int:
        return max(2 * self.more_pairs + self.noise, 2 * self.pairs + self.more_noise)

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One context and its queries. Difficulty: `pairs` ≥ 2, `noise` ≥ 0, `held_out` 0 (train's half) or 1.

        2·pairs + noise must fit what the largest of the splits has.
        """
        count, noise, held_out = whole(difficulty, "pairs", "noise", "held_out")
        most, size = self.more_pairs, self._context
        bits = jax.random.bits(key, (2 * size + 5 * most,))
        slot_bits, noise_bits, rest = jnp.split(bits, (size, 2 * size))
        value_N = renamed(arrangement(rest[: 2 * most], count, self.values), difficulty, self.values)
        key_N = renamed(arrangement(rest[2 * most : 4 * most], count, self.keys), difficulty, self.keys, 1)
        noise_K = renamed(below(noise_bits, self.noise_symbols), difficulty, self.noise_symbols, 2)
        pair_of_query_N = permutation(rest[4 * most :], count, most) % most
        index_N = jnp.arange(most, dtype=jnp.int32)
        value_N = choose_side_of_pairs(key_N, value_N[:, None], (index_N < count)[:, None], held_out)[:, 0]

        # A pair takes one slot when pairs and noise are mixed, and two positions when they are written.
        place_N = jnp.where(index_N < count, slots(slot_bits, count, noise, most) + index_N, size)
        position_K = jnp.arange(size, dtype=jnp.int32)
        pair_K = jnp.maximum(jnp.sum(place_N[None, :] <= position_K[:, None], axis=1, dtype=jnp.int32) - 1, 0)
        gap_K = position_K - place_N[pair_K]
        symbol_K = jnp.where(
            gap_K == 0,
            self.values + key_N[pair_K],
            jnp.where(gap_K == 1, value_N[pair_K], self.values + self.keys + noise_K),
        )
        context = part(symbol_K, 2 * count + noise)
        key_place_N = place_N[pair_of_query_N]
        first = pair_of_query_N[0]
        factors = {"value": value_N[first], "pair": first, "place": place_N[first]}
        queries = part(self.values + key_N[pair_of_query_N], count)
        return ask(context, queries, jnp.minimum(key_place_N + 1, size - 1), length, factors)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Drop the noise, read the pairs into a dictionary, look every query up."""
        return look_up(np.asarray(example.tokens), np.asarray(answer), self.values, self.values + self.keys)

    def problem(self, example: Example) -> Hashable:
        """The pairs, all of which are asked about."""
        return frozenset(written(example, self.values, self.values + self.keys))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the values, and `context_value`: the context's values in random order (1/K)."""
        count = int(self.splits[split].difficulty["pairs"])
        return {"chance": uniform(count, self.values), "context_value": context_value(count)}

    def render(self, example: Example) -> str:
        """`. 3:7 . . 0:2 | 0? 2, 3? 7`, keys and values from 0, noise as dots."""
        return shown(example, self.values, self.values + self.keys)
