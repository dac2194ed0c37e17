"""Well-nested brackets of several types and bounded depth, Dyck-(k, D): which bracket has to be closed (2010.07515)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, TaskError, World, exact_match, require_range
from tasks.draw import hash_bit

BRACKETS = ("()", "[]", "{}", "<>")
DEEPEST = 12
SIMULATED = 4096  # words behind the baseline `latest`


@dataclass(frozen=True)
class Dyck:
    """Read a word of Dyck-(k, D); wherever the next bracket closes, name it: the type of the innermost open one.

    The words of n pairs whose depth (the most brackets open at a time) is at most D are drawn uniformly, types
    independently and uniformly. Where a word continues with an opening bracket nothing is determined and nothing is
    asked; where it continues with a closing one the stack determines which. So each word asks n questions. This is how
    the field judges generators of these languages: the probability of the right closing bracket among all closing
    ones. As there, every question is put after the right prefix; no answer is fed back.

    `train` and `iid` halve the words of every shape exactly. Words that differ only in whether the first bracket is of
    type 2j or 2j + 1 are mates; a hash of what they share says which of them is trained on. `depth` has words that go
    deeper than any in training, `length` words of more pairs and training's depths.

    Tokens: opening brackets 1 … types, then closing ones. The last closing bracket is a target only.

    Many closing brackets follow their own opening one directly and need no stack: see `adjacent` in `baselines`. What
    is read for probes and claims is therefore the first question asked after a closing bracket, where the stack has to
    be looked back into (the last question, if none is).

    Attributes:
      types: k, even. Traced in `sample`.
      pairs: n in `train` and `iid`. Traced in `sample`.
      depth: D in `train` and `iid`. Traced in `sample`.
      deeper: D in the `depth` split, whose words are all deeper than `depth`.
      longer: n in the `length` split.
    """

    types: int = 4
    pairs: int = 10
    depth: int = 4
    deeper: int = 6
    longer: int = 20

    name: ClassVar[str] = "dyck"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Hewitt et al. 2020, arXiv 2010.07515; Yao et al. 2021, arXiv 2105.11115"
    known: ClassVar[str] = (
        "Two layers of soft attention suffice for bounded depth: count the depth, then find the last open bracket of "
        "that depth (2105.11115). Learned; how far it carries to longer words depends on the position encoding."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"types": 4, "pairs": 4, "depth": 3, "deeper": 4, "longer": 6},
        {"types": 2, "pairs": 6, "depth": 3, "deeper": 6, "longer": 7},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="dyck4",
            sizes={"types": 4, "pairs": 10, "depth": 4, "deeper": 6, "longer": 20},
            expected={"iid": (0.95, 1.0), "depth": (0.6, 1.0), "length": (0.0, 0.4)},
            about="two layers suffice for bounded depth; learned positions don't carry to twice the length",
            source="Yao et al. 2021, arXiv 2105.11115; the intervals measured here",
            seconds=50,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_range(self, "types", 2, 128)
        if self.types % 2:
            raise TaskError(f"dyck: types must be even (the hash pairs them off), not {self.types}.")
        require_range(self, "pairs", 3, 127)
        require_range(self, "longer", self.pairs + 1, 128)
        require_range(self, "depth", 2, DEEPEST - 1)
        require_range(self, "deeper", self.depth + 1, DEEPEST)
        if self.deeper > self.pairs:
            raise TaskError(f"dyck: deeper must be at most pairs = {self.pairs}, the deepest a word can be.")

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + 2 * self.types

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, deeper words (`depth`) and longer ones (`length`)."""

        def split(pairs: int, reach: int, depth: int, held_out: int, about: str) -> Split:
            difficulty = {"types": self.types, "pairs": pairs, "reach": reach, "depth": depth, "held_out": held_out}
            return Split(difficulty, 2 * pairs - 1, pairs, decode_steps=1, disjoint=bool(held_out), about=about)

        n, depth = self.pairs, self.depth
        return {
            "train": split(n, 0, depth, 0, f"{n} pairs, at most {depth} deep, a half of the words chosen by hash"),
            "iid": split(n, 0, depth, 1, f"the other half of the words of {n} pairs"),
            "depth": split(n, depth + 1, self.deeper, 1, f"{n} pairs, {depth + 1} to {self.deeper} deep"),
            "length": split(self.longer, 0, depth, 1, f"{self.longer} pairs, at most {depth} deep"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One pair, hence one deep, of two types."""
        return {"types": 2, "pairs": 1, "depth": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """At the read position: the innermost open bracket's type, the brackets open, the pairs since it was opened."""
        return {"top": self.types, "depth": self.deeper + 1, "enclosed": self.longer}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The first position after which a bracket other than the previous one is closed."""
        return ("look_back",)

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One word.

        Difficulty: `types` in [2, types]; `pairs` ≥ 1, 2·pairs - 1 ≤ padded length; least and greatest depth of a word,
        `reach` ≥ 0 and `depth` ≥ 1, reach ≤ depth ≤ deeper, reach ≤ pairs; `held_out` 0 (train's half) or 1.
        """
        names = ("types", "pairs", "reach", "depth", "held_out")
        types, pairs, reach, depth, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
        size, count = length + 1, 2 * pairs
        bits_Wx2 = jax.random.bits(key, (size, 2))
        opens_W = self._shape(bits_Wx2[:, 0], pairs, reach, depth)
        position_W = jnp.arange(size, dtype=jnp.int32)
        opens_W = opens_W & (position_W < count)
        type_W = (bits_Wx2[:, 1] % types.astype(jnp.uint32)).astype(jnp.int32)
        type_W = _choose_side(type_W, opens_W, types, held_out > 0)

        # The bracket that a step closes is the last one that was opened from the depth to which the step returns.
        after_W = jnp.cumsum(jnp.where(opens_W, 1, -1), dtype=jnp.int32)
        found_WxW = opens_W[None, :] & (position_W[None, :] < position_W[:, None])
        found_WxW &= after_W[None, :] == after_W[:, None] + 1
        opened_W = jnp.max(jnp.where(found_WxW, position_W[None, :], 0), axis=1)
        word_W = jnp.where(opens_W, 1 + type_W, 1 + self.types + type_W[opened_W])

        position_L, asked_L = position_W[:-1], ~opens_W[1:] & (position_W[1:] < count)
        far_L = asked_L & ~opens_W[:-1]
        read = jnp.where(jnp.any(far_L), jnp.argmax(far_L), count - 2).astype(jnp.int32)
        opened = opened_W[read + 1]
        return Example(
            tokens=jnp.where(position_L < count - 1, word_W[:-1], PAD),
            targets=jnp.where(asked_L, word_W[1:], PAD),
            weights=asked_L.astype(jnp.float32),
            factors={"top": type_W[opened], "depth": after_W[read], "enclosed": (read - opened) // 2},
            read=read[None],
        )

    def _shape(self, bits_W: jax.Array, pairs: jax.Array, reach: jax.Array, depth: jax.Array) -> jax.Array:
        """bool[W], which steps open a bracket: uniform over the shapes that the arguments permit."""
        chance = jnp.asarray(opening_chance(self.deeper, bits_W.shape[0]))
        uniform_W = (bits_W >> jnp.uint32(8)).astype(jnp.float32) / (1 << 24)

        def step(carry, uniform):
            height, left, owed = carry
            opens = uniform < chance[owed, depth, jnp.maximum(left, 0), height]
            height = jnp.clip(height + jnp.where(opens, 1, -1), 0, self.deeper)
            return (height, left - 1, jnp.where(height >= owed, 0, owed)), opens

        return lax.scan(step, (jnp.int32(0), 2 * pairs, reach), uniform_W)[1]

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Keep a stack of open brackets, and close its top wherever the word continues with a closing bracket."""
        word = [token - 1 for token in np.asarray(example.tokens).tolist() if token != PAD]
        answer, stack = np.asarray(answer).tolist(), []
        for position, token in enumerate(word):
            if token < self.types:
                stack.append(token)
            else:
                stack.pop()
            last = position + 1 == len(word)
            if (last or word[position + 1] >= self.types) and answer[position] != 1 + self.types + stack[-1]:
                return False
        return True

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the types; `adjacent`: close a bracket just opened, guess the type of any other; `latest`: of
        any other, the type opened last among those of which more are opened than closed, which takes no stack;
        `unpaired`: the same, taking no notice of brackets that were closed at once. (Where one is never wrong, as up to
        two deep, or three for `unpaired`, it is the task, and left out.)

        What the last two reach is measured on `SIMULATED` words of a fixed seed, so good to about .01; they are as sure
        of a guess as they are right.
        """
        difficulty = self.splits[split].difficulty
        pairs, reach, depth = (int(difficulty[name]) for name in ("pairs", "reach", "depth"))
        exact, far = guessing(pairs, reach, depth, 1 / self.types)
        nats = math.log(self.types)
        found = {
            "chance": Baseline(float(self.types) ** -pairs, -nats),
            "adjacent": Baseline(exact, -nats * far / pairs),
        }
        for name, but_pairs in (("latest", False), ("unpaired", True)):
            whole, right = latest_opened(self.types, pairs, reach, depth, but_pairs)
            shares = ((right, 1), (1 - right, self.types - 1))
            sure = sum(share * math.log(share / ways) for share, ways in shares if share > 0)
            found[name] = Baseline(whole, sure * far / pairs)
        return {name: baseline for name, baseline in found.items() if baseline.exact < 1}

    def render(self, example: Example) -> str:
        """`([()])`, the closing brackets that are answers; `(3`, `)3` from the fifth type on."""
        tokens, targets = np.asarray(example.tokens).tolist(), np.asarray(example.targets).tolist()
        asked = np.asarray(example.weights) > 0
        return self._bracket(tokens[0]) + "".join(
            self._bracket(targets[i] if asked[i] else tokens[i + 1]) for i in range(int(np.flatnonzero(asked)[-1]) + 1)
        )

    def _bracket(self, token: int) -> str:
        closes, kind = divmod(token - 1, self.types)
        if not 0 <= closes <= 1:
            return "?"
        return BRACKETS[kind][closes] if kind < len(BRACKETS) else f"{'()'[closes]}{kind}"


def _choose_side(type_W: jax.Array, opens_W: jax.Array, types: jax.Array, held_out: jax.Array) -> jax.Array:
    """Let the first bracket be of type 2j or 2j + 1, so that the word lies on the wanted side of the hash."""
    first_W = jnp.arange(type_W.shape[0]) == 0
    half = type_W[0] % (types // 2)
    shared_W = jnp.where(first_W, half, type_W)
    odd = hash_bit(jnp.where(opens_W, shared_W, -1), opens_W, ordered=True) ^ held_out
    return jnp.where(first_W, 2 * half + odd.astype(jnp.int32), type_W)


@lru_cache
def walks(deepest: int, steps: int) -> np.ndarray:
    """float64[D, R, H]: D deepest + 1, R steps + 1, H deepest + 2. Ways back to depth 0, of 2^R.

    Entry [d, r, h] is the share of the 2^r sequences of r steps up or down that lead from depth h to 0 without leaving
    [0, d].
    """
    depth_DxH = np.arange(deepest + 1)[:, None] >= np.arange(deepest + 2)[None, :]
    shares = [np.broadcast_to(np.arange(deepest + 2) == 0, depth_DxH.shape).astype(np.float64)]
    for _ in range(steps):
        up = np.pad(shares[-1][:, 1:], ((0, 0), (0, 1)))
        down = np.pad(shares[-1][:, :-1], ((0, 0), (1, 0)))
        shares.append((up + down) / 2 * depth_DxH)
    return np.stack(shares, axis=1)


@lru_cache
def opening_chance(deepest: int, steps: int) -> np.ndarray:
    """float32[D, D, R, H]: the probability that a uniform word continues with an opening bracket.

    Entry [owed, d, r, h] is for a word that is at depth h with r steps to go, may go to depth d and still has to reach
    depth `owed` (0: nothing is owed).
    """
    share_DxRxH = walks(deepest, steps)
    never_DxRxH = np.pad(share_DxRxH, ((1, 0), (0, 0), (0, 0)))[:-1]  # those that fall short of what is owed
    paid_DxH = np.arange(deepest + 2)[None, :] >= np.arange(deepest + 1)[:, None]
    owing = np.maximum(share_DxRxH[None] - never_DxRxH[:, None], 0)
    ways = np.where(paid_DxH[:, None, None, :], share_DxRxH[None], owing)
    up = np.pad(ways[:, :, :-1, 1:], ((0, 0), (0, 0), (1, 0), (0, 1)))
    down = np.pad(ways[:, :, :-1, :-1], ((0, 0), (0, 0), (1, 0), (1, 0)))
    return (up / np.where(up + down > 0, up + down, 1)).astype(np.float32)


def guessing(pairs: int, reach: int, depth: int, luck: float) -> tuple[float, float]:
    """(expected luck^f, expected f) over uniform words, f being the closing brackets that follow a closing one.

    Counted exactly over the shapes of words, with floats.
    """
    moments = {}
    for limit in {depth, reach - 1}:
        # state -> (shapes, sum of luck^f, sum of f); a state is (depth, whether the last step closed a bracket)
        states = {(0, False): np.array([1.0, 1.0, 0.0])}
        for _ in range(2 * pairs):
            new: dict[tuple[int, bool], np.ndarray] = {}
            for (height, closed), (shapes, lucky, far) in states.items():
                up = np.array([shapes, lucky, far])
                down = np.array([shapes, lucky * luck, far + shapes]) if closed else up
                for state, sums in (((height + 1, False), up), ((height - 1, True), down)):
                    if 0 <= state[0] <= limit:
                        new[state] = new.get(state, 0) + sums
            states = new
        moments[limit] = states.get((0, True), np.zeros(3))
    shapes, lucky, far = moments[depth] - (moments[reach - 1] if reach > 0 else 0)
    return float(lucky / shapes), float(far / shapes)


@lru_cache
def latest_opened(types: int, pairs: int, reach: int, depth: int, but_pairs: bool) -> tuple[float, float]:
    """(share of whole words right, share of the guesses right) of `latest`, or of `unpaired` with `but_pairs`.

    A guess is asked for where a closing bracket follows a closing one.
    """
    generator, chance = np.random.default_rng(0), opening_chance(depth, 2 * pairs)
    words = np.arange(SIMULATED)
    stack_SxD = np.zeros((SIMULATED, depth), int)
    open_SxT, opened_SxT = np.zeros((2, SIMULATED, types), int)  # how many are open, and when one was opened last
    earlier_S = np.zeros(SIMULATED, int)  # when one of the type opened last was opened before
    height_S, owed_S = np.zeros(SIMULATED, int), np.full(SIMULATED, reach)
    closed_S, right_S, guesses, hits = np.zeros(SIMULATED, bool), np.ones(SIMULATED, bool), 0, 0
    for step in range(2 * pairs):
        opens_S = generator.random(SIMULATED) < chance[owed_S, depth, 2 * pairs - step, height_S]
        drawn_S, top_S = generator.integers(types, size=SIMULATED), stack_SxD[words, height_S - 1]
        far_S = closed_S & ~opens_S
        agrees_S = np.where(open_SxT > 0, opened_SxT, -1).argmax(axis=1) == top_S
        right_S &= agrees_S | ~far_S
        guesses, hits = guesses + far_S.sum(), hits + (agrees_S & far_S).sum()

        type_S = np.where(opens_S, drawn_S, top_S)
        open_SxT[words, type_S] += np.where(opens_S, 1, -1)
        if but_pairs:
            pair_S = ~opens_S & ~closed_S
            opened_SxT[words[pair_S], type_S[pair_S]] = earlier_S[pair_S]
            earlier_S = np.where(opens_S, opened_SxT[words, type_S], earlier_S)
        opened_SxT[words[opens_S], type_S[opens_S]] = 1 + step
        stack_SxD[words[opens_S], height_S[opens_S]] = type_S[opens_S]
        height_S, closed_S = height_S + np.where(opens_S, 1, -1), ~opens_S
        owed_S = np.where(height_S >= owed_S, 0, owed_S)
    return float(right_S.mean()), float(hits / max(guesses, 1))
