"""How a run ends: its status, and one sentence that advises rightly."""

import errno

import pytest

from lab.errors import UserError
from lab.jobs import exit_status as ending
from lab.jobs.exit_status import exit_status
from lab.stop import Stopped


def ended_by(error, capsys):
    def run(_stop):
        raise error

    return exit_status(run), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("--plam: no such option."), 2, "error: --plam: no such option.\n"),
        (OSError(errno.ENOSPC, "", "r/report.md"), 2, "r/report.md: No space left on device; free some space there."),
        (OSError(errno.EMFILE, ""), 2, "error: Too many open files; raise the limit"),
        (MemoryError(), 2, "no memory is left for this run. Nothing saved is lost"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), 2, "--chunk"),
        (RuntimeError("std::bad_alloc"), 2, "no memory is left"),
        (UserError("no field 'a\nb\x1b[31m'."), 2, "no field 'a b?[31m'."),
        (Stopped(), 75, "the same command continues"),
        (KeyboardInterrupt(), 130, "the same command continues"),
    ],
)
def test_a_run_ends_in_one_sentence(error, status, said, capsys):
    found, written = ended_by(error, capsys)
    assert found == status
    assert said in written
    assert len(written.strip().splitlines()) == 1


@pytest.mark.parametrize(("number", "passes"), [("ENOSPC", True), ("ENAMETOOLONG", False), ("ENOTDIR", False)])
def test_the_same_command_is_advised_only_where_it_can_succeed(number, passes, capsys):
    _, written = ended_by(OSError(getattr(errno, number), "", "x"), capsys)
    assert ("same command" in written) == passes


def test_what_reads_the_output_may_end(capsys, monkeypatch):
    monkeypatch.setattr(ending, "output_closed", lambda: 141)
    status, written = ended_by(BrokenPipeError(errno.EPIPE, ""), capsys)
    assert status == 141
    assert "print to a file" in written


def test_a_mistake_of_the_program_is_not_hidden():
    def run(_stop):
        raise RuntimeError("a mistake of the program")

    with pytest.raises(RuntimeError, match="a mistake of the program"):
        exit_status(run)
