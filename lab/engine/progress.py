"""Shows a person how training advances: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import IO, Protocol

from rich import progress as rich_progress
from rich.console import Console
from rich.text import Text

PLAIN_SECONDS = 5.0  # between two plain lines


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Progress(Protocol):
    """Receives progress events from the trainer."""

    def compiled(self, what: str, seconds: float) -> None:
        """A program was compiled."""

    def note(self, text: str) -> None:
        """A note for a person."""

    def resumed(self, cell_steps: int) -> None:
        """That many cell-steps were already trained."""

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training advanced by that many cell-steps and finished that many of the study's cells."""


class Meter:
    """Counts cell-steps and cells; the rate and the time left are those of this run, without resumed cell-steps."""

    def __init__(self, cell_steps: int, cells: int, cells_done: int):
        self.total, self.cells, self.cells_done = cell_steps, cells, cells_done
        self.done = self.trained = 0
        self.busy = 0.0
        self._since: float | None = None

    def resumed(self, cell_steps: int) -> None:
        """A part of the total is already trained."""
        self.done += cell_steps

    def advanced(self, cell_steps: int, cells: int, now: float) -> None:
        """Training advanced."""
        if self._since is not None:
            self.busy += now - self._since
            self.trained += cell_steps
        self._since = now  # the first call after a pause has no beginning to count from
        self.done += cell_steps
        self.cells_done += cells

    def paused(self) -> None:
        """The time until now went to something else, such as a compilation."""
        self._since = None

    def line(self) -> str:
        """Cells done, rate, time left."""
        rate = self.trained / self.busy if self.busy else 0.0
        left = duration((self.total - self.done) / rate) if rate else "…"
        return f"{self.cells_done}/{self.cells} cells, {rate:,.0f} cell-steps/s, {left} left"


class Quiet:
    """Shows nothing."""

    def compiled(self, what: str, seconds: float) -> None:
        """A program was compiled."""

    def note(self, text: str) -> None:
        """Show a note to a person."""

    def resumed(self, cell_steps: int) -> None:
        """A part of the total is already trained."""

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training advanced."""


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
        """Show a note to a person."""
        self._print(text)

    def resumed(self, cell_steps: int) -> None:
        """A part of the total is already trained."""
        self.meter.resumed(cell_steps)

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training advanced."""
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
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("training"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[line]}", markup=False),
            rich_progress.TimeElapsedColumn(),
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
        self.console.print(Text(f"compiled {what} in {seconds:.1f} s", style="dim"))

    def note(self, text: str) -> None:
        """Show a note to a person."""
        self.console.print(Text(text, style="yellow"))

    def resumed(self, cell_steps: int) -> None:
        """A part of the total is already trained."""
        self.meter.resumed(cell_steps)

    def advanced(self, cell_steps: int, cells: int) -> None:
        """Training advanced."""
        self.meter.advanced(cell_steps, cells, time.monotonic())
        self.bar.update(self.task, completed=self.meter.done, line=self.meter.line())


def progress_for(meter: Meter, console: Console) -> PlainProgress | RichProgress:
    """The bar in a terminal, plain lines elsewhere."""
    return RichProgress(meter, console) if console.is_terminal else PlainProgress(meter, console.file)
