"""What a failed operation of Orbax leaves under way: dropped without a word, as the caller's sentence says all of it.

Orbax closes its event loop as soon as one of several reads or writes has failed. The others end later, in threads of
TensorStore's: each reports to a closed loop, which is an error that nothing catches, and then frees tasks whose own
errors nobody asked for. How soon that is depends on the machine's load, so it is silent until the process ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CLOSED = "Event loop is closed"
ORBAX = "/orbax/checkpoint/"  # in the path of its code


def forget(failed: list[Exception]) -> None:
    """Drop errors of reads and saves, and silently what they hold: tasks that Orbax leaves unfinished in a closed loop.

    The garbage collector would find them at some other moment, and asyncio, the interpreter and the warnings would then
    print pages. What ends later is dropped then.
    """
    drop_late_messages()
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine was never awaited
            failed.clear()
            gc.collect()
    finally:
        sys.unraisablehook = before


def drop_late_messages() -> None:
    """From now on, print nothing about what ends in an event loop that is closed now, in whatever thread.

    Every other error is printed as before: one of another event loop, or of no loop at all.
    """
    for found in gc.get_objects():
        if issubclass(type(found), asyncio.BaseEventLoop) and found.is_closed():  # isinstance fails at a dead proxy
            found.set_exception_handler(lambda loop, context: None)  # what the tasks of a loop report when they go
    logging.getLogger("concurrent.futures").addFilter(_is_news)  # once: the same filter is not added again
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


@dataclass(frozen=True)
class _Hook:
    """Hands errors that nothing could catch on to the hook before, but for those of what Orbax left."""

    before: Callable[[Any], Any]

    def __call__(self, unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of a coroutine that is freed
        if not _is_of_closed_loop(unraisable.exc_value) and ORBAX not in getattr(code, "co_filename", ""):
            self.before(unraisable)


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and _is_of_closed_loop(record.exc_info[1]))


def _is_of_closed_loop(error: object) -> bool:
    return isinstance(error, RuntimeError) and str(error) == CLOSED
