"""Are a cell's hidden states a linear image of the neutral cell's, and those of the cell's? Read at the end of a study.

A reading of two cells, so it has a pass of its own next to `measure.Measurer`: the neutral cells' states, one set a
seed, are taken from the devices once and given to the program that reads the others. What moves under linear maps
proves nothing about cells that are linear images of one another (the cause 'latent artefact').

Shape letters: P places (where claims are read, one a task), N probe examples, D width, G cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analysis.activations import extract, measure
from analysis.activations.inference_model import kept_under, model_of
from analysis.activations.measure import Measurer
from analysis.metrics import linear_image
from lab.engine import device_grid
from lab.storage import Saved
from lab.study.comparable import changing
from lab.study.spec import Study, digest

Where = tuple[Saved, int]  # a checkpoint, and a cell's row in it
KnobsOf = Mapping[str, Mapping[str, Any]]  # node key -> its knobs
VERSION = 1  # raised whenever the same checkpoints would read differently


def read(measurer: Measurer, pairs: list[tuple[Where, Where]], knobs: KnobsOf) -> dict[str, np.ndarray]:
    """R² of each cell's states and its neutral cell's as linear images of each other, the lower of the two directions.

    Args:
      measurer: knows the study, the compiled programs, and where readings are kept.
      pairs: (a cell, the neutral cell of its seed), both at the same step.
      knobs: of every cell in them.

    Returns:
      {'<place>/image_r2': float64[pairs]} for the place where each task's claims are read; NaN as in
      `similarity.linear_image`.
    """
    names = [f"{place}/image_r2" for place in _claim_places(measurer.study)]
    models = [tuple(model_of(measurer.study, one, knobs) for one, _ in pair) for pair in pairs]
    marks = [[(one.meta["checksums"]["params"], row) for one, row in pair] for pair in pairs]
    path = (
        measurer.directory / f"images-{digest([kept_under(_content(measurer)), repr(marks), kept_under(models)])}.json"
    )
    [rows] = measurer.kept([(path, partial(_fit, len(pairs), len(names)))])
    if rows is None:
        rows = _measured(measurer, pairs, knobs)
        measurer.put(path, rows)
    values = np.asarray(rows, np.float64).reshape(len(pairs), len(names))
    another = changing(measurer.study)  # of these neutral cells have other inputs
    values[:, [place.label in another for place in _claim_places(measurer.study)]] = np.nan
    return {name: values[:, p] for p, name in enumerate(names)}


def _fit(pairs: int, names: int, rows: Any) -> bool:
    return isinstance(rows, list) and len(rows) == pairs and all(measure.are_numbers(row, names) for row in rows)


def _content(measurer: Measurer) -> tuple[Any, ...]:
    return (VERSION, measurer.study.claim.layer, *measurer.settings())


def _claim_places(study: Study) -> list[measure.ProbeSite]:
    return [measure.claim_site(study, use.label) for use in study.tasks]


def _measured(measurer: Measurer, pairs: list[tuple[Where, Where]], knobs: KnobsOf) -> list[list[float]]:
    """R² of each pair, [pairs][P]."""
    programs, others = measurer.programs, list({_address(other): other for _, other in pairs}.values())
    neutral_PxNxD = {}
    for block in _states(measurer, others, knobs):
        neutral_PxNxD |= {_address(others[i]): block.states_CxMxNxD[c] for c, i in enumerate(block.cells)}

    found: list[list[float]] = [[] for _ in pairs]
    for block in _states(measurer, [cell for cell, _ in pairs], knobs):
        both = [(block.states_CxMxNxD[c], neutral_PxNxD[_address(pairs[i][1])]) for c, i in enumerate(block.cells)]
        padded = device_grid.padded(both, programs.layout.devices * programs.layout.width)
        arguments = device_grid.to_devices(tuple(map(np.stack, zip(*padded, strict=True))), programs.layout)
        call = programs.get("linear images", VERSION, _image_r2, arguments)
        r2_GxP = device_grid.fetch(call(*arguments))
        for c, i in enumerate(block.cells):
            found[i] = r2_GxP[c].tolist()
    return found


def _address(where: Where) -> tuple[Path, int]:
    return where[0].path, where[1]


def _states(measurer: Measurer, cells: list[Where], knobs: KnobsOf) -> Iterator[extract.Block]:
    """Some cells' hidden states where claims are read, by the program that pictures of them use, too."""
    members: extract.Members = {}
    for index, (saved, row) in enumerate(cells):
        members.setdefault(saved.path, []).append((index, saved, row))
    return extract.read(measurer.study, measurer.programs, knobs, members, tuple(_claim_places(measurer.study)))


def _image_r2(states_PxNxD: jax.Array, neutral_PxNxD: jax.Array) -> jax.Array:
    """float32[P], the lower of the two directions."""
    return lax.map(lambda pair: jnp.min(jnp.stack(linear_image(*pair))), (states_PxNxD, neutral_PxNxD))
