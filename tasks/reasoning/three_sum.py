"""3SUM: do three vectors add up to zero? With pairwise sums or filler tokens to compute on (arXiv 2404.15758)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.asking import Markers, ask, require_scratchpad, uniform, unit
from tasks.base import (
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
from tasks.draw import hash_bit, in_memory, permutation, words
from tasks.fields import KnobField, share
from tasks.sequence import Part, part

MODULUS = 10
CANDIDATES = 8  # lists drawn for one without three vectors that add up to zero
SIMULATED = 16384  # examples behind the baselines


class Drawn(NamedTuple):
    """A list of vectors and what is true of it.

    Attributes:
      digit_NxD: int32, the vectors' digits; 0 beyond the dimension.
      answer: int32[], whether three of them add up to zero.
      partial: int32[], whether three do in all digits but the last.
    """

    digit_NxD: jax.Array
    answer: jax.Array
    partial: jax.Array


@dataclass(frozen=True)
class ThreeSum:
    """Read n vectors of d digits; do three of them, at different places, add up to zero mod 10 in every digit?

    Half of the lists have such three vectors planted. The others are drawn until they have none (the first of 8 that
    has none; where vectors are many and dimensions few all 8 may have some, and the answer is then yes), a share `near`
    of them with three vectors whose sum is zero in all digits but one.

    After the vectors the answer comes in one of three forms:

    - with a scratchpad: THINK, all sums of two vectors in a fixed order (a parallel chain of thought: none of them
      needs another), ANSWER, then yes or no. The sums are written by the model, trained on and not judged;
    - with filler: FILLER, as many dots as there would be digits of sums, ANSWER, then yes or no. The dots are given;
    - directly: ANSWER, then yes or no.

    Training mixes the forms, as the paper does. `iid` and the splits of other difficulty are asked with filler where
    training has it, else with the scratchpad where training has that, else directly; `scratchpad` and `direct` ask
    `iid`'s questions in the other forms.

    `train` and `iid` halve the lists whatever their order. A list and the one with all its digits negated have one
    answer and are mates; a hash of what they share says which of them is trained on. So that no list is its own mate,
    the first digits of its vectors never add up to 0 mod 5.

    Tokens: digit v of dimension c is 1 + 10·c + v, so that a vector's first digit says where it starts; then no, yes,
    the dot, FILLER, THINK, ANSWER.

    Attributes:
      vectors: n in `train` and `iid`. Traced in `sample`.
      more_vectors: n in the `length` split.
      dimension: d. Traced in `sample`.
      near: share of near misses among lists with the answer no. Traced in `sample`.
      scratchpad: one of `tasks.sequence.SCRATCHPADS`; what the sums look like in training and in `scratchpad`.
      scratchpad_share: share of the training examples that have it, if any have. Traced in `sample`.
      filler: share of the training examples that have filler. Traced in `sample`.
    """

    vectors: int = 5
    more_vectors: int = 6
    dimension: int = 2
    near: float = 0.5
    scratchpad: str = "valid"
    scratchpad_share: float = 0.5
    filler: float = 0.5

    name: ClassVar[str] = "three_sum"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Pfau, Merrill & Bowman 2024, arXiv 2404.15758"
    known: ClassVar[str] = (
        "Trained on filler mixed with parallel chains of thought, transformers solve with dots what they cannot answer "
        "directly; without that dense supervision dots are of no use (recalled)."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"vectors": 4, "more_vectors": 5, "dimension": 1},
        {"vectors": 4, "more_vectors": 5, "dimension": 2, "scratchpad": "absent", "filler": 0.0},
        {"vectors": 4, "more_vectors": 5, "dimension": 1, "scratchpad": "shuffled", "filler": 0.0},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="scratchpad",
            sizes={"vectors": 4, "more_vectors": 5, "dimension": 2, "scratchpad_share": 1.0, "filler": 0.0},
            expected={"iid": (0.55, 0.85), "near": (0.5, 0.8), "direct": (0.0, 0.45)},
            about="2,000 steps with the sums give no more than checking a part; asked directly it still writes sums",
            source="measured here",
            seconds=35,
            steps=2000,
            examples=32,
            width=32,
            rate=3e-3,
        ),
    )

    def __post_init__(self):
        require_range(self, "vectors", 4, 15)
        require_range(self, "more_vectors", self.vectors + 1, 16)
        require_range(self, "dimension", 1, 6)
        require_range(self, "near", 0.0, 1.0)
        require_scratchpad(self)
        require_range(self, "filler", 0.0, 1.0)
        if self.filler + self._scratch > 1:
            raise TaskError(
                f"three_sum: scratchpad_share + filler must be at most 1, not {self.scratchpad_share} + {self.filler}: "
                "each is a share of the training examples."
            )

    @property
    def _scratch(self) -> float:
        """Share of the training examples with a scratchpad."""
        return self.scratchpad_share if self.scratchpad != "absent" else 0.0

    @property
    def _no(self) -> int:
        return 1 + MODULUS * self.dimension

    @property
    def _dot(self) -> int:
        return self._no + 2

    @property
    def _markers(self) -> Markers:
        return Markers(think=self._no + 4, answer=self._no + 5)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._markers.answer + 1

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more vectors (`length`), near misses alone (`near`), and the other forms of the question."""
        filler, scratch = float(self.filler > 0), float(self._scratch > 0)
        asked = {"scratchpad": scratch * (1 - filler), "filler": filler}

        def split(about: str, **changed: float) -> Split:
            usual = {"vectors": self.vectors, "dimension": self.dimension, "near": self.near, "held_out": 1}
            difficulty = usual | asked | changed
            n, written = int(difficulty["vectors"]), difficulty["scratchpad"] > 0
            between = n * (n - 1) // 2 * self.dimension + 1 if written or difficulty["filler"] > 0 else 0
            answer = 1 + between if written else 1
            return Split(
                difficulty,
                length=n * self.dimension + 1 + between,
                answer_tokens=answer,
                decode_steps=answer,
                disjoint=bool(difficulty["held_out"]),
                about=about,
            )

        n, form = self.vectors, "with filler" if filler else "with the sums" if scratch else "directly"
        mixed = {"held_out": 0, "scratchpad": self._scratch, "filler": self.filler}
        splits = {
            "train": split(f"{n} vectors, a half of the lists chosen by hash", **mixed),
            "iid": split(f"lists that are not in train, asked {form}"),
            "length": split(f"{self.more_vectors} vectors", vectors=self.more_vectors),
            "near": split("every list without a solution has a near miss", near=1.0),
        }
        if filler and scratch:
            splits["scratchpad"] = split("iid with the sums", scratchpad=1.0, filler=0.0)
        if filler or scratch:
            splits["direct"] = split("iid without filler or sums", scratchpad=0.0, filler=0.0)
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Four vectors of one digit."""
        return {"vectors": 4, "dimension": 1}

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """See `tasks.fields`. Filler has its room where training has filler or sums; sums go first."""
        room, source = self.filler + self._scratch > 0, "Pfau et al. 2024, arXiv 2404.15758"
        return {
            "near": share("share of near misses among lists without a solution"),
            "filler": share("share of examples with filler tokens", source) if room else None,
        }

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `answer`; `last_sum`: the first digit of the last two vectors' sum, the last that the scratchpad would
        show; with two digits or more `partial`: whether three vectors add up to zero in all digits but the last.
        """
        return {"answer": 2, "last_sum": MODULUS} | ({"partial": 2} if self.dimension > 1 else {})

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where yes or no is due, and the marker after the last vector (the same, asked directly)."""
        return ("answer", "marker")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One list. Difficulty: `vectors` from 4 to more_vectors, `dimension` from 1 to the field, `near` in [0, 1],
        `held_out` 0 (train's half) or 1, and the chances of a `scratchpad` and of `filler`, together at most 1.
        """
        n, d, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in ("vectors", "dimension", "held_out"))
        most, digits = self.more_vectors, self.dimension
        bits = words(key, CANDIDATES * most * digits + most + 6)
        list_bits, order_bits, free = jnp.split(bits, (CANDIDATES * most * digits, CANDIDATES * most * digits + most))
        near = unit(free[1]) < jnp.asarray(difficulty["near"], jnp.float32)
        drawn = _draw(list_bits.reshape(CANDIDATES, most, digits), free[:5], n, d, near)
        digit_NxD = _choose_side(drawn.digit_NxD, n, held_out > 0)
        digit_NxD = in_memory(digit_NxD[permutation(order_bits, n, most) % most])

        scratch, filler = (jnp.asarray(difficulty[name], jnp.float32) for name in ("scratchpad", "filler"))
        form = unit(free[5])
        filled = (form >= scratch) & (form < scratch + filler)
        pair_Px2 = np.array([(i, j) for j in range(most) for i in range(j)])  # those of the first n vectors come first
        sum_PxD = in_memory((digit_NxD[pair_Px2[:, 0]] + digit_NxD[pair_Px2[:, 1]]) % MODULUS)
        sums = n * (n - 1) // 2 * d
        place_Q = jnp.arange(most * digits + 1 + sum_PxD.size, dtype=jnp.int32)
        after_Q = self._dot + (place_Q == n * d).astype(jnp.int32)  # FILLER, then dots
        question_Q = jnp.where(place_Q < n * d, _listed(digit_NxD, d, place_Q), after_Q)
        place_S = jnp.arange(sum_PxD.size, dtype=jnp.int32)
        written = ask(
            length,
            self.scratchpad if self._scratch > 0 else "absent",
            jax.random.fold_in(key, 1),
            Part(question_Q, n * d + jnp.where(filled, 1 + sums, 0)),
            Part(_listed(sum_PxD, d, place_S), sums),
            part((self._no + drawn.answer)[None]),
            form < scratch,
            self._markers,
            (1, self._no),
        )
        factors = {
            "answer": drawn.answer,
            "last_sum": (digit_NxD[n - 1, 0] + digit_NxD[n - 2, 0]) % MODULUS,
            "partial": drawn.partial,
        }
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={name: factors[name] for name in self.factor_sizes},
            read=jnp.stack([written.answer, n * d]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Add up every three vectors."""
        said = np.asarray(answer)[np.asarray(example.weights) == 1].tolist()
        return said == [self._no + _solvable(self._vectors(example))]

    def problem(self, example: Example) -> Hashable:
        """The vectors in no order, whatever the form of the question."""
        return tuple(sorted(self._vectors(example)))

    def _vectors(self, example: Example) -> list[tuple[int, ...]]:
        """The vectors as the tokens tell them."""
        found: list[tuple[int, ...]] = []
        for token in np.asarray(example.tokens).tolist():
            if token == PAD or token >= self._no:
                break
            digit = (token - 1) % MODULUS
            found = [*found, (digit,)] if token <= MODULUS else [*found[:-1], (*found[-1], digit)]
        return found

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `majority`: always yes; with two digits or more `partial`: yes where three vectors add up to zero
        in all digits but the last. Simulated with a fixed seed.
        """
        chosen = self.splits[split]
        found = _simulated(self, chosen.length, tuple(sorted(chosen.difficulty.items())))
        shares = {"majority": float(found["answer"].mean())}
        if "partial" in found:
            shares["partial"] = float(np.mean(found["answer"] == found["partial"]))
        rows = {name: Baseline(share, _nats(share)) for name, share in shares.items() if share < 1}
        return {"chance": Baseline(0.5, -math.log(2))} | rows

    def guess(self, world: World, example: Example, generator: np.random.Generator) -> Mapping[str, Sequence[int]]:
        """See `Guessing`."""
        partly = [vector[:-1] for vector in self._vectors(example)]
        said = {"majority": [self._no + 1], "partial": [self._no + _solvable(partly)]}
        return said if self.dimension > 1 else {"majority": said["majority"]}

    def render(self, example: Example) -> str:
        """`12 70 35 83 → [82 47 …] → yes`; dots for filler."""
        tokens, targets, weights = (np.asarray(x) for x in (example.tokens, example.targets, example.weights))
        vectors = self._vectors(example)
        width = len(vectors[0])
        steps = [str((t - 1) % MODULUS) for t in targets[(weights > 0) & (weights < 1)].tolist() if t < self._no]
        sums = " ".join("".join(steps[i : i + width]) for i in range(0, len(steps), width))
        between = "." * int(np.sum(tokens == self._dot)) or (f"[{sums}]" if sums else "")
        said = {0: "no", 1: "yes"}.get(int(targets[weights == 1][0]) - self._no, "?")
        shown = " ".join("".join(map(str, vector)) for vector in vectors)
        return f"{shown} → {between}{' → ' if between else ''}{said}"


def _draw(list_KxNxD: jax.Array, free_5: jax.Array, n: jax.Array, d: jax.Array, near: jax.Array) -> Drawn:
    """Vectors with three planted ones, three that almost are, or neither, in no random order; see `ThreeSum`.

    Args:
      list_KxNxD: uint32, random words.
      free_5: uint32, too; the second one is not read.
      n, d: int32[], the vectors and their digits.
      near: bool[], whether a list without a solution gets a near miss.
    """
    _, most, digits = list_KxNxD.shape
    vector_N, digit_D = jnp.arange(most, dtype=jnp.int32), jnp.arange(digits, dtype=jnp.int32)
    there_NxD = (vector_N < n)[:, None] & (digit_D < d)[None, :]
    planted = free_5[0] >= jnp.uint32(1 << 31)
    missed_D = jnp.where(digit_D == uniform(free_5[2], 0, d - 1), uniform(free_5[3], 1, MODULUS - 1), 0)
    third_NxD = ((planted | near) & (vector_N == 2))[:, None] & there_NxD
    # No list is its own mate: what the first digits add up to is 1 to 4 or 6 to 9.
    total = 1 + uniform(free_5[4], 0, 7)
    total = total + (total >= MODULUS // 2).astype(jnp.int32)
    fourth_NxD = (vector_N == 3)[:, None] & (digit_D == 0)[None, :]
    triple_Tx3 = np.array(list(itertools.combinations(range(most), 3)))
    there_T = jnp.asarray(triple_Tx3[:, 2]) < n

    def finished(word_NxD: jax.Array) -> Drawn:
        x = jnp.where(there_NxD, (word_NxD % jnp.uint32(MODULUS)).astype(jnp.int32), 0)
        third_D = (-x[0] - x[1] + jnp.where(planted, 0, missed_D)) % MODULUS
        x = jnp.where(third_NxD, third_D[None, :], x)
        x = jnp.where(fourth_NxD, (total - jnp.sum(x[:, 0]) + x[3, 0]) % MODULUS, x)
        missing_TxD = (x[triple_Tx3[:, 0]] + x[triple_Tx3[:, 1]] + x[triple_Tx3[:, 2]]) % MODULUS != 0
        solved_T = ~jnp.any(missing_TxD, axis=1) & there_T
        partly_T = ~jnp.any(missing_TxD & (digit_D < d - 1)[None, :], axis=1) & there_T
        return Drawn(x, jnp.any(solved_T).astype(jnp.int32), jnp.any(partly_T).astype(jnp.int32))

    lists = jax.vmap(finished)(list_KxNxD)
    taken = jnp.where(planted, 0, jnp.argmin(lists.answer))
    return jax.tree.map(lambda each_K: each_K[taken], lists)


def _choose_side(digit_NxD: jax.Array, n: jax.Array, held_out: jax.Array) -> jax.Array:
    """The list or its mate, all digits negated: int32[N, D]."""
    negated_NxD = -digit_NxD % MODULUS
    small = jnp.sum(digit_NxD[:, 0]) % MODULUS < MODULUS // 2  # true of one of two mates
    shared_NxD, other_NxD = (jnp.where(small, a, b) for a, b in ((digit_NxD, negated_NxD), (negated_NxD, digit_NxD)))
    code_N = shared_NxD @ jnp.asarray([MODULUS**c for c in range(digit_NxD.shape[1])], jnp.int32)
    side = hash_bit(code_N, jnp.arange(code_N.shape[0]) < n, ordered=False)
    return jnp.where(side ^ held_out, other_NxD, shared_NxD)


def _listed(digit_RxD: jax.Array, d: jax.Array, place_Q: jax.Array) -> jax.Array:
    """Tokens of the first `d` digits of each row, one row after another: int32[Q], the last row's beyond the end."""
    row_Q, column_Q = jnp.minimum(place_Q // d, digit_RxD.shape[0] - 1), place_Q % d
    return 1 + MODULUS * column_Q + digit_RxD[row_Q, column_Q]


def _solvable(vectors: list[tuple[int, ...]]) -> bool:
    """Whether three vectors at different places add up to zero in every digit."""
    return any(
        all(sum(digits) % MODULUS == 0 for digits in zip(*three, strict=True))
        for three in itertools.combinations(vectors, 3)
    )


def _nats(share: float) -> float:
    """Best mean log-probability of a yes or no that is right with this probability."""
    return sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


@lru_cache
def _simulated(task: ThreeSum, length: int, difficulty: tuple[tuple[str, float], ...]) -> dict[str, np.ndarray]:
    """The factors of simulated examples, each int32[SIMULATED]."""
    keys = jax.random.split(jax.random.key(0), SIMULATED)

    def many(values: Difficulty) -> dict[str, jax.Array]:
        return jax.vmap(lambda key: task.sample(key, (), values, length).factors)(keys)

    call = jax.jit(many, compiler_options={"xla_backend_optimization_level": 0})
    return jax.tree.map(np.asarray, call(dict(difficulty)))
