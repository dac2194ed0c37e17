"""Planning domains small enough to enumerate: exact distances, problems by distance and part, optimal moves.

A domain is enumerated once with NumPy, at its largest size; smaller problems are the states in which the further
objects rest. The generators then only look things up.

Shape letters: S states, M moves, K moves of a plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.base import Baseline
from tasks.draw import permutation

TRAIN, IID, STRUCTURE = range(3)  # the parts of a domain's problems
STRUCTURE_SHARE = 1 / 8
NOWHERE = -1


class Size(NamedTuple):
    """The problems of one size.

    Attributes:
      states: int[·], the states in which further objects rest.
      goals: int[·], those of them that may be the goal.
      moves: bool[M], the moves that leave further objects alone.
      renamings: int[·, S], the state that each renaming of the objects (the identity among them) makes of each state.
    """

    states: np.ndarray
    goals: np.ndarray
    moves: np.ndarray
    renamings: np.ndarray


@dataclass(frozen=True, eq=False)
class Domain:
    """An enumerated domain whose moves can be undone.

    Attributes:
      after: int32[S, M], the state after a move, NOWHERE if it is illegal.
      distance: uint8[S, S], moves of an optimal plan.
      allowed: bool[sizes, M], the moves of each size.
      best: uint8[S·S, ·], the optimal moves from start to goal, row start·S + goal; those of smaller sizes come first.
      ways: uint8[sizes, S·S], how many of them each size allows.
      problems: int32[·], start·S + goal, sorted by size, part and distance.
      first: int32[sizes, parts, farthest + 2], where the problems of each distance begin.
      closest: int32[sizes, parts, farthest + 1], the largest distance up to the given one that has problems, or else
        the smallest that has; 0 if a part is empty.
    """

    after: np.ndarray
    distance: np.ndarray
    allowed: np.ndarray
    best: np.ndarray
    ways: np.ndarray
    problems: np.ndarray
    first: np.ndarray
    closest: np.ndarray

    @property
    def states(self) -> int:
        """Number of states, S."""
        return len(self.after)

    def longest(self, size: int, part: int, farthest: int | None = None) -> int:
        """The largest distance (up to `farthest`) between start and goal of a part's problems; 0 if it has none."""
        most = self.closest.shape[2] - 1
        return int(self.closest[size, part, most if farthest is None else min(farthest, most)])

    def problems_at(self, size: int, part: int, distance: int) -> tuple[np.ndarray, np.ndarray]:
        """Starts and goals of the problems at a distance."""
        low, high = self.first[size, part, distance : distance + 2]
        return np.divmod(self.problems[low:high], self.states)


def enumerate_domain(after: np.ndarray, sizes: Sequence[Size | None], held_out: float, seed: int = 0) -> Domain:
    """Distances, and the problems of every size (None: no problems) in their parts.

    Every (start, goal) pair of distinct states of a size is a problem of exactly one part. Of the problems at a
    distance, about an eighth of the structures (orbits under renaming) are held out whole: STRUCTURE. Of the rest a
    share `held_out` of the pairs is IID and the others are TRAIN. The draw is the same in every study. Each part gets a
    problem at every distance that has enough to go round.
    """
    generator = np.random.default_rng(seed)
    distance = _distances(after)
    most = int(distance.max())
    first = np.zeros((len(sizes), 3, most + 2), np.int32)
    allowed = np.zeros((len(sizes), after.shape[1]), bool)
    found, total = [], 0
    for index, size in enumerate(sizes):
        if size is None:
            first[index] = total
            continue
        allowed[index] = size.moves
        problems, part = _parts(size, distance, held_out, generator)
        steps = distance.reshape(-1)[problems]
        order = np.lexsort((problems, steps, part))
        counts = np.array([np.bincount(steps[part == p], minlength=most + 1) for p in range(3)])
        ends = total + np.cumsum(counts.reshape(-1)).reshape(counts.shape)
        first[index, :, 1:], first[index, :, 0] = ends, total + np.concatenate([[0], ends[:-1, -1] - total])
        found.append(problems[order])
        total += problems.size
    problems, closest = np.concatenate(found).astype(np.int32), _closest(np.diff(first))
    return Domain(after, distance, allowed, *_optimal(after, distance, allowed), problems, first, closest)


def _distances(after: np.ndarray) -> np.ndarray:
    """Breadth-first from all states at once."""
    states = len(after)
    seen = frontier = np.eye(states, dtype=bool)
    distance = np.zeros((states, states), np.uint8)
    for step in range(1, 256):
        reached = np.zeros_like(seen)
        for after_S in after.T:
            legal = after_S != NOWHERE
            reached[legal] |= frontier[after_S[legal]]
        frontier = reached & ~seen
        if not frontier.any():
            break
        distance[frontier] = step
        seen = seen | frontier
    return distance


