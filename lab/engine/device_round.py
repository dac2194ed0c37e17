"""A device round: chunks of a program group that train side by side, one a device."""

from __future__ import annotations

from dataclasses import dataclass

from lab.engine import device_grid
from lab.engine.plan import Node
from lab.storage import Chunk


@dataclass(frozen=True)
class DeviceRound:
    """Chunks trained side by side, one a device.

    Attributes:
      chunks: the nodes of each chunk; at most one chunk a device.
      cut_off: the checkpoints that each chunk continues from, in the same order; empty at the start of a stage.
      capacity: rows that every chunk is padded to.
      devices: number of devices; those without a chunk of their own repeat the last one.
    """

    chunks: tuple[tuple[Node, ...], ...]
    cut_off: tuple[Chunk, ...]
    capacity: int
    devices: int

    @property
    def nodes(self) -> list[Node]:
        """The nodes that are trained, without padding."""
        return [node for chunk in self.chunks for node in chunk]

    @property
    def padded(self) -> list[Node]:
        """One node a row, the padding included."""
        rows = [device_grid.padded(list(chunk), self.capacity) for chunk in self.chunks]
        return [node for chunk in device_grid.padded(rows, self.devices) for node in chunk]

    def rows(self, index: int) -> list[int]:
        """The rows of a chunk's nodes."""
        return list(range(index * self.capacity, index * self.capacity + len(self.chunks[index])))
