"""What a task is: the contract that every generator in this room keeps.

A task is a frozen dataclass of static sizes with pure functions. It knows nothing of models or training. Examples are
made on the device, inside the compiled training program, so everything that may vary during a study (difficulty, the
side of a train/held-out partition) is a traced value and only padded lengths are static.

Shape letters: L tokens of one padded example, P read positions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

PAD = 0  # token id that every task reserves for padding
NO_ANSWER = -1  # what `answer` holds where nothing is to be answered
FAMILIES = ("reasoning", "planning", "memory")
PROCESS = 0.5  # weight of a scratchpad's tokens: trained on, written by the model when it answers, not judged
LATER = {"later": True}  # metadata of a field added to a task since: at its default, it is in no checkpoint's key
SOLVED = 0.95  # exact accuracy from which a rule solves a split
ROW = "row"  # of a `Listed` task: a difficulty, the number of the item that is shown; -1 for any
WIDEST = 0.6  # of a calibration card's ranges: a wider one would hardly exclude anything

World = Any  # a pytree: what stays fixed within a seed
Difficulty = Mapping[str, Any]  # name -> traced scalar


class TaskError(ValueError):
    """A task that does not exist or a size it cannot have. The message names the field and what is valid."""


class Example(NamedTuple):
    """One padded example.

    Attributes:
      tokens: int32[L], the teacher-forced input.
      targets: int32[L], the right token at every position whose weight isn't 0 (PAD elsewhere).
      weights: float32[L], 1 on answer positions, PROCESS on those of a scratchpad, 0 elsewhere.
      factors: name -> int32[], ground-truth variables that a probe may look for, each in [0, factor_sizes[name]).
      read: int32[P], the positions where hidden states are read, named by the task's `read_names`.
    """

    tokens: jax.Array
    targets: jax.Array
    weights: jax.Array
    factors: dict[str, jax.Array]
    read: jax.Array


@dataclass(frozen=True)
class Split:
    """A named distribution of a task.

    Attributes:
      difficulty: traced values, the same keys in every split of a task.
      length: padded length L of an example, static: splits of one length share one compiled program.
      answer_tokens: the largest number of positions of an example with a weight, static.
      decode_steps: forward passes that a free-running answer takes. 1 when no answer token is fed back as input,
        else `answer_tokens`: the prediction at an answer position then becomes the input one position later.
      disjoint: whether its problems (`problem`) never occur in `train`. False for `train` itself and where the ability
        *is* remembering what was trained on.
      about: one line for a person.
      unique: whether every instance has one right answer. Otherwise `targets` is one of several, which makes the
        log-probability of a perfect model negative.
    """

    difficulty: Mapping[str, float | int]
    length: int
    answer_tokens: int
    decode_steps: int
    disjoint: bool
    about: str
    unique: bool = True


class Baseline(NamedTuple):
    """What a predictor that has not learned the task reaches on a split.

    Attributes:
      exact: expected share of whole answers right.
      logprob: expected mean log-probability of an answer token, in nats.
    """

    exact: float
    logprob: float


@dataclass(frozen=True)
class Card:
    """A calibration card: what training at a small reference setting should give.

    `python -m lab.checks.known_results` trains it.

    Attributes:
      name: of this card among the task's.
      sizes: the task's fields.
      expected: split -> (lowest, highest) exact accuracy that each seed should end with, at most WIDEST apart; empty
        for a card that nobody has measured.
      about: one line: what is expected, and why.
      source: where it is known from; 'measured here' where no paper says it.
      seconds: what it took on two CPU cores, two seeds side by side.
      steps, examples, layers, width, rate, decay, positions: the training setting; AdamW at a constant rate.
      predicted_failure: whether theory or a paper says that this setting does not learn.
      groks: (later split, earlier split): the later is right (.95) at least twice as many steps after the earlier.
      default: whether it belongs to the subset that runs by default.
      ceiling: the best exact accuracy that any predictor could reach; below 1 only where the input leaves the answer
        open.
    """

    name: str
    sizes: Mapping[str, Any]
    expected: Mapping[str, tuple[float, float]]
    about: str
    source: str
    seconds: float
    steps: int
    examples: int = 64
    layers: int = 2
    width: int = 64
    rate: float = 1e-3
    decay: float = 0.0
    positions: str = "learned"
    predicted_failure: bool = False
    groks: tuple[str, str] | None = None
    default: bool = False
    ceiling: float = 1.0

    def __post_init__(self):
        for split, (low, high) in self.expected.items():
            if not (0 <= low < high <= self.ceiling and high - low <= WIDEST):
                raise TaskError(
                    f"card '{self.name}': the range of {split} must lie in [0, {self.ceiling:g}] and be at most "
                    f"{WIDEST:g} wide, or it excludes too little, not {low:g} to {high:g}; leave out what nobody has "
                    "measured."
                )

    @property
    def measured(self) -> bool:
        """Whether somebody has trained it and written down what came out."""
        return bool(self.expected or self.groks)

    def vacuous(self, split: str, baselines: Mapping[str, Baseline]) -> bool:
        """Whether the range of a split excludes neither a trivial predictor nor a model that learned it all.

        A shortcut that solves the split is no trivial predictor of it: a card may expect that it is what is learned.
        """
        low, high = self.expected[split]
        return high >= self.ceiling and low <= max((b.exact for b in baselines.values() if b.exact < SOLVED), default=0)


@runtime_checkable
class Task(Protocol):
    """The contract. A frozen dataclass whose fields are static sizes, each explained under 'Attributes:'."""

    name: ClassVar[str]  # under which the registry knows it
    family: ClassVar[str]  # one of FAMILIES
    source: ClassVar[str]  # the papers that define it, with their arXiv numbers
    known: ClassVar[str]  # the known result, in a line or two
    small: ClassVar[tuple[Mapping[str, Any], ...]]  # sizes so small that instances repeat: for tests and the gallery
    cards: ClassVar[tuple[Card, ...]]  # known results that a command reproduces

    @property
    def vocab_size(self) -> int:
        """Number of token ids, PAD included: ids are 0 … vocab_size-1."""
        ...

    @property
    def splits(self) -> Mapping[str, Split]:
        """At least `train`, `iid` and one out-of-distribution split."""
        ...

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Where a curriculum begins: the easiest training value of each difficulty that it may move.

        The hardest is that of the `train` split. Whatever lies between fits in its padded length. Empty if training
        has but one difficulty.
        """
        ...

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Factor name -> number of values it can take."""
        ...

    @property
    def read_names(self) -> tuple[str, ...]:
        """Names of the P read positions. Claims are read at the first, where the first answer is still to be made."""
        ...

    def world(self, key: jax.Array) -> World:
        """Draw what stays fixed within a seed (a fact map, held-out pairs); an empty tuple if nothing does."""
        ...

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """Draw one example padded to `length` (static). Pure JAX; the caller vmaps."""
        ...

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """Whether the whole answer is right: bool[]. Pure JAX.

        Args:
          example: the example.
          answer: int32[L], the predicted token at answer positions, NO_ANSWER elsewhere. Any right answer counts.
        """
        ...

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """The same judgement by an independent NumPy solver that shares no code with `sample` or `score`."""
        ...

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """Trivial predictors and what they reach, computed from the sizes and difficulty; see `Guessing`."""
        ...

    def render(self, example: Example) -> str:
        """The example as a person would read it."""
        ...


@runtime_checkable
class Retold(Protocol):
    """What a task adds to the contract if its tokens may pose one problem in several ways: an order, a placement."""

    def problem(self, example: Example) -> Hashable:
        """The problem that an example poses, equal for all that pose the same one; NumPy, apart from any hash."""
        ...


@runtime_checkable
class Guessing(Protocol):
    """What a task adds to the contract so that its trivial baselines can be run: tests hold them to what they claim."""

    def guess(self, world: World, example: Example, generator: np.random.Generator) -> Mapping[str, Sequence[int]]:
        """What each baseline but `chance` answers: its name -> the answer tokens in order; NumPy.

        It may use whatever the predictor is said to know, but not `example.targets` or `example.factors`.
        """
        ...


@runtime_checkable
class Renamable(Protocol):
    """What a task adds to the contract if which symbol is which doesn't matter to any of its problems.

    Its `sample` then obeys one more difficulty, RENAMED, in which everything but the symbols stays as it is. It renames
    before it chooses the side of the train/held-out hash, so that a renamed training example is one that training could
    have drawn. Renaming tokens afterwards would carry half of the training examples over to the held-out side.
    """

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """Groups of token ids: permuting a group's ids throughout tokens and targets keeps a right answer right."""
        ...


