"""Several tasks for one model: one vocabulary, a task token in front, one padded batch.

Shape letters: B examples, L tokens, A answer positions.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, ROW, Difficulty, Example, Listed, Task, TaskError, World, at_level, scored
from tasks.planted import inner_split, unplanted


class Batch(NamedTuple):
    """Training examples of all tasks, in the order of the mixture.

    Attributes:
      tokens: int32[B, L].
      targets: int32[B, L].
      weights: float32[B, L].
      answers: int32[B, A], the answer positions of each example in order, 0 where it has fewer than A.
      answer_mask: bool[B, A], which of them exist: logits are needed only there.
    """

    tokens: jax.Array
    targets: jax.Array
    weights: jax.Array
    answers: jax.Array
    answer_mask: jax.Array

    @property
    def question(self) -> jax.Array:
        """int32[B]: where the first answer is read, the question's last token."""
        return self.answers[:, 0]


@dataclass(frozen=True)
class Mixture:
    """Tasks under labels, learned by one model.

    Token ids are shared: a task's ids 0 … vocab_size - 1 stay as they are, and after the largest of them comes one task
    token for each label, in order. With more than one task every example begins with its task token, so positions shift
    by one; with a single task examples are left as the task made them.

    Randomness is addressed by label: adding or reordering tasks leaves the worlds and the examples of the others as
    they were (but for their task tokens).

    Attributes:
      tasks: (label, task) pairs, labels unique.
    """

    tasks: tuple[tuple[str, Task], ...]

    def __post_init__(self):
        labels = [label for label, _ in self.tasks]
        if not labels or len(set(labels)) < len(labels):
            raise TaskError(f"a mixture needs at least one task and no label twice, not {labels}.")

    @property
    def prefix(self) -> int:
        """Tokens put in front of every example: 1 with several tasks, else 0."""
        return int(len(self.tasks) > 1)

    @property
    def vocab_size(self) -> int:
        """Number of token ids, PAD and task tokens included."""
        return self._shared_ids + self.prefix * len(self.tasks)

    @property
    def _shared_ids(self) -> int:
        return max(task.vocab_size for _, task in self.tasks)

    def task(self, label: str) -> Task:
        """The task under a label."""
        return dict(self.tasks)[label]

    def task_token(self, label: str) -> int:
        """The id in front of a label's examples; it occurs only where `prefix` is 1."""
        return self._shared_ids + [name for name, _ in self.tasks].index(label)

    def length(self, split_by_label: Mapping[str, str]) -> int:
        """The padded length that holds the given split of each label, task token included."""
        return self.prefix + max(self.task(label).splits[split].length for label, split in split_by_label.items())

    def worlds(self, key: jax.Array) -> dict[str, World]:
        """label -> world."""
        return {label: task.world(at_label(key, label)) for label, task in self.tasks}

    def sample(
        self,
        key: jax.Array,
        label: str,
        world: World,
        split: str | Difficulty,
        count: int,
        length: int | None = None,
    ) -> Example:
        """Examples of one task, with its task token.

        Args:
          key: of this draw.
          label: which task.
          world: its entry of `worlds`.
          split: the name of a split, or difficulty values, each for all examples or an array [B] with one an example;
            they need a `length`.
          count: B, static.
          length: padded length L, task token included; the split's own if None. Longer padding changes no token.

        Returns:
          Example whose leaves lead with B: tokens int32[B, L], factors int32[B], read int32[B, P].
        """
        task = self.task(label)
        if isinstance(split, str):
            length = length or self.length({label: split})
            split = task.splits[split].difficulty
        if length is None:
            raise TaskError("a mixture needs the padded length where a split isn't named.")
        difficulty, inner = split, length - self.prefix
        keys = jax.random.split(at_label(key, label), count)
        own = {name: value for name, value in difficulty.items() if jnp.ndim(value)}
        example = jax.vmap(lambda key, own: task.sample(key, world, {**difficulty, **own}, inner))(keys, own)
        if not self.prefix:
            return example
        return Example(
            tokens=_shift(example.tokens, self.task_token(label)),
            targets=_shift(example.targets, PAD),
            weights=_shift(example.weights, 0),
            factors=example.factors,
            read=example.read + 1,
        )

    def each_once(self, key: jax.Array, label: str, split: str, count: int) -> str | Difficulty:
        """What `sample` takes for a split so that of a list of items every one comes once before any comes twice.

        The split itself for tasks that make their examples up. The key decides the order, and which items come at all
        where there are more than `count`.
        """
        task = self.task(label)
        listed = unplanted(task)
        if not isinstance(listed, Listed):
            return split
        rows = listed.rows(jax.random.fold_in(key, 1), inner_split(split), count)
        return {**task.splits[split].difficulty, ROW: rows}

    def batch(
        self,
        key: jax.Array,
        worlds: Mapping[str, World],
        counts: Mapping[str, int],
        length: int,
        levels: Mapping[str, jax.Array] | None = None,
        further: Mapping[str, Difficulty] | None = None,
        fields: Mapping[str, Difficulty] | None = None,
    ) -> Batch:
        """Training examples of every label.

        Args:
          key: of this batch.
          worlds: of the labels.
          counts: label -> examples, static.
          length: what they are padded to, static.
          levels: label -> float32[count], how hard each example is (`at_level`); the `train` split where a label has
            none.
          further: label -> difficulties in addition to those of a split, such as `tasks.base.RENAMED`.
          fields: label -> difficulties, one for all examples, that go before all others wherever they aren't those of
            the `train` split.
        """

        def difficulty(label: str, task: Task) -> str | Difficulty:
            if not any(label in (each or {}) for each in (levels, further, fields)):
                return "train"
            train = task.splits["train"].difficulty
            usual = at_level(task, levels[label]) if levels and label in levels else train
            found = {**usual, **(further or {}).get(label, {})}
            own = (fields or {}).get(label, {})
            return {**found, **{name: jnp.where(own[name] == train[name], found[name], own[name]) for name in own}}

        examples = [
            self.sample(key, label, worlds[label], difficulty(label, task), counts[label], length)
            for label, task in self.tasks
            if counts.get(label, 0)
        ]
        tokens, targets, weights = (
            jnp.concatenate([getattr(e, field) for e in examples]) for field in ("tokens", "targets", "weights")
        )
        most = max(task.splits["train"].answer_tokens for label, task in self.tasks if counts.get(label, 0))
        answers, mask = answer_positions(weights, most)
        return Batch(tokens, targets, weights, answers, mask)

    def by_label(self, values_B: jax.Array, counts: Mapping[str, int]) -> dict[str, jax.Array]:
        """label -> its part of what goes with the examples of a `batch`."""
        labels = [label for label, _ in self.tasks if counts.get(label, 0)]
        ends = np.cumsum([counts[label] for label in labels])
        return dict(zip(labels, jnp.split(values_B, ends[:-1]), strict=True))

    def bare(self, label: str, example: Example) -> Example:
        """One example as its task made it: without the task token."""
        if not self.prefix:
            return example
        tokens, targets, weights = (x[1:] for x in (example.tokens, example.targets, example.weights))
        return Example(tokens, targets, weights, example.factors, example.read - 1)

    def score(self, label: str, example: Example, answer: jax.Array, world: World = ()) -> jax.Array:
        """`scored` for one example with its task token, answer int32[L]: bool[].

        Args:
          label: which task.
          example, answer: with the task token.
          world: the task's entry of `worlds`; some tasks are judged with it (`tasks.base.JudgedInWorld`).
        """
        return scored(self.task(label), world, self.bare(label, example), answer[self.prefix :])

    def check(self, label: str, world: World, example: Example, answer: np.ndarray) -> bool:
        """`Task.check` for one example with its task token, answer int32[L]."""
        return self.task(label).check(world, self.bare(label, example), np.asarray(answer)[self.prefix :])

    def render(self, label: str, example: Example) -> str:
        """`Task.render` for one example with its task token."""
        return self.task(label).render(self.bare(label, example))


def answer_positions(weights: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
    """Where the weights float32[B, L] aren't 0: positions int32[B, most], 0 beyond the last, and their mask."""
    length = weights.shape[-1]
    so_far = jnp.cumsum(weights > 0, axis=-1, dtype=jnp.int32)
    # The k-th answer stands behind all positions that have seen fewer than k.
    found = jnp.sum(so_far[:, None, :] <= jnp.arange(most, dtype=jnp.int32)[None, :, None], axis=-1, dtype=jnp.int32)
    return jnp.where(found < length, found, 0), found < length


def at_label(key: jax.Array, label: str) -> jax.Array:
    """The key of one label's part of a draw: whatever other labels there are."""
    return jax.random.fold_in(key, zlib.crc32(label.encode()))


def _shift(x_BxL: jax.Array, first: int) -> jax.Array:
    return jnp.pad(x_BxL, ((0, 0), (1, 0)), constant_values=first)
