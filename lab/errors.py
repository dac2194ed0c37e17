"""A user's mistake, reported in one sentence, and the command lines that report it."""

import argparse
import difflib
import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn


class UserError(ValueError):
    """Bad input. The message names the file or field and the fix; commands print it without a traceback."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """' Nearest: a, b.' for the valid names closest to `name`, or all of them when none is close."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(close)}." if close else f"Valid: {', '.join(valid)}."


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
