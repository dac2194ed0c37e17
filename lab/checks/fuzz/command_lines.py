"""Malformed command lines: of `run.py`, and of every `python -m` command.

Every option is drawn with values that it may have and values that it may not. Nothing is trained: where a command
would start to work, its trial ends, and its input counts as accepted (`WORK`); a command whose work is short, or
whose input is used in its work only, works on for `SECONDS_AT_WORK`.
"""

from __future__ import annotations

import math
import shlex
import signal
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from lab.checks.fuzz import small_study
from lab.checks.fuzz.trials import Ended, Judged, Trial, answered, at_work, module

STUDY = Path(small_study.__file__)
SECONDS_AT_WORK = 1.0
LARGEST = 2**31 - 1
HOSTILE = (
    *("", " ", "0", "-1", "1", "2", "2.5", "nan", "inf", "-inf", "1e308", "1e-320", "1e999", "1" + "0" * 30, "-0.0"),
    *("10000000000", "0x10", "1_0", "١", "None", "True", "[", "[/b]", "[red]", "(", "{}", "{0}", "%s", "'", '"', "\\"),
    *("→", "\x1b[31m", "a b", "a\nb", "x" * 300, "../up", ".", "no/such/file", "study.json", "--plan", "-", "--", "="),
    *("a=b", "1/2", "0/0", "3/2", "1/1000000", "/dev/null", "/dev/null/x", "/proc/self/mem", "*", "~", "\udcff"),
)  # fmt: skip
PLACES = ("work", "w [16,16]", "a:b", "a\\b", "a b", "→", "x" * 100, "file", "deep/er/still", "new\nline", "[/b]", "%s")


@dataclass(frozen=True)
class Option:
    """An option or argument.

    Attributes:
      name: with its dashes; '' for an argument without.
      right: values that it may have.
      harmless: whether a hostile value that was accepted does no harm.
    """

    name: str
    right: tuple[str, ...]
    harmless: Callable[[str], bool] = lambda text: False


def whole(low: int, high: int = LARGEST) -> Callable[[str], bool]:
    """Whether a text is a whole number in a range."""

    def within(text: str) -> bool:
        try:
            return low <= int(text, 0 if text.startswith("0x") else 10) <= high
        except ValueError:
            return False

    return within


def number(low: float = -1e6, high: float = 1e6) -> Callable[[str], bool]:
    """Whether a text is a finite number in a range."""

    def within(text: str) -> bool:
        try:
            return math.isfinite(float(text)) and low <= float(text) <= high
        except ValueError:
            return False

    return within


def any_text(text: str) -> bool:
    """Whether a text may name a file; every one may."""
    return bool(text)


def any_name(text: str) -> bool:
    """Whether a text may name a study; every one may, and a study without a name has its file's."""
    del text
    return True


PLAN = f"--config={STUDY}"
SWITCHES = (
    "--plan",
    "--repair",
    "--refine",
    "--distributed",
    "--noplan",
    "--plan=maybe",
    "--plam",
    "plan",
    "-x",
    "--help",
)
RUN = (
    Option("--workdir", PLACES, any_text),
    Option("--arms", ("continue", "continue,lower"), lambda text: not text.strip(",")),
    Option("--repair_steps", ("0", "10"), whole(0)),
    Option("--looks", ("2", "9"), whole(2, 9)),
    Option("--precision", ("0.05",), number(0.001, 1)),
    Option("--reproduce", ("prune.sparsity=0.5,seed=1", "seed=0")),
    Option("--chunk", ("0", "4"), whole(0)),
    Option("--save_minutes", ("10", "0"), number(0)),
    Option("--only", ("train", "analyze")),
    Option("--shard", ("1/2", "2/2"), lambda text: text == "1/1000000"),
    Option("--coordinator", ("localhost:1234",), any_text),
    Option("--processes", ("2",), whole(1)),
    Option("--process", ("0", "1"), whole(0)),
    Option("--list", ("tasks", "knobs", "metrics", "studies")),
    Option("--config", (str(STUDY),)),
    Option("--config.name", ("study",), any_name),
    Option("--config.question", ("Why?", "as in [arXiv 1506.02626]", "→"), any_text),
    Option("--config.steps.train", ("20", "10"), whole(1)),
)
DIRECTORIES = Option("", ("work", "file", "empty", "broken"))
OUT = Option("--out", ("out", "file", "deep/er"), any_text)


@dataclass(frozen=True)
class Command:
    """A `python -m` command.

    Attributes:
      options: its options.
      needed: options that are always drawn.
      work: 'module:attribute' where it starts to work.
      works_on: whether it works on for some seconds, where mistakes could show.
    """

    options: tuple[Option, ...] = ()
    needed: tuple[Option, ...] = ()
    work: tuple[str, ...] = ()
    works_on: bool = False