@runtime_checkable
class Random(Protocol):
    """What a task adds to the contract if an answer is random, and answered twice by two independent draws.

    The draws are the two answer tokens of an example, the first fed back.
    """

    def odds(self, world: World, example: Example) -> tuple[jax.Array, jax.Array]:
        """The tokens that may be drawn, int32[V], and how likely each is for this example, float32[V]. Pure JAX."""
        ...


@runtime_checkable
class JudgedInWorld(Protocol):
    """What a task adds to the contract if its example doesn't tell what is right: a map that no input shows.

    `score_in` then takes the place of `score` wherever answers are judged.
    """

    def score_in(self, world: World, example: Example, answer: jax.Array) -> jax.Array:
        """As `Task.score`, with what stays fixed within the seed."""
        ...


def scored(task: Task, world: World, example: Example, answer: jax.Array) -> jax.Array:
    """Whether the whole answer is right, by the task's `score_in` or its `score`: bool[]."""
    return task.score_in(world, example, answer) if isinstance(task, JudgedInWorld) else task.score(example, answer)


@runtime_checkable
class Listed(Protocol):
    """What a task adds to the contract if its examples are a list of given items, such as a published test.

    Its splits have the difficulty `ROW`. Evaluations then ask for every item once before they ask for any twice.
    """

    def rows(self, key: jax.Array, split: str, count: int) -> jax.Array:
        """Which items of a split to show, int32[count], in an order that the key decides. Pure JAX."""
        ...


