"""A user's mistake, said in one sentence."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message names the file or field and the fix; run.py prints it without a traceback."""


class Stopped(BaseException):
    """Asked to stop from outside, with everything saved. As KeyboardInterrupt, nothing takes it for an error."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """' Nearest: a, b.' for the valid names closest to `name`, or all of them when none is close."""
    valid = sorted(valid)
    close = difflib.get_close_matches(name, valid, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(close)}." if close else f"Valid: {', '.join(valid)}."
