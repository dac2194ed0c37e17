"""One table of everything that was measured, read from the checkpoints: a row for each cell and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.activations import between_cells, extras, linear_maps
from analysis.activations.measure import Measurer, ProbeSite, probe_sites
from analysis.design import cells_in, cells_of_strata, matched_controls, neutral_value, setting_of
from analysis.results import costs
from analysis.results.costs import Costs
from analysis.results.density import Density, count
from lab.engine import Node, Plan
from lab.storage import Store, checkpoint
from lab.storage.history import READINGS
from lab.study.spec import Study
from lab.values import exact


class Places(NamedTuple):
    """Where the cells of a stratum stand in an array of seeds by settings of the claim's knob.

    Attributes:
      knob_K, seed_S: the settings and the seeds, ascending.
      cell_C: indices of the stratum's cells, in the study's order.
      row_C, column_C: of each cell, where its seed and its setting are.
    """

    knob_K: np.ndarray
    seed_S: np.ndarray
    cell_C: np.ndarray
    row_C: np.ndarray
    column_C: np.ndarray


@dataclass(frozen=True)
class Results:
    """Readings of every cell at every kept step.

    Attributes:
      study: the study.
      step: int[E], the absolute steps of the evaluations, earliest first; the last one ends the study.
      stage: the stage's name of each evaluation.
      columns: name -> float64[cells, E]; abilities are '<task>/<split>/<one of READINGS>' (exact accuracy,
        log-probability, accuracy per answer token), latents '<task>/layer<l>/<read>/<metric>', and 'train/loss' is the
        mean loss of the call that ended at the step. Where claims are read, '<site>/image_r2' at the last evaluation:
        how far a cell's states and those of the neutral cell of its seed are linear images of each other (see
        `analysis.activations.linear_maps`).
      diverged_at: int[cells], the step at which a cell's loss was first not finite; -1 for the others.
      shared: [cells][E], the key of the node that a row's numbers come from; equal for cells that share a prefix, ''
        where there are none yet.
      density: of the kernels at the end; None for a study that doesn't prune.
      costs: parameters and FLOPs; None where there are no checkpoints to count them in.
      written_at: float64[cells, E], when the checkpoint of each row was written, in seconds since 1970, NaN where there
        is none yet; None for results that come from no checkpoints.
    """

    study: Study
    step: np.ndarray
    stage: tuple[str, ...]
    columns: dict[str, np.ndarray]
    diverged_at: np.ndarray
    shared: tuple[tuple[str, ...], ...]
    density: Density | None = None
    costs: Costs | None = None
    written_at: np.ndarray | None = None

    def ability(self, label: str, split: str, reading: str = "exact") -> np.ndarray:
        """An ability's reading: float64[cells, E]. Of one that a claim places, by its key, 'exact' is its own."""
        place = self.study.claim.place(label, split)
        own = "" if reading == "exact" else reading
        return self.columns[f"{label}/{split}/{reading}" if place is None else place.column(own)]

    def latent(self, site: ProbeSite, metric: str) -> np.ndarray:
        """A latent metric at a probe site: float64[cells, E]."""
        return self.columns[f"{site}/{metric}"]

    def places(self, stratum: Mapping[str, Any]) -> Places:
        """Where the cells of a stratum stand; every reading of a stratum is laid out alike."""
        names, found = self._places_of_strata
        known = found.get(tuple(stratum[name] for name in names)) if stratum.keys() == set(names) else None
        return known or _places(self.study, cells_in(self.study, stratum))

    @cached_property
    def _places_of_strata(self) -> tuple[list[str], dict[tuple[Any, ...], Places]]:
        """The names of the axes that strata are made of, and the places in each, from one pass over the cells."""
        found = cells_of_strata(self.study)
        places = {tuple(stratum.values()): _places(self.study, inside) for stratum, inside in found}
        return list(found[0][0]), places


def _places(study: Study, inside: Sequence[int]) -> Places:
    knob_C = np.asarray([setting_of(study, study.cells[i]) for i in inside], float)
    seed_C = np.asarray([int(study.cells[i]["seed"]) for i in inside], int)
    knob_K, column_C = np.unique(knob_C, return_inverse=True)
    seed_S, row_C = np.unique(seed_C, return_inverse=True)
    return Places(knob_K, seed_S, np.asarray(inside, int), row_C, column_C)


