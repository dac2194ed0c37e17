"""The word problem of a finite group: state tracking at every position (cf. arXiv 2404.08819, 2210.10749)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks import asking
from tasks.base import (
    PAD,
    PROCESS,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    TaskError,
    World,
    exact_match,
    require_choice,
    require_range,
)
from tasks.draw import hash_bit
from tasks.sequence import Part, part

GROUPS = ("Z6", "S3", "A5", "S5", "Z60")
ASKED = ("every", "last")


@lru_cache
def elements(group: str) -> np.ndarray:
    """The group as permutations: int32[order, points]; row 0 is the identity, rows in lexicographic order."""
    points = int(group[1:])
    if group[0] == "Z":
        return np.array([np.roll(np.arange(points), -shift) for shift in range(points)], np.int32)
    permutations = np.array(list(itertools.permutations(range(points))), np.int32)
    if group[0] == "S":
        return permutations
    pairs = itertools.combinations(range(points), 2)
    inversions = np.sum([permutations[:, i] > permutations[:, j] for i, j in pairs], axis=0)
    return permutations[inversions % 2 == 0]


@lru_cache
def table(group: str) -> np.ndarray:
    """int32[order, order]: table[a, b] is the element 'first a, then b'."""
    permutations = elements(group)
    index = {row.tobytes(): i for i, row in enumerate(permutations)}
    return np.array([[index[b[a].tobytes()] for b in permutations] for a in permutations], np.int32)


@dataclass(frozen=True)
class GroupWord:
    """Read group elements x_1 … x_n; at every position answer the product so far, 'first x_1, then x_2, …'.

    No answer is fed back: the state has to be carried inside. Z6 and Z60 are cyclic, S3 and S5 symmetric, A5 the
    alternating group, the smallest that is not solvable; Z60 has A5's size and none of its difficulty.

    With `ask='last'` only the whole product is asked for, after the word: x_1 … x_n ANSWER. Then there may be a
    scratchpad of the products so far: x_1 … x_n THINK s_1 … s_n ANSWER.

    `train` and `iid` halve the words of every length exactly. Words that differ only in whether x_1 is element 2j or
    2j + 1 are mates; a hash of what they share says which of them is trained on (every group here has even order).

    Tokens: elements 1 … order, for input and answer alike; with `ask='last'` then THINK and ANSWER.

    Attributes:
      group: one of `GROUPS`.
      length: n in `train` and `iid`. Traced in `sample`.
      longer: n in the `length` split.
      ask: 'every' for all the products so far, 'last' for the whole product only.
      scratchpad: one of `tasks.sequence.SCRATCHPADS`; 'absent' unless the last product is asked for.
      scratchpad_share: share of the training examples that have it, if any have. Traced in `sample`.
    """

    group: str = "Z6"
    length: int = 12
    longer: int = 24
    ask: str = "every"
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "group_word"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = (
        "Merrill & Sabharwal 2023, arXiv 2207.00729; Liu et al. 2023, arXiv 2210.10749; arXiv 2404.08819"
    )
    known: ClassVar[str] = (
        "Z6 and S3 are learned at fixed depth, A5 and S5 are not beyond words of a few elements: their word problem "
        "is complete for NC1, which transformers of fixed depth are believed not to reach."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"group": "Z6", "length": 3, "longer": 5},
        {"group": "A5", "length": 2, "longer": 4},
        {"group": "S3", "length": 3, "longer": 4, "ask": "last", "scratchpad": "valid", "scratchpad_share": 0.5},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="z6",
            sizes={"group": "Z6", "length": 6, "longer": 12},
            expected={"iid": (0.95, 1.0)},
            about="a cyclic group is learned",
            source="Liu et al. 2023, arXiv 2210.10749",
            seconds=26,
            steps=4500,
            default=True,
        ),
        Card(
            name="s3",
            sizes={"group": "S3", "length": 6, "longer": 12},
            expected={"iid": (0.8, 1.0)},
            about="solvable, though not commutative: learned",
            source="Liu et al. 2023, arXiv 2210.10749",
            seconds=30,
            steps=5000,
        ),
        Card(
            name="a5",
            sizes={"group": "A5", "length": 6, "longer": 12},
            expected={"iid": (0.0, 0.2)},
            about="a fixed depth cannot follow a non-solvable group",
            source="Merrill & Sabharwal 2023, arXiv 2207.00729; Liu et al. 2023, arXiv 2210.10749",
            seconds=30,
            steps=4500,
            predicted_failure=True,
            default=True,
        ),
    )

    def __post_init__(self):
        require_choice(self, "group", GROUPS)
        require_range(self, "length", 1, 1024)
        require_range(self, "longer", self.length + 1, 4096)
        require_choice(self, "ask", ASKED)
        asking.require_scratchpad(self)
        if self.ask == "every" and self.scratchpad != "absent":
            raise TaskError(f"group_word: scratchpad '{self.scratchpad}' needs ask='last', not ask='{self.ask}'.")

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(elements(self.group))

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.order + (0 if self.ask == "every" else len(self._markers))

    @property
    def _markers(self) -> asking.Markers:
        return asking.Markers(1 + self.order, 2 + self.order)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `length` and, with a scratchpad, `direct`: iid without it."""
        always = float(self.scratchpad != "absent")

        def split(length: int, held_out: int, share: float, about: str) -> Split:
            difficulty: dict[str, Any] = {"length": length, "held_out": held_out}
            if self.ask == "every":
                return Split(difficulty, length, length, decode_steps=1, disjoint=bool(held_out), about=about)
            difficulty["scratchpad"] = share
            return Split(
                difficulty, disjoint=bool(held_out), about=about, **asking.extent(length + 1, length, 1, share)
            )

        length, longer, share = self.length, self.longer, always * self.scratchpad_share
        splits = {
            "train": split(length, 0, share, f"words of {length} elements, a half chosen by hash"),
            "iid": split(length, 1, always, f"the other half of the words of {length}"),
            "length": split(longer, 1, always, f"words of {longer} elements"),
        }
        if always:
            splits["direct"] = split(length, 1, 0.0, "iid, asked without the scratchpad")
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Words of one element."""
        return {"length": 1}

    @property
    def title(self) -> str:
        """What a report calls the task."""
        return f"products in {self.group}"

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`state` after the last element, `previous_state` before it.

        The `last` element is a control: where every product is asked for it is the input token.
        """
        return {"state": self.order, "previous_state": self.order, "last": self.order}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last element's position; where the last product is asked for, `tasks.asking.READ_NAMES`."""
        return ("last",) if self.ask == "every" else asking.READ_NAMES

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One word. Difficulty: `length` in [1, padded length], `held_out` 0 (train's half) or 1.

        Where the last product is asked for also `scratchpad`, the chance that the example has one; the padded length
        then must hold the markers, too.
        """
        count = jnp.asarray(difficulty["length"], jnp.int32)
        held_out = jnp.asarray(difficulty["held_out"], jnp.int32) > 0
        every = self.ask == "every"
        bits = jax.random.bits(key, (length,))  # asked at the end, the marker's place gives the bits for the scratchpad
        element_K = self._word(bits if every else bits[1:], count, held_out)
        state_K = self._products(element_K)
        last = count - 1
        factors = {
            "state": state_K[last],
            "previous_state": jnp.where(last > 0, state_K[jnp.maximum(last - 1, 0)], 0),
            "last": element_K[last],
        }
        if every:
            valid_L = jnp.arange(length, dtype=jnp.int32) < count
            return Example(
                tokens=jnp.where(valid_L, 1 + element_K, PAD),
                targets=jnp.where(valid_L, 1 + state_K, PAD),
                weights=valid_L.astype(jnp.float32),
                factors=factors,
                read=last[None],
            )
        written = asking.ask(
            length,
            self.scratchpad,
            jax.random.fold_in(key, 1),
            question=Part(1 + element_K, count),
            steps=Part(1 + state_K, count),
            answer=part((1 + state_K[last])[None]),
            wanted=asking.unit(bits[0]) < difficulty["scratchpad"],
            markers=self._markers,
            step_ids=(1, 1 + self.order),
        )
        read = jnp.stack([written.answer, written.question])
        return Example(written.tokens, written.targets, written.weights, factors, read)

    def _word(self, bits_K: jax.Array, count: jax.Array, held_out: jax.Array) -> jax.Array:
        """Uniform elements, the first such that the word lies on the wanted side of the hash: int32[K]."""
        position_K = jnp.arange(bits_K.shape[0], dtype=jnp.int32)
        drawn_K = (bits_K % jnp.uint32(self.order)).astype(jnp.int32)
        mates_K = jnp.where(position_K == 0, drawn_K // 2, drawn_K)
        odd = hash_bit(mates_K, position_K < count) ^ held_out
        return jnp.where(position_K == 0, 2 * mates_K + odd.astype(jnp.int32), drawn_K)

    def _products(self, element_L: jax.Array) -> jax.Array:
        if self.group[0] == "Z":
            return jnp.cumsum(element_L, dtype=jnp.int32) % self.order
        flat = jnp.asarray(table(self.group).reshape(-1))
        return lax.associative_scan(lambda a, b: flat[a * self.order + b], element_L)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Carry the points through the permutations one by one; no table, and a list of its own."""
        permutations = _listed(self.group)
        where, states = list(range(len(permutations[0]))), []
        for token in np.asarray(example.tokens).tolist():
            if not 1 <= token <= len(permutations):
                break
            where = [permutations[token - 1][point] for point in where]
            states.append(where)
        said = np.asarray(answer)[np.asarray(example.weights) == 1].tolist()
        if not all(1 <= token <= len(permutations) for token in said):
            return False
        return [permutations[token - 1] for token in said] == (states if self.ask == "every" else states[-1:])

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, and `copy`: the element just read, which is the state at the first position only.

        Its log-probability is that of knowing the first answer and nothing of the others. Both are over all words;
        a half of very few words (two or three elements of a small group) may deviate. Where only the last product is
        asked for, `copy` is right by chance, and `sign` knows of a permutation whether it is even.
        """
        count, nats = int(self.splits[split].difficulty["length"]), math.log(self.order)
        if self.ask == "last":
            guess = Baseline(1 / self.order, -nats)
            baselines = {"chance": guess, "copy": guess}
            if self.group[0] == "S":
                baselines["sign"] = Baseline(2 / self.order, math.log(2) - nats)
            return baselines
        return {
            "chance": Baseline(float(self.order) ** -count, -nats),
            "copy": Baseline(float(self.order) ** -(count - 1), -nats * (count - 1) / count),
        }

    def render(self, example: Example) -> str:
        """`Z6: 3 1 5 → 3 4 3`, elements by index; `Z6: 3 1 5 → [3 4 3] → 3` with a scratchpad."""
        tokens, targets, weights = (np.asarray(x) for x in (example.tokens, example.targets, example.weights))
        count = len(tokens) if self.ask == "every" else int(example.read[1])
        word, steps, answer = (
            " ".join(str(t - 1) for t in run.tolist())
            for run in (tokens[:count][tokens[:count] != PAD], targets[weights == PROCESS][:-1], targets[weights == 1])
        )
        return f"{self.group}: {word} → {f'[{steps}] → ' if steps else ''}{answer}"


@lru_cache
def _listed(group: str) -> list[list[int]]:
    """For the checker alone: the permutations in lexicographic order, shifts in order of the shift."""
    points = int(group[1:])
    if group[0] == "Z":
        return [[(point + shift) % points for point in range(points)] for shift in range(points)]
    listed = [[]]
    for _ in range(points):
        listed = [[*partial, point] for partial in listed for point in range(points) if point not in partial]
    return [p for p in listed if group[0] == "S" or (points - _cycles(p)) % 2 == 0]


def _cycles(permutation: list[int]) -> int:
    found, seen = 0, set()
    for start in range(len(permutation)):
        found += start not in seen
        point = start
        while point not in seen:
            seen.add(point)
            point = permutation[point]
    return found
