"""One cell's model with its hidden states edited at one place: is what a probe finds there used?

Three questions, none of which trains anything. Removal: is the answer worse without the subspace of a factor,
and worse than without a random one? Interchange: does the answer follow another example's factor when that subspace is
swapped (Geiger et al. 2021, 2106.02997)? Reparametrization: how far do latent metrics move under a change of basis
that the next layer undoes?

Maps are fitted to the first half of the probe set, answers are read on the second. Everything that is no function of
a cell is drawn from a constant, so all cells are edited alike.

Shape letters: E edits, R random draws, N probe examples, M in the second half, L tokens, D hidden width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from analysis.activations import ProbeSite, probe_set
from analysis.activations.inference_model import InferenceModel, study_of
from analysis.causal.subspaces import Basis, bases, factor_removal, matched_removal, random_removal
from analysis.metrics import (
    METRICS,
    accuracy_of,
    centre,
    classes,
    control_labels,
    matmul,
    measure,
    or_nan,
    spectrum,
    whitened_halves,
)
from lab.engine import evaluate
from lab.nn import model
from lab.prng import derive_key
from lab.study.parts import TaskUse
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.base import Example, fed_back

DRAWS = 4  # random subspaces of each kind
SEED = 0xED17
LEAST_PAIRS = 16  # fewer interchanges than this say nothing
REMOVED = ("none", "factor", "random", "matched")
SWAPPED = ("factor", "random", "matched", "whole")


@dataclass(frozen=True)
class Cut:
    """Where and by which factor hidden states are edited; static.

    Attributes:
      place: task, layer and read position.
      use: the task with the factor that is removed or swapped.
      read: index of the place's read position.
    """

    place: ProbeSite
    use: TaskUse
    read: int

    @classmethod
    def at(cls, place: ProbeSite, use: TaskUse) -> Cut:
        """At a place of a task."""
        return cls(place, use, use.task.read_names.index(place.read))

    def of(self, study: Study) -> Cut:
        """The same in a study whose task under the label may have other sizes."""
        return replace(self, use=replace(self.use, task=study.use(self.use.label).task))

    def within(self, spec: model.ModelSpec) -> Cut:
        """The same, its layer counted from the embedding of a model of those sizes."""
        return replace(self, place=replace(self.place, layer=self.place.layer % (spec.layers + 1)))


class Edits(NamedTuple):
    """E edits at once: the states x there become x + (towards − x)·map."""

    map_ExDxD: Array
    towards_MxD: Array


class _CellExamples(NamedTuple):
    """A cell's model and the examples that it answers, read at one position each."""

    params: Any
    spec: model.ModelSpec
    active: ActiveMechanisms
    examples: Example
    at_N: Array
    feeds: bool
    world: Any

    def rows(self, first: int | None, last: int | None) -> _CellExamples:
        return self._replace(examples=jax.tree.map(lambda x: x[first:last], self.examples), at_N=self.at_N[first:last])

    def run(self, hook: model.Hook) -> model.Forward:
        """Teacher-forced, logits at the read position only: [N, 1, V]."""
        tokens, targets, weights = self.examples[:3]
        fed_NxL = fed_back(tokens, targets, weights) & self.feeds
        question_N = jnp.argmax(weights > 0, axis=1).astype(jnp.int32)
        tokens_NxL = self.active.shown(tokens, fed_NxL)
        return model.run(self.params, tokens_NxL, self.spec, self.at_N[:, None], hook, question_N)


class _Unedited(NamedTuple):
    """A cell's model, not edited: its states at the place, and the factor's labels."""

    cell: _CellExamples
    forward: model.Forward
    states_NxD: Array
    labels_N: Array
    n_classes: int


