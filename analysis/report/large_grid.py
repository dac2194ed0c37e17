"""What the views leave out of a large grid, from which size on, and the sentences that say so.

Nothing measured is left out: `results.csv` has every cell, `verdicts.json` every claim, the tables every stratum.
"""

from __future__ import annotations

from analysis.diagnosis import Findings
from lab.study.spec import Study

MOST_CELLS = 200  # that have a run of their own for TensorBoard, a directory with a file each
MOST_STRATA = (
    12  # that have figures of their own: seven pictures each, which take seconds to draw and megabytes to read
)


def has_cell_runs(study: Study) -> bool:
    """Whether every cell has a run of its own for TensorBoard, a row of its HParams page."""
    return len(study.cells) <= MOST_CELLS


def strata_with_figures(findings: Findings) -> list[int]:
    """Indices of the strata that have figures of their own: all, or those with a break and then the first ones."""
    strata = findings.strata
    broken = {str(one.stratum) for one in findings.claims if one.verdict.break_at is not None}
    chosen = sorted(range(len(strata)), key=lambda index: str(strata[index]) not in broken)
    return sorted(chosen[:MOST_STRATA])


def notes(findings: Findings) -> list[str]:
    """A sentence for each thing that is left out."""
    cells, strata, found = len(findings.study.cells), len(findings.strata), []
    if not has_cell_runs(findings.study):
        found.append(
            f"{cells:,} cells are more than {MOST_CELLS}: only the sweep's own run is written for TensorBoard, no row a"
            " cell under HParams; `results.csv` has every cell."
        )
    if strata > MOST_STRATA:
        found.append(
            f"{strata:,} settings of the other axes are more than {MOST_STRATA}: so many have figures of their own,"
            " those with a break first; the tables and `results.csv` have all of them."
        )
    return found
