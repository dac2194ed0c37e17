"""Grid mazes: the shortest way from one cell to another (cf. maze-dataset, arXiv 2309.10498)."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import append, uniform
from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, World, require_choice, require_range
from tasks.draw import words
from tasks.planning import dag, grid, labyrinth, simulated
from tasks.planning.wanderers import Cell, Way, walkers
from tasks.sequence import Part, part, write

REPRESENTATIONS = ("adjacency", "cells")
ANSWERS = ("path", "moves", "first")
PLACES = ("anywhere", "corner")
ARROWS = "↑→↓←"
SIMULATED = 1024  # mazes behind the baselines


@dataclass(frozen=True)
class Maze:
    """From the openings of a maze, an origin and a target, answer a shortest way (any counts).

    A maze has `side` rows and columns. Its generator gives a spanning tree, and then walls chosen at random are opened:
    'dfs' is randomized depth-first search (long corridors), 'kruskal' the minimum spanning tree of random weights,
    'wilson' a uniformly random spanning tree (what Wilson's algorithm gives, drawn pair by pair in a fixed number of
    steps); 'percolation' has no tree, only as many random openings, so it may have cycles and unreachable parts. A maze
    has side² - 1 + `cycles` openings, whatever its generator. The target is a random cell that has an opening, the
    origin a random one of those at most `farthest` steps away. `targets` hold the shortest way that takes the first of
    up, right, down, left wherever it may choose.

    `answer` 'path' asks for the cells after the origin, target included, 'moves' for the steps, 'first' for the first
    step only. Every answer token is fed back.

    Tokens: the cells of a grid of `larger` rows and columns, row by row, then (if used) the four moves, then (if used)
    16 patterns of openings and 'no cell', then ANSWER. Sequence, 'adjacency': the openings in random order, each as its
    two cells in random order; 'cells': for every cell of the grid, row by row, which of its four walls are open. Then
    the origin, the target, ANSWER. Mazes are placed anywhere on the grid, so that every cell's token is trained on;
    with `place` 'corner' they begin at the first row and column, as in maze-dataset, and `size` shows new tokens.

    `train` and `iid` have different mazes, wherever these are placed: a maze and its mirror image are mates, and a hash
    of both says which is trained on. Of a maze that is its own mirror image, the hash splits the questions instead: one
    and its reverse, origin and target exchanged, are mates.

    Attributes:
      side: rows and columns in all splits but `size`. Traced in `sample`.
      larger: rows and columns of the grid, and of the mazes of the `size` split.
      generator: one of 'dfs', 'kruskal', 'wilson', 'percolation'.
      other: another of them, for the `generator` split. Which of the two is traced in `sample`.
      cycles: openings beyond those of a tree. Traced in `sample`.
      more_cycles: the same in the `cycles` split.
      farthest: the largest distance in training. Traced in `sample`.
      farther: the largest in the `distance` split, which begins at farthest + 1: mazes are drawn until one has a way so
        long, after 16 by depth-first search whatever the generator, and after 31 the maze is one winding corridor.
      representation: 'adjacency' or 'cells'.
      answer: 'path', 'moves' or 'first'.
      place: 'anywhere' or 'corner'.
    """

    side: int = 4
    larger: int = 5
    generator: str = "dfs"
    other: str = "wilson"
    cycles: int = 0
    more_cycles: int = 2
    farthest: int = 6
    farther: int = 9
    representation: str = "adjacency"
    answer: str = "path"
    place: str = "anywhere"

    name: ClassVar[str] = "maze"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = "maze-dataset: Ivanitskiy et al. 2023, arXiv 2309.10498; cf. arXiv 2312.02566"
    known: ClassVar[str] = (
        "Transformers trained on paths as text come to hold the whole maze, linearly decodable, and follow it by heads "
        "that attend to adjacent cells. Other generators shift the data; as mazes grow, next-token training falls "
        "behind predicting several steps at once (arXiv 2412.05117)."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "side": 3,
            "larger": 4,
            "generator": "kruskal",
            "other": "percolation",
            "farthest": 3,
            "farther": 4,
            "representation": "cells",
            "answer": "first",
            "place": "corner",
        },
        {"side": 3, "larger": 4, "cycles": 1, "farthest": 3, "farther": 4},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="three_by_three",
            sizes={
                "side": 3,
                "larger": 4,
                "generator": "wilson",
                "other": "dfs",
                "farthest": 4,
                "farther": 6,
                "place": "corner",
            },
            expected={"iid": (0.85, 1.0), "distance": (0.0, 0.5), "size": (0.0, 0.2)},
            about="ways through 3x3 mazes are learned; longer ways and larger mazes are not",
            source="measured here; cf. Ivanitskiy et al. 2023, arXiv 2312.02566",
            seconds=50,
            steps=5500,
            rate=2e-3,
        ),
    )

    def __post_init__(self):
        require_choice(self, "generator", grid.GENERATORS)
        require_choice(self, "other", grid.GENERATORS)
        require_choice(self, "representation", REPRESENTATIONS)
        require_choice(self, "answer", ANSWERS)
        require_choice(self, "place", PLACES)
        if self.generator == self.other:
            raise TaskError(f"maze: other must be another generator than '{self.generator}', for the generator split.")
        require_range(self, "side", 3, grid.SIDE_MOST - 1)
        require_range(self, "larger", self.side + 1, grid.SIDE_MOST)
        walls = (self.side - 1) ** 2  # of a spanning tree
        require_range(self, "cycles", 0, walls - 1)
        require_range(self, "more_cycles", self.cycles + 1, walls)
        require_range(self, "farthest", 1, self.side**2 - 2)
        most = grid.longest(self.side, self.cycles) - 1
        if self.farthest > most:
            raise TaskError(
                f"maze: farthest must be at most {most} for side {self.side} and cycles {self.cycles}, or no maze is "
                f"sure to have the longer ways of the distance split, not {self.farthest}."
            )
        require_range(self, "farther", self.farthest + 1, self.side**2 - 1)

    @property
    def _cells(self) -> int:
        return self.larger**2

    @property
    def _patterns(self) -> int:
        """The first token of the patterns of openings; moves come just before if there are any."""
        return 1 + self._cells + 4 * (self.answer != "path")

    @property
    def _marker(self) -> int:
        return self._patterns + 17 * (self.representation == "cells")

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self._marker

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `size`, `generator`, `cycles` and `distance`."""

        def split(about: str, **changed: int) -> Split:
            difficulty = {
                "side": self.side,
                "other": 0,
                "cycles": self.cycles,
                "nearest": 1,
                "farthest": self.farthest,
                "held_out": 1,
            } | changed
            openings = difficulty["side"] ** 2 - 1 + difficulty["cycles"]
            asked = 1 if self.answer == "first" else difficulty["farthest"]
            generator = self.other if difficulty["other"] else self.generator
            return Split(
                difficulty,
                length=(2 * openings if self.representation == "adjacency" else self._cells) + 3 + asked - 1,
                answer_tokens=asked,
                decode_steps=asked,
                disjoint=bool(difficulty["held_out"]),
                about=about,
                unique=not difficulty["cycles"] and generator != "percolation",
            )

        far = {"nearest": self.farthest + 1, "farthest": self.farther}
        return {
            "train": split(f"{self.generator} mazes of side {self.side}, up to {self.farthest} steps", held_out=0),
            "iid": split("mazes that are not in train"),
            "size": split(f"mazes of side {self.larger}", side=self.larger),
            "generator": split(f"{self.other} mazes", other=1),
            "cycles": split(f"{self.more_cycles} openings more than a tree has", cycles=self.more_cycles),
            "distance": split(f"{self.farthest + 1} to {self.farther} steps", **far),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two rows and columns, neighbouring cells."""
        return {"side": 2, "farthest": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `first_move`; the `distance` to the target; the `forks` on the way, where another way goes off; the
        `dead_ends`, cells with one opening; the `target`, a cell of the grid.
        """
        forks, dead_ends, cells = 1 + self.farther, 1 + self._cells, self._cells
        return {"first_move": 4, "distance": 1 + self.farther, "forks": forks, "dead_ends": dead_ends, "target": cells}

    @property
    def read_names(self) -> tuple[str, ...]:
        """ANSWER, and the position of the last answer."""
        return ("answer", "last_answer")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One maze and question. Difficulty: `side` in [2, larger], `other` 0 or 1 (the other generator), `cycles` ≥ 0,
        1 ≤ `nearest` ≤ `farthest` ≤ farther, `held_out` 0 (train) or 1.
        """
        size, side = self.larger, jnp.asarray(difficulty["side"], jnp.int32)
        pairs, cells = len(grid.pairs(size)), self._cells
        bits = words(key, 8 + 2 * cells + 3 * pairs + 2)
        order_bits, place_bits, free = bits[: 2 * pairs].reshape(2, -1), bits[2 * pairs :][:2], bits[2 * pairs + 2 :]
        question = labyrinth.draw(free, difficulty, size, (self.generator, self.other), self.farther)

        path, moves, forks = labyrinth.walk(question, self.farther)
        row, column = (uniform(b, 0, size - side if self.place == "anywhere" else 0) for b in place_bits)
        placed = row * size + column
        if self.representation == "adjacency":
            shown = labyrinth.listed(question.open, order_bits, 1 + placed)
        else:
            shown = part(self._patterns + labyrinth.walls(question.open, row, column, side))
        asked = shown
        for token in (1 + placed + question.origin, 1 + placed + question.target, jnp.int32(self._marker)):
            asked = append(asked, token)
        answer = Part(1 + placed + path if self.answer == "path" else 1 + cells + moves, question.distance)
        written = write(length, asked, answer if self.answer != "first" else Part(answer.tokens, jnp.int32(1)))
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={
                "first_move": moves[0],
                "distance": question.distance,
                "forks": forks,
                "dead_ends": jnp.sum(jnp.sum(question.open, axis=0) == 1, dtype=jnp.int32),
                "target": placed + question.target,
            },
            read=jnp.stack([written.answer, written.last]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`: it can be walked and ends at the target; as it has as many steps as a shortest way, it then is
        one. A first step is right if it leads one step nearer.
        """
        adjacent_NxN, end = self._adjacent(example)
        origin, target = example.tokens[end - 2] - 1, example.tokens[end - 1] - 1

        def follow(carry: tuple[jax.Array, jax.Array], said: tuple[jax.Array, jax.Array]) -> Any:
            here, right = carry
            token, judged = said
            if self.answer == "path":
                there, known = token - 1, (token >= 1) & (token <= self._cells)
            else:
                move = token - 1 - self._cells
                there = here + jnp.asarray([r * self.larger + c for r, c in grid.MOVES], jnp.int32)[move % 4]
                known = (move >= 0) & (move < 4) & (there >= 0) & (there < self._cells)
            there = jnp.clip(there, 0, self._cells - 1)
            possible = known & adjacent_NxN[here, there]
            return (jnp.where(judged, there, here), right & (possible | ~judged)), None

        (here, right), _ = lax.scan(follow, (origin, jnp.bool_(True)), (answer, example.weights == 1))
        if self.answer == "first":
            left_N = grid.steps_between(adjacent_NxN, target)
            return right & (left_N[here] == left_N[origin] - 1)
        return right & (here == target)

    def _adjacent(self, example: Example) -> tuple[jax.Array, jax.Array]:
        """What the tokens say: bool[N, N] which cells are joined, and the position of ANSWER."""
        if self.representation == "adjacency":
            adjacent_NxN, end = dag.read_edges(example, 3, self._cells)
            return adjacent_NxN | adjacent_NxN.T, end
        pattern_N = example.tokens[: self._cells] - self._patterns
        next_to_4xNxN = np.zeros((4, self._cells, self._cells), bool)
        for cell in range(self._cells):
            for d, (r, c) in enumerate(grid.MOVES):
                row, column = cell // self.larger + r, cell % self.larger + c
                if 0 <= row < self.larger and 0 <= column < self.larger:
                    next_to_4xNxN[d, cell, row * self.larger + column] = True
        open_4xN = ((pattern_N[None, :] >> jnp.arange(4, dtype=jnp.int32)[:, None]) & 1 > 0) & (pattern_N < 16)[None]
        return jnp.any(open_4xN[:, :, None] & next_to_4xNxN, axis=0), jnp.int32(self._cells + 2)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Walk the answer; search breadth-first from the target for how far it is."""
        ways, origin, target = self.read(example)
        left, queue = {target: 0}, [target]
        for cell in queue:
            for other in ways[cell]:
                if other not in left:
                    left[other] = left[cell] + 1
                    queue.append(other)
        here = origin
        for token in np.asarray(answer)[np.asarray(example.weights) > 0].tolist():
            there = self.arrive(here, token)
            if there not in ways[here]:
                return False
            here = there
        if self.answer == "first":
            return left[here] == left[origin] - 1
        return here == target and int(np.sum(np.asarray(example.weights) > 0)) == left[origin]

    def read(self, example: Example) -> tuple[dict[Cell, set[Cell]], Cell, Cell]:
        """(cell -> cells one can step to, origin, target) as the tokens tell them; a cell is (row, column)."""
        marker = int(np.argmax(np.asarray(example.weights) > 0))
        tokens = np.asarray(example.tokens)[: marker - 2].tolist()
        origin, target = (divmod(int(t) - 1, self.larger) for t in np.asarray(example.tokens)[marker - 2 : marker])
        ways: dict[Cell, set[Cell]] = {(r, c): set() for r in range(self.larger) for c in range(self.larger)}
        if self.representation == "adjacency":
            for one, two in zip(tokens[::2], tokens[1::2], strict=True):
                ways[divmod(one - 1, self.larger)].add(divmod(two - 1, self.larger))
                ways[divmod(two - 1, self.larger)].add(divmod(one - 1, self.larger))
        else:
            for (row, column), token in zip(ways, tokens, strict=True):
                wall_bits = (token - self._patterns) % 16
                ways[row, column] = {
                    (row + r, column + c) for bit, (r, c) in enumerate(grid.MOVES) if wall_bits >> bit & 1
                }
        return ways, origin, target

    def arrive(self, here: Cell, token: int) -> Cell | None:
        """Where an answer token leads from a cell, walls or not; None if it is neither a cell nor a move."""
        if self.answer == "path":
            return divmod(token - 1, self.larger) if 1 <= token <= self._cells else None
        move = token - 1 - self._cells
        return (here[0] + grid.MOVES[move][0], here[1] + grid.MOVES[move][1]) if 0 <= move < 4 else None

    def problem(self, example: Example) -> Hashable:
        """The openings, the origin and the target, wherever the maze is placed."""
        ways, origin, target = self.read(example)
        open_cells = [cell for cell, others in ways.items() if others]
        row, column = (min(cell[axis] for cell in open_cells) for axis in (0, 1))
        ends = [((one[0] - row, one[1] - column), (two[0] - row, two[1] - column)) for one in ways for two in ways[one]]
        return frozenset(ends), *((r - row, c - column) for r, c in (origin, target))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the cells of the grid or the moves; `random_walk`: any open way but straight back; `compass`:
        one of these that leads nearer as the crow flies, if there is any. Simulated with a fixed seed.
        """
        return {name: found for name, found in _baselines(self, split).items() if found.exact < 1}

    def render(self, example: Example) -> str:
        """The grid with its walls, A the origin and B the target, and the answer below."""
        ways, origin, target = self.read(example)

        def wall(*cells: Cell) -> bool:
            """Whether something stands between two cells, or at the corner of four: not where there is no maze."""
            joined = len(cells) == 2 and cells[1] in ways.get(cells[0], ())
            return not joined and any(ways.get(cell) for cell in cells)

        lines, span = [], range(self.larger + 1)
        for r in span:
            corners = ["+" if wall((r, c), (r - 1, c), (r, c - 1), (r - 1, c - 1)) else " " for c in span]
            above = ["---" if wall((r, c), (r - 1, c)) else "   " for c in span]
            sides = ["|" if wall((r, c), (r, c - 1)) else " " for c in span]
            inner = [{origin: " A ", target: " B "}.get((r, c), "   ") for c in span]
            for left, right in ((corners, above), (sides, inner)):
                lines.append("".join(itertools.chain(*zip(left, right, strict=True))).rstrip())
        lines = lines[:-1]
        said = np.asarray(example.targets)[np.asarray(example.weights) > 0].tolist()
        lines.append(f"from {origin[0]},{origin[1]} to {target[0]},{target[1]}: {' '.join(map(self._shown, said))}")
        return "\n".join(lines)

    def _shown(self, token: int) -> str:
        if 1 <= token <= self._cells:
            return f"{(token - 1) // self.larger},{(token - 1) % self.larger}"
        move = token - 1 - self._cells
        return ARROWS[move] if self.answer != "path" and 0 <= move < 4 else f"<{token}>"


@lru_cache
def _baselines(task: Maze, split: str) -> dict[str, Baseline]:
    """Walkers through SIMULATED mazes of the split."""
    found = []
    for example in simulated.examples(task, split, SIMULATED):
        ways, origin, target = task.read(example)
        cells = [origin]
        for token in example.targets[example.weights > 0].tolist():
            cells.append(cast(Cell, task.arrive(cells[-1], token)))
        found.append(Way(ways, cells, target))
    return walkers(found, 4 if task.answer != "path" else task.larger**2)
