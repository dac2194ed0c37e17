"""How alike are a cell and the neutral cell of its seed, and the cells of one setting from seed to seed?

A pass of its own after a study's checkpoints are measured, at every kept step, for the readings that the study names:
`<metric>_to_neutral` and `<metric>_between_seeds`, of the metrics on call that compare two cells.

Cells of one seed are compared on the seed's own probe inputs. Seeds have inputs and worlds of their own, so cells of
different seeds are compared on the inputs of one further seed, in its world, new to all of them.

A similarity between seeds belongs to a pair. What a cell is given is the jackknife's pseudo-value of the mean over all
pairs of its setting, S·U − (S−1)·U without the cell: their mean is U, and their spread over seeds is that of U, where
means over a cell's own pairs, which share cells, would spread half as much (Arvesen 1969, 10.1214/aoms/1177697287).

Shape letters: C cells, M places, N probe examples, D width, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.activations import extract, measure
from analysis.activations.claimable import BETWEEN_SEEDS, TO_NEUTRAL, Claimable, extra
from analysis.activations.inference_model import InferenceModel, kept_under, model_of, study_of
from analysis.activations.measure import Measurer, probe_sites
from analysis.metrics import ON_CALL
from lab.engine import device_grid
from lab.storage import Saved
from lab.study.comparable import changing
from lab.study.spec import Study, digest
from lab.training.active_mechanisms import ActiveMechanisms

Where = tuple[Saved, int]  # a checkpoint, and a cell's row in it
KnobsOf = Mapping[str, Mapping[str, Any]]  # node key -> its knobs
Pair = tuple[np.ndarray, np.ndarray]  # float32[M, N, D] of two cells
VERSION = 1  # raised whenever the same checkpoints would read differently
COMMON = 0x5EED  # the seed whose inputs are shown where seeds are compared


def read(
    study: Study,
    measurer: Measurer,
    where: Sequence[Where | None],
    references: Sequence[int | None],
    knobs: KnobsOf,
) -> dict[str, np.ndarray]:
    """The comparisons that a study names, after one step.

    Args:
      study: whose cells these are.
      measurer: knows the compiled programs, and where readings are kept.
      where: of each cell; None where it isn't trained so far.
      references: of each cell the neutral cell of its seed, itself if it is one; None where there is none.
      knobs: of every cell.

    Returns:
      {reading: float64[C, M]}, places in the order of `probe_sites(study)`; NaN where a cell has nothing to be compared
      with or isn't finite.
    """
    wanted = [one for one in extra(study) if one.kind in (TO_NEUTRAL, BETWEEN_SEEDS)]
    if not wanted:
        return {}
    there = [each for each in where if each is not None]
    models = [model_of(study, saved, knobs) for saved, _ in there]
    marks = [None if each is None else (each[0].meta["checksums"]["params"], each[1]) for each in where]
    settings = [(cell["seed"], _setting(cell)) for cell in study.cells]
    names = [one.name for one in wanted]
    content = [VERSION, measurer.settings(), names, marks, list(references), settings, kept_under(models)]
    path = measurer.directory / f"compared-{digest(repr(content))}.json"
    places = len(probe_sites(study))
    [rows] = measurer.kept([(path, partial(_fit, names, len(where), places))])
    if rows is None:
        found = {}
        if neutral := [one for one in wanted if one.kind == TO_NEUTRAL]:
            found |= _to_neutral(study, measurer, neutral, where, references, knobs)
        if seeds := [one for one in wanted if one.kind == BETWEEN_SEEDS]:
            found |= _between_seeds(study, measurer, seeds, where, knobs)
        rows = {name: values.tolist() for name, values in found.items()}
        measurer.put(path, rows)
    found = {name: np.asarray(rows[name], np.float64).reshape(len(where), places) for name in names}
    another = [site.label in changing(study) for site in probe_sites(study)]  # of these neutral cells have other inputs
    for one in (one for one in wanted if one.kind == TO_NEUTRAL):
        found[one.name][:, another] = np.nan
    return found


def _fit(names: Sequence[str], cells: int, places: int, rows: Any) -> bool:
    return (
        isinstance(rows, dict)
        and rows.keys() == {*names}
        and all(isinstance(of_cells, list) and len(of_cells) == cells for of_cells in rows.values())
        and all(measure.are_numbers(values, places) for of_cells in rows.values() for values in of_cells)
    )


def _setting(cell: Mapping[str, Any]) -> str:
    """A cell's settings without its seed."""
    return repr(sorted((name, str(value)) for name, value in cell.items() if name != "seed"))


