"""Saves in the background, while training continues."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from lab.stop import Stopped

Result = TypeVar("Result")
SPARE_SECONDS = 600.0  # the most that a kill costs, whatever steps a study keeps


class Saver:
    """Writes in a thread of its own while training continues: one save at a time, in the order of the requests."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._last: Future[Any] | None = None

    def __call__(self, job: Callable[[], Result]) -> Future[Result]:
        """Request a save, once the one before is done.

        Raises:
          whatever the save before raised: training doesn't continue without it.
        """
        if self._last is not None:
            self._last.result()
        self._last = future = self._thread.submit(job)
        return future

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let the last save finish, also when training ended by an exception.

        A request to stop doesn't hide that the last save failed; any other exception does.
        """
        self._thread.shutdown(wait=True)
        if self._last is not None and (kind is None or issubclass(kind, Stopped)):
            self._last.result()
