"""What a cell is compared with: the neutral cell of the same seed, in the same stratum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.design.categories import is_association, is_categorical, setting_of
from lab.mechanisms import NEVER
from lab.study.comparable import follows
from lab.study.spec import Study

SIDE = "side"  # in a stratum, of a claim with settings on both sides of neutral: on which of them
BELOW, ABOVE = "below neutral", "above neutral"


def strata(study: Study) -> list[dict[str, Any]]:
    """The combinations of the axes other than the claim's knob and the seed that occur in the grid.

    An axis that is tuned away is none of them; one that follows the claim's knob (zipped with it, one value for each of
    its values) is part of the claim. Where the knob's neutral value lies inside its axis, each side of it is a stratum.
    """
    return [stratum for stratum, _ in cells_of_strata(study)]


def cells_of_strata(study: Study) -> list[tuple[dict[str, Any], list[int]]]:
    """The strata, each with the indices of its cells in the study's order; neutral cells are on both sides."""
    found = cells_of_other_axes(study)
    if not two_sided(study):
        return found
    knob, neutral, split = study.claim.knob, neutral_value(study), []
    for stratum, inside in found:
        for side in (BELOW, ABOVE):
            mine = [index for index in inside if _is_on(side, study.cells[index][knob], neutral)]
            if any(study.cells[index][knob] != neutral for index in mine):
                split.append(({**stratum, SIDE: side}, mine))
    return split


def two_sided(study: Study) -> bool:
    """Whether the claim has settings on both sides of neutral: then it is two claims, one on either side."""
    if is_categorical(study) or is_association(study):
        return False
    settings = {cell[study.claim.knob] for cell in study.cells}
    return min(settings) < neutral_value(study) < max(settings)


def sides(study: Study) -> int:
    """How many claims a gain and an ability make in a setting of the other axes."""
    return 2 if two_sided(study) else 1


def without_side(stratum: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the grid's other axes alone."""
    return {name: value for name, value in stratum.items() if name != SIDE}


def positions(knob_K: np.ndarray) -> np.ndarray:
    """Where settings in order lie on their axis [K]: each at its number, `NEVER` one spacing beyond its neighbour.

    The number of `NEVER` is a sentinel: taken as a distance it would make all other settings one point.
    """
    turned = len(knob_K) > 1 and knob_K[0] == NEVER
    up_K = np.array(knob_K[::-1] if turned else knob_K, float)
    if len(up_K) > 1 and up_K[-1] == NEVER:
        up_K[-1] = up_K[-2] + (up_K[-2] - up_K[-3] if len(up_K) > 2 else 1.0)
    return up_K[::-1] if turned else up_K


def _is_on(side: str, setting: float, neutral: float) -> bool:
    """Whether a setting is on a side of neutral; neutral is on both."""
    return setting <= neutral if side == BELOW else setting >= neutral


def cells_of_other_axes(study: Study) -> list[tuple[dict[str, Any], list[int]]]:
    """The settings of the grid's other axes, each with the indices of its cells, from one pass over the cells."""
    apart = {"seed", study.claim.knob, *study.claim.knobs, *study.tuned}
    names = [a.knob for a in study.axes if a.knob not in apart and not follows(study, a.knob)]
    found: dict[tuple[Any, ...], list[int]] = {}
    for index, cell in enumerate(study.cells):
        found.setdefault(tuple(cell[name] for name in names), []).append(index)
    return [(dict(zip(names, values, strict=True)), inside) for values, inside in found.items()]


def in_stratum(study: Study, cell: Mapping[str, Any], stratum: Mapping[str, Any]) -> bool:
    """Whether a cell's settings are those of a stratum; every cell's are those of the empty one."""
    if SIDE in stratum and not _is_on(stratum[SIDE], cell[study.claim.knob], neutral_value(study)):
        return False
    return all(cell[name] == value for name, value in without_side(stratum).items())


def cells_in(study: Study, stratum: Mapping[str, Any]) -> list[int]:
    """Indices of the cells of a stratum, in the study's order."""
    return [index for index, cell in enumerate(study.cells) if in_stratum(study, cell, stratum)]


def neutral_value(study: Study) -> float:
    """What the claim's settings are compared with: the knob's neutral value where it is on the axis.

    The study's base value where it isn't, and for a knob that has none (a learning rate, say). Of a knob that only
    shapes another the neutral value is a convention: a base value that the study sets goes before it, so that a study
    of a bottleneck's size may begin where it is wide. Of a categorical claim it is the control, 0; an association
    has none.
    """
    if is_association(study):
        return float("nan")
    if is_categorical(study):
        return 0.0
    knob = study.knobs[study.claim.knob]
    base = study.base[knob.name]
    shaped = bool(knob.needs) and base != knob.base
    if knob.name in study.tested:
        return float(base)  # what the model was trained with
    on_axis = any(cell[knob.name] == knob.neutral for cell in study.cells)
    return float(knob.neutral if on_axis and not shaped else base)


def matched_controls(study: Study) -> list[int | None]:
    """For each cell the index of the neutral cell that it is compared with; None for neutral cells and without one."""
    if is_association(study):
        return [None] * len(study.cells)
    neutral = neutral_value(study)
    names = ["seed", *(cells_of_other_axes(study)[0][0])]

    def place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(cell[name] for name in names)

    at = {place(cell): i for i, cell in enumerate(study.cells) if setting_of(study, cell) == neutral}
    return [None if setting_of(study, cell) == neutral else at.get(place(cell)) for cell in study.cells]
