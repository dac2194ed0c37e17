"""One reading over the claim's knob and the seeds: the arrays that every test and figure takes.

Shape letters: S seeds, K settings of the claim's knob, E evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

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
    knob_K, seed_S, cell_C, row_C, column_C = results.places(stratum)
    diverged_C = results.diverged_at[cell_C]
    there_C = (diverged_C < 0) | (diverged_C >= results.step[evaluation])
    values = np.full((len(seed_S), len(knob_K)), np.nan)
    values[row_C[there_C], column_C[there_C]] = column[cell_C[there_C], evaluation]
    return Curve(knob_K, seed_S, values)
