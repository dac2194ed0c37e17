"""Limits of this process, looked at before anything is loaded: where one is reached later a run ends without a word."""

from __future__ import annotations

import contextlib
import math
import resource

from lab import machine
from lab.errors import UserError

FILES = 128  # open files that a run may need: 40 were too few for a small one on two cores
PLENTY = 4096


def check() -> list[str]:
    """Raise this process's limit on open files as far as it may, and refuse limits that no run fits into.

    Returns:
      a note where the address space is limited: XLA aborts the process where it gets no more of it.

    Raises:
      UserError: naming the limit and how to raise it.
    """
    files = _open_files()
    if files < FILES:
        raise UserError(f"a process may open {files} files here and a run needs up to {FILES}; `ulimit -n 1024` first.")
    addresses, least = machine.address_limit(), machine.least_addresses()
    if addresses is None:
        return []
    limited = f"the address space is limited to {addresses / 2**30:.3g} GiB here (`ulimit -v`)"
    if addresses < least:
        raise UserError(
            f"{limited} and a run reserves {least / 2**30:.3g} GiB on this machine, memory for its cells apart;"
            " `ulimit -v unlimited` first, or ask for more memory in the batch job."
        )
    return [f"{limited}, much of which a run only reserves: if this run is aborted, raise it. Nothing saved is lost."]


def _open_files() -> float:
    """How many files this process may open, once its limit is raised to what the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return math.inf
    wanted = PLENTY if hard == resource.RLIM_INFINITY else min(hard, PLENTY)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # some systems name a hard limit that they don't grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