SIZES = tuple(Option("", ("8", "2"), whole(1)) for _ in range(7))
RNG_SEED = Option("--rng_seed", ("0",), whole(0))
REPETITIONS = Option("--repetitions", ("2",), whole(1, 100_000))
STUDIES = (Option("--config", (str(STUDY),)),)
COMMANDS: Mapping[str, Command] = {
    "lab.bench": Command(
        (Option("--mechanisms", ()), Option("--cells", ()), Option("--save", ("file",), any_text),
         Option("--compare", ("file", "broken/study.json")), Option("--tolerance", ("0.1",), number(1e-9))),
        work=("lab.bench.baseline:measured_twice",),
    ),
    "lab.bench.chunk_size": Command(
        (Option("--config.steps.train", ("20",), whole(1)), Option("--config.name", ("a",), any_name)),
        STUDIES, ("lab.bench.chunk_size:time_in_turns",),
    ),
    "lab.bench.generators": Command(
        needed=(Option("", ("maze", "facts")),), work=("lab.bench.generators:share_of_step",)
    ),
    "lab.bench.grid_size": Command(needed=(Option("", ("8",), whole(1)),), work=("lab.bench.grid_size:train",)),
    "lab.bench.torch_reference": Command(needed=SIZES, work=("lab.bench.torch_reference:rate",)),
    "lab.checks.kill_test": Command(
        (Option("--kills", ("1",), whole(1)), Option("--seed", ("0",), whole(-LARGEST))),
        (Option("--config", (str(STUDY),), any_text), Option("--workdir", ("new",), any_text)),
        ("lab.checks.kill_test:loop",),
    ),
    "lab.checks.known_results": Command(
        (Option("--all", ()),), (Option("", ("mqar", "facts")),), ("lab.checks.known_results:run",)
    ),
    "lab.mechanisms.knob_table": Command((Option("", ()),), work=("lab.mechanisms.knob_table:table",)),
    "tasks": Command(
        (Option("--split", ("train", "iid")), Option("--count", ("1",), whole(1, 1000)),
         Option("--seed", ("0",), whole(0)),
         Option("", ("facts=8", "values=4", "length=3", "group=Z6", "facts=", "facts=nan", "facts=1e9", "=3"))),
        (Option("", ("show", "show", "show", "list", "gallery", "shw")),
         Option("", ("facts", "group_word", "MQAR", "maze"))),
        ("tasks.__main__:gallery", "tasks.__main__:examples"), works_on=True,
    ),
    "analysis.activations.bench": Command((Option("", ()),), work=("analysis.activations.bench:whole",)),
    "analysis.causal": Command(
        (Option("--label", ("facts",)), Option("--layer", ("-1",), whole(-9, 9)), Option("--read", ("query",)),
         Option("--factor", ("value",)), OUT),
        (DIRECTORIES,), ("analysis.causal.__main__:measure_effects",),
    ),
    "analysis.comparison": Command((OUT, DIRECTORIES), (DIRECTORIES,)),
    "analysis.forecast": Command(
        (Option("--share", ("0.2",), number(0, 1)), Option("--of", ("work",)), OUT, DIRECTORIES), (DIRECTORIES,)
    ),
    "analysis.simulation": Command(
        (Option("--table", ("map", "1", "3", "4", "5")), Option("--looks", ("2",), whole(2, 9)), RNG_SEED,
         Option("--precision", ("0.05",), number(0.001, 1)), Option("--seeds", ("5",), whole(2, 1000)),
         Option("--settings", ("9",), whole(2, 1000)), Option("--condition", ("plain",))),
        (REPETITIONS,), ("analysis.simulation.__main__:_print_tables",), works_on=True,
    ),
    "analysis.simulation.power_cli": Command(
        (Option("--truth", ("fall", "cliff", "loss", "flat")), Option("--seeds", ("5", "2,3"), whole(2, 200)), RNG_SEED,
         Option("--settings", ("9",), whole(9, 1000)), Option("--workdir", ("work", "broken", "empty")),
         Option("--ability", ("facts/iid",)), Option("--metric", ("participation_ratio",)),
         Option("--out", ("a.svg", "a.pdf", "deep/a.png", "file/a.svg")),
         *(Option(f"--{name}", ("0.2", "0.5"), number(0, 1)) for name in ("at", "rise", "fall", "width", "base")),
         *(Option(f"--{name}", ("0.02",), number(0)) for name in ("seed_sd", "slope_sd", "cell_sd"))),
        (REPETITIONS,), ("analysis.simulation.power_cli:measure",), works_on=True,
    ),
    "analysis.simulation.planted_causes": Command(
        (Option("--workdir", PLACES, any_text),
         Option("--only", ("collapse", ",", "nothing"), lambda text: not text.strip(",")),
         Option("--replicates", ("1",), whole(1))),
        work=("analysis.simulation.planted_causes:_train",),
    ),
    "analysis.external.judge": Command((OUT,), (Option("", ("file", "empty", "broken/study.json", "no.npz")),)),
}  # fmt: skip
ENCODINGS = ("utf-8", "utf-8", "utf-8", "ascii", "latin-1", "cp1252")


