"""Compiled programs, each compiled once for its content and the shapes of its arguments."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

from lab.engine import device_grid
from lab.engine.device_grid import Layout

# float32 throughout: a GPU's or TPU's faster default rounds products to TF32 or bfloat16.
PRECISION = "highest"


class Programs:
    """Lifts functions of one cell to the grid and keeps the compiled programs.

    Attributes:
      compiled: names of the programs compiled so far, in order.
      seconds: time spent compiling.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        self.compiled: list[str] = []
        self.seconds = 0.0
        self._programs: dict[Any, Any] = {}

    def get(
        self,
        name: str,
        content: Hashable,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        *,
        shared: int = 0,
        donate: tuple[int, ...] = (),
        on_compiled: Callable[[str, float], None] = lambda name, seconds: None,
    ) -> Any:
        """The compiled program of a function of one cell.

        Args:
          name: for people.
          content: everything static that the function closes over; equal content must mean an equal function.
          function: takes `shared` arguments common to all cells, then the cell's own.
          arguments: of the later calls; only their shapes and types matter.
          shared, donate: as `device_grid.over_cells`.
          on_compiled: called with the name and the seconds of a compilation.
        """
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments))
        key = (name, content, shapes, jax.tree.structure(arguments))
        if key not in self._programs:
            started = time.perf_counter()
            own = len(arguments) - shared
            lifted = device_grid.over_cells(function, self.layout, shared=shared, own=own, donate=donate)
            with jax.default_matmul_precision(PRECISION):
                self._programs[key] = lifted.lower(*arguments).compile()
            seconds = time.perf_counter() - started
            self.seconds += seconds
            self.compiled.append(name)
            on_compiled(name, seconds)
        return self._programs[key]