def edit_effects(
    study: Study, cut: Cut, inference: InferenceModel, active: ActiveMechanisms, seed: Array, params: Any
) -> dict[str, Array]:
    """Removal and interchange in one cell at one place: name -> float32[].

    Names: `dimension` of what is removed; `remove/<one of REMOVED>/<reading>` with the readings of
    `lab.engine.evaluate.Ability` (of the second half), `probe` (held-out accuracy of a new probe behind the edit) and
    `variance` (share removed); `swap/<one of SWAPPED>/<follows or stays>` and `swap/pairs`.

    A swap is between two examples of different answers, both answered right when nothing is edited; NaN below
    `LEAST_PAIRS` of them, and where the answer at the read position isn't a function of the factor alone. NaN
    throughout for a cell that diverged.
    """
    study, cut = study_of(study, inference), cut.within(inference.spec)
    cut = cut.of(study)
    unedited = _unedited(study, cut, inference, active, seed, params)
    cell, states_NxD, labels_N, n_classes = unedited.cell, unedited.states_NxD, unedited.labels_N, unedited.n_classes
    h, width = labels_N.shape[0] // 2, states_NxD.shape[1]

    cloud = centre(states_NxD[:h])
    spec, factor = spectrum(cloud.points_NxD), factor_removal(cloud, classes(labels_N[:h], n_classes))
    most = min(n_classes - 1, *spec.axes_KxD.shape)
    keys_R = jax.random.split(jax.random.key(SEED), DRAWS)
    random = [random_removal(spec, key, factor.dimension, most) for key in keys_R]
    matched = [matched_removal(spec, key, factor.dimension, most, factor.variance) for key in keys_R]
    nothing, whole = (x * jnp.eye(width, dtype=jnp.float32) for x in (0.0, 1.0))
    maps_ExDxD = jnp.stack([nothing, *(one.map_DxD for one in (factor, *random, *matched)), whole])

    second, mean_D = cell.rows(h, None), jnp.mean(states_NxD[:h], axis=0)
    towards_MxD = jnp.broadcast_to(mean_D, states_NxD[h:].shape)
    removed = _removal(study, cut, second, Edits(maps_ExDxD[:-1], towards_MxD))
    removed["probe"] = _probes(states_NxD[h:], labels_N[h:], n_classes, maps_ExDxD[:-1])
    off_NxD = states_NxD[:h] - mean_D[None, :]
    energy_E = jnp.sum(jnp.square(matmul(off_NxD[None], maps_ExDxD)), axis=(1, 2))
    removed["variance"] = energy_E[:-1] / energy_E[-1]
    donors = Edits(maps_ExDxD, jnp.roll(states_NxD[h:], -1, axis=0))
    swapped, pairs = _interchange(cut, second, labels_N[h:], n_classes, donors)

    readings = {f"remove/{kind}/{name}": x for name, e in removed.items() for kind, x in _by_kind(e, REMOVED).items()}
    swaps = {name: _by_kind(e[1:], SWAPPED) for name, e in swapped.items()}
    readings |= {f"swap/{kind}/{name}": x for name, kinds in swaps.items() for kind, x in kinds.items()}
    readings |= {"dimension": factor.dimension, "swap/pairs": pairs}
    valid = cloud.valid & jnp.all(jnp.isfinite(unedited.forward.logits))
    return {name: or_nan(valid, value) for name, value in readings.items()}


def reparametrize(
    study: Study, cut: Cut, inference: InferenceModel, active: ActiveMechanisms, seed: Array, params: Any
) -> dict[str, dict[str, Array]]:
    """One cell's latent metrics in several bases of the same function: basis -> metric -> float32[].

    Next to `METRICS`, `output`: the largest change of a logit at the read position, over their RMS; what rounding does.
    The basis `none` is the cell as it is. NaN for a cell that diverged.
    """
    study, cut = study_of(study, inference), cut.within(inference.spec)
    cut = cut.of(study)
    unedited = _unedited(study, cut, inference, active, seed, params)
    cell, layer = unedited.cell, cut.place.layer
    cloud = centre(unedited.states_NxD)
    factor = factor_removal(cloud, classes(unedited.labels_N, unedited.n_classes))
    control_N = control_labels(cell.examples.tokens, unedited.labels_N)
    eye = jnp.eye(unedited.states_NxD.shape[1], dtype=jnp.float32)
    changes = {"none": Basis(eye, eye)} | bases(
        spectrum(cloud.points_NxD), factor, jax.random.fold_in(jax.random.key(SEED), 1)
    )
    size = jnp.sqrt(jnp.mean(jnp.square(unedited.forward.logits)))

    def read(basis: Basis) -> dict[str, Array]:
        forward = cell.run(rebased(active.hook, layer, basis))
        readings = measure(_at(forward.hidden[layer], cell.at_N), unedited.labels_N, control_N, unedited.n_classes)
        output = jnp.max(jnp.abs(forward.logits - unedited.forward.logits)) / size
        return {name: readings[name] for name in METRICS} | {"output": output}

    stacked: Basis = jax.tree.map(lambda *leaves: jnp.stack(leaves), *changes.values())
    found = {name: or_nan(cloud.valid, values) for name, values in lax.map(read, stacked).items()}
    return {name: {metric: values[i] for metric, values in found.items()} for i, name in enumerate(changes)}


def edited(hook: model.Hook, layer: int, at_N: Array, map_DxD: Array, towards_NxD: Array) -> model.Hook:
    """`hook`, after which the state x at one position of each example is x + (towards − x)·map."""

    def after(hook_point: str, index: int, x: Any) -> Any:
        x = hook(hook_point, index, x)
        if (hook_point, index) != site_of(layer):
            return x
        rows_N = jnp.arange(x.shape[0])
        return x.at[rows_N, at_N].add(matmul(towards_NxD - x[rows_N, at_N], map_DxD))

    return after


def rebased(hook: model.Hook, layer: int, basis: Basis) -> model.Hook:
    """`hook`, with the layer's states in another basis until the next block, or the final norm, takes them over."""

    def after(hook_point: str, index: int, x: Any) -> Any:
        if (hook_point, index) == ("onward", layer):
            x = matmul(x, basis.back_DxD)
        x = hook(hook_point, index, x)
        return matmul(x, basis.there_DxD) if (hook_point, index) == site_of(layer) else x

    return after


