"""Kills a study's run over and over and checks that it ends as if nothing had happened.

    python -m lab.checks.kill_test --config=tests/tiny_study.py --workdir=runs/kills --kills=50

The study is run once to its end, then again in another directory, where every process is killed (SIGKILL) at a random
moment and the same command started again. A run that gets to its end is compared with the first one, to the byte, and
the next starts from nothing, until all kills are spent. Options that are not listed go to run.py.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lab.errors import Parser, UserError, command

RUN = Path(__file__).resolve().parents[2] / "run.py"
TEMPORARY = "checkpoints/*/*orbax-checkpoint-tmp*"  # Orbax renames a directory of another name when it is whole
Watch = Callable[[Path], Callable[[], bool]]  # a work directory before a process starts -> whether the moment has come


def fresh(pattern: str) -> Watch:
    """A path of that pattern appeared, or was replaced."""

    def watch(workdir: Path) -> Callable[[], bool]:
        before = _stamps(workdir, pattern)
        return lambda: any(before.get(path) != stamp for path, stamp in _stamps(workdir, pattern).items())

    return watch


def _stamps(workdir: Path, pattern: str) -> dict[Path, int]:
    try:
        return {path: path.stat().st_ino for path in workdir.glob(pattern)}
    except FileNotFoundError:  # deleted meanwhile
        return {}


# The event that a kill waits for, and up to how many seconds it waits longer.
MOMENTS: Mapping[str, tuple[Watch, float]] = {
    "start": (lambda workdir: lambda: True, 4.0),
    "compile": (fresh("study.json"), 4.0),
    "train": (fresh("checkpoints/*/*/params"), 4.0),
    "chunk": (fresh("checkpoints/*"), 0.5),
    "save": (fresh(TEMPORARY), 0.02),
    "measure": (fresh("readings/*.json"), 2.0),
    "views": (fresh("results.csv"), 0.5),
}


def start(study: Sequence[str], workdir: Path, output: int) -> subprocess.Popen[str]:
    """The command on a work directory, as a process of its own."""
    return subprocess.Popen([*study, f"--workdir={workdir}"], stdout=output, stderr=subprocess.STDOUT, encoding="utf-8")


def finish(study: Sequence[str], workdir: Path) -> str:
    """Run to the end; what was printed.

    Raises:
      UserError: if it fails.
    """
    process = start(study, workdir, subprocess.PIPE)
    try:
        out, _ = process.communicate()
    finally:
        process.kill()
    if process.returncode:
        last = out.strip().splitlines()[-1:] or ["nothing was printed"]
        raise UserError(f"the run in {workdir} ended with exit status {process.returncode}: {last[0]}")
    return out


def killed_at(study: Sequence[str], workdir: Path, moment: str, later: float) -> bool:
    """Start the command and kill it some seconds after a moment; False where it got to its end before.

    Raises:
      UserError: if it fails by itself.
    """
    there = MOMENTS[moment][0](workdir)
    process = start(study, workdir, subprocess.DEVNULL)
    try:
        while process.poll() is None and not there():
            time.sleep(0.005)
        process.wait(later)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
    status = process.wait()
    if status > 0:
        raise UserError(f"the run in {workdir} ended with exit status {status} by itself; rerun it to see why.")
    return status < 0


def numbers(workdir: Path) -> dict[str, bytes]:
    """The files that must not depend on kills: the results, the verdicts and the figures."""
    figures = sorted((workdir / "figures").iterdir()) if (workdir / "figures").is_dir() else []
    files = [workdir / "results.csv", workdir / "verdicts.json", *figures]
    return {file.name: file.read_bytes() for file in files}


def differences(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> Iterator[str]:
    """A line for each file that isn't the same, with the first line that differs."""
    for name in sorted({*expected, *found}):
        pair = [files.get(name, b"").splitlines() for files in (expected, found)]
        lines = enumerate(itertools.zip_longest(*pair, fillvalue=b"(no such line)"), 1)
        number, (there, here) = next(((n, both) for n, both in lines if both[0] != both[1]), (0, (b"", b"")))
        if number or expected.get(name) != found.get(name):
            yield f"{name}, line {number}: {there[:200]!r} without kills, {here[:200]!r} with them"


def moments(seed: int) -> Iterator[tuple[str, float]]:
    """An endless series of moments and seconds after them; every moment comes once before any comes again."""
    draw = random.Random(seed)
    while True:
        for moment in draw.sample(sorted(MOMENTS), len(MOMENTS)):
            yield moment, draw.uniform(0.0, MOMENTS[moment][1])


def loop(
    study: Sequence[str], workdir: Path, kills: int, drawn: Iterator[tuple[str, float]], report: Callable[[str], None]
) -> list[str]:
    """Spend the kills. Returns what differs, nothing where all runs ended in the same bytes.

    Args:
      study: its command line, without --workdir.
      workdir: gets the directories `whole` and `killed`; both stay where something differs.
      kills: how many.
      drawn: moments, see `moments`.
      report: called with a line for every event.
    """
    whole, killed = workdir / "whole", workdir / "killed"
    finish(study, whole)
    expected, hits, half_written, ended = numbers(whole), Counter[str](), 0, 0
    while True:
        moment, later = next(drawn)
        if sum(hits.values()) < kills:
            if killed_at(study, killed, moment, later):
                hits[moment] += 1
                half_written += any(killed.glob(TEMPORARY))
                report(f"kill {sum(hits.values())} of {kills}: {later:.2f} s after '{moment}'")
                continue
        else:
            finish(study, killed)
        ended += 1
        if different := list(differences(expected, numbers(killed))):
            return different
        report(f"run {ended} got to its end: the same bytes")
        if sum(hits.values()) == kills:
            break
        shutil.rmtree(killed)
    counts = ", ".join(f"{moment} {hits[moment]}" for moment in MOMENTS)
    report(f"{kills} kills in {ended} runs ({counts}); {half_written} left a half-written checkpoint: same bytes")
    return []


def _parser() -> Parser:
    parser = Parser("lab.checks.kill_test", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE", help="the study's file, optionally ':variant'")
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR", help="a directory that doesn't exist yet")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="number of kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random moments (%(default)s)")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 the same bytes, 1 other bytes, 2 a user's mistake."""
    args, rest = _parser().parse_known_args(arguments)
    if args.kills < 1:
        raise UserError(f"--kills={args.kills} must be 1 or more.")
    if args.workdir.exists():
        raise UserError(f"--workdir={args.workdir} exists; name a directory that doesn't.")
    study = [sys.executable, str(RUN), f"--config={args.config}", *rest]
    different = loop(study, args.workdir, args.kills, moments(args.seed), lambda text: print(text, flush=True))
    print(*different, sep="\n", end="\n" if different else "")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
