"""Where compiled programs are kept between runs, so that a second start compiles nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import jax

from lab.machine import cpu_features

LARGEST_BYTES = 2 * 2**30  # the least recently used go first
FROM_SECONDS = 0.1  # what compiles faster isn't worth a file


def keep() -> Path | None:
    """Turn JAX's persistent compilation cache on; call it before anything compiles.

    In JAX_COMPILATION_CACHE_DIR where that is set, else in the user's cache directory. JAX's own settings, where the
    environment has them, stay; JAX_ENABLE_COMPILATION_CACHE=false turns it off.

    Returns:
      where; None where it is off or there is no such place.
    """
    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    told = jax.config.values["jax_compilation_cache_dir"]
    if told:
        return Path(told)
    try:
        directory = _user_directory() / f"jax-{jax.__version__}-{_machine()}"
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that can't be written
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    for setting, value in (
        ("jax_compilation_cache_max_size", LARGEST_BYTES),
        ("jax_persistent_cache_min_compile_time_secs", FROM_SECONDS),
    ):
        if setting.upper() not in os.environ:
            jax.config.update(setting, value)
    return directory


def _user_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mismatch_lab"


def _machine() -> str:
    """What a CPU's programs depend on: nodes that share a home but not an instruction set must not share programs."""
    return hashlib.sha256("\n".join(cpu_features()).encode()).hexdigest()[:12]