def site_of(layer: int) -> tuple[str, int]:
    """The hook point that gives `Forward.hidden[layer]`."""
    return ("residual" if layer else "embedding"), layer


def _unedited(
    study: Study, cut: Cut, inference: InferenceModel, active: ActiveMechanisms, seed: Array, params: Any
) -> _Unedited:
    use, world = cut.use, study.mixture.worlds(derive_key(seed, "world"))[cut.use.label]
    examples = probe_set(study, use, seed, world)
    feeds = use.task.splits[use.probe].decode_steps > 1
    cell = _CellExamples(params, inference.spec, active, examples, examples.read[:, cut.read], feeds, world)
    forward = cell.run(active.hook)
    states_NxD = _at(forward.hidden[cut.place.layer], cell.at_N)
    return _Unedited(cell, forward, states_NxD, examples.factors[use.factor], use.task.factor_sizes[use.factor])


def _at(x_NxLxD: Array, at_N: Array) -> Array:
    return jnp.take_along_axis(x_NxLxD, at_N[:, None, None], axis=1)[:, 0]


def _by_kind(values_E: Array, kinds: tuple[str, ...]) -> dict[str, Array]:
    """Edits in the order of `kinds`, the random ones `DRAWS` each, which are averaged."""
    found, start = {}, 0
    for kind in kinds:
        count = DRAWS if kind in ("random", "matched") else 1
        found[kind] = jnp.mean(values_E[start : start + count])
        start += count
    return found


def _removal(study: Study, cut: Cut, cell: _CellExamples, edits: Edits) -> dict[str, Array]:
    """float32[E]: the fields of `evaluate.Ability`, of the answers."""
    tokens, targets, weights = cell.examples[:3]
    steps = cut.use.task.splits[cut.use.probe].decode_steps

    def ability(map_DxD: Array) -> evaluate.Ability:
        hook = edited(cell.active.hook, cut.place.layer, cell.at_N, map_DxD, edits.towards_MxD)
        answers, logprob = evaluate.answer(
            cell.params, cell.spec, tokens, targets, weights, steps, hook, cell.active.shown
        )
        right_M = jax.vmap(lambda e, a: study.mixture.score(cut.use.label, e, a, cell.world))(cell.examples, answers)
        by_token = evaluate.token_accuracy(right_M, answers, targets, weights)
        return evaluate.Ability(jnp.mean(right_M.astype(jnp.float32)), logprob, by_token)

    return lax.map(ability, edits.map_ExDxD)._asdict()


def _probes(states_MxD: Array, labels_M: Array, n_classes: int, map_ExDxD: Array) -> Array:
    """float32[E]: accuracy of probes trained on one half of the second half and tested on the other.

    Not on what the maps were fitted to: there nothing linear is left by construction, and any probe is a constant.
    """
    cloud, groups, half = centre(states_MxD), classes(labels_M, n_classes), states_MxD.shape[0] // 2

    def accuracy(map_DxD: Array) -> Array:
        left_MxD = cloud.points_NxD - matmul(cloud.points_NxD, map_DxD)
        return accuracy_of(whitened_halves(left_MxD[:half], left_MxD[half:], cloud.resolution), groups)

    return lax.map(accuracy, map_ExDxD)


def _interchange(
    cut: Cut, cell: _CellExamples, labels_M: Array, n_classes: int, donors: Edits
) -> tuple[dict[str, Array], Array]:
    """Shares float32[E] of the pairs whose answer at the read position becomes the donor's, or stays; their number.

    The first edit changes nothing: it says which examples are answered right.
    """
    due_M = jnp.take_along_axis(cell.examples.targets, cell.at_N[:, None], axis=1)[:, 0]
    weight_M = jnp.take_along_axis(cell.examples.weights, cell.at_N[:, None], axis=1)[:, 0]
    token_of_C = jnp.full((n_classes,), -1, jnp.int32).at[labels_M].max(due_M)
    is_decided = jnp.all(weight_M >= 1) & jnp.all(token_of_C[labels_M] == due_M)  # the factor alone decides the answer

    def said(map_DxD: Array) -> Array:
        hook = edited(cell.active.hook, cut.place.layer, cell.at_N, map_DxD, donors.towards_MxD)
        return jnp.argmax(cell.run(hook).logits[:, 0], axis=-1).astype(jnp.int32)

    said_ExM = lax.map(said, donors.map_ExDxD)
    wanted_M, right_M = jnp.roll(due_M, -1), said_ExM[0] == due_M
    is_pair_M = (due_M != wanted_M) & right_M & jnp.roll(right_M, -1)
    pairs = jnp.sum(is_pair_M & is_decided).astype(jnp.float32)
    counted = pairs >= LEAST_PAIRS

    def share(is_so_ExM: Array) -> Array:
        count_E = jnp.sum(is_so_ExM & is_pair_M[None, :], axis=1).astype(jnp.float32)
        return or_nan(counted, count_E / jnp.maximum(pairs, jnp.float32(1)))

    return {"follows": share(said_ExM == wanted_M[None, :]), "stays": share(said_ExM == due_M[None, :])}, pairs
