"""A small map of streets that stays fixed within a seed: crossings on a square grid, some of its streets missing.

Shape letters: N crossings, row by row; E streets that there may be; D the four directions, north, east, south, west.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import unit
from tasks.draw import permutation

DIRECTIONS = "NESW"
NOWHERE = -1  # where no street leads


class StreetMap(NamedTuple):
    """What stays fixed within a seed.

    Attributes:
      next_NxD: int32, the crossing that a turn leads to, NOWHERE where there is no street.
      distance_NxN: int32, the fewest streets from one crossing to another.
      label_N: int32, the crossings' labels, a permutation.
      held_out_NxN: bool, which (start, goal) pairs training never has: of every distance a half, and with a pair its
        way back.
    """

    next_NxD: jax.Array
    distance_NxN: jax.Array
    label_N: jax.Array
    held_out_NxN: jax.Array


@lru_cache
def streets(side: int) -> tuple[np.ndarray, np.ndarray]:
    """All streets of the grid by their ends, int32[E, 2], and the street of every turn: int32[N, D], or NOWHERE."""
    ends: list[tuple[int, int]] = []
    of_turn = np.full((side * side, 4), NOWHERE, np.int32)
    for crossing in range(side * side):
        for direction, step, exists in (
            (1, 1, crossing % side < side - 1),
            (2, side, crossing // side < side - 1),
        ):
            if exists:
                of_turn[crossing, direction] = of_turn[crossing + step, (direction + 2) % 4] = len(ends)
                ends.append((crossing, crossing + step))
    return np.array(ends, np.int32), of_turn


def draw_map(key: jax.Array, side: int, share: float) -> StreetMap:
    """A connected map: a random spanning tree, and each of the other streets with probability `share`."""
    end_Ex2, street_NxD = streets(side)
    nodes, edges = side * side, len(end_Ex2)
    keys = jax.random.split(key, 4)
    order_E = permutation(jax.random.bits(keys[0], (edges,)), edges, edges)
    extra_E = unit(jax.random.bits(keys[1], (edges,))) < share
    end_Ex2 = jnp.asarray(end_Ex2)

    def join(index: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Kruskal's algorithm: a street that joins two parts is kept."""
        part_N, kept_E = carry
        street = order_E[index]
        one, other = part_N[end_Ex2[street, 0]], part_N[end_Ex2[street, 1]]
        kept_E = kept_E.at[street].set((one != other) | extra_E[street])
        return jnp.where(part_N == other, one, part_N), kept_E

    start = jnp.arange(nodes, dtype=jnp.int32), jnp.zeros(edges, bool)
    kept_E = lax.fori_loop(0, edges, join, start)[1]
    open_NxD = (street_NxD >= 0) & kept_E[np.maximum(street_NxD, 0)]
    step_D = jnp.asarray([-side, 1, side, -1], jnp.int32)
    next_NxD = jnp.where(open_NxD, jnp.arange(nodes, dtype=jnp.int32)[:, None] + step_D[None, :], NOWHERE)
    distance_NxN = _distances(next_NxD)
    label_N = permutation(jax.random.bits(keys[2], (nodes,)), nodes, nodes)
    return StreetMap(next_NxD, distance_NxN, label_N, _held_out(keys[3], distance_NxN))


def _distances(next_NxD: jax.Array) -> jax.Array:
    """The fewest streets between all crossings, by Floyd and Warshall: int32[N, N]."""
    index_N = jnp.arange(next_NxD.shape[0], dtype=jnp.int32)
    adjacent_NxN = jnp.any(next_NxD[:, :, None] == index_N[None, None, :], axis=1)
    far_NxN = jnp.where(adjacent_NxN, 1, next_NxD.shape[0])
    far_NxN = jnp.where(index_N[:, None] == index_N[None, :], 0, far_NxN).astype(jnp.int32)

    def through(k: jax.Array, far_NxN: jax.Array) -> jax.Array:
        return jnp.minimum(far_NxN, far_NxN[:, k][:, None] + far_NxN[k][None, :])

    return lax.fori_loop(0, next_NxD.shape[0], through, far_NxN)


def _held_out(key: jax.Array, distance_NxN: jax.Array) -> jax.Array:
    """Every second pair of crossings of a distance, in random order: bool[N, N], symmetric."""
    nodes = distance_NxN.shape[0]
    one_P, other_P = np.triu_indices(nodes, 1)
    far_P, bits_P = distance_NxN[one_P, other_P], jax.random.bits(key, (len(one_P),))
    earlier_PxP = (far_P[:, None] == far_P[None, :]) & (bits_P[None, :] < bits_P[:, None])
    odd_P = jnp.sum(earlier_PxP, axis=1, dtype=jnp.int32) % 2 == 1
    half_NxN = jnp.zeros((nodes, nodes), bool).at[one_P, other_P].set(odd_P)
    return half_NxN | half_NxN.T


def arrivals(next_NxD: np.ndarray, most: int) -> dict[str, np.ndarray]:
    """The chance that simple predictors arrive at a goal: name -> float64[most + 1 turns left, N goals, N crossings].

    - 'legal' takes any turn that there is, and stops at the goal.
    - 'compass' knows where crossings lie and not the streets: it takes a turn that leads nearer as the crow flies.
    - 'chance' answers one of the four turns or END, evenly.
    """
    nodes = len(next_NxD)
    side = round(nodes**0.5)
    legal_NxD = next_NxD >= 0
    nearer_GxNxD = nearer(side)
    at_goal = np.eye(nodes)
    found = {"legal": [at_goal], "compass": [at_goal], "chance": [at_goal / 5]}
    for _ in range(most):
        onwards = {name: rows[-1][:, np.maximum(next_NxD, 0)] * legal_NxD for name, rows in found.items()}
        compass = (onwards["compass"] * nearer_GxNxD).sum(axis=2) / np.maximum(nearer_GxNxD.sum(axis=2), 1)
        found["legal"].append(np.where(at_goal, 1, onwards["legal"].sum(axis=2) / legal_NxD.sum(axis=1)))
        found["compass"].append(np.where(at_goal, 1, compass))
        found["chance"].append((at_goal + onwards["chance"].sum(axis=2)) / 5)
    return {name: np.stack(rows) for name, rows in found.items()}


@lru_cache
def nearer(side: int) -> np.ndarray:
    """Which turns lead nearer to a goal as the crow flies, streets or none: bool[N goals, N crossings, D]."""
    row, column = np.divmod(np.arange(side * side), side)
    down, right = row[:, None] - row[None, :], column[:, None] - column[None, :]
    return np.stack([down < 0, right > 0, down > 0, right < 0], axis=2)
