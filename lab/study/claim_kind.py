"""Which shape a study's claim has: a knob from neutral outwards, or values without order against a control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.errors import UserError, nearest, shown
from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Knob
from lab.study.grid import AT_TEST, Axis, Grid
from lab.study.kinds import ASSOCIATION, CATEGORICAL, MAP
from lab.values import exact


def kind_of(claim: Any, axis: Axis, base: Any, known: Mapping[str, Knob]) -> tuple[str, Any]:
    """(kind, control): the control is a value of the axis in a categorical claim, None in any other.

    Args:
      claim: the section of the config.
      axis: the claim's.
      base: the knob's value where no axis gives another.
      known: the knobs that there are.

    Raises:
      UserError: where the fields of the claim do not go together with its axis.
    """
    knob = known[axis.knob]
    if claim.knobs:
        raise UserError(
            f"config.claim.knobs={shown(tuple(claim.knobs))} is for an association; set"
            f" config.claim.kind='{ASSOCIATION}', or leave it out."
        )
    kind = claim.kind or (CATEGORICAL if knob.choices else MAP)
    if knob is registry.SEED or (kind == MAP and knob.choices):
        fix = ", or leave out config.claim.kind" if knob.choices else ""
        raise UserError(
            f"config.claim.knob: '{knob.name}' has no order to break along; name a knob with numbers, not the"
            f" seed{fix}."
        )
    if kind == MAP:
        if claim.control is not None:
            raise UserError(
                f"config.claim.control={shown(claim.control)} is for a categorical claim; a map begins at the neutral"
                f" value of {knob.name}. Leave it out, or set config.claim.kind='{CATEGORICAL}'."
            )
        return kind, None
    if claim.below != 1:
        raise UserError(
            f"config.claim.below={claim.below} is for a knob with an order; the values of {knob.name} are compared"
            " with a control. Leave it out."
        )
    values = [registry.checked(knob.name, value, f"sweep(): axis '{knob.name}'", known) for value in axis.values]
    control = claim.control
    if control is None:
        trained = axis.stage == AT_TEST  # then the others are compared with what is trained
        control = base if trained or knob.neutral not in values else knob.neutral
    if control not in values:
        raise UserError(
            f"config.claim.control={shown(control)} is not on the axis '{knob.name}', which has"
            f" {', '.join(map(exact, values))}; name one of its values, or add it."
        )
    if len(values) < 2:
        raise UserError(f"sweep(): axis '{knob.name}' has one value: nothing is compared with it; add values.")
    return kind, registry.checked(knob.name, control, "config.claim.control", known)


LEAST_SETTINGS = 5  # of an association: 5! = 120 orders


def knobs_of(claim: Any, grid: Grid) -> tuple[str, ...]:
    """The axes over which an association is taken, in the grid's order: those named, or all but the seed.

    Raises:
      UserError: where the fields of the claim do not go together with the grid.
    """
    axes = {axis.knob: axis for axis in grid.axes}
    if claim.knob:
        raise UserError(
            f"config.claim.knob={shown(claim.knob)} is for a claim along one knob; an association names"
            " config.claim.knobs, or none for all axes. Leave it out."
        )
    for field, default in (("below", 1), ("control", None)):
        if getattr(claim, field) != default:
            raise UserError(f"config.claim.{field}={shown(getattr(claim, field))} has no meaning for an association.")
    for name in claim.knobs:
        if name not in axes or name == registry.SEED.name:
            known = [knob for knob in axes if knob != registry.SEED.name]
            raise UserError(f"config.claim.knobs: '{name}' is not an axis of sweep(). {nearest(name, known)}")
    if tuned := [axis.knob for axis in grid.axes if axis.tuned]:
        raise UserError(f"sweep(): '{tuned[0]}' is tuned away, and an association is over all cells; drop tuned().")
    names = tuple(name for name in axes if name != registry.SEED.name and (name in claim.knobs or not claim.knobs))
    points = {tuple(value for name, value in point if name in names) for point in grid.points}
    if len(points) < LEAST_SETTINGS:
        settings = f"{len(points)} settings of {', '.join(names) or 'no axis'}"
        raise UserError(
            f"config.claim.kind='{ASSOCIATION}': {settings} are too few for a correlation over settings;"
            f" {LEAST_SETTINGS} are the least."
        )
    return names