def draw(random: Random, name: str) -> Trial:
    """One trial: of `run.py` as often as of all other commands together."""
    encoding = random.choice(ENCODINGS)
    if random.random() < 0.5:
        chosen = [*random.sample(RUN, random.choice((1, 1, 2, 3)))]
        switches = random.sample(SWITCHES, random.choice((0, 1, 1, 2)))
        given = [_argument(random, option) for option in chosen]
        config = [] if any(argument.startswith("--config=") for argument, _ in given) else [(PLAN, True)]
        arguments = [*config, *given, *((switch, True) for switch in switches)]
        return _trial("run", arguments, encoding, name)
    of = random.choice(sorted(COMMANDS))
    options = COMMANDS[of].options
    some = random.sample(options, min(len(options), random.choice((0, 1, 1, 2, 3))))
    arguments = [_argument(random, option) for option in (*COMMANDS[of].needed, *some)]
    if arguments and random.random() < 0.1:
        arguments.pop(random.randrange(len(arguments)))
    if random.random() < 0.1:
        arguments.append((random.choice(("--nonsense", "--help", "-h", "--=", "--out")), False))
    return _trial(of, arguments, encoding, name)


def _argument(random: Random, option: Option) -> tuple[str, bool]:
    """(an option with a value, whether it does no harm where it is accepted)."""
    if option.right and random.random() < 0.4:
        value, harmless = random.choice(option.right), True
    else:
        value = random.choice(HOSTILE)
        harmless = option.harmless(value)
    if not option.name:
        return value, harmless or value == "--"  # which ends the options
    if not option.right and random.random() < 0.7:
        return option.name, True
    return f"{option.name}={value}", harmless


def _trial(of: str, arguments: list[tuple[str, bool]], encoding: str, name: str) -> Trial:
    line = [argument for argument, _ in arguments]
    program = "run.py" if of == "run" else f"python -m {of}"
    text = f"{program} {' '.join(map(shlex.quote, line))}" + (f"    (in {encoding})" if encoding != "utf-8" else "")
    helped = any(argument in ("--help", "-h") or argument.startswith("--list") for argument in line)

    def why() -> str:
        return "help or a list was asked for" if helped else "every value is one that its option is for"

    def judge(ended: Ended) -> Judged:
        return answered(ended, lambda: why() if helped or all(harmless for _, harmless in arguments) else "")

    return Trial(name, text.encode("utf-8", "replace").decode(), partial(_carry_out, of, line, encoding), judge)


def _carry_out(of: str, line: list[str], encoding: str) -> int:
    """In a child: a directory with a file, an empty directory and a broken record, then the command."""
    for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):  # as Python opens them
        stream.reconfigure(encoding=encoding, errors=errors)  # type: ignore[union-attr]
    Path("file").write_text("text", encoding="utf-8")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/study.json").write_text('{"config": {}}', encoding="utf-8")
    if of == "run":
        _intercept("lab.engine.trainer:Trainer.run", works_on=False)
        _intercept("lab.jobs.hosts:_meeting", works_on=False)
        return module("run").main(["run.py", *line])
    if of == "lab.bench.torch_reference" and not _installed("torch"):
        _stand_in()
    main = module(f"{of}.__main__" if hasattr(module(of), "__path__") else of).main
    for place in COMMANDS[of].work:
        _intercept(place, COMMANDS[of].works_on)
    return main(line)


def _installed(package: str) -> bool:
    try:
        module(package)
    except ImportError:
        return False
    return True


def _stand_in() -> None:
    """PyTorch's names, where it isn't installed: its command's arguments are read all the same."""
    torch: Any = types.ModuleType("torch")
    torch.nn = types.SimpleNamespace(Module=object, functional=None)
    sys.modules |= {"torch": torch, "torch.nn": torch.nn}


def _intercept(place: str, works_on: bool) -> None:
    """End this process where a command starts to work, at once or after `SECONDS_AT_WORK`."""
    name, _, attribute = place.partition(":")
    owner: Any = module(name)
    *path, last = attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    def started(*arguments: Any, **options: Any) -> Any:
        if not works_on:
            at_work()
        signal.signal(signal.SIGVTALRM, lambda *_: at_work())
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS_AT_WORK)
        return original(*arguments, **options)

    setattr(owner, last, started)
