"""Copying and reversing strings (Jelassi et al., arXiv 2402.01032)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, World, require_choice, require_range
from tasks.draw import renamed
from tasks.fields import KnobField, share
from tasks.memory._shared import (
    InContext,
    arrangement,
    average,
    below,
    chance,
    choose_side,
    ends,
    require_couples,
    shuffled,
    uniform,
    whole,
)
from tasks.sequence import join, part, write

DIRECTIONS = ("copy", "reverse")


@dataclass(frozen=True)
class Copy(InContext):
    """Read a string, then write it again, forwards or backwards; every token written is fed back.

    The string has n tokens, n uniform between `shortest` and `length`, each token uniform. A model can find its place
    in the string by position, or by looking for the last few tokens that it wrote: the second way, an n-gram lookup,
    carries over to longer strings but goes wrong where an n-gram occurs twice. `length` tests the first weakness,
    `duplicates` against `distinct` the second: one has a doubled n-gram, no other token recurs. (Those two
    splits need as many symbols as a string has tokens, and do not exist with fewer.)

    `train` and `iid` are split by the string: exchanging its first symbol with that symbol's partner throughout gives
    its mate, and a hash of what mates share says which of them is trained on.

    Tokens: symbols 1 … symbols, then GO. Sequence: x_1 … x_n GO, then the answer, whose last token is a target only.

    Attributes:
      length: most tokens in a string of `train` and `iid`. Traced in `sample`.
      shortest: least tokens in a string, in all splits that have room for it. Traced in `sample`.
      longer: tokens in a string of the `length` split.
      symbols: number of symbols, even.
      direction: 'copy' or 'reverse'.
      distinct: share of training strings in which no symbol occurs twice. Traced in `sample`.
      ngram: tokens of the n-gram that occurs twice in `duplicates`. Traced in `sample`.
    """

    length: int = 8
    shortest: int = 4
    longer: int = 16
    symbols: int = 26
    direction: str = "copy"
    distinct: float = 0.0
    ngram: int = 2

    name: ClassVar[str] = "copy"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Jelassi et al. 2024, arXiv 2402.01032"
    known: ClassVar[str] = (
        "Transformers copy by looking up the n-gram just written and learn it fast; fixed-size states cannot hold the "
        "string. Longer strings need the right position encoding; repeated n-grams mislead the lookup."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"length": 3, "shortest": 2, "longer": 4, "symbols": 6, "ngram": 1},
        {"length": 4, "longer": 5, "symbols": 6, "direction": "reverse", "distinct": 0.5},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="copy8",
            sizes={"length": 8, "shortest": 8, "longer": 12, "symbols": 16},
            expected={"iid": (0.97, 1.0), "length": (0.0, 0.05)},
            about="learned at once; learned positions tell nothing of longer strings",
            source="Jelassi et al. 2024, arXiv 2402.01032",
            seconds=14,
            steps=800,
            default=True,
        ),
    )

    def __post_init__(self):
        require_choice(self, "direction", DIRECTIONS)
        require_range(self, "length", 2, 512)
        require_range(self, "shortest", 1, self.length)
        require_range(self, "longer", self.length + 1, 1024)
        require_couples(self, "symbols", 2, 4096)
        require_range(self, "distinct", 0.0, 1.0)
        require_range(self, "ngram", 1, self.length // 2)
        if self.distinct and self.symbols < self.longer:
            raise TaskError(
                f"copy: symbols must be at least longer = {self.longer} for distinct > 0, not {self.symbols}."
            )

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 + self.symbols

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """The symbols."""
        return (range(1, 1 + self.symbols),)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `length`; and, with enough symbols, `distinct` and `duplicates`."""

        def split(about: str, **changed: float) -> Split:
            usual = {"length": self.length, "shortest": self.shortest, "distinct": self.distinct, "ngram": 0}
            difficulty = usual | {"held_out": 1} | changed
            answers = int(difficulty["length"])
            return Split(difficulty, 2 * answers, answers, answers, bool(difficulty["held_out"]), about)

        sizes = f"{self.shortest} to {self.length} tokens" if self.shortest < self.length else f"{self.length} tokens"
        found = {
            "train": split(f"strings of {sizes}, a half chosen by hash", held_out=0),
            "iid": split(f"the other half of the strings of {sizes}"),
            "length": split(f"strings of {self.longer} tokens", length=self.longer, shortest=self.longer),
        }
        if self.symbols >= self.length:
            low, size = max(self.shortest, 2 * self.ngram), self.ngram
            found["distinct"] = split("no symbol occurs twice", distinct=1.0, shortest=low)
            found["duplicates"] = split(f"a {size}-gram occurs twice", distinct=1.0, shortest=low, ngram=size)
        return found

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "distinct": share("share of strings without a repeated symbol"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Strings of one token (the shortest are never longer than the longest)."""
        return {"length": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Of the answer: its `first` token, which is due at GO, its `middle` and `last` one."""
        return dict.fromkeys(("first", "middle", "last"), self.symbols)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of GO, where the first answer is due, and that of the last answer."""
        return ("go", "last_answer")

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One string.

        Difficulty: `length` and `shortest`, the range of n, from 1 to `longer` (`shortest` above `length` counts as
        `length`); `distinct` in [0, 1], above 0 only for n ≤ symbols; `ngram` ≥ 0, cut to n / 2; `held_out` 0 (train's
        half) or 1.
        """
        longest, shortest, ngram, held_out = whole(difficulty, "length", "shortest", "ngram", "held_out")
        most = self.longer
        bits = jax.random.bits(key, (3 * most + 4,))
        low = jnp.minimum(shortest, longest)
        count = low + below(bits[0], longest - low + 1)
        string_N = below(bits[4 : 4 + most], self.symbols)
        if self.symbols >= self.length:
            room = min(most, self.symbols)
            arranged = arrangement(bits[4 + most : 4 + most + 2 * room], jnp.minimum(count, room), self.symbols)
            arranged_N = jnp.pad(arranged, (0, most - room))
            string_N = jnp.where(chance(bits[1], jnp.asarray(difficulty["distinct"])), arranged_N, string_N)
        string_N = _double(string_N, count, ngram, bits[2:4])
        string_N = renamed(string_N, difficulty, self.symbols)
        string_N = choose_side(part(string_N, count), 0, held_out)
        index_N = jnp.arange(most, dtype=jnp.int32)
        reversed_N = jnp.clip(count - 1 - index_N, 0, most - 1)
        answer_N = string_N[reversed_N] if self.direction == "reverse" else string_N
        go = jnp.full((1,), self.symbols, jnp.int32)
        question = part(1 + join((part(string_N, count), part(go)), most + 1), count + 1)
        written = write(length, question, part(1 + answer_N, count))
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={"first": answer_N[0], "middle": answer_N[count // 2], "last": answer_N[count - 1]},
            read=jnp.stack([written.answer, written.last]),
        )

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Cut the tokens at GO; what was read must come back."""
        read = np.asarray(example.tokens).tolist()
        read = read[: read.index(1 + self.symbols)]
        said = np.asarray(answer).tolist()[len(read) : 2 * len(read)]
        return said == (read if self.direction == "copy" else read[::-1])

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the symbols; `shuffled`: the tokens of the string in random order; `ends`: both ends right,
        those between them in random order (left out where that is the whole answer, and where an n-gram is planted).
        """
        difficulty = self.splits[split].difficulty
        distinct, ngram = float(difficulty["distinct"]), int(difficulty["ngram"])
        low, high = (int(difficulty[name]) for name in ("shortest", "length"))

        def mixed(count: int, free: int, any_string: Baseline) -> Baseline:
            """`free` of `count` tokens in random order."""
            doubled = min(ngram, free // 2)
            exact = 2**doubled / math.factorial(free)
            logprob = (2 * doubled * math.log(2) - free * math.log(max(free, 1))) / count
            return Baseline(
                distinct * exact + (1 - distinct) * any_string.exact,
                distinct * logprob + (1 - distinct) * any_string.logprob,
            )

        lengths = range(low, high + 1)
        found = {
            "chance": average(uniform(count, self.symbols) for count in lengths),
            "shuffled": average(mixed(count, count, shuffled(count, self.symbols)) for count in lengths),
        }
        if ngram == 0 and high > 3:  # up to three tokens the ends are the whole answer
            between = (mixed(count, max(count - 2, 0), ends(count, self.symbols)) for count in lengths)
            found["ends"] = average(between)
        return found

    def render(self, example: Example) -> str:
        """`copy 3 1 4 → 3 1 4`, symbols from 0."""
        tokens, asked = np.asarray(example.tokens).tolist(), np.asarray(example.weights) > 0
        string = " ".join(str(t - 1) for t in tokens[: tokens.index(1 + self.symbols)])
        return f"{self.direction} {string} → {' '.join(str(t - 1) for t in np.asarray(example.targets)[asked])}"


def _double(string_N: jax.Array, count: jax.Array, ngram: jax.Array, bits: jax.Array) -> jax.Array:
    """Overwrite a later n-gram with an earlier one that it does not overlap; both places are drawn."""
    size = jnp.minimum(ngram, count // 2)
    places = below(bits, count - 2 * size + 1)
    first, second = jnp.min(places), jnp.max(places) + size
    index_N = jnp.arange(string_N.shape[0], dtype=jnp.int32)
    copied_N = (index_N >= second) & (index_N < second + size)
    return string_N[jnp.where(copied_N, index_N - second + first, index_N)]
