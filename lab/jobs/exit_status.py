"""How a run of a study ends: its exit status, and one sentence where it didn't end by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from absl import logging

from lab.errors import UserError, output_closed, printable, system_sentence
from lab.stop import STOPPED, Stop, Stopped

NO_MEMORY = (
    "no memory is left for this run. Nothing saved is lost; free some memory, raise the limit on it (`ulimit -v`, the"
    " batch job's), or train fewer cells at a time with --chunk, and the same command continues."
)


def exit_status(run: Callable[[Stop], int]) -> int:
    """Carry out a run that may be stopped.

    Returns:
      its own status; 2 for a user's mistake, or where a file can't be read or written, or no memory is left; 75 if
      stopped by SIGTERM (run it again); 130 if interrupted; 141 if what reads the output has ended.
    """
    logging.set_verbosity(logging.FATAL)  # Orbax reports damage at length that we report in a sentence
    try:
        with Stop().listening() as stop:
            return run(stop)
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError as error:
        print(f"error: {system_sentence(error, resumes=True)}", file=sys.stderr)
        return output_closed()
    except OSError as error:
        print(f"error: {system_sentence(error, resumes=True)}", file=sys.stderr)
        return 2
    except Stopped:
        print(f"\n{STOPPED}", file=sys.stderr)
        return os.EX_TEMPFAIL
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues from the last checkpoint.", file=sys.stderr)
        return 130
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        print(f"error: {NO_MEMORY}", file=sys.stderr)
        return 2


def _is_out_of_memory(error: Exception) -> bool:
    """XLA has an error of its own, which isn't imported here: that would load JAX for every mistake."""
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc", "can't start new thread")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)
