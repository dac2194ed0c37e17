"""What a failed operation of Orbax leaves under way: dropped without a word, as the caller's sentence says all of it.

Orbax closes its event loop as soon as one of several reads or writes has failed. The others end later, in threads of
TensorStore's: each reports to a closed loop, which is an error that nothing catches, and then frees tasks whose own
errors nobody asked for. How soon that is depends on the machine's load, so it is silent until the process ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CLOSED = "Event loop is closed"
ORBAX = "/orbax/checkpoint/"  # in the path of its code


@contextlib.contextmanager
def silent_leftovers() -> Iterator[None]:
    """Around an operation: what it leaves in a closed event loop prints nothing, now or later, in whatever thread.

    Nor does Orbax print the contents of what it can't read, which a process that only reads would show. Every other
    error is printed as before, but for what tasks of other loops report meanwhile.
    """
    logging.getLogger("concurrent.futures").addFilter(_is_news)  # once: the same filter is not added again
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(_is_of_others)  # some tasks end before the failure is known
    try:
        yield
    except Exception:
        for found in gc.get_objects():
            if issubclass(type(found), asyncio.AbstractEventLoop) and found.is_closed():  # no isinstance: dead proxies
                found.set_exception_handler(lambda loop, context: None)
        raise
    finally:
        for logger in loggers:
            logger.removeFilter(_is_of_others)


def forget(failed: list[Exception]) -> None:
    """Drop errors of reads and saves, and silently what they hold: tasks that Orbax leaves unfinished in a closed loop.

    The garbage collector would find them at some other moment, and the interpreter and the warnings would then print
    pages.
    """
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine was never awaited
            failed.clear()
            gc.collect()
    finally:
        sys.unraisablehook = before


@dataclass(frozen=True)
class _Hook:
    """Hands errors that nothing could catch on to the hook before, but for those of what Orbax left."""

    before: Callable[[Any], Any]

    def __call__(self, unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of a coroutine that is freed
        if not _is_of_closed_loop(unraisable.exc_value) and ORBAX not in getattr(code, "co_filename", ""):
            self.before(unraisable)


def _is_of_others(record: logging.LogRecord) -> bool:
    of_task = any(words in record.getMessage() for words in ("was never retrieved", "was destroyed but it is pending"))
    return not of_task and ORBAX not in record.pathname


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.exc_info and _is_of_closed_loop(record.exc_info[1]))


def _is_of_closed_loop(error: object) -> bool:
    return isinstance(error, RuntimeError) and str(error) == CLOSED
