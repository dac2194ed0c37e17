"""A question about a maze: drawing it, finding its way, writing it down as cells or openings.

Shape letters: K rows and columns of the grid, N = K·K cells, E = 2·K·(K - 1) pairs of neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tasks.asking import unit
from tasks.base import Difficulty
from tasks.draw import counters, hash_bit, in_memory, mix
from tasks.planning import grid
from tasks.sequence import Part, part

TRIES = 32  # mazes drawn for one with a way that is long enough; the last is a corridor
OWN = 16  # of them by the generator, before depth-first search takes over


class Question(NamedTuple):
    """A maze and what is asked of it; cells are numbered row by row on the grid.

    Attributes:
      open: bool[4, K, K], which steps are possible.
      origin, target: int32[].
      distance: int32[], steps between them.
      left: int32[K, K], steps from each cell to the target.
    """

    open: jax.Array
    origin: jax.Array
    target: jax.Array
    distance: jax.Array
    left: jax.Array


class _Draft(NamedTuple):
    """A question that may still lack a way of the wanted length.

    Attributes:
      tried: int32[], how many mazes have been drawn.
      open: as in `Question`.
      one, two: int32[], its ends, not yet in their order.
      own_image: bool[], whether the maze is its own mirror image.
      code: int32[], the hash of the maze and its mirror image.
      enough: bool[], whether the ends are as far apart as they should be.
    """

    tried: jax.Array
    open: jax.Array
    one: jax.Array
    two: jax.Array
    own_image: jax.Array
    code: jax.Array
    enough: jax.Array


def draw(bits: jax.Array, difficulty: Difficulty, size: int, generators: tuple[str, str], most_steps: int) -> Question:
    """A maze on the wanted side of the hash, and two of its cells.

    Mazes are drawn until one has a way of at least `nearest` steps: the first has if that is 1, as in training. The
    later ones of TRIES are drawn depth first, whose ways are longest, and the last is `grid.corridor`.

    Args:
      bits: uint32[8 + E + 2·N], uniform.
      difficulty: as in `Maze.sample`.
      size: K.
      generators: the names of the generator for `other` 0 and 1, static: only these are compiled.
      most_steps: the largest `farthest`, static.
    """
    names = ("side", "other", "cycles", "nearest", "farthest", "held_out")
    side, other, cycles, nearest, farthest, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
    openings = side * side - 1 + cycles

    def attempt(draft: _Draft) -> _Draft:
        tried = draft.tried
        again = mix(bits ^ (tried.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)))
        words = jnp.where(tried == 0, bits, again)
        whole = _maze(words, side, size, openings, other, generators, tried >= OWN)
        last = tried == TRIES - 1
        whole = jnp.where(last, grid.corridor(side, size, openings), whole)
        whole, own_image, code = _choose_maze(whole, side, held_out > 0)
        one, two, enough = _choose_cells(whole, words[8 : 8 + 2 * size * size], nearest, farthest, most_steps, last)
        return _Draft(tried + 1, whole, one, two, own_image, code, enough)

    none, no = jnp.int32(0), jnp.bool_(False)
    begin = _Draft(none, jnp.zeros((4, size, size), bool), none, none, no, none, no)
    draft = lax.while_loop(lambda draft: ~draft.enough & (draft.tried < TRIES), attempt, begin)
    origin, target = _choose_ends(draft.two, draft.one, draft.own_image, draft.code, held_out > 0)
    left = grid.steps_to(draft.open, target, most_steps)
    return Question(draft.open, origin, target, left.reshape(-1)[origin], left)


def _maze(
    bits: jax.Array,
    side: jax.Array,
    size: int,
    openings: jax.Array,
    other: jax.Array,
    generators: tuple[str, str],
    deep: jax.Array,
) -> jax.Array:
    """A maze with so many openings, by the wanted generator or, where `deep`, depth first: bool[4, K, K]."""
    bits_E = bits[8 + 2 * size * size :]

    def drawn_by(name: str) -> jax.Array:
        return jnp.where(other > 0, generators[1] == name, generators[0] == name) & ~deep

    uniform_E = jnp.zeros(bits_E.shape, bool)
    if "wilson" in generators:
        uniform_E = grid.uniform_tree(unit(bits_E), side, size) & drawn_by("wilson")
    tree = grid.spanning_tree(bits[:6], side, drawn_by("dfs") | deep, grid.from_pairs(uniform_E, size))
    tree = tree & ~drawn_by("percolation")
    return grid.open_more(counters(bits[6:8], bits_E.shape[0]), tree, side, openings)


def _choose_cells(
    open_4xKxK: jax.Array,
    bits_2N: jax.Array,
    nearest: jax.Array,
    farthest: jax.Array,
    most_steps: int,
    corridor: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Two cells from `nearest` to `farthest` steps apart, or as far as it goes; whether it goes far enough: bool[].

    The first is a random cell that has an opening, in a corridor its beginning: the dead end of the first row.
    """
    bits_2xN = bits_2N.reshape(2, -1)

    def away_from(cell: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The cells at a wanted distance, the farthest ones, and whether there are any of the former."""
        away = grid.steps_to(open_4xKxK, cell, most_steps)
        wanted = (away >= nearest) & (away <= farthest)
        return wanted, away == jnp.max(jnp.where(away < grid.FAR, away, 0)), jnp.any(wanted)

    ways_KxK = jnp.sum(open_4xKxK, axis=0, dtype=jnp.int32)
    first_KxK = corridor & (ways_KxK == 1) & (jnp.arange(ways_KxK.shape[0]) == 0)[:, None]
    one = grid.one_of(bits_2xN[0], jnp.where(jnp.any(first_KxK), first_KxK, ways_KxK > 0))
    _, last, enough = away_from(one)
    # Where nothing is far enough, the farthest cell takes its place: in a tree that is an end of a longest way.
    one = jnp.where(enough, one, grid.one_of(bits_2xN[0], last))
    wanted, last, enough = away_from(one)
    return one, grid.one_of(bits_2xN[1], jnp.where(enough, wanted, last)), enough


def _choose_maze(open_4xKxK: jax.Array, side: jax.Array, held_out: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The maze or its mirror image, whichever lies on the wanted side; whether they are the same; its hash int32[]."""
    image_4xKxK = grid.mirror(open_4xKxK, side)
    one, two = grid.digest(open_4xKxK, side), grid.digest(image_4xKxK, side)
    codes_2 = lax.bitcast_convert_type(jnp.stack([jnp.minimum(one, two), jnp.maximum(one, two)]), jnp.int32)
    larger = hash_bit(codes_2, jnp.ones((2,), bool)) ^ held_out
    exchange = (one != two) & ((one > two) != larger)
    return jnp.where(exchange, image_4xKxK, open_4xKxK), one == two, codes_2[0]


def _choose_ends(
    one: jax.Array, two: jax.Array, own_image: jax.Array, code: jax.Array, held_out: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Origin and target; exchanged in a maze that is its own mirror image if the question is on the wrong side."""
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)
    larger = hash_bit(jnp.stack([code, low, high]), jnp.ones((3,), bool)) ^ held_out
    exchange = own_image & ((one > two) != larger)
    return jnp.where(exchange, two, one), jnp.where(exchange, one, two)


def walk(question: Question, most: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The cells after the origin and the moves to them, int32[most] and meaningless behind the target; the forks."""
    size = question.left.shape[0]
    nearer_4xKxK = question.open & (grid.neighbours(question.left, grid.FAR) == question.left[None] - 1)
    move_KxK = jnp.full((size, size), 3, jnp.int32)
    for d in (2, 1, 0):
        move_KxK = jnp.where(nearer_4xKxK[d], d, move_KxK)
    word_KxK = jnp.sum(question.open, axis=0, dtype=jnp.int32) * 4 + move_KxK  # the ways from a cell, the move
    word_N = in_memory(word_KxK.reshape(-1))
    stride_4 = jnp.asarray([r * size + c for r, c in grid.MOVES], jnp.int32)

    def step(here: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        there = here + stride_4[word_N[here] % 4]
        return there, (there, word_N[here])

    _, (path, words) = lax.scan(step, question.origin, None, length=most)
    moves, ways = words % 4, words // 4
    index = jnp.arange(most, dtype=jnp.int32)
    aside = ways - jnp.where(index == 0, 1, 2)  # the way on and, after the first step, the way back aren't others
    return path, moves, jnp.sum((aside > 0) & (index < question.distance), dtype=jnp.int32)


def listed(open_4xKxK: jax.Array, bits_2xE: jax.Array, first: jax.Array) -> Part:
    """The openings in random order, each as its two cells in random order; `first` is the token of the first cell."""
    size = open_4xKxK.shape[1]
    open_E, ends_Ex2 = grid.to_pairs(open_4xKxK), jnp.asarray(grid.pairs(size))
    turned_E = bits_2xE[1] >= jnp.uint32(1 << 31)
    one_E, two_E = (jnp.where(turned_E, ends_Ex2[:, 1 - k], ends_Ex2[:, k]) for k in range(2))
    slot_E = jnp.sum((bits_2xE[0][None, :] < bits_2xE[0][:, None]) & open_E[None, :], axis=1, dtype=jnp.int32)
    here_ExE = (slot_E[None, :] == jnp.arange(slot_E.shape[0], dtype=jnp.int32)[:, None]) & open_E[None, :]
    packed_E = jnp.sum(jnp.where(here_ExE, (one_E * size * size + two_E)[None, :], 0), axis=1, dtype=jnp.int32)
    cells_Ex2 = jnp.stack([packed_E // (size * size), packed_E % (size * size)], axis=1)
    return part(first + cells_Ex2.reshape(-1), 2 * jnp.sum(open_E, dtype=jnp.int32))


def walls(open_4xKxK: jax.Array, row: jax.Array, column: jax.Array, side: jax.Array) -> jax.Array:
    """Which walls of each cell are open, the maze placed at a row and column of the grid: int32[N], 16 for no cell."""
    size = open_4xKxK.shape[1]
    index_K = jnp.arange(size, dtype=jnp.int32)
    bit_4 = jnp.asarray([1, 2, 4, 8], jnp.int32)
    pattern_KxK = jnp.sum(jnp.where(open_4xKxK, bit_4[:, None, None], 0), axis=0, dtype=jnp.int32)
    pattern_KxK = jnp.where(grid.inside(side, size), pattern_KxK, 16)
    placed_KxK = jnp.roll(jnp.roll(pattern_KxK, row, axis=0), column, axis=1)
    in_row_K, in_column_K = ((index_K >= k) & (index_K < k + side) for k in (row, column))
    return jnp.where(in_row_K[:, None] & in_column_K[None, :], placed_KxK, 16).reshape(-1)
