"""Train a study's grid, measure it, and say where along the knob the latent gain stops becoming ability.

python run.py --config=ablations/pruning.py            the whole study; a rerun resumes, or rebuilds the views
python run.py --config=ablations/pruning.py:quick      a small version of it
python run.py --config=... --plan                      print the plan and train nothing
python run.py --config=... --refine                    then add seeds and settings until the claims are decided
python run.py --config=... --repair                    then train on from where abilities are lost: what repairs them?
python run.py --config=... --reproduce=CELL            train one cell again, alone: the same to the bit?
python run.py --config=... --config.steps.train=500    override any field
python run.py --config=... --workdir=runs/mine         where the study lives (default: runs/<study>)
python run.py --config=... --chunk=8                   cells a device trains in one call (default: a fixed rule)
python run.py --config=... --save_minutes=2            what a kill costs at most (default 10)
python run.py --config=... --shard=2/8                 train the second of eight parts, for array jobs
python run.py --config=... --only=analyze              judge what is trained; --only=train: don't judge
python run.py --config=... --full_views                leave nothing out of a large grid's figures and TensorBoard runs
python run.py --config=... --distributed               one process a host, of one job: train a part each, then judge
python run.py --list=tasks|knobs|metrics|studies       what there is
"""

# What is large is imported where it is used: a mistake in the command line is reported before JAX is loaded.
from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lab.errors import UserError, use_any_terminal
from lab.jobs.exit_status import exit_status
from lab.jobs.options import Options, options_help, parse, without_job
from lab.stop import Stop

if TYPE_CHECKING:
    from analysis.diagnosis import Findings
    from lab.engine import Plan
    from lab.jobs.session import Session
    from lab.storage import Store
    from lab.study import Grid
    from lab.study.spec import Study

HERE = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    """Exit status: see `lab.jobs.exit_status`."""
    use_any_terminal()
    console = Console(width=None if sys.stdout.isatty() else 120, soft_wrap=not sys.stdout.isatty())
    if {"--help", "-h"} & set(argv[1:]):
        print(__doc__, options_help(), sep="\n")
        return 0
    return exit_status(lambda stop: run(parse(argv), console, stop, argv))


def run(options: Options, console: Console, stop: Stop, argv: list[str]) -> int:
    """What the command line asks for: a listing, one process of a job, or a study."""
    if options.list:
        from analysis import listing

        console.print(Text(listing.listing(options.list, HERE / "ablations")))
        return 0
    from lab.study.frozen import is_frozen

    if is_frozen(options.config):
        from analysis.frozen import command

        return command.run(options, console, argv)
    if options.distributed:
        from lab.jobs import hosts

        address = hosts.Address(options.coordinator, options.processes, options.process)
        return hosts.run([str(HERE / "run.py"), *without_job(argv[1:])], address)
    return study(options, console, stop, argv)


def study(options: Options, console: Console, stop: Stop, argv: list[str]) -> int:
    """Plan → train → measure → judge → refine or repair → report; or the part of it that is asked for."""
    started = time.perf_counter()
    from lab.jobs import limits

    for note in limits.check():  # before JAX is loaded
        console.print(Text(note, style="yellow"))
    from lab.engine import device_grid, xla_cache

    device_grid.use_every_core()
    xla_cache.keep()
    from analysis.design import interim, undecidable
    from analysis.report.console import show_plan
    from analysis.verdicts.refinement import LOOKS
    from lab.engine import Programs, make_plan
    from lab.jobs import reproduce, shards
    from lab.jobs.session import Session
    from lab.jobs.workdir import Workdir
    from lab.storage import checkpoint

    grid = options.grid()
    plan = make_plan(checked_study(options, grid), device_grid.local_layout(options.chunk))
    plan = plan if options.chunk else plan.within(device_grid.memory_budget(plan.layout))
    workdir = Workdir(options.workdir, plan.study, options.config, plan.layout)
    session = Session(options, console, stop, Programs(plan.layout))
    if options.reproduce is not None:
        return reproduce.run(session, plan, workdir, options.reproduce)
    shard = shards.parse(options.shard) if options.shard is not None else None
    if shard and not options.plan:
        return shards.run(session, plan, workdir, shard)
    if options.only == "analyze" and not (session.root / "study.json").exists():
        raise UserError(f"--only=analyze: there is no study in {session.root}; name its directory with --workdir.")
    if options.plan:
        from analysis.simulation import plan_power

        return show_plan(session, plan, workdir, shard, plan_power.lines(plan.study, session.root))
    with workdir.locked() as notes:
        known = (session.root / "study.json").exists()
        session.keep_notes([*plan.study.notes, *notes, *workdir.claim()])
        for note in undecidable(plan.study, session.root):
            session.note(note)
        if options.refine:
            interim.plan_looks(session.root, plan.study, options.looks or LOOKS, asked_late=known)
        checkpoint.sweep_up(session.root)
        if options.only == "train":
            train(session, plan)
            return 0
        plan, store, findings = train_and_judge(session, plan, grid)
        if options.repair:
            findings = train_repairs(session, findings, store)
        report(session, plan, store, findings, argv, started)
    return 0


