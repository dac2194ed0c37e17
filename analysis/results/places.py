"""Where in the results a claim's readings stand: the evaluation of a step, and the floor under what a probe reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.results.table import Results
from lab.study.places import Ability, Gain


def evaluation_at(results: Results, place: Gain | Ability | None) -> int:
    """The index of the evaluation that a checked place is read at; of the last one for None."""
    if place is None or place.step is None:
        return len(results.step) - 1
    at_E = np.asarray(results.step) == place.step
    if place.stage is not None:
        at_E = at_E & (np.asarray(results.stage) == place.stage)
    return int(np.flatnonzero(at_E)[0])


def probe_floor(results: Results, place: Ability, values: Mapping[str, Any]) -> float:
    """What a probe reads off states that say nothing about its factor.

    Information and selectivity are then 0. The probe's accuracy is the share of the most frequent class among the probe
    inputs (mean over the cells' seeds), or an equal share of all classes where no class balance was measured.

    Args:
      results: of the study.
      place: where the probe reads.
      values: of a cell or of a stratum, whose tasks are meant (`Study.at`).
    """
    if place.probe != "probe_accuracy":
        return 0.0
    study = results.study
    use = study.at(values).use(place.task)
    equal = 1.0 / use.task.factor_sizes[place.factor or use.factor]
    alike_C = np.asarray([study.task_setting(cell) == study.task_setting(values) for cell in study.cells])
    largest = results.columns.get(f"{place.site}/class_count_max", np.full((len(alike_C), 1), np.nan))[alike_C]
    largest = largest[np.isfinite(largest)]
    return max(equal, float(largest.mean()) / study.probe_examples) if len(largest) else equal


def readable(results: Results, place: Ability, values_CxE: np.ndarray) -> np.ndarray:
    """What a probe reads, as an ability.

    Of states that are all alike, in which nothing can be read, the floor: left out as missing, collapsed cells would
    make those that are left speak for them. No reader does worse than to ignore the states, so V-information below 0 is
    the estimate's error and counts as 0.
    """
    trained_CxE, study = np.asarray(results.shared) != "", results.study
    setting_C = [study.task_setting(cell) for cell in study.cells]
    one_of = dict(zip(setting_C, study.cells, strict=True))
    floors = {setting: probe_floor(results, place, cell) for setting, cell in one_of.items()}
    floor_Cx1 = np.asarray([floors[setting] for setting in setting_C])[:, None]
    values_CxE = np.where(np.isnan(values_CxE) & trained_CxE, floor_Cx1, values_CxE)
    return np.maximum(values_CxE, 0.0) if place.probe == "v_information" else values_CxE
