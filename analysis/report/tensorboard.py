"""What TensorBoard shows of a study: turns results into the plain data that `analysis.report.event_files` takes.

`tb/` has a run for each setting of the claim's knob (seeds summarized), in the knob's order, and one for the pictures:
few enough that TensorBoard opens with all of them ticked, and every chart has all settings in it. `tb_cells/` has a run
a cell. How many of each: `analysis.report.large_grid`.
"""

from __future__ import annotations

import itertools
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.activations.claimable import READINGS
from analysis.activations.claimed_sites import claimed_site, probed_site
from analysis.activations.measure import ProbeSite, claim_site
from analysis.design import neutral_value
from analysis.diagnosis import Findings
from analysis.report import large_grid
from analysis.report.event_files import Chart, Run, Series, Value
from analysis.report.wording import listed
from analysis.results import Results, reading_curve, shared_evaluations
from analysis.stats import summaries
from lab.study.spec import Study
from lab.values import exact, file_name

SETTINGS, CELLS = "tb", "tb_cells"  # directories of a study's work directory
PICTURES = "figures"  # the run that isn't a setting
SHARED = "shared training"  # the heading of what all settings have in common
MAX_TAGS = 200  # charts of a run; the page gets slow beyond
QUARTILES = {"q25": 0.25, "q75": 0.75}
# TensorBoard smooths every curve at first, by .6, and so lags by one and a half points. Between two evaluations lie so
# many more points, on the line that a chart draws anyway, that the lag is a small part of their distance.
POINTS, LEAST = 120, 8  # of a curve, and from one evaluation to the next


@dataclass(frozen=True)
class _Reading:
    """One column of the results as a chart.

    Attributes:
      task: the heading it is under.
      name: in that heading.
      column: of the results.
      about: what it is.
      claimed: whether a primary claim is about it.
    """

    task: str
    name: str
    column: str
    about: str
    claimed: bool

    @property
    def tag(self) -> str:
        """Of the interquartile mean."""
        return f"{self.task}/{self.name}"

    def quartile(self, name: str) -> str:
        """The tag of a quartile; all stand under one heading, so that they come between no two means."""
        return f"quartiles/{self.task} {self.name} {name}"


def command(directory: Path) -> str:
    """What to type: TensorBoard, as it is installed here, on a directory of runs."""
    program = "tensorboard"
    if not shutil.which(program):
        installed = Path(sys.executable).with_name(program)
        here = installed.is_relative_to(Path.cwd())
        program = str(installed.relative_to(Path.cwd()) if here else installed) if installed.exists() else program
    return shlex.join([program, "--logdir", str(directory)])


def metrics(study: Study) -> list[str]:
    """The tags that the HParams page of the settings has a column for: what the claim is about."""
    return [reading.tag for reading in _readings(study) if reading.claimed]


def cell_metrics(study: Study) -> list[str]:
    """The tags that the HParams page of the cells has a column for: everything that a cell's run has."""
    return [reading.tag for reading in _final(study)]


def settings(findings: Findings, images: Mapping[str, bytes], texts: Mapping[str, str]) -> list[Run]:
    """A run for each setting that is shown, then one with pictures, texts and the layout of the Custom Scalars page.

    A chart has the interquartile mean over seeds of a reading; those that the claim is about have charts of their
    quartiles, too. Charts begin where the settings part. What was trained before, once for all of them, is in the
    neutral setting's run under a heading of its own: it would take most of every chart, with one line in it.

    Args:
      findings: of all strata.
      images: name -> PNG file, in the order in which they are read.
      texts: tag -> Markdown.
    """
    study, results, readings = findings.study, findings.results, _shown(findings.study)
    runs = []
    for stratum, column_K in large_grid.settings_with_runs(findings):
        series_K: list[list[Series]] = [[] for _ in column_K]
        last, fork = len(results.step), _fork(results, stratum)
        knob_K = results.places(stratum).knob_K[column_K].tolist()
        neutral = knob_K.index(neutral_value(study)) if neutral_value(study) in knob_K else 0
        for reading in readings:
            for series, more in zip(series_K, _series(results, stratum, reading, column_K, fork, last), strict=True):
                series += more
            if fork:
                alone = replace(reading, task=SHARED, name=f"{reading.task} {reading.name}", claimed=False)
                series_K[neutral] += _series(results, stratum, alone, [column_K[neutral]], 0, fork + 1)[0]
        for k, series in zip(column_K, series_K, strict=True):
            hparams = _settings_of(results, stratum, k)
            if hparams in [run.hparams for run in runs]:  # neutral, on both sides of which there are settings
                continue
            places = results.places(stratum)
            clock = _clock(results, places.cell_C[places.column_C == k].tolist())
            runs.append(Run(_run_name(len(runs), study, hparams), series, hparams, clock=clock))
    bands = [Chart(one.task, one.name, one.tag, *map(one.quartile, QUARTILES)) for one in readings if one.claimed]
    numbered = {f"{PICTURES}/{index:02d} {name}": image for index, (name, image) in enumerate(images.items())}
    end, clock = int(results.step[-1]), _clock(results, range(len(study.cells)))
    return [*runs, Run(PICTURES, charts=bands, images=numbered, texts=texts, step=end, clock=clock)]


