"""Trains one cell of a study again, alone, and compares it with the study's checkpoints, to the bit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.engine import Node, Plan
from lab.engine.provenance import made_with
from lab.errors import UserError
from lab.storage import Saved, Store, checkpoint, read_store
from lab.study.spec import Study
from lab.values import exact, meant

if TYPE_CHECKING:
    from lab.jobs.session import Session
    from lab.jobs.workdir import Workdir

NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Compared:
    """The comparison at one kept step of one stage.

    Attributes:
      stage, step: the stage's name and the absolute step.
      compared: how many numbers.
      differ: (name of the array, numbers that differ, largest absolute difference); empty where all bits agree.
      conditions: (name, then, now) of the machine and libraries, where they differ; 'not recorded' for checkpoints of
        versions that kept no record.
    """

    stage: str
    step: int
    compared: int
    differ: tuple[tuple[str, int, float], ...]
    conditions: tuple[tuple[str, str, str], ...]


def find(study: Study, name: str) -> int:
    """The index of the cell that a user names: by its key as in results.csv (or the start of it), or by its settings.

    Raises:
      UserError: if no cell or more than one has that name.
    """
    axes = [a.knob for a in study.axes]
    if "=" in name:
        wanted = {knob.strip(): value for knob, _, value in (part.partition("=") for part in name.split(","))}
        for knob in wanted:
            if knob not in axes:
                raise UserError(f"--reproduce: '{knob}' is not an axis of the study; its axes are {', '.join(axes)}.")
        settings = {knob: _setting(study, knob, text) for knob, text in wanted.items()}
        found = [i for i, c in enumerate(study.cells) if all(c[knob] == value for knob, value in settings.items())]
    else:
        found = [i for i, key in enumerate(study.cell_keys) if name and key.startswith(name)]
    if len({study.cell_keys[i] for i in found}) != 1:
        example = ",".join(f"{knob}={study.cells[0][knob]}" for knob in axes)
        raise UserError(
            f"--reproduce={name}: {len(found) or 'no'} cells match; give one cell's key (column 'cell' of"
            f" results.csv) or its value on every axis, such as {example}."
        )
    return found[0]


def _setting(study: Study, knob: str, text: str) -> Any:
    """The value on an axis that a typed text means; None, which no cell has, where it means none of them.

    Raises:
      UserError: if it may mean several.
    """
    values = [cell[knob] for cell in study.cells]
    if any(isinstance(value, (str, bool)) for value in values):
        return next((value for value in values if str(value) == text.strip()), None)
    try:
        found = meant(text, values)
    except ValueError:
        return None
    if len(found) > 1:
        may_be = " or ".join(map(exact, found))
        raise UserError(f"--reproduce: {knob}={text} may be {may_be}; write one of them in full.")
    return found[0] if found else None


def alone(plan: Plan, cell: int) -> Plan:
    """The plan of one cell: its nodes in the programs of the whole study."""
    mine = [replace(b, nodes=tuple(n for n in b.nodes if cell in n.cells)) for b in plan.program_groups]
    return replace(plan, program_groups=tuple(group for group in mine if group.nodes))


def nodes_of(plan: Plan) -> list[Node]:
    """The nodes of a plan of one cell, earliest stage first."""
    return sorted((node for group in plan.program_groups for node in group.nodes), key=lambda node: node.stage)


def compare(plan: Plan, before: Store, again: Store) -> list[Compared]:
    """Compare everything that the study kept of a cell with the same cell trained again.

    Args:
      plan: of the one cell.
      before: the study's checkpoints.
      again: those of the cell alone.

    Raises:
      UserError: for a checkpoint that can't be read.
    """
    found = []
    for node in nodes_of(plan):
        for step in plan.study.stages[node.stage].saves:
            then, now = before.at(node.key, step), again.at(node.key, step)
            if then and now:
                try:
                    found.append(_compared(plan, plan.study.stages[node.stage].name, step, then, now))
                except checkpoint.DamagedCheckpoint as error:
                    raise UserError(f"--reproduce: {error}; a rerun of the study trains it again.") from None
    return found


def _compared(plan: Plan, stage: str, step: int, then: tuple[Saved, int], now: tuple[Saved, int]) -> Compared:
    items = [name for name in checkpoint.ITEMS if name != "state" or (then[0].resumable and now[0].resumable)]
    differ, compared = [], 0
    for item in items:
        old, new = (checkpoint.flat(checkpoint.gather([place], item)) for place in (then, now))
        for path in sorted({*old, *new}):
            a, b = (np.asarray(each.get(path, np.zeros(0))) for each in (old, new))
            compared += b.size
            if a.shape != b.shape or a.tobytes() != b.tobytes():
                differ.append((f"{item}{path}", *_distance(a, b)))
    recorded, here = then[0].meta.get("made_with", {}), made_with(plan.layout)
    conditions = [(k, recorded.get(k, NOT_RECORDED), v) for k, v in here.items() if recorded.get(k) != v]
    return Compared(stage, step, compared, tuple(differ), tuple(conditions))


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[int, float]:
    """(numbers that differ, largest absolute difference); NaN where the shapes are not the same."""
    if a.shape != b.shape:
        return max(a.size, b.size), float("nan")
    bits = f"u{a.dtype.itemsize}"
    unlike = a.view(bits) != b.view(bits)
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.where(unlike, a.astype(np.float64) - b.astype(np.float64), 0.0))
    return int(unlike.sum()), float(np.nanmax(apart, initial=0.0))


def missing(plan: Plan, compared: Sequence[Compared]) -> list[str]:
    """A line for each kept step of a plan of one cell that the study doesn't hold, or not whole."""
    stages = [plan.study.stages[node.stage] for node in nodes_of(plan)]
    kept = [(stage.name, step) for stage in stages for step in stage.saves]
    there = {(one.stage, one.step) for one in compared}
    return [f"{stage} {step}: not among the study's checkpoints" for stage, step in kept if (stage, step) not in there]