def _to_neutral(
    study: Study,
    measurer: Measurer,
    wanted: Sequence[Claimable],
    where: Sequence[Where | None],
    references: Sequence[int | None],
    knobs: KnobsOf,
) -> dict[str, np.ndarray]:
    neutral = {index: where[index] for index in {*references} - {None} if index is not None}
    states = dict(_states(study, measurer, {i: at for i, at in neutral.items() if at is not None}, knobs, None))
    compared = {i: at for i, at in enumerate(where) if at is not None and references[i] in states}

    def pairs() -> Iterator[tuple[int, Pair]]:
        for index, states_MxNxD in _states(study, measurer, compared, knobs, None):
            reference = references[index]
            assert reference is not None
            yield index, (states_MxNxD, states[reference])

    found = {one.name: np.full((len(where), len(probe_sites(study))), np.nan) for one in wanted}
    for index, values in _compared(measurer, wanted, pairs()):
        for name, values_M in values.items():
            found[name][index] = values_M
    return found


def _between_seeds(
    study: Study, measurer: Measurer, wanted: Sequence[Claimable], where: Sequence[Where | None], knobs: KnobsOf
) -> dict[str, np.ndarray]:
    """A setting's states are held until all of its seeds are there; in a grid, seeds follow one another."""
    alike: dict[str, list[int]] = {}
    for index, at in enumerate(where):
        if at is not None:
            alike.setdefault(_setting(study.cells[index]), []).append(index)
    of_cell = {index: group for group in alike.values() for index in group}
    there = {index: at for index, at in enumerate(where) if at is not None}

    def pairs() -> Iterator[tuple[tuple[int, int], Pair]]:
        held: dict[int, np.ndarray] = {}
        for index, states_MxNxD in _states(study, measurer, there, knobs, COMMON):
            held[index] = states_MxNxD
            group = of_cell[index]
            if held.keys() >= {*group}:
                states = {i: held.pop(i) for i in group}
                yield from (((i, j), (states[i], states[j])) for i, j in combinations(group, 2))

    places = len(probe_sites(study))
    values_of: dict[tuple[int, int], dict[str, np.ndarray]] = dict(_compared(measurer, wanted, pairs()))
    found = {one.name: np.full((len(where), places), np.nan) for one in wanted}
    for group in alike.values():
        for name, values_CxM in found.items():
            pair_SxSxM = np.full((len(group), len(group), places), np.nan)
            for (a, i), (b, j) in combinations(enumerate(group), 2):
                pair_SxSxM[a, b] = pair_SxSxM[b, a] = values_of[i, j][name]
            values_CxM[group] = np.stack([pseudo_values(pair_SxSxM[..., m]) for m in range(places)], axis=1)
    return found


