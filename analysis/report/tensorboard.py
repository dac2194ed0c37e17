"""What TensorBoard shows of a study: turns results into the plain data that `analysis.report.event_files` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.activations.measure import ProbeSite, claim_site
from analysis.diagnosis import Findings
from analysis.report.event_files import CellRun, Chart, Series, Sweep
from analysis.report.large_grid import has_cell_runs
from analysis.report.wording import settings_text
from analysis.results import Results, curve
from analysis.stats import summaries
from lab.storage.history import READINGS
from lab.study.spec import Study
from lab.values import exact, file_name

MAX_TAGS = 1000  # the scalars page gets slow beyond
QUARTILES = (0.25, 0.75)


@dataclass(frozen=True)
class _Reading:
    """One column of the results as a group of charts."""

    group: str
    column: str
    claimed: bool


def sweep(findings: Findings, images: Mapping[str, bytes], texts: Mapping[str, str]) -> Sweep:
    """The grid's charts: for every reading and knob value the IQM over seeds at each evaluation, quartiles if claimed.

    Groups are named after the reading, so that the page has one a task and split; the Custom Scalars page has all knob
    values in one chart, and a chart with quartiles for each. Readings past MAX_TAGS are left out, claimed ones last.
    """
    results = findings.results
    series: list[Series] = []
    charts: list[Chart] = []
    for reading in sorted(_readings(results.study), key=lambda reading: not reading.claimed):
        for stratum in findings.strata:
            tags = len(results.places(stratum).knob_K) * (3 if reading.claimed else 1)
            if len(series) + tags <= MAX_TAGS:
                new_series, new_charts = _group(results, stratum, reading)
                series += new_series
                charts += new_charts
    return Sweep(series, sorted(charts, key=lambda c: c.margin), images, texts, int(results.step[-1]))


def _readings(study: Study) -> Iterator[_Reading]:
    claim = study.claim
    for use in study.tasks:
        for split in use.splits:
            primary = (use.label, split) in claim.abilities
            yield _Reading(f"ability {use.label} {split} accuracy", f"{use.label}/{split}/exact", primary)
            for other in READINGS[1:]:
                yield _Reading(f"ability {use.label} {split} {other}", f"{use.label}/{split}/{other}", False)
    yield from (_Reading(f"latent {site.label} {metric}", f"{site}/{metric}", True) for site, metric in _claimed(study))
    yield _Reading("training loss", "train/loss", False)


def _claimed(study: Study) -> Iterator[tuple[ProbeSite, str]]:
    """Every site and metric that a primary claim is about."""
    for label in dict.fromkeys(label for label, _ in study.claim.abilities):
        for metric, _ in study.claim.gains:
            yield claim_site(study, label), metric


def _group(results: Results, stratum: dict[str, Any], reading: _Reading) -> tuple[list[Series], list[Chart]]:
    """One reading in one stratum: its series, and its charts for the Custom Scalars page."""
    steps, column = results.step.tolist(), results.columns[reading.column]
    curves = [curve(results, stratum, column, e) for e in range(len(steps))]
    iqm_ExK = np.stack([summaries.iqm(c.values_SxK) for c in curves])
    quartiles_Ex2xK = np.stack([summaries.quantiles(c.values_SxK, QUARTILES) for c in curves])
    where = f" [{settings_text(stratum)}]" if stratum else ""
    name, settings = f"{reading.group}{where}", [f"{results.study.claim.knob}={exact(v)}" for v in curves[0].knob_K]
    series, charts, means = [], [], []
    for k, setting in enumerate(settings):
        means.append(f"{name}/{setting} iqm")
        series.append(Series(means[-1], steps, iqm_ExK[:, k].tolist()))
        if reading.claimed:
            low, high = (f"{name}/{setting} {q}" for q in ("q25", "q75"))
            series += [Series(low, steps, quartiles_Ex2xK[:, 0, k].tolist())]
            series += [Series(high, steps, quartiles_Ex2xK[:, 1, k].tolist())]
            charts.append(Chart(f"{name}, quartiles over seeds", setting, (means[-1], low, high), margin=True))
    if reading.claimed:
        charts.append(Chart("IQM over seeds, a line a setting", name, tuple(means)))
    return series, charts


def cells(findings: Findings) -> list[CellRun]:
    """A row of the HParams page for each cell: its settings, and its final readings; none in a large grid."""
    study, results = findings.study, findings.results
    columns = {f"final/{u.label}/{s}": f"{u.label}/{s}/exact" for u in study.tasks for s in u.splits}
    columns |= {f"final/{site.label}/{metric}": f"{site}/{metric}" for site, metric in _claimed(study)}
    runs = []
    for index, cell in enumerate(study.cells if has_cell_runs(study) else ()):
        knobs = {axis.knob: cell[axis.knob] for axis in study.axes}
        name = " ".join(f"{knob}={exact(value)}" for knob, value in knobs.items())
        metrics = {tag: float(results.columns[column][index, -1]) for tag, column in columns.items()}
        runs.append(CellRun(file_name(name), knobs, metrics))
    return runs
