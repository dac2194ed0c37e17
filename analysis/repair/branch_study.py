"""A repair: the arms that a diagnosis asks for, the branch of the study that trains them, and what they recover.

An ability is repaired where it is lost: at the first setting shown harmful. Every arm trains from the last checkpoints
of those cells for equally many steps, and so do the same cells unchanged and neutral cells unchanged, paired by seed.
Arms are those of `analysis.repair.arms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.activations import extras
from analysis.activations.measure import Measurer, claim_site, probe_sites
from analysis.design import in_stratum, is_association, neutral_value, setting_of
from analysis.diagnosis import Diagnosis, Findings
from analysis.repair.arms import ARMS, Settings
from analysis.results import Results, recovery_record
from analysis.results.recovery_record import UNCHANGED, Outcome, Repairs
from analysis.verdicts import Bounds, gains
from lab.engine import Plan, make_plan
from lab.engine.branch import branch
from lab.errors import UserError, nearest
from lab.mechanisms.budget import STEPS as BUDGET
from lab.storage import Store, checkpoint, open_store
from lab.study.spec import Study
from lab.values import exact

if TYPE_CHECKING:
    from lab.jobs.session import Session

NOTHING = (
    "Nothing to repair: no primary ability is shown to be harmed at any setting. More seeds or a wider range of the"
    " knob may show one."
)
SHARE_OF_STEPS = 0.2  # of the study's steps: what an arm has where no number is asked for


@dataclass(frozen=True)
class RepairPlan:
    """Where arms start from, and what they are.

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

    def summary(self) -> str:
        """What is about to be trained, in a line."""
        lost = ", ".join(f"{bound.label}/{bound.split} at {exact(bound.harmful_from)}" for bound in self.targets)
        return f"repairing {lost}: {', '.join(self.arms)}; {self.steps} steps each"


def targets(bounds: Sequence[Bounds]) -> tuple[Bounds, ...]:
    """The abilities that can be repaired: primary, learned, and shown to be harmed from some setting on.

    Answers after the last step only: what arms recover is read there.
    """
    lost = (bound for bound in bounds if bound.primary and bound.learned and bound.harmful_from is not None)
    return tuple(bound for bound in lost if bound.reading is None)


def check(study: Study, arms: str, steps: int) -> None:
    """Refuse, before anything trains, arms and steps that can't be.

    Raises:
      UserError: in one sentence.
    """
    if is_association(study):
        raise UserError("--repair trains on from where an ability breaks, and an association has none; leave it out.")
    steps = steps or _steps(study)
    branch(study, [(0, {})], steps)
    start = study.stages[-1].end
    if (most := max(cell[BUDGET.name] for cell in study.cells)) <= start:
        raise UserError(
            f"--repair: {BUDGET.name} of at most {most:,} is spent before the arms start at step {start:,}: they would"
            " learn nothing; leave it out, and set config.steps to 0 for a stage in which nothing is to be learned."
        )
    for name in _named(study, arms):
        try:
            branch(study, [(0, ARMS[name].knobs(study, start, steps))], steps)
        except UserError as error:
            raise UserError(f"--arms={name}: {error}") from None


def _steps(study: Study) -> int:
    return max(1, round(SHARE_OF_STEPS * study.stages[-1].end / study.call_steps)) * study.call_steps


def plan_repair(findings: Findings, arms: str = "", steps: int = 0) -> RepairPlan:
    """Plan a repair; an arm that a cell's settings don't allow is left out with a note.

    Args:
      findings: of the finished study; the diagnoses decide which arms are run where `arms` is empty.
      arms: names with commas between them; the unchanged control is always there.
      steps: of every arm; 0 for a fifth of the study's own.
    """
    results, study, broken = findings.results, findings.study, targets(findings.bounds)
    steps = steps or _steps(study)
    wanted = _named(study, arms) if arms else _asked(study, {one.cause for one in findings.diagnoses if _open(one)})
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


def suspected_shortcuts(findings: Findings) -> list[str]:
    """Tasks whose shortcut is suspected while `analysis.causal` has not edited their activations yet."""
    suspected = [one for one in findings.diagnoses if one.cause == "shortcut" and one.status == "suspected"]
    tasks, edits = dict.fromkeys(one.task for one in suspected), findings.records.activation_edits
    return [task for task in tasks if f"{task}/remove/factor/exact" not in edits]


def _open(diagnosis: Diagnosis) -> bool:
    return diagnosis.status in ("holds", "suspected")


def _named(study: Study, arms: str) -> list[str]:
    names = [name.strip() for name in arms.split(",") if name.strip()]
    for name in names:
        if name not in ARMS:
            raise UserError(f"--arms: there is no arm '{name}'. {nearest(name, ARMS)}")
        if not ARMS[name].fits(study):
            raise UserError(f"--arms={name} means nothing for a study of {study.claim.knob}; leave it out.")
    return [name for name in ARMS if name in names and name != UNCHANGED]


def _asked(study: Study, causes: set[str]) -> list[str]:
    fitting = [name for name, arm in ARMS.items() if name != UNCHANGED and arm.fits(study)]
    return [name for name in fitting if not ARMS[name].asked_by or causes & {*ARMS[name].asked_by}]


