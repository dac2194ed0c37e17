"""What this machine has and this process may use of it. Imports nothing large: it is asked before JAX is loaded."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

# Address space that a run reserves whatever it trains: 64 MiB for each of the eight arenas a core that the allocator
# makes for XLA's threads, their stacks, and the libraries. On two cores: 2.3 GiB at most, aborted with 2.0 GiB.
LIBRARIES, PER_CORE = 3 * 2**29, 2**29


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def least_addresses() -> int:
    """Bytes of address space without which a run is aborted, whatever it trains."""
    return LIBRARIES + PER_CORE * (os.cpu_count() or 1)


def address_limit() -> int | None:
    """Bytes of address space that this process may reserve; None where it is not limited."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def memory_bytes() -> int:
    """Bytes that cells and all else can have: the machine's, or fewer where a container, job or process is limited.

    0 where the system doesn't say.
    """
    known = {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(getattr(os, "sysconf_names", ()))
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if known else []
    with contextlib.suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8")))  # of a container or a job
    if (limit := address_limit()) is not None:
        found.append(max(limit - least_addresses(), 1))
    return min(found, default=0)