def _optimal(after: np.ndarray, distance: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `Domain.best` and `Domain.ways`."""
    order = np.argsort(-allowed.sum(axis=0), kind="stable")  # a size allows what the smaller ones do
    nearer = (after.T != NOWHERE)[:, :, None] & (distance[after.T] + 1 == distance)  # of each move
    nearer = nearer[order].reshape(order.size, -1)
    rank = np.cumsum(nearer, axis=0, dtype=np.uint8)
    best = [order[np.argmax(rank == n, axis=0)] for n in range(1, rank[-1].max() + 1)]
    ways = [(nearer & size_M[order, None]).sum(axis=0) for size_M in allowed]
    return np.stack(best, axis=1).astype(np.uint8), np.array(ways, np.uint8)


def _parts(size: Size, distance: np.ndarray, held_out: float, generator: np.random.Generator):
    """Problems of a size and the part of each."""
    states = len(distance)
    start, goal = np.meshgrid(size.states, size.goals, indexing="ij")
    start, goal = start[start != goal], goal[start != goal]
    structure = np.min([renamed[start] * states + renamed[goal] for renamed in size.renamings], axis=0)
    part = np.full(start.shape, TRAIN)
    for step in np.unique(distance[start, goal]):
        here = np.flatnonzero(distance[start, goal] == step)
        structures = generator.permutation(np.unique(structure[here]))
        whole = max(1, round(STRUCTURE_SHARE * structures.size)) if structures.size > 1 else 0
        in_structure = np.isin(structure[here], structures[:whole])
        part[here[in_structure]] = STRUCTURE
        rest = generator.permutation(here[~in_structure])
        part[rest[: max(1, round(held_out * rest.size)) if rest.size > 1 else 0]] = IID
    return start * states + goal, part


def _closest(counts: np.ndarray) -> np.ndarray:
    """See `Domain.closest`; counts int[sizes, parts, distances]."""
    steps = np.arange(counts.shape[2])
    below = np.maximum.accumulate(np.where(counts > 0, steps, 0), axis=2)
    smallest = np.argmax(counts > 0, axis=2)[..., None]
    return np.where(below > 0, below, smallest).astype(np.int32)


def ordered_subset(bits_N: jax.Array, count: jax.Array, take: int) -> jax.Array:
    """A uniform subset of `count` of the labels 1 … N in increasing order, then zeros: int32[take]."""
    size = bits_N.shape[0]
    chosen_N = permutation(bits_N, size, size) < count
    rank_N = jnp.where(chosen_N, jnp.cumsum(chosen_N, dtype=jnp.int32), 0)
    is_label_KxN = rank_N[None, :] == jnp.arange(1, take + 1, dtype=jnp.int32)[:, None]
    return jnp.sum(
        jnp.where(is_label_KxN, jnp.arange(1, size + 1, dtype=jnp.int32)[None, :], 0), axis=1, dtype=jnp.int32
    )


def draw_problem(
    domain: Domain, bits_2: jax.Array, size: jax.Array, part: jax.Array, nearest: jax.Array, farthest: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Start, goal and distance, each int32[]: the distance uniform in [nearest, farthest], then a uniform problem.

    A distance without problems gives way to the closest one that has some (see `Domain.closest`).
    """
    most = domain.closest.shape[2] - 1
    span = jnp.maximum(farthest - nearest + 1, 1).astype(jnp.uint32)
    wanted = jnp.clip(nearest + (bits_2[0] % span).astype(jnp.int32), 0, most)
    distance = jnp.asarray(domain.closest)[size, part, wanted]
    first = jnp.asarray(domain.first)
    low, high = first[size, part, distance], first[size, part, distance + 1]
    index = low + (bits_2[1] % jnp.maximum(high - low, 1).astype(jnp.uint32)).astype(jnp.int32)
    problem = jnp.asarray(domain.problems)[index]
    return problem // domain.states, problem % domain.states, distance


def optimal_plan(domain: Domain, bits_K: jax.Array, size: jax.Array, start: jax.Array, goal: jax.Array) -> jax.Array:
    """The first K moves of an optimal plan, at every step a uniform one of the optimal moves: int32[K].

    Entries after the goal is reached are meaningless.
    """
    best, ways = jnp.asarray(domain.best), jnp.asarray(domain.ways)

    def step(state: jax.Array, bits: jax.Array) -> tuple[jax.Array, jax.Array]:
        row = state * domain.states + goal
        choices = jnp.maximum(ways[size, row].astype(jnp.uint32), 1)
        move = best[row, (bits % choices).astype(jnp.int32)].astype(jnp.int32)
        return jnp.maximum(jnp.asarray(domain.after)[state, move], 0), move

    return lax.scan(step, start, bits_K)[1]


def is_optimal(
    domain: Domain, size: jax.Array, start: jax.Array, goal: jax.Array, move_K: jax.Array, count: jax.Array
) -> jax.Array:
    """Whether each of the first `count` moves (int32[K], NOWHERE for none) is an optimal one: bool[]."""
    best, ways = jnp.asarray(domain.best), jnp.asarray(domain.ways)
    index_W = jnp.arange(best.shape[1], dtype=jnp.int32)

    def step(carry: tuple[jax.Array, jax.Array], x: tuple[jax.Array, jax.Array]):
        (state, right), (move, counts) = carry, x
        row = state * domain.states + goal
        optimal = jnp.any((best[row].astype(jnp.int32) == move) & (index_W < ways[size, row].astype(jnp.int32)))
        after = jnp.maximum(jnp.asarray(domain.after)[state, jnp.maximum(move, 0)], 0)
        return (jnp.where(optimal, after, state), right & (optimal | ~counts)), None

    counts_K = jnp.arange(move_K.shape[0], dtype=jnp.int32) < count
    return lax.scan(step, (start, jnp.bool_(True)), (move_K, counts_K))[0][1]


# Moves that a simple-minded policy prefers: bool[·, M] for starts and goals int[·].
Preference = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Guess(NamedTuple):
    """What simple predictors reach.

    Attributes:
      exact: share of optimal answers of a policy.
      nats: mean of -log p of an optimal move under it.
      chance: share of optimal answers when every move is a pair of uniform tokens.
    """

    exact: float
    nats: float
    chance: float


def guess(
    domain: Domain, difficulty: Mapping[str, float | int], size: int, prefers: Preference, plan: bool, vocab_size: int
) -> Guess:
    """By exact enumeration, over the distribution that `draw_problem` draws from.

    `exact` is that of a uniform one of the preferred moves that are legal, or of any legal move where none is. `nats`
    is under an even mixture of that and a uniform legal move.
    """
    nearest, farthest, part = (int(difficulty[name]) for name in ("nearest", "farthest", "part"))
    states = domain.states
    exact, nats, ways = np.ones((states, states)), np.zeros((states, states)), np.ones((states, states))
    for step in range(1 if plan else nearest, farthest + 1):
        start, goal = np.nonzero(domain.distance == step)
        after = domain.after[start]
        legal = domain.allowed[size] & (after != NOWHERE)
        favoured = legal & prefers(start, goal)
        favoured = np.where(favoured.any(axis=1, keepdims=True), favoured, legal)
        policy, uniform = (m / np.maximum(m.sum(axis=1, keepdims=True), 1) for m in (favoured, legal))
        surprise = -np.log(np.where(legal, (policy + uniform) / 2, 1))
        optimal = legal & (domain.distance[after, goal[:, None]] == step - 1)
        then = [x[after, goal[:, None]] if plan else np.full(after.shape, x[0, 0]) for x in (exact, nats, ways)]
        number = np.maximum(optimal.sum(axis=1), 1)
        exact[start, goal] = np.sum(optimal * policy * then[0], axis=1)
        nats[start, goal] = np.sum(optimal * (surprise + then[1]), axis=1) / number
        ways[start, goal] = np.sum(optimal * then[2], axis=1)
    found = []
    for wanted in range(nearest, farthest + 1):
        step = int(domain.closest[size, part, wanted])
        problems, moves = domain.problems_at(size, part, step), step if plan else 1
        chance = ways[problems].mean() * float(vocab_size) ** (-2 * moves)
        found.append((exact[problems].mean(), nats[problems].mean() / moves, chance))
    return Guess(*(float(x) for x in np.mean(found, axis=0)))


def guesses(
    domain: Domain,
    difficulty: Mapping[str, float | int],
    size: int,
    prefers: Mapping[str, Preference],
    plan: bool,
    vocab_size: int,
) -> dict[str, Baseline]:
    """`chance` over the tokens, `legal` (a random legal move), and a baseline for each preference."""
    every = {"legal": lambda start, goal: np.True_, **prefers}
    found = {name: guess(domain, difficulty, size, moves, plan, vocab_size) for name, moves in every.items()}
    chance = Baseline(found["legal"].chance, -math.log(vocab_size))
    return {"chance": chance, **{name: Baseline(g.exact, -g.nats / 2) for name, g in found.items()}}
