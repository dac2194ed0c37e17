"""Finds the other processes of a job and waits for the last of them; started by `lab.jobs.hosts`.

    python -m lab.jobs.rendezvous [HOST:PORT PROCESSES PROCESS]

It prints its number and how many there are, waits for a line on its input, then for all others to get theirs. If a
process is lost, jax.distributed aborts the others, this one among them; its exit status is then not 0.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import jax

from lab.jobs.hosts import FOREVER, FOUND, START_SECONDS


def main(arguments: list[str]) -> None:
    """Meet the others, print this process's number, wait for the last."""
    jax.config.update("jax_platforms", "cpu")
    given: dict[str, Any] = {}
    if arguments:
        coordinator, processes, process = arguments
        given = dict(coordinator_address=coordinator, num_processes=int(processes), process_id=int(process))
    jax.distributed.initialize(**given, initialization_timeout=START_SECONDS, shutdown_timeout_seconds=FOREVER)
    print(FOUND, jax.process_index(), jax.process_count(), flush=True)
    if not sys.stdin.readline():  # the process that started this one is gone
        os._exit(1)
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
