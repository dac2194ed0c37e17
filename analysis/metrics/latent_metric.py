"""What a latent metric is, what the metrics of one cell share, and how a file of this room declares one.

Shape letters: N examples, D hidden width, K = min(N, D).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

from jaxtyping import Array, Float

from analysis.metrics.cluster_indices import Centroids
from analysis.metrics.geometry import Cloud, Spectrum, TwoNN
from analysis.metrics.probes import Halves, Probe
from analysis.metrics.separation import Classes


class Shared(NamedTuple):
    """What the metrics of one cell have in common. `half_*` are of the first N/2 examples, for the bias check."""

    cloud: Cloud
    squared_NxN: Float[Array, "N N"]
    spectrum: Spectrum
    half_spectrum: Spectrum
    white_NxK: Float[Array, "N K"]
    halves: Halves
    classes: Classes
    centroids: Centroids
    two_nn: TwoNN
    half_two_nn: TwoNN
    probe: Probe


@dataclass(frozen=True)
class LatentMetric:
    """One reading: what it is, where it comes from, and how it misleads.

    Attributes:
        name: the key in `measure`'s result.
        group: the expensive part it rests on: 'distances', 'spectrum', 'halves' or 'means' (of the classes; cheap).
        read: from what the cell's metrics share to a float32 scalar.
        needs_labels: whether it is about the labels (then NaN for a cell with one class only).
        meaning: what is measured, in which unit, without saying which direction is good.
        range: the values it can take.
        source: paper or definition.
        trap: the known way to misread it.
        words: what a report calls it; the name with blanks by default.
    """

    name: str
    group: str
    read: Callable[[Shared], Array]
    needs_labels: bool
    meaning: str
    range: str
    source: str
    trap: str
    words: str = ""

    @property
    def title(self) -> str:
        """What a report calls the metric."""
        return self.words or self.name.replace("_", " ")


def metric(
    *, group: str, needs_labels: bool, meaning: str, range: str, source: str, trap: str, words: str = ""
) -> Callable[[Callable[[Shared], Array]], LatentMetric]:
    """Decorator: makes a function of `Shared` the latent metric of the function's name; see `LatentMetric`.

    `analysis.metrics.registry` finds it in any file of this folder.
    """

    def declared(read: Callable[[Shared], Array]) -> LatentMetric:
        return LatentMetric(read.__name__, group, read, needs_labels, meaning, range, source, trap, words)

    return declared


def metrics_of(module: ModuleType) -> Iterator[LatentMetric]:
    """The metrics that a module declares, in their order."""
    return (value for value in vars(module).values() if isinstance(value, LatentMetric))
