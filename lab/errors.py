"""A user's mistake, said in one sentence."""

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class UserError(ValueError):
    """Bad input. The message names the file or field and the fix; run.py prints it without a traceback."""


class Stopped(BaseException):
    """Asked to stop from outside, with everything saved. As KeyboardInterrupt, nothing takes it for an error."""


def run_command(main: Callable[[list[str]], int]) -> NoReturn:
    """End this process as a command line's `main` says; a user's mistake is one sentence and status 2."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def nearest(name: str, valid: Iterable[str]) -> str:
    """' Nearest: a, b.' for the valid names closest to `name`, or all of them when none is close."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(close)}." if close else f"Valid: {', '.join(valid)}."
