"""Finds the other processes of a job and waits for the last of them; started by `lab.jobs.hosts`.

    python -m lab.jobs.rendezvous [HOST:PORT PROCESSES PROCESS]

It prints who it is of how many, then waits for a line, then for all others to have got theirs. Where a process is lost,
jax.distributed aborts the others, this one among them: its exit status says so.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import jax

from lab.jobs.hosts import FOREVER, FOUND, START_SECONDS


def main(arguments: list[str]) -> None:
    """Meet, tell, wait."""
    jax.config.update("jax_platforms", "cpu")
    given: dict[str, Any] = {}
    if arguments:
        coordinator, processes, process = arguments
        given = dict(coordinator_address=coordinator, num_processes=int(processes), process_id=int(process))
    jax.distributed.initialize(**given, initialization_timeout=START_SECONDS, shutdown_timeout_seconds=FOREVER)
    print(FOUND, jax.process_index(), jax.process_count(), flush=True)
    if not sys.stdin.readline():  # who started it is gone
        os._exit(1)
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
