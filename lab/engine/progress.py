"""What a person sees while a study trains: rich in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_SECONDS = 5.0  # between two plain lines


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Meter:
    """Counts cell-steps and cells; rate and time left are of this run only, not of what was resumed."""

    def __init__(self, cell_steps: int, cells: int, cells_done: int):
        self.total, self.cells, self.cells_done = cell_steps, cells, cells_done
        self.done = self.trained = 0
        self.busy = 0.0
        self._since: float | None = None

    def resumed(self, cell_steps: int) -> None:
        """Part of the total was already trained."""
        self.done += cell_steps

    def advanced(self, cell_steps: int, cells: int, now: float) -> None:
        """Training went on."""
        if self._since is not None:
            self.busy += now - self._since
            self.trained += cell_steps
        self._since = now  # the first call after a pause has no beginning to count from
        self.done += cell_steps
        self.cells_done += cells

    def paused(self) -> None:
        """Something else took the time until now: a compilation, say."""
        self._since = None

    def line(self) -> str:
        """Cells done, rate, time left."""
        rate = self.trained / self.busy if self.busy else 0.0
        left = duration((self.total - self.done) / rate) if rate else "…"
        return f"{self.cells_done}/{self.cells} cells, {rate:,.0f} cell-steps/s, {left} left"


class Quiet:
    """Says nothing."""

    def compiled(self, what: str, seconds: float) -> None:
        """A program was compiled."""

    def note(self, text: str) -> None:
        """Something that a person should know."""

    def resumed(self, cell_steps: int) -> None:
        """Part of the total was already trained."""

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training went on."""


class PlainProgress:
    """Lines for a log file or a pipe."""

    def __init__(self, meter: Meter, out: IO[str] | None = None):
        self.meter, self.out = meter, out or sys.stdout
        self._last = 0.0

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._print(f"trained: {self.meter.line()}")

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)

    def compiled(self, what: str, seconds: float) -> None:
        """A program was compiled."""
        self.meter.paused()
        self._print(f"compiled {what} in {seconds:.1f} s")

    def note(self, text: str) -> None:
        """Something that a person should know."""
        self._print(text)

    def resumed(self, cell_steps: int) -> None:
        """Part of the total was already trained."""
        self.meter.resumed(cell_steps)

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training went on."""
        now = time.monotonic()
        self.meter.advanced(cell_steps, cells, now)
        if now - self._last > PLAIN_SECONDS:
            self._last = now
            share = self.meter.done / max(self.meter.total, 1)
            self._print(f"training {share:4.0%}  {self.meter.line()}")


class RichProgress:
    """A bar in a terminal."""

    def __init__(self, meter: Meter, console: Console):
        self.meter, self.console = meter, console
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[line]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self.task = self.bar.add_task("training", total=meter.total, line="compiling")

    def __enter__(self) -> RichProgress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def compiled(self, what: str, seconds: float) -> None:
        """A program was compiled."""
        self.meter.paused()
        self.console.print(f"compiled {what} in {seconds:.1f} s", style="dim")

    def note(self, text: str) -> None:
        """Something that a person should know."""
        self.console.print(text, style="yellow")

    def resumed(self, cell_steps: int) -> None:
        """Part of the total was already trained."""
        self.meter.resumed(cell_steps)

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training went on."""
        self.meter.advanced(cell_steps, cells, time.monotonic())
        self.bar.update(self.task, completed=self.meter.done, line=self.meter.line())


def progress_for(meter: Meter, console: Console) -> PlainProgress | RichProgress:
    """The bar in a terminal, plain lines otherwise."""
    return RichProgress(meter, console) if console.is_terminal else PlainProgress(meter, console.file)