def shared_evaluations(results: Results, stratum: dict[str, Any]) -> int:
    """How many of the first evaluations are the same numbers at every knob setting of the stratum."""
    keys: dict[int, list[tuple[str, ...]]] = {}
    places = results.places(stratum)
    for cell, seed in zip(places.cell_C.tolist(), places.row_C.tolist(), strict=True):
        keys.setdefault(seed, []).append(results.shared[cell])
    same_E = [
        all(len({row[e] for row in rows}) == 1 < len(rows) for rows in keys.values()) for e in range(len(results.step))
    ]
    return int(np.argmin([*same_E, False]))


def collect(plan: Plan, store: Store, measurer: Measurer, on_progress: Callable[[int, int], None]) -> Results:
    """Read the histories of a study and measure the latents of every kept checkpoint.

    Of a study that isn't finished: NaN where a cell's stage is still to come, and neither density nor costs.

    Args:
      plan, store: of the study.
      measurer: reads latents off checkpoints.
      on_progress: called with (cells measured, cells to measure).

    Raises:
      DamagedCheckpoint: for one that can't be read.
    """
    study = plan.study
    # A stage counts once those before it are there: the checkpoints of an earlier one may be damaged.
    nodes = [list(takewhile(lambda n: n.key in store.nodes, row)) for row in plan.nodes_of_cells()]
    finished = all(len(row) == len(study.stages) for row in nodes)
    chunks = {str(store.final(n.key)[0].path): store.nodes[n.key][0] for row in nodes for n in row}
    saved = [one for _, chunk in sorted(chunks.items()) for one in chunk]
    knobs = plan.knobs
    readings = extras.with_named(measurer, measurer.read(saved, knobs, on_progress), saved, knobs, on_progress)
    histories = {path: checkpoint.load_once(chunk[-1], "history") for path, chunk in chunks.items()}

    evaluations = [(index, step) for index, stage in enumerate(study.stages) for step in stage.saves]
    columns: dict[str, np.ndarray] = {}
    diverged = np.full(len(study.cells), -1)
    clock = {(path, one.step): one.written_at for path, chunk in chunks.items() for one in chunk}
    written_at = np.full((len(nodes), len(evaluations)), np.nan)
    for cell, row in enumerate(nodes):
        for at, (stage, step) in enumerate(evaluations):
            if stage >= len(row):
                break
            final, index = store.final(row[stage].key)
            values = _recorded(histories[str(final.path)], index, step, final.meta["abilities"])
            values |= _measured(study, readings[row[stage].key, step])
            written_at[cell, at] = clock[str(final.path), step]
            for name, value in values.items():
                columns.setdefault(name, np.full((len(nodes), len(evaluations)), np.nan))[cell, at] = value
        for node in row:
            final, index = store.final(node.key)
            at_step = int(histories[str(final.path)]["diverged_at"][index, 0])
            diverged[cell] = at_step if diverged[cell] < 0 else diverged[cell]
    for name, values in _images(plan, nodes, store, measurer, knobs).items():
        columns[name] = np.full((len(nodes), len(evaluations)), np.nan)
        columns[name][:, -1] = values
    _add_compared(columns, plan, nodes, store, measurer)
    return Results(
        study=study,
        step=np.asarray([step for _, step in evaluations]),
        stage=tuple(study.stages[stage].name for stage, _ in evaluations),
        columns=columns,
        diverged_at=diverged,
        shared=tuple(tuple(row[s].key if s < len(row) else "" for s, _ in evaluations) for row in nodes),
        density=count(plan, store) if finished else None,
        costs=costs.count(plan, store) if finished else None,
        written_at=written_at,
    )


