"""The command line of `run.py`: its options, what they mean, and whether they go together.

Imports nothing of JAX, so that a mistake is reported, and `--help` answers, at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from absl import flags

from lab.errors import UserError, clipped, nearest
from lab.study import fields, loader
from lab.values import file_name

CHUNK_MOST = 2**16
MINUTES_MOST = 60 * 24 * 7
PROCESSES_MOST = 2**16


class _Number(flags.ArgumentParser):
    """A number between two ends, both included; NaN is between no ends."""

    def __init__(self, kind: type[int] | type[float], low: float, high: float):
        super().__init__()
        self.kind, self.low, self.high = kind, low, high
        self.syntactic_help = f"a {'whole ' if kind is int else ''}number from {low:,} to {high:,}"

    def parse(self, argument: Any) -> int | float:
        """See `flags.ArgumentParser`."""
        try:
            value = self.kind(argument)
        except (ValueError, OverflowError):
            value = float("nan")
        if not self.low <= value <= self.high:
            raise ValueError(f"must be {self.syntactic_help}")
        return value


def _defined() -> flags.FlagValues:
    """The options, none given yet."""
    found = flags.FlagValues()

    def number(kind: type[int] | type[float], name: str, default: float | None, low: float, high: float, about: str):
        flags.DEFINE(_Number(kind, low, high), name, default, about, found)

    def words(name: str, default: str | None, about: str):
        flags.DEFINE_string(name, default, about, found)

    def switch(name: str, about: str):
        flags.DEFINE_bool(name, False, about, found)

    words("config", None, "The study: a file of ablations/, optionally ':variant'.")
    words("workdir", None, "Where the study lives; default runs/<study>. A rerun resumes what is there.")
    switch("plan", "Print the plan and train nothing.")
    switch("repair", "After the verdicts, train the repair arms that the diagnosis asks for.")
    words("arms", "", "With --repair: which arms, names with commas between; default: as asked for.")
    about = "With --repair: steps of each; 0 is a fifth of the study's own."
    number(int, "repair_steps", 0, 0, fields.STEPS_MOST, about)
    switch("refine", "Add seeds and settings where claims are open, and judge again.")
    number(int, "looks", 4, 2, 9, "With --refine: how often at most it is judged; fixed before the first.")
    about = "With --refine: the gap that is narrow enough, a share of the knob's range."
    number(float, "precision", 0.05, 0.001, 1.0, about)
    about = "Train one cell alone and compare it with the study's to the bit; a cell's key or its settings."
    words("reproduce", "", about)
    about = "Cells a device trains in one call; 0 is the fixed rule for the platform."
    number(int, "chunk", 0, 0, CHUNK_MOST, about)
    about = "How long at most training continues without a checkpoint to resume from."
    number(float, "save_minutes", 10.0, 0, MINUTES_MOST, about)
    flags.DEFINE_enum("only", None, ["train", "analyze"], "Train and don't judge, or judge and don't train.", found)
    switch("full_views", "Leave nothing out of a large grid's views: a TensorBoard run a cell, figures of all strata.")
    words("shard", None, "Train part i of n, written i/n: any order, any machine, one work directory.")
    switch("distributed", "One of several processes of a job: train a part each, then judge the whole.")
    words("coordinator", None, "With --distributed, where no cluster names it: HOST:PORT of process 0.")
    number(int, "processes", None, 1, PROCESSES_MOST, "With --coordinator: how many there are.")
    number(int, "process", None, 0, PROCESSES_MOST - 1, "With --coordinator: which this is, from 0.")
    listed = ["tasks", "knobs", "metrics", "studies"]
    flags.DEFINE_enum("list", None, listed, "List what there is, a line each.", found)
    return found


def options_help() -> str:
    """Every option with what it does, a line each."""
    found = _defined()
    return "\n".join(f"--{name:<13} {found[name].help}" for name in found if found[name].help)


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
      full_views: leave nothing out of the views of a large grid.
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
    full_views: bool = False
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
        if isinstance(self.config.name, str) and not self.config.name:  # anything else is refused with the fields
            self.config.name = self.file.stem
        return grid


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line, the program's name first.

    Raises:
      UserError: in one sentence, for any mistake in it.
    """
    arguments, overrides = _divided(argv)
    given = _defined()
    try:
        rest = given(arguments)
    except flags.UnrecognizedFlagError as error:
        raise UserError(_unknown(error.flagname, given, arguments)) from None
    except (flags.Error, ValueError, TypeError) as error:
        raise UserError(clipped(str(error).strip().splitlines()[-1], 400)) from None
    if len(rest) > 1:
        raise UserError(
            f"unexpected argument '{rest[1]}'; every option begins with --, such as --config=ablations/pruning.py"
        )
    if given.list:
        return Options(list=given.list)
    if given.config is None:
        raise UserError("--config is missing: name a study, such as --config=ablations/pruning.py")
    config = loader.get_config(given.config)
    for name, text in overrides.items():
        fields.override(config, name, text)
    config.lock()
    _check_needed(given)
    _check_together(given)
    file, variant = loader.split(given.config)
    return Options(
        config=config,
        file=file,
        workdir=Path(given.workdir) if given.workdir else standard_workdir(file, variant),
        plan=given.plan,
        repair=given.repair,
        arms=given.arms,
        repair_steps=given.repair_steps,
        refine=given.refine,
        looks=given.looks if given["looks"].present else None,
        precision=given.precision,
        reproduce=given.reproduce if given["reproduce"].present else None,
        chunk=given.chunk,
        save_minutes=given.save_minutes,
        only=given.only or "",
        full_views=given.full_views,
        shard=given.shard,
        distributed=given.distributed,
        coordinator=given.coordinator,
        processes=given.processes,
        process=given.process,
    )


