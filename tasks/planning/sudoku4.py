"""4×4 sudoku with a unique solution: fill in the blanks, in reading order or in a solver's (arXiv 2409.10502)."""

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

from tasks.base import (
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
from tasks.draw import hash_bit, in_memory, words
from tasks.planning.puzzles4 import (
    CELLS,
    DIGITS,
    FEWEST_CLUES,
    ROUND_BITS,
    ROUNDS_MOST,
    candidates,
    peers,
    puzzles,
    symmetries,
)
from tasks.sequence import part, write

ORDERS = ("reading", "solver")
BLANK, ASK = 5, 6
FIRST_CELL = 7  # token of cell 0, where the order is the solver's
BLANKS_MOST = CELLS - FEWEST_CLUES
MEASURED = 1 << 14  # puzzles behind the baseline `in_turn`


@dataclass(frozen=True)
class Sudoku4:
    """Given some cells of a 4×4 sudoku, write the digits of all others.

    Every row, column and 2×2 box of a solved grid holds each digit once; there are 288. Every puzzle has one solution.
    Puzzles are uniform over all that have the asked number of clues and need the asked rounds of naked singles: in each
    round every cell is filled in for which the digits known before leave one candidate. All are solved so.

    Tokens: digits 1 … 4, BLANK, ASK, and in the solver's order 16 cells. Sequence: the 16 cells row by row, ASK, the
    answer, which is fed back: in reading order the digits of the blanks; in the solver's order `cell digit` for each
    blank, those of earlier rounds first and each round in reading order. There the cells may come in any order.

    `train` and `iid` halve every set of puzzles exactly. Puzzles that differ only by exchanging digits 1 and 2 are
    mates (one of these is always given: two digits without a clue could be exchanged in the solution); a hash of what
    the mates share says which of them is trained on.

    Attributes:
      clues: cells given in `train` and `iid`. Traced in `sample`.
      fewer_clues: cells given in the `clues` split.
      rounds: the most rounds that training's puzzles need; the `rounds` split needs more. Traced in `sample`.
      order: 'reading' or 'solver', the order of the answer.
    """

    clues: int = 8
    fewer_clues: int = 6
    rounds: int = 2
    order: str = "reading"

    name: ClassVar[str] = "sudoku4"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = (
        "Shah et al. 2024, arXiv 2409.10502 (9×9, and the order of the answer); the 288 grids: Taalman 2007"
    )
    known: ClassVar[str] = (
        "On 9×9, causal transformers trained on a solver's sequence of cells solve 94% of the puzzles; trained without "
        "it they fail."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"clues": 5, "fewer_clues": 4, "rounds": 3},
        {"clues": 8, "fewer_clues": 7, "order": "solver"},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="clues12",
            sizes={"clues": 12, "fewer_clues": 10, "rounds": 1},
            expected={"iid": (0.9, 1.0)},
            about="four blanks, each determined by the clues alone",
            source="measured here",
            seconds=40,
            steps=4000,
        ),
        Card(
            name="solver8",
            sizes={"order": "solver"},
            expected={"iid": (0.75, 1.0)},
            about="eight blanks in the order in which they are determined (in reading order: 0.61 and 0.87)",
            source="measured here; the order matters more on 9×9: Shah et al. 2024, arXiv 2409.10502",
            seconds=90,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_choice(self, "order", ORDERS)
        require_range(self, "clues", FEWEST_CLUES + 1, 13)  # with more, one round solves all
        least, most = puzzles().least, puzzles().most
        require_range(self, "rounds", int(least[self.clues]), int(most[self.clues]) - 1)
        require_range(self, "fewer_clues", FEWEST_CLUES, self.clues - 1)
        if least[self.fewer_clues] > self.rounds:
            raise TaskError(
                f"sudoku4: every puzzle with fewer_clues={self.fewer_clues} needs more than rounds={self.rounds}; "
                f"ask for at least {int(np.argmax((least <= self.rounds) & (least > 0)))} clues or for more rounds."
            )

    @property
    def _each(self) -> int:
        """Answer tokens for one blank."""
        return 1 if self.order == "reading" else 2

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return FIRST_CELL if self.order == "reading" else FIRST_CELL + CELLS

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, fewer `clues`, and more `rounds`."""

        def split(clues: int, rounds: tuple[int, int], held_out: int, about: str) -> Split:
            tokens = self._each * (CELLS - clues)
            return Split(
                difficulty={
                    "clues": clues,
                    "fewest_rounds": rounds[0],
                    "most_rounds": rounds[1],
                    "held_out": held_out,
                },
                length=CELLS + tokens,
                answer_tokens=tokens,
                decode_steps=tokens,
                disjoint=bool(held_out),
                about=about,
                unique=self.order == "reading",
            )

        few, many = (1, self.rounds), (self.rounds + 1, ROUNDS_MOST)
        return {
            "train": split(self.clues, few, 0, f"{self.clues} clues, up to {self.rounds} rounds; half of the puzzles"),
            "iid": split(self.clues, few, 1, "the other half of those puzzles"),
            "clues": split(self.fewer_clues, few, 1, f"{self.fewer_clues} clues"),
            "rounds": split(self.clues, many, 1, f"more than {self.rounds} rounds of naked singles"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One blank, hence one round."""
        return {"clues": CELLS - 1, "most_rounds": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `digit` (from 0) of the first cell that is answered, that `cell`; the puzzle's `rounds`, less one.

        And, less one, the number of `candidates` that the clues leave for the first blank in reading order.
        """
        return {"digit": DIGITS, "cell": CELLS, "rounds": ROUNDS_MOST, "candidates": DIGITS}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of ASK, where the first answer is due, and that of the last answer."""
        return ("ask", "last_answer")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One puzzle.

        Difficulty: `clues` in [4, 15]; `fewest_rounds` and `most_rounds` in [1, 5] (where puzzles with so many clues
        need none of these, the closest number that some need); `held_out` 0 (train's half) or 1.
        """
        names = ("clues", "fewest_rounds", "most_rounds", "held_out")
        clues, fewest, most, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
        bits = words(key, 3)
        digit_C, round_C = in_memory(jnp.stack(_draw(bits, clues, fewest, most)))
        given_C = round_C == 0
        digit_C = in_memory(_choose_side(digit_C, given_C, held_out > 0))

        cell_C = jnp.arange(CELLS, dtype=jnp.int32)
        rank_C = cell_C if self.order == "reading" else round_C * CELLS + cell_C
        place_C = jnp.sum(~given_C[None, :] & (rank_C[None, :] < rank_C[:, None]), axis=1, dtype=jnp.int32)
        place_C = jnp.where(given_C, CELLS, place_C)
        cell_K = jnp.argmax(place_C[None, :] == jnp.arange(BLANKS_MOST)[:, None], axis=1).astype(jnp.int32)
        answer = 1 + digit_C[cell_K]
        if self.order == "solver":
            answer = jnp.stack([FIRST_CELL + cell_K, answer], axis=1).reshape(-1)
        question = jnp.append(jnp.where(given_C, 1 + digit_C, BLANK), jnp.int32(ASK))
        written = write(length, part(question), part(answer, self._each * (CELLS - clues)))
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={
                "digit": digit_C[cell_K[0]],
                "cell": cell_K[0],
                "rounds": jnp.max(round_C) - 1,
                "candidates": _candidates(digit_C, given_C, jnp.argmin(given_C)) - 1,
            },
            read=jnp.stack([written.question, written.last]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`; in the solver's order the cells may come in any order."""
        if self.order == "reading":
            return exact_match(example, answer)
        pair = jnp.clip(CELLS + 2 * jnp.arange(BLANKS_MOST), 0, answer.shape[0] - 2)
        asked_K = jnp.arange(BLANKS_MOST) < jnp.sum(example.weights == 1, dtype=jnp.int32) // 2
        wanted_K, said_K = (x[pair] * (FIRST_CELL + CELLS) + x[pair + 1] for x in (example.targets, answer))
        found_K = jnp.any((wanted_K[:, None] == said_K[None, :]) & asked_K[None, :], axis=1)
        in_range = jnp.all((answer < self.vocab_size) | (example.weights < 1))
        return in_range & jnp.all(found_K | ~asked_K)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Solve by trying digits, cell by cell."""
        puzzle = [t if t != BLANK else 0 for t in np.asarray(example.tokens)[:CELLS].tolist()]
        said = np.asarray(answer)[np.asarray(example.weights) > 0].tolist()
        blanks = [cell for cell, digit in enumerate(puzzle) if digit == 0]
        if self.order == "solver":
            cells, said = [t - FIRST_CELL for t in said[::2]], said[1::2]
        else:
            cells = blanks
        if sorted(cells) != blanks:
            return False
        filled = puzzle.copy()
        for cell, digit in zip(cells, said, strict=True):
            filled[cell] = digit
        return [filled] == _solutions(puzzle)

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the tokens; `row`: a random arrangement of the digits that each row lacks; `candidates`: for
        every blank a random digit that no clue in its row, column or box excludes; `in_turn`: one that no earlier
        answer there excludes either, blank after blank in reading order, with no thought of those to come.

        Where the last two solve every puzzle (one round) they are the task itself and left out. The first three are
        exact enumerations; `in_turn` is measured on `MEASURED` puzzles of a fixed seed, so good to about .01. In the
        solver's order `chance` counts every order, and log-probabilities are those of cells in a random order.
        """
        difficulty = {name: int(value) for name, value in self.splits[split].difficulty.items()}
        clues, low, high = (difficulty[k] for k in ("clues", "fewest_rounds", "most_rounds"))
        blanks = CELLS - clues
        tokens, orders = self._each * blanks, math.lgamma(blanks + 1) if self.order == "solver" else 0.0
        chance = Baseline(math.exp(orders - tokens * math.log(self.vocab_size)), -math.log(self.vocab_size))
        guesses = {"row": _guess(clues, low, high, rows=True), "candidates": _guess(clues, low, high, rows=False)}
        exact, nats = _in_turn(clues, low, high)
        guesses["in_turn"] = exact, nats if self.order == "reading" else 0.0  # the solver's order leaves one digit
        found = {
            name: Baseline(exact, -(nats + orders) / tokens) for name, (exact, nats) in guesses.items() if exact < 1
        }
        return {"chance": chance, **found}

    def render(self, example: Example) -> str:
        """The puzzle next to the grid that the answer fills, and the answer itself."""
        tokens = np.asarray(example.tokens)
        said = np.asarray(example.targets)[np.asarray(example.weights) > 0].tolist()
        puzzle = [str(t) if t != BLANK else "." for t in tokens[:CELLS].tolist()]
        blanks = [cell for cell, digit in enumerate(puzzle) if digit == "."]
        cells = blanks if self.order == "reading" else [t - FIRST_CELL for t in said[::2]]
        filled = puzzle.copy()
        for cell, digit in zip(cells, said[self._each - 1 :: self._each], strict=True):
            if 0 <= cell < CELLS:
                filled[cell] = str(digit)
        lines = [f"{_row(puzzle, row)}   {_row(filled, row)}" for row in range(4)]
        lines.insert(2, "----+----   ----+----")
        words = [str(d) for d in said]
        if self.order == "solver":
            words = [f"r{c // 4 + 1}c{c % 4 + 1}={d}" for c, d in zip(cells, said[1::2], strict=True)]
        return "\n".join([*lines, "fill in " + " ".join(words)])


def _row(cells: list[str], row: int) -> str:
    a, b, c, d = cells[4 * row : 4 * row + 4]
    return f"{a} {b} | {c} {d}"


def _draw(bits_3: jax.Array, clues: jax.Array, fewest: jax.Array, most: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A uniform puzzle: its solution, digits from 0, and the round in which naked singles fill each cell, 0 for clues.

    A uniform mask of a grid, moved by a uniform symmetry and with digits renamed uniformly, is uniform over the puzzles
    of all the grid's images. The second grid has twice as many of them, so its masks count twice.
    """
    table = puzzles()
    low = jnp.minimum(fewest, jnp.asarray(table.most)[clues])
    high = jnp.maximum(most, jnp.asarray(table.least)[clues])
    first = jnp.asarray(table.first)
    begin_2, end_2 = first[:, clues, low], first[:, clues, high + 1]
    count_2 = end_2 - begin_2
    ticket = (bits_3[0] % (count_2[0] + 2 * count_2[1]).astype(jnp.uint32)).astype(jnp.int32)
    second = ticket >= count_2[0]
    index = jnp.where(second, begin_2[1] + (ticket - count_2[0]) // 2, begin_2[0] + ticket)
    packed_2 = jnp.asarray(table.rounds)[index]
    source_C = jnp.asarray(symmetries())[(bits_3[1] % jnp.uint32(128)).astype(jnp.int32)]
    renamings = np.array(list(itertools.permutations(range(DIGITS))), np.int32)
    renamed = jnp.asarray(renamings)[(bits_3[2] % jnp.uint32(24)).astype(jnp.int32)]
    digit_C = renamed[jnp.asarray(table.solved)[second.astype(jnp.int32), source_C]]
    packed_C = packed_2[source_C // (CELLS // 2)] >> (ROUND_BITS * (source_C % (CELLS // 2)))
    return digit_C, packed_C & ((1 << ROUND_BITS) - 1)


def _choose_side(digit_C: jax.Array, given_C: jax.Array, held_out: jax.Array) -> jax.Array:
    """Exchange the first two digits or not, so that the puzzle lies on the wanted side of the hash."""
    first = jnp.argmax(given_C & (digit_C < 2))
    exchanged_C = jnp.where(digit_C < 2, 1 - digit_C, digit_C)
    shared_C = jnp.where(digit_C[first] == 1, exchanged_C, digit_C)
    other_C = jnp.where(digit_C[first] == 1, digit_C, exchanged_C)
    words_C = jnp.where(given_C, shared_C, -1)
    return jnp.where(hash_bit(words_C, jnp.ones((CELLS,), bool)) ^ held_out, other_C, shared_C)


def _candidates(digit_C: jax.Array, given_C: jax.Array, cell: jax.Array) -> jax.Array:
    """How many digits the clues in its row, column and box leave for an unknown cell: int32[]."""
    is_peer_CxC = (peers()[:, :, None] == np.arange(CELLS)).any(axis=1)
    seen_C = given_C & jnp.asarray(is_peer_CxC)[cell]
    digit_D = jnp.arange(DIGITS, dtype=jnp.int32)
    seen_D = jnp.any(seen_C[:, None] & (digit_C[:, None] == digit_D[None, :]), axis=0)
    return DIGITS - jnp.sum(seen_D, dtype=jnp.int32)


@lru_cache
def _guess(clues: int, low: int, high: int, rows: bool) -> tuple[float, float]:
    """Share of puzzles solved by a random guess, and the mean nats of a puzzle's solution under it.

    Guesses are arrangements of what each row lacks, or else independent candidates of each blank.
    """
    table = puzzles()
    nats, weights = [], []
    for grid, weight in zip((0, 1), (1.0, 2.0), strict=True):
        begin, end = table.first[grid, clues, low], table.first[grid, clues, high + 1]
        mask_M = table.masks[begin:end]
        blank = mask_M[:, None] >> np.arange(CELLS) & 1 == 0
        arrangements = np.array([math.factorial(n) for n in range(DIGITS + 1)])[blank.reshape(-1, 4, 4).sum(axis=2)]
        options = arrangements if rows else np.where(blank, candidates(mask_M, table.solved[grid]), 1)
        nats.append(np.sum(np.log(options), axis=1))
        weights.append(np.full(mask_M.size, weight))
    nats, weights = np.concatenate(nats), np.concatenate(weights)
    return float(np.average(np.exp(-nats), weights=weights)), float(np.average(nats, weights=weights))


@lru_cache
def _in_turn(clues: int, low: int, high: int) -> tuple[float, float]:
    """The share of puzzles solved by a random digit for one blank after the other, and the mean nats of a solution.

    Neither a clue nor an earlier answer in the blank's row, column or box excludes the digit.

    Shape letters: M sets of clues, N puzzles, P peers of a cell.
    """
    table, generator = puzzles(), np.random.default_rng(0)
    bounds = [(table.first[grid, clues, low], table.first[grid, clues, high + 1]) for grid in (0, 1)]
    grid_M = np.repeat([0, 1], [end - begin for begin, end in bounds])
    mask_M = np.concatenate([table.masks[begin:end] for begin, end in bounds])
    pick_N = generator.choice(mask_M.size, MEASURED, p=(1 + grid_M) / np.sum(1 + grid_M))
    source_NxC = symmetries()[generator.integers(len(symmetries()), size=MEASURED)]
    digit_NxC = table.solved[grid_M[pick_N][:, None], source_NxC]
    blank_NxC = mask_M[pick_N][:, None] >> source_NxC & 1 == 0
    when_NxC = np.where(blank_NxC, np.arange(CELLS), -1)  # clues are known before any answer
    seen_NxCxP = when_NxC[:, peers()] < when_NxC[:, :, None]
    known_NxC = np.bitwise_or.reduce(np.where(seen_NxCxP, 1 << digit_NxC[:, peers()], 0), axis=2)
    options_NxC = np.where(blank_NxC, DIGITS - np.bitwise_count(known_NxC), 1)
    nats_N = np.sum(np.log(options_NxC), axis=1)
    return float(np.mean(np.exp(-nats_N))), float(np.mean(nats_N))


def _solutions(puzzle: list[int]) -> list[list[int]]:
    """All ways to fill in the zeros of a grid."""
    if 0 not in puzzle:
        return [puzzle]
    cell = puzzle.index(0)
    row, column = divmod(cell, 4)
    found = []
    for digit in range(1, DIGITS + 1):
        clash = any(
            d == digit and (c // 4 == row or c % 4 == column or (c // 8 == cell // 8 and c % 4 // 2 == column // 2))
            for c, d in enumerate(puzzle)
        )
        if not clash:
            found += _solutions([*puzzle[:cell], digit, *puzzle[cell + 1 :]])
    return found
