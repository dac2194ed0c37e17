"""Addition of two numbers, digit by digit (Teaching Arithmetic to Small Transformers, Lee et al., arXiv 2307.03381)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.asking import READ_NAMES, Markers, ask, extent, on_side, require_scratchpad, uniform, unit
from tasks.base import (
    PROCESS,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    World,
    exact_match,
    require_choice,
    require_range,
)
from tasks.draw import digest, pick
from tasks.reasoning.carries import draw_kinds, longest_chain, marginals, pairs
from tasks.sequence import Part

ORDERS = ("plain", "reversed")
CHAINS = ("natural", "balanced")


@dataclass(frozen=True)
class Addition:
    """Read two numbers of n digits, write their sum of n + 1 digits.

    Numbers keep their leading zeros, so both have n digits and the sum one more, which is the carry out of the
    operands' first digits. In plain order the sum begins with that digit, which depends on every other; in reversed
    order it begins with its last digit, which depends on one pair, and continues by carrying, as in the paper.

    A carry chain is a pair of digits that carries by itself and those right above it that pass the carry on (they sum
    to base - 1); its length counts them all. Numbers are uniform given n and the length of the longest chain (0 if
    nothing is carried). That is drawn from its range as it is distributed among uniform numbers ('natural': long ones
    are rare), or uniformly ('balanced', cf. the paper's balanced data). Training has chains of at most `carry_chain`,
    the `carry` split only longer ones, up to digits - 1. With carry_chain=1 a shortcut is planted: in training looking
    one digit down is enough.

    Sequence: the digits of a, `+`, those of b (both most significant first), ANSWER, the sum. With a scratchpad b is
    followed by THINK and, from the least significant place on, by digit and carry of every place, then by ANSWER.

    Tokens: digits 1 … base, then +, THINK, ANSWER. Carries are digits.

    `train` and `iid` are split by the two numbers of n digits, whichever comes first: pairs of numbers that differ only
    in the last digits, but not in whether those carry, stop a carry or pass it on, are mates, and a hash of what they
    share says which half of them (rounded up) is trained on. (a, b) and (b, a) are on one side.

    Attributes:
      digits: most digits n in `train` and `iid`; n is uniform in fewest … digits. Traced in `sample`.
      fewest: fewest digits; as `digits` for numbers of one length only. Traced in `sample`.
      more_digits: most digits in the `digits` split, which begins at digits + 1.
      base: number of digit values, from 3 (binary pairs have no mates).
      order: in which the sum is written, 'plain' or 'reversed'.
      carry_chain: longest carry chain in all splits but `carry`. Traced in `sample`.
      chains: how the longest chain is distributed, 'natural' or 'balanced'.
      scratchpad: one of `tasks.sequence.SCRATCHPADS`.
      scratchpad_share: share of the training examples that have it, if any have. Traced in `sample`.
    """

    digits: int = 5
    fewest: int = 1
    more_digits: int = 8
    base: int = 10
    order: str = "plain"
    carry_chain: int = 2
    chains: str = "balanced"
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "addition"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Lee et al. 2023, arXiv 2307.03381"
    known: ClassVar[str] = (
        "Reversed sums are learned from far fewer examples than plain ones, and with a scratchpad from fewer still; "
        "none of them generalizes to more digits."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"digits": 3, "fewest": 1, "more_digits": 4, "base": 3, "carry_chain": 1},
        {
            "digits": 4,
            "fewest": 2,
            "more_digits": 5,
            "base": 5,
            "order": "reversed",
            "chains": "natural",
            "scratchpad": "valid",
            "scratchpad_share": 0.5,
        },
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="reversed5",
            sizes={"digits": 5, "fewest": 5, "more_digits": 6, "carry_chain": 3, "order": "reversed"},
            expected={"iid": (0.95, 1.0), "carry": (0.9, 1.0), "digits": (0.0, 0.05)},
            about="learned, longer carry chains included: every digit needs one pair and one carry; more digits fail",
            source="Lee et al. 2023, arXiv 2307.03381",
            seconds=33,
            steps=4000,
        ),
        Card(
            name="plain5",
            sizes={"digits": 5, "fewest": 5, "more_digits": 6, "carry_chain": 3, "order": "plain"},
            expected={"iid": (0.9, 1.0), "carry": (0.5, 0.97)},
            about="learned, but longer carry chains than in training are not always followed",
            source="measured here; cf. Lee et al. 2023, arXiv 2307.03381",
            seconds=33,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_choice(self, "order", ORDERS)
        require_choice(self, "chains", CHAINS)
        require_range(self, "digits", 3, 20)
        require_range(self, "fewest", 1, self.digits)
        require_range(self, "more_digits", self.digits + 1, 24)
        require_range(self, "base", 3, 64)
        require_range(self, "carry_chain", 1, self.digits - 2)
        require_scratchpad(self)

    @property
    def _markers(self) -> Markers:
        return Markers(self.base + 2, self.base + 3)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._markers.answer + 1

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `digits`, longer `carry` chains and, with a scratchpad, `direct`: iid without it."""
        always = float(self.scratchpad != "absent")

        def split(fewest: int, digits: int, least: int, longest: int, held_out: int, share: float, about: str) -> Split:
            difficulty = {
                "fewest": fewest,
                "digits": digits,
                "least_chain": least,
                "most_chain": longest,
                "held_out": held_out,
                "scratchpad": share,
            }
            sizes = extent(2 * digits + 2, 2 * digits, digits + 1, share)
            return Split(difficulty, disjoint=bool(held_out), about=about, **sizes)

        fewest, most, chain, farther = self.fewest, self.digits, self.carry_chain, self.more_digits
        roomy = max(fewest, chain + 2)  # a longer chain needn't fill such numbers: carrying everywhere isn't the answer
        about = f"{fewest} to {most} digits, carry chains up to {chain}"
        splits = {
            "train": split(fewest, most, 0, chain, 0, always * self.scratchpad_share, about),
            "iid": split(fewest, most, 0, chain, 1, always, "pairs that are not in train"),
            "digits": split(most + 1, farther, 0, chain, 1, always, f"{most + 1} to {farther} digits"),
            "carry": split(roomy, most, chain + 1, most - 1, 1, always, f"carry chains from {chain + 1} to {most - 1}"),
        }
        if always:
            splits["direct"] = split(fewest, most, 0, chain, 1, 0.0, "iid, asked without the scratchpad")
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One digit, nothing carried."""
        return {"fewest": 1, "digits": 1, "most_chain": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`carry` into the sum's first digit, length of the longest carry `chain`.

        The number of `digits` is a control: the position tells it.
        """
        return {"carry": 2, "chain": self.more_digits + 1, "digits": self.more_digits + 1}

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the sum's first token is due, the question's last position, and where the sum's last token is due."""
        return (*READ_NAMES, "last_answer")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One sum. Difficulty: `fewest` ≤ `digits` in [1, more_digits], `least_chain` ≤ `most_chain` in [0, digits],

        `held_out` 0 (train) or 1, and `scratchpad`, the chance that the example has one. Chains can't be longer than
        the numbers: both bounds are lowered to their number of digits.
        """
        fewest, digits, least, most, held_out = (
            jnp.asarray(difficulty[name], jnp.int32)
            for name in ("fewest", "digits", "least_chain", "most_chain", "held_out")
        )
        places = min(self.more_digits, (length - 2) // 3)
        bits = jax.random.bits(key, (4 + 2 * places,))
        count = uniform(bits[0], jnp.minimum(fewest, digits), digits)
        chain = self._longest(bits[1], count, jnp.minimum(least, count), jnp.minimum(most, count))
        kind_D, carried_D = draw_kinds(self.base, self.more_digits, unit(bits[4::2]), count, chain)
        a_D, b_D = self._numbers(kind_D, bits[5::2], count, bits[2], held_out > 0)
        carry_D = jnp.concatenate([jnp.zeros((1,), jnp.int32), carried_D[:-1].astype(jnp.int32)])
        sum_D = (a_D + b_D + carry_D) % self.base
        carry = carried_D[count - 1].astype(jnp.int32)

        position = jnp.arange(2 * places + 1, dtype=jnp.int32)
        place = jnp.clip(jnp.where(position < count, count - 1, 2 * count) - position, 0, places - 1)
        operand = 1 + jnp.where(position < count, a_D[place], b_D[place])
        index = position[: places + 1]
        from_least = index if self.order == "reversed" else jnp.maximum(count - index, 0)
        digit = jnp.where(from_least == count, carry, sum_D[jnp.minimum(from_least, places - 1)])
        written = ask(
            length,
            self.scratchpad,
            jax.random.fold_in(key, 1),
            question=Part(jnp.where(position == count, self.base + 1, operand), 2 * count + 1),
            steps=Part(1 + jnp.stack([sum_D, carried_D.astype(jnp.int32)], axis=1).reshape(-1), 2 * count),
            answer=Part(1 + digit, count + 1),
            wanted=unit(bits[3]) < difficulty["scratchpad"],
            markers=self._markers,
            step_ids=(1, 1 + self.base),
        )
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={"carry": carry, "chain": chain, "digits": count},
            read=jnp.stack([written.answer, written.question, written.last]),
        )

    def _longest(self, bits: jax.Array, count: jax.Array, least: jax.Array, most: jax.Array) -> jax.Array:
        """Draw the length of the longest chain from least … most."""
        if self.chains == "balanced":
            return uniform(bits, least, most)
        share_C = jnp.asarray(longest_chain(self.base, self.more_digits), jnp.float32)[count]
        index_C = jnp.arange(share_C.shape[0], dtype=jnp.int32)
        sum_C = jnp.cumsum(jnp.where((index_C >= least) & (index_C <= most), share_C, 0.0))
        return jnp.clip(jnp.sum(sum_C <= unit(bits) * sum_C[-1], dtype=jnp.int32), least, most)

    def _numbers(
        self, kind_D: jax.Array, bits_D: jax.Array, count: jax.Array, mate_bits: jax.Array, held_out: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Digits of the given kinds, least significant first and that one on the wanted side: int32[D] each."""
        table, base = pairs(self.base), self.base
        size_D, kind = jnp.asarray(table.count)[kind_D], kind_D[0]
        pair_D = jnp.asarray(table.pair)[kind_D, (bits_D % size_D.astype(jnp.uint32)).astype(jnp.int32)]
        index_D = jnp.arange(kind_D.shape[0], dtype=jnp.int32)
        # What mates share starts with the number that the digits above the last make larger.
        more_D = jnp.where((index_D > 0) & (index_D < count), jnp.sign(pair_D // base - pair_D % base), 0)
        order = more_D[jnp.max(jnp.where(more_D != 0, index_D, 0))]
        placed_D = jnp.where(order < 0, _turned(pair_D, base), pair_D)
        shared = digest(jnp.where(index_D == 0, kind, placed_D), index_D < count)
        # Where these digits are the same, a last pair and its reverse belong to one sum.
        one_P = jnp.arange(table.pair.shape[1], dtype=jnp.int32)
        mate_P = jnp.where(order == 0, jnp.asarray(table.sum_of)[kind], one_P)
        mates = jnp.where(order == 0, jnp.asarray(table.sums)[kind], size_D[0])
        wanted_P = on_side(shared, mate_P, mates, held_out) & (one_P < size_D[0])
        last = jnp.asarray(table.pair)[kind, pick(wanted_P, mate_bits)]
        pair_D = jnp.where(index_D == 0, jnp.where(order < 0, _turned(last, base), last), pair_D)
        return pair_D // base, pair_D % base

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`; the sum is unique."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Add as whole numbers."""
        tokens = np.asarray(example.tokens).tolist()
        plus = tokens.index(self.base + 1)
        a, b = (self._value(tokens[start : start + plus]) for start in (0, plus + 1))
        said = np.asarray(answer)[np.asarray(example.weights) == 1].tolist()
        said = said if self.order == "plain" else said[::-1]
        return len(said) == plus + 1 and all(1 <= t <= self.base for t in said) and self._value(said) == a + b

    def problem(self, example: Example) -> Hashable:
        """How many digits the numbers have, and both of them, whichever comes first."""
        tokens = np.asarray(example.tokens).tolist()
        plus = tokens.index(self.base + 1)
        return plus, *sorted([tuple(tokens[:plus]), tuple(tokens[plus + 1 : 2 * plus + 1])])

    def _value(self, tokens: list[int]) -> int:
        return sum((token - 1) * self.base**power for power, token in enumerate(reversed(tokens)))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, and every pair of digits added by itself with nothing carried (`no_carry`) or one (`all_carry`).

        Their log-probability is that of knowing how often a carry comes into each place of numbers of that length.
        """
        difficulty = {name: int(value) for name, value in self.splits[split].difficulty.items()}
        balanced, chains = self.chains == "balanced", (difficulty["least_chain"], difficulty["most_chain"])
        lengths = range(difficulty["fewest"], difficulty["digits"] + 1)
        known = [marginals(self.base, self.more_digits, digits, *chains, balanced) for digits in lengths]
        nats = -float(np.mean([_coins(k.carried) / (digits + 1) for digits, k in zip(lengths, known, strict=True)]))
        chance = float(np.mean([float(self.base) ** -(digits + 1) for digits in lengths]))
        return {
            "chance": Baseline(chance, -math.log(self.base)),
            "no_carry": Baseline(float(np.mean([k.longest[0] for k in known])), nats),
            "all_carry": Baseline(float(np.mean([k.everywhere for k in known])), nats),
        }

    def render(self, example: Example) -> str:
        """`128 + 367 = 0495`, with the scratchpad `[5+1 9+0 4+0]` of digits and carries before the sum."""
        tokens, targets, weights = (np.asarray(x) for x in (example.tokens, example.targets, example.weights))
        plus = tokens.tolist().index(self.base + 1)
        between = "" if self.base <= 10 else "."
        a, b, total = (
            between.join(str(t - 1) for t in run.tolist())
            for run in (tokens[:plus], tokens[plus + 1 : 2 * plus + 1], targets[weights == 1])
        )
        steps = (targets[weights == PROCESS][:-1] - 1).tolist()
        places = " ".join(f"{digit}+{carry}" for digit, carry in zip(steps[::2], steps[1::2], strict=True))
        scratch = f"[{places}] = " if steps else ""
        return f"{a} + {b} = {scratch}{total}{' (reversed)' if self.order == 'reversed' else ''}"


def _turned(pair: jax.Array, base: int) -> jax.Array:
    """(b, a) for (a, b)."""
    return pair % base * base + pair // base


def _coins(share_N: np.ndarray) -> float:
    """Entropy of independent coins, in nats."""
    sides = np.clip(np.stack([share_N, 1 - share_N]), 0, 1)
    return -float(np.sum(sides * np.log(np.where(sides > 0, sides, 1))))
