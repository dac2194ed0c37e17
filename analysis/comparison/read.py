"""Finished studies read for a comparison: an ability of a study's claim a row, from verdicts.json alone.

Knobs have different units, so a row can say where a value lies in its knob's range: 0 at neutral, 1 at the far end.
Where values are spread over scales (0, 1e-4 … 1) distances count settings, as they do in the report's figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.design import BELOW, SIDE
from analysis.plots import KnobAxis
from analysis.report import verdicts_json, wording
from lab.errors import UserError, printable
from lab.storage import DamagedFile, read_document
from lab.storage.files import MALFORMED, is_number
from lab.study.kinds import ASSOCIATION, CATEGORICAL


@dataclass(frozen=True)
class Gain:
    """The verdict of one claimed gain: metric, claimed sign, kind, and the break with its interval in knob units."""

    metric: str
    sign: int
    kind: str
    break_at: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    """One ability of one study's claim.

    Attributes:
      study: what the study is called here.
      axis: the claim's knob.
      ability, stratum: as in verdicts.json.
      unlearned: '' where the neutral cells are shown to beat the trivial baseline, else why nothing is shown.
      neutral, trivial, delta: exact accuracy of the neutral cells and of the trivial baseline, and δ.
      free_until, harmful_from: the bounds in knob units; None where there are none.
      gains: the verdicts, in the claim's order.
      labels: those that hold or are suspected; None where the file is of before there were labels.
    """

    study: str
    axis: KnobAxis
    ability: str
    stratum: dict[str, Any]
    unlearned: str
    neutral: float | None
    trivial: float
    delta: float | None
    free_until: float | None
    harmful_from: float | None
    gains: tuple[Gain, ...]
    labels: tuple[str, ...] | None

    @property
    def far(self) -> float:
        """The knob's value at the end away from neutral."""
        return float(self.axis.value_K[-1 if self.axis.neutral == self.axis.value_K[0] else 0])

    def share(self, value: float) -> float:
        """Where a knob value lies between neutral, 0, and the far end, 1."""
        start, end = self.axis.at(self.axis.neutral), self.axis.at(self.far)
        return (self.axis.at(value) - start) / ((end - start) or 1.0)


def read(paths: Sequence[Path]) -> list[Row]:
    """The rows of several studies, in the order given.

    Raises:
      UserError: a directory is missing, named twice, no finished study, or its verdicts can't be read.
    """
    return [row for name, path in zip(names_of(paths), paths, strict=True) for row in _rows(name, path)]


def names_of(paths: Sequence[Path]) -> list[str]:
    """What directories are called in a table: the last part of the path, all of it where several share that.

    Raises:
      UserError: one is named twice.
    """
    known = [path.resolve() for path in paths]
    for index, path in enumerate(known):
        if path in known[:index]:
            raise UserError(f"{paths[index]} is named twice; name each study once.")
    names = [path.name for path in known]
    return [printable(str(path) if names.count(name) > 1 else name) for name, path in zip(names, paths, strict=True)]


def _rows(name: str, path: Path) -> list[Row]:
    document = _document(path)
    try:
        if document.get("kind") == ASSOCIATION:
            raise UserError(
                f"{path}: its claim is an association over a whole grid, and this table says how far a knob is free;"
                " leave the study out."
            )
        knob = document["knob"]
        if knob.get("kind") == CATEGORICAL:
            raise UserError(
                f"{path}: the values of {knob['name']} have no order, and this table says how far a knob is free; leave"
                " the study out."
            )
        # Adding 0.0 turns -0.0, the far side of a knob swept downwards, into 0.0.
        value_K = np.asarray([_number(value) for value in knob["values"]], float) + 0.0
        axis = KnobAxis(_text(knob["name"]), value_K, float(_number(knob["neutral"])) + 0.0)
        ordered = bool((np.diff(value_K) > 0).all())
        bounds = [bound for bound in document["bounds"] if _flag(bound["primary"])]
        axes = [_side(axis, bound["stratum"].get(SIDE)) for bound in bounds]
        ends = all(one.neutral in one.value_K[[0, -1]] for one in (axis, *axes)[bool(axes) :])
        if document["schema"] != verdicts_json.SCHEMA or not ends or not ordered:
            raise ValueError
        rows = [_row(name, one, document, bound) for one, bound in zip(axes, bounds, strict=True)]
    except UserError:
        raise
    except MALFORMED:
        raise UserError(
            f"{path / 'verdicts.json'} is not laid out as docs/verdicts.md says; rerun the study's command."
        ) from None
    return rows


