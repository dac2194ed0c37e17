"""The training loop lifted to many cells on many devices. Only this file knows that there are many.

The grid axis G is split over the devices by `shard_map` under `jit` (what `jax.pmap` is built on today), so cells are
independent by construction: the compiled program holds no collectives. Each device runs its cells `width` at a time:
one by one on a CPU, where a vmapped working set leaves the cache, in wide vmapped groups on a GPU or TPU. The width
changes rounding, the number of cells does not, so the width is a fixed rule for the device and not a timing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from threadpoolctl import threadpool_limits

from lab.machine import cores, memory_bytes

GRID = "grid"


@dataclass(frozen=True)
class Layout:
    """How cells meet devices.

    Attributes:
      platform: 'cpu', 'gpu' or 'tpu'.
      devices: number of local devices.
      width: cells that one device computes together (the vmapped width).
      chunk: the most cells that one device trains in one call; a multiple of `width`.
    """

    platform: str
    devices: int
    width: int
    chunk: int

    def rounding(self) -> tuple[str, int, int]:
        """The properties that decide how cells are rounded: layouts that agree on them train to the same bits.

        Whether there is one device or more is among them: XLA fuses a program for a single device differently. How many
        more is not, on a CPU (seen on 2, 4, 5 and 8, docs/engine.md); on other platforms this was not measured. Nor is
        the number of cells in a call.
        """
        return self.platform, min(self.devices, 2) if self.platform == "cpu" else self.devices, self.width


# (width, chunk) by platform; `Plan.within` lowers them where memory is short. CPU: measured, docs/benchmarks.md. GPU,
# TPU: enough cells to fill the device at the reference width; not yet measured.
RULE = {"cpu": (1, 4), "gpu": (32, 32), "tpu": (32, 32)}

# XLA's, by platform. CPU: every core is a device with cells of its own, so products that are split over threads wait
# for cores that are busy (docs/benchmarks.md).
OPTIONS: dict[str, dict[str, str | bool]] = {"cpu": {"xla_cpu_multi_thread_eigen": False}}


def use_every_core() -> None:
    """Make every CPU core a device, so that cells train side by side; call it before anything runs on a device.

    LAPACK stays on its device's core for the rest of the process. The number of devices stays as it is where XLA_FLAGS
    sets it; an accelerator's devices stay as they are, too.
    """
    lapack_on_one_thread()
    _make_cpu_devices(cores())


def round_as(layout: Layout) -> None:
    """Make CPU devices that round as those of a layout: for a reader of a study, before anything runs on a device.

    One device rounds differently from several, see `Layout.rounding`. The number of devices stays as it is where JAX
    has them already, XLA_FLAGS sets it, or the layout is of another platform.
    """
    if layout.platform == "cpu":
        with contextlib.suppress(RuntimeError):  # JAX's, once it has devices
            _make_cpu_devices(1 if layout.devices == 1 else max(cores(), 2))


def _make_cpu_devices(count: int) -> None:
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", count)


def lapack_on_one_thread() -> threadpool_limits:
    """Keep LAPACK and BLAS to the thread that calls them: from now on, or inside a `with` block of the returned value.

    XLA's CPU devices call SciPy's OpenBLAS, whose own threads then spin on the cores of the other devices. On two busy
    cores the latent metrics took ten times as long with them, for the same bits (docs/benchmarks.md).
    """
    importlib.import_module("scipy.linalg")  # loaded before JAX needs it: only a loaded library can be limited
    return threadpool_limits(1, user_api="blas")


def local_layout(chunk: int = 0) -> Layout:
    """The layout for this machine: the fixed rule for its platform, or `chunk` where that is not 0."""
    platform = jax.default_backend()
    width, default = RULE.get(platform, RULE["gpu"])
    if chunk:
        width = 1 if platform == "cpu" else chunk
    return Layout(platform, jax.local_device_count(), width, chunk or default)


def halved(layout: Layout) -> Layout:
    """The layout with half the cells a call, and a width no larger than that."""
    chunk = max(layout.chunk // 2, 1)
    return replace(layout, chunk=chunk, width=min(layout.width, chunk))


def memory_budget(layout: Layout) -> int:
    """Bytes that cells may take up on one device, the least of all devices; 0 where that isn't known.

    On an accelerator: all that its allocator hands out. On a CPU: half of the machine's memory, or of what
    this process's limits leave, shared by the CPU devices.
    """
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    if layout.platform != "cpu":
        return min(limits)
    return memory_bytes() // 2 // layout.devices


def chunk_for(cells: int, layout: Layout) -> int:
    """Cells a device trains per call so that `cells` fill whole calls with the least padding, at most layout.chunk."""
    per_device = -(-cells // layout.devices)
    calls = -(-per_device // layout.chunk)
    chunk = -(-per_device // calls)
    return -(-chunk // layout.width) * layout.width


def mesh_of(layout: Layout) -> Mesh:
    """A one-dimensional mesh over the local devices."""
    devices = jax.local_devices()[: layout.devices]
    return jax.make_mesh((layout.devices,), (GRID,), axis_types=(AxisType.Auto,), devices=devices)


def over_cells(
    function: Callable[..., Any], layout: Layout, *, shared: int = 0, own: int = 1, donate: tuple[int, ...] = ()
) -> Any:
    """Lift a function of one cell to a jitted function of G cells, G a multiple of devices × width.

    Args:
      function: takes `shared` arguments common to all cells, then `own` arguments of the cell; returns arrays.
      layout: devices and width.
      shared: number of leading arguments that all cells share; passed as they are.
      own: number of further arguments; passed with a leading grid axis on every array.
      donate: indices of arguments whose buffers the call may reuse.
    """
    specs = (P(),) * shared + (P(GRID),) * own

    def device_part(*args: Any) -> Any:
        common, cells = args[:shared], args[shared:]
        batch_size = layout.width if layout.width > 1 else None
        return lax.map(lambda cell: function(*common, *cell), cells, batch_size=batch_size)

    mapped = jax.shard_map(device_part, mesh=mesh_of(layout), in_specs=specs, out_specs=P(GRID), check_vma=False)
    return jax.jit(mapped, donate_argnums=donate, compiler_options=OPTIONS.get(layout.platform))


def to_devices(tree: Any, layout: Layout) -> Any:
    """Put host arrays with a leading grid axis onto the devices, split over them."""
    sharding = NamedSharding(mesh_of(layout), P(GRID))
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def share(value: Any, layout: Layout) -> jax.Array:
    """Put one host value onto every device."""
    return jax.device_put(value, NamedSharding(mesh_of(layout), P()))


def fetch(tree: Any) -> Any:
    """Copy to the host as NumPy arrays that no later call can overwrite."""
    return jax.tree.map(lambda leaf: np.array(jax.device_get(leaf)), tree)


def padded(rows: list[Any], size: int) -> list[Any]:
    """`rows` padded to `size` by repeating the last one; the surplus is computed and thrown away."""
    return rows + [rows[-1]] * (size - len(rows))
