"""Which interventions a diagnosis asks for, the branch that runs them, and what came of it.

An ability is repaired where it is lost: at the first setting shown harmful. From the last checkpoints of those cells
every arm goes on for equally many steps, beside the same cells unchanged and beside neutral cells unchanged, paired by
seed. Arms are those of `analysis.repair.arms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.activations import measure
from analysis.activations.measure import Measurer
from analysis.design.controls import neutral_value
from analysis.repair.arms import ARMS, Settings
from analysis.results import recovery_record
from analysis.results.recovery_record import UNCHANGED, Outcome, Repairs
from analysis.results.table import Results
from analysis.verdicts.claims import Bounds, claim_site
from lab.engine.branch import branch
from lab.engine.plan import Plan, make_plan
from lab.engine.program_cache import Programs
from lab.errors import UserError, nearest
from lab.storage import checkpoint
from lab.storage.store import Store, open_store
from lab.study.spec import Study

NOTHING = (
    "Nothing to repair: no primary ability is shown to be harmed at any setting. More seeds or a wider range of the"
    " knob may show one."
)
SHARE_OF_STEPS = 0.2  # of the study's steps: what an arm has, unless it is told


@dataclass(frozen=True)
class RepairPlan:
    """Where arms go on from, and what they are.

    Attributes:
      study: the branch; see `lab.engine.branch`.
      cells: (stratum's values, setting, seed, arm) of each of its cells, in its order.
      arms: the arms by name, their words filled in.
      targets: the abilities that are lost, each with its setting.
      steps: of every arm.
      notes: what was left out, for a person.
    """

    study: Study
    cells: tuple[tuple[Settings, float, int, str], ...]
    arms: dict[str, str]
    targets: tuple[Bounds, ...]
    steps: int
    notes: tuple[str, ...] = ()


def targets(bounds: Sequence[Bounds]) -> tuple[Bounds, ...]:
    """The abilities that can be repaired: primary, learned, and shown to be harmed from some setting on."""
    return tuple(bound for bound in bounds if bound.primary and bound.learned and bound.harmful_from is not None)


def check(study: Study, arms: str, steps: int) -> None:
    """Refuse, before anything trains, arms and steps that can't be.

    Raises:
      UserError: in one sentence.
    """
    steps = steps or _steps(study)
    branch(study, [(0, {})], steps)
    start = study.stages[-1].end
    for name in _named(study, arms):
        try:
            branch(study, [(0, ARMS[name].knobs(study, start, steps))], steps)
        except UserError as error:
            raise UserError(f"--arms={name}: {error}") from None


def _steps(study: Study) -> int:
    return max(1, round(SHARE_OF_STEPS * study.stages[-1].end / study.call_steps)) * study.call_steps


def repair_plan(
    results: Results, bounds: Sequence[Bounds], labels: Sequence[Any], arms: str = "", steps: int = 0
) -> RepairPlan:
    """Plan a repair.

    Args:
      results, bounds: of the finished study.
      labels: its diagnosis; decides which arms are run where `arms` is empty.
      arms: names with commas between them; the unchanged control is always there.
      steps: of every arm; 0 for a fifth of the study's own.

    An arm that a cell's settings don't allow is left out with a note.
    """
    study, broken = results.study, targets(bounds)
    steps = steps or _steps(study)
    wanted = _named(study, arms) if arms else _asked(study, {one.name for one in labels if _open(one)})
    notes, chosen = [], [UNCHANGED]
    for name in wanted:
        try:
            _branch(results, broken, [UNCHANGED, name], steps)
        except UserError as error:
            notes.append(f"The arm '{name}' is left out: {error}")
        else:
            chosen.append(name)
    branched, cells = _branch(results, broken, chosen, steps)
    words = {name: ARMS[name].words(study, steps) for name in chosen}
    return RepairPlan(branched, cells, words, broken, steps, tuple(notes))


def probes(results: Results, labels: Sequence[Any]) -> list[str]:
    """Tasks whose shortcut is suspected and on whose hidden states `analysis.causal` hasn't tried anything."""
    wanted = dict.fromkeys(one.label for one in labels if one.name == "shortcut" and one.status == "suspected")
    return [label for label in wanted if f"{label}/remove/factor/exact" not in results.interventions]


def _open(label: Any) -> bool:
    return label.status in ("holds", "suspected")


def _named(study: Study, arms: str) -> list[str]:
    names = [name.strip() for name in arms.split(",") if name.strip()]
    for name in names:
        if name not in ARMS:
            raise UserError(f"--arms: there is no arm '{name}'. {nearest(name, ARMS)}")
        if not ARMS[name].fits(study):
            raise UserError(f"--arms={name} means nothing for a study of {study.claim.knob}; leave it out.")
    return [name for name in ARMS if name in names and name != UNCHANGED]


def _asked(study: Study, labels: set[str]) -> list[str]:
    fitting = [name for name, arm in ARMS.items() if name != UNCHANGED and arm.fits(study)]
    return [name for name in fitting if not ARMS[name].asked_by or labels & {*ARMS[name].asked_by}]


def _branch(
    results: Results, bounds: Sequence[Bounds], arms: Sequence[str], steps: int
) -> tuple[Study, tuple[tuple[Settings, float, int, str], ...]]:
    """The branch and what each of its cells is; diverged cells are left out."""
    study, neutral = results.study, neutral_value(results.study)
    start = study.stages[-1].end
    strata = {tuple(bound.stratum.items()): bound.stratum for bound in bounds}
    chosen: list[tuple[int, Settings]] = []
    told: list[tuple[Settings, float, int, str]] = []
    for stratum in strata.values():
        broken = {float(b.harmful_from) for b in bounds if b.stratum == stratum and b.harmful_from is not None}
        for index, cell in enumerate(study.cells):
            setting = float(cell[study.claim.knob])
            inside = all(cell[name] == value for name, value in stratum.items())
            if not inside or results.diverged_at[index] >= 0 or setting not in {neutral, *broken}:
                continue
            for arm in arms if setting in broken else [UNCHANGED]:
                chosen.append((index, ARMS[arm].knobs(study, start, steps)))
                told.append((stratum, setting, int(cell["seed"]), arm))
    return branch(study, chosen, steps), tuple(told)


def carry_out(
    results: Results,
    repair_plan: RepairPlan,
    store: Store,
    programs: Programs,
    root: Path,
    *,
    train: Callable[[Plan, Store], Any],
    note: Callable[[str], None],
    tell: Callable[[int, int], None],
) -> Repairs:
    """Run a course in <root>/repair, where a rerun goes on, and keep what came of it.

    Args:
      results, course, store: of the study, and what was planned for it.
      programs: compiled ones; their layout is used.
      root: the study's work directory, held by this process.
      train: trains what a store lacks of a plan.
      note: told of damaged checkpoints.
      tell: told (cells measured, cells to measure).
    """
    plan, directory = make_plan(repair_plan.study, programs.layout), root / recovery_record.FILE.parent
    directory.mkdir(exist_ok=True)
    checkpoint.sweep_up(directory)
    there = open_store(directory, repair_plan.study, note)
    there.nodes |= {key: place for key, place in store.nodes.items() if key not in there.nodes}
    train(plan, there)
    found = outcomes(results, plan, there, Measurer(repair_plan.study, programs, directory), repair_plan, tell)
    recovery_record.write(root, found)
    return found


def outcomes(
    results: Results, plan: Plan, store: Store, measurer: Measurer, repair_plan: RepairPlan, on_progress: Any
) -> Repairs:
    """Read what every arm came to from the branch's last checkpoints.

    Args:
      results: of the study that was branched.
      plan, store: of the branch, trained.
      measurer: reads its latents.
      course: what was planned.
      on_progress: told (cells measured, cells to measure).
    """
    study, nodes = results.study, [row[-1] for row in plan.nodes_of_cells()]
    final = {node.key: store.final(node.key) for node in nodes}
    saved = {str(one.path): one for one, _ in final.values()}
    knobs = {node.key: node.knobs for node in nodes}
    # A chunk that an earlier run trained with other arms beside these is not measured: what they were isn't known here.
    known = [saved[path] for path in sorted(saved) if knobs.keys() >= {*saved[path].meta["cells"]}]
    readings = measurer.read(known, knobs, on_progress)
    histories = {path: checkpoint.load(one, "history") for path, one in saved.items()}
    at_places = {str(place): index for index, place in enumerate(measure.probe_sites(repair_plan.study))}

    def after(cell: int) -> Callable[[str], float]:
        one, row = final[nodes[cell].key]
        history = histories[str(one.path)]
        if int(history["diverged_at"][row, 0]) >= 0:
            return lambda column: float("nan")
        ability = history["ability"][row, int(np.flatnonzero(history["step"][row] == one.step)[0])]
        read = readings.get((nodes[cell].key, one.step), {})

        def value(column: str) -> float:
            if column in one.meta["abilities"]:
                return float(ability[one.meta["abilities"].index(column), 0])
            place, _, metric = column.rpartition("/")
            return float(read[metric][at_places[place]]) if read else float("nan")

        return value

    finals = {_key(*where): after(cell) for cell, where in enumerate(repair_plan.cells)}
    last = len(study.stages) - 1
    used = {(tuple(stratum.items()), setting) for stratum, setting, _, _ in repair_plan.cells}
    parents = sorted(study.key(c, last) for c in study.cells if _place(study, c, used))
    found = tuple(one for bound in repair_plan.targets for one in _outcomes(results, repair_plan, finals, bound))
    return Repairs(repair_plan.steps, repair_plan.arms, found, tuple(parents))


def _place(study: Study, cell: Settings, used: set[tuple[Any, float]]) -> bool:
    setting = float(cell[study.claim.knob])
    return any(setting == at and all(cell[k] == v for k, v in stratum) for stratum, at in used)


def _key(stratum: Settings, setting: float, seed: int, arm: str) -> tuple[Any, ...]:
    return tuple(stratum.items()), setting, seed, arm


def _outcomes(
    results: Results, repair_plan: RepairPlan, finals: Mapping[tuple[Any, ...], Callable[[str], float]], bound: Bounds
) -> Iterator[Outcome]:
    """One ability's outcomes, an arm after the other, over the seeds that have all the cells an arm needs."""
    study, neutral, broken = results.study, neutral_value(results.study), bound.harmful_from
    assert broken is not None, "only abilities that are lost are repaired"
    column, place = f"{bound.label}/{bound.split}", claim_site(study, bound.label)
    curve = bound.ability
    at = {value: int(np.argmin(np.abs(curve.knob_K - value))) for value in (neutral, broken)}
    for arm in repair_plan.arms:
        rows, moved = [], []
        for s, seed in enumerate(curve.seed_S):
            needed = [(neutral, UNCHANGED), (broken, UNCHANGED), (broken, arm)]
            cells = [finals.get(_key(bound.stratum, setting, int(seed), which)) for setting, which in needed]
            if any(cell is None for cell in cells):
                continue
            neutral_after, unchanged, after = (cell(column) for cell in cells if cell)
            row = (curve.values_SxK[s, at[broken]], after, unchanged, curve.values_SxK[s, at[neutral]], neutral_after)
            if np.isfinite(row).all():
                rows.append((int(seed), *map(float, row)))
                moved.append([[cell(f"{place}/{metric}") for cell in cells if cell] for metric, _ in study.claim.gains])
        if not rows:
            continue
        seeds, before, after_S, unchanged_S, neutral_before, neutral_after_S = zip(*rows, strict=True)
        means = np.mean(np.asarray(moved, float), axis=0)
        read = {metric: tuple(map(float, means[i])) for i, (metric, _) in enumerate(study.claim.gains)}
        by_other_means = {
            metric: tuple(float(sign * (cells[i][2] - cells[i][1])) for cells in moved)
            for i, (metric, sign) in enumerate(study.claim.gains)
            if arm != UNCHANGED and not _turns_the_knob(study, arm, repair_plan.steps)
        }
        yield Outcome(
            bound.label,
            bound.split,
            bound.stratum,
            float(broken),
            bound.delta,
            arm,
            seeds,
            before,
            after_S,
            unchanged_S,
            neutral_before,
            neutral_after_S,
            read,
            by_other_means,
        )


def _turns_the_knob(study: Study, arm: str, steps: int) -> bool:
    """Whether an arm changes something of the claim's own mechanism, or leaves hidden states as they are."""
    apart = {study.claim.knob.split(".")[0], "tune"}  # what trains the readout alone moves no hidden state
    return any(knob.split(".")[0] in apart for knob in ARMS[arm].knobs(study, study.stages[-1].end, steps))
