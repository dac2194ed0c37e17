"""One process at work on a study: what was asked for, where it prints, what it has compiled, where its time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lab.engine import Plan, Programs
from lab.engine.progress import PLAIN_SECONDS, Meter, progress_for
from lab.engine.trainer import Trainer
from lab.jobs.options import Options
from lab.stop import Stop
from lab.storage import Store


@dataclass
class Session:
    """What the stages of a run share.

    Attributes:
      options: of the command line.
      console: where it prints.
      stop: whether someone asked this process to end.
      programs: compiled ones, and the layout that they are compiled for.
      notes: sentences that a person should see, for the report.
      seconds: activity -> how long it took so far, compilation apart.
    """

    options: Options
    console: Console
    stop: Stop
    programs: Programs
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The study's work directory."""
        return self.options.workdir

    def say(self, text: str) -> None:
        """Print a line, or lines, as they are: brackets in them are no markup."""
        self.console.print(Text(text))

    def note(self, text: str) -> None:
        """Print a sentence that a person should see."""
        self.console.print(Text(text, style="yellow"))

    def keep_note(self, text: str) -> None:
        """Print a sentence, and keep it for the report, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.note(text)

    def keep_notes(self, notes: Sequence[str]) -> None:
        """`keep_note` of each."""
        for note in notes:
            self.keep_note(note)

    def train(self, plan: Plan, store: Store) -> None:
        """Train what a store lacks of a plan.

        Raises:
          Stopped: if asked to, with everything saved.
        """
        if plan.is_trained(store.nodes):
            judges = self.options.shard is None and self.options.only != "train"
            self.say(f"Everything is trained{'; only the views are rebuilt' if judges else ''}.")
            return
        meter = Meter(plan.steps_shared(store.nodes), plan.cells_trained(), plan.cells_trained(store.nodes))
        with progress_for(meter, self.console) as progress, self.stop.holding():
            spare = 60 * self.options.save_minutes
            Trainer(plan, store, progress, self.programs, self.stop, spare_seconds=spare).run()

    @contextlib.contextmanager
    def timed(self, activity: str) -> Iterator[None]:
        """Add the time of a block, but for compilation, to `seconds`."""
        started, compiling = time.perf_counter(), self.programs.seconds
        yield
        spent = time.perf_counter() - started - (self.programs.seconds - compiling)
        self.seconds[activity] = self.seconds.get(activity, 0.0) + spent

    @contextlib.contextmanager
    def counter(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A one-line counter of cells: a status in a terminal, a line now and then elsewhere.

        Yields:
          a function to call with (cells done, cells in all).
        """
        if self.console.is_terminal:
            with self.console.status(Text(what)) as status:
                yield lambda done, total: status.update(Text(f"{what}: {done}/{total} cells"))
            return
        last = 0.0

        def count(done: int, total: int) -> None:
            nonlocal last
            if total and (done == total or time.monotonic() - last > PLAIN_SECONDS):
                last = time.monotonic()
                self.say(f"{what}: {done}/{total} cells")

        yield count
