"""One reading over the claim's knob and the seeds: the arrays that every test and figure takes.

Shape letters: S seeds, K settings of the claim's knob, E evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.design import cells_in
from analysis.results.table import Results


@dataclass(frozen=True)
class Curve:
    """One reading over the claim's knob within a stratum: values[S, K], NaN where a cell is missing or diverged."""

    knob_K: np.ndarray
    seed_S: np.ndarray
    values_SxK: np.ndarray


def curve(results: Results, stratum: dict[str, Any], column: np.ndarray, evaluation: int = -1) -> Curve:
    """One column of the results over knob and seed; NaN where a cell had diverged.

    Args:
      results: the study's results.
      stratum: values of the other axes.
      column: float64[cells, E].
      evaluation: which evaluation; the last by default.
    """
    study, knob = results.study, results.study.claim.knob
    inside = cells_in(study, stratum)
    knob_K = np.asarray(sorted({float(study.cells[i][knob]) for i in inside}))
    seed_S = np.asarray(sorted({int(study.cells[i]["seed"]) for i in inside}))
    values = np.full((len(seed_S), len(knob_K)), np.nan)
    for i in inside:
        cell, step = study.cells[i], results.step[evaluation]
        if results.diverged_at[i] < 0 or results.diverged_at[i] >= step:
            at = np.searchsorted(seed_S, cell["seed"]), np.searchsorted(knob_K, float(cell[knob]))
            values[at] = column[i, evaluation]
    return Curve(knob_K, seed_S, values)
