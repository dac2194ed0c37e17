"""What a failed read leaves under way ends in silence, however late; every other error is printed as before."""

import asyncio
import gc
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorstore

from lab.storage import checkpoint, unfinished
from tests.lab.storage.test_paths import saved_in

LOGGERS = ("absl", "asyncio", "concurrent.futures")


@pytest.fixture
def printed(monkeypatch):
    """The errors that nothing could catch and the messages of the loggers, as far as they are printed."""
    found, handler = [], logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage().splitlines()[0])
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: found.append(str(unraisable.exc_value)))
    for name in LOGGERS:
        for own, value in (("filters", []), ("handlers", [handler]), ("propagate", False)):
            monkeypatch.setattr(logging.getLogger(name), own, value)
    return found


def fail_while_others_wait(make_loop, *futures):
    """One of several operations fails, in a loop that is closed before the others end, as Orbax runs them."""

    async def fails():
        raise ValueError("damaged")

    async def all_of_them():
        waiting = [asyncio.ensure_future(future) for future in futures]
        also_failed = asyncio.ensure_future(fails())
        waiting[0].add_done_callback(lambda _, held=also_failed: held)  # as by a gather of both
        await asyncio.sleep(0)
        await fails()

    loop = make_loop()
    try:
        loop.run_until_complete(all_of_them())
    finally:
        loop.close()


LOOPS = [asyncio.new_event_loop, pytest.importorskip("uvloop").new_event_loop]  # Orbax takes both


@pytest.mark.parametrize("early", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize("make_loop", LOOPS)
def test_what_reports_to_the_closed_loop_is_not_printed(make_loop, early, printed):
    promise, future = tensorstore.Promise.new()
    failed = []
    try:
        with checkpoint._operation(Path("anywhere")):
            try:
                fail_while_others_wait(make_loop, future)
            finally:
                if early:  # before the failure is known
                    promise.set_result(1)
                    del future
    except ValueError as error:
        failed.append(error)
    unfinished.forget(failed)
    promise.set_result(1) if not early else None  # TensorStore reports to the closed loop, and frees what waited for it
    del promise
    gc.collect()
    assert printed == []


def test_every_other_error_is_printed(printed):
    class Fails:
        def __del__(self):
            raise ValueError("of mine")

    async def fails():
        raise ValueError("of a task of mine")

    async def leaves_it():
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0.01)
        del task

    for _ in range(2):  # a second time changes nothing
        with unfinished.silent_leftovers():
            pass
    assert isinstance(sys.unraisablehook, unfinished._Hook)
    assert not isinstance(sys.unraisablehook.before, unfinished._Hook)
    Fails()
    asyncio.run(leaves_it())
    gc.collect()
    sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError("another"), object=None))
    logging.getLogger("concurrent.futures").error("exception calling callback", exc_info=ValueError("of mine"))
    assert printed == ["of mine", "Task exception was never retrieved", "another", "exception calling callback"]


def test_late_messages_of_threads_and_of_coroutines_of_orbax_are_dropped(printed):
    with unfinished.silent_leftovers():
        logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: …")
    closed = RuntimeError(unfinished.CLOSED)
    logging.getLogger("concurrent.futures").error("exception calling callback", exc_info=closed)
    code = SimpleNamespace(co_filename="/site-packages/orbax/checkpoint/_src/loading.py")
    ignored = RuntimeError("coroutine ignored GeneratorExit")
    sys.unraisablehook(SimpleNamespace(exc_value=ignored, object=SimpleNamespace(cr_code=code)))
    assert printed == []


def test_orbax_does_not_print_the_contents_of_a_damaged_index(printed, tmp_path, monkeypatch):
    """The command silences absl; a process that only reads doesn't."""
    monkeypatch.setattr(logging.getLogger("absl"), "level", logging.ERROR)
    index = saved_in(tmp_path).path / "_CHECKPOINT_METADATA"
    index.write_text(index.read_text().replace(":", "=", 1))
    found, damaged = checkpoint.scan(tmp_path)
    assert (found, len(damaged)) == ({}, 1)
    logging.getLogger("absl").error("of another")
    assert printed == ["of another"]
