"""What a failed operation of Orbax leaves under way: dropped without a word, as the caller's sentence says all of it.

Orbax closes its event loop as soon as one of several reads or writes has failed. The others end later, in threads of
TensorStore's, each with an error that nothing catches: the loop that it reports to is closed.
"""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CLOSED = "Event loop is closed"
LOGGERS = ("asyncio", "concurrent.futures")
ORBAX = "/orbax/checkpoint/"  # in the path of a coroutine that a message is about


def forget(failed: list[Exception]) -> None:
    """Drop errors of reads and saves, and silently what they hold: tasks that Orbax leaves unfinished in a closed loop.

    The garbage collector would find them at some other moment, and asyncio, the interpreter and the warnings would then
    print pages. What ends later is dropped then, see `drop_late_messages`.
    """
    drop_late_messages()
    logger = logging.getLogger("asyncio")
    before, logger.disabled = (logger.disabled, sys.unraisablehook), True
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a coroutine was never awaited
            failed.clear()
            gc.collect()
    finally:
        logger.disabled, sys.unraisablehook = before


def drop_late_messages() -> None:
    """From now on, print nothing about what ends in a closed event loop, in whatever thread; all else as before.

    How soon it ends depends on the machine's load, so this lasts until the process ends.
    """
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_is_news)  # once: the same filter is not added again
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


@dataclass(frozen=True)
class _Hook:
    """Hands errors that nothing could catch on to the hook before, but for those of a closed event loop."""

    before: Callable[[Any], Any]

    def __call__(self, unraisable: Any) -> None:
        if not _is_of_closed_loop(unraisable.exc_value):
            self.before(unraisable)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not _is_of_closed_loop(error) and ORBAX not in record.getMessage()


def _is_of_closed_loop(error: object) -> bool:
    return isinstance(error, RuntimeError) and str(error) == CLOSED
