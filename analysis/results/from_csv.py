"""Results read back from a study's results.csv, so that a study can be judged again without its checkpoints."""

from __future__ import annotations

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
    at = {key: index for index, key in enumerate(study.cell_keys)}
    keys = list(dict.fromkeys(table["cell"]))
    evaluations = [(stage.name, step) for stage in study.stages for step in stage.saves]
    if not {*keys} <= at.keys() or len(table) != len(keys) * len(evaluations):
        raise UserError(f"results.csv is of another study than {study.name}: its cells or steps differ.")
    if table["step"].tolist() != [step for _, step in evaluations] * len(keys):
        raise UserError(f"results.csv is of another study than {study.name}: its steps differ.")
    shape, inside = (len(keys), len(evaluations)), [at[key] for key in keys]
    if len(inside) < len(at):
        study = replace(study, cells=tuple(study.cells[index] for index in inside), room=study.largest)
    knobs = {*study.base}
    names = [name for name in table.columns if name not in {*OF_THE_CELL, *COSTS} and name not in knobs]
    return Results(
        study=study,
        step=np.asarray([step for _, step in evaluations]),
        stage=tuple(stage for stage, _ in evaluations),
        columns={
            name: _values(name, table[name].to_numpy(float), study.eval_examples).reshape(shape) for name in names
        },
        diverged_at=table["diverged_at"].fillna(-1).to_numpy(int).reshape(shape)[:, -1],
        shared=tuple(map(tuple, table["trained_as"].fillna("").to_numpy(str).reshape(shape).tolist())),
    )


def _values(name: str, values_R: np.ndarray, examples: int) -> np.ndarray:
    """A column; shares of right answers are counts again, whose equal differences the sign-flip tests count as ties."""
    count_R = np.round(values_R * examples)
    whole = name.endswith("/exact") and np.all(np.isnan(values_R) | (np.abs(values_R * examples - count_R) < 0.01))
    return count_R / examples if whole else values_R
