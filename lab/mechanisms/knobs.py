"""The registry of knobs: what each one is, its range, its neutral value, and the stage from which it acts.

A mechanism's own knobs are declared next to its hooks, in lab/mechanisms; the knobs that every program has
(seed, learning rate, optimizer) are declared here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from lab.errors import UserError, nearest, shown
from lab.mechanisms import EVERY, MECHANISMS
from lab.mechanisms.base import Knob, StageSetup
from lab.nn.optimizers import OPTIMIZERS
from lab.values import exact, plain

SEED = Knob(
    name="seed",
    low=0,
    high=2**31 - 1,
    neutral=None,
    stage="first",
    integer=True,
    pinned=True,
    about="initial weights, worlds and batches of a cell; cells that differ only in other knobs share them",
    source="—",
)
LEARNING_RATE = Knob(
    name="optimizer.learning_rate",
    low=0.0,
    high=1.0,
    neutral=None,
    stage="first",
    default=2e-3,
    about="step size of the optimizer after warm-up",
    source="Loshchilov & Hutter 2019, arXiv 1711.05101",
)
OPTIMIZER = Knob(
    name="optimizer.name",
    neutral="adamw",
    stage="first",
    choices=tuple(OPTIMIZERS),
    pinned=True,
    about="AdamW, SGD with momentum .9, Lion, or Muon on the blocks' kernels; each needs a learning rate of its own",
    source="Chen et al. 2023, arXiv 2302.06675 (Lion); Jordan et al. 2024, kellerjordan.github.io/posts/muon (Muon)",
)

OF_EVERY_PROGRAM = (SEED, LEARNING_RATE, OPTIMIZER)
KNOBS: dict[str, Knob] = {
    knob.name: knob for knob in (*OF_EVERY_PROGRAM, *(knob for m in MECHANISMS.values() for knob in m.knobs))
}
NEUTRAL = {name: knob.neutral for name, knob in KNOBS.items()}
STATIC = tuple(name for name, knob in KNOBS.items() if not knob.traced)
DECIDES = {knob.name: name for name, mechanism in MECHANISMS.items() for knob in mechanism.deciding}


def find(name: str, where: str, known: Mapping[str, Knob] = KNOBS) -> Knob:
    """The knob of that name.

    Args:
      name: of the knob.
      where: for the message.
      known: the knobs that there are: `Study.knobs` of a study, which may have knobs of its own.

    Raises:
      UserError: for an unknown name, with the nearest valid ones.
    """
    if name not in known:
        raise UserError(f"{where}: unknown knob '{name}'. {nearest(name, known)}")
    return known[name]


def checked(name: str, value: Any, where: str, known: Mapping[str, Knob] = KNOBS) -> Any:
    """`value` as the knob's own type.

    Raises:
      UserError: if the value is of another kind or out of range.
    """
    knob, value = find(name, where, known), plain(value)
    if knob.choices:
        if value not in knob.choices:
            raise UserError(f"{where}: {name}={shown(value)} must be one of {', '.join(map(str, knob.choices))}.")
        return value
    span = f"[{exact(knob.low)}, {exact(knob.high)}]"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{where}: {name}={shown(value)} must be a number in {span}.")
    if not knob.low <= value <= knob.high:  # also refuses NaN
        raise UserError(f"{where}: {name}={shown(value)} is out of range; it must lie in {span}.")
    if knob.integer and value != int(value):
        raise UserError(f"{where}: {name}={shown(value)} must be a whole number.")
    return int(value) if knob.integer else float(value)


def alike(name: str, values: Iterable[Any], known: Mapping[str, Knob] = KNOBS) -> list[tuple[Any, ...]]:
    """The values of a knob that training can't tell apart, in groups: traced knobs are float32 there."""
    knob, groups = known[name], {}
    if knob.choices or knob is SEED:  # seeds are int32
        return []
    with np.errstate(over="ignore"):
        for value in dict.fromkeys(values):
            groups.setdefault(float(np.float32(value)), []).append(value)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def active_knobs(knobs: Mapping[str, Any], known: Mapping[str, Knob] = KNOBS) -> dict[str, Any]:
    """The knobs that do something: off their neutral value, and where a knob needs others, one of them off its own.

    The others decide no number, nor do those that a later version brings. Of a study's cell: `Study.active`.
    """
    off = {name: value for name, value in knobs.items() if name in known and value != known[name].neutral}
    return {name: value for name, value in off.items() if shapes_something(known[name], off)}


def shapes_something(knob: Knob, off: Collection[str]) -> bool:
    """Whether one of the knobs that a knob needs is among those off neutral; true of one that needs none."""
    return not knob.needs or any(name in off for name in knob.needs)


def mechanisms_in_use(settings: Iterable[Mapping[str, Any]], known: Mapping[str, Knob] = KNOBS) -> tuple[str, ...]:
    """Names of the mechanisms that some of the settings use: one of their traced knobs does something."""
    used = {_decided(name) for knobs in settings for name in active_knobs(knobs, known)}
    return tuple(name for name in EVERY if name in used)


def _decided(name: str) -> str | None:
    """The mechanism that a knob compiles in; a study's own knob always does, and is named after its mechanism."""
    return DECIDES.get(name) if name in KNOBS else name.partition(".")[0]


def objection(setup: StageSetup) -> str:
    """Why the knobs of a stage can't act there, by the first mechanism that objects; empty if none does."""
    found = (EVERY[name].objection(setup) for name in mechanisms_in_use([setup.knobs], {**KNOBS, **setup.own}))
    return next((sentence for sentence in found if sentence), "")
