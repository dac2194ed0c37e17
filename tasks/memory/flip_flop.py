"""Flip-flop strings with undo: a bit is written, ignored, read and taken back (arXiv 2306.00946, 2604.05923)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, require_range
from tasks.draw import hash_bit
from tasks.fields import KnobField, share
from tasks.memory._shared import InContext, chance, hedged, whole

WRITE, READ, IGNORE, UNDO = range(3, 7)  # token ids; the bits are 1 and 2
LETTERS = {WRITE: "w", READ: "r", IGNORE: "i", UNDO: "u"}
SIMULATED = 16384  # strings behind the baselines


@dataclass(frozen=True)
class FlipFlop(InContext):
    """Read instructions, each with a bit; wherever one of them is a read, name the bit that is stored there.

    - write (`w 1`) puts its bit on a stack of writes: the bit stored is the one on top;
    - undo (`u 0`) takes the last write back, so that the bit before it is stored again; its own bit means nothing, and
      nothing happens where only the first write is left;
    - ignore (`i 1`) does nothing, its bit means nothing;
    - read (`r 0`) asks: its bit is the answer. As in the paper later instructions are put after the right bit.

    The first instruction is a write, the last one a read, and so are `reads` - 1 of those between, uniformly chosen. Of
    the others each is an ignore with probability `ignore`, else an undo with probability `undo`, else a write. With
    undo=0 this is the flip-flop language: the last write counts, however far back. No answer is fed back.

    `train` and `iid` are split by the instructions without those ignored, and without bits that mean nothing. Strings
    that differ only in the first write's bit are mates; a hash of what they share says which of them is trained on.

    Tokens: bits 1 and 2, then write, read, ignore, undo. The last read's bit is a target only.

    Attributes:
      length: instructions in all splits but `length`. Traced in `sample`.
      longer: instructions in the `length` split.
      reads: how many of the instructions are reads. Traced in `sample`.
      ignore: probability of an ignore in `train` and `iid`. Traced in `sample`.
      sparse: that of the `sparse` split, where writes lie far back.
      dense: that of the `dense` split.
      undo: probability of an undo among what is neither ignored nor a read. Traced in `sample`.
      pressed: that of the `pressure` split, which there is where undo isn't 0.
    """

    length: int = 16
    longer: int = 32
    reads: int = 3
    ignore: float = 0.3
    sparse: float = 0.9
    dense: float = 0.1
    undo: float = 0.5
    pressed: float = 0.7

    name: ClassVar[str] = "flip_flop"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Liu et al. 2023, arXiv 2306.00946; with undo: Zhou 2026, arXiv 2604.05923"
    known: ClassVar[str] = (
        "Without undo transformers learn it in distribution and keep a long tail of errors where writes are sparser or "
        "denser than in training (recalled). With undo Mamba-2 of one and two layers learns to invert the bit at an "
        "undo in place of looking it up; under many undos two layers fall to 41.1% (abstract of 2604.05923)."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"length": 6, "longer": 9, "reads": 2},
        {"length": 6, "longer": 8, "reads": 2, "undo": 0.0, "ignore": 0.4},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="last_write",
            sizes={"length": 10, "longer": 20, "undo": 0.0},
            expected={"iid": (0.95, 1.0), "sparse": (0.9, 1.0), "length": (0.15, 0.5)},
            about="the last write is looked up however far back it lies, but not at new positions",
            source="Liu et al. 2023, arXiv 2306.00946; the intervals measured here",
            seconds=25,
            steps=2000,
            examples=32,
            width=32,
            rate=3e-3,
        ),
    )

    def __post_init__(self):
        require_range(self, "length", 3, 512)
        require_range(self, "longer", self.length + 1, 1024)
        require_range(self, "reads", 1, self.length - 1)
        require_range(self, "ignore", 0.0, 0.99)
        require_range(self, "sparse", self.ignore, 1.0)
        require_range(self, "dense", 0.0, self.ignore)
        require_range(self, "undo", 0.0, 0.9)
        require_range(self, "pressed", self.undo, 0.95)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + UNDO

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, longer strings (`length`), `sparse` and `dense` writes, and many undos (`pressure`)."""

        def split(about: str, **changed: float) -> Split:
            usual = {"length": self.length, "reads": self.reads, "ignore": self.ignore, "undo": self.undo}
            difficulty = usual | {"held_out": 1} | changed
            return Split(
                difficulty,
                length=2 * int(difficulty["length"]) - 1,
                answer_tokens=self.reads,
                decode_steps=1,
                disjoint=bool(difficulty["held_out"]),
                about=about,
            )

        n = self.length
        splits = {
            "train": split(f"{n} instructions, a half of the strings chosen by hash", held_out=0),
            "iid": split(f"the other half of the strings of {n} instructions"),
            "length": split(f"{self.longer} instructions", length=self.longer),
            "sparse": split(f"a share of {self.sparse:g} is ignored: writes lie far back", ignore=self.sparse),
            "dense": split(f"a share of {self.dense:g} is ignored: writes come densely", ignore=self.dense),
        }
        if self.undo > 0:
            splits["pressure"] = split(f"an undo with probability {self.pressed:g}", undo=self.pressed)
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One write and one read, and no undo."""
        return {"length": 2, "undo": 0.0}

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "ignore": share("share of ignored instructions", "Liu et al. 2023, arXiv 2306.00946"),
            "undo": share("probability of an undo", "Zhou 2026, arXiv 2604.05923"),
        }

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """At the last read: the `bit` stored, the `depth` of the stack less one, the bit of the `last_write`.

        Where nothing is undone `bit` and `last_write` are the same, and the depth is how many writes there were.
        """
        return {"bit": 2, "depth": self.longer, "last_write": 2}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last read, which has the whole string behind it, and the first."""
        return ("last_read", "first_read")

    def sample(self, key: jax.Array, world: Any, difficulty: Difficulty, length: int) -> Example:
        """One string. Difficulty: `length` from 2 instructions, `reads` from 1, `ignore` and `undo` in [0, 1],
        `held_out` 0 (train's half) or 1. There are at most `length` - 1 reads.
        """
        count, reads, held_out = whole(difficulty, "length", "reads", "held_out")
        ignore, undo = (jnp.asarray(difficulty[name], jnp.float32) for name in ("ignore", "undo"))
        most = (length + 1) // 2
        word_4xM = jax.random.bits(key, (most, 4)).T
        code_M = _instructions(word_4xM, count, reads, ignore, undo)
        index_M = jnp.arange(most, dtype=jnp.int32)
        bit_M = _choose_side(code_M, (word_4xM[3] >> jnp.uint32(31)).astype(jnp.int32), index_M < count, held_out)
        write_M = code_M == WRITE
        depth_M = _depth(code_M)
        stored_M = bit_M[_last(write_M[None, :] & (depth_M[None, :] == depth_M[:, None]))]

        position_L = jnp.arange(length, dtype=jnp.int32)
        shown_M = jnp.where(code_M == READ, stored_M, bit_M)
        both_L = jnp.stack([code_M, 1 + shown_M], axis=1).reshape(-1)[:length]
        asked_L = (both_L == READ) & (position_L % 2 == 0) & (position_L < 2 * count - 1)
        factors = {
            "bit": stored_M[count - 1],
            "depth": depth_M[count - 1],
            "last_write": bit_M[jnp.max(jnp.where(write_M & (index_M < count), index_M, 0))],
        }
        return Example(
            tokens=jnp.where(position_L < 2 * count - 1, both_L, PAD),
            targets=jnp.where(asked_L, 1 + stored_M[position_L // 2], PAD),
            weights=asked_L.astype(jnp.float32),
            factors=factors,
            read=jnp.stack([2 * count - 2, jnp.argmax(asked_L).astype(jnp.int32)]),
        )

    def check(self, world: Any, example: Example, answer: np.ndarray) -> bool:
        """Carry the instructions out one by one on a list."""
        said = np.asarray(answer).tolist()
        stack: list[int] = []
        tokens = [token for token in np.asarray(example.tokens).tolist() if token != PAD]
        for place in range(0, len(tokens), 2):
            if tokens[place] == WRITE:
                stack.append(tokens[place + 1])
            elif tokens[place] == UNDO and len(stack) > 1:
                stack.pop()
            elif tokens[place] == READ and said[place] != stack[-1]:
                return False
        return True

    def problem(self, example: Example) -> Hashable:
        """The instructions without those ignored, with the bits of writes alone."""
        tokens = [token for token in np.asarray(example.tokens).tolist() if token != PAD]
        kept = [place for place in range(0, len(tokens), 2) if tokens[place] != IGNORE]
        return tuple((tokens[i], tokens[i + 1] if tokens[i] == WRITE else 0) for i in kept)

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `first`: the first write's bit; `last_bit`: the bit before the read, whatever it belongs to;
        `latest`: that of the latest write or read, as if nothing were undone; `toggle`: the same, inverted by every
        undo since; `latest_or_first`: that of the latest write or read where nothing is undone since, else the first
        write's, for stacks are shallow.

        Simulated with a fixed seed. Without undo the last three are the task itself and left out, as `first` is
        where all is ignored.
        """
        difficulty = self.splits[split].difficulty
        names = ("length", "reads", "ignore", "undo")
        found = _simulate(*(difficulty[name] for name in names))
        rows = {"chance": Baseline(0.5**self.reads, -math.log(2))}
        return rows | {name: Baseline(exact, hedged(right, 2)) for name, (exact, right) in found.items() if right < 1}

    def guess(self, world: Any, example: Example, generator: np.random.Generator) -> Mapping[str, Sequence[int]]:
        """See `Guessing`."""
        tokens = np.asarray(example.tokens).tolist()
        asked = np.flatnonzero(np.asarray(example.weights)).tolist()
        said = {"first": [tokens[1] for _ in asked], "last_bit": [tokens[place - 1] for place in asked]}
        if self.undo == 0:
            return said
        said |= {"latest": [], "toggle": [], "latest_or_first": []}
        for place in asked:
            latest = next(i for i in range(place - 2, -1, -2) if tokens[i] in (WRITE, READ))
            undone = tokens[latest + 2 : place : 2].count(UNDO)
            said["latest"].append(tokens[latest + 1])
            said["toggle"].append(3 - tokens[latest + 1] if undone % 2 else tokens[latest + 1])
            said["latest_or_first"].append(tokens[1] if undone else tokens[latest + 1])
        return said

    def render(self, example: Example) -> str:
        """`w1 i0 w0 u1 r?1`: what follows a question mark is the answer."""
        tokens, targets = np.asarray(example.tokens), np.asarray(example.targets)
        places = range(0, int(np.sum(tokens != PAD)), 2)
        shown = [
            f"r?{int(targets[i]) - 1}" if tokens[i] == READ else f"{LETTERS[int(tokens[i])]}{int(tokens[i + 1]) - 1}"
            for i in places
        ]
        return " ".join(shown)


def _instructions(
    word_4xM: jax.Array, count: jax.Array, reads: jax.Array, ignore: jax.Array, undo: jax.Array
) -> jax.Array:
    """Token ids of `count` instructions: int32[M]; IGNORE from `count` on."""
    index_M = jnp.arange(word_4xM.shape[1], dtype=jnp.int32)
    last = count - 1
    between_M = (index_M > 0) & (index_M < last)
    rival = word_4xM[0]
    earlier_MxM = (rival[None, :] < rival[:, None]) | (
        (rival[None, :] == rival[:, None]) & (index_M[None, :] < index_M[:, None])
    )
    rank_M = jnp.sum(earlier_MxM & between_M[None, :], axis=1, dtype=jnp.int32)
    read_M = (between_M & (rank_M < reads - 1)) | (index_M == last)
    ignored_M = (index_M > last) | ((index_M > 0) & ~read_M & chance(word_4xM[1], ignore))
    undone_M = (index_M > 0) & chance(word_4xM[2], undo)
    code_M = jnp.where(undone_M, UNDO, WRITE)
    return jnp.where(read_M, READ, jnp.where(ignored_M, IGNORE, code_M))


def _choose_side(code_M: jax.Array, bit_M: jax.Array, valid_M: jax.Array, held_out: jax.Array) -> jax.Array:
    """The bits, the first such that the string lies on the wanted side of the hash: int32[M]."""
    index_M = jnp.arange(code_M.shape[0], dtype=jnp.int32)
    kept_M = valid_M & (code_M != IGNORE)
    rank_M = jnp.cumsum(kept_M, dtype=jnp.int32)  # ignored instructions take no place in what is hashed
    meant_M = jnp.where((code_M == WRITE) & (index_M > 0), bit_M, 0)
    first = hash_bit(16 * rank_M + 2 * code_M + meant_M, kept_M, ordered=False) ^ (held_out > 0)
    return jnp.where(index_M == 0, first.astype(jnp.int32), bit_M)


def _depth(code_M: jax.Array) -> jax.Array:
    """How many writes are under the top of the stack, after every instruction: int32[M].

    A walk of writes (+1) and undos (-1) that cannot fall below the first write: it is lifted by what it fell so far.
    """
    walk_M = jnp.cumsum((code_M == WRITE).astype(jnp.int32) - (code_M == UNDO).astype(jnp.int32)) - 1
    return walk_M + jnp.maximum(lax.cummax(-walk_M), 0)


def _last(wanted_MxM: jax.Array) -> jax.Array:
    """For each row the last wanted column up to the diagonal, 0 if there is none: int32[M]."""
    index_M = jnp.arange(wanted_MxM.shape[0], dtype=jnp.int32)
    return jnp.max(jnp.where(wanted_MxM & (index_M[None, :] <= index_M[:, None]), index_M[None, :], 0), axis=1)


@lru_cache
def _simulate(length: int, reads: int, ignore: float, undo: float) -> dict[str, tuple[float, float]]:
    """Baseline -> (share of strings with every read right, share of reads right), by NumPy and a stack."""
    draw = np.random.default_rng(0)
    count, rows = SIMULATED, np.arange(SIMULATED)
    between = np.argsort(draw.random((count, max(length - 2, 0))), axis=1) < min(reads - 1, length - 2)
    asked = np.concatenate([np.zeros((count, 1), bool), between, np.ones((count, 1), bool)], axis=1)
    stack, depth = np.zeros((count, length), np.int8), np.zeros(count, int)
    first, before, latest, toggle, shallow = np.zeros((5, count), np.int8)
    names = ("first", "last_bit", "latest", "toggle", "latest_or_first")
    right = {name: np.zeros((2, count), int) for name in names}
    for index in range(length):
        read, bit = asked[:, index], draw.integers(0, 2, count, dtype=np.int8)
        active = (draw.random(count) >= ignore) | (index == 0)
        undone = ~read & active & (draw.random(count) < undo) & (index > 0)
        write = ~read & active & ~undone
        depth += np.where(write & (index > 0), 1, 0) - (undone & (depth > 0))
        stack[rows[write], depth[write]] = bit[write]
        stored = stack[rows, depth]
        toggle = np.where(undone, 1 - toggle, toggle)
        first = bit if index == 0 else first
        shallow = np.where(undone, first, shallow)
        for name, said in zip(right, (first, before, latest, toggle, shallow), strict=True):
            right[name] += np.stack([read, read & (said == stored)])
        before = np.where(read, stored, bit)
        latest, toggle, shallow = (np.where(read | write, before, said) for said in (latest, toggle, shallow))
    return {
        name: (float(np.mean(hits == asked_for)), float(hits.sum() / asked_for.sum()))
        for name, (asked_for, hits) in right.items()
    }
