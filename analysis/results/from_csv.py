"""Results read back from a study's results.csv, so that a study can be judged again without its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

import numpy as np
import pandas as pd

from analysis.results.costs import COLUMNS as COSTS
from analysis.results.table import Results
from lab.errors import UserError
from lab.study.spec import Study

OF_THE_CELL = ("cell", "seed", "stage", "step", "diverged_at", "trained_as")


def from_csv(study: Study, text: str) -> Results:
    """The results whose `to_csv` is the text, to seven digits, without density and costs.

    Of a study that tunes a knob away the table holds the chosen cells only; the results are of a study of these.

    Args:
      study: as read back from study.json.
      text: of results.csv.

    Raises:
      UserError: if the table is not one of this study's.
    """
    table = pd.read_csv(StringIO(text), dtype={name: str for name in ("cell", "trained_as")})
    missing = {"cell", "step", "stage", "trained_as", "diverged_at"} - {*table.columns}
    if missing:
        raise UserError(f"results.csv has no column {sorted(missing)[0]}; it is no table of a study.")
    evaluations = [(stage.name, step) for stage in study.stages for step in stage.saves]
    keys = table["cell"].tolist()[:: len(evaluations)]
    inside = chosen(study.cell_keys, keys)
    if inside is None or table["step"].tolist() != [step for _, step in evaluations] * len(keys):
        raise UserError(f"results.csv is of another study than {study.name}: its cells or steps differ.")
    shape = (len(keys), len(evaluations))
    if len(inside) < len(study.cells):
        study = replace(study, cells=tuple(study.cells[index] for index in inside), room=study.largest)
    knobs = {*study.base}
    names = [name for name in table.columns if name not in {*OF_THE_CELL, *COSTS} and name not in knobs]
    return Results(
        study=study,
        step=np.asarray([step for _, step in evaluations]),
        stage=tuple(stage for stage, _ in evaluations),
        columns={name: _values(study, name, table[name].to_numpy(float)).reshape(shape) for name in names},
        diverged_at=table["diverged_at"].fillna(-1).to_numpy(int).reshape(shape)[:, -1],
        shared=tuple(map(tuple, table["trained_as"].fillna("").to_numpy(str).reshape(shape).tolist())),
    )


def chosen(known: Sequence[str], keys: Sequence[str]) -> list[int] | None:
    """Where a table's cells are in the study, in whose order they are; None where one is not.

    Cells that differ in a knob that does nothing have one key.
    """
    found, at = [], 0
    for key in keys:
        while at < len(known) and known[at] != key:
            at += 1
        if at == len(known):
            return None
        found.append(at)
        at += 1
    return found


def _values(study: Study, name: str, values_R: np.ndarray) -> np.ndarray:
    """A column; what is counted out of so many is a count again: the sign-flip tests see equal differences as ties."""
    if name.endswith("/exact"):
        examples = study.eval_examples
    elif name.endswith("/probe_accuracy"):
        examples = study.probe_examples - study.probe_examples // 2  # those that the probe has not seen
    else:
        return values_R
    count_R = np.round(values_R * examples)
    whole = np.all(np.isnan(values_R) | (np.abs(values_R * examples - count_R) < 0.01))
    return count_R / examples if whole else values_R
