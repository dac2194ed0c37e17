"""Metrics on call (`analysis.metrics.on_call`) of chosen cells: their arguments, read from checkpoints, and readings.

Shape letters: C cells or classes, N probe examples, V views, D width, T tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analysis.activations import extract, measure
from analysis.activations.inference_model import InferenceModel, study_of
from analysis.activations.training_loss import training_loss
from analysis.metrics import METRICS, ON_CALL, OnCallMetric, control_labels, curvature
from analysis.metrics.latent_metric import OF_THE_MODEL
from analysis.metrics.on_call import find
from lab.engine.device_grid import lapack_on_one_thread
from lab.errors import UserError, nearest
from lab.nn import model
from lab.prng import derive_key
from lab.study.parts import TaskUse
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms
from lab.values import exact
from tasks.base import Example, interchangeable

RENAMING = 0x11DA  # the index of its renamings among the keys of a seed's probe set
NOISE_SEED = 0x5EED
DEFAULTS = {"context": None, "views": 4, "from_layer": 0}
"""Option -> default, of the options that say which arrays are read."""
OPTION_OF = {"contexts": "context", "views": "views", "before": "from_layer"}
# Besides states and labels.
READ_OFF = ("control_labels", "contexts", "factors", "views", "readout", "decisions", "before", *OF_THE_MODEL)
STATIC = ("n_classes", "n_contexts", "k", "share")


@dataclass(frozen=True)
class Request:
    """One metric at one place, checked.

    Attributes:
      metric: what is measured.
      place: where.
      use: the place's task.
      options: see `DEFAULTS` and `OnCallMetric.settings`; those that the metric takes.
    """

    metric: OnCallMetric
    place: measure.ProbeSite
    use: TaskUse
    options: Mapping[str, Any]

    @property
    def content(self) -> tuple[Any, ...]:
        """What decides the compiled program that reads the arguments; metrics of the same arguments share one."""
        read_off = tuple(name for name in self.metric.arguments if name in READ_OFF)
        return read_off, self.place, tuple((name, self.options[name]) for name in DEFAULTS if name in self.options)

    @property
    def factor(self) -> str:
        """What the labels are."""
        return self.place.factor or self.use.factor

    def of(self, study: Study) -> Request:
        """The same of a study whose task under the label may have other sizes."""
        return replace(self, use=study.use(self.place.label))

    @property
    def is_pair(self) -> bool:
        """Whether it is a reading of two cells."""
        return "other" in self.metric.arguments


def request(study: Study, place: measure.ProbeSite, name: str, options: Mapping[str, Any]) -> Request:
    """Check a request.

    Args:
      study: the study.
      place: where to measure.
      name: of `ON_CALL` or `METRICS`.
      options: by name, see `Request`.

    Raises:
      UserError: an unknown metric or option, an option out of its range, or a metric that the task or place can't have.
    """
    metric = find(name)
    if metric is None:
        raise UserError(f"there is no metric '{name}'. {nearest(name, (*METRICS, *ON_CALL))}")
    use = study.use(place.label)
    taken = {OPTION_OF[one]: DEFAULTS[OPTION_OF[one]] for one in metric.arguments if one in OPTION_OF}
    taken |= metric.settings
    for option in options:
        if option not in taken:
            known = f"it takes {', '.join(taken)}" if taken else "it takes none"
            raise UserError(f"{name} has no option '{option}'; {known}.")
    taken |= options
    for option in {*metric.settings, "views"} & {*taken}:
        if not isinstance(taken[option], (int, float)) or not taken[option] > 0:
            raise UserError(f"{option}={taken[option]!r} must be a number above 0.")
        if isinstance({**DEFAULTS, **metric.settings}[option], int) and taken[option] != int(taken[option]):
            raise UserError(f"{option}={taken[option]!r} must be a whole number.")
    taken |= {option: type(default)(taken[option]) for option, default in metric.settings.items()}
    _check_arrays(study, Request(metric, place, use, taken))
    return Request(metric, place, use, taken)


def _check_arrays(study: Study, wanted: Request) -> None:
    name, use, options, top = wanted.metric.name, wanted.use, wanted.options, study.depths[0]
    if "context" in options:
        factors = [factor for factor in use.task.factor_sizes if factor != wanted.factor]
        if options["context"] not in factors:
            names = ", ".join(factors) or "none"
            raise UserError(f"{name} needs context=<a second factor of '{use.label}'>; there are: {names}.")
    if "views" in options and options["views"] < 2:
        raise UserError(f"views={options['views']!r} must be 2 at the least.")
    if "views" in options and not interchangeable(use.task):
        raise UserError(f"{name} needs a task with symbols that may be renamed, such as mqar; '{use.label}' has none.")
    if "from_layer" in options and options["from_layer"] not in range(top + 1):
        raise UserError(f"from_layer={options['from_layer']!r} must lie in [0, {top}] (0 is the embedding).")
    if "readout" in wanted.metric.arguments:
        last = top if len(study.depths) == 1 else -1
        if wanted.place.layer != last:
            raise UserError(f"{name} compares states with the readout that reads them: it needs layer={last}.")
        if study.spec.codes:
            raise UserError(f"{name} needs a model whose readout reads the last layer, not codes of it.")


def arguments_of(study: Study, wanted: Request) -> extract.OfCell:
    """Of one cell: the arrays that the metric takes, but those of another cell; argument -> array."""
    place, names = wanted.place, wanted.metric.arguments

    def of_cell(inference: InferenceModel, active: ActiveMechanisms, seed: Any, params: Any) -> dict[str, Any]:
        if wanted.metric.of_the_model:
            return _of_the_model(study, names, inference, active, seed, params)
        mine = study_of(study, inference)
        use = wanted.of(mine).use
        world = mine.mixture.worlds(derive_key(seed, "world"))[use.label]
        position = use.task.read_names.index(place.read)

        def forward(examples: Example) -> model.Forward:
            return measure.forward(use, examples, params, inference.spec, active.hook, active.shown, place.split)

        examples = measure.probe_set(mine, use, seed, world, split=place.split)
        whole, at_N = forward(examples), examples.read[:, position]
        label_N = examples.factors[wanted.factor]
        found = {"states": _at(whole.hidden[place.layer], at_N), "labels": label_N}
        if "control_labels" in names:
            found["control_labels"] = control_labels(examples.tokens, label_N)
        if "contexts" in names:
            found["contexts"] = examples.factors[wanted.options["context"]]
        if "factors" in names:
            found["factors"] = jnp.stack([examples.factors[name] for name in use.task.factor_sizes], axis=1)
        if "before" in names:
            found["before"] = _at(whole.hidden[wanted.options["from_layer"]], at_N)
        if "views" in names:

            def view(key: jax.Array) -> jax.Array:
                renaming_N = jnp.maximum(jax.random.bits(key, (study.probe_examples,)), 1)
                renamed = measure.probe_set(mine, use, seed, world, renaming_N, place.split)
                return _at(forward(renamed).hidden[place.layer], renamed.read[:, position])

            keys_V = jax.random.split(derive_key(seed, "probe", RENAMING), int(wanted.options["views"]))
            found["views"] = jnp.moveaxis(jax.lax.map(view, keys_V), 0, 1)
        if "readout" in names or "decisions" in names:
            token_C, is_decided = _answers(examples, position, label_N, use.task.factor_sizes[wanted.factor])
            found["labels"] = jnp.where(is_decided, label_N, -1)  # out of range: reads NaN
            logits_NxT = whole.logits[:, position]
            decisions_N = jnp.argmax(jnp.where(token_C[None] < 0, -jnp.inf, logits_NxT[:, token_C]), axis=1)
            found["decisions"] = decisions_N.astype(jnp.int32)
        if "readout" in names:
            onward = active.hook("onward", inference.spec.layers, whole.hidden[-1])
            found["states"] = _at(model.final_norm(params, onward, inference.spec, active.hook), at_N)
            found["readout"] = params["unembedding"]["kernel"].T[token_C]
        return found

    return of_cell


def _of_the_model(
    study: Study,
    names: tuple[str, ...],
    inference: InferenceModel,
    active: ActiveMechanisms,
    seed: Any,
    params: Any,
) -> dict[str, Any]:
    """Arguments that are read off the parameters; NaN where one of them isn't finite."""
    found, loss = {}, training_loss(study, inference, active, seed)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
    usable = jax.tree.map(lambda leaf: jnp.where(finite, leaf, jnp.zeros_like(leaf)), params)
    key = jax.random.key(NOISE_SEED)  # the same directions for all cells of a comparison
    if "unembedding" in names:
        found["unembedding"] = usable["unembedding"]["kernel"].T
    if "quadratic_forms" in names:
        found["quadratic_forms"] = curvature.quadratic_forms(loss, usable, key)
    if "ritz_values" in names:
        found["ritz_values"] = curvature.ritz_values(loss, usable, key)
    if "ball_rises" in names:
        found["ball_rises"] = curvature.ball_rises(loss, usable)
    return {name: jnp.where(finite, value, jnp.nan) for name, value in found.items()}


