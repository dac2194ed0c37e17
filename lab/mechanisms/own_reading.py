"""What a claim may name of a mechanism's own: a number read off hidden states, parameters and knobs, in every cell.

`Mechanism.readings` are measured only where the mechanism does something. A claim compares with the neutral cells, so
what it names is read there, too: as the mechanism would read it if it did nothing yet.

Shape letters: N hidden vectors, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

Read = Callable[[jax.Array, Any, dict[str, Any]], jax.Array]
"""(float32[N, D] hidden vectors of the layer, the cell's parameters, the mechanism's knobs) -> float32[]."""


@dataclass(frozen=True)
class OwnReading:
    """One reading of a mechanism that a claim may name, as `<mechanism>_<name>`.

    Attributes:
      name: without the mechanism's.
      layer: the knob that says at which layer it is read; NaN at every other.
      read: the number itself.
      meaning, range, source, trap, words: as of `analysis.metrics.latent_metric.LatentMetric`.
      gain: which way the literature counts as a gain: +1 larger, -1 smaller, 0 where it has no way.
    """

    name: str
    layer: str
    read: Read
    meaning: str
    range: str
    source: str
    trap: str
    words: str
    gain: int = 0