def standard_workdir(file: Path, variant: str) -> Path:
    """Where a study lives unless a directory is named: one below runs/, whatever the variant's text."""
    return Path("runs") / file_name(f"{file.stem}-{variant}" if variant else file.stem, most=200)


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


def _divided(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The arguments that are options, and {field: text} of those that override a field; the last one of each counts."""
    kept, overrides = [*argv[:1]], {}
    for argument in argv[1:]:
        name, equals, value = argument.partition("=")
        if name in ("--config", "-config") and not equals:
            raise UserError("write --config=FILE with '=', such as --config=ablations/pruning.py")
        if re.match(r"--?config\.", name):
            if not equals:
                raise UserError(f"write {clipped(name)}=VALUE with '=', such as --config.steps.train=500")
            overrides[name.lstrip("-").removeprefix("config.")] = value
        else:
            kept.append(argument)
    return kept, overrides


def _unknown(name: str, given: flags.FlagValues, arguments: Sequence[str]) -> str:
    """Name an option that there isn't, with the nearest: options, and where a study is named its fields."""
    file = next((a.partition("=")[2] for a in arguments if re.match("--?config=", a)), None)
    known = fields.settable(loader.get_config(file)) if file else []
    same = [f"--config.{field}" for field in known if name in field.split(".")]
    if same:
        return f"unknown option '--{clipped(name)}'; fields of the study are set as {', '.join(same[:3])}"
    return f"unknown option '--{clipped(name)}'. {nearest(f'--{name}', [f'--{option}' for option in given])}"


def _check_needed(given: flags.FlagValues) -> None:
    """Refuse options that say how to do what isn't asked for, and values that are none."""
    if (given.arms or given.repair_steps) and not given.repair:
        raise UserError("--arms and --repair_steps say how to repair; add --repair.")
    if (given["looks"].present or given["precision"].present) and not given.refine:
        raise UserError("--looks and --precision say how to refine; add --refine.")
    if not given.distributed and any(given[name].present for name in JOB):
        raise UserError("--coordinator, --processes and --process say where a job meets; add --distributed.")
    if given.coordinator is not None and not re.fullmatch(r"[^\s/]+:[0-9]{1,5}", given.coordinator):
        raise UserError(f"--coordinator={clipped(given.coordinator)} must be HOST:PORT, such as host0:1234.")
    if given.workdir is not None and not given.workdir.strip():
        raise UserError("--workdir is empty; name a directory, such as --workdir=runs/mine.")


def _check_together(given: flags.FlagValues) -> None:
    """Refuse options for a part of a study that don't go together."""
    if given.distributed and (given.shard is not None or given.only or given.refine or given.repair or given.plan):
        raise UserError(
            "--distributed gives every process a part and judges at the end; leave --shard, --only, --plan, --refine"
            " and --repair out."
        )
    partly = "--shard" if given.shard is not None else f"--only={given.only}" if given.only else ""
    if given["reproduce"].present and (partly or given.distributed or given.plan or given.refine or given.repair):
        raise UserError(
            "--reproduce trains one cell alone; leave --plan, --shard, --only, --distributed, --refine and --repair"
            " out."
        )
    if partly and (given.refine or given.repair):
        raise UserError(
            f"--refine and --repair train and judge by turns; run them without {partly}, once all is trained."
        )
    if given.shard is not None and given.only == "analyze":
        raise UserError("--only=analyze judges the whole study; leave --shard out.")
