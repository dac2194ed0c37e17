"""A user's mistake or a refusal of the system, each in one sentence, and the command lines that report them."""

import argparse
import difflib
import errno
import functools
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

LISTED = 40  # valid names in a sentence, where none is near


class UserError(ValueError):
    """Bad input. The message names the file or field and the fix; commands print it without a traceback."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """'Nearest: a, b.' for the valid names closest to `name` whatever their case, or all of them when none is close."""
    valid = sorted(valid)
    found = difflib.get_close_matches(str(name).casefold(), {each.casefold() for each in valid}, n=3, cutoff=0.5)
    close = [each for one in found for each in valid if each.casefold() == one]
    more = f", … ({len(valid)} in all)" if len(valid) > LISTED else ""
    return f"Nearest: {', '.join(close)}." if close else f"Valid: {', '.join(valid[:LISTED])}{more}."


def shown(value: object) -> str:
    """A value as a sentence shows it: on one line, and cut where it is long."""
    plain = value.to_dict() if hasattr(value, "to_dict") else value  # type: ignore[attr-defined]
    try:
        text = repr(plain)
    except Exception:  # whatever an object of the user's raises; of a whole number, that it has too many digits
        text = f"(a value of type {type(value).__name__} that can't be printed)"
    return clipped(text)


def clipped(text: str, most: int = 100) -> str:
    """A text on one line, at most so many characters of it."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


_LACKS = "the file system lacks what is needed, such as locks; name a directory on another one, such as a local disk"
# What helps against each refusal of the operating system.
HELP = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on a file's size (`ulimit -f`), or name a directory on another file system",
    errno.ENAMETOOLONG: "name a directory with a shorter path",
    errno.ENOTDIR: "a file or a device stands where a directory belongs; name another directory",
    errno.EEXIST: "something of another kind has that name; move it away, or name another directory",
    errno.EISDIR: "a directory stands where a file belongs; move it away, or name another",
    errno.ENOTEMPTY: "a directory stands where a file belongs; move it away, or name another",
    errno.ENOENT: "a directory on the path is missing or was moved away; restore it, or name another",
    errno.ENXIO: "a device stands where a directory belongs; name another directory",
    errno.ENODEV: "the device is gone; attach it again, or name another directory",
    errno.EACCES: "you may not read or write there; ask for the right to, or name another directory",
    errno.EPERM: "you may not read or write there; ask for the right to, or name another directory",
    errno.EROFS: "nothing can be written there; name a directory on another file system",
    errno.EXDEV: "a part of the directory is on another file system; keep all of it on one",
    errno.ELOOP: "symbolic links point at each other; name a directory without them",
    errno.EINVAL: "the file system can't take that; name a directory on another one",
    errno.EMFILE: "raise the limit on open files of a process (`ulimit -n 1024`)",
    errno.ENFILE: "the whole machine has too many open files; end other programs",
    errno.ENOMEM: "free some memory, or raise the limit on it (`ulimit -v`)",
    errno.ENOLCK: _LACKS,
    errno.ENOTSUP: _LACKS,
    errno.ENOSYS: _LACKS,
    errno.EIO: "the disk, or the way to it, fails; look at the system's log",
    errno.ESTALE: "the network file system lost it; wait until the server is back",
    errno.ETIMEDOUT: "the network file system doesn't answer; wait until the server is back",
    errno.EBUSY: "another program is using it; end that",
    errno.ETXTBSY: "another program is using it; end that",
    errno.EPIPE: "what reads the output has ended; print to a file",
}
# These may be over by the next attempt, with no change of the command.
PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT),
    *(errno.EBUSY, errno.ETXTBSY, errno.EPIPE, errno.ENODEV),
}
# Refusals to read that say nothing of the contents of what was to be read.
NOT_DAMAGE = {
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY),
}


def refused_as(error: BaseException) -> int | None:
    """The errno with which the operating system refused, also where a library passes it on in an error of its own."""
    for one in _causes(error):
        if isinstance(one, OSError) and one.errno:
            return one.errno
        if named := re.search(r"(?:OS error |os_error_code=')(\d+)", str(one)):  # TensorStore's forms
            return int(named[1])
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        yield found
        if isinstance(found, BaseExceptionGroup):
            yield from found.exceptions
        seen.append(found)
        found = found.__cause__ or found.__context__