def _branch(
    results: Results, bounds: Sequence[Bounds], arms: Sequence[str], steps: int
) -> tuple[Study, tuple[tuple[Settings, float, int, str], ...]]:
    """The branch and what each of its cells is; diverged cells are left out."""
    study, neutral = results.study, neutral_value(results.study)
    start = study.stages[-1].end
    strata = {tuple(bound.stratum.items()): bound.stratum for bound in bounds}
    chosen: list[tuple[int, Settings]] = []
    cells: list[tuple[Settings, float, int, str]] = []
    for stratum in strata.values():
        broken = {float(b.harmful_from) for b in bounds if b.stratum == stratum and b.harmful_from is not None}
        for index, cell in enumerate(study.cells):
            setting = setting_of(study, cell)
            if results.diverged_at[index] >= 0 or setting not in {neutral, *broken}:
                continue
            if not in_stratum(study, cell, stratum):
                continue
            for arm in arms if setting in broken else [UNCHANGED]:
                chosen.append((index, ARMS[arm].knobs(study, start, steps)))
                cells.append((stratum, setting, int(cell["seed"]), arm))
    return branch(study, chosen, steps), tuple(cells)


def carry_out(session: Session, study: Study, repair_plan: RepairPlan, store: Store) -> Repairs:
    """Train a repair in <workdir>/repair, where a rerun resumes, and keep what every arm recovered.

    Args:
      session: of this process, which has the study's work directory locked.
      study, store: the study and its checkpoints.
      repair_plan: the repair planned for it.

    Raises:
      Stopped: if asked to, with everything saved.
    """
    programs, directory = session.programs, session.root / recovery_record.FILE.parent
    plan = make_plan(repair_plan.study, programs.layout)
    directory.mkdir(exist_ok=True)
    checkpoint.sweep_up(directory)
    there = open_store(directory, repair_plan.study, session.note)
    there.nodes |= {key: saved for key, saved in store.nodes.items() if key not in there.nodes}
    session.train(plan, there)
    with session.counter("measuring repairs") as on_progress:
        measurer = Measurer(repair_plan.study, programs, directory, note=session.note)
        found = outcomes(study, plan, there, measurer, repair_plan, on_progress)
    recovery_record.write(session.root, found)
    return found


def outcomes(
    study: Study,
    plan: Plan,
    store: Store,
    measurer: Measurer,
    repair_plan: RepairPlan,
    on_progress: Callable[[int, int], None],
) -> Repairs:
    """What every arm recovered, read from the branch's last checkpoints.

    Args:
      study: that was branched.
      plan, store: of the branch, trained.
      measurer: reads its latents.
      repair_plan: the arms and the cells they start from.
      on_progress: called with (cells measured, cells to measure).
    """
    nodes = [row[-1] for row in plan.nodes_of_cells()]
    final = {node.key: store.final(node.key) for node in nodes}
    saved = {str(one.path): one for one, _ in final.values()}
    knobs = {node.key: node.knobs for node in nodes}
    # A chunk that an earlier run trained together with other arms is not measured: their settings aren't known here.
    known = [saved[path] for path in sorted(saved) if knobs.keys() >= {*saved[path].meta["cells"]}]
    readings = extras.with_named(measurer, measurer.read(known, knobs, on_progress), known, knobs, on_progress)
    histories = {path: checkpoint.load(one, "history") for path, one in saved.items()}
    at_site = {str(site): index for index, site in enumerate(probe_sites(repair_plan.study))}

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
            site, _, metric = column.rpartition("/")
            # Arms are compared with no other cell: they have no similarity to the neutral one, or between seeds.
            return float(read[metric][at_site[site]]) if metric in read else float("nan")

        return value

    finals = {_key(*where): after(cell) for cell, where in enumerate(repair_plan.cells)}
    last = len(study.stages) - 1
    used = {(tuple(stratum.items()), setting) for stratum, setting, _, _ in repair_plan.cells}
    parents = sorted(study.key(c, last) for c in study.cells if _is_used(study, c, used))
    found = tuple(one for bound in repair_plan.targets for one in _outcomes(study, repair_plan, finals, bound))
    return Repairs(repair_plan.steps, repair_plan.arms, found, tuple(parents))


def _is_used(study: Study, cell: Settings, used: set[tuple[Any, float]]) -> bool:
    setting = setting_of(study, cell)
    return any(setting == at and in_stratum(study, cell, dict(stratum)) for stratum, at in used)


def _key(stratum: Settings, setting: float, seed: int, arm: str) -> tuple[Any, ...]:
    return tuple(stratum.items()), setting, seed, arm


def _outcomes(
    study: Study, repair_plan: RepairPlan, finals: Mapping[tuple[Any, ...], Callable[[str], float]], bound: Bounds
) -> Iterator[Outcome]:
    """One ability's outcomes, an arm after the other, over the seeds that have all the cells an arm needs."""
    neutral, broken = neutral_value(study), bound.harmful_from
    assert broken is not None, "only abilities that are lost are repaired"
    column, site = f"{bound.label}/{bound.split}", claim_site(study, bound.label)
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
                moved.append([[cell(f"{site}/{metric}") for cell in cells if cell] for metric, _ in study.claim.gains])
        if not rows:
            continue
        seeds, before, after_S, unchanged_S, neutral_before, neutral_after_S = zip(*rows, strict=True)
        means = np.mean(np.asarray(moved, float), axis=0)
        read = {metric: tuple(map(float, means[i])) for i, (metric, _) in enumerate(study.claim.gains)}
        by_other_means = {
            metric: tuple(float(sign * (cells[i][2] - cells[i][1])) for cells in moved)
            for i, (metric, sign) in enumerate(gains(study, bound.stratum))
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
