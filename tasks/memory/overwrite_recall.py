"""Recall where keys are written again: the last write wins."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, World, require_range
from tasks.draw import permutation, renamed
from tasks.fields import KnobField, share
from tasks.memory._recall import VALUES_MOST, look_up, shown, written
from tasks.memory._shared import (
    InContext,
    arrangement,
    ask,
    chance,
    choose_side_of_pairs,
    hedged,
    require_couples,
    uniform,
    whole,
)
from tasks.sequence import part


@dataclass(frozen=True)
class OverwriteRecall(InContext):
    """Read writes `key value` in which keys come again, then every key once: answer each with its last value, in place.

    Each of n keys is written 1 + `updates` times, all writes in random order, all values of an example different. No
    answer is fed back.

    Shortcut: a key is `single` with that probability, written once only; its last write is then its first, and looking
    up any write of a key is right. `counterfactual` has no single key: there only the last write is right. All other
    splits keep the singles of training.

    `train` and `iid` are split by which values each key is written with and which of them is the last, whatever the
    order of writes and queries is another: exchanging the smallest key's last value with its partner throughout gives
    its mate, and a hash of what mates share says which of them is trained on.

    Tokens: values 1 … values, then keys. Sequence: the writes, then the n queries.

    Attributes:
      pairs: number n of keys in an example. Traced in `sample`.
      updates: how often a key is overwritten, in all splits but `updates`. Traced in `sample`.
      more_updates: how often in the `updates` split.
      keys: number of key tokens.
      values: number of value tokens, even; at least one for each write.
      single: probability that a key is written once only. Traced in `sample`.
    """

    pairs: int = 3
    updates: int = 1
    more_updates: int = 3
    keys: int = 16
    values: int = 16
    single: float = 0.0

    name: ClassVar[str] = "overwrite_recall"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "PI-LLM: Wang & Sun 2025, arXiv 2506.08184; queries as in MQAR, arXiv 2312.04927"
    known: ClassVar[str] = (
        "Language models name overwritten values the more often the more updates came before (proactive interference), "
        "though the last write is all that counts."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"pairs": 2, "updates": 1, "more_updates": 2, "keys": 2, "values": 6, "single": 0.5},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="pairs3",
            sizes={},
            expected={"iid": (0.9, 1.0), "updates": (0.0, 0.05)},
            about="the last write is distinguished from the first, but not among more writes at new positions",
            source="measured here",
            seconds=30,
            steps=2500,
        ),
    )

    def __post_init__(self):
        require_range(self, "pairs", 2, 256)
        require_range(self, "updates", 1, 64)
        require_range(self, "more_updates", self.updates + 1, 128)
        require_range(self, "keys", self.pairs, VALUES_MOST)
        require_couples(self, "values", self.pairs * (1 + self.more_updates), VALUES_MOST)
        require_range(self, "single", 0.0, 1.0)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.values + self.keys

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """Values, and keys."""
        return (range(1, 1 + self.values), range(1 + self.values, self.vocab_size))

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `updates`, and `counterfactual`: no key is single."""

        def split(updates: int, single: float, held_out: int, about: str) -> Split:
            difficulty = {"pairs": self.pairs, "updates": updates, "single": single, "held_out": held_out}
            size = self.pairs * (2 * (1 + updates) + 1)
            sizes = f"{self.pairs} keys of {1 + updates} writes"
            return Split(difficulty, size, self.pairs, 1, bool(held_out), sizes + about)

        return {
            "train": split(self.updates, self.single, 0, ", a half chosen by hash"),
            "iid": split(self.updates, self.single, 1, ", the other half"),
            "updates": split(self.more_updates, self.single, 1, ""),
            "counterfactual": split(self.updates, 0.0, 1, ", none of them single"),
        }

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "single": share("share of keys that are written once only"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two keys, overwritten once."""
        return {"pairs": 2, "updates": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Of the first query: its `value`, its `first_value`, and how many `writes` it had, less one."""
        return {"value": self.values, "first_value": self.values, "writes": 1 + self.more_updates}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The first and the last query."""
        return ("first_query", "last_query")

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One list of writes and its queries.

        Difficulty: `pairs` from 2, `updates` from 0 to the largest of the splits, `single` in [0, 1], `held_out` 0
        (train's half) or 1.
        """
        count, updates, held_out = whole(difficulty, "pairs", "updates", "held_out")
        most, size = self.pairs, self.pairs * (1 + self.more_updates)
        bits = jax.random.bits(key, (3 * size + 4 * most,))
        order_bits, value_bits, rest = jnp.split(bits, (size, 3 * size))
        single_N = chance(rest[:most], jnp.asarray(difficulty["single"], jnp.float32))
        index_N, write_W = jnp.arange(most, dtype=jnp.int32), jnp.arange(size, dtype=jnp.int32)
        writes_N = jnp.where(index_N < count, jnp.where(single_N, 1, 1 + updates), 0)
        end_N = jnp.cumsum(writes_N, dtype=jnp.int32)
        writes = end_N[-1]
        # Number the writes key by key; a permutation says which of them stands at each slot.
        number_W = permutation(order_bits, writes, size)
        owner_W = jnp.minimum(jnp.sum(end_N[None, :] <= number_W[:, None], axis=1, dtype=jnp.int32), most - 1)
        key_N = self.values + renamed(arrangement(rest[most : 3 * most], count, self.keys), difficulty, self.keys, 1)
        value_W = renamed(arrangement(value_bits, writes, self.values), difficulty, self.values)
        written_W = write_W < writes
        mine_NxW = (owner_W[None, :] == index_N[:, None]) & written_W[None, :]
        last_N = jnp.max(jnp.where(mine_NxW, write_W[None, :], 0), axis=1)
        value_W = _choose_side(key_N[owner_W], value_W, write_W == last_N[owner_W], written_W, held_out)
        context = part(jnp.stack([key_N[owner_W], value_W], axis=1).reshape(-1), 2 * writes)

        asked_N = permutation(rest[3 * most :], count, most) % most
        first = asked_N[0]
        factors = {
            "value": value_W[last_N[first]],
            "first_value": value_W[jnp.argmax(mine_NxW[first])],
            "writes": writes_N[first] - 1,
        }
        return ask(context, part(key_N[asked_N], count), 2 * last_N[asked_N] + 1, length, factors)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Carry the writes out on a dictionary, look every query up."""
        return look_up(np.asarray(example.tokens), np.asarray(answer), self.values, self.values + self.keys)

    def problem(self, example: Example) -> Hashable:
        """The last value of every key, and which values it was written with before."""
        writes = written(example, self.values, self.values + self.keys)
        return frozenset(writes), frozenset(dict(writes).items())

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `context_value`: any value of the context; `any_write`: one of the key's values (1/writes);
        `first_write`: the key's first value.

        The exact share of `context_value` is that of the best such guess, which gives every query another value. The
        log-probability of `first_write` is that of giving the first value its true share and all others the same.
        """
        difficulty = self.splits[split].difficulty
        single, updates = float(difficulty["single"]), int(difficulty["updates"])
        overwritten = 1 - single
        return {
            "chance": uniform(self.pairs, self.values),
            "context_value": _context_value(self.pairs, updates, single),
            "any_write": Baseline(
                (single + overwritten / (1 + updates)) ** self.pairs, -overwritten * math.log(1 + updates)
            ),
            "first_write": Baseline(single**self.pairs, hedged(single, self.values)),
        }

    def render(self, example: Example) -> str:
        """`3:7 0:2 3:5 | 0? 2, 3? 5`, keys and values from 0."""
        return shown(example, self.values, self.values + self.keys)


def _choose_side(key_W: jax.Array, value_W: jax.Array, last_W: jax.Array, valid_W: jax.Array, held_out: jax.Array):
    """Values of the writes, on the wanted side: int32[W]."""
    name_W = 2 * key_W + (~last_W).astype(jnp.int32)  # the smallest is that of the smallest key's last write
    return choose_side_of_pairs(name_W, value_W[:, None], valid_W[:, None], held_out)[:, 0]


def _context_value(pairs: int, updates: int, single: float) -> Baseline:
    """Any of the values written, averaged over how many keys are single."""
    exact = nats = 0.0
    for singles in range(pairs + 1):
        share = math.comb(pairs, singles) * single**singles * (1 - single) ** (pairs - singles)
        writes = pairs + (pairs - singles) * updates
        exact += share * (1 / math.perm(writes, pairs))  # whole numbers that no float may hold
        nats += share * math.log(writes)
    return Baseline(exact, -nats)
