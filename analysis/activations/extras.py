"""The readings that a study names next to those of every study, measured at every kept checkpoint.

A pass of its own, with a cache of its own: naming one more reading measures no other again. `study.measure` takes the
same readings of the same checkpoints on call.

Shape letters: M places (task × layer × read position), P places of one task, N probe examples, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.activations import measure, on_call
from analysis.activations.claimable import OF_CELL, OF_MECHANISM, Claimable, extra, obstacle, options_at
from analysis.activations.inference_model import InferenceModel, active_in, model_of, study_of
from analysis.activations.measure import Measurer, ProbeSite, probe_sites
from analysis.metrics import ON_CALL
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import Knobs
from lab.storage import Saved
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms

VERSION = 1  # raised whenever the same checkpoint would read differently


class ExtraMeasurer(Measurer):
    """Measures what a study names, as `Measurer` measures the readings of every study.

    Attributes:
      wanted: what is named, of one cell.
    """

    program = "named latent readings"

    def __init__(self, measurer: Measurer):
        super().__init__(
            measurer.study, measurer.programs, measurer.directory.parent, measurer.keep, note=measurer.note_damaged
        )
        self.wanted = tuple(one for one in extra(self.study) if one.kind in (OF_CELL, OF_MECHANISM))

    def _model(self, saved: Saved, knobs: Mapping[str, Mapping[str, Any]]) -> InferenceModel:
        also = {one.of for one in self.wanted if one.kind == OF_MECHANISM}
        return model_of(self.study, saved, knobs, also)

    def _of_cell(self, inference: InferenceModel, *cell: Any) -> dict[str, jax.Array]:
        return measure_cell(self.study, self.wanted, inference, *cell)

    def _names(self) -> set[str]:
        return {one.name for one in self.wanted}

    def settings(self) -> tuple[Any, ...]:
        """Everything but the parameters that decides the readings."""
        study = self.study
        tasks = tuple((use.label, use.task, use.factor, use.probe) for use in study.tasks)
        examples = tuple(use.examples for use in study.tasks)  # of the training loss
        content = (study.spec, tasks, examples, study.probe_layers, study.probe_examples)
        return (VERSION, measure.VERSION, *content, *(one.name for one in self.wanted), *study.further_probes)


Readings = dict[tuple[str, int], dict[str, np.ndarray]]
"""{(node key, step): {name: float64[M]}}."""


def with_named(
    measurer: Measurer,
    readings: Readings,
    saved: Iterable[Saved],
    knobs: Mapping[str, Mapping[str, Any]],
    on_progress: Callable[[int, int], None],
) -> Readings:
    """The readings of every study with those that this one names; arguments as of `Measurer.read`.

    What is named takes the place of a mechanism's reading of the same name, which has no value at neutral settings.
    """
    named = ExtraMeasurer(measurer)
    if not named.wanted:
        return readings
    further = named.read(saved, knobs, on_progress)
    measurer.measured += named.measured
    return {where: values | further[where] for where, values in readings.items()}


def measure_cell(
    study: Study,
    wanted: Iterable[Claimable],
    inference: InferenceModel,
    seed: jax.Array,
    params: Any,
    knobs: Knobs | None = None,
    trained: Any = 0,
) -> dict[str, jax.Array]:
    """Some readings of one cell at every place: name -> float32[M], NaN where a place can't have one.

    Args:
      study: the study.
      wanted: what is read.
      inference, seed, params, knobs, trained: as of `measure.measure_cell`.
    """
    study, active = study_of(study, inference), active_in(inference, knobs, trained)
    wanted = tuple(wanted)
    found = _of_mechanisms(study, [one for one in wanted if one.kind == OF_MECHANISM], inference, seed, params, active)
    metrics = dict.fromkeys(one.of for one in wanted if one.kind == OF_CELL)
    for metric in metrics:
        readings = [one for one in wanted if one.kind == OF_CELL and one.of == metric]
        found |= _on_call(study, readings, inference, seed, params, active)
    return {one.name: found[one.name] for one in wanted}


def _on_call(
    study: Study, readings: list[Claimable], inference: InferenceModel, seed: Any, params: Any, active: ActiveMechanisms
) -> dict[str, jax.Array]:
    """The readings of one metric on call: {name: float32[M]}."""
    sites, metric = probe_sites(study), ON_CALL[readings[0].of]
    if metric.of_the_model:
        asked = on_call.request(study, sites[0], metric.name, {})
        values = metric(on_call.arguments_of(study, asked)(inference, active, seed, params))
        return {one.name: jnp.full(len(sites), values[one.key]) for one in readings}
    value_of: dict[tuple[str, ProbeSite], jax.Array] = {}
    for what in dict.fromkeys((site.label, site.split, site.factor) for site in sites):
        here = [site for site in sites if (site.label, site.split, site.factor) == what]
        able = [site for site in here if not obstacle(study, site, readings[0])]
        if not able:
            continue
        options = [options_at(study, site, readings[0]) for site in able]
        requests = [on_call.request(study, site, metric.name, o) for site, o in zip(able, options, strict=True)]
        given = [on_call.arguments_of(study, one)(inference, active, seed, params) for one in requests]
        fixed, traced = on_call.constants(requests[0])

        def read(arrays: Any, same: Any = fixed | traced) -> dict[str, jax.Array]:
            return metric({**arrays, **same})

        values = lax.map(read, jax.tree.map(lambda *leaves: jnp.stack(leaves), *given))
        for index, site in enumerate(able):
            value_of |= {(one.name, site): jnp.asarray(values[one.key][index], jnp.float32) for one in readings}
    nan = jnp.asarray(jnp.nan, jnp.float32)
    return {one.name: jnp.stack([value_of.get((one.name, site), nan) for site in sites]) for one in readings}


def _of_mechanisms(
    study: Study, readings: list[Claimable], inference: InferenceModel, seed: Any, params: Any, active: ActiveMechanisms
) -> dict[str, jax.Array]:
    """The mechanisms' own readings: {name: float32[M]}."""
    if not readings:
        return {}
    states_MxNxD, _, _ = measure.hidden_states(study, seed, params, active.hook, inference.spec, active.shown)
    layers_M = jnp.asarray([site.layer for site in probe_sites(study)], jnp.float32)
    found = {}
    for one in readings:
        own = next(each for each in MECHANISMS[one.of].claimable if each.name == one.key)
        knobs = next(now for name, _, now in active if name == one.of)

        def read(states_NxD: Any, layer: Any, own: Any = own, knobs: Any = knobs) -> jax.Array:
            here = jnp.all(jnp.isfinite(states_NxD)) & (knobs[own.layer] == layer)
            return jnp.where(here, own.read(states_NxD, params, knobs), jnp.nan)

        found[one.name] = lax.map(lambda at, read=read: read(*at), (states_MxNxD, layers_M))
    return found
