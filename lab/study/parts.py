"""What a study is made of: the tasks of its mixture, its stages, and what a cell is trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.nn.model import ModelSpec
from tasks.base import Split, Task


@dataclass(frozen=True)
class TaskUse:
    """One task of a study's mixture.

    Attributes:
      label: its name in the study.
      task: the task.
      examples: of a training step, a number for each stage.
      factor: the ground-truth variable that probes look for.
      probe: the split whose inputs latents are read on.
      further: variables that probes look for, too.
    """

    label: str
    task: Task
    examples: tuple[int, ...]
    factor: str
    probe: str
    further: tuple[str, ...] = ()

    @property
    def factors(self) -> tuple[str, ...]:
        """All variables that probes look for, the one that goes without saying first."""
        return (self.factor, *self.further)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that are evaluated: all but `train`."""
        return {name: split for name, split in self.task.splits.items() if name != "train"}


class ProbeSet(NamedTuple):
    """Inputs that latents are read on, those of a task's split, and the factor that probes look for in them."""

    use: TaskUse
    split: str
    factor: str


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Attributes:
      name: for people and for axes that act from it.
      start, end: absolute steps; the stage trains steps start … end-1. In a stage without steps mechanisms start and
        nothing is learned.
      saves: absolute steps after which a checkpoint is kept, the last one `end`.
    """

    name: str
    start: int
    end: int
    saves: tuple[int, ...]

    @property
    def steps(self) -> int:
        """How many it trains."""
        return self.end - self.start


class CellRecipe(NamedTuple):
    """What a cell is trained with.

    Attributes:
      specs: for each stage, the sizes of its model.
      active_knobs: for each stage, the knobs that change anything, and their values.
      keys: for each stage, see `lab.study.spec.Study.key`.
    """

    specs: tuple[ModelSpec, ...]
    active_knobs: tuple[Mapping[str, Any], ...]
    keys: tuple[str, ...]
