"""From checkpoints to latent readings: a checkpoint's parameters on its seed's probe set, measured on the device.

The probe set is drawn from the seed's own key, never from a knob: all cells of a seed see the same inputs in the same
order, each seed has inputs of its own, and latents vary over inputs as abilities do. Hidden states never leave the
device.

Shape letters: M places (task × layer × read position), N probe examples, D width, G cells.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.activations.inference_model import InferenceModel, active_in, kept_under, model_of, study_of
from analysis.metrics import BALANCE, CHECKS, METRICS, control_labels, measure
from lab.engine import Layout, Programs, device_grid
from lab.engine.plan import arguments_of
from lab.mechanisms.base import Knobs
from lab.nn import model
from lab.prng import derive_key
from lab.storage import DamagedFile, Saved, checkpoint, read_document, write_document
from lab.storage.files import are_numbers
from lab.study.parts import TaskUse
from lab.study.places import site
from lab.study.spec import Study, digest
from tasks.base import RENAMED, Example, World, fed_back

VERSION = 5  # raised whenever the same checkpoint would read differently
KEPT = "readings"  # the field of a kept file, next to the file's own name; earlier versions kept the bare list
Shown = Callable[[jax.Array, jax.Array], jax.Array]
"""(tokens[N, L], which of them are answers fed back) -> what the model sees in their place; see `Mechanism.shown`."""


def as_they_are(tokens_NxL: jax.Array, fed_NxL: jax.Array) -> jax.Array:
    """Tokens where no mechanism changes them."""
    del fed_NxL
    return tokens_NxL


@dataclass(frozen=True)
class ProbeSite:
    """Where hidden states are read: a task's probe inputs, a layer of the residual stream, a read position.

    A layer is negative, counted from each cell's own end, in studies whose cells are not equally deep. Split and factor
    are '' where they are the task's own.
    """

    label: str
    layer: int
    read: str
    split: str = ""
    factor: str = ""

    def __str__(self) -> str:
        return site(self.label, self.layer, self.read, self.split, self.factor)


def probe_sites(study: Study) -> tuple[ProbeSite, ...]:
    """Every place that is measured, probe set by probe set."""
    return tuple(
        ProbeSite(use.label, layer, read, "" if split == use.probe else split, "" if factor == use.factor else factor)
        for use, split, factor in study.probe_sets
        for layer in study.probe_layers
        for read in use.task.read_names
    )


def claim_site(study: Study, label: str) -> ProbeSite:
    """Where the claims about a task are read: the claim's layer, at the task's first read position.

    First, because there the first answer is still to be computed: at a later one, an answer already given is the
    input, and any network that keeps its input reads as if it had solved the task.
    """
    return ProbeSite(label, study.claim.layer, study.use(label).task.read_names[0])


def probe_set(
    study: Study, use: TaskUse, seed: jax.Array, world: World, renaming_N: jax.Array | None = None, split: str = ""
) -> Example:
    """The N examples that a task's latents are read on, in their order, padded to the training length or to their own.

    Args:
      study, use, split: the study, the task in it, and whose inputs: '' for those of the task's probe split.
      seed, world: the cell's seed, and the task's world in it.
      renaming_N: uint32, which renaming of its symbols each example shows (`tasks.base.RENAMED`); as they are if None.
    """
    split = split or use.probe
    name = use.label if split == use.probe else f"{use.label}/{split}"
    key = derive_key(seed, "probe", zlib.crc32(name.encode()) & 0x7FFFFFFF)
    length = max(study.train_length, study.mixture.length({use.label: split}))
    drawn = study.mixture.each_once(key, use.label, split, study.probe_examples)
    if renaming_N is not None:
        drawn = {**use.task.splits[split].difficulty, RENAMED: renaming_N}
    return study.mixture.sample(key, use.label, world, drawn, study.probe_examples, length=length)


def forward(
    use: TaskUse,
    examples: Example,
    params: Any,
    spec: model.ModelSpec,
    hook: model.Hook = model.no_hook,
    shown: Shown = as_they_are,
    split: str = "",
) -> model.Forward:
    """A cell's model on examples of a task, teacher-forced, logits at the read positions; as of `hidden_states`."""
    question_N = jnp.argmax(examples.weights > 0, axis=1).astype(jnp.int32)
    fed_NxL = fed_back(examples.tokens, examples.targets, examples.weights)
    tokens_NxL = shown(examples.tokens, fed_NxL & (use.task.splits[split or use.probe].decode_steps > 1))
    return model.run(params, tokens_NxL, spec, examples.read, hook, question_N)


