"""Associative recall whose keys and values are several tokens long (MAD, Poli et al., arXiv 2403.17844)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, World, require_range
from tasks.draw import permutation
from tasks.fields import KnobField, share
from tasks.memory._recall import VALUES_MOST
from tasks.memory._runs import RUNS_MOST, different, runs, runs_of, spelled
from tasks.memory._shared import (
    InContext,
    average,
    below,
    chance,
    choose_side_of_pairs,
    require_couples,
    uniform,
    whole,
)
from tasks.sequence import join, part, write

SIMULATED = 40_000  # keys of the contexts over which baselines are averaged


@dataclass(frozen=True)
class FuzzyRecall(InContext):
    """Read keys with their values, each a run of one or more tokens, then one of the keys: write its value.

    Which tokens belong together has to be found out: key tokens and value tokens come from different vocabularies, so a
    key ends where a value begins, but two keys may share all tokens but one. A lookup by single tokens, which solves
    `mqar`, does not do. As in MAD a run repeats no token, lengths are drawn for each key and each value, and
    values may be equal; here the keys of an example differ, and there is one query, at the end. The value written is
    fed back token by token.

    `longest` asks in-distribution contexts whose keys are all of the longest size, as MAD does when it tests. In
    `confusable` all keys of a context end with the same token: looking up the query's last token alone, which is often
    enough elsewhere, finds any of them.

    `train` and `iid` are split by the set of keys with their values, whatever their order and whichever key is asked
    for: exchanging the first token of the smallest key's value with its partner throughout gives the set's mate, and a
    hash of what mates share says which of them is trained on.

    Tokens: value tokens 1 … values, then key tokens, then ASK. Sequence: key value … key value ASK key, then the value,
    whose last token is a target only.

    Attributes:
      pairs: keys in a context, in all splits but `pairs`. Traced in `sample`.
      more_pairs: keys in the `pairs` split.
      key_length: most tokens of a key; lengths are uniform. Traced in `sample`.
      shortest_key: least tokens of a key (two in a confusable context). Traced in `sample`.
      longer_key: tokens of every key in the `key_length` split.
      value_length: most tokens of a value; lengths are uniform from 1.
      confusable: share of the contexts of `train`, `iid` and `pairs` that are confusable. Traced in `sample`.
      keys: number of key tokens.
      values: number of value tokens, even.
    """

    pairs: int = 4
    more_pairs: int = 5
    key_length: int = 2
    shortest_key: int = 1
    longer_key: int = 3
    value_length: int = 2
    confusable: float = 0.0
    keys: int = 5
    values: int = 8

    name: ClassVar[str] = "fuzzy_recall"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "MAD: Poli et al. 2024, arXiv 2403.17844"
    known: ClassVar[str] = "Harder than recall by single tokens: adjacent tokens must be grouped before a lookup."
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"pairs": 2, "more_pairs": 3, "keys": 4, "values": 2, "value_length": 2, "confusable": 0.5},
        {"pairs": 2, "more_pairs": 3, "keys": 3, "values": 4, "value_length": 1, "shortest_key": 2},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="pairs4",
            sizes={},
            expected={"iid": (0.95, 1.0), "confusable": (0.8, 1.0)},
            about="whole keys are looked up, not their last tokens",
            source="Poli et al. 2024, arXiv 2403.17844",
            seconds=42,
            steps=3000,
        ),
    )

    def __post_init__(self):
        require_range(self, "pairs", 2, 256)
        require_range(self, "more_pairs", self.pairs + 1, 512)
        require_range(self, "key_length", 2, 8)
        require_range(self, "shortest_key", 1, self.key_length)
        require_range(self, "longer_key", self.key_length + 1, 9)
        require_range(self, "value_length", 1, 8)
        require_range(self, "keys", self.longer_key, 4096)
        require_couples(self, "values", max(2, self.value_length), VALUES_MOST)
        for field, tokens, size in (("keys", self.keys, self.longer_key), ("values", self.values, self.value_length)):
            if runs(tokens, size) > RUNS_MOST:
                raise TaskError(
                    f"fuzzy_recall: {field} = {tokens} makes more than {RUNS_MOST} runs of {size} tokens; "
                    "choose fewer tokens or shorter runs."
                )
        require_range(self, "confusable", 0.0, 1.0)
        fewer = max(self.shortest_key, 2) - 1
        alike = self.more_pairs if self.confusable else self.pairs
        if runs(self.keys, self.shortest_key) < self.more_pairs or runs(self.keys - 1, fewer) < alike:
            raise TaskError(
                f"fuzzy_recall: keys = {self.keys} makes too few different keys of {self.shortest_key} tokens for "
                f"{self.more_pairs} pairs, or for {alike} that end alike; choose more key tokens, fewer pairs or a "
                "longer shortest_key."
            )

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 + self.values + self.keys

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, keys all `longest`, `confusable` or longer than in training (`key_length`), more `pairs`."""

        def split(about: str, **changed: float) -> Split:
            usual = {"pairs": self.pairs, "key_length": self.key_length, "shortest_key": self.shortest_key}
            difficulty = usual | {"confusable": self.confusable, "held_out": 1} | changed
            length = int((difficulty["pairs"] + 1) * (difficulty["key_length"] + self.value_length))
            return Split(difficulty, length, self.value_length, self.value_length, bool(difficulty["held_out"]), about)

        sizes, longest, longer = f"keys of up to {self.key_length} tokens", self.key_length, self.longer_key
        return {
            "train": split(f"{self.pairs} {sizes}, a half chosen by hash", held_out=0),
            "iid": split(f"{self.pairs} {sizes}, the other half"),
            "longest": split(f"{self.pairs} keys, all of {longest} tokens", shortest_key=longest, confusable=0.0),
            "confusable": split(f"{self.pairs} keys that end with one token", confusable=1.0),
            "key_length": split(
                f"{self.pairs} keys of {longer} tokens", key_length=longer, shortest_key=longer, confusable=0.0
            ),
            "pairs": split(f"{self.more_pairs} {sizes}", pairs=self.more_pairs),
        }

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "confusable": share("share of contexts with confusable keys"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two keys of the shortest size."""
        return {"pairs": 2, "key_length": self.shortest_key}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `first` token of the answer, and which of the context's keys the `pair` is.

        The query's last token, the `ending`, is a control: it is the input token.
        """
        return {"first": self.values, "pair": self.more_pairs, "ending": self.keys}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The query's last token, where the first answer is due, and the position of the last answer."""
        return ("query", "last_answer")

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One context and a query.

        Difficulty: `pairs` ≥ 2, `key_length` ≥ `shortest_key` ≥ 1 up to `longer_key`, as many keys of the shortest size
        as pairs; `confusable` in [0, 1]; `held_out` 0 (train's half) or 1.
        """
        count, held_out = whole(difficulty, "pairs", "held_out")
        most, wide = self.more_pairs, self.longer_key + self.value_length
        bits = jax.random.bits(key, (5 * most + 3,))
        key_NxT, key_size_N, value_NxT, value_size_N = self._pairs(bits[1:], count, difficulty)
        value_NxT = self._choose_side(key_NxT, key_size_N, value_NxT, value_size_N, count, held_out)
        end_N = jnp.cumsum(jnp.where(jnp.arange(most) < count, key_size_N + value_size_N, 0), dtype=jnp.int32)
        position_K = jnp.arange(most * wide, dtype=jnp.int32)
        pair_K = jnp.minimum(jnp.sum(end_N[None, :] <= position_K[:, None], axis=1, dtype=jnp.int32), most - 1)
        step_K = position_K - (end_N - key_size_N - value_size_N)[pair_K]
        in_value_K = step_K - key_size_N[pair_K]
        symbol_K = jnp.where(
            in_value_K < 0,
            key_NxT[pair_K, jnp.clip(step_K, 0, self.longer_key - 1)],
            value_NxT[pair_K, jnp.clip(in_value_K, 0, self.value_length - 1)],
        )
        asked = below(bits[0], count)
        value_T = value_NxT[asked]
        marker = part(jnp.full((1,), 1 + self.values + self.keys, jnp.int32))
        query = part(1 + key_NxT[asked], key_size_N[asked])
        question = part(
            join((part(1 + symbol_K, end_N[-1]), marker, query), most * wide + 1 + self.longer_key),
            end_N[-1] + 1 + key_size_N[asked],
        )
        written = write(length, question, part(1 + value_T, value_size_N[asked]))
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={"first": value_T[0], "pair": asked, "ending": key_NxT[asked, key_size_N[asked] - 1] - self.values},
            read=jnp.stack([written.answer, written.last]),
        )

    def _pairs(self, bits: jax.Array, count: jax.Array, difficulty: Difficulty) -> tuple[jax.Array, ...]:
        """Keys, their sizes, values and their sizes, in random order: symbols [N, T], sizes [N]."""
        longest, shortest = whole(difficulty, "key_length", "shortest_key")
        bits_5xN = bits[2:].reshape(5, -1)
        alike = chance(bits[0], jnp.asarray(difficulty["confusable"], jnp.float32))
        low = jnp.where(alike, jnp.maximum(shortest, 2), shortest)
        key_size_N = low + below(bits_5xN[0], jnp.maximum(longest - low, 0) + 1)
        value_size_N = 1 + below(bits_5xN[1], self.value_length)
        key_NxT = self._keys(bits_5xN[2], key_size_N, count, alike, below(bits[1], self.keys))
        value_NxT = spelled(below(bits_5xN[3], runs_of(self.values, value_size_N)), self.values, self.value_length)
        order_N = permutation(bits_5xN[4], count, self.more_pairs) % self.more_pairs
        return tuple(x[order_N] for x in (self.values + key_NxT, key_size_N, value_NxT, value_size_N))

    def _keys(
        self, bits_N: jax.Array, size_N: jax.Array, count: jax.Array, alike: jax.Array, shared: jax.Array
    ) -> jax.Array:
        """Different keys of the given sizes, all ending with the `shared` token if `alike`: int32[N, longer_key]."""
        free_NxT = spelled(different(bits_N, size_N, count, self.keys), self.keys, self.longer_key)
        # Without its last token such a key is any run of the other tokens.
        started_NxT = spelled(different(bits_N, size_N - 1, count, self.keys - 1), self.keys - 1, self.longer_key - 1)
        started_NxT = jnp.pad(started_NxT + (started_NxT >= shared).astype(jnp.int32), ((0, 0), (0, 1)))
        ends_NxT = jnp.arange(self.longer_key)[None, :] == size_N[:, None] - 1
        return jnp.where(alike, jnp.where(ends_NxT, shared, started_NxT), free_NxT)

    def _choose_side(
        self,
        key_NxT: jax.Array,
        key_size_N: jax.Array,
        value_NxT: jax.Array,
        value_size_N: jax.Array,
        count: jax.Array,
        held_out: jax.Array,
    ) -> jax.Array:
        """Values that put the pairs on the wanted side: int32[N, T]."""
        # A number for every key: RUNS_MOST keeps it below 2^32.
        place_T = jnp.asarray([(1 + self.keys) ** place for place in range(self.longer_key)], jnp.uint32)
        there_NxT = jnp.arange(self.longer_key)[None, :] < key_size_N[:, None]
        digit_NxT = jnp.where(there_NxT, 1 + key_NxT - self.values, 0).astype(jnp.uint32)
        name_N = jnp.sum(digit_NxT * place_T[None, :], axis=1, dtype=jnp.uint32)
        valid_NxT = jnp.arange(self.value_length)[None, :] < value_size_N[:, None]
        real_N = jnp.arange(self.more_pairs) < count
        return choose_side_of_pairs(name_N, value_NxT, valid_NxT & real_N[:, None], held_out)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Look the query up among the pairs."""
        tokens, memory = np.asarray(example.tokens).tolist(), self._read(example)
        ask = tokens.index(1 + self.values + self.keys)
        asked = tuple(t for t in tokens[ask + 1 :] if t > self.values)
        first, value = ask + len(asked), memory[asked]
        return tuple(np.asarray(answer)[first : first + len(value)].tolist()) == value

    def _read(self, example: Example) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Key -> value: the context cut into runs of key tokens and runs of value tokens."""
        tokens = np.asarray(example.tokens).tolist()
        context = tokens[: tokens.index(1 + self.values + self.keys)]
        runs_of_kind = [tuple(run) for _, run in itertools.groupby(context, key=lambda t: t > self.values)]
        return dict(zip(runs_of_kind[::2], runs_of_kind[1::2], strict=True))

    def problem(self, example: Example) -> Hashable:
        """The pairs, whichever is asked for."""
        return frozenset(self._read(example).items())

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the value tokens; `any_pair`: the value of some key; `last_token`: of a key that ends alike.

        The last two are means over simulated contexts of naming one of those keys at random.
        """
        difficulty = self.splits[split].difficulty
        sizes = (int(difficulty[name]) for name in ("pairs", "shortest_key", "key_length"))
        alike = float(difficulty["confusable"])
        any_pair, last_token = _simulated(*sizes, self.keys, self.values, self.value_length, alike)
        any_token = average(uniform(size, self.values) for size in range(1, self.value_length + 1))
        return {"chance": any_token, "any_pair": any_pair, "last_token": last_token}

    def render(self, example: Example) -> str:
        """`a b:3  c:1 4 | c? 1 4`: keys as letters (k26 and so on past z), values from 0."""
        tokens, asked = np.asarray(example.tokens).tolist(), np.asarray(example.weights) > 0
        ask, first = tokens.index(1 + self.values + self.keys), int(np.argmax(asked))

        def spelled_out(token: int) -> str:
            index = token - 1 - self.values
            return str(token - 1) if index < 0 else chr(97 + index) if index < 26 else f"k{index}"

        shown = ""
        for is_key, run in itertools.groupby(tokens[:ask], key=lambda t: t > self.values):
            shown += " ".join(map(spelled_out, run)) + (":" if is_key else "  ")
        query = " ".join(map(spelled_out, tokens[ask + 1 : first + 1]))
        return f"{shown}| {query}? {' '.join(map(spelled_out, np.asarray(example.targets)[asked].tolist()))}"


@lru_cache(maxsize=256)
def _simulated(
    pairs: int, shortest: int, longest: int, keys: int, values: int, value_length: int, confusable: float
) -> tuple[Baseline, Baseline]:
    """The value of any key of the context, and of any that ends with the token that the query ends with."""
    generator, results = random.Random(0), []
    for _ in range(max(500, SIMULATED // pairs)):
        context: dict[tuple[int, ...], list[int]] = {}
        ends = (keys,) if generator.random() < confusable else ()  # one token more, so one of the others less
        for _ in range(pairs):
            size, key = generator.randint(max(shortest, 1 + len(ends)), longest), None
            while key is None or key in context:
                key = (*generator.sample(range(keys - len(ends)), size - len(ends)), *ends)
            context[key] = generator.sample(range(values), generator.randint(1, value_length))
        (query, answer), *_ = context.items()
        found = {key: value[: len(answer)] == answer for key, value in context.items()}
        alike = [right for key, right in found.items() if key[-1] == query[-1]]
        shares = np.array([sum(found.values()) / pairs, sum(alike) / len(alike)])
        results.append([shares, np.log(shares) / len(answer)])
    exact, logprob = np.mean(results, axis=0).tolist()
    return Baseline(exact[0], logprob[0]), Baseline(exact[1], logprob[1])