def _side(axis: KnobAxis, side: str | None) -> KnobAxis:
    """The axis on one side of neutral; all of it where neutral is at its end."""
    if side is None:
        return axis
    way = -1 if side == BELOW else 1
    return replace(axis, value_K=axis.value_K[way * (axis.value_K - axis.neutral) >= 0])


def _document(path: Path) -> dict[str, Any]:
    """verdicts.json of a finished study."""
    if not path.is_dir():
        raise UserError(f"there is no directory '{path}'; name work directories of studies, such as runs/pruning.")
    record, verdicts = path / "study.json", path / "verdicts.json"
    if not verdicts.is_file():
        if record.is_file():
            raise UserError(
                f"{path}: the study is not finished, it has no verdicts.json; let its command run to the end."
            )
        raise UserError(f"{path} is no work directory: it has neither study.json nor verdicts.json.")
    try:
        document, known = read_document(verdicts), read_document(record)
        judged = document["cells"]
        cells = judged if known is None else len(known["cells"])
    except (DamagedFile, *MALFORMED):
        raise UserError(f"{verdicts} or study.json can't be read; rerun the study's command to rebuild it.") from None
    if cells != judged:
        raise UserError(
            f"{path}: the study is not finished, it has grown to {cells} cells since {judged} were judged; let its"
            " command run to the end."
        )
    return document


def _row(name: str, axis: KnobAxis, document: dict[str, Any], bound: dict[str, Any]) -> Row:
    def of(field: str) -> list[dict[str, Any]]:
        return [one for one in document[field] if all(one[k] == bound[k] for k in ("ability", "stratum"))]

    claims, unlearned = of("claims"), ""
    neutral = claims[0]["neutral_ability"]
    if not _flag(bound["learned"]):
        few = len(document["seeds"]) < _number(document["least_seeds"]["bounds"])
        unlearned = "too few seeds" if few and (neutral is None or neutral > bound["trivial"]) else "not learned"
    labels = None
    if "labels" in document:
        given = [one for one in of("labels") if one["status"] in ("holds", "suspected")]
        labels = tuple(_text(one["name"]) + (" (suspected)" if one["status"] == "suspected" else "") for one in given)
    return Row(
        study=name,
        axis=axis,
        ability=_text(bound["ability"]),
        stratum={knob: one if isinstance(one, str) else _number(one) for knob, one in bound["stratum"].items()},
        unlearned=unlearned,
        neutral=_number_or_none(neutral),
        trivial=_number(bound["trivial"]),
        delta=_number_or_none(bound["delta"]),
        free_until=None if unlearned else _number_or_none(bound["shown_free_until"]),
        harmful_from=None if unlearned else _number_or_none(bound["shown_harmful_from"]),
        gains=tuple(_gain(one) for one in claims),
        labels=labels,
    )


def _gain(one: dict[str, Any]) -> Gain:
    interval = one["break_interval"]
    low_high = None if interval is None else (float(_number(interval[0])), float(_number(interval[1])))
    if one["sign"] not in (-1, 1) or one["kind"] not in wording.MARKS:
        raise ValueError
    return Gain(_text(one["metric"]), int(one["sign"]), one["kind"], _number_or_none(one["break_at"]), low_high)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> float:
    """A finite number: the file says null where there is none."""
    if not is_number(value) or not math.isfinite(value):
        raise TypeError
    return value


def _number_or_none(value: Any) -> float | None:
    return None if value is None else _number(value)
