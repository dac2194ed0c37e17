"""Mazes on a square grid: how they are drawn, mirrored and measured. No gathers, sorts or scatters: shifts of the grid.

A maze is bool[4, K, K]: whether one can step from a cell up, right, down or left. A maze smaller than the grid takes
its first rows and columns; the cells next to it can't be left or entered.

Shape letters: K rows and columns of the grid, N = K·K cells, E = 2·K·(K - 1) pairs of neighbours.
"""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.draw import counters, mix

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
GENERATORS = ("dfs", "kruskal", "wilson", "percolation")
SIDE_MOST = 8
FAR = 1 << 20  # a distance that no path has
_PLACE_BITS = 9  # 4·N places and one more
_CERTAIN = 1e-4  # an edge this close to probability 0 or 1 is taken for impossible or necessary


def neighbours(cell_KxK: jax.Array, outside: bool | int) -> jax.Array:
    """What the neighbours above, right, below and left of each cell hold, `outside` beyond the grid: [4, K, K]."""
    padded = jnp.pad(cell_KxK, 1, constant_values=outside)
    size = cell_KxK.shape[0]
    return jnp.stack([padded[1 + r : 1 + r + size, 1 + c : 1 + c + size] for r, c in MOVES])


def arrivals(step_4xKxK: jax.Array) -> jax.Array:
    """Where the steps lead that are set: bool[4, K, K], [d, cell] whether the step d into this cell is set."""
    return jnp.stack([neighbours(step_4xKxK[d], False)[(d + 2) % 4] for d in range(4)])


def both_ways(step_4xKxK: jax.Array) -> jax.Array:
    """The steps and their reverses."""
    return step_4xKxK | jnp.roll(arrivals(step_4xKxK), 2, axis=0)


def to_pairs(open_4xKxK: jax.Array) -> jax.Array:
    """The maze as its pairs of neighbours, first those side by side and then those one above the other: bool[E]."""
    return jnp.concatenate([open_4xKxK[1][:, :-1].reshape(-1), open_4xKxK[2][:-1].reshape(-1)])


def from_pairs(pair_E: jax.Array, size: int) -> jax.Array:
    """What holds for pairs of neighbours, as steps both ways: bool[4, K, K]."""
    right = jnp.pad(pair_E[: size * (size - 1)].reshape(size, size - 1), ((0, 0), (0, 1)))
    down = jnp.pad(pair_E[size * (size - 1) :].reshape(size - 1, size), ((0, 1), (0, 0)))
    none = jnp.zeros_like(right)
    return both_ways(jnp.stack([none, right, down, none]))


@lru_cache
def pairs(size: int) -> np.ndarray:
    """The cells of each pair, in the order of `to_pairs`: int32[E, 2]."""
    cell = np.arange(size * size, dtype=np.int32).reshape(size, size)
    across = np.stack([cell[:, :-1].ravel(), cell[:, 1:].ravel()], axis=1)
    return np.concatenate([across, np.stack([cell[:-1].ravel(), cell[1:].ravel()], axis=1)])


def inside(side: jax.Array, size: int) -> jax.Array:
    """The cells of a maze of `side` rows and columns: bool[K, K]."""
    in_K = jnp.arange(size, dtype=jnp.int32) < side
    return in_K[:, None] & in_K[None, :]


def inside_pairs(side: jax.Array, size: int) -> jax.Array:
    """The pairs of neighbours that are both in a maze of `side` rows and columns: bool[E]."""
    cell_KxK = inside(side, size)
    return to_pairs(cell_KxK[None] & neighbours(cell_KxK, False))


def at(row: jax.Array, column: jax.Array, size: int) -> jax.Array:
    """The grid with one cell set: bool[K, K]."""
    index_K = jnp.arange(size, dtype=jnp.int32)
    return (index_K == row)[:, None] & (index_K == column)[None, :]


def one_of(bits_N: jax.Array, wanted_KxK: jax.Array) -> jax.Array:
    """A uniformly chosen cell among the wanted, at least one: int32[], row by row."""
    cell_N = jnp.arange(bits_N.shape[0], dtype=jnp.uint32)
    packed_N = (bits_N >> jnp.uint32(_PLACE_BITS) << jnp.uint32(_PLACE_BITS)) | (cell_N + jnp.uint32(1))
    best = jnp.max(jnp.where(wanted_KxK.reshape(-1), packed_N, jnp.uint32(0)))
    return (best & jnp.uint32((1 << _PLACE_BITS) - 1)).astype(jnp.int32) - 1


