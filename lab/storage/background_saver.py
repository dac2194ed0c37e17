"""When to save and how: in the background, now and then between the steps that are kept, and before stopping."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from lab.errors import Stopped

Result = TypeVar("Result")
STOPPED = "stopped; nothing saved is lost: the same command goes on."
SPARE_SECONDS = 600.0  # the most that a kill costs, whatever steps a study keeps


class Saver:
    """Writes in a thread of its own while training goes on: one save at a time, in the order they were asked for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._last: Future[Any] | None = None

    def __call__(self, job: Callable[[], Result]) -> Future[Result]:
        """Ask for a save, once the one before is done.

        Raises:
          whatever the save before raised: training doesn't go on without it.
        """
        if self._last is not None:
            self._last.result()
        self._last = future = self._thread.submit(job)
        return future

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the last save finish, also when training ended by an exception; a stop is none if that save failed."""
        self._thread.shutdown(wait=True)
        if self._last is not None and (kind is None or issubclass(kind, Stopped)):
            self._last.result()


class Stop:
    """Whether someone asked this process to end (SIGTERM: preemption, a scheduler's limit, `kill`).

    While something must be saved first, it is asked for; otherwise, or when told twice, the process ends at once, which
    costs no more than a kill. It doesn't end by an exception: Python may run the handler in a callback that drops it.
    """

    def __init__(self) -> None:
        self.asked = False
        self._holding = False

    def __call__(self) -> bool:
        """Whether to save and end."""
        return self.asked

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take SIGTERM's place in this process."""
        before = signal.signal(signal.SIGTERM, self._told)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """For work that asks whether to stop, and saves before it does.

        Raises:
          Stopped: once the work is done, if someone asked meanwhile.
        """
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self.asked:
            raise Stopped

    def _told(self, number: int, frame: Any) -> None:
        del number, frame
        if self.asked or not self._holding:
            os.write(sys.stderr.fileno(), f"\n{STOPPED}\n".encode())
            os._exit(os.EX_TEMPFAIL)
        self.asked = True
