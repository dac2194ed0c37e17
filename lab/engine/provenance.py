"""What numbers may depend on apart from the study: the machine and the libraries that computed them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from lab.engine.device_grid import Layout

CPU_INFO = Path("/proc/cpuinfo")


def made_with(layout: Layout) -> dict[str, str]:
    """What a checkpoint's numbers were computed with, by name."""
    device = jax.local_devices()[0]
    return {
        "platform": layout.platform,
        "width": str(layout.width),
        "device": cpu_model() if layout.platform == "cpu" else device.device_kind,
        "devices": str(layout.devices),
        **{name: version(name) for name in ("jax", "jaxlib", "flax", "optax")},
        "XLA_FLAGS": _flags(os.environ.get("XLA_FLAGS", "")),
    }


def cpu_model() -> str:
    """The processor's name, as far as the system knows it."""
    return next(iter(_cpu_lines("model name")), platform.processor() or platform.machine())


def cpu_features() -> list[str]:
    """What the processor's compiled programs depend on."""
    return [platform.machine(), cpu_model(), *_cpu_lines("flags"), *_cpu_lines("Features")]


def _cpu_lines(name: str) -> list[str]:
    """The different values of a field of the processor's description, sorted."""
    if not CPU_INFO.is_file():
        return []
    pairs = [line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()]
    return sorted({value.strip() for field, _, value in pairs if field.strip() == name})


def _flags(text: str) -> str:
    """XLA's flags without the number of devices, which is a condition of its own."""
    return " ".join(flag for flag in text.split() if "xla_force_host_platform_device_count" not in flag)
