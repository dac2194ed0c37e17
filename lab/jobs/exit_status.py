"""How a run of a study ends: its exit status, and one sentence where it didn't end by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from absl import logging

from lab.errors import UserError
from lab.stop import STOPPED, Stop, Stopped


def exit_status(run: Callable[[Stop], int]) -> int:
    """Carry out a run that may be stopped.

    Returns:
      its own status; 2 for a user's mistake, or where a file can't be read or written; 75 if stopped by SIGTERM (run it
      again); 130 if interrupted.
    """
    logging.set_verbosity(logging.FATAL)  # Orbax reports damage at length that we report in a sentence
    try:
        with Stop().listening() as stop:
            return run(stop)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        sentence = f"{file}{error.strerror or error}. Nothing saved is lost; the same command continues."
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except Stopped:
        print(f"\n{STOPPED}", file=sys.stderr)
        return os.EX_TEMPFAIL
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues from the last checkpoint.", file=sys.stderr)
        return 130
