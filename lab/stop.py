"""A request to end this process (SIGTERM: preemption, a scheduler's limit, `kill`), and how it is answered."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

STOPPED = "stopped; nothing saved is lost: the same command continues."


class Stopped(BaseException):
    """Stopped on request, with everything saved. As with KeyboardInterrupt, no `except Exception` catches it."""


class Stop:
    """Whether someone asked this process to end.

    While work that must be saved is under way, the process saves before it ends. At any other time, or at the second
    request, it ends at once, which costs no more than a kill. It doesn't end by an exception: Python may run the signal
    handler in a callback that drops exceptions.
    """

    def __init__(self) -> None:
        self.asked = False
        self._holding = False

    def __call__(self) -> bool:
        """Whether to save and end."""
        return self.asked

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle SIGTERM in this process."""
        before = signal.signal(signal.SIGTERM, self._on_signal)
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

    def _on_signal(self, number: int, frame: Any) -> None:
        del number, frame
        if self.asked or not self._holding:
            with contextlib.suppress(Exception):  # whatever became of the terminal, the process ends
                os.write(sys.stderr.fileno(), f"\n{STOPPED}\n".encode())
            os._exit(os.EX_TEMPFAIL)
        self.asked = True
