"""A user's mistake, reported in one sentence, and the command lines that report it."""

import argparse
import difflib
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn


class UserError(ValueError):
    """Bad input. The message names the file or field and the fix; commands print it without a traceback."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """'Nearest: a, b.' for the valid names closest to `name` whatever their case, or all of them when none is close."""
    valid = sorted(valid)
    found = difflib.get_close_matches(str(name).casefold(), {each.casefold() for each in valid}, n=3, cutoff=0.5)
    close = [each for one in found for each in valid if each.casefold() == one]
    return f"Nearest: {', '.join(close)}." if close else f"Valid: {', '.join(valid)}."


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
        try:
            return main(sys.argv[1:] if arguments is None else arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 2

    return reporting