def hidden_states(
    study: Study,
    seed: jax.Array,
    params: Any,
    hook: model.Hook = model.no_hook,
    spec: model.ModelSpec | None = None,
    shown: Shown = as_they_are,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One cell's hidden states on the probe set.

    Args:
      study: the study.
      seed, params: the cell's.
      hook: what the mechanisms that act at inference make of its activations.
      spec: the sizes of its model; the study's when None.
      shown: what they give it in place of tokens, see `Mechanism.shown`.

    Returns:
      float32[M, N, D] states, int32[M, N] labels (the place's factor) and int32[M, N] control labels.
    """
    worlds = study.mixture.worlds(derive_key(seed, "world"))
    states, labels, controls, passes = [], [], [], {}
    for use, split, factor in study.probe_sets:
        if (use.label, split) not in passes:  # factors of one split share its inputs
            examples = probe_set(study, use, seed, worlds[use.label], split=split)
            passes[use.label, split] = examples, forward(use, examples, params, spec or study.spec, hook, shown, split)
        examples, whole = passes[use.label, split]
        label_N = examples.factors[factor]
        control_N = control_labels(examples.tokens, label_N)
        for layer in study.probe_layers:
            at_NxPxD = jnp.take_along_axis(whole.hidden[layer], examples.read[..., None], axis=1)
            for position in range(len(use.task.read_names)):
                states.append(at_NxPxD[:, position])
                labels.append(label_N)
                controls.append(control_N)
    return jnp.stack(states), jnp.stack(labels), jnp.stack(controls)


def measure_cell(
    study: Study, inference: InferenceModel, seed: jax.Array, params: Any, knobs: Knobs | None = None, trained: Any = 0
) -> dict[str, jax.Array]:
    """All readings of one cell: name -> float32[M].

    Args:
      study: the study.
      inference: the model next to its parameters.
      seed, params: the cell's.
      knobs, trained: the cell's knobs and the steps that it was trained; the mechanisms read them.
    """
    study = study_of(study, inference)
    n_classes = max(use.task.factor_sizes[factor] for use, _, factor in study.probe_sets)
    active = active_in(inference, knobs, trained)
    states = hidden_states(study, seed, params, active.hook, inference.spec, active.shown)
    readings = lax.map(lambda place: measure(*place, n_classes=n_classes), states)
    depth = inference.spec.layers + 1
    layers_M = jnp.asarray([place.layer % depth for place in probe_sites(study)], jnp.float32)
    for _, mechanism, now in active:
        own = lax.map(lambda m, one=mechanism, k=now: one.readings(m[0], m[1], params, k), (states[0], layers_M))
        readings |= {f"{mechanism.name}_{name}": values for name, values in own.items()}
    return readings


def cells_to_read(
    places: list[tuple[Saved, int]], inference: InferenceModel, knobs: Mapping[str, Mapping[str, Any]], layout: Layout
) -> tuple[Any, ...]:
    """On the devices, a leading axis over cells: seeds, parameters and, where a mechanism needs them, knobs and steps.

    Args:
      places: (checkpoint, row) of each cell; as many as the layout takes in one call.
      inference: their model next to their parameters.
      knobs: node key -> its knobs.
      layout: the devices.
    """
    settings = [knobs[one.meta["cells"][row]] for one, row in places]
    seeds_G = np.asarray([each["seed"] for each in settings], np.int32)
    arguments = (seeds_G, checkpoint.gather(places, "params"))
    if inference.names:
        trained_G = np.asarray([one.step for one, _ in places], np.int32)
        arguments = (*arguments, arguments_of(inference.names, settings), trained_G)
    return device_grid.to_devices(arguments, layout)


class Measurer:
    """Measures checkpoints, and keeps the readings next to them: an analysis that was cut off continues.

    Readings are a pure function of a checkpoint; the file that keeps them can be deleted. A damaged one is noted and
    measured again. With keep=False what was kept before is used and nothing is written.

    Attributes:
      measured: how many files of readings were measured, because they were not kept or damaged.
      note_damaged: called with a sentence where kept files are damaged.
    """

    def __init__(
        self,
        study: Study,
        programs: Programs,
        workdir: Path,
        keep: bool = True,
        note: Callable[[str], None] = warnings.warn,
    ):
        self.study, self.programs, self.directory, self.keep = study, programs, workdir / "readings", keep
        self.note_damaged, self.measured = note, 0

    def read(
        self, saved: Iterable[Saved], knobs: Mapping[str, Mapping[str, Any]], on_progress: Callable[[int, int], None]
    ) -> dict[tuple[str, int], dict[str, np.ndarray]]:
        """Readings of every cell of some checkpoints.

        Args:
          saved: the checkpoints.
          knobs: node key -> its knobs, the seed among them.
          on_progress: called with (cells measured, cells to measure); readings kept from before don't count.

        Returns:
          {(node key, step): {name: float64[M]}}, places in the order of `probe_sites(study)`.
        """
        saved = list(saved)
        models = {one.path: self._model(one, knobs) for one in saved}
        paths = {one.path: self._path(one, models[one.path]) for one in saved}
        wanted = [(paths[one.path], partial(self._fits, models[one.path], len(one.meta["cells"]))) for one in saved]
        kept = dict(zip((one.path for one in saved), self.kept(wanted), strict=True))
        todo = [one for one in saved if kept[one.path] is None]
        total, done = sum(len(one.meta["cells"]) for one in todo), 0
        layout, rows = self.programs.layout, {one.path: [] for one in todo}
        size = layout.devices * layout.chunk
        programs = {models[one.path]._replace(values=()): None for one in todo}  # a program each, in order
        for inference in programs:
            alike = [one for one in todo if models[one.path]._replace(values=()) == inference]
            places_left = [(one, row) for one in alike for row in range(len(one.meta["cells"]))]
            for start in range(0, len(places_left), size):
                on_progress(done, total)
                block = places_left[start : start + size]
                for (one, _), readings in zip(block, self._measured(block, size, inference, knobs), strict=False):
                    rows[one.path].append(readings)
                    if len(rows[one.path]) == len(one.meta["cells"]):
                        kept[one.path] = rows[one.path]
                        self.put(paths[one.path], rows[one.path])
                done += len(block)
        on_progress(total, total)
        return {
            (key, one.step): {name: np.asarray(values, np.float64) for name, values in readings.items()}
            for one in saved
            for key, readings in zip(one.meta["cells"], kept[one.path] or [], strict=True)
        }

    def _measured(
        self,
        block: list[tuple[Saved, int]],
        size: int,
        inference: InferenceModel,
        knobs: Mapping[str, Mapping[str, Any]],
    ) -> list[dict[str, list[float]]]:
        """Readings of up to `size` cells in whose models those mechanisms act, a dict a cell."""
        arguments = cells_to_read(device_grid.padded(block, size), inference, knobs, self.programs.layout)
        of_cell = partial(self._of_cell, inference)
        call = self.programs.get(self.program, (inference, *self.settings()), of_cell, arguments)
        readings = device_grid.fetch(call(*arguments))
        return [{name: values[g].tolist() for name, values in readings.items()} for g in range(len(block))]

    # What a measurer of other readings overrides, see `analysis.activations.extras`.

    program = "latent metrics"

    def _model(self, saved: Saved, knobs: Mapping[str, Mapping[str, Any]]) -> InferenceModel:
        return model_of(self.study, saved, knobs)

    def _of_cell(self, inference: InferenceModel, *cell: Any) -> dict[str, jax.Array]:
        return measure_cell(self.study, inference, *cell)

    def _names(self) -> set[str]:
        """The readings of every cell, without the mechanisms' own."""
        return {*METRICS, *CHECKS, *BALANCE}

    def settings(self) -> tuple[Any, ...]:
        """Everything but the parameters that decides the readings."""
        study, names = self.study, (*METRICS, *CHECKS, *BALANCE, *self.study.further_probes)  # the last mostly none
        tasks = tuple((use.label, use.task, use.factor, use.probe) for use in study.tasks)
        return (VERSION, study.spec, tasks, study.probe_layers, study.probe_examples, *names)

    def _path(self, saved: Saved, inference: InferenceModel) -> Path:
        settings = digest([kept_under(self.settings()), saved.meta["checksums"]["params"], kept_under(inference)])
        return self.directory / f"{saved.path.parent.name}-{saved.path.name}-{settings}.json"

    def kept(self, wanted: Iterable[tuple[Path, Callable[[Any], bool]]]) -> list[Any]:
        """What `put` has kept, and None where there is nothing or a damaged file; one note names what is damaged.

        Earlier versions kept readings without a digest: they are used where types, names and lengths are as wanted.

        Args:
          wanted: (path, whether readings are of the shape that is wanted there).
        """
        found, damaged = [], []
        for path, fits in wanted:
            try:
                content = read_document(path)
            except DamagedFile as error:
                content, problem = None, str(error)
            else:
                if isinstance(content, dict) and content.get("of") == path.name:
                    content = content.get(KEPT)
                problem = "" if content is None or fits(content) else f"{path} holds no readings of its checkpoint"
            found.append(None if problem else content)
            damaged += [problem] if problem else []
        if damaged:
            more = f", and so are {len(damaged) - 1} more files of readings" if len(damaged) > 1 else ""
            self.note_damaged(f"{damaged[0]}: measured again{more}.")
        return found

    def _fits(self, inference: InferenceModel, cells: int, rows: Any) -> bool:
        """Whether rows are readings of so many cells: the same ones of each, a number at every place."""
        if not isinstance(rows, list) or len(rows) != cells or not all(isinstance(row, dict) for row in rows):
            return False
        names, places = self._names(), len(probe_sites(self.study))
        own = tuple(f"{name}_" for name in inference.names)
        return all(
            names <= row.keys() == rows[0].keys()
            and all(name in names or name.startswith(own) for name in row)
            and all(are_numbers(values, places) for values in row.values())
            for row in rows
        )

    def put(self, path: Path, readings: Any) -> None:
        """Keep readings for the next time, unless nothing is to be written."""
        self.measured += 1
        if not self.keep:
            return
        self.directory.mkdir(exist_ok=True)
        write_document(path, {"of": path.name, KEPT: readings}, compact=True)
