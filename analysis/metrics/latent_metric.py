"""What a latent metric is, what the metrics of one cell share, and how a file of this room declares one.

Shape letters: N examples, D hidden width, K = min(N, D).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
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


# Argument of a metric on call -> what a person has to have for it ('' where every study has it).
ARGUMENTS: dict[str, str] = {
    "states": "",  # float32[N, D]
    "labels": "labels",  # int32[N]
    "control_labels": "",  # int32[N]
    "n_classes": "",  # C
    "contexts": "a second factor of the task (context=)",  # int32[N]
    "n_contexts": "",  # X
    "views": "a task with symbols that may be renamed (views=)",  # float32[N, V, D]
    "readout": "the readout's weights",  # float32[C, D]
    "decisions": "the readout's decisions",  # int32[N]
    "before": "the states of an earlier layer (from_layer=)",  # float32[N, E]
    "other": "a second cell of the same seed (against=)",  # float32[N, E]
    "key": "",  # a typed key
    "relative_noise": "the noise's size (relative_noise=)",  # float32[]
    "k": "the scale as a number of neighbours (k=)",
    "share": "the share of the variance to keep (share=)",
    "unembedding": "",  # float32[V, D]
    "quadratic_forms": "",  # float32[R] of the loss's Hessian, see `analysis.metrics.curvature`
    "ritz_values": "",  # float32[K]
    "ball_rises": "",  # float32[S]
    "factors": "",  # int32[N, F], all of the task's
    "factor_sizes": "",  # how many values each has
}
OF_THE_MODEL = ("unembedding", "quadratic_forms", "ritz_values", "ball_rises")  # arguments that are the same everywhere


@dataclass(frozen=True)
class OnCallMetric:
    """A metric on call: what it is, where it comes from, how it misleads, and what it takes.

    Attributes:
        name: what it is called by.
        function: gives a float32 scalar, or a NamedTuple of them.
        arguments: names among `ARGUMENTS`, in the function's order.
        meaning, range, source, trap, words: as of `LatentMetric`.
        settings: the numbers among the arguments that a caller may change, and their defaults.
        gain: which way the literature counts as a gain: +1 larger, -1 smaller, 0 where it has no way; of a function
            that gives a NamedTuple: part -> that way.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[str, ...]
    meaning: str
    range: str
    source: str
    trap: str
    settings: Mapping[str, float | int] = field(default_factory=dict)
    words: str = ""
    gain: int | Mapping[str, int] = 0

    @property
    def needs(self) -> str:
        """What it takes besides states, in words; '' if nothing."""
        return ", ".join(ARGUMENTS[name] for name in self.arguments if ARGUMENTS[name])

    @property
    def of_the_model(self) -> bool:
        """Whether it is a reading of the parameters, the same at every place."""
        return {*self.arguments} <= {*OF_THE_MODEL}

    @property
    def readings(self) -> dict[str, str]:
        """What a claim calls each reading -> the key that `__call__` gives it under: `mdl_probe_codelength`."""
        return (
            {f"{self.name}_{part}": part for part in self.gain}
            if isinstance(self.gain, Mapping)
            else {self.name: self.name}
        )

    def __call__(self, given: Mapping[str, Any]) -> dict[str, Float[Array, ""]]:
        """Its readings: under its own name, or under the names of the NamedTuple's fields. Pure; jit and vmap it.

        Args:
            given: argument -> array or, for `n_classes`, `n_contexts`, `k` and `share`, a static number.
        """
        found = self.function(*(given[name] for name in self.arguments))
        readings = found._asdict() if isinstance(found, tuple) else {self.name: found}  # type: ignore[attr-defined]
        return {name: jnp.asarray(value) for name, value in readings.items()}


def on_call(
    *,
    arguments: tuple[str, ...],
    meaning: str,
    range: str,
    source: str,
    trap: str,
    words: str = "",
    gain: int | Mapping[str, int] = 0,
    settings: Mapping[str, float | int] | None = None,
) -> Callable[[Callable[..., Any]], OnCallMetric]:
    """Decorator: makes a function of arguments the metric on call of the function's name; see `OnCallMetric`.

    `analysis.metrics.on_call` finds it in any file of this folder.
    """

    def declared(function: Callable[..., Any]) -> OnCallMetric:
        about = meaning, range, source, trap, settings or {}, words, gain
        return OnCallMetric(function.__name__, function, arguments, *about)

    return declared


def on_call_metrics_of(module: ModuleType) -> Iterator[OnCallMetric]:
    """The metrics on call that a module declares, in their order."""
    return (value for value in vars(module).values() if isinstance(value, OnCallMetric))
