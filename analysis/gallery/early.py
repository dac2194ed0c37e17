"""The early warning, scored on the gallery: does the first fifth of training say what a mechanism never seen will cost?

See `analysis.forecast`: each mechanism is predicted by fits on the studies of the others alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.design import is_association, is_categorical
from analysis.forecast import views
from analysis.forecast.features import ForecastCase, cases, few_seeds
from analysis.forecast.predictors import LEAST_MECHANISMS, PREDICTORS, harm_rights, left_out, mechanisms
from analysis.gallery.kept import Kept

SHARE = 0.2  # of the training under the knob that is looked at


@dataclass(frozen=True)
class EarlyRow:
    """What one predictor is worth on mechanisms left out.

    Attributes:
      predictor: one of `analysis.forecast.predictors.PREDICTORS`.
      lost, broke: mean absolute error of the share lost, and of the break's place in shares of the knob's range.
      lost_skill, broke_skill: (skill against the mean, low, high), NaN where there is none.
      harm: share of abilities of which it says rightly whether any harm is shown.
    """

    predictor: str
    lost: float
    lost_skill: tuple[float, float, float]
    broke: float
    broke_skill: tuple[float, float, float]
    harm: float


@dataclass(frozen=True)
class Early:
    """The scores and what they rest on."""

    rows: tuple[EarlyRow, ...]
    studies: int
    mechanisms: tuple[str, ...]
    abilities: int


def early_warning(studies: Sequence[Kept]) -> Early:
    """Score every predictor on the kept studies that can be read early; no rows with fewer than three mechanisms."""
    found = [case for kept in studies for case in _cases(kept)]
    names = tuple(mechanisms(found)) if found else ()
    many = len({case.study for case in found})
    if len(names) < LEAST_MECHANISMS:
        return Early((), many, names, len(found))
    predictions = {name: left_out(found, name) for name in PREDICTORS}
    rows = [
        EarlyRow(
            name,
            lost.error,
            (lost.skill, lost.low, lost.high),
            broke.error,
            (broke.skill, broke.low, broke.high),
            float(harm_rights(found, predictions[name]).mean()),
        )
        for name, (lost, broke) in views.scores(found, predictions).items()
    ]
    return Early(tuple(rows), many, names, len(found))


def _cases(kept: Kept) -> list[ForecastCase]:
    """The learned abilities of a study along a knob with numbers; none where nothing early was evaluated."""
    study = kept.findings.study
    if is_association(study) or is_categorical(study) or few_seeds(study):
        return []
    found = cases(kept.run.study, kept.findings.results, SHARE, kept.findings.records.looks)
    return [case for case in found if case.learned and np.isfinite(case.lost_K).any()]
