"""What the views leave out of a large grid, from which size on, and the sentences that say so.

Nothing measured is left out: `results.csv` has every cell, `verdicts.json` every claim, the tables every stratum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.design import is_association
from analysis.diagnosis import Findings
from lab.study.spec import Study

MOST_CELLS = 200  # that have a run of their own for TensorBoard, a directory with a file each
MOST_SETTINGS = (
    20  # with a run in `tb/`: nobody tells more lines apart, and of more than 40 runs none is ticked at first
)
MOST_STRATA = 12  # with figures of their own
MOST_WHOLE = 3  # strata with all figures, some seven that take seconds to draw; of more, one has them, the others two
OPTION = "--full_views"  # of run.py: what `whole` stands for here


def has_cell_runs(study: Study, whole: bool = False) -> bool:
    """Whether every cell has a run of its own for TensorBoard, a row of an HParams page; with `whole` it has."""
    return whole or len(study.cells) <= MOST_CELLS


def strata_with_figures(findings: Findings, whole: bool = False) -> list[int]:
    """Indices of the strata that have figures of their own: all, or those with a break and then the first ones."""
    return sorted(_broken_first(findings)[: None if whole else MOST_STRATA])


def strata_with_all_figures(findings: Findings, whole: bool = False) -> list[int]:
    """Indices of the strata that have every figure: all, or the first one, if possible with a break."""
    return sorted(_broken_first(findings)[: None if whole or len(findings.strata) <= MOST_WHOLE else 1])


def settings_with_runs(findings: Findings) -> list[tuple[dict[str, Any], list[int]]]:
    """(stratum, indices of its settings of the claim's knob) that have a run for TensorBoard, at most `MOST_SETTINGS`.

    As many whole strata as have room, those with a break first; of one alone with more settings, some at even
    distances with both ends.
    """
    chosen, room = [], MOST_SETTINGS
    for index in _broken_first(findings):
        count = len(findings.results.places(findings.strata[index]).knob_K)
        if count <= room or not chosen:
            chosen.append((index, np.linspace(0, count - 1, min(count, room)).round().astype(int).tolist()))
            room -= len(chosen[-1][1])
    return [(findings.strata[index], picked) for index, picked in sorted(chosen)]


def _broken_first(findings: Findings) -> list[int]:
    """Indices of all strata, those with a break first."""
    broken = {str(one.stratum) for one in findings.claims if one.verdict.break_at is not None}
    return sorted(range(len(findings.strata)), key=lambda index: str(findings.strata[index]) not in broken)


def notes(findings: Findings, whole: bool = False) -> list[str]:
    """A sentence for each thing that is left out."""
    if is_association(findings.study):
        return ["TensorBoard's runs and pictures of hidden states are of claims along a knob: there are none here."]
    cells, strata, found = len(findings.study.cells), len(findings.strata), []
    with_runs = sum(len(picked) for _, picked in settings_with_runs(findings))
    settings = sum(len(findings.results.places(stratum).knob_K) for stratum in findings.strata)
    if with_runs < settings:
        found.append(
            f"TensorBoard shows {with_runs} of {settings:,} settings in `tb/`, whole strata with a break first, or"
            " settings at even distances; `results.csv` and the tables have all of them."
        )
    if not has_cell_runs(findings.study, whole):
        found.append(
            f"{cells:,} cells are more than {MOST_CELLS}: no cell has a run of its own in `tb_cells/` ({OPTION} writes"
            " them); `results.csv` has every cell."
        )
    if strata > MOST_WHOLE and not whole:
        others = "the others have" if strata <= MOST_STRATA else f"{MOST_STRATA - 1} others have"
        found.append(
            f"{strata:,} settings of the other axes are more than {MOST_WHOLE}: one of them, if possible with a break,"
            f" has all figures, {others} only the first ones ({OPTION} draws all); the tables and `results.csv`"
            " have all of them."
        )
    return found
