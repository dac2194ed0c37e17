"""Runs trials, each in a process of its own with a limit on time and memory, and says how each ended.

This process imports the program once and forks a child for every trial: a child starts in milliseconds, and whatever
it does to modules, options and devices ends with it. Nothing may run on a device before the fork.

No room of the lab imports `run.py` or the analysis, and neither do the checks: a trial names the modules that it runs,
as a command line does (`module`).
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from lab.machine import least_addresses

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 30  # a child that waits ends after so many times its seconds of CPU; one that a busy machine starves doesn't
ROOM = 8 * 2**30  # bytes of address space that a child may add to what every run reserves

SENTENCE, ACCEPTED, SAME = "sentence", "accepted", "same"
UNEXPLAINED, SILENT, UNCLEAR, TRACEBACK, HANG = "unexplained", "silent change", "unclear", "traceback", "hang"
OUTCOMES = (SAME, SENTENCE, ACCEPTED, UNEXPLAINED, SILENT, UNCLEAR, TRACEBACK, HANG)
FAILED = (UNEXPLAINED, SILENT, UNCLEAR, TRACEBACK, HANG)


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
      status: its exit status; minus the signal that killed it.
      out, err: what it printed.
      folder: its working directory, which is deleted afterwards.
    """

    status: int
    out: str
    err: str
    folder: Path


@dataclass(frozen=True)
class Judged:
    """A trial's outcome, one of `OUTCOMES`, and why."""

    outcome: str
    why: str = ""


@dataclass(frozen=True)
class Trial:
    """One input.

    Attributes:
      name: by which it is drawn again, such as 'config 17'.
      text: the input, as a person would repeat it.
      carry_out: runs it in the current directory, an empty one; returns the exit status. Called in a child.
      judge: says what the way in which it ended means.
    """

    name: str
    text: str
    carry_out: Callable[[], int]
    judge: Callable[[Ended], Judged]


def module(name: str) -> ModuleType:
    """A module of the program by its name, such as 'run' or 'analysis.study'."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module(name)


def at_work() -> NoReturn:
    """End a child where a command would start what takes long: its input is accepted."""
    sys.stdout.flush()
    os._exit(0)


def answered(ended: Ended, why_harmless: Callable[[], str]) -> Judged:
    """The outcome of input that should end in one sentence with status 2, or be accepted.

    Args:
      ended: how the trial ended.
      why_harmless: called for input that was accepted; '' where there is no reason.
    """
    if judged := _broken(ended):
        return judged
    lines = ended.err.strip().splitlines()
    if ended.status == 2:
        one = len(lines) == 1 and lines[0].startswith("error: ")
        return Judged(SENTENCE, lines[0]) if one else Judged(UNCLEAR, "status 2, and not one sentence: " + _last(lines))
    if ended.status:
        return Judged(UNCLEAR, f"status {ended.status}: {_last(lines)}")
    if lines:
        return Judged(UNCLEAR, f"accepted, with '{_last(lines)}' on stderr")
    why = why_harmless()
    return Judged(ACCEPTED, why) if why else Judged(UNEXPLAINED, "accepted, and nothing says why that is harmless")


def _broken(ended: Ended) -> Judged | None:
    if ended.status in (-signal.SIGPROF, -signal.SIGALRM):
        return Judged(HANG, "it didn't end within its time")
    if "Traceback (most recent call last)" in ended.err + ended.out or ended.status < 0:
        return Judged(TRACEBACK, blamed(ended))
    return None


def _last(lines: Sequence[str]) -> str:
    return lines[-1][:300] if lines else "nothing was said"


def blamed(ended: Ended) -> str:
    """Where the last traceback ends in the project's own code, and its last line."""
    if ended.status < 0:
        return f"killed by {signal.Signals(-ended.status).name}"
    _, _, last = (ended.out + ended.err).rpartition("Traceback (most recent call last)")
    frames = re.findall(rf'File "{re.escape(str(ROOT))}/([^"]+)", line (\d+)', last)
    where = f"{frames[-1][0]}, line {frames[-1][1]}: " if frames else ""
    error = next((line for line in last.splitlines()[1:] if line and not line.startswith(" ")), "")
    return f"{where}{error[:300]}"


def read_back(ended: Ended, differs: bool, named: bool) -> Judged:
    """The outcome of a damaged file.

    Args:
      ended: how reading it ended.
      differs: whether the numbers aren't those of the whole directory.
      named: whether what was printed names the file or a directory of it.
    """
    if judged := _broken(ended):
        return judged
    lines = ended.err.strip().splitlines()
    if ended.status == 2 and len(lines) == 1:
        return Judged(SENTENCE, lines[0])
    if ended.status:
        return Judged(UNCLEAR, f"status {ended.status}: {_last(lines)}")
    if not differs:
        return Judged(SAME)
    return Judged(SENTENCE, "other numbers, and the file is named") if named else Judged(SILENT, "other numbers")


def run(
    trials: Iterable[Trial], jobs: int, seconds: float, folder: Path | None = None
) -> Iterator[tuple[Trial, Judged]]:
    """Each trial with its outcome, in the order in which they end.

    Args:
      trials: to run.
      jobs: how many at a time.
      seconds: of CPU that each may take; see `PATIENCE` for one that waits.
      folder: where their directories are made; the system's by default.
    """
    waiting, running = iter(trials), dict[int, tuple[Trial, Path]]()
    while True:
        while len(running) < jobs and (trial := next(waiting, None)) is not None:
            where = Path(tempfile.mkdtemp(prefix="fuzz-", dir=folder))
            running[start(trial.carry_out, where, seconds)] = trial, where
        if not running:
            return
        process, status = os.waitpid(-1, 0)
        if process in running:
            trial, where = running.pop(process)
            try:
                yield trial, trial.judge(ended(where, status))
            finally:
                shutil.rmtree(where, ignore_errors=True)


def ended(folder: Path, status: int) -> Ended:
    """What `os.waitpid` and the files of a child say."""
    out, error = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))
    return Ended(os.waitstatus_to_exitcode(status), out, error, folder)


def start(carry_out: Callable[[], int], folder: Path, seconds: float) -> int:
    """Fork a child that carries something out in <folder>/work and prints to files next to that; its process id."""
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX warns of threads, which there are none of before a device is used
        process = os.fork()
    if process:
        return process
    status = 1
    try:
        _enter(folder, seconds)
        status = carry_out()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status or 0)  # taking the interpreter down costs more than the trial


def _enter(folder: Path, seconds: float) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    (folder / "work").mkdir()
    os.chdir(folder / "work")
    signal.setitimer(signal.ITIMER_PROF, seconds)  # the kernel kills: no handler of Python's has to run
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)
    if (used := _address_space()) > 0:
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + least_addresses() + ROOM, most))


def _address_space() -> int:
    """Bytes of this process's address space; 0 where the system doesn't say (no Linux)."""
    status = Path("/proc/self/statm")
    return int(status.read_text(encoding="utf-8").split()[0]) * resource.getpagesize() if status.exists() else 0


def finish(carry_out: Callable[[], int], seconds: float, folder: Path) -> Ended:
    """Carry out one thing in a child, to its end."""
    _, status = os.waitpid(start(carry_out, folder, seconds), 0)
    return ended(folder, status)