RENAMED = "renamed"  # of a `Renamable`: uint32, which renaming of its symbols; each names itself at 0, or where absent


def interchangeable(task: Task) -> tuple[range, ...]:
    """The groups of a task's symbols that may be renamed; none unless it says so."""
    return task.interchangeable if isinstance(task, Renamable) else ()


def problem(task: Task, example: Example) -> Hashable:
    """What a model could learn by heart of an example: no split that is `disjoint` poses a problem of `train`.

    The task's own `problem`, if it has one. Otherwise the tokens in order, and where answers are fed back those before
    the one at which the first of them is due: that one only says whether a scratchpad follows.
    """
    if isinstance(task, Retold):
        return task.problem(example)
    tokens = np.asarray(example.tokens)
    if _feeds_back(task):
        tokens = tokens[: int(np.argmax(np.asarray(example.weights) > 0))]
    return tuple(tokens[tokens != PAD].tolist())


@lru_cache
def _feeds_back(task: Task) -> bool:
    return any(split.decode_steps > 1 for split in task.splits.values())


def movable(task: Task) -> dict[str, tuple[float | int, float | int]]:
    """The difficulties that a curriculum can move: name -> (easiest, that of the `train` split), where they differ."""
    hardest = task.splits["train"].difficulty
    return {name: (low, hardest[name]) for name, low in task.easiest.items() if low != hardest[name]}


def at_level(task: Task, level: jax.Array) -> Difficulty:
    """Training's difficulty at `level`, float32 of any shape: the easiest at 0, exactly the `train` split's from 1 on.

    Between the two it grows linearly, whole numbers rounded. What a curriculum can't move stays a plain number.
    """

    def between(low: float | int, high: float | int) -> jax.Array:
        value = jnp.where(level >= 1, jnp.float32(high), low + level * (high - low))
        return jnp.round(value).astype(jnp.int32) if isinstance(high, int) else value

    return {**task.splits["train"].difficulty, **{name: between(*ends) for name, ends in movable(task).items()}}


def exact_match(example: Example, answer: jax.Array) -> jax.Array:
    """Whether `answer` int32[L] equals the targets on every answer position: bool[]. A scratchpad is not judged."""
    return jnp.all((answer == example.targets) | (example.weights < 1))


def tuning_split(task: Task) -> str:
    """The split on which tuned knobs are chosen: the task's own `tuning`, else other examples of `iid`.

    Empty where a task has no split for it: a published test is not one.
    """
    return getattr(task, "tuning", "iid")


def title(task: Task) -> str:
    """What a report calls a task: its own `title` property where it has one ('256 facts'), else its name."""
    return getattr(task, "title", "") or task.name.replace("_", " ")


def trivial(task: Task, split: str) -> Baseline:
    """The best trivial baseline of a split, by exact accuracy and by log-probability separately."""
    baselines = task.baselines(split).values()
    return Baseline(max(b.exact for b in baselines), max(b.logprob for b in baselines))


def fed_back(tokens: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """Where a token is the answer due one position earlier, bool[..., L]: of a task that feeds its answers back."""
    weight_before, due_before = (jnp.roll(x, 1, axis=-1).at[..., 0].set(0) for x in (weights, targets))
    return (weight_before > 0) & (tokens == due_before)


def require_range(task: Task, field: str, low: float, high: float) -> None:
    """Raise TaskError unless `low <= task.<field> <= high`; a field whose bounds are whole must be whole itself."""
    value = getattr(task, field)
    whole = isinstance(low, int) and isinstance(high, int)
    right_kind = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right_kind or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise TaskError(f"{task.name}: {field} must be {kind} in [{low}, {high}], not {value!r}.")


def require_choice(task: Task, field: str, choices: tuple[str, ...]) -> None:
    """Raise TaskError unless `task.<field>` is one of `choices`."""
    value = getattr(task, field)
    if value not in choices:
        raise TaskError(f"{task.name}: {field} must be one of {', '.join(choices)}, not {value!r}.")