def report(compared: Sequence[Compared]) -> list[str]:
    """The comparison in lines for a person."""
    lines = []
    for one in compared:
        if one.differ:
            name, count, apart = max(one.differ, key=lambda each: each[2])
            total = sum(each[1] for each in one.differ)
            found = f"{total} of {one.compared:,} numbers differ, by at most {apart:.3g} in {name} ({count} there)"
        else:
            found = f"{one.compared:,} numbers, the same to the bit"
        lines.append(f"{one.stage} {one.step}: {found}")
    conditions = dict.fromkeys(condition for one in compared for condition in one.conditions)
    unknown = [name for name, then, _ in conditions if then == NOT_RECORDED]
    lines += [
        f"not the same here: {name} was {then}, is {now}" for name, then, now in conditions if name not in unknown
    ]
    if any(one.differ for one in compared):
        if unknown:
            lines.append(f"not recorded then: {', '.join(unknown)}")
        elif not conditions:
            lines.append("Every recorded condition is the same: nothing known explains the difference.")
    return lines


def run(session: Session, plan: Plan, workdir: Workdir, name: str) -> int:
    """Train one cell alone, in a directory that is thrown away, and print how it compares with the study's.

    Args:
      session: of this process.
      plan, workdir: of the whole study.
      name: of the cell, as for `find`.

    Returns:
      the exit status: 0 the same to the bit, 1 not (all).

    Raises:
      UserError: if there is no such cell, or nothing of it to compare with.
    """
    cell = find(plan.study, name)
    for note in workdir.check():
        session.note(note)
    before, damaged = read_store(workdir.path, plan.study)
    for path in damaged:
        session.note(f"Damaged checkpoint {path} is left out.")
    single = alone(plan, cell)
    if not any(node.key in before.nodes for node in nodes_of(single)):
        raise UserError(f"--reproduce: {workdir.path} holds no finished stage of this cell; train the study first.")
    with tempfile.TemporaryDirectory() as directory:
        again = Store(Path(directory))
        session.train(single, again)
        compared = compare(single, before, again)
    gaps = missing(single, compared)
    session.say("\n".join([*report(compared), *gaps]))
    return int(bool(gaps) or any(one.differ for one in compared))
