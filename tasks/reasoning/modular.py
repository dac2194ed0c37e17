"""Modular arithmetic on a part of all pairs, where generalizing can come long after memorizing (arXiv 2201.02177)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import (
    PAD,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    TaskError,
    exact_match,
    require_choice,
    require_range,
)
from tasks.fields import KnobField

OPERATIONS = ("add", "sub", "mul", "div")
COMMUTATIVE = ("add", "mul")
SEEN, HELD_OUT, ROWS = 0, 1, 2  # values of the traced `part`


class PairWorld(NamedTuple):
    """The order of the pairs of a seed.

    Attributes:
      pairs: int32[pairs], a permutation of the pair indices: training takes the first ones, reserved rows come last.
    """

    pairs: jax.Array


@dataclass(frozen=True)
class ModularArithmetic:
    """Answer `a ∘ b mod p` at the `=` of `a b =`.

    The p² ordered pairs (p·(p - 1) for division, where b ≠ 0) fall in three parts, at random by seed: all pairs whose a
    is one of `reserved_rows` reserved values; of the others, round(fraction · count) training pairs; and the rest.
    (a, b) and (b, a) are different pairs, as in the field, also where the operation commutes: then the answer to a
    held-out pair can be looked up under its swapped pair. `unordered` keeps both in one part, so that it can't.

    Splits: `train` and `seen` draw from the training pairs, `iid` from the rest: the field's held-out pairs. (At
    fraction 1 nothing is left over, `iid` then draws training pairs and isn't `disjoint`.) `rows` draws the reserved
    rows: a occurs in training as second operand only.

    Tokens: residues 1 … p, then `=`.

    Attributes:
      p: modulus; a prime for division.
      operation: one of `OPERATIONS`.
      fraction: share of the unreserved pairs that is trained on. Traced in `sample`.
      reserved_rows: how many values of a are never combined in training.
      unordered: whether (a, b) and (b, a), both unreserved, are trained on or held out together; not for division.
    """

    p: int = 31
    operation: str = "add"
    fraction: float = 0.6
    reserved_rows: int = 2
    unordered: bool = False

    name: ClassVar[str] = "modular"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Power et al. 2022, arXiv 2201.02177"
    known: ClassVar[str] = (
        "Groks: memorized first, the held-out pairs generalize long after; sooner with more pairs and weight decay."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"p": 7, "reserved_rows": 1},
        {"p": 5, "operation": "div", "reserved_rows": 1, "fraction": 0.5},
        {"p": 7, "reserved_rows": 1, "unordered": True},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="p31",
            sizes={"p": 31, "operation": "add", "fraction": 0.6},
            expected={"seen": (0.95, 1.0), "iid": (0.95, 1.0)},
            about="groks: the held-out pairs are right at least twice as late as the training pairs",
            source="Power et al. 2022, arXiv 2201.02177",
            seconds=20,
            steps=6000,
            layers=1,
            rate=3e-3,
            decay=0.3,
            groks=("iid", "seen"),
            default=True,
        ),
    )

    def __post_init__(self):
        require_choice(self, "operation", OPERATIONS)
        require_range(self, "p", 3, 1024)
        require_range(self, "reserved_rows", 1, self.p - 1)
        require_range(self, "fraction", 1 / self._open_pairs, 1.0)
        if self.operation == "div" and any(self.p % d == 0 for d in range(2, int(self.p**0.5) + 1)):
            raise TaskError(f"modular: p must be a prime for division, not {self.p}.")

        if self.operation == "div" and self.unordered:
            raise TaskError("modular: unordered must be False for division, where a may be 0 and b may not.")

    @property
    def _columns(self) -> int:
        return self.p - (self.operation == "div")

    @property
    def _open_pairs(self) -> int:
        return (self.p - self.reserved_rows) * self._columns

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 + self.p

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid` (held-out pairs), `seen` (the training pairs again) and `rows` (reserved values of a)."""

        def split(part: int, disjoint: bool, about: str) -> Split:
            difficulty = {"fraction": self.fraction, "part": part}
            return Split(difficulty, length=3, answer_tokens=1, decode_steps=1, disjoint=disjoint, about=about)

        left_over = round(self.fraction * self._open_pairs) < self._open_pairs
        return {
            "train": split(SEEN, False, f"{self.fraction:g} of the pairs outside the reserved rows"),
            "iid": split(HELD_OUT, left_over, "the other pairs outside the reserved rows"),
            "seen": split(SEEN, False, "the training pairs"),
            "rows": split(ROWS, True, f"{self.reserved_rows} values of a that training never combines"),
        }

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "fraction": KnobField(1 / self._open_pairs, self.fraction, "share of the pairs that is trained on"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Training has but one difficulty."""
        return {}

    @property
    def title(self) -> str:
        """What a report calls the task."""
        names = {"add": "addition", "sub": "subtraction", "mul": "multiplication", "div": "division"}
        return f"{names.get(self.operation, self.operation)} mod {self.p}"

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`result`, and the operands `a` and `b`."""
        return dict.fromkeys(("result", "a", "b"), self.p)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of `=`."""
        return ("answer",)

    def world(self, key: jax.Array) -> PairWorld:
        """Draw the order of the pairs and the reserved rows."""
        key_pair, key_row = jax.random.split(key)
        pair_N = jax.random.permutation(key_pair, jnp.arange(self.p * self._columns, dtype=jnp.int32))
        if self.unordered:  # next to each other, by the rank of the smaller index
            rank_N = jnp.argsort(pair_N)
            pair_N = jnp.argsort(jnp.minimum(rank_N, rank_N[self._swapped(jnp.arange(len(rank_N)))]), stable=True)
            pair_N = pair_N.astype(jnp.int32)
        rank_of_row = jax.random.permutation(key_row, jnp.arange(self.p, dtype=jnp.int32))
        reserved_N = rank_of_row[pair_N // self._columns] < self.reserved_rows
        return PairWorld(pair_N[jnp.argsort(reserved_N, stable=True)])

    def sample(self, key: jax.Array, world: PairWorld, difficulty: Difficulty, length: int) -> Example:
        """One pair. Difficulty: `fraction` in (0, 1], `part` 0 training, 1 held-out, 2 reserved rows."""
        fraction, part = jnp.asarray(difficulty["fraction"], jnp.float32), jnp.asarray(difficulty["part"], jnp.int32)
        seen = jnp.clip(jnp.round(fraction * self._open_pairs).astype(jnp.int32), 1, self._open_pairs)
        if self.unordered:  # a cut between the two moves by one
            cut = (seen < self._open_pairs) & (self._swapped(world.pairs[seen - 1]) == world.pairs[seen])
            seen += jnp.where(cut, jnp.where(seen + 1 < self._open_pairs, 1, -1), 0)
        held_out = jnp.where(seen < self._open_pairs, seen, 0)
        first = jnp.where(part == ROWS, self._open_pairs, jnp.where(part == HELD_OUT, held_out, 0))
        last = jnp.where(part == ROWS, self.p * self._columns, jnp.where(part == HELD_OUT, self._open_pairs, seen))
        pair = world.pairs[jax.random.randint(key, (), first, last, jnp.int32)]
        a, b = pair // self._columns, pair % self._columns + (self.p - self._columns)
        result = self._combine(a, b)
        tokens = jnp.stack([1 + a, 1 + b, jnp.int32(1 + self.p)])
        position_L = jnp.arange(length)
        return Example(
            tokens=jnp.pad(tokens, (0, length - 3), constant_values=PAD),
            targets=jnp.where(position_L == 2, 1 + result, PAD),
            weights=(position_L == 2).astype(jnp.float32),
            factors={"result": result, "a": a, "b": b},
            read=jnp.full((1,), 2, jnp.int32),
        )

    def _swapped(self, pair: jax.Array) -> jax.Array:
        """The index of (b, a)."""
        return pair % self.p * self.p + pair // self.p

    def _combine(self, a: jax.Array, b: jax.Array) -> jax.Array:
        if self.operation == "div":
            inverses = jnp.asarray([0] + [pow(i, -1, self.p) for i in range(1, self.p)], jnp.int32)
            return a * inverses[b] % self.p
        return {"add": a + b, "sub": a - b, "mul": a * b}[self.operation] % self.p

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: PairWorld, example: Example, answer: np.ndarray) -> bool:
        """Count up and down on the integers, and undo a division by multiplying back."""
        a, b = (int(t) - 1 for t in np.asarray(example.tokens)[:2])
        said = int(answer[2]) - 1
        if not 0 <= said < self.p:
            return False
        gap = {"add": said - a - b, "sub": said + b - a, "mul": said - sum([b] * a), "div": said * b - a}
        return gap[self.operation] % self.p == 0

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `majority`: the commonest result over all pairs (zero is common in a product); `operand`: a, as a
        quotient often is with a small p; `swapped`: the answer that training gives to (b, a), where it gives one and
        a ∘ b = b ∘ a, else the commonest.

        `swapped` is a guess at pairs that are not in training; where they are, it would be remembering.
        """
        a = np.repeat(np.arange(self.p), self._columns)
        b = np.tile(np.arange(self.p - self._columns, self.p), self.p)
        # Dividing by every b ≠ 0 gives the results that multiplying by every b ≠ 0 gives, in another order.
        results = {"add": a + b, "sub": a - b, "mul": a * b, "div": a * b}[self.operation] % self.p
        share = np.bincount(results, minlength=self.p) / results.size
        copied = float(np.mean(results == a))  # dividing by b leaves a where multiplying by b does
        entropy = -float(np.sum(share[share > 0] * np.log(share[share > 0])))
        found = {
            "chance": Baseline(1 / self.p, -float(np.log(self.p))),
            "majority": Baseline(float(share.max()), -entropy),
            "operand": Baseline(copied, copied * np.log(copied) + (1 - copied) * np.log((1 - copied) / (self.p - 1))),
        }
        known_nowhere = self.unordered and split == "iid"
        if self.operation in COMMUTATIVE and self.splits[split].disjoint and not known_nowhere:
            known = (a != b) * self._swapped_is_trained(int(self.splits[split].difficulty["part"]))
            lucky = results == share.argmax()
            found["swapped"] = Baseline(float(np.mean(known + (1 - known) * lucky)), -entropy * float(1 - known.mean()))
        return found

    def _swapped_is_trained(self, part: int) -> float:
        """The probability that training has (b, a), over the worlds, for a pair of a part and a ≠ b."""
        seen = max(round(self.fraction * self._open_pairs), 1)
        if part == ROWS:
            return (self.p - self.reserved_rows) / (self.p - 1) * seen / self._open_pairs
        return (self.p - self.reserved_rows - 1) / (self.p - 1) * seen / (self._open_pairs - 1)

    def render(self, example: Example) -> str:
        """`5 + 28 = 2 (mod 31)`."""
        a, b = (int(t) - 1 for t in np.asarray(example.tokens)[:2])
        sign = "+-×÷"[OPERATIONS.index(self.operation)]
        return f"{a} {sign} {b} = {int(np.asarray(example.targets)[2]) - 1} (mod {self.p})"