def _at(x_NxLxD: jax.Array, at_N: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x_NxLxD, at_N[:, None, None], axis=1)[:, 0]


def _answers(examples: Example, position: int, label_N: jax.Array, n_classes: int) -> tuple[jax.Array, jax.Array]:
    """The answer's token for each class, int32[C] (−1 where the class is absent), and whether the label decides it."""
    at_Nx1 = examples.read[:, position, None]
    due_N = jnp.take_along_axis(examples.targets, at_Nx1, axis=1)[:, 0]
    weight_N = jnp.take_along_axis(examples.weights, at_Nx1, axis=1)[:, 0]
    token_C = jnp.full((n_classes,), -1, jnp.int32).at[label_N].max(due_N)
    return token_C, jnp.all(weight_N >= 1) & jnp.all(token_C[label_N] == due_N)


def constants(wanted: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metric's arguments that are the same for all cells: static ones, and traced ones; argument -> value."""
    numbers = {name: wanted.options[name] for name in wanted.metric.settings}
    sizes = wanted.use.task.factor_sizes
    fixed: dict[str, Any] = {"n_classes": sizes[wanted.factor], "factor_sizes": tuple(sizes.values())}
    fixed |= {n: v for n, v in numbers.items() if n in STATIC}
    if "context" in wanted.options:
        fixed["n_contexts"] = sizes[wanted.options["context"]]
    traced = {name: jnp.float32(value) for name, value in numbers.items() if name not in STATIC}
    traced |= {"key": jax.random.key(NOISE_SEED)} if "key" in wanted.metric.arguments else {}
    return fixed, traced


Cells = Iterable[tuple[tuple[int, ...], Mapping[str, np.ndarray]]]
"""(indices of cells, their arrays with a leading axis over those cells), block by block."""


def read(study: Study, wanted: Request, cells: Cells, others: Cells = ()) -> dict[str, np.ndarray]:
    """Readings of cells whose arguments have been read.

    Args:
      study: the study.
      wanted: what is measured.
      cells: the arguments of the cells.
      others: of a reading of two cells: the arguments of the cells to compare with, one a seed.

    Returns:
      {'cell': int64[C], reading: float64[C]}, cells in ascending order.

    Raises:
      UserError: cells to compare with are missing or several of one seed, or a number is out of its range.
    """
    state_of = _by_seed(study, others)
    rows: dict[int, dict[str, float]] = {}
    calls: dict[TaskUse, tuple[Callable[[Any], Any], dict[str, Any]]] = {}
    with lapack_on_one_thread():
        for indices, arrays in cells:
            mine = wanted.of(study.at(study.cells[indices[0]]))
            call, traced = calls[mine.use] = calls.get(mine.use) or _call(mine)
            for row, cell in enumerate(indices):
                given = {name: jnp.asarray(values[row]) for name, values in arrays.items()} | traced
                if wanted.is_pair:
                    given["other"] = jnp.asarray(_other(study, state_of, cell))
                try:
                    rows[cell] = {name: float(value) for name, value in call(given).items()}
                except ValueError as error:
                    raise UserError(f"{wanted.metric.name}: {error}.") from None
    order = sorted(rows)
    names = rows[order[0]]
    return {"cell": np.asarray(order)} | {name: np.asarray([rows[cell][name] for cell in order]) for name in names}


def _call(wanted: Request) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    """The metric as a program of its arguments, and those of them that all cells share."""
    fixed, traced = constants(wanted)
    return jax.jit(lambda arrays: wanted.metric({**arrays, **fixed})), traced


Inputs = tuple[Any, ...]
"""The seed of a cell, and the sizes of its tasks: cells that agree in them are read on the same inputs."""


def _inputs(study: Study, cell: int) -> Inputs:
    return int(study.cells[cell]["seed"]), *study.task_setting(study.cells[cell])


def _by_seed(study: Study, others: Cells) -> dict[Inputs, np.ndarray]:
    found: dict[Inputs, np.ndarray] = {}
    for indices, arrays in others:
        for row, cell in enumerate(indices):
            inputs = _inputs(study, cell)
            if inputs in found:
                raise UserError(
                    f"against: several cells of seed {inputs[0]}; name one a seed, such as one knob's value."
                )
            found[inputs] = arrays["states"][row]
    return found


def _other(study: Study, state_of: Mapping[Inputs, np.ndarray], cell: int) -> np.ndarray:
    """The states to compare a cell's with: of its own seed, as each seed has inputs of its own."""
    inputs = _inputs(study, cell)
    if inputs not in state_of:
        sizes = "".join(f" and {name}={exact(study.cells[cell][name])}" for name in study.task_sizes)
        raise UserError(f"against: no cell of seed {inputs[0]}{sizes}, which cell {cell} has to be compared with.")
    return state_of[inputs]
