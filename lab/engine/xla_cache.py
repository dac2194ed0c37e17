"""Keeps compiled programs between runs, so that a second start compiles nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import jax

from lab.engine.provenance import cpu_features

LARGEST_BYTES = 2 * 2**30  # the oldest go first, before a run


def keep() -> Path | None:
    """Turn JAX's persistent compilation cache on; call it before anything compiles.

    In JAX_COMPILATION_CACHE_DIR where that is set, else in the user's cache directory. JAX's own settings, where the
    environment has them, stay; JAX_ENABLE_COMPILATION_CACHE=false turns it off.

    Returns:
      the directory; None where the cache is off or no directory can be made.
    """
    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    configured = jax.config.values["jax_compilation_cache_dir"]
    if configured:
        return Path(configured)
    try:
        directory = _user_directory() / f"jax-{jax.__version__}-{_machine()}"
        directory.mkdir(parents=True, exist_ok=True)
        tidy(directory)
    except (OSError, RuntimeError):  # no home
        return None
    if not os.access(directory, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return directory


def tidy(directory: Path, largest_bytes: int = LARGEST_BYTES) -> None:
    """Delete files that a kill or a full disk left empty, and the oldest programs beyond so many bytes.

    JAX's own limit keeps a second file next to each program, and a kill between the two leaves a cache that takes no
    new program (jax 0.10.2).
    """
    found = sorted(
        ((file.stat(), file) for file in directory.iterdir() if file.is_file()), key=lambda f: -f[0].st_mtime
    )
    total = 0
    for stat, file in found:
        total += stat.st_size
        if not stat.st_size or total > largest_bytes:
            file.unlink(missing_ok=True)


def _user_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mismatch_lab"


def _machine() -> str:
    """A hash of what a CPU's programs depend on: nodes with one home but two instruction sets share no programs."""
    return hashlib.sha256("\n".join(cpu_features()).encode()).hexdigest()[:12]