def spanning_tree(bits: jax.Array, side: jax.Array, deep: jax.Array, first_4xKxK: jax.Array) -> jax.Array:
    """A random spanning tree of the side x side cells: bool[4, K, K].

    It grows from a random cell by one step into a new cell at a time. `deep`: the step leaves the newest cell that has
    a new neighbour, to one of these at random, which is depth-first search. Otherwise every pair of neighbours has a
    random weight and the heaviest possible step is taken: the heaviest spanning tree, as Kruskal's algorithm finds it.

    Args:
      bits: uint32[6], uniform.
      side: int32[].
      deep: bool[].
      first_4xKxK: bool[4, K, K], both ways, pairs that weigh more than all others: a spanning tree comes out as it is.
    """
    size = first_4xKxK.shape[1]
    inside_KxK = inside(side, size)
    cells = side.astype(jnp.uint32)
    start_KxK = at((bits[0] % cells).astype(jnp.int32), (bits[1] % cells).astype(jnp.int32), size)
    drawn_4xKxK = counters(bits[2:], 4 * size * size).reshape(4, size, size)
    # For Kruskal the weight of a pair is that of its step right or down.
    back_4xKxK = jnp.stack(
        [neighbours(drawn_4xKxK[2], 0)[0], drawn_4xKxK[1], drawn_4xKxK[2], neighbours(drawn_4xKxK[1], 0)[3]]
    )
    top = jnp.uint32(1 << 31)
    weight_4xKxK = jnp.where(
        deep, drawn_4xKxK >> jnp.uint32(7), (back_4xKxK >> jnp.uint32(1)) | jnp.where(first_4xKxK, top, jnp.uint32(0))
    )
    place_4xKxK = jnp.arange(1, 4 * size * size + 1, dtype=jnp.uint32).reshape(4, size, size)
    weight_4xKxK = (weight_4xKxK >> jnp.uint32(_PLACE_BITS) << jnp.uint32(_PLACE_BITS)) | place_4xKxK

    stride_4 = jnp.asarray([r * size + c for r, c in MOVES], jnp.int32)

    def grow(time: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        seen_KxK, time_KxK, step_4xKxK = carry
        possible = (seen_KxK & inside_KxK)[None] & ~neighbours(seen_KxK, True)
        newest = jnp.where(deep, time_KxK << jnp.uint32(25), jnp.uint32(0))
        score_4xKxK = jnp.where(possible, weight_4xKxK | newest[None], jnp.uint32(0))
        best = jnp.max(score_4xKxK)
        taken_4xKxK = (score_4xKxK == best) & (best > jnp.uint32(0))
        place = (best & jnp.uint32((1 << _PLACE_BITS) - 1)).astype(jnp.int32) - 1
        there = place % (size * size) + stride_4[place // (size * size)]
        new_KxK = at(there // size, there % size, size) & (best > jnp.uint32(0))
        return seen_KxK | new_KxK, jnp.where(new_KxK, time.astype(jnp.uint32), time_KxK), step_4xKxK | taken_4xKxK

    begin = (start_KxK | ~inside_KxK, jnp.zeros((size, size), jnp.uint32), jnp.zeros((4, size, size), bool))
    return both_ways(lax.fori_loop(1, size * size, grow, begin)[2])


@lru_cache
def _conductors(size: int) -> np.ndarray:
    """For each side 2 … K an inverse of the maze's Laplacian, cell 0 grounded: float32[K - 1, N, N]."""
    found = np.zeros((size - 1, size * size, size * size))
    for side in range(2, size + 1):
        used = [r * size + c for r in range(side) for c in range(side)]
        laplacian = np.zeros((size * size, size * size))
        for one, two in pairs(size):
            if one in used and two in used:
                laplacian[[one, two], [one, two]] += 1
                laplacian[[one, two], [two, one]] -= 1
        live = np.ix_(used[1:], used[1:])
        found[side - 2][live] = np.linalg.inv(laplacian[live])
    return found.astype(np.float32)


def uniform_tree(unit_E: jax.Array, side: jax.Array, size: int) -> jax.Array:
    """A uniformly random spanning tree, as Wilson's algorithm draws it, in a fixed number of steps: bool[E].

    Pair after pair is taken with its probability of being in the tree given those decided before, which is its
    effective resistance; a taken one is contracted, another cut, each a rank-one change to the inverse Laplacian.
    """
    ends_Ex2, inside_E = jnp.asarray(pairs(size)), inside_pairs(side, size)

    def decide(pair: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        inverse_NxN, taken_E = carry
        one, two = ends_Ex2[pair, 0], ends_Ex2[pair, 1]
        potential_N = jnp.where(inside_E[pair], inverse_NxN[one] - inverse_NxN[two], 0.0)
        chance = potential_N[one] - potential_N[two]
        taken = ((unit_E[pair] < chance) & (chance > _CERTAIN)) | (chance > 1 - _CERTAIN)
        change = jnp.where(taken, -1 / jnp.maximum(chance, _CERTAIN), 1 / jnp.maximum(1 - chance, _CERTAIN))
        inverse_NxN = inverse_NxN + (change * potential_N)[:, None] * potential_N[None, :]
        return inverse_NxN, jnp.where(jnp.arange(ends_Ex2.shape[0]) == pair, taken, taken_E)

    begin = (jnp.asarray(_conductors(size))[side - 2], jnp.zeros((ends_Ex2.shape[0],), bool))
    return lax.fori_loop(0, ends_Ex2.shape[0], decide, begin)[1]


def open_more(bits_E: jax.Array, open_4xKxK: jax.Array, side: jax.Array, openings: jax.Array) -> jax.Array:
    """The maze after opening walls chosen uniformly until there are `openings`, or no walls: bool[4, K, K]."""
    size = open_4xKxK.shape[1]
    open_E = to_pairs(open_4xKxK)
    wall_E = inside_pairs(side, size) & ~open_E
    rank_E = jnp.sum((bits_E[None, :] < bits_E[:, None]) & wall_E[None, :], axis=1, dtype=jnp.int32)
    missing = openings - jnp.sum(open_E, dtype=jnp.int32)
    return from_pairs(open_E | (wall_E & (rank_E < missing)), size)


def longest(side: int, cycles: int) -> int:
    """Steps of the longest way in `corridor` with so many openings beyond those of a tree."""
    rows, rest = divmod(cycles, side - 1)
    return side * side - rows * (side - 1) - min(2 * rest + 1, side)


def corridor(side: jax.Array, size: int, openings: jax.Array) -> jax.Array:
    """A maze of one corridor that winds down the rows: bool[4, K, K]. It begins at the first cell.

    Walls beyond it are opened where they cost the longest way least: from the last row up, next to a turn first.
    """
    row_V, column_V = np.divmod(np.arange(size * (size - 1), dtype=np.int32), size)  # of pairs one above the other
    from_turn_V = jnp.where(row_V % 2 == 0, side - 1 - column_V, column_V)
    open_E = jnp.concatenate([jnp.ones_like(from_turn_V, bool), from_turn_V == 0]) & inside_pairs(side, size)
    order_V = ((side - 2 - row_V) * side + from_turn_V).astype(jnp.uint32)
    order_E = jnp.concatenate([jnp.zeros_like(order_V), order_V])
    return open_more(order_E, from_pairs(open_E, size), side, openings)


def mirror(open_4xKxK: jax.Array, side: jax.Array) -> jax.Array:
    """The maze's mirror image, left and right exchanged: bool[4, K, K]."""
    column_K = jnp.arange(open_4xKxK.shape[2], dtype=jnp.int32)
    source_KxK = column_K[:, None] == side - 1 - column_K[None, :]  # from column, to column
    image_4xKxK = jnp.any(open_4xKxK[:, :, :, None] & source_KxK[None, None], axis=2)
    return jnp.stack([image_4xKxK[d] for d in (0, 3, 2, 1)])


def digest(open_4xKxK: jax.Array, side: jax.Array) -> jax.Array:
    """A hash of the maze: uint32[]."""
    pair_E = to_pairs(open_4xKxK)
    salt_E = mix(jnp.arange(1, pair_E.shape[0] + 1, dtype=jnp.uint32) * jnp.uint32(0x9E3779B1))
    return mix(jnp.sum(jnp.where(pair_E, salt_E, jnp.uint32(0)), dtype=jnp.uint32) ^ side.astype(jnp.uint32))


def steps_to(open_4xKxK: jax.Array, target: jax.Array, most: int) -> jax.Array:
    """Steps on a shortest path from each cell to the target int32[], FAR if more than `most`: int32[K, K]."""
    size = open_4xKxK.shape[1]
    begin = jnp.where(at(target // size, target % size, size), 0, FAR)

    def reach(_: int, step_KxK: jax.Array) -> jax.Array:
        nearer_4xKxK = jnp.where(open_4xKxK, neighbours(step_KxK, FAR) + 1, FAR)
        return jnp.minimum(step_KxK, jnp.min(nearer_4xKxK, axis=0))

    return lax.fori_loop(0, most, reach, begin)


def steps_between(adjacent_NxN: jax.Array, target: jax.Array) -> jax.Array:
    """Steps on a shortest way from every cell to the target, FAR if there is none: int32[N]."""
    size = adjacent_NxN.shape[0]

    def reach(_: int, left_N: jax.Array) -> jax.Array:
        return jnp.minimum(left_N, 1 + jnp.min(jnp.where(adjacent_NxN, left_N[None, :], FAR), axis=1))

    begin = jnp.where(jnp.arange(size, dtype=jnp.int32) == target, 0, FAR)
    return lax.fori_loop(0, size, reach, begin)
