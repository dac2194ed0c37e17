"""All 4×4 sudoku puzzles with a unique solution, up to symmetry, and how hard they are. NumPy only.

Shape letters: M sets of clues, as bit masks over the 16 cells in reading order.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np

CELLS, DIGITS, FEWEST_CLUES, ROUNDS_MOST = 16, 4, 4, 5
ROUND_BITS = 3
PEERS = 7  # cells that share a row, a column or a box with a cell


@lru_cache
def peers() -> np.ndarray:
    """int32[16, 7]: the cells that share a row, a column or a box with each cell."""
    cell = np.arange(CELLS)
    house = np.stack([cell // 4, cell % 4, cell // 8 * 2 + cell % 4 // 2])
    seen = (house[:, :, None] == house[:, None, :]).any(axis=0) & ~np.eye(CELLS, dtype=bool)
    return np.nonzero(seen)[1].reshape(CELLS, PEERS).astype(np.int32)


@lru_cache
def grids() -> np.ndarray:
    """int32[288, 16]: all solved grids, digits from 0."""
    found = np.zeros((1, 0), np.int32)
    for cell in range(CELLS):
        digits = np.tile(np.arange(DIGITS, dtype=np.int32), len(found))
        extended = np.column_stack([np.repeat(found, DIGITS, axis=0), digits])
        earlier = [p for p in peers()[cell] if p < cell]
        found = extended[np.all(extended[:, earlier] != digits[:, None], axis=1)]
    return found


@lru_cache
def symmetries() -> np.ndarray:
    """int32[128, 16]: the rearrangements of cells that keep rows, columns and boxes; the new cell c is the old [c]."""
    lines = [np.array([2 * a + b, 2 * a + 1 - b, 2 - 2 * a + c, 3 - 2 * a - c]) for a, b, c in np.ndindex(2, 2, 2)]
    square = np.arange(CELLS).reshape(4, 4)
    found = [turned[np.ix_(r, c)].reshape(-1) for turned in (square, square.T) for r in lines for c in lines]
    return np.array(found, np.int32)


class Puzzles(NamedTuple):
    """Every uniquely solvable set of clues of the two grids that all others are images of.

    Attributes:
      solved: int32[2, 16], the grids; 96 of the 288 are images of the first and 192 of the second.
      masks: int32[·], bit c is set where cell c is a clue; sorted by grid, number of clues and rounds.
      rounds: int32[·, 2], for each mask the round in which each cell is filled in, ROUND_BITS for each of 8 cells.
      first: int32[2, 17, ROUNDS_MOST + 2], where the masks of a grid, a number of clues and of rounds begin.
      least, most: int32[17], of the rounds that puzzles with so many clues need; 0 where there are none.
    """

    solved: np.ndarray
    masks: np.ndarray
    rounds: np.ndarray
    first: np.ndarray
    least: np.ndarray
    most: np.ndarray


@lru_cache
def puzzles() -> Puzzles:
    """See `Puzzles`. A set of clues has a unique solution if no other of the 288 grids agrees with it."""
    everything, bit = grids(), 1 << np.arange(CELLS)
    mask_M = np.arange(1 << CELLS)
    solved, masks, packed, counts = [], [], [], np.zeros((2, CELLS + 1, ROUNDS_MOST + 1), np.int64)
    for index, orbit in enumerate((96, 192)):
        grid = next(g for g in everything if len(_images(g)) == orbit)
        agreeing = (everything == grid) @ bit
        unique_M = np.ones(mask_M.shape, bool)
        for other in np.unique(agreeing[agreeing < mask_M[-1]]):
            unique_M &= mask_M & ~other != 0
        unique = mask_M[unique_M]
        clues = (unique[:, None] & bit > 0).sum(axis=1)
        each = rounds_needed(unique, grid)
        rounds = each.max(axis=1)
        order = np.lexsort((unique, rounds, clues))
        masks.append(unique[order])
        packed.append((each[order].reshape(-1, 2, CELLS // 2) << ROUND_BITS * np.arange(CELLS // 2)).sum(axis=2))
        np.add.at(counts[index], (clues, rounds), 1)
        solved.append(grid)
    counts[:, CELLS] = 0  # nothing to fill in
    ends = np.cumsum(np.concatenate([c.reshape(-1) for c in counts])).reshape(counts.shape)
    first = np.concatenate([(ends[..., 0] - counts[..., 0])[..., None], ends], axis=2)
    first[1] += 1  # the full mask, which ends the first grid's
    some = counts.sum(axis=0) > 0
    least, most = np.argmax(some, axis=1), np.where(some.any(axis=1), ROUNDS_MOST - np.argmax(some[:, ::-1], axis=1), 0)
    tables = (np.array(solved), np.concatenate(masks), np.concatenate(packed), first, least, most)
    return Puzzles(*(t.astype(np.int32) for t in tables))


def _images(grid: np.ndarray) -> set[bytes]:
    renamings = np.array(list(itertools.permutations(range(DIGITS))), np.int32)
    return {image.tobytes() for image in renamings[:, grid[symmetries()]].reshape(-1, CELLS)}


def candidates(mask_M: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """How many digits the known cells leave for each cell: int[M, 16]."""
    known = mask_M[:, None] >> np.arange(CELLS) & 1
    seen = np.bitwise_or.reduce((known << grid)[:, peers()], axis=2)
    return DIGITS - np.bitwise_count(seen.astype(np.uint8)).astype(np.int64)


def rounds_needed(mask_M: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The round in which each cell has one candidate left, 0 for clues: int[M, 16].

    A round fills in every cell for which the digits known before it leave a single candidate ('naked singles'). All
    4×4 puzzles with a unique solution are solved by that, in at most ROUNDS_MOST rounds.
    """
    known, rounds = mask_M.copy(), np.zeros((mask_M.size, CELLS), np.int64)
    for step in range(1, ROUNDS_MOST + 1):
        new = (candidates(known, grid) == 1) & (known[:, None] >> np.arange(CELLS) & 1 == 0)
        rounds[new] = step
        known = known | (new << np.arange(CELLS)).sum(axis=1)
    return rounds
