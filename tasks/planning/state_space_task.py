"""What the tasks over an enumerated domain share: from one state to another, the next optimal move or a whole plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Difficulty, Example, Split, World
from tasks.draw import in_memory, words
from tasks.planning.state_space import (
    IID,
    STRUCTURE,
    TRAIN,
    Domain,
    Preference,
    draw_problem,
    guesses,
    optimal_plan,
    ordered_subset,
)
from tasks.sequence import Part, join, part, write

ANSWERS = ("next", "plan")
State = TypeVar("State")


class Drawn(NamedTuple):
    """A problem, its plan and the objects' labels.

    Attributes:
      count: int32[], how many objects there are.
      start, goal, distance: int32[], see `draw_problem`.
      move_K: int32[K], the first moves of an optimal plan.
      label_N: int32[N], the objects' labels in increasing order, then zeros.
    """

    count: jax.Array
    start: jax.Array
    goal: jax.Array
    distance: jax.Array
    move_K: jax.Array
    label_N: jax.Array


class StateSpaceTask(ABC):
    """Base of the tasks over an enumerated domain; each is a frozen dataclass with the fields named here.

    Sequence: the facts of the start as pairs of tokens, GOAL, the goal, ASK, then the answer, moves as pairs of tokens.
    The number of objects is a field named as the difficulty is, `objects`; `more_` of it is the largest.
    """

    objects: ClassVar[str]
    farthest: int
    answer: str

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """See `Task`."""

    @property
    @abstractmethod
    def _domain(self) -> Domain:
        """The domain at its largest size."""

    @property
    @abstractmethod
    def _marks(self) -> tuple[int, int]:
        """GOAL and ASK."""

    @abstractmethod
    def _follow(self, example: Example) -> tuple[Any, Any, Mapping[Any, int], Callable[[Any, int, int], Any]]:
        """(start, goal, moves from every state to the goal, (state, two tokens) -> the state after, None if illegal).

        In plain Python, from `example.tokens`: nothing of the domain's tables.
        """

    @property
    def _most(self) -> int:
        return getattr(self, f"more_{self.objects}")

    @property
    def _moves(self) -> int:
        """The most moves of an answer."""
        return 1 if self.answer == "next" else self._domain.closest.shape[2] - 1

    def _goal_tokens(self, count: Any) -> Any:
        return 2 * count

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of ASK, where the first answer is due, and that of the last answer."""
        return ("ask", "last_answer")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def _five_splits(self, names_of: str, unique: bool) -> Mapping[str, Split]:
        """`train`, `iid`, `structure`, more objects and `distance`; `names_of`: what `structure` renames."""

        def split(count: int, nearest: int, farthest: int, part: int, about: str) -> Split:
            moves = 1 if self.answer == "next" else self._domain.longest(count, part, farthest)
            return Split(
                difficulty={self.objects: count, "nearest": nearest, "farthest": farthest, "part": part},
                length=2 * count + self._goal_tokens(count) + 2 + 2 * moves - 1,
                answer_tokens=2 * moves,
                decode_steps=2 * moves,
                disjoint=part != TRAIN,
                about=about,
                unique=unique,
            )

        n, far = getattr(self, self.objects), self.farthest
        most = self._domain.longest(n, IID)
        return {
            "train": split(n, 1, far, TRAIN, f"{n} {self.objects}, plans of up to {far} moves"),
            "iid": split(n, 1, far, IID, "pairs of states that are not in train"),
            "structure": split(n, 1, far, STRUCTURE, f"pairs that are not in train under any {names_of}"),
            self.objects: split(self._most, 1, far, IID, f"{self._most} {self.objects}"),
            "distance": split(n, far + 1, most, IID, f"plans of {far + 1} to {most} moves"),
        }

    def _draw(self, key: jax.Array, difficulty: Difficulty, labels: int) -> Drawn:
        """A problem of a difficulty, its objects labelled by a subset of 1 … labels."""
        keys = (self.objects, "nearest", "farthest", "part")
        count, nearest, farthest, chosen_part = (jnp.asarray(difficulty[k], jnp.int32) for k in keys)
        bits = words(key, 2 + labels + self._moves)
        problem = in_memory(jnp.stack(draw_problem(self._domain, bits[:2], count, chosen_part, nearest, farthest)))
        start, goal, distance = problem
        move_K = optimal_plan(self._domain, bits[2 + labels :], count, start, goal)
        return Drawn(count, start, goal, distance, move_K, ordered_subset(bits[2 : 2 + labels], count, self._most))

    def _example(
        self,
        drawn: Drawn,
        fact_T: jax.Array,
        wanted: Part,
        plan_T: jax.Array,
        factors: dict[str, jax.Array],
        length: int,
    ) -> Example:
        """Facts of the start, GOAL, the goal, ASK and the plan, written down."""
        count = drawn.count
        goal, ask = (part(jnp.full((1,), token, jnp.int32)) for token in self._marks)
        question = join((part(fact_T, 2 * count), goal, wanted, ask), 4 * self._most + 2)
        asked = 2 * count + self._goal_tokens(count) + 2
        steps = jnp.minimum(drawn.distance, self._moves)
        written = write(length, part(question, asked), part(plan_T, 2 * steps))
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors=factors,
            read=jnp.stack([written.question, written.last]),
        )

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Search breadth-first back from the goal, and make the moves one by one."""
        state, goal, distance, after_move = self._follow(example)
        said = np.asarray(answer)[np.asarray(example.weights) > 0].tolist()
        for first, second in zip(said[::2], said[1::2], strict=True):
            after = after_move(state, first, second)
            if after is None or distance[after] != distance[state] - 1:
                return False
            state = after
        return self.answer == "next" or state == goal

    def _guesses(self, difficulty: Difficulty, prefers: Mapping[str, Preference]) -> Mapping[str, Baseline]:
        """See `guesses`."""
        size, plan = int(difficulty[self.objects]), self.answer == "plan"
        return guesses(self._domain, difficulty, size, prefers, plan, self.vocab_size)


def distances_to(goal: State, neighbours: Callable[[State], Iterable[State]]) -> dict[State, int]:
    """Moves from every state to the goal, breadth-first; moves can be undone."""
    distance, queue = {goal: 0}, deque([goal])
    while queue:
        state = queue.popleft()
        for after in neighbours(state):
            if after not in distance:
                distance[after] = distance[state] + 1
                queue.append(after)
    return distance
