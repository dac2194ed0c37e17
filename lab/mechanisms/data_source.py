"""Where the batch of a training step comes from, as mechanisms see and change it.

Shape letters: B examples of a training batch (of one label where a label is given).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax

from lab.nn.answer import Shown, all_shown
from lab.nn.model import Hook, ModelSpec, no_hook
from lab.prng import derive_key
from tasks.mixture import Batch, Mixture, at_label


@dataclass(frozen=True)
class Context:
    """The program that a mechanism is compiled into. All of it is static.

    Attributes:
      mixture: the tasks.
      counts: (label, examples a step) for each task.
      opening: steps of the first stage.
      spec: the model's sizes.
      static: (knob, value) of the static knobs.
    """

    mixture: Mixture
    counts: tuple[tuple[str, int], ...]
    opening: int
    spec: ModelSpec
    static: tuple[tuple[str, Any], ...] = ()


class Remix(NamedTuple):
    """Another mixture of the labels in a batch of the same size.

    Attributes:
      room: label -> further examples that are drawn, at least 1 of each label that is trained on; static.
      chosen: the batch, given the usual one and the further examples.
    """

    room: Mapping[str, int]
    chosen: Callable[[Batch, Batch], Batch]


@dataclass(frozen=True)
class DataSource:
    """Where the batch of one training step comes from. Mechanisms give another source in its place.

    Attributes:
      context: the program.
      seed: int32[], the cell's; draws come from it, a purpose and `step`.
      step: int32[], absolute.
      drawn_at: int32[], the absolute step whose examples are drawn.
      levels: label -> float32[B], how hard each example is, see `tasks.base.at_level`. Labels left out train as their
        `train` split.
      difficulty: label -> name -> an array [B]: values of the difficulty that come on top of those of the level.
      edits: what is done to the batch once it is made, in order; each keeps its shapes.
      hook, shown: of the model as it answers, see `Mechanism.hook` without a key and `Mechanism.shown`.
      fields: label -> name -> a value of the difficulty for all examples; it goes before all others wherever it isn't
        that of the `train` split.
      remix: further examples that are drawn next to the batch's, and what is made of both before any edit; None where
        the batch stays as `Context.counts` has it.
    """

    context: Context
    seed: jax.Array
    step: jax.Array
    drawn_at: jax.Array
    levels: Mapping[str, jax.Array] = field(default_factory=dict)
    difficulty: Mapping[str, Mapping[str, jax.Array]] = field(default_factory=dict)
    edits: tuple[Callable[[Batch], Batch], ...] = ()
    hook: Hook = no_hook
    shown: Shown = all_shown
    fields: Mapping[str, Mapping[str, jax.Array]] = field(default_factory=dict)
    remix: Remix | None = None

    def with_difficulty(self, further: Mapping[str, Mapping[str, jax.Array]]) -> DataSource:
        """The source with further values of the difficulty."""
        joined = {label: {**self.difficulty.get(label, {}), **values} for label, values in further.items()}
        return replace(self, difficulty={**self.difficulty, **joined})

    def edited(self, edit: Callable[[Batch], Batch]) -> DataSource:
        """The source with one more edit of the batch that it makes."""
        return replace(self, edits=(*self.edits, edit))

    def batch(self, worlds: Any, length: int) -> Batch:
        """The batch: of the labels' worlds, padded to `length` tokens."""
        key, counts = derive_key(self.seed, "batch", self.drawn_at), dict(self.context.counts)
        batch = self.context.mixture.batch(key, worlds, counts, length, self.levels, self.difficulty, self.fields)
        if self.remix:
            apart = at_label(key, "further examples")  # no label has that name
            spare = self.context.mixture.batch(apart, worlds, self.remix.room, length, fields=self.fields)
            batch = self.remix.chosen(batch, spare)
        for edit in self.edits:
            batch = edit(batch)
        return batch