def cause(error: BaseException) -> str:
    """Why something failed: the operating system's words, or else the first line of the error's text."""
    number = refused_as(error)
    if number is not None:
        return os.strerror(number)
    text = (str(error).splitlines() or [""])[0] or type(error).__name__
    return text if len(text) <= 200 else f"{text[:80]} … {text[-110:]}"  # the cause stands at the end


def refusal(error: BaseException) -> str:
    """Why the operating system refused and what helps, such as 'No space left on device; free some space there'."""
    number = refused_as(error)
    return f"{cause(error)}; {HELP[number]}" if number in HELP else cause(error)


def system_sentence(error: BaseException, resumes: bool = False) -> str:
    """A refusal of the operating system as a sentence.

    Args:
      error: an OSError, or what a library made of one.
      resumes: whether the command continues from what is saved; said only where the same command can succeed.
    """
    files = [str(name) for name in (getattr(error, "filename", None), getattr(error, "filename2", None)) if name]
    passes = resumes and refused_as(error) in PASSING
    after = " Nothing saved is lost; the same command then continues." if passes else ""
    return f"{' → '.join(files)}{': ' if files else ''}{refusal(error)}.{after}"


def use_any_terminal() -> None:
    """Let no character that is printed end a command: what an output's encoding lacks becomes a question mark.

    An output that the caller has closed is thrown away.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (it stays open)
        elif isinstance(stream, io.TextIOWrapper) and not _prints_all(stream):
            stream.reconfigure(errors="replace")


def _prints_all(stream: io.TextIOWrapper) -> bool:
    try:
        "→ δ ✓ \udcff".encode(stream.encoding, stream.errors or "strict")  # the last: a byte of a path that is no UTF-8
    except UnicodeError:
        return False
    return True


def printable(text: str) -> str:
    """Text on one line: control characters and bytes of a path that are no UTF-8 become question marks."""
    return "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


class Parser(argparse.ArgumentParser):
    """The arguments of a `python -m` command: `--help` prints what the command does; a mistake is a UserError."""

    def __init__(self, module: str, about: str | None, epilog: str | None = None):
        """The parser of one command.

        Args:
          module: what is run, such as 'lab.bench'.
          about: what the command does; printed as it is, so that a module's docstring serves.
          epilog: printed after the options.
        """
        super().__init__(
            prog=f"python -m {module}",
            description=(about or "").strip(),
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The values of all arguments.

        Raises:
          UserError: for an argument that is unknown, missing or of the wrong kind.
        """
        args, unknown = self.parse_known_args(arguments)
        if unknown:
            name, options = unknown[0].partition("=")[0], [o for o in self._option_string_actions if o != "-h"]
            raise UserError(f"unknown argument '{unknown[0]}'. {nearest(name, options)}")
        return args

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """As of `argparse.ArgumentParser`, and every number must be one that can be counted or measured.

        Raises:
          UserError: for a number that is not finite, or further from zero than 32 bits reach; for an option whose value
            is '--', of which argparse makes an empty list.
        """
        for argument in sys.argv[1:] if args is None else args:
            name, _, value = argument.partition("=")
            if name.startswith("-") and value == "--":
                raise UserError(f"{name} needs a value; '--' is none.")
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if isinstance(value, (int, float)) and not abs(value) < 2**31:  # also refuses NaN
                name = action.option_strings[-1] if action.option_strings else action.metavar
                raise UserError(f"{name}={shown(value)} must be a number below 2^31.")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Called by argparse where an argument is missing or of the wrong kind.

        Raises:
          UserError: always.
        """
        raise UserError(f"{message}; see `{self.prog} --help`.")


def command(main: Callable[[Sequence[str]], int]) -> Callable[..., int]:
    """The `main` of a `python -m` command, which prints a user's mistake as one sentence and returns status 2.

    Args:
      main: takes the command line's arguments and returns the exit status.

    Returns:
      the same function; without arguments it takes the process's own.
    """

    @functools.wraps(main)
    def reporting(arguments: Sequence[str] | None = None) -> int:
        use_any_terminal()
        try:
            return main(sys.argv[1:] if arguments is None else arguments)
        except UserError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
        except BrokenPipeError:
            return output_closed()
        except OSError as error:
            print(f"error: {system_sentence(error)}", file=sys.stderr)
        return 2

    return reporting


def output_closed() -> int:
    """What reads the output has ended (`… | head`): print nothing more. Returns the exit status that a shell gives."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more at its end
    return 128 + 13  # SIGPIPE
