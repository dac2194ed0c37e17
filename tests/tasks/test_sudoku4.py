"""4×4 sudoku: the tables against known counts, unique solutions, uniform puzzles, mates, guesses."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, TaskError
from tasks.planning.puzzles4 import CELLS, candidates, grids, puzzles, symmetries
from tasks.planning.sudoku4 import BLANK, FIRST_CELL, _solutions
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, within

READING, SOLVER = make("sudoku4"), make("sudoku4", order="solver")
LENGTHS = {READING: 16 + 12, SOLVER: 16 + 24}
SCORE = quick_jit(SOLVER.score)
BITS = 1 << np.arange(CELLS)


def test_grids_and_symmetries():
    assert grids().shape == (288, 16)
    everything = {g.tobytes() for g in grids()}
    assert len(everything) == 288
    assert len({s.tobytes() for s in symmetries()}) == 128
    assert all(g[s].tobytes() in everything for g in grids()[:3] for s in symmetries())
    assert len(_solutions([0] * 16)) == 288


def test_numbers_of_puzzles_are_the_known_ones():
    """25,728 puzzles have four clues; 85,632 are minimal: 25,728, 58,368 and 1,536 with 4, 5 and 6 clues."""
    table, ends = puzzles(), puzzles().first[:, 15, -1]
    found = np.zeros(7, int)
    for grid, orbit in ((0, 96), (1, 192)):
        masks = table.masks[table.first[grid, 4, 0] : ends[grid]]
        known = np.zeros(1 << 16, bool)
        known[masks] = True
        subsets = masks[:, None] & ~BITS
        minimal = masks[~np.any(known[subsets] & (subsets != masks[:, None]), axis=1)]
        sizes = np.bitwise_count(minimal)
        found += orbit * np.bincount(sizes, minlength=7)
    assert found.tolist() == [0, 0, 0, 0, 25_728, 58_368, 1_536]


@pytest.mark.parametrize("grid", first_by_default([0, 1]))
def test_masks_of_the_table_are_those_with_a_unique_solution(grid):
    table, generator = puzzles(), np.random.default_rng(grid)
    solved = table.solved[grid] + 1
    known = set(table.masks[table.first[grid, 4, 0] : table.first[grid, 15, -1]].tolist())
    for mask in generator.integers(1 << 16, size=60).tolist() + generator.choice(list(known), 20).tolist():
        puzzle = np.where(mask & BITS > 0, solved, 0).tolist()
        assert (len(_solutions(puzzle)) == 1) == (mask in known or mask == (1 << 16) - 1)
    assert all(left == 1 for mask in list(known)[:50] for left in _rounds((solved * (mask & BITS > 0)).tolist())[1])


def _rounds(puzzle):
    """Rounds of naked singles: cell -> round, and how many solutions the filled grid has (one)."""
    rounds, step = {}, 0
    while 0 in puzzle:
        step += 1
        new = {}
        for cell in (c for c in range(16) if puzzle[c] == 0):
            options = _options(puzzle, cell)
            if len(options) == 1:
                new[cell] = options.pop()
        assert new, "naked singles solve every puzzle"
        for cell, digit in new.items():
            puzzle = [*puzzle[:cell], digit, *puzzle[cell + 1 :]]
        rounds |= dict.fromkeys(new, step)
    return rounds, [len(_solutions(puzzle))]


def _options(puzzle, cell):
    row, column = divmod(cell, 4)
    seen = {puzzle[4 * row + k] for k in range(4)} | {puzzle[4 * k + column] for k in range(4)}
    seen |= {puzzle[4 * (row // 2 * 2 + a) + column // 2 * 2 + b] for a in (0, 1) for b in (0, 1)}
    return {1, 2, 3, 4} - seen


@pytest.mark.parametrize("task", [READING, SOLVER], ids=["reading", "solver"])
@given(
    clues=st.integers(4, 15),
    low=st.integers(1, 5),
    span=st.integers(0, 4),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_puzzles_are_right(task, clues, low, span, held_out, seed):
    high = min(low + span, 5)
    difficulty = {"clues": clues, "fewest_rounds": low, "most_rounds": high, "held_out": held_out}
    batch = draw(task, difficulty, LENGTHS[task], 8, seed)
    table = puzzles()
    for index in range(8):
        example = one(batch, index)
        puzzle = [t if t != BLANK else 0 for t in example.tokens[:16].tolist()]
        blanks = [c for c in range(16) if puzzle[c] == 0]
        assert len(blanks) == 16 - clues
        said = example.targets[example.weights > 0].tolist()
        cells = blanks if task is READING else [t - FIRST_CELL for t in said[::2]]
        digits = said if task is READING else said[1::2]
        assert task.check((), example, example.targets)  # which sees to it that the solution is unique
        assert task is READING or SCORE(example, example.targets)
        rounds, _ = _rounds(puzzle)
        needed = max(rounds.values())
        assert min(low, table.most[clues]) <= needed <= max(high, table.least[clues])
        if task is SOLVER:
            assert cells == sorted(blanks, key=lambda c, rounds=rounds: (rounds[c], c))
            filled = puzzle.copy()
            for cell, digit in zip(cells, digits, strict=True):
                assert _options(filled, cell) == {digit}
                filled[cell] = digit
        factors = {name: int(value) for name, value in example.factors.items()}
        options = len(_options(puzzle, blanks[0]))
        assert factors == {"digit": digits[0] - 1, "cell": cells[0], "rounds": needed - 1, "candidates": options - 1}
        assert example.read.tolist() == [16, 15 + len(said)]


def test_mates_are_on_different_sides():
    """The same draw on both sides: puzzles that differ by exchanging digits 1 and 2, nothing else."""
    difficulty = {**READING.splits["train"].difficulty, "fewest_rounds": 1, "most_rounds": 5}
    train, held = (draw(READING, {**difficulty, "held_out": side}, 24).tokens[:, :16] for side in (0, 1))
    exchange = np.array([0, 2, 1, 3, 4, BLANK])
    np.testing.assert_array_equal(exchange[train], held)
    assert np.any(train != held, axis=1).all()
    assert within(np.mean(train[:, 0] == 1), 0.125, 2048)  # a half of the cells is given, digits are uniform


@pytest.mark.slow
def test_puzzles_are_uniform():
    """With five clues and three rounds the first grid has 208 masks for 96 images, the second 496 for 192."""
    batch = draw_split(make("sudoku4", clues=5, fewer_clues=4, rounds=3), "train", 4096)
    table = puzzles()
    rounds = [table.first[grid, 5, 4] - table.first[grid, 5, 0] for grid in (0, 1)]
    images = {table.solved[0][s].tobytes() for s in symmetries()}
    names = np.array(list(itertools.permutations(range(4))), np.int32)
    images = {name[np.frombuffer(i, np.int32)].tobytes() for i in images for name in names}
    solved = batch.tokens[:, :16].copy()
    blank = solved == BLANK
    solved[blank] = batch.targets[batch.weights > 0]
    in_first = np.array([(row - 1).astype(np.int32).tobytes() in images for row in solved])
    assert within(in_first.mean(), rounds[0] / (rounds[0] + 2 * rounds[1]), 4096)
    assert within(blank[:, 0].mean(), 11 / 16, 4096)


def in_turn(puzzle, blanks, generator):
    """For one blank after the other a random digit that nothing before excludes; 0 where none is left."""
    filled, said = [*puzzle], []
    for cell in blanks:
        filled[cell] = int(generator.choice(sorted(_options(filled, cell)) or [0]))
        said.append(filled[cell])
    return said


@pytest.mark.parametrize("split", first_by_default(["iid", "rounds"]))
def test_guesses_reach_their_baselines(split):
    batch, generator, count = draw_split(READING, split), np.random.default_rng(0), 1500
    right = {"row": 0, "candidates": 0, "in_turn": 0}
    for index in range(count):
        example = one(batch, index)
        puzzle = [t if t != BLANK else 0 for t in example.tokens[:16].tolist()]
        wanted = example.targets[example.weights > 0].tolist()
        blanks = [c for c in range(16) if puzzle[c] == 0]
        guess = [generator.choice(sorted(_options(puzzle, c))) for c in blanks]
        right["candidates"] += guess == wanted
        right["in_turn"] += in_turn(puzzle, blanks, generator) == wanted
        rows = [generator.permutation(sorted({1, 2, 3, 4} - set(puzzle[4 * r : 4 * r + 4]))) for r in range(4)]
        right["row"] += np.concatenate(rows).tolist() == wanted
    for name, number in right.items():
        assert within(number / count, READING.baselines(split)[name].exact, count), name


def test_answers_given_before_exclude_digits_which_is_most_of_the_way():
    reading, solver = (task.baselines("iid") for task in (READING, SOLVER))
    assert reading["in_turn"].exact == solver["in_turn"].exact == pytest.approx(0.71, abs=0.01)
    assert reading["candidates"].exact == pytest.approx(0.19, abs=0.01)
    assert solver["candidates"].logprob < solver["in_turn"].logprob < 0


def test_candidates_that_solve_everything_are_no_baseline():
    task = make("sudoku4", clues=12, fewer_clues=10, rounds=1)
    assert not {"candidates", "in_turn"} & set(task.baselines("train"))
    assert {"candidates", "in_turn"} <= set(task.baselines("rounds"))
    assert candidates(np.array([0]), grids()[0]).tolist() == [[4] * 16]


def test_the_solver_may_name_cells_in_any_order_but_each_once():
    batch, generator = draw_split(SOLVER, "train"), np.random.default_rng(0)
    for index in range(20):
        example = one(batch, index)
        asked = np.flatnonzero(example.weights > 0)
        pairs = example.targets[asked].reshape(-1, 2)

        def verdicts(said, example=example, asked=asked):
            answer = np.full_like(example.targets, NO_ANSWER)
            answer[asked] = said.reshape(-1)
            padded = np.pad(answer, (0, LENGTHS[SOLVER] - answer.size), constant_values=NO_ANSWER)
            more = LENGTHS[SOLVER] - answer.size
            fields = {f: np.pad(getattr(example, f), (0, more)) for f in ("tokens", "targets", "weights")}
            return SOLVER.check((), example, answer), bool(SCORE(example._replace(**fields), padded))

        assert verdicts(generator.permutation(pairs)) == (True, True)
        twice = pairs.copy()
        twice[0] = twice[1]
        assert verdicts(twice) == (False, False)
        assert verdicts(pairs[:, ::-1]) == (False, False)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"clues": 4}, "clues must be a whole number in \\[5, 13\\]"),
        ({"rounds": 1, "clues": 6}, "rounds must be a whole number in \\[2, 4\\]"),
        ({"rounds": 5}, "rounds must be"),
        ({"fewer_clues": 8}, "fewer_clues must be a whole number in \\[4, 7\\]"),
        ({"clues": 12, "rounds": 1}, "every puzzle with fewer_clues=6 needs more than rounds=1; ask for at least 8"),
        ({"order": "random"}, "order must be one of reading, solver"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("sudoku4", **sizes)