def _fork(results: Results, stratum: dict[str, Any]) -> int:
    """The last evaluation that all settings share; 0 where there is none, or where there is no other."""
    together = shared_evaluations(results, stratum)
    return together - 1 if 0 < together < len(results.step) else 0


def _shown(study: Study) -> list[_Reading]:
    """As many readings as have room, claimed ones first; each may have a second chart, of what settings share."""
    found, tags = [], 0
    for reading in sorted(_readings(study), key=lambda one: not one.claimed):
        tags += 2 + len(QUARTILES) * reading.claimed
        if tags <= MAX_TAGS:
            found.append(reading)
    return found


def _readings(study: Study) -> Iterator[_Reading]:
    claim = study.claim
    for use in study.tasks:
        for split in use.splits:
            primary = (use.label, split) in claim.abilities
            about = f"of {use.label} on the split {split}"
            column = f"{use.label}/{split}"
            yield _Reading(use.label, f"accuracy {split}", f"{column}/exact", f"exact accuracy {about}", primary)
            about = f"log-probability of the answer {about}, nats an answer token"
            yield _Reading(use.label, f"log-probability {split}", f"{column}/logprob", about, False)
            about = f"share of the tokens of an answer that are right, {use.label} on the split {split}"
            yield _Reading(use.label, f"token accuracy {split}", f"{column}/token_accuracy", about, False)
    for site, metric in _claimed(study):
        about = f"{READINGS[metric].meaning}; {metric} of {site}"
        plain = claim_site(study, site.label)
        where = "" if site == plain else f" {str(site).removeprefix(f'{site.label}/')}"
        yield _Reading(site.label, f"latent {metric}{where}", f"{site}/{metric}", about, True)
    yield _Reading("training", "loss", "train/loss", "mean loss since the last call of the training program", False)


def _final(study: Study) -> list[_Reading]:
    """What a cell's run has: every accuracy, and the latents that the claim is about."""
    return [one for one in _readings(study) if one.name.startswith(("accuracy", "latent"))]


def _claimed(study: Study) -> Iterator[tuple[ProbeSite, str]]:
    """Every site and metric that a primary claim is about, once; at which step it is read makes no difference here."""
    labels = dict.fromkeys(label for label, _ in study.claim.abilities)
    every = [(claimed_site(study, one, label), one.metric) for label in labels for one in study.claim.every_gain]
    every += [(probed_site(one), one.probe) for one in study.claim.placed_abilities if one.probe is not None]
    yield from dict.fromkeys(every)


