"""A work directory as a read-only object, for a notebook or a program: results, findings and hidden states.

    study = analysis.open_study("runs/pruning")
    study.results["facts/iid/exact"]
    [one.verdict.kind for one in study.findings.claims]
    for block in study.hidden({"prune.sparsity": 0.9}, label="facts"):
        block.states_CxNxD, block.labels_CxN

Needs study.json and checkpoints/ only, not the study's own file. Takes no lock and writes nothing, so a study that is
still training can be read: hidden states of every checkpoint that there was when it was opened, and results of every
stage that was finished.

Shape letters: R rows (cell × evaluation), C cells, N probe examples, D width.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.activations import extract, measure, on_call
from analysis.activations.claimable import READINGS
from analysis.design import selection
from analysis.design.selection import Tuning
from analysis.diagnosis import Findings, find
from analysis.report import verdicts_json
from analysis.results import Records, Results, collect, records
from lab.engine import Layout, Plan, Programs, device_grid, make_plan
from lab.errors import UserError, nearest
from lab.jobs.layouts import described, read_layouts
from lab.jobs.workdir import FILE, read_study
from lab.storage import DamagedCheckpoint, Store, read_store
from lab.study import sizes
from lab.study.spec import Study
from lab.values import exact, meant, plain

Where = Mapping[str, Any] | int | None
"""Which cells: {knob: value, or several values}, one index, or None for all."""


@dataclass(frozen=True)
class Hidden:
    """Hidden states of some cells on the probe set, which is the same for all cells of a seed.

    Attributes:
      cells: their indices in `OpenStudy.cells`.
      step: the step after which they are read.
      place: task, layer and read position.
      states_CxNxD: float32.
      labels_CxN: int32, the task's factor that probes look for.
    """

    cells: tuple[int, ...]
    step: int
    place: measure.ProbeSite
    states_CxNxD: np.ndarray
    labels_CxN: np.ndarray


class OpenStudy:
    """A study that was opened to be read; see `open_study`.

    Attributes:
      path: its work directory.
      study: the checked study.
      damaged: paths of checkpoints that could not be read and are left out.
    """

    def __init__(self, path: Path, study: Study, store: Store, damaged: list[str], layouts: Sequence[Layout] = ()):
        self.path, self.study, self.damaged = path, study, tuple(damaged)
        self._store, self._layouts = store, layouts

    @cached_property
    def cells(self) -> tuple[dict[str, Any], ...]:
        """Each cell's settings: the axes' knobs, and every other that does something."""
        axes = [axis.knob for axis in self.study.axes]
        return tuple({name: cell[name] for name in axes} | self.study.active(cell) for cell in self.study.cells)

    @property
    def _lost(self) -> str:
        """For a sentence on cells that are missing: what is damaged."""
        return f", and {self.damaged[0]} is damaged: the study's command trains it again" if self.damaged else ""

    @property
    def steps(self) -> tuple[int, ...]:
        """The absolute steps whose checkpoints are kept, the last one the study's end."""
        return tuple(step for stage in self.study.stages for step in stage.saves)

    @cached_property
    def finished(self) -> np.ndarray:
        """bool[cells]: which cells are trained to the end."""
        return np.asarray([all(node.key in self._store.nodes for node in row) for row in self._plan.nodes_of_cells()])

    @cached_property
    def results(self) -> dict[str, np.ndarray]:
        """A table as {column: array[R]}, the columns of results.csv but for costs: a row for each evaluation reached.

        'cell' is the index in `cells`, `diverged_at` -1 where a cell's loss stayed finite. Latent readings that the
        study hasn't kept yet are measured here, which may take a while.
        """
        found, study = self.collected, self.study
        cell_R, at_R = np.nonzero(np.asarray(found.shared) != "")
        names = dict.fromkeys(name for cell in self.cells for name in cell if name != "seed")
        table = {"cell": cell_R}
        table |= {name: np.asarray([study.cells[i][name] for i in cell_R]) for name in (*names, "seed")}
        table |= {"stage": np.asarray(found.stage)[at_R], "step": found.step[at_R]}
        table |= {"diverged_at": found.diverged_at[cell_R]}
        return table | {name: column[cell_R, at_R] for name, column in found.columns.items()}

    @cached_property
    def findings(self) -> Findings:
        """The verdicts, bounds, diagnoses and lead–lag of the study, judged from the checkpoints; every view takes it.

        Raises:
          UserError: while cells are missing; a verdict is about the whole grid.
        """
        missing = int((~self.finished).sum())
        if missing:
            raise UserError(
                f"{self.path}: {missing} of {len(self.cells)} cells are not trained to the end{self._lost}; let the"
                " study finish, then open it again for its verdicts."
            )
        return find(self.judgeable, self.records)

    @cached_property
    def verdicts(self) -> dict[str, Any]:
        """The findings as in verdicts.json (docs/verdicts.md).

        Raises:
          UserError: while cells are missing.
        """
        return verdicts_json.document(self.findings)

    def select(self, where: Where = None) -> tuple[int, ...]:
        """Indices of cells.

        Args:
          where: {knob: value} or {knob: (value, value)}, 'seed' among the knobs; an index; None for all.

        Raises:
          UserError: for an unknown knob, a value that no cell has, or a combination that no cell has.
        """
        if where is None:
            return tuple(range(len(self.cells)))
        if isinstance(where, (int, np.integer)):
            if not 0 <= where < len(self.cells):
                raise UserError(f"there is no cell {where}; there are {len(self.cells)}, counted from 0.")
            return (int(where),)
        if not isinstance(where, Mapping):
            raise UserError(f"select cells by a dict such as {{'seed': 0}} or by an index, not by {where!r}.")
        wanted = {knob: self._values(knob, value) for knob, value in where.items()}
        chosen = [i for i, cell in enumerate(self.study.cells) if all(cell[k] in wanted[k] for k in wanted)]
        if not chosen:
            raise UserError(f"no cell has {', '.join(f'{k}={v!r}' for k, v in where.items())} together.")
        return tuple(chosen)

    def hidden(
        self,
        where: Where = None,
        *,
        label: str | None = None,
        step: int | None = None,
        layer: int | None = None,
        read: str | None = None,
    ) -> Iterator[Hidden]:
        """Hidden states, a block of cells at a time, so that memory holds one block and one checkpoint.

        Orbax reads a chunk's checkpoint whole (a few cells); each is read once.

        Args:
          where: which cells, as `select`; in one call they are in the checkpoints' order, see `Hidden.cells`.
          label: the task whose probe inputs are shown; may be left out where there is one task.
          step: a kept step (`steps`); the last by default.
          layer: of the residual stream, 0 after the embedding, negative from the end; the claim's by default.
          read: the read position; the task's first by default.

        Raises:
          UserError: for what the study doesn't have, and for cells that are not trained so far.
        """
        place = self.place(label, layer, read)
        found = self.each("hidden states", (place,), extract.at(self.study, (place,)), where, step)
        step = self.steps[-1] if step is None else step
        return (Hidden(cells, step, place, hidden[:, 0], labels[:, 0]) for cells, (hidden, labels) in found)

    def each(
        self, name: str, content: Hashable, function: extract.OfCell, where: Where = None, step: int | None = None
    ) -> Iterator[tuple[tuple[int, ...], Any]]:
        """The arrays of a function of one cell's model, a block of cells at a time, in the order of `hidden`.

        Args:
          name, content: of its compiled program, see `lab.engine.program_cache.Programs.get`.
          function: pure JAX: (the inference model, the mechanisms in it, seed, parameters) -> arrays.
          where, step: as `hidden`.

        Returns:
          (indices of the cells, the function's arrays with a leading axis over those cells), block by block.

        Raises:
          UserError: as `hidden`.
        """
        chosen, step = self.select(where), self.steps[-1] if step is None else step
        if step not in self.steps:
            raise UserError(f"step={step!r} is not kept; kept are {', '.join(map(str, self.steps))}.")
        members = extract.find(self.study, self._store, chosen, step)
        return self._blocks(extract.each(self.study, self._programs, self._knobs, members, name, content, function))

    def measure(
        self,
        metric: str,
        where: Where = None,
        *,
        against: Where = None,
        label: str | None = None,
        step: int | None = None,
        layer: int | None = None,
        read: str | None = None,
        **options: Any,
    ) -> dict[str, np.ndarray]:
        """One latent metric of chosen cells, among them those that no study measures by itself (LiDAR, CKA, MDL …).

        Args:
          metric: a name that `run.py --list=metrics` lists.
          where, label, step, layer, read: which cells, and where their states are read, as `hidden`.
          against: of a metric of two cells: the cells to compare with, one a seed, since each seed has its own inputs.
          options: what the metric takes besides, such as context=<factor>, views=8, relative_noise=0.1.

        Returns:
          {'cell': int64[C], reading: float64[C]}; one reading under the metric's name, several under their own.

        Raises:
          UserError: as `hidden`; for an unknown metric or option, and for one that the task doesn't have.
        """
        wanted = on_call.request(self.study, self.place(label, layer, read), metric, options)
        if wanted.is_pair != (against is not None):
            how = "compares two cells: name the others by" if wanted.is_pair else "is a reading of one cell: leave out"
            raise UserError(f"{metric} {how} against=.")
        read_arrays = on_call.arguments_of(self.study, wanted)
        cells = self.each("on-call arguments", wanted.content, read_arrays, where, step)
        others = self.each("on-call arguments", wanted.content, read_arrays, against, step) if wanted.is_pair else ()
        return on_call.read(self.study, wanted, cells, others)

    @cached_property
    def _plan(self) -> Plan:
        return make_plan(self.study, device_grid.local_layout())

    @cached_property
    def _programs(self) -> Programs:
        return Programs(self._plan.layout)

    @cached_property
    def _knobs(self) -> dict[str, Mapping[str, Any]]:
        return self._plan.knobs

    @cached_property
    def _settled(self) -> tuple[Plan, Tuning | None]:
        return selection.settle(self._plan, self._store)

    @cached_property
    def judgeable(self) -> Results:
        """What claims are judged on: `collected`, of a study that tunes a knob away only the cells that were chosen."""
        plan, tuning = self._settled
        return self.collected if tuning is None else self._collect(plan)

    @cached_property
    def records(self) -> Records:
        """How the study was tuned and refined, and what edits of activations and arms of a repair showed.

        Raises:
          UserError: if the record of a refinement can't be read.
        """
        plan, tuning = self._settled
        return records.read(self.path, plan.study, tuning)

    @cached_property
    def collected(self) -> Results:
        """Everything that was measured."""
        return self._collect(self._plan)

    def _collect(self, plan: Plan) -> Results:
        measurer = measure.Measurer(self.study, self._programs, self.path, keep=False)
        try:
            with device_grid.lapack_on_one_thread():
                found = collect(plan, self._store, measurer, lambda done, total: None)
        except DamagedCheckpoint as error:
            raise UserError(_repair(error)) from None
        here = self._plan.layout
        if measurer.measured and {layout.rounding() for layout in self._layouts} - {here.rounding()}:
            warnings.warn(
                f"{self.path}: latent readings that it does not keep are measured on another device layout"
                f" ({described([here])}) than the study was on ({described(self._layouts)}): they may differ from its"
                " own in the last digits.",
                stacklevel=2,
            )
        return found

    def _values(self, knob: str, value: Any) -> tuple[Any, ...]:
        if knob not in self.study.knobs:
            raise UserError(f"unknown knob '{knob}'. {nearest(str(knob), self.cells[0])}")
        several = isinstance(value, (list, tuple, set, frozenset, range)) or getattr(value, "ndim", 0) > 0
        values = tuple(value) if several else (value,)
        known = sorted({cell[knob] for cell in self.study.cells})
        return tuple(self._value(knob, one, known) for one in values)

    def _value(self, knob: str, value: Any, known: list[Any]) -> Any:
        """The value of the cells that is meant: equal, or the one that it is a rounding of, as tables print it."""
        value = plain(value)
        if value in known:
            return value
        numbers = isinstance(value, (int, float)) and not any(isinstance(one, str) for one in known)
        found = meant(exact(value), known) if numbers else []
        if len(found) != 1:
            raise UserError(f"no cell has {knob}={value!r}; there are {', '.join(map(str, known))}.")
        return found[0]

    def place(self, label: str | None, layer: int | None, read: str | None) -> measure.ProbeSite:
        """Where hidden states are read; what is None as in `hidden`.

        Raises:
          UserError: for what the study doesn't have.
        """
        uses, depths = {use.label: use for use in self.study.tasks}, self.study.depths
        if label is None and len(uses) > 1:
            raise UserError(f"label is missing; name one of the tasks {', '.join(uses)}.")
        label = next(iter(uses)) if label is None else label
        if label not in uses:
            raise UserError(f"label={label!r}: no such task. {nearest(label, uses)}")
        layer = self.study.claim.layer if layer is None else layer
        if not isinstance(layer, (int, np.integer)):
            raise UserError(f"layer={layer!r} must be a whole number (0 is the embedding).")
        (layer,) = sizes.layers((int(layer),), depths, f"layer={layer!r}")
        names = uses[label].task.read_names
        if read is not None and read not in names:
            raise UserError(f"read={read!r}: no such read position of '{label}'. {nearest(read, names)}")
        return measure.ProbeSite(label, layer, read or names[0])

    def _blocks(self, found: Iterator[tuple[tuple[int, ...], Any]]) -> Iterator[tuple[tuple[int, ...], Any]]:
        try:
            yield from found
        except DamagedCheckpoint as error:
            raise UserError(_repair(error)) from None


def open_study(path: str | Path) -> OpenStudy:
    """Open a work directory to read it, wherever it was trained and whether or not it is finished.

    What is measured rounds as in the study where JAX has not been used yet: it gets as many CPU devices as the study's
    command (one, or every core).

    Raises:
      UserError: if it is no work directory, or not one that this version can read.
    """
    path = Path(path)
    layouts = read_layouts(path / FILE)
    for layout in layouts[:1]:
        device_grid.round_as(layout)
    study = read_study(path, READINGS)
    return OpenStudy(path, study, *read_store(path, study), layouts)


def _repair(error: DamagedCheckpoint) -> str:
    return f"{error}; rerunning the study's command trains it again, then open it again."
