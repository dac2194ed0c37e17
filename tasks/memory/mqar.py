"""Multi-query associative recall from the context (Zoology, Arora et al., arXiv 2312.04927)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, World, exact_match, require_range
from tasks.draw import hash_bit, permutation, renamed

VALUES_MOST = 4096  # keys and values; the hash packs a pair into one int32
ORDER = 0x0D  # folded into an example's key for the order of its queries, so that everything else stays as it is


@dataclass(frozen=True)
class MQAR:
    """Read key–value pairs, then every key again in random order; answer each with its value, at the key's position.

    Keys of an example differ from each other, and so do values, so that guessing among the n values in the context is
    right 1/n of the time. No answer is fed back.

    `train` and `iid` are split by the set of pairs, whatever the order of pairs and queries: sets that differ only by
    exchanging the values of the two smallest keys are mates, and a hash of what they share says which of them is
    trained on.

    Tokens: keys 1 … keys, then values. Sequence: k_1 v_1 … k_n v_n, then the n queries.

    With ordered > 0 positions leak the answer: with that probability the queries come in the order of their pairs, and
    looking back a fixed distance does in place of comparing keys; else they come in any other order. All splits
    keep this but `counterfactual`, which is `iid` and never in order: who relies on positions falls there.

    Attributes:
      pairs: n in `train` and `iid`. Traced in `sample`.
      more_pairs: n in the `pairs` split.
      keys: number of key tokens.
      values: number of value tokens.
      ordered: share of examples whose queries come in the order of their pairs. Traced in `sample`; static only in
        whether it is 0, which leaves the order to chance.
    """

    pairs: int = 4
    more_pairs: int = 8
    keys: int = 16
    values: int = 16
    ordered: float = 0.0

    name: ClassVar[str] = "mqar"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Zoology: Arora et al. 2024, arXiv 2312.04927"
    known: ClassVar[str] = (
        "Attention solves it after a plateau at 1/K, the accuracy of naming any value of the context; recurrent and "
        "convolutional mixers need a state that grows with the pairs."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"pairs": 2, "more_pairs": 3, "keys": 4, "values": 4},
        {"pairs": 3, "more_pairs": 4, "keys": 4, "values": 4, "ordered": 0.5},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="pairs4",
            sizes={"pairs": 4},
            expected={"iid": (0.9, 1.0)},
            about="leaves its 1/K plateau and is solved",
            source="Arora et al. 2024, arXiv 2312.04927",
            seconds=40,
            steps=6000,
            default=True,
        ),
        Card(
            name="ordered",
            sizes={"pairs": 4, "ordered": 0.95},
            expected={"iid": (0.9, 0.99), "counterfactual": (0.0, 0.2)},
            about="the leak of positions is learned first; by 4,000 steps recall may have replaced it",
            source="measured here",
            seconds=13,
            steps=1200,
        ),
    )

    def __post_init__(self):
        require_range(self, "pairs", 2, 256)
        require_range(self, "more_pairs", self.pairs + 1, 512)
        require_range(self, "keys", self.more_pairs, VALUES_MOST)
        require_range(self, "values", self.more_pairs, VALUES_MOST)
        require_range(self, "ordered", 0.0, 0.99)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.keys + self.values

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """Keys, and values."""
        return (range(1, 1 + self.keys), range(1 + self.keys, self.vocab_size))

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `pairs` and, where the order leaks, `counterfactual`."""

        def split(pairs: int, held_out: int, about: str, ordered: float = self.ordered) -> Split:
            difficulty = {"pairs": pairs, "held_out": held_out} | ({"ordered": ordered} if self.ordered else {})
            return Split(difficulty, 3 * pairs, pairs, decode_steps=1, disjoint=bool(held_out), about=about)

        splits = {
            "train": split(self.pairs, 0, f"{self.pairs} pairs, a half of the sets chosen by hash"),
            "iid": split(self.pairs, 1, f"the other half of the sets of {self.pairs} pairs"),
            "pairs": split(self.more_pairs, 1, f"{self.more_pairs} pairs"),
        }
        if self.ordered:
            splits["counterfactual"] = split(self.pairs, 1, "iid, the queries never in the order of their pairs", 0.0)
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two pairs."""
        return {"pairs": 2}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Of the last query: its `value`, and the `pair` it was, counted from 0."""
        return {"value": self.values, "pair": self.more_pairs}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last query's position."""
        return ("last_query",)

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One list and its queries.

        Difficulty: `pairs` in [2, more_pairs], `held_out` 0 (train's half) or 1, and `ordered` in [0, 1] where the
        task's own isn't 0.
        """
        count, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in ("pairs", "held_out"))
        most = self.more_pairs
        bits = jax.random.bits(key, (self.keys + self.values + most,))
        key_M = permutation(bits[: self.keys], self.keys, most)
        value_M = permutation(bits[self.keys : -most], self.values, most)
        key_M, value_M = renamed(key_M, difficulty, self.keys), renamed(value_M, difficulty, self.values, 1)
        value_M = _choose_side(key_M, value_M, count, held_out > 0)
        pair_of_query_M = permutation(bits[-most:], count, most)
        if self.ordered:
            ordered = jnp.asarray(difficulty["ordered"], jnp.float32)
            pair_of_query_M = _ordered_or_not(jax.random.fold_in(key, ORDER), pair_of_query_M, count, ordered)

        position_L = jnp.arange(length, dtype=jnp.int32)
        asked_L = (position_L >= 2 * count) & (position_L < 3 * count)
        query_L = jnp.clip(position_L - 2 * count, 0, most - 1)
        pair_L = jnp.where(asked_L, pair_of_query_M[query_L], jnp.minimum(position_L // 2, most - 1))
        key_token_L, value_token_L = 1 + key_M[pair_L], 1 + self.keys + value_M[pair_L]
        is_key_L = asked_L | (position_L % 2 == 0)
        last = pair_of_query_M[count - 1]
        return Example(
            tokens=jnp.where(position_L < 3 * count, jnp.where(is_key_L, key_token_L, value_token_L), PAD),
            targets=jnp.where(asked_L, value_token_L, PAD),
            weights=asked_L.astype(jnp.float32),
            factors={"value": value_M[last], "pair": last},
            read=(3 * count - 1)[None],
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Build a dictionary from the pairs and look every query up."""
        tokens = [t for t in np.asarray(example.tokens).tolist() if t != PAD]
        queries = len(tokens) // 3
        context, asked = tokens[: 2 * queries], tokens[2 * queries :]
        memory = dict(zip(context[::2], context[1::2], strict=True))
        return [memory[key] for key in asked] == np.asarray(answer)[2 * queries : 3 * queries].tolist()

    def problem(self, example: Example) -> Hashable:
        """The pairs, all of which are asked about."""
        tokens = [t for t in np.asarray(example.tokens).tolist() if t != PAD]
        context = tokens[: 2 * len(tokens) // 3]
        return frozenset(zip(context[::2], context[1::2], strict=True))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, `context_value`: one of the n values in the context (1/K), and `in_order`: the leak.

        The exact share of `context_value` is that of the best such guess, which gives every query another value; its
        log-probability is that of the n values as equally likely. `in_order` answers the i-th query with the i-th value
        and believes in it as often as that is right in training.
        """
        difficulty = self.splits[split].difficulty
        count = int(difficulty["pairs"])
        orders = math.factorial(count)
        found = {
            "chance": Baseline(float(self.values) ** -count, -math.log(self.values)),
            "context_value": Baseline(1 / orders, -math.log(count)),
        }
        if self.ordered:
            # A uniform order leaves a query in its place 1/n of the time; two of n leave it where chance was in order.
            by_chance = 1 / count - 2 / count / orders
            believed, true = (o + (1 - o) * by_chance for o in (self.ordered, difficulty["ordered"]))
            logprob = true * math.log(believed) + (1 - true) * math.log((1 - believed) / (count - 1))
            found["in_order"] = Baseline(float(difficulty["ordered"]), logprob)
        return found

    def render(self, example: Example) -> str:
        """`3:7 0:2 | 0? 2, 3? 7`, keys and values from 0."""
        tokens, asked = np.asarray(example.tokens), np.asarray(example.weights) > 0
        context = tokens[: int(np.argmax(asked))]
        pairs = " ".join(f"{k - 1}:{v - 1 - self.keys}" for k, v in zip(context[::2], context[1::2], strict=True))
        answers = zip(tokens[asked], np.asarray(example.targets)[asked], strict=True)
        return f"{pairs} | " + ", ".join(f"{k - 1}? {v - 1 - self.keys}" for k, v in answers)


def _choose_side(key_M: jax.Array, value_M: jax.Array, count: jax.Array, held_out: jax.Array) -> jax.Array:
    """Order the values of the two smallest keys so that the set of pairs lies on the wanted side of the hash."""
    index_M = jnp.arange(value_M.shape[0], dtype=jnp.int32)
    rank_M = jnp.sum((key_M[None, :] < key_M[:, None]) & (index_M < count)[None, :], axis=1, dtype=jnp.int32)
    rank_M = jnp.where(index_M < count, rank_M, count)
    one, two = (jnp.sum(jnp.where(rank_M == rank, value_M, 0), dtype=jnp.int32) for rank in (0, 1))
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)

    def ordered(first: jax.Array, second: jax.Array) -> jax.Array:
        return jnp.where(rank_M == 0, first, jnp.where(rank_M == 1, second, value_M))

    pair_M = key_M * VALUES_MOST + ordered(low, high)
    exchange = hash_bit(pair_M, index_M < count, ordered=False) ^ held_out
    return jnp.where(exchange, ordered(high, low), ordered(low, high))


def _ordered_or_not(key: jax.Array, pair_of_query_M: jax.Array, count: jax.Array, ordered: jax.Array) -> jax.Array:
    """The order of the pairs with probability `ordered`, and in all other cases another order.

    A drawn order that happens to be that of the pairs has two neighbours exchanged.
    """
    index_M = jnp.arange(pair_of_query_M.shape[0], dtype=jnp.int32)
    bits = jax.random.bits(key, (2,))
    leaks = (bits[0] >> jnp.uint32(8)).astype(jnp.float32) / (1 << 24) < ordered
    at = (bits[1] % count.astype(jnp.uint32)).astype(jnp.int32)
    after = (at + 1) % count
    exchanged_M = jnp.where(index_M == at, after, jnp.where(index_M == after, at, index_M))
    in_order = jnp.all((pair_of_query_M == index_M) | (index_M >= count))
    return jnp.where(leaks, index_M, jnp.where(in_order, exchanged_M, pair_of_query_M))