def pseudo_values(pair_SxS: np.ndarray) -> np.ndarray:
    """The jackknife's pseudo-values of the mean over pairs of seeds, float64[S].

    Args:
      pair_SxS: symmetric; the diagonal is not read. NaN in all pairs of a seed leaves the seed out, which reads NaN.

    Returns:
      float64[S]; of two seeds the pair's value for both, of one NaN.
    """
    pair_SxS = np.where(np.eye(len(pair_SxS), dtype=bool), np.nan, pair_SxS)
    kept = np.flatnonzero(np.isfinite(pair_SxS).any(axis=1))
    value_S, count = np.full(len(pair_SxS), np.nan), len(kept)
    if count < 2:
        return value_S
    inside = np.where(np.isfinite(pair_SxS), pair_SxS, 0.0)[np.ix_(kept, kept)]
    total = inside.sum()
    mean = total / (count * (count - 1))
    if count == 2:
        value_S[kept] = mean
        return value_S
    without_S = (total - 2 * inside.sum(axis=1)) / ((count - 1) * (count - 2))
    value_S[kept] = count * mean - (count - 1) * without_S
    return value_S


def _states(
    study: Study, measurer: Measurer, cells: Mapping[int, Where], knobs: KnobsOf, shown_seed: int | None
) -> Iterator[tuple[int, np.ndarray]]:
    """(cell, its states float32[M, N, D]) one by one, on the probe inputs of its own seed or of the one that is shown.

    Cells that are still one, before their knobs part them, are read once.
    """
    first: dict[tuple[Path, int], list[int]] = {}
    members: extract.Members = {}
    for index, (saved, row) in cells.items():
        same = first.setdefault((saved.path, row), [])
        if not same:
            members.setdefault(saved.path, []).append((index, saved, row))
        same.append(index)

    def of_cell(inference: InferenceModel, active: ActiveMechanisms, seed: Any, params: Any) -> jax.Array:
        at = seed if shown_seed is None else jnp.full_like(seed, shown_seed)
        mine = study_of(study, inference)
        states, _, _ = measure.hidden_states(mine, at, params, active.hook, inference.spec, active.shown)
        return states

    content = (*measurer.settings(), shown_seed)
    blocks = extract.each(study, measurer.programs, knobs, members, "states to compare", content, of_cell)
    for indices, states_CxMxNxD in blocks:
        for index, states_MxNxD in zip(indices, states_CxMxNxD, strict=True):
            saved, row = cells[index]
            yield from ((other, states_MxNxD) for other in first[saved.path, row])


def _compared(
    measurer: Measurer, wanted: Sequence[Claimable], pairs: Iterator[tuple[Any, Pair]]
) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
    """(whatever stands before a pair, {reading: float32[M]}) pair by pair, as many at once as the devices take."""
    programs = measurer.programs
    size = programs.layout.devices * programs.layout.width
    names = tuple((one.name, one.of, one.key) for one in wanted)
    block: list[tuple[Any, Pair]] = []

    def carried_out() -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
        padded = device_grid.padded([pair for _, pair in block], size)
        arguments = device_grid.to_devices(tuple(map(np.stack, zip(*padded, strict=True))), programs.layout)
        call = programs.get("similarities", (VERSION, names), _similarities(names), arguments)
        values = device_grid.fetch(call(*arguments))
        yield from ((who, {name: values[name][g] for name in values}) for g, (who, _) in enumerate(block))

    def shapes(one: tuple[Any, Pair]) -> list[tuple[int, ...]]:
        return [states.shape for states in one[1]]

    for one in pairs:
        if block and shapes(block[0]) != shapes(one):  # models of another width
            yield from carried_out()
            block.clear()
        block.append(one)
        if len(block) == size:
            yield from carried_out()
            block.clear()
    if block:
        yield from carried_out()


def _similarities(names: Sequence[tuple[str, str, str]]) -> Callable[[jax.Array, jax.Array], dict[str, jax.Array]]:
    """(float32[M, N, D], float32[M, N, D]) -> {reading: float32[M]}."""

    def of_place(pair: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        given: dict[str, Hashable | jax.Array] = {"states": pair[0], "other": pair[1]}
        found = {of: ON_CALL[of]({**given, **ON_CALL[of].settings}) for _, of, _ in names}
        return {name: found[of][key] for name, of, key in names}

    return lambda x_MxNxD, y_MxNxD: lax.map(of_place, (x_MxNxD, y_MxNxD))
