"""The records of a study's other stages: how it was tuned and refined, what edits of activations and repairs showed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analysis.design import interim
from analysis.design.interim import InterimAnalyses
from analysis.design.selection import Tuning
from analysis.results import intervention_record, recovery_record
from analysis.results.recovery_record import Repairs
from lab.study.spec import Study


@dataclass(frozen=True)
class Records:
    """The records of one study; each is empty where its stage was never run.

    Attributes:
      looks: at which seeds a refined study was judged, and the share of α that each look spent.
      tuning: what was chosen where a knob is tuned away; the results then hold the chosen cells only.
      activation_edits: `<task>/<reading>` -> float64[cells] at the last step, see `intervention_record`.
      repairs: what every arm recovered.
    """

    looks: InterimAnalyses | None = None
    tuning: Tuning | None = None
    activation_edits: Mapping[str, np.ndarray] = field(default_factory=dict)
    repairs: Repairs | None = None


NO_RECORDS = Records()


def read(
    workdir: Path, study: Study, tuning: Tuning | None = None, note: Callable[[str], None] = warnings.warn
) -> Records:
    """The records in a work directory that belong to the cells of a study.

    Args:
      workdir: the study's directory.
      study: the cells that are judged.
      tuning: the choices of `analysis.design.selection.settle`, which no file keeps.
      note: called with a sentence for each damaged record that is left out.

    Raises:
      UserError: if the record of the looks is there and can't be read.
    """
    return Records(
        interim.of(interim.read(workdir), study),
        tuning,
        intervention_record.load(workdir, study, note),
        recovery_record.read(workdir, study, note),
    )
