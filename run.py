"""Train a study's grid, measure it, and say where along the knob the latent gain stops becoming ability.

python run.py --config=ablations/pruning.py            the whole study; rerunning resumes, or rebuilds the views
python run.py --config=ablations/pruning.py:quick      a small version of it
python run.py --config=... --plan                      print the plan and train nothing
python run.py --config=... --refine                    then add seeds and settings until the claims are decided
python run.py --config=... --intervene                 then go on from where abilities are lost: what repairs?
python run.py --config=... --reproduce=CELL            train one cell again, alone: the same to the bit?
python run.py --config=... --config.steps.train=500    override any field
python run.py --config=... --workdir=runs/mine         where the study lives (default: runs/<study>)
python run.py --config=... --chunk=8                   cells a device trains in one call (default: a fixed rule)
python run.py --config=... --save_minutes=2            what a kill costs at most (default 10)
python run.py --config=... --shard=2/8                 train the second of eight parts, for array jobs
python run.py --config=... --only=analyze              judge what is trained; --only=train: don't judge
python run.py --config=... --distributed               one process a host, of one job: train a part each, then judge
python run.py --list=tasks|knobs|metrics|studies       what there is
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import config_flags
from rich.console import Console

from lab.errors import UserError, nearest
from lab.stop import STOPPED, Stop, Stopped
from lab.study import loader

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file(
    "config", None, "The study: a file of ablations/, optionally ':variant'.", lock_config=True
)
flags.DEFINE_string("workdir", None, "Where the study lives; default runs/<study>. Rerunning resumes what is there.")
flags.DEFINE_bool("plan", False, "Print the plan and train nothing.")
flags.DEFINE_bool("intervene", False, "After the verdicts, run the interventions that the diagnosis asks for.")
flags.DEFINE_string(
    "arms", "", "With --intervene: which interventions, names with commas between; default: as asked for."
)
flags.DEFINE_integer(
    "repair_steps", 0, "With --intervene: steps of each; 0 is a fifth of the study's own.", lower_bound=0
)
flags.DEFINE_bool("refine", False, "Add seeds and settings where claims are open, and judge again.")
flags.DEFINE_integer(
    "looks", 4, "With --refine: how often at most it is judged; fixed before the first.", lower_bound=2, upper_bound=9
)
flags.DEFINE_float(
    "precision", 0.05, "With --refine: the gap that is narrow enough, a share of the knob's range.", 0.001, 1.0
)
flags.DEFINE_string(
    "reproduce", "", "Train one cell alone and compare it with the study's to the bit; a cell's key or its settings."
)
flags.DEFINE_integer(
    "chunk", 0, "Cells a device trains in one call; 0 is the fixed rule for the platform.", lower_bound=0
)
flags.DEFINE_float(
    "save_minutes", 10.0, "How long at most training goes on without a checkpoint to go on from.", lower_bound=0.0
)
flags.DEFINE_enum("only", None, ["train", "analyze"], "Train and don't judge, or judge and don't train.")
flags.DEFINE_string("shard", None, "Train part i of n, written i/n: any order, any machine, one work directory.")
flags.DEFINE_bool("distributed", False, "One of several processes of a job: train a part each, then judge the whole.")
flags.DEFINE_string("coordinator", None, "With --distributed, where no cluster tells it: HOST:PORT of process 0.")
flags.DEFINE_integer("processes", None, "With --coordinator: how many there are.", lower_bound=1)
flags.DEFINE_integer("process", None, "With --coordinator: which this is, from 0.", lower_bound=0)
flags.DEFINE_enum("list", None, ["tasks", "knobs", "metrics", "studies"], "List what there is, a line each.")

JOB = ("distributed", "coordinator", "processes", "process")
HERE = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    """Exit status: 0 done, 2 a user's mistake, 75 stopped by SIGTERM (run it again), 130 interrupted."""
    logging.set_verbosity(logging.FATAL)  # Orbax tells at length of damage that we say in a sentence
    console = Console(width=None if sys.stdout.isatty() else 120, soft_wrap=not sys.stdout.isatty())
    if {"--help", "-h"} & set(argv[1:]):
        print(__doc__)
        return 0
    try:
        with Stop().listening() as stop:
            return _asked(console, argv, stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        told = f"{where}{error.strerror or error}. Nothing saved is lost; the same command goes on."
        print(f"error: {told}", file=sys.stderr)
        return 2
    except Stopped:
        print(f"\n{STOPPED}", file=sys.stderr)
        return os.EX_TEMPFAIL
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last checkpoint.", file=sys.stderr)
        return 130


def _asked(console: Console, argv: list[str], stop: Stop) -> int:
    """What the command line asks for."""
    _parse_flags(argv)
    if FLAGS.list:
        from analysis import listing

        console.print(listing.listing(FLAGS.list, HERE / "ablations"), highlight=False, markup=False)
        return 0
    if FLAGS.config is None:
        raise UserError("--config is missing: name a study, such as --config=ablations/pruning.py")
    if (FLAGS.arms or FLAGS.repair_steps) and not FLAGS.intervene:
        raise UserError("--arms and --repair_steps say how to repair; add --intervene.")
    if (FLAGS["looks"].present or FLAGS["precision"].present) and not FLAGS.refine:
        raise UserError("--looks and --precision say how to refine; add --refine.")
    _check_parts()
    return _host(argv) if FLAGS.distributed else _study(console, argv, stop)


def _host(argv: list[str]) -> int:
    """This host's part of a job that several hosts share: see `lab.jobs.hosts`."""
    from lab.jobs import hosts

    address = hosts.Address(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    study, rest = [], iter(argv[1:])
    for argument in rest:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name not in JOB:
            study.append(argument)
        elif not equals and name != "distributed":
            next(rest)  # its value
    return hosts.run([str(HERE / "run.py"), *study], address)


def _check_parts() -> None:
    """Whether the options that do a part of a study go together."""
    if FLAGS.distributed and (FLAGS.shard is not None or FLAGS.only or FLAGS.refine or FLAGS.intervene or FLAGS.plan):
        raise UserError(
            "--distributed gives every process a part and judges at the end; leave --shard, --only, --plan, --refine"
            " and --intervene out."
        )
    if not FLAGS.distributed and any(FLAGS[name].present for name in JOB):
        raise UserError("--coordinator, --processes and --process say where a job meets; add --distributed.")
    partly = "--shard" if FLAGS.shard is not None else f"--only={FLAGS.only}" if FLAGS.only else ""
    if FLAGS["reproduce"].present and (partly or FLAGS.distributed or FLAGS.plan or FLAGS.refine or FLAGS.intervene):
        raise UserError(
            "--reproduce trains one cell alone; leave --plan, --shard, --only, --distributed, --refine and --intervene"
            " out."
        )
    if partly and (FLAGS.refine or FLAGS.intervene):
        raise UserError(
            f"--refine and --intervene train and judge by turns; run them without {partly}, once all is trained."
        )
    if FLAGS.shard is not None and FLAGS.only == "analyze":
        raise UserError("--only=analyze judges the whole study; leave --shard out.")


def _parse_flags(argv: list[str]) -> None:
    """Parse the command line; every mistake in it becomes one sentence."""
    for argument in argv[1:]:
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config"):
            if not equals:
                raise UserError("write --config=FILE with '=', such as --config=ablations/pruning.py")
            loader.get_config(value)  # its own mistakes first, so that they aren't taken for the command line's
    try:
        rest = FLAGS(argv)
    except (AttributeError, KeyError) as error:
        raise UserError(_unknown_field(argv, error)) from None
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(str(error).strip().splitlines()[-1]) from None
    if len(rest) > 1:
        raise UserError(
            f"unexpected argument '{rest[1]}'; every option begins with --, such as --config=ablations/pruning.py"
        )


def _unknown_field(argv: list[str], error: Exception) -> str:
    """Name the override that no field of the config answers to, and the nearest fields."""
    fields = _fields(loader.get_config(next(a for a in argv if a.startswith("--config=")).partition("=")[2]))
    for argument in argv[1:]:
        name = argument.removeprefix("--").partition("=")[0]
        if name.startswith("config.") and name.removeprefix("config.") not in fields:
            return f"--{name}: no such field. {nearest(name, [f'config.{field}' for field in fields])}"
    return str(error).splitlines()[0]


def _fields(config: Any, prefix: str = "") -> list[str]:
    found = []
    for name, value in config.items():
        found += _fields(value, f"{prefix}{name}.") if hasattr(value, "items") else [f"{prefix}{name}"]
    return found


def _study(console: Console, argv: list[str], stop: Stop) -> int:
    """Plan, train what is missing, measure, judge, write the views; then refine or repair, where asked."""
    begun = time.perf_counter()
    from lab.engine import xla_cache
    from lab.engine.device_grid import use_every_core

    use_every_core()
    xla_cache.keep()
    from analysis.design import interim as record
    from analysis.repair import branch_study
    from analysis.report import console as summary
    from analysis.report import projections
    from analysis.verdicts import refinement
    from lab.engine.device_grid import local_layout, memory_budget
    from lab.engine.plan import make_plan
    from lab.engine.program_cache import Programs
    from lab.jobs import shards
    from lab.jobs.workdir import Workdir
    from lab.storage import checkpoint
    from lab.storage.store import open_store

    file, _, variant = config_flags.get_config_filename(FLAGS["config"]).partition(":")
    root = Path(FLAGS.workdir or f"runs/{Path(file).stem}{'-' + variant if variant else ''}")
    grid = _grid(Path(file))
    study = _checked(grid, root)
    plan = make_plan(study, local_layout(FLAGS.chunk))
    if not FLAGS.chunk:
        plan = plan.within(memory_budget(plan.layout))
    workdir = Workdir(root, study, FLAGS.config, plan.layout)
    if FLAGS["reproduce"].present:
        return _reproduce(console, plan, workdir, stop)
    shard = shards.parse(FLAGS.shard) if FLAGS.shard is not None else None
    if shard and not FLAGS.plan:
        return _shard(console, plan, workdir, shard, stop)
    if FLAGS.only == "analyze" and not (root / "study.json").exists():
        raise UserError(f"--only=analyze: there is no study in {root}; name its directory with --workdir.")
    if FLAGS.plan:
        notes = study.notes
        try:
            notes = [*notes, *workdir.check()]
        except UserError as error:  # a plan trains nothing: show it all the same
            console.print(f"Would be refused: {error}", style="yellow")
        for note in notes:
            console.print(note, style="yellow")
        store = open_store(root, study, lambda text: console.print(text, style="yellow"))
        console.print(summary.plan_text(plan, store, root), highlight=False)
        if shard:
            console.print(shards.summary(plan, shards.part(plan, shard), shard, store.nodes), highlight=False)
        return 0
    with workdir.locked():
        begun_before = (root / "study.json").exists()
        notes = workdir.claim()
        if FLAGS.refine and record.read(root) is None:
            record.write(root, record.begin(study, FLAGS.looks, asked_late=begun_before))
        checkpoint.sweep_up(root)
        notes = [*study.notes, *notes]
        for note in notes:
            console.print(note, style="yellow")
        programs, timings = Programs(plan.layout), {"train": 0.0, "measure": 0.0}
        if FLAGS.only == "train":
            store = open_store(root, study, lambda text: console.print(text, style="yellow"))
            console.print(summary.plan_text(plan, store, root), highlight=False)
            _train(console, plan, store, programs, stop)
            return 0
        while True:
            plan, store, results, judged, bounds = _look(console, plan, programs, root, timings, stop)
            if not FLAGS.refine or results.looks is None:
                break
            more = refinement.next_round(plan.study, results.looks, judged, bounds, FLAGS.precision)
            if more is None:
                console.print(refinement.why_over(plan.study, results.looks, judged, bounds), highlight=False)
                break
            console.print(f"refining: adding {more.why}", highlight=False)
            record.write(root, more.looks)
            plan = make_plan(_checked(grid, root), plan.layout)
            Workdir(root, plan.study, FLAGS.config, plan.layout).claim()
        if FLAGS.intervene:
            results = _probe(console, results, judged, bounds, root)
        if FLAGS.intervene and branch_study.targets(bounds):
            results = replace(
                results, repairs=_intervene(console, results, judged, bounds, store, programs, root, stop)
            )
        elif FLAGS.intervene:
            console.print(branch_study.NOTHING, style="yellow", highlight=False)
        if results.repairs:
            console.print(summary.repair_table(results))
        pictured = projections.read(plan, store, programs, results, judged, bounds)
        timings["compile"] = programs.seconds
        timings["total"] = time.perf_counter() - begun
        report = summary.write(root, plan, results, judged, bounds, timings, argv, notes, pictured)
        console.print(f"report: {report}", highlight=False, soft_wrap=True)
        console.print(f"done in {time.perf_counter() - begun:.0f} s", highlight=False)
    return 0


def _reproduce(console: Console, plan: Any, workdir: Any, stop: Stop) -> int:
    """Train one cell alone, in a directory that is thrown away. Exit status: 0 the same to the bit, 1 not (all)."""
    from lab.engine.program_cache import Programs
    from lab.jobs import reproduce
    from lab.storage.store import Store, read_store

    cell = reproduce.find(plan.study, FLAGS.reproduce)
    for note in workdir.check():
        console.print(note, style="yellow")
    before, damaged = read_store(workdir.path, plan.study)
    for path in damaged:
        console.print(f"Damaged checkpoint {path} is left out.", style="yellow", highlight=False)
    single = reproduce.alone(plan, cell)
    if not any(node.key in before.nodes for node in reproduce.nodes_of(single)):
        raise UserError(f"--reproduce: {workdir.path} holds no finished stage of this cell; train the study first.")
    with tempfile.TemporaryDirectory() as directory:
        again = Store(Path(directory))
        _train(console, single, again, Programs(plan.layout), stop)
        compared = reproduce.compare(single, before, again)
    gaps = reproduce.missing(single, compared)
    console.print("\n".join([*reproduce.told(compared), *gaps]), highlight=False, markup=False)
    return int(bool(gaps) or any(one.differ for one in compared))


def _shard(console: Console, plan: Any, workdir: Any, shard: Any, stop: Any) -> int:
    """Train one part of the plan beside the processes that train the others; nothing is measured or judged."""
    from lab.engine.program_cache import Programs
    from lab.jobs import shards
    from lab.storage import checkpoint
    from lab.storage.store import open_store, read_store

    mine, keys = shards.part(plan, shard), shards.split(plan, shard.count)[shard.index - 1]
    with workdir.shared(shard, shards.division(plan, shard.count)) as notes:
        store = open_store(workdir.path, plan.study, notes.append, keys)
        for chunk in store.unfinished:
            if keys.issuperset(chunk[-1].meta["cells"]):
                checkpoint.sweep_up(workdir.path, chunk[-1].path.parent.name)
        for note in [*plan.study.notes, *notes, *shards.begun_across(store.unfinished, keys)]:
            console.print(note, style="yellow")
        console.print(shards.summary(plan, mine, shard, store.nodes), highlight=False)
        _train(console, mine, store, Programs(plan.layout), stop)
        done = read_store(workdir.path, plan.study)[0].nodes
        console.print(shards.outlook(plan, shard, done), highlight=False)
    return 0


def _grid(file: Path) -> Any:
    """The grid of the study's file; a study without a name gets the file's."""
    module = loader.load(file)
    with loader.blamed(file):
        grid = module.sweep(FLAGS.config)
    if not FLAGS.config.name:
        FLAGS.config.name = file.stem
    return grid


def _checked(grid: Any, root: Path) -> Any:
    """The study, with what earlier looks have added to it; refused here where it or an option can't be."""
    from analysis.design import interim as record
    from analysis.metrics.registry import METRICS
    from analysis.repair import branch_study
    from analysis.verdicts import claims, refinement
    from lab.study.parse import parse

    looks = record.read(root)
    designed = parse(FLAGS.config, grid, METRICS)
    claims.check(designed)
    if FLAGS.refine:
        refinement.check_refinable(designed, len(looks.shares) if looks else FLAGS.looks)
    if looks and FLAGS["looks"].present and FLAGS.looks != len(looks.shares):
        raise UserError(f"--looks={FLAGS.looks}: {len(looks.shares)} were planned before the first, and that is fixed.")
    study = parse(FLAGS.config, record.grid_of(looks, designed), METRICS) if looks else designed
    if FLAGS.intervene:
        branch_study.check(study, FLAGS.arms, FLAGS.repair_steps)
    return study


def _look(
    console: Console, plan: Any, programs: Any, root: Path, timings: dict[str, float], stop: Stop
) -> tuple[Any, Any, Any, list[Any], list[Any]]:
    """Train what the study lacks, measure and judge it.

    Returns the plan of the cells that are judged, the store, the results, the verdicts and the bounds.
    """
    from analysis.design import controls, selection
    from analysis.report import console as summary
    from analysis.verdicts import claims
    from lab.jobs import shards
    from lab.storage.store import open_store

    store = open_store(root, plan.study, lambda text: console.print(text, style="yellow"))
    if FLAGS.only == "analyze":
        shards.check_trained(plan, store.nodes, root)
    console.print(summary.plan_text(plan, store, root), highlight=False)
    for name, seconds in _train(console, plan, store, programs, stop).items():
        timings[name] = timings.get(name, 0.0) + seconds
    plan, choices = selection.settle(plan, store)
    results, seconds = _measure(console, plan, store, programs, root)
    results = replace(results, tuning=choices)
    timings["measure"] += seconds
    judged, bounds = claims.judge(results), claims.bounds(results)
    console.print(summary.verdict_table(judged, bounds, controls.neutral_value(plan.study)))
    return plan, store, results, judged, bounds


def _probe(console: Console, results: Any, judged: Any, bounds: Any, root: Path) -> Any:
    """Whether answers rest on what a probe reads, where a label asks for it; the results with what was found."""
    from analysis.causal import __main__ as interventions
    from analysis.diagnosis import diagnose
    from analysis.repair import branch_study
    from analysis.results import intervention_record

    for label in branch_study.probes(results, diagnose.diagnose(results, judged, bounds)):
        console.print(f"a shortcut of {label} is suspected: removing and swapping what probes read", highlight=False)
        interventions.main([str(root), f"--label={label}"])
    return replace(results, interventions=intervention_record.load(root, results.study))


def _intervene(
    console: Console, results: Any, judged: Any, bounds: Any, store: Any, programs: Any, root: Path, stop: Stop
) -> Any:
    """Go on from where abilities are lost, in a directory of its own, and keep what came of it."""
    from analysis.diagnosis import diagnose
    from analysis.repair import branch_study

    diagnosis = diagnose.diagnose(replace(results, repairs=None), judged, bounds)
    repair_plan = branch_study.repair_plan(results, bounds, diagnosis, FLAGS.arms, FLAGS.repair_steps)
    for note in repair_plan.notes:
        console.print(note, style="yellow", highlight=False)
    places = ", ".join(f"{b.label}/{b.split} at {b.harmful_from:g}" for b in repair_plan.targets)
    console.print(f"repairing {places}: {', '.join(repair_plan.arms)}; {repair_plan.steps} steps each", highlight=False)
    with _counter(console, "measuring repairs") as tell:
        return branch_study.carry_out(
            results,
            repair_plan,
            store,
            programs,
            root,
            train=lambda plan, there: _train(console, plan, there, programs, stop),
            note=lambda text: console.print(text, style="yellow"),
            tell=tell,
        )


def _train(console: Console, plan: Any, store: Any, programs: Any, stop: Stop) -> dict[str, float]:
    """Train what the store lacks. Returns seconds by activity."""
    from lab.engine.progress import Meter, progress_for
    from lab.engine.trainer import Trainer

    total = plan.steps_shared(store.nodes)
    if not total:
        judged = FLAGS.shard is None and FLAGS.only != "train"
        console.print(f"Everything is trained{'; only the views are rebuilt' if judged else ''}.")
        return {"train": 0.0}
    begun = time.perf_counter()
    meter = Meter(total, plan.cells_trained(), plan.cells_trained(store.nodes))
    with progress_for(meter, console) as progress, stop.holding():
        Trainer(plan, store, progress, programs, stop, spare_seconds=60 * FLAGS.save_minutes).run()
    return {"train": time.perf_counter() - begun - programs.seconds}


def _measure(console: Console, plan: Any, store: Any, programs: Any, root: Path) -> tuple[Any, float]:
    """Latent readings of every checkpoint, and the seconds it took."""
    from analysis.activations.measure import Measurer
    from analysis.results.table import collect

    begun, compiling = time.perf_counter(), programs.seconds
    with _counter(console, "measuring latents") as tell:
        results = collect(plan, store, Measurer(plan.study, programs, root), tell)
    return results, time.perf_counter() - begun - (programs.seconds - compiling)


@contextlib.contextmanager
def _counter(console: Console, what: str) -> Iterator[Any]:
    """A one-line counter: a status in a terminal, a line now and then elsewhere."""
    if console.is_terminal:
        with console.status(what) as status:
            yield lambda done, total: status.update(f"{what}: {done}/{total} cells")
        return
    last = [0.0]

    def tell(done: int, total: int) -> None:
        if total and (done == total or time.monotonic() - last[0] > 5):
            last[0] = time.monotonic()
            console.print(f"{what}: {done}/{total} cells", highlight=False)

    yield tell


if __name__ == "__main__":
    sys.exit(main(sys.argv))
