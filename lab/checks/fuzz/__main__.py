"""Draws malformed configs, command lines and damaged files, and counts how the program answers.

    python -m lab.checks.fuzz                                    1,000 trials of all kinds, ten minutes at most
    python -m lab.checks.fuzz --kind=files --trials=400          damaged files only
    python -m lab.checks.fuzz --kind=flips --trials=400          one flipped bit in each, over every kind of file
    python -m lab.checks.fuzz --kind=config --first=17 --trials=1       one trial again

Every trial runs the program in a process of its own, with a limit on its time. It should end in one *sentence* (status
2), or the input is *accepted* and does no harm; a damaged file is named in a *sentence*, or the numbers are the
*same*. All else is printed with its input: a *traceback*, a *hang*, a *silent change* of numbers, input that was
accepted though nothing says why it is harmless (*unexplained*), an *unclear* end (several lines, another status).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

from lab.checks.fuzz import command_lines, configs, files
from lab.checks.fuzz.trials import FAILED, OUTCOMES, Judged, Trial, module, run
from lab.errors import Parser, UserError, command

SHARES = {"config": 0.6, "command": 0.25, "files": 0.1, "flips": 0.05}  # of the trials that a kind gets
PROGRAM = ("run", "analysis.report.write", "analysis.study", "lab.engine.trainer")  # imported once, before any trial
JOBS = os.cpu_count() or 1
PROGRESS = 100  # trials after which a line says how many are done
Draw = Callable[[Random, str], Trial]


def drawn(kind: str, draw: Draw, seed: int, first: int, count: int) -> Iterator[Trial]:
    """So many trials of a kind; each depends on its number and the seed alone."""
    for number in range(first, first + count):
        yield draw(Random(f"{seed}/{kind}/{number}"), f"{kind} {number}")


def table(counts: dict[str, Counter[str]]) -> str:
    """How often each kind of trial ended in each outcome."""
    kept = [outcome for outcome in OUTCOMES if outcome in FAILED or any(of[outcome] for of in counts.values())]
    lines = [["kind", "trials", *kept]]
    lines += [[kind, str(of.total()), *(str(of[outcome]) for outcome in kept)] for kind, of in counts.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def shown(trial: Trial, judged: Judged) -> str:
    """A trial with its outcome, to be read and repeated."""
    text = trial.text.replace("\n", "\n    ")
    return f"{judged.outcome}: {trial.name}\n    {text}\n    -> {judged.why}"


def _draws(kinds: Sequence[str], folder: Path, whole: Path) -> dict[str, Draw]:
    """How trials of these kinds are drawn; for damaged files a study is trained first."""
    simple: dict[str, Draw] = {"config": configs.draw, "command": command_lines.draw}
    draws = {kind: simple[kind] for kind in kinds if kind in simple}
    if damaged := [kind for kind in kinds if kind not in simple]:
        started, numbers = time.perf_counter(), files.prepare(folder, whole)
        print(f"files: the study to damage is there after {time.perf_counter() - started:.0f} s", flush=True)
        draws |= {kind: partial(files.draw, whole=whole, numbers=numbers, flips=kind == "flips") for kind in damaged}
    return draws


def _parser() -> Parser:
    parser = Parser("lab.checks.fuzz", __doc__)
    parser.add_argument("--kind", choices=tuple(SHARES), action="append", help="of input; may be repeated (all)")
    parser.add_argument("--trials", type=int, default=1000, metavar="N", help="number of trials (%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of each kind's first (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what is drawn (%(default)s)")
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="trials at a time (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of CPU that a trial may take (%(default)s)")
    parser.add_argument("--workdir", type=Path, metavar="DIR", help="keeps the study to damage for the next time")
    parser.add_argument("--show", choices=OUTCOMES, help="print all inputs that ended so, with the reason")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 every input was answered, 1 some were not, 2 a user's mistake."""
    args = _parser().read(arguments)
    for name, least in (("trials", 1), ("first", 0), ("jobs", 1)):
        if getattr(args, name) < least:
            raise UserError(f"--{name}={getattr(args, name)} must be {least} or more.")
    if not 1 <= args.seconds <= 3600:
        raise UserError(f"--seconds={args.seconds:g} must lie in [1, 3600].")
    kinds = [kind for kind in SHARES if kind in (args.kind or SHARES)]
    whole = sum(SHARES[kind] for kind in kinds)
    numbers = {kind: max(1, round(args.trials * SHARES[kind] / whole)) for kind in kinds}
    for name in PROGRAM:
        module(name)
    started, counts = time.perf_counter(), {kind: Counter[str]() for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for kind, draw in _draws(kinds, Path(folder), (args.workdir or Path(folder, "whole")).resolve()).items():
            trials = drawn(kind, draw, args.seed, args.first, numbers[kind])
            for done, (trial, judged) in enumerate(run(trials, args.jobs, args.seconds, Path(folder)), start=1):
                counts[kind][judged.outcome] += 1
                if judged.outcome in (*FAILED, args.show):
                    print(shown(trial, judged), flush=True)
                if done % PROGRESS == 0:
                    print(f"{kind}: {done} of {numbers[kind]} trials", flush=True)
    failed = sum(of[outcome] for of in counts.values() for outcome in FAILED)
    print(f"\nseed {args.seed}, {time.perf_counter() - started:.0f} s\n{table(counts)}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
