"""What a failed read leaves under way ends in silence, however late; every other error is printed as before."""

import asyncio
import gc
import logging
import sys
from types import SimpleNamespace

import pytest
import tensorstore

from lab.storage import unfinished


@pytest.fixture
def printed(monkeypatch):
    """The errors that nothing could catch and the messages of the loggers, as far as they are printed."""
    found, handler = [], logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: found.append(str(unraisable.exc_value)))
    for name in unfinished.LOGGERS:
        for own, value in (("filters", []), ("handlers", [handler]), ("propagate", False)):
            monkeypatch.setattr(logging.getLogger(name), own, value)
    return found


def failed_while_another_waits(future):
    """The error of one of two operations, in a loop that is closed before the other ends, as Orbax runs them."""

    async def waits():
        await future

    async def fails():
        await asyncio.sleep(0)
        raise ValueError("damaged")

    async def both():
        await asyncio.gather(waits(), fails())

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(both())
    except ValueError as error:
        return error
    finally:
        loop.close()


def test_what_ends_after_the_loop_is_closed_is_not_printed(printed):
    promise, future = tensorstore.Promise.new()
    unfinished.forget([failed_while_another_waits(future)])
    promise.set_result(1)  # TensorStore reports to the closed loop
    assert printed == []


def test_every_other_error_is_printed(printed):
    class Fails:
        def __del__(self):
            raise ValueError("of mine")

    unfinished.forget([])
    unfinished.drop_late_messages()  # a second time changes nothing
    assert isinstance(sys.unraisablehook, unfinished._Hook)
    assert not isinstance(sys.unraisablehook.before, unfinished._Hook)
    Fails()
    gc.collect()
    sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError("another")))
    assert printed == ["of mine", "another"]


@pytest.mark.parametrize("name", unfinished.LOGGERS)
def test_messages_about_a_closed_loop_or_a_coroutine_of_orbax_are_dropped(name, printed):
    unfinished.drop_late_messages()
    for error in (RuntimeError(unfinished.CLOSED), ValueError("of mine")):
        logging.getLogger(name).error("exception calling callback", exc_info=error)
    for path in ("/site-packages/orbax/checkpoint/_src/loading.py:7", "/mine.py:7"):
        logging.getLogger(name).error("Task was destroyed but it is pending!\ntask: <Task running at %s>", path)
    assert printed == [
        "exception calling callback",
        "Task was destroyed but it is pending!\ntask: <Task running at /mine.py:7>",
    ]
