"""Multi-query associative recall from the context (Zoology, Arora et al., arXiv 2312.04927)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import (
    LATER,
    PAD,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    TaskError,
    World,
    exact_match,
    require_range,
)
from tasks.draw import hash_bit, permutation, renamed
from tasks.fields import KnobField, share
from tasks.memory import _zoology
from tasks.memory._shared import require_couples

VALUES_MOST = 4096  # keys and values; the hash packs a pair into one int32
ORDER = 0x0D  # folded into an example's key for the order of its queries, so that everything else stays as it is
FIELD = 0xF1  # the same for the slots of its queries and its fillers


@dataclass(frozen=True)
class MQAR:
    """Read key–value pairs, then every key again in random order; answer each with its value, at the key's position.

    Keys of an example differ from each other, and so do values, so that guessing among the n values in the context is
    right 1/n of the time. No answer is fed back.

    `train` and `iid` are split by the set of pairs, whatever the order of pairs and queries: sets that differ only by
    exchanging the values of the two smallest keys are mates, and a hash of what they share says which of them is
    trained on.

    Tokens: keys 1 … keys, then values. Sequence: k_1 v_1 … k_n v_n, then the n queries.

    That layout is not the published one. There are no fillers: every token is a key or a value, and every later one a
    query. A query follows its key by at most 3n - 1 tokens (11 by default), the published ones by a median of about 14
    among 64 tokens. Of 16 keys few are new, of 4,095 most. (That no two keys share a value is so in the published
    generator, too; the paper's definition does not ask for it.)

    With `field` the layout is that of the published generator (`multiquery_ar` of the Zoology repository): token ids
    below vocabulary // 2 are keys, the others values; the context k_1 v_1 … k_n v_n is followed by slots of two tokens
    up to `tokens` in all; pair after pair takes one of the slots that are left, slot s with a share of (s + 1)^-0.99,
    and is asked about at its first token; every other token is a filler. One thing differs: a filler is any token but
    PAD and the context's keys, there any token at all, so that a filler may be a key which no answer is asked for.

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
      field: whether the layout is the published one. `keys`, `values` and `ordered` then have no meaning.
      vocabulary: with `field`, the number of token ids, PAD included.
      tokens: with `field`, the tokens of an example; even. Traced in `sample`.
      more_tokens: with `field`, the tokens of an example in the `longer` split; even.
    """

    pairs: int = 4
    more_pairs: int = 8
    keys: int = 16
    values: int = 16
    ordered: float = 0.0
    field: bool = dataclasses.field(default=False, metadata=LATER)
    vocabulary: int = dataclasses.field(default=8192, metadata=LATER)
    tokens: int = dataclasses.field(default=64, metadata=LATER)
    more_tokens: int = dataclasses.field(default=128, metadata=LATER)

    name: ClassVar[str] = "mqar"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Zoology: Arora et al. 2024, arXiv 2312.04927"
    known: ClassVar[str] = (
        "Attention solves it after a plateau at 1/K, the accuracy of naming any value of the context; recurrent and "
        "convolutional mixers need a state that grows with the pairs. The default layout is not the published one: it "
        "has no fillers, and its queries follow their keys by at most 11 tokens, the published ones by a median of "
        "about 14 of 64. `field=True` is the published one: 8,192 tokens, gaps by a power law, fillers between the "
        "queries. In both, keys of an example never share a value."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"pairs": 2, "more_pairs": 3, "keys": 4, "values": 4},
        {"pairs": 3, "more_pairs": 4, "keys": 4, "values": 4, "ordered": 0.5},
        {"pairs": 2, "more_pairs": 3, "field": True, "vocabulary": 10, "tokens": 12, "more_tokens": 16},
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
        Card(
            name="field",
            sizes={"field": True, "vocabulary": 64, "tokens": 32, "more_tokens": 64},
            expected={"iid": (0.9, 1.0), "longer": (0.9, 1.0), "pairs": (0.0, 0.2)},
            about="the published layout is solved, among twice the tokens too, but not with twice the pairs; of 64 "
            "token ids, for with the published 8,192 and 64 tokens the output layer alone takes 13 GFLOP a step",
            source="Arora et al. 2024, arXiv 2312.04927; `longer` and `pairs` measured here",
            seconds=60,
            steps=2000,
        ),
    )

    def __post_init__(self):
        if not isinstance(self.field, bool):
            raise TaskError(f"mqar: field must be True or False, not {self.field!r}.")
        foreign = ("keys", "values", "ordered") if self.field else ("vocabulary", "tokens", "more_tokens")
        for field in dataclasses.fields(self):
            if field.name in foreign and getattr(self, field.name) != field.default:
                raise TaskError(
                    f"mqar: {field.name} has no meaning with field={self.field}; leave it at {field.default}, "
                    f"not {getattr(self, field.name)!r}."
                )
        require_range(self, "pairs", 2, 256)
        require_range(self, "more_pairs", self.pairs + 1, 512)
        if self.field:
            require_range(self, "vocabulary", 2 * self.more_pairs + 2, 2 * VALUES_MOST)
            require_couples(self, "tokens", 4 * self.more_pairs, 4094)
            require_couples(self, "more_tokens", self.tokens + 2, 4096)
        else:
            require_range(self, "keys", self.more_pairs, VALUES_MOST)
            require_range(self, "values", self.more_pairs, VALUES_MOST)
            require_range(self, "ordered", 0.0, 0.99)

    @property
    def _keys(self) -> int:
        return self.vocabulary // 2 - 1 if self.field else self.keys

    @property
    def _values(self) -> int:
        return self.vocabulary - self.vocabulary // 2 if self.field else self.values

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self._keys + self._values

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """Keys, and values."""
        return (range(1, 1 + self._keys), range(1 + self._keys, self.vocab_size))

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `pairs`; with `field`, more tokens (`longer`); for a leak, `counterfactual`."""

        def split(
            pairs: int, held_out: int, about: str, tokens: int = self.tokens, ordered: float = self.ordered
        ) -> Split:
            difficulty: dict[str, float | int] = {"pairs": pairs, "held_out": held_out}
            if self.field:
                difficulty["tokens"], about = tokens, f"{about}, {tokens} tokens"
            elif self.ordered:
                difficulty["ordered"] = ordered
            length = tokens if self.field else 3 * pairs
            return Split(difficulty, length, pairs, decode_steps=1, disjoint=bool(held_out), about=about)

        splits = {
            "train": split(self.pairs, 0, f"{self.pairs} pairs, a half of the sets chosen by hash"),
            "iid": split(self.pairs, 1, f"the other half of the sets of {self.pairs} pairs"),
            "pairs": split(self.more_pairs, 1, f"{self.more_pairs} pairs"),
        }
        if self.field:
            splits["longer"] = split(self.pairs, 1, f"{self.pairs} pairs", self.more_tokens)
        if self.ordered:
            about = "iid, the queries never in the order of their pairs"
            splits["counterfactual"] = split(self.pairs, 1, about, ordered=0.0)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """See `tasks.fields`."""
        return {
            "ordered": share("share of examples whose queries come in the order of their pairs")
            if self.ordered
            else None,
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two pairs."""
        return {"pairs": 2}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Of the last query: its `value`, and the `pair` it was, counted from 0."""
        return {"value": self._values, "pair": self.more_pairs}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last query's position."""
        return ("last_query",)

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One list and its queries.

        Difficulty: `pairs` in [2, more_pairs], `held_out` 0 (train's half) or 1; with `field`, `tokens` in [4·pairs,
        more_tokens], else, where the task's own isn't 0, `ordered` in [0, 1].
        """
        count, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in ("pairs", "held_out"))
        most = self.more_pairs
        bits = jax.random.bits(key, (self._keys + self._values + most,))
        drawn_M = permutation(bits[: self._keys], self._keys, most)
        value_M = permutation(bits[self._keys : -most], self._values, most)
        key_M, named_M = renamed(drawn_M, difficulty, self._keys), renamed(value_M, difficulty, self._values, 1)
        value_M = _choose_side(key_M, named_M, count, held_out > 0)
        if self.field:
            return self._published(key, (drawn_M, key_M), (named_M, value_M), count, difficulty, length)
        pair_of_query_M = permutation(bits[-most:], count, most)
        if self.ordered:
            ordered = jnp.asarray(difficulty["ordered"], jnp.float32)
            pair_of_query_M = _ordered_or_not(jax.random.fold_in(key, ORDER), pair_of_query_M, count, ordered)

        position_L = jnp.arange(length, dtype=jnp.int32)
        asked_L = (position_L >= 2 * count) & (position_L < 3 * count)
        query_L = jnp.clip(position_L - 2 * count, 0, most - 1)
        pair_L = jnp.where(asked_L, pair_of_query_M[query_L], jnp.minimum(position_L // 2, most - 1))
        key_token_L, value_token_L = 1 + key_M[pair_L], 1 + self._keys + value_M[pair_L]
        is_key_L = asked_L | (position_L % 2 == 0)
        last = pair_of_query_M[count - 1]
        return Example(
            tokens=jnp.where(position_L < 3 * count, jnp.where(is_key_L, key_token_L, value_token_L), PAD),
            targets=jnp.where(asked_L, value_token_L, PAD),
            weights=asked_L.astype(jnp.float32),
            factors={"value": value_M[last], "pair": last},
            read=(3 * count - 1)[None],
        )

    def _published(
        self,
        key: jax.Array,
        keys: tuple[jax.Array, jax.Array],
        values: tuple[jax.Array, jax.Array],
        count: jax.Array,
        difficulty: Difficulty,
        length: int,
    ) -> Example:
        """The example in the published layout, from its keys before and after they are renamed, and its values before
        and after their side is chosen: fillers follow both changes, so that a renaming stays one.
        """
        (drawn_M, key_M), (named_M, value_M) = keys, values
        tokens, most = jnp.asarray(difficulty["tokens"], jnp.int32), self.more_pairs
        bits = jax.random.bits(jax.random.fold_in(key, FIELD), (self.more_tokens // 2 + self.more_tokens,))
        slot_bits, filler_bits = bits[: self.more_tokens // 2], bits[self.more_tokens // 2 :]
        index_M, position_L = (jnp.arange(size, dtype=jnp.int32) for size in (most, length))
        place_M = 2 * (count + _zoology.slots(slot_bits, most, (tokens - 2 * count) // 2))
        place_M = jnp.where(index_M < count, place_M, -1)
        asked_LxM = position_L[:, None] == place_M[None, :]
        asked_L, context_L = jnp.any(asked_LxM, axis=1), position_L < 2 * count
        pair_L = jnp.where(asked_L, jnp.argmax(asked_LxM, axis=1), jnp.minimum(position_L // 2, most - 1))
        key_token_L, value_token_L = 1 + key_M[pair_L], 1 + self._keys + value_M[pair_L]
        shown_L = jnp.where(asked_L | (position_L % 2 == 0), key_token_L, value_token_L)

        filler_L = _zoology.fillers(filler_bits, 1 + drawn_M, count, self.vocab_size)
        as_key_L, as_value_L = filler_L - 1, filler_L - 1 - self._keys
        as_key_L = 1 + renamed(as_key_L, difficulty, self._keys)
        as_value_L = renamed(as_value_L, difficulty, self._values, 1)
        same_LxM = (as_value_L[:, None] == named_M[None, :]) & (index_M < count)[None, :]
        moved_L = jnp.sum(jnp.where(same_LxM, value_M[None, :], 0), axis=1, dtype=jnp.int32)
        as_value_L = 1 + self._keys + jnp.where(jnp.any(same_LxM, axis=1), moved_L, as_value_L)
        filler_L = jnp.where(filler_L <= self._keys, as_key_L, as_value_L)[
            jnp.minimum(position_L, self.more_tokens - 1)
        ]
        last = jnp.argmax(place_M).astype(jnp.int32)
        return Example(
            tokens=jnp.where(position_L < tokens, jnp.where(context_L | asked_L, shown_L, filler_L), PAD),
            targets=jnp.where(asked_L, value_token_L, PAD),
            weights=asked_L.astype(jnp.float32),
            factors={"value": value_M[last], "pair": last},
            read=place_M[last][None],
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Build a dictionary from the pairs and look every query up."""
        asked, memory = np.flatnonzero(np.asarray(example.weights)).tolist(), dict(self._pairs(example))
        tokens, said = np.asarray(example.tokens).tolist(), np.asarray(answer).tolist()
        return all(memory[tokens[position]] == said[position] for position in asked)

    def _pairs(self, example: Example) -> list[tuple[int, int]]:
        """(key, value) tokens of the context: as many as there are questions."""
        context = np.asarray(example.tokens)[: 2 * int(np.sum(np.asarray(example.weights) > 0))].tolist()
        return list(zip(context[::2], context[1::2], strict=True))

    def problem(self, example: Example) -> Hashable:
        """The pairs, all of which are asked about."""
        return frozenset(self._pairs(example))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, `context_value`: one of the n values in the context (1/K), and `in_order`: what positions tell.

        The exact share of `context_value` is that of the best such guess, which gives every query another value; its
        log-probability is that of the n values as equally likely. `in_order` answers the i-th query with the i-th
        value. Where the order leaks it believes in that as often as it is right in training; with `field` it is
        simulated, as early slots go to early pairs.
        """
        difficulty = self.splits[split].difficulty
        count = int(difficulty["pairs"])
        orders = math.factorial(count)
        found = {
            "chance": Baseline(float(self._values) ** -count, -math.log(self._values)),
            "context_value": Baseline(1 / orders, -math.log(count)),
        }
        if self.field:
            found["in_order"] = _zoology.in_order(count, int(difficulty["tokens"]))
        elif self.ordered:
            # A uniform order leaves a query in its place 1/n of the time; two of n leave it where chance was in order.
            by_chance = 1 / count - 2 / (count * orders)
            believed, true = (o + (1 - o) * by_chance for o in (self.ordered, difficulty["ordered"]))
            logprob = true * math.log(believed) + (1 - true) * math.log((1 - believed) / (count - 1))
            found["in_order"] = Baseline(float(difficulty["ordered"]), logprob)
        return found

    def render(self, example: Example) -> str:
        """`3:7 0:2 | 0? 2, 3? 7`, keys and values from 0; with `field` the fillers between queries as dots."""
        tokens, targets, weights = (np.asarray(x).tolist() for x in (example.tokens, example.targets, example.weights))
        context = self._pairs(example)
        pairs = " ".join(f"{k - 1}:{v - 1 - self._keys}" for k, v in context)
        behind = [
            f"{token - 1}? {target - 1 - self._keys}" if weight else "."
            for token, target, weight in zip(tokens, targets, weights, strict=True)
            if token != PAD
        ][2 * len(context) :]
        return f"{pairs} | " + (" " if self.field else ", ").join(behind)


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
