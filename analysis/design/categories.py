"""Settings of the claim's knob as numbers: the knob's own values, or the places of a categorical axis's values.

A claim over a categorical axis (own, swapped, noise) has no order. Its values are numbered from 0, the control, in the
order of the axis, so that one kind of array, table and figure serves every claim; names stand wherever people read. The
settings of an association are the combinations of its knobs, numbered alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lab.mechanisms import NEVER
from lab.study.kinds import ASSOCIATION, CATEGORICAL
from lab.study.spec import Study
from lab.values import exact


def is_categorical(study: Study) -> bool:
    """Whether the claim compares values that have no order with a control."""
    return study.claim.kind == CATEGORICAL


def is_association(study: Study) -> bool:
    """Whether the claim is of metric and ability over all cells of a grid."""
    return study.claim.kind == ASSOCIATION


def combinations_of(study: Study) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """(knob, values) of an association's knobs: a setting's number is its place among all combinations of them."""
    axes = {axis.knob: axis.values for axis in study.axes}
    return tuple((knob, tuple(dict.fromkeys((*axes[knob], study.base[knob])))) for knob in study.claim.knobs)


def values_of(study: Study) -> tuple[Any, ...]:
    """The values of the claim's categorical axis, the control first, then in the axis's order."""
    knob = study.claim.knob
    on_axis = next(axis.values for axis in study.axes if axis.knob == knob)
    return tuple(dict.fromkeys((study.claim.control, *on_axis, study.base[knob])))


def setting_of(study: Study, cell: Mapping[str, Any]) -> float:
    """A cell's setting of the claim's knob as a number."""
    if is_association(study):
        place = 0
        for knob, values in combinations_of(study):
            place = place * len(values) + values.index(cell[knob])
        return float(place)
    value = cell[study.claim.knob]
    return float(values_of(study).index(value) if is_categorical(study) else value)


def value_at(study: Study, setting: float) -> Any:
    """The knob's value at a setting: what a cell has; of an association {knob: value}."""
    if is_association(study):
        place, found = round(setting), {}
        for knob, values in reversed(combinations_of(study)):
            place, at = divmod(place, len(values))
            found[knob] = values[at]
        return dict(reversed(found.items()))
    return values_of(study)[round(setting)] if is_categorical(study) else setting


def name_of(study: Study, setting: float) -> str:
    """A setting in full, as a text."""
    value = value_at(study, setting)
    if isinstance(value, dict):
        return ", ".join(f"{knob} = {exact(one)}" for knob, one in value.items())
    return f"never ({NEVER})" if value == NEVER else exact(value)


def names_of(study: Study, settings: Iterable[float]) -> tuple[str, ...]:
    """The names of a categorical axis's values; empty for a knob with numbers, which figures write in few digits."""
    return tuple(name_of(study, setting) for setting in settings) if is_categorical(study) else ()