def _add_compared(
    columns: dict[str, np.ndarray], plan: Plan, nodes: list[list[Node]], store: Store, measurer: Measurer
) -> None:
    """Add the columns of `analysis.activations.between_cells`, where the study names such readings."""
    study = plan.study
    evaluations = [(index, step) for index, stage in enumerate(study.stages) for step in stage.saves]
    controls, neutral = matched_controls(study), neutral_value(study)
    own = [setting_of(study, cell) == neutral for cell in study.cells]
    references = [index if own[index] else control for index, control in enumerate(controls)]
    for at, (stage, step) in enumerate(evaluations):
        where = [store.at(row[stage].key, step) if stage < len(row) else None for row in nodes]
        for name, values_CxM in between_cells.read(study, measurer, where, references, plan.knobs).items():
            for index, site in enumerate(probe_sites(study)):
                empty = np.full((len(nodes), len(evaluations)), np.nan)
                columns.setdefault(f"{site}/{name}", empty)[:, at] = values_CxM[:, index]


def _images(
    plan: Plan, nodes: list[list[Node]], store: Store, measurer: Measurer, knobs: dict[str, Any]
) -> dict[str, np.ndarray]:
    """{column: float64[cells]} of `analysis.activations.linear_maps`; NaN where one of two cells isn't done."""
    study = plan.study
    ends = [store.final(row[-1].key) if len(row) == len(study.stages) else None for row in nodes]
    pairs = {
        index: (end, other)
        for index, (end, control) in enumerate(zip(ends, matched_controls(study), strict=True))
        if control is not None and end is not None and (other := ends[control]) is not None
    }
    found = linear_maps.read(measurer, list(pairs.values()), knobs)
    columns = {}
    for name, values in found.items():
        columns[name] = np.full(len(nodes), np.nan)
        columns[name][list(pairs)] = values
    return columns


def _recorded(history: dict[str, np.ndarray], row: int, step: int, names: list[str]) -> dict[str, float]:
    at = int(np.flatnonzero(history["step"][row] == step)[0])
    call = int(np.flatnonzero(history["call_end"][row] == step)[0])
    values = {"train/loss": float(history["loss"][row, call])}
    for index, name in enumerate(names):
        readings = history["ability"][row, at, index].tolist()
        values |= {f"{name}/{reading}": value for reading, value in zip(READINGS, readings, strict=True)}
    return values


def _measured(study: Study, readings: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        f"{site}/{name}": float(values[index])
        for index, site in enumerate(probe_sites(study))
        for name, values in readings.items()
    }


def to_csv(results: Results) -> str:
    """The table as text: knobs, seed, stage, step, divergence, costs, then every ability and latent reading.

    A row for each cell and evaluation, readings to seven significant digits, settings exactly, empty where there is
    none. Of the knobs, those that are an axis or do something in some cell.
    """
    study, (cells, evaluations) = results.study, (len(results.study.cells), len(results.step))
    turned = {axis.knob for axis in study.axes}.union(*(study.active(cell) for cell in study.cells))
    knobs = [name for name in study.base if name in turned and name != "seed"]
    of_cell = {"cell": list(study.cell_keys)}
    of_cell |= {name: [exact(cell[name]) for cell in study.cells] for name in knobs}
    of_cell |= {"seed": [cell["seed"] for cell in study.cells]}
    columns: dict[str, Any] = {name: np.repeat(values, evaluations) for name, values in of_cell.items()}
    columns["stage"] = list(results.stage) * cells
    columns["step"] = np.tile(results.step, cells)
    diverged_R = np.repeat(results.diverged_at, evaluations)
    known_R = (diverged_R >= 0) & (diverged_R < columns["step"])
    columns["diverged_at"] = pd.array(diverged_R, dtype="Int64")
    columns["diverged_at"][~known_R] = pd.NA
    columns["trained_as"] = [key for row in results.shared for key in row]
    if results.costs:
        columns |= {name: getattr(results.costs, name).ravel() for name in costs.COLUMNS}
    columns |= {name: _texts(values.ravel()) for name, values in results.columns.items()}
    return pd.DataFrame(columns).to_csv(index=False, lineterminator="\n", float_format="%.7g")


def _texts(values_R: np.ndarray) -> np.ndarray:
    """Numbers to seven digits, empty where there is none; cells that share a prefix repeat most of them."""
    bits_R = np.ascontiguousarray(values_R, float).view(np.int64)  # which tell -0 from 0
    found, at_R = np.unique(bits_R, return_inverse=True)
    texts = ["" if np.isnan(value) else f"{value:.7g}" for value in found.view(float).tolist()]
    return np.asarray(texts, object)[at_R]
