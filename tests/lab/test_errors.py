"""What the system refused, in one sentence that advises rightly; output that any terminal takes; text on one line."""

import errno
import io
import os
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lab import errors
from lab.errors import Parser, UserError, command, printable, refusal, refused_as, system_sentence, use_any_terminal
from lab.jobs.options import Options
from lab.stop import Stop

ROOT = Path(__file__).parents[2]
CONTINUES = "the same command then continues"


@pytest.mark.parametrize(
    ("number", "advice", "passes"),
    [
        ("ENOSPC", "free some space", True),
        ("EDQUOT", "quota", True),
        ("EIO", "the disk", True),
        ("ESTALE", "wait until the server", True),
        ("ENAMETOOLONG", "a shorter path", False),
        ("ENOTDIR", "name another directory", False),
        ("EACCES", "ask for the right", False),
        ("EPERM", "ask for the right", False),
        ("EROFS", "on another file system", False),
        ("EMFILE", "ulimit -n", False),
        ("ENFILE", "end other programs", True),
        ("ENOLCK", "a local disk", False),
        ("ENOTSUP", "a local disk", False),
        ("ENODEV", "attach it again", True),
        ("ELOOP", "without them", False),
        ("ENOENT", "restore it", False),
        ("EISDIR", "move it away", False),
        ("EEXIST", "move it away", False),
        ("EFBIG", "ulimit -f", False),
        ("ENOMEM", "ulimit -v", True),
    ],
)
def test_every_refusal_has_its_own_advice_and_only_what_may_pass_is_tried_again(number, advice, passes):
    error = OSError(getattr(errno, number), "", "runs/x")
    sentence = system_sentence(error, resumes=True)
    assert sentence.startswith(f"runs/x: {os.strerror(error.errno)}; ")
    assert advice in sentence
    assert (CONTINUES in sentence) == passes
    assert CONTINUES not in system_sentence(error)  # a command that keeps nothing to continue from
    assert sentence.count("\n") == 0


def test_an_unknown_refusal_advises_nothing():
    assert system_sentence(OSError(errno.EDOM, ""), resumes=True) == f"{os.strerror(errno.EDOM)}."
    assert refusal(OSError("what a library wrote")) == "what a library wrote"


def test_the_cause_is_found_where_a_library_passes_it_on():
    text = "RESOURCE_EXHAUSTED: Error writing local file [OS error 28: ENOSPC No space left on device]"
    assert refused_as(ValueError(text)) == errno.ENOSPC
    outer = ValueError("save failed")
    outer.__cause__ = ExceptionGroup("several", [OSError(errno.EMFILE, "")])
    assert refused_as(outer) == errno.EMFILE
    assert refused_as(ValueError("OS errors are many")) is None


def test_a_command_says_a_refusal_in_one_sentence(capsys):
    @command
    def main(arguments):
        raise OSError(errno.ENAMETOOLONG, "", arguments[0])

    assert main(["x"]) == 2
    assert capsys.readouterr().err == "error: x: File name too long; name a directory with a shorter path.\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_no_character_ends_a_command_on_a_terminal_that_lacks_it(encoding, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    import run

    assert run.main(["run.py", "--help"]) == 0
    assert run.run(Options(list="metrics"), Console(width=200), Stop(), []) == 0
    print("0 → 1 ✓ \udcff é")
    out.flush()
    assert out.buffer.getvalue().decode(encoding).endswith("0 ? 1 ? ? " + ("?" if encoding == "ascii" else "é") + "\n")


def test_a_terminal_that_takes_every_character_is_left_as_it_is(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None)  # closed by the caller
    use_any_terminal()
    assert out.errors == "surrogateescape"
    print("thrown away", file=sys.stderr)
    sys.stderr.close()


def test_text_on_one_line():
    assert printable("a\nb\x1b[31mc\udcffd é →") == "a b?[31mc?d é →"


def test_what_reads_the_output_may_end(monkeypatch, capsys):
    monkeypatch.setattr(errors, "output_closed", lambda: 141)

    @command
    def main(arguments):
        raise BrokenPipeError(errno.EPIPE, "")

    assert main([]) == 141
    assert capsys.readouterr().err == ""


def test_text_is_read_and_written_as_utf_8_whatever_the_locale():
    """Where a call names no encoding, the locale's is taken."""
    rooms = [path for room in ("tasks", "lab", "analysis", "ablations") for path in (ROOT / room).rglob("*.py")]
    found = []
    for file in [*rooms, ROOT / "run.py"]:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(r"\.(read|write)_text\(|\btext=True", line) and "encoding=" not in line:
                found.append(f"{file.name}:{number}")
    assert not found


@pytest.mark.parametrize("arguments", [["--out=--"], ["--out=--", "work"], ["-o=--"]])
def test_two_dashes_are_no_value(arguments):
    """Of them argparse makes an empty list, whatever the option is for."""
    parser = Parser("nothing", "About.")
    parser.add_argument("--out", "-o")
    parser.add_argument("work", nargs="?")
    with pytest.raises(UserError, match="needs a value"):
        parser.read(arguments)
    assert parser.read(["--", "--out"]).work == "--out"  # alone they end the options