def checked_study(options: Options, grid: Grid) -> Study:
    """The study, with what earlier looks have added to it; refused here where the study or an option can't be."""
    from analysis import repair, verdicts
    from analysis.activations.claimable import READINGS
    from analysis.design import interim
    from analysis.verdicts import refinement
    from lab.study.parse import parse

    looks, designed = interim.read(options.workdir), parse(options.config, grid, READINGS)
    verdicts.check(designed)
    if options.refine:
        refinement.check_refinable(designed, len(looks.shares) if looks else options.looks or refinement.LOOKS)
    if looks and options.looks not in (None, len(looks.shares)):
        planned = len(looks.shares)
        raise UserError(f"--looks={options.looks}: {planned} were planned before the first, and that is fixed.")
    study = parse(options.config, interim.grid_of(looks, designed), READINGS) if looks else designed
    if options.repair:
        repair.check(study, options.arms, options.repair_steps)
    return study


def train(session: Session, plan: Plan) -> Store:
    """Train what the study lacks."""
    from analysis.report.console import plan_text
    from lab.jobs import shards
    from lab.storage import open_store

    store = open_store(session.root, plan.study, session.note)
    if session.options.only == "analyze":
        shards.check_trained(plan, store.nodes, session.root)
    session.say(plan_text(plan, store, session.root))
    with session.timed("train"):
        session.train(plan, store)
    return store


def judge_once(session: Session, plan: Plan) -> tuple[Plan, Store, Findings]:
    """Train, choose what is tuned away, measure and judge; the plan comes back with the cells that are judged."""
    from analysis.activations.measure import Measurer
    from analysis.design import selection
    from analysis.diagnosis import find
    from analysis.report.console import verdict_table
    from analysis.results import collect, records

    store = train(session, plan)
    plan, tuning = selection.settle(plan, store)
    measurer = Measurer(plan.study, session.programs, session.root, note=session.keep_note)
    with session.timed("measure"), session.counter("measuring latents") as on_progress:
        results = collect(plan, store, measurer, on_progress)
    findings = find(results, records.read(session.root, plan.study, tuning, session.keep_note))
    session.console.print(verdict_table(findings))
    return plan, store, findings


def train_and_judge(session: Session, plan: Plan, grid: Grid) -> tuple[Plan, Store, Findings]:
    """Look; with --refine again, as long as more seeds or settings would decide a claim."""
    from analysis.design import interim
    from analysis.verdicts import refinement
    from lab.engine import make_plan
    from lab.jobs.workdir import Workdir

    options = session.options
    while True:
        plan, store, findings = judge_once(session, plan)
        looks, verdicts = findings.records.looks, (findings.claims, findings.bounds)
        if not options.refine or looks is None:
            return plan, store, findings
        more = refinement.next_round(plan.study, looks, *verdicts, options.precision)
        if more is None:
            session.say(refinement.why_over(plan.study, looks, *verdicts))
            return plan, store, findings
        session.say(f"refining: adding {more.why}")
        interim.write(session.root, more.looks)
        plan = make_plan(checked_study(options, grid), plan.layout)
        Workdir(session.root, plan.study, options.config, plan.layout).claim()


def train_repairs(session: Session, findings: Findings, store: Store) -> Findings:
    """Edit activations where a shortcut is suspected, and train arms from where abilities are lost."""
    from analysis import repair
    from analysis.causal import __main__ as causal
    from analysis.results import intervention_record

    for task in repair.suspected_shortcuts(findings):
        session.say(f"a shortcut of {task} is suspected: removing and swapping what probes read")
        try:
            causal.edit_activations(session.root, task)
        except UserError as error:  # the repairs don't rest on the edits
            session.note(f"No activations of {task} were edited: {error}")
    edits = intervention_record.load(session.root, findings.study, session.keep_note)
    findings = findings.with_records(activation_edits=edits)
    if not repair.targets(findings.bounds):
        session.note(repair.NOTHING)
        return findings
    # Arms are chosen as before any repair, so that a rerun chooses the same ones.
    plan = repair.plan_repair(findings.with_records(repairs=None), session.options.arms, session.options.repair_steps)
    for note in plan.notes:
        session.note(note)
    session.say(plan.summary())
    return findings.with_records(repairs=repair.carry_out(session, findings.study, plan, store))


def report(session: Session, plan: Plan, store: Store, findings: Findings, argv: list[str], started: float) -> None:
    """Write every view, and print where."""
    from analysis.report import console, large_grid, projections
    from analysis.report.write import run_facts, write_views

    if findings.records.repairs:
        session.console.print(console.repair_table(findings))
    whole = session.options.full_views
    for note in large_grid.notes(findings, whole):
        session.note(note)
    embeddings = projections.read(findings, plan, store, session.programs, whole)
    seconds = session.seconds | {"compile": session.programs.seconds, "total": time.perf_counter() - started}
    facts = run_facts(seconds, argv, session.notes, session.root)
    path = write_views(session.root, plan, findings, facts, embeddings, whole)
    for part in console.map_of(findings):
        session.console.print(part)
    session.console.print(Text(f"report: {path}"), soft_wrap=True)
    if not findings.associations:  # which have no runs
        session.console.print(Text(f"curves: {facts['tensorboard']}"), soft_wrap=True)
    session.say(f"done in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv))
