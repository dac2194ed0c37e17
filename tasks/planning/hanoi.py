"""Towers of Hanoi between arbitrary legal states: the next optimal move, or an optimal plan (Hinz et al. 2018)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import NO_ANSWER, Baseline, Card, Difficulty, Example, Split, World, require_choice, require_range
from tasks.planning.domains import PEGS, towers_of_hanoi
from tasks.planning.state_space import IID, NOWHERE, STRUCTURE, Domain, is_optimal
from tasks.planning.state_space_task import ANSWERS, StateSpaceTask, distances_to
from tasks.sequence import part

GOALS = ("state", "peg")
DISKS_MOST = 6  # 729 states and half a million pairs of them
PEG_NAMES = "abc"


@dataclass(frozen=True)
class Hanoi(StateSpaceTask):
    """From where the disks lie and where they should lie, name the next move of an optimal plan, or the plan.

    Only the uppermost disk of a peg may move, never onto a smaller one. Start and goal are arbitrary legal states (or
    the goal is the full tower on a peg). The distance between them, the number of moves of an optimal plan, is drawn
    uniformly, then the pair uniformly among those at that distance. An optimal plan to a full tower is unique; between
    arbitrary states the largest disk may have to move twice, and there are at most two.

    Sequence: where every disk lies, from the smallest on, as `disk peg` pairs; GOAL; the same for the goal (or its peg
    alone); ASK; then the answer, moves as `disk peg`. Every answer token is fed back. Where two moves are optimal, the
    one in `targets` is drawn at random. The disks are a random subset of the sizes.

    Tokens: sizes 1 … sizes from the smallest, then three pegs, GOAL, ASK.

    `iid` holds out a share of the (start, goal) pairs, so a held-out pair usually has twins in `train` that differ by
    renaming pegs; `structure` holds out pairs together with all their renamings. The partition is exact and the same in
    every study.

    Attributes:
      disks: n in `train` and `iid`. Traced in `sample`.
      more_disks: n in the `disks` split.
      sizes: number of disk sizes.
      farthest: the largest distance in `train`; `distance` has the larger ones. Traced in `sample`.
      held_out: share of the pairs that `iid` keeps from training.
      goal: 'state' for any legal state, 'peg' for the full tower on a peg.
      answer: 'next' for the next move, 'plan' for the whole plan.
    """

    disks: int = 3
    more_disks: int = 4
    sizes: int = 5
    farthest: int = 5
    held_out: float = 0.25
    goal: str = "state"
    answer: str = "next"

    name: ClassVar[str] = "hanoi"
    family: ClassVar[str] = "planning"
    objects: ClassVar[str] = "disks"
    source: ClassVar[str] = (
        "Hinz, Klavžar & Petr 2018, The Tower of Hanoi: Myths and Maths; as a test of planning: Shojaee et al. 2025, "
        "arXiv 2506.06941"
    )
    known: ClassVar[str] = (
        "n disks take up to 2^n - 1 moves. Which disk moves is nearly given (the smallest every other time), where to "
        "depends on the goal of the largest misplaced disk. Language models collapse beyond some number of disks."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"disks": 2, "more_disks": 3, "sizes": 3, "farthest": 2},
        {"disks": 3, "more_disks": 4, "sizes": 4, "farthest": 5, "goal": "peg", "answer": "plan"},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="next3",
            sizes={},
            expected={"iid": (0.75, 1.0)},
            about="the next move for three disks: learned from 338 of the pairs, well above the greedy move (0.57)",
            source="measured here",
            seconds=30,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_range(self, "disks", 2, DISKS_MOST - 1)
        require_range(self, "more_disks", self.disks + 1, DISKS_MOST)
        require_range(self, "sizes", self.more_disks, 64)
        require_range(self, "held_out", 0.05, 0.9)
        require_choice(self, "goal", GOALS)
        require_choice(self, "answer", ANSWERS)
        nearest = int(self._domain.closest[self.disks, STRUCTURE, 0])  # of the held-out structures
        require_range(self, "farthest", nearest, self._domain.longest(self.disks, IID) - 1)

    @property
    def _domain(self) -> Domain:
        return towers_of_hanoi(self.more_disks, self.goal, self.held_out)

    @property
    def _marks(self) -> tuple[int, int]:
        """GOAL and ASK."""
        return self.sizes + PEGS + 1, self.sizes + PEGS + 2

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self.sizes + PEGS + 3

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, held-out `structure`, more `disks`, and a longer `distance`."""
        return self._five_splits("names of the pegs", unique=self.goal == "peg")

    def _goal_tokens(self, count: Any) -> Any:
        return 2 * count if self.goal == "state" else 1

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One disk, one move."""
        return {"disks": 1, "farthest": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`target` peg of the next move, the `disk` that moves (0 the smallest there is), `distance` to the goal."""
        return {"target": PEGS, "disk": self.more_disks, "distance": self._domain.closest.shape[2]}

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One pair of states.

        Difficulty: `disks` in [1, more_disks]; `nearest` and `farthest`, the range of distances (where there is no
        pair at a distance, the closest that has one is taken); `part` 0 train, 1 held-out pairs, 2 held-out structures.
        """
        domain, most = self._domain, self.more_disks
        drawn = self._draw(key, difficulty, self.sizes)
        disk_D = drawn.label_N
        peg_SxD = jnp.asarray(np.arange(domain.states)[:, None] // PEGS ** np.arange(most) % PEGS, jnp.int32)
        peg_token = self.sizes + 1
        start_T, goal_T = (
            jnp.stack([disk_D, peg_token + peg_SxD[s]], 1).reshape(-1) for s in (drawn.start, drawn.goal)
        )
        wanted = part(goal_T, 2 * drawn.count) if self.goal == "state" else part(goal_T[1:2])
        disk_K, target_K = drawn.move_K // PEGS, drawn.move_K % PEGS
        plan_T = jnp.stack([disk_D[disk_K], peg_token + target_K], 1).reshape(-1)
        factors = {"target": target_K[0], "disk": disk_K[0], "distance": drawn.distance}
        return self._example(drawn, start_T, wanted, plan_T, factors, length)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`: every move must bring the state one step nearer the goal."""
        domain, tokens, most = self._domain, example.tokens, self.more_disks
        last = tokens.shape[0] - 1
        count = jnp.argmax(tokens == self._marks[0]).astype(jnp.int32) // 2
        index_D = jnp.arange(most, dtype=jnp.int32)
        known_D = index_D < count
        power_D = jnp.asarray(PEGS ** np.arange(most), jnp.int32)
        disk_D = jnp.where(known_D, tokens[jnp.minimum(2 * index_D, last)], NO_ANSWER - 1)  # nothing equals it

        def state(token_D: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(known_D, token_D - self.sizes - 1, 0) * power_D, dtype=jnp.int32)

        start = state(tokens[jnp.minimum(2 * index_D + 1, last)])
        goal_D = 2 * count + (2 * index_D + 2 if self.goal == "state" else jnp.ones_like(index_D))
        goal = state(tokens[jnp.minimum(goal_D, last)])

        size = 2 * self._moves
        first = 2 * count + self._goal_tokens(count) + 1
        said = answer[jnp.clip(first + jnp.arange(size, dtype=jnp.int32), 0, last)]
        disk_K = jax.vmap(lambda token: jnp.sum(jnp.where(disk_D == token, index_D + 1, 0), dtype=jnp.int32) - 1)(
            said[::2]
        )
        peg_K = said[1::2] - self.sizes - 1
        move_K = jnp.where((disk_K >= 0) & (peg_K >= 0) & (peg_K < PEGS), disk_K * PEGS + peg_K, NOWHERE)
        asked = jnp.sum(example.weights == 1, dtype=jnp.int32)
        return is_optimal(domain, count, start, goal, move_K, asked // 2)

    def _follow(self, example: Example) -> tuple[Any, Any, Mapping[Any, int], Callable[[Any, int, int], Any]]:
        """See `StateSpaceTask`: states are the disks' pegs."""
        disks, start, goal = self._read(example)

        def after_move(pegs: tuple[int, ...], token: int, peg_token: int) -> tuple[int, ...] | None:
            disk, peg = disks.index(token) if token in disks else None, peg_token - self.sizes - 1
            return next((after for moved, after in _moves(pegs) if moved == disk and after[moved] == peg), None)

        return start, goal, _distances_to(goal), after_move

    def _read(self, example: Example) -> tuple[list[int], tuple[int, ...], tuple[int, ...]]:
        """The disks' tokens, and the pegs of start and goal."""
        tokens = np.asarray(example.tokens).tolist()
        middle, end = (tokens.index(mark) for mark in self._marks)
        disks, start, goal = tokens[:middle:2], tokens[1:middle:2], tokens[middle + 1 : end]
        goal = goal[1::2] if self.goal == "state" else goal * len(disks)
        start, goal = (tuple(peg - self.sizes - 1 for peg in pegs) for pegs in (start, goal))
        return disks, start, goal

    def problem(self, example: Example) -> Hashable:
        """Start and goal, whatever the disks' sizes are."""
        _, start, goal = self._read(example)
        return start, goal

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the tokens; a random move: `legal`, `smallest` (its disk), `greedy` (a disk to its goal peg).

        All are exact enumerations. Where no move is greedy, any legal one is taken; the log-probability of these two is
        that of an even mixture with `legal`.
        """
        domain, difficulty = self._domain, self.splits[split].difficulty
        smallest = np.arange(domain.after.shape[1]) < PEGS
        peg = np.arange(domain.states)[:, None] // PEGS ** np.arange(self.more_disks) % PEGS
        wanted = (peg[:, :, None] == np.arange(PEGS)).reshape(domain.states, -1)
        prefers = {"smallest": lambda start, goal: smallest, "greedy": lambda start, goal: wanted[goal]}
        return self._guesses(difficulty, prefers)

    def render(self, example: Example) -> str:
        """The three pegs now and wanted, the disks by size, then the moves."""
        disks, *states = self._read(example)
        widest = len(str(max(disks)))
        rows = []
        for height in reversed(range(len(disks))):
            row = []
            for state in states:
                piles = [[d for d, p in zip(disks, state, strict=True) if p == peg][::-1] for peg in range(PEGS)]
                row.append(" ".join(f"{p[height] if height < len(p) else '|':>{widest}}" for p in piles))
            rows.append("    ".join(row))
        feet = " ".join(f"{name:>{widest}}" for name in PEG_NAMES)
        said = np.asarray(example.targets)[np.asarray(example.weights) > 0].tolist()
        pegs = {self.sizes + 1 + i: name for i, name in enumerate(PEG_NAMES)}
        moves = ", ".join(f"{d} to {pegs.get(p, f'<{p}>')}" for d, p in zip(said[::2], said[1::2], strict=True))
        return "\n".join([*rows, f"{feet}    {feet}", f"{'now':<{len(feet)}}    goal", f"move {moves}"])


def _moves(pegs: tuple[int, ...]):
    """(disk, the state after it moved) for every legal move; disk 0 is the smallest."""
    tops = [min((d for d, p in enumerate(pegs) if p == peg), default=len(pegs)) for peg in range(PEGS)]
    for source, target in itertools.permutations(range(PEGS), 2):
        if tops[source] < tops[target]:
            disk = tops[source]
            yield disk, (*pegs[:disk], target, *pegs[disk + 1 :])


@lru_cache(maxsize=4096)
def _distances_to(goal: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Moves from every state to the goal."""
    return distances_to(goal, lambda pegs: (after for _, after in _moves(pegs)))
