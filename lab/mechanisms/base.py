"""What a mechanism is: its knobs and its pure functions, written for one cell.

The engine calls the functions below at fixed places of the training step and knows nothing else of a mechanism. Each
takes and returns pytrees of one cell; none may mention the grid. A mechanism begins once: its static knobs act from the
stage of its traced ones. At its neutral setting it must leave every number bitwise as it was: a test compares with a
program compiled without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Params = Any  # a pytree of arrays: one cell's parameters
Extra = Any  # a pytree of arrays: what a mechanism keeps beside the parameters (a mask, say); () if nothing
Knobs = dict[str, Any]  # knob name -> traced scalar (static knobs: the plain value)


@dataclass(frozen=True)
class Knob:
    """One setting of a mechanism.

    Attributes:
      name: `mechanism.setting`.
      low, high: the valid range, both ends included (unused for a knob with choices).
      neutral: the value at which the mechanism does nothing; None where there is no such value.
      stage: 'first' or 'last': the stage from which it acts unless the study's axis says otherwise.
      about: one line for a person.
      source: the paper that defines it.
      choices: for a static knob, its values; empty for a traced one. A static knob changes the graph, so each of its
        values is compiled in a program of its own; all values of a traced knob share one.
      default: the base value where it isn't the neutral one.
      integer: whether only whole numbers are valid.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    neutral: Any = 0.0
    stage: str = "first"
    about: str = ""
    source: str = ""
    choices: tuple[str, ...] = ()
    default: Any = None
    integer: bool = False

    @property
    def base(self) -> Any:
        """The value that a study has where it says nothing."""
        return self.neutral if self.default is None else self.default

    @property
    def traced(self) -> bool:
        """Whether one compiled program serves all values."""
        return not self.choices


class Mechanism:
    """Does nothing; a mechanism overrides the places where it acts.

    Attributes:
      name: the prefix of its knobs' names.
      knobs: the knobs that it owns.
    """

    name: str = ""
    knobs: tuple[Knob, ...] = ()

    def init(self, params: Params) -> Extra:
        """What is kept beside the parameters before the mechanism acts."""
        del params
        return ()

    def enter(self, params: Params, extra: Extra, knobs: Knobs) -> Extra:
        """Called once, at the first step of the stage from which the mechanism acts."""
        del params, knobs
        return extra

    def direction(self, direction: Params, params: Params, knobs: Knobs) -> Params:
        """Change the optimizer's direction, before the learning rate scales it."""
        del params, knobs
        return direction

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Put the parameters back where the mechanism wants them, on entry and after every update."""
        del extra, knobs
        return params
