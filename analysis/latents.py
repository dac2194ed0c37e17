"""From checkpoints to latent readings: a checkpoint's parameters on one fixed probe set, measured on the device.

The probe set is addressed by a constant, never by a knob, so all cells of a seed see the same inputs in the same order.
Between seeds it differs only as far as their worlds do (which pairs are held out, which fact is common). Hidden states
never leave the device.

Shape letters: M places (task × layer × read position), N probe examples, D width, G cells.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.metrics import BALANCE, CHECKS, METRICS, measure
from analysis.probes import control_labels
from lab import checkpoint, model, population
from lab.checkpoint import Saved
from lab.config import Study, digest
from lab.programs import Programs
from lab.randomness import address

VERSION = 1  # raised whenever the same checkpoint would read otherwise
PROBE_SEED = 0x5EED


@dataclass(frozen=True)
class Place:
    """Where hidden states are read: a task's probe inputs, a layer of the residual stream, a read position."""

    label: str
    layer: int
    read: str

    def __str__(self) -> str:
        return f"{self.label}/layer{self.layer}/{self.read}"


def places(study: Study) -> tuple[Place, ...]:
    """Every place that is measured, task by task."""
    return tuple(
        Place(use.label, layer, read)
        for use in study.tasks
        for layer in study.probe_layers
        for read in use.task.read_names
    )


def claim_place(study: Study, label: str) -> Place:
    """Where the claims about a task are read: the claim's layer, at the task's first read position.

    First, because there the first answer is still to be computed: at a later one, an answer already given is the
    input, and any network that keeps its input reads as if it had solved the task.
    """
    task = next(use.task for use in study.tasks if use.label == label)
    return Place(label, study.claim.layer, task.read_names[0])


def hidden_states(study: Study, seed: jax.Array, params: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One cell's hidden states on the probe set.

    Returns:
      float32[M, N, D] states, int32[M, N] labels (the task's factor) and int32[M, N] control labels.
    """
    mixture, worlds = study.mixture, study.mixture.worlds(address(seed, "world"))
    states, labels, controls = [], [], []
    for use in study.tasks:
        key = jax.random.fold_in(jax.random.key(PROBE_SEED), zlib.crc32(use.label.encode()) & 0x7FFFFFFF)
        examples = mixture.sample(
            key, use.label, worlds[use.label], use.probe, study.probe_examples, length=study.train_length
        )
        _, hidden_ExNxLxD = model.apply(params, examples.tokens, study.spec, examples.read)
        label_N = examples.factors[use.factor]
        control_N = control_labels(examples.tokens, label_N)
        for layer in study.probe_layers:
            at_NxPxD = jnp.take_along_axis(hidden_ExNxLxD[layer], examples.read[..., None], axis=1)
            for position in range(len(use.task.read_names)):
                states.append(at_NxPxD[:, position])
                labels.append(label_N)
                controls.append(control_N)
    return jnp.stack(states), jnp.stack(labels), jnp.stack(controls)


def measure_cell(study: Study, seed: jax.Array, params: Any) -> dict[str, jax.Array]:
    """All readings of one cell: name -> float32[M]."""
    n_classes = max(use.task.factor_sizes[use.factor] for use in study.tasks)
    return lax.map(lambda place: measure(*place, n_classes=n_classes), hidden_states(study, seed, params))


class Measurer:
    """Measures checkpoints, and keeps the readings beside them so that an analysis cut off goes on where it was.

    Readings are a pure function of a checkpoint; the file that keeps them can be deleted.
    """

    def __init__(self, study: Study, programs: Programs, workdir: Path):
        self.study, self.programs, self.directory = study, programs, workdir / "readings"

    def read(
        self, saved: Iterable[Saved], seeds: dict[str, int], on_progress: Callable[[int, int], None]
    ) -> dict[tuple[str, int], dict[str, np.ndarray]]:
        """Readings of every cell of some checkpoints.

        Args:
          saved: the checkpoints.
          seeds: node key -> the cell's seed.
          on_progress: told (cells measured, cells to measure); what was kept from before doesn't count.

        Returns:
          {(node key, step): {name: float64[M]}}, places in the order of `places(study)`.
        """
        saved = list(saved)
        kept = {one.path: self._cached(one) for one in saved}
        todo = [one for one in saved if kept[one.path] is None]
        places_left = [(one, row) for one in todo for row in range(len(one.meta["cells"]))]
        layout, rows = self.programs.layout, {one.path: [] for one in todo}
        size = layout.devices * layout.chunk
        for start in range(0, len(places_left), size):
            on_progress(start, len(places_left))
            block = places_left[start : start + size]
            for (one, _), readings in zip(block, self._measured(block, size, seeds), strict=False):
                rows[one.path].append(readings)
                if len(rows[one.path]) == len(one.meta["cells"]):
                    kept[one.path] = rows[one.path]
                    self._keep(one, rows[one.path])
        on_progress(len(places_left), len(places_left))
        return {
            (key, one.step): {name: np.asarray(values, np.float64) for name, values in readings.items()}
            for one in saved
            for key, readings in zip(one.meta["cells"], kept[one.path] or [], strict=True)
        }

    def _measured(
        self, block: list[tuple[Saved, int]], size: int, seeds: dict[str, int]
    ) -> list[dict[str, list[float]]]:
        """Readings of up to `size` cells, a dict a cell."""
        padded = population.padded(block, size)
        seeds_G = np.asarray([seeds[one.meta["cells"][row]] for one, row in padded], np.int32)
        arguments = population.place((seeds_G, checkpoint.gather(padded, "params")), self.programs.layout)
        call = self.programs.get(
            "latent metrics", self._settings(), lambda s, p: measure_cell(self.study, s, p), arguments
        )
        readings = population.fetch(call(*arguments))
        return [{name: values[g].tolist() for name, values in readings.items()} for g in range(len(block))]

    def _settings(self) -> tuple[Any, ...]:
        """Everything but the parameters that decides the readings."""
        study = self.study
        tasks = tuple((use.label, use.task, use.factor, use.probe) for use in study.tasks)
        return (VERSION, study.spec, tasks, study.probe_layers, study.probe_examples, *METRICS, *CHECKS, *BALANCE)

    def _path(self, saved: Saved) -> Path:
        settings = digest([repr(self._settings()), saved.meta["checksums"]["params"]])
        return self.directory / f"{saved.path.parent.name}-{saved.path.name}-{settings}.json"

    def _cached(self, saved: Saved) -> list[dict[str, list[float]]] | None:
        try:
            return json.loads(self._path(saved).read_text())
        except (OSError, ValueError):
            return None

    def _keep(self, saved: Saved, rows: list[dict[str, list[float]]]) -> None:
        self.directory.mkdir(exist_ok=True)
        path = self._path(saved)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(rows))
        partial.replace(path)