def _series(
    results: Results, stratum: dict[str, Any], reading: _Reading, column_K: list[int], start: int, end: int
) -> list[list[Series]]:
    """The series of a reading at each of some settings, from one evaluation up to another."""
    step_E = results.step[start:end]
    curves = [reading_curve(results, stratum, reading.column, e).values_SxK[:, column_K] for e in range(start, end)]
    lines = [(reading.tag, "Interquartile mean", np.stack([summaries.iqm(values_SxK) for values_SxK in curves]))]
    if reading.claimed:
        quartiles_ExQxK = np.stack([summaries.quantiles(each, tuple(QUARTILES.values())) for each in curves])
        for q, name in enumerate(QUARTILES):
            lines.append((reading.quartile(name), f"Quantile {QUARTILES[name]:g}", quartiles_ExQxK[:, q]))
    seeds, steps = len(curves[0]), listed(f"{step:,}" for step in step_E)
    about = f"{reading.about}, over {seeds} {'seeds' if seeds > 1 else 'seed'}. Measured at {steps} steps"
    about += "; between them: straight lines." if len(step_E) > 1 else "."
    found: list[list[Series]] = [[] for _ in column_K]
    for tag, kind, values_ExK in lines:
        step_P, values_PxK = dense_line(step_E, values_ExK)
        for series, values_P in zip(found, values_PxK.T, strict=True):
            series.append(Series(tag, step_P.tolist(), values_P.tolist(), f"{kind}: {about}"))
    return found


def dense_line(step_E: np.ndarray, values_ExK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The straight lines through some points, with some `POINTS` points on them.

    Args:
      step_E: ascending.
      values_ExK: NaN where missing; lines to such a point are NaN, too.

    Returns:
      (step[P], values[P, K]): whole steps, ascending, in which all that were given are; where two of those are near
      each other, steps between them repeat, and where two are one step (a stage without steps), that step does.
    """
    each = max(LEAST, POINTS // max(1, len(step_E) - 1))
    counts = [each if high > low else 1 for low, high in itertools.pairwise(step_E.tolist())]
    pairs = zip(itertools.pairwise(step_E.tolist()), counts, strict=True)
    inner = [np.linspace(low, high, count, endpoint=False) for (low, high), count in pairs]
    step_P = np.concatenate([*inner, step_E[-1:]]).round().astype(int)
    values_PxK = np.stack([np.interp(step_P, step_E, values_E) for values_E in values_ExK.T], axis=1)
    values_PxK[np.cumsum([0, *counts])] = values_ExK  # np.interp gives one value for a step that was given twice
    return step_P, values_PxK


def _settings_of(results: Results, stratum: dict[str, Any], k: int) -> dict[str, Value]:
    """The values of all axes but the seed at a setting of the claim's knob."""
    study, places = results.study, results.places(stratum)
    cell = study.cells[int(places.cell_C[places.column_C == k][0])]
    return {axis.knob: cell[axis.knob] for axis in study.axes if axis.knob != "seed" and not axis.tuned}


def _run_name(index: int, study: Study, hparams: Mapping[str, Value]) -> str:
    """Sorted by text or by number, runs stand in the knob's order."""
    named = sorted(hparams.items(), key=lambda one: one[0] != study.claim.knob)
    return file_name(" ".join([f"{index:02d}", *(f"{knob}={exact(value)}" for knob, value in named)]))


def cells(findings: Findings, whole: bool = False) -> list[Run]:
    """A run a cell, a row of an HParams page: its settings, and its final readings; none in a large grid.

    Args:
      findings: of the study.
      whole: in a large grid, too.
    """
    study, results = findings.study, findings.results
    readings, runs, step = _final(study), [], int(results.step[-1])
    for index, cell in enumerate(study.cells if whole or large_grid.has_cell_runs(study) else ()):
        knobs = {axis.knob: cell[axis.knob] for axis in study.axes}
        name = " ".join(f"{knob}={exact(value)}" for knob, value in knobs.items())
        final = [Series(one.tag, (step,), (float(results.columns[one.column][index, -1]),)) for one in readings]
        runs.append(Run(file_name(name), final, knobs, clock=_clock(results, [index])))
    return runs


def _clock(results: Results, cells: Sequence[int]) -> tuple[list[int], list[float]]:
    """The steps at which some cells were evaluated, and when the last of them was written to disk there.

    What a rerun wrote again may be later than what follows it; time doesn't run back in a chart.
    """
    if results.written_at is None or not cells:
        return [], []
    time_E = np.where(np.isnan(results.written_at), 0.0, results.written_at)[list(cells)].max(axis=0)
    reached_E = time_E > 0
    return results.step[reached_E].tolist(), np.maximum.accumulate(time_E[reached_E]).tolist()
