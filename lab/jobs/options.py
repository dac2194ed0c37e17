"""The command line of `run.py`: its options, what they mean, and whether they go together.

Imports nothing of JAX, so that a mistake is reported, and `--help` answers, at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from lab.errors import UserError, nearest
from lab.study import loader

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file(
    "config", None, "The study: a file of ablations/, optionally ':variant'.", lock_config=True
)
flags.DEFINE_string("workdir", None, "Where the study lives; default runs/<study>. A rerun resumes what is there.")
flags.DEFINE_bool("plan", False, "Print the plan and train nothing.")
flags.DEFINE_bool("repair", False, "After the verdicts, train the repair arms that the diagnosis asks for.")
flags.DEFINE_string("arms", "", "With --repair: which arms, names with commas between; default: as asked for.")
flags.DEFINE_integer("repair_steps", 0, "With --repair: steps of each; 0 is a fifth of the study's own.", lower_bound=0)
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
    "save_minutes", 10.0, "How long at most training continues without a checkpoint to resume from.", lower_bound=0.0
)
flags.DEFINE_enum("only", None, ["train", "analyze"], "Train and don't judge, or judge and don't train.")
flags.DEFINE_string("shard", None, "Train part i of n, written i/n: any order, any machine, one work directory.")
flags.DEFINE_bool("distributed", False, "One of several processes of a job: train a part each, then judge the whole.")
flags.DEFINE_string("coordinator", None, "With --distributed, where no cluster names it: HOST:PORT of process 0.")
flags.DEFINE_integer("processes", None, "With --coordinator: how many there are.", lower_bound=1)
flags.DEFINE_integer("process", None, "With --coordinator: which this is, from 0.", lower_bound=0)
flags.DEFINE_enum("list", None, ["tasks", "knobs", "metrics", "studies"], "List what there is, a line each.")


def options_help() -> str:
    """Every option with what it does, a line each."""
    defined = FLAGS.flags_by_module_dict()[__name__]
    return "\n".join(f"--{flag.name:<13} {flag.help}" for flag in defined if flag.help)


JOB = ("distributed", "coordinator", "processes", "process")


@dataclass(frozen=True)
class Options:
    """A command line that was checked.

    Attributes:
      list: what to list; where it isn't '', nothing else counts.
      config: the study's config, overrides applied.
      file: the study's file.
      workdir: where the study lives.
      plan: print the plan only.
      repair, arms, repair_steps: whether to run interventions, which ('' as the diagnosis asks), and for how many steps
        (0 for the default).
      refine, looks, precision: whether to refine, in how many looks (None where that isn't named), down to which gap.
      reproduce: the cell to train alone; None where none is named.
      chunk: cells a device and call; 0 for the fixed rule.
      save_minutes: how long at most training continues without a checkpoint.
      only: '', 'train' or 'analyze'.
      shard: part of the study to train, 'i/n'; None for all of it.
      distributed, coordinator, processes, process: whether this is one process of a job, and where the job meets.
    """

    list: str = ""
    config: Any = None
    file: Path = Path()
    workdir: Path = Path()
    plan: bool = False
    repair: bool = False
    arms: str = ""
    repair_steps: int = 0
    refine: bool = False
    looks: int | None = None
    precision: float = 0.05
    reproduce: str | None = None
    chunk: int = 0
    save_minutes: float = 10.0
    only: str = ""
    shard: str | None = None
    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    def grid(self) -> Any:
        """The grid of the study's file; a study without a name gets the file's.

        Raises:
          UserError: if sweep() fails, with file and line.
        """
        module = loader.load(self.file)
        with loader.blamed(self.file):
            grid = module.sweep(self.config)
        if not self.config.name:
            self.config.name = self.file.stem
        return grid


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line, the program's name first.

    Raises:
      UserError: in one sentence, for any mistake in it.
    """
    _parse_flags(argv)
    if FLAGS.list:
        return Options(list=FLAGS.list)
    if FLAGS.config is None:
        raise UserError("--config is missing: name a study, such as --config=ablations/pruning.py")
    _check_needed()
    _check_together()
    file, _, variant = config_flags.get_config_filename(FLAGS["config"]).partition(":")
    return Options(
        config=FLAGS.config,
        file=Path(file),
        workdir=Path(FLAGS.workdir or f"runs/{Path(file).stem}{'-' + variant if variant else ''}"),
        plan=FLAGS.plan,
        repair=FLAGS.repair,
        arms=FLAGS.arms,
        repair_steps=FLAGS.repair_steps,
        refine=FLAGS.refine,
        looks=FLAGS.looks if FLAGS["looks"].present else None,
        precision=FLAGS.precision,
        reproduce=FLAGS.reproduce if FLAGS["reproduce"].present else None,
        chunk=FLAGS.chunk,
        save_minutes=FLAGS.save_minutes,
        only=FLAGS.only or "",
        shard=FLAGS.shard,
        distributed=FLAGS.distributed,
        coordinator=FLAGS.coordinator,
        processes=FLAGS.processes,
        process=FLAGS.process,
    )


def without_job(arguments: Sequence[str]) -> list[str]:
    """The arguments without those that make the study one process's part of a job."""
    kept, rest = [], iter(arguments)
    for argument in rest:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name not in JOB:
            kept.append(argument)
        elif not equals and name != "distributed":
            next(rest)  # its value
    return kept


def _parse_flags(argv: Sequence[str]) -> None:
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


def _unknown_field(argv: Sequence[str], error: Exception) -> str:
    """Name the override of a field that the config doesn't have, and the nearest fields."""
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


def _check_needed() -> None:
    """Refuse options that say how to do what isn't asked for."""
    if (FLAGS.arms or FLAGS.repair_steps) and not FLAGS.repair:
        raise UserError("--arms and --repair_steps say how to repair; add --repair.")
    if (FLAGS["looks"].present or FLAGS["precision"].present) and not FLAGS.refine:
        raise UserError("--looks and --precision say how to refine; add --refine.")
    if not FLAGS.distributed and any(FLAGS[name].present for name in JOB):
        raise UserError("--coordinator, --processes and --process say where a job meets; add --distributed.")


def _check_together() -> None:
    """Refuse options for a part of a study that don't go together."""
    if FLAGS.distributed and (FLAGS.shard is not None or FLAGS.only or FLAGS.refine or FLAGS.repair or FLAGS.plan):
        raise UserError(
            "--distributed gives every process a part and judges at the end; leave --shard, --only, --plan, --refine"
            " and --repair out."
        )
    partly = "--shard" if FLAGS.shard is not None else f"--only={FLAGS.only}" if FLAGS.only else ""
    if FLAGS["reproduce"].present and (partly or FLAGS.distributed or FLAGS.plan or FLAGS.refine or FLAGS.repair):
        raise UserError(
            "--reproduce trains one cell alone; leave --plan, --shard, --only, --distributed, --refine and --repair"
            " out."
        )
    if partly and (FLAGS.refine or FLAGS.repair):
        raise UserError(
            f"--refine and --repair train and judge by turns; run them without {partly}, once all is trained."
        )
    if FLAGS.shard is not None and FLAGS.only == "analyze":
        raise UserError("--only=analyze judges the whole study; leave --shard out.")
