"""Hidden states of chosen cells, read from their checkpoints a block at a time, at several places in one pass.

Shape letters: C cells, M places, N probe examples, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis import latents
from lab import population
from lab.checkpoint import Saved
from lab.config import Study
from lab.errors import UserError
from lab.programs import Programs
from lab.store import Store

Members = dict[Path, list[tuple[int, Saved, int]]]
"""{checkpoint: (cell, checkpoint, row) of the cells in it}."""


@dataclass(frozen=True)
class Block:
    """Some cells' states.

    Attributes:
      cells: their indices in the study.
      states_CxMxNxD: float32.
      labels_CxMxN: int32, the task's factor.
    """

    cells: tuple[int, ...]
    states_CxMxNxD: np.ndarray
    labels_CxMxN: np.ndarray


def find(study: Study, store: Store, chosen: Iterable[int], step: int) -> Members:
    """Where cells are kept after a step.

    Args:
      study, store: the study and what is finished of it.
      chosen: indices of cells.
      step: a kept step.

    Raises:
      UserError: for a cell that isn't trained so far.
    """
    stage = next(i for i, each in enumerate(study.stages) if step in each.saves)
    found: Members = {}
    for cell in chosen:
        key = study.key(study.cells[cell], stage)
        if key not in store.nodes:
            settings = {axis.knob: study.cells[cell][axis.knob] for axis in study.axes}
            raise UserError(f"cell {cell} ({settings}) is not trained to the end of its stage yet.")
        chunk, row = store.nodes[key]
        saved = next(one for one in chunk if one.step == step)
        found.setdefault(saved.path, []).append((cell, saved, row))
    return found


def read(
    study: Study,
    programs: Programs,
    knobs: Mapping[str, Mapping[str, Any]],
    members: Members,
    places: tuple[latents.Place, ...],
) -> Iterator[Block]:
    """The cells' states, block by block: memory holds one block and one checkpoint.

    Args:
      study: the study.
      programs: compiled ones, with the layout to run on.
      knobs: node key -> its knobs.
      members: the cells, see `find`.
      places: where to read, all at one layer.
    """
    size = programs.layout.devices * programs.layout.width
    for cells in members.values():
        stays = latents.model_of(study, cells[0][1], knobs)
        for start in range(0, len(cells), size):
            block = cells[start : start + size]
            yield _read(study, programs, knobs, block, size, stays, places)


def _read(
    study: Study,
    programs: Programs,
    knobs: Mapping[str, Mapping[str, Any]],
    block: list[tuple[int, Saved, int]],
    size: int,
    stays: latents.Staying,
    places: tuple[latents.Place, ...],
) -> Block:
    """Up to `size` cells of one model."""
    at_layer = replace(study, probe_layers=(places[0].layer,))
    index_M = np.asarray([latents.places(at_layer).index(place) for place in places])
    rows = population.padded([(saved, row) for _, saved, row in block], size)
    arguments = latents.cells_to_read(rows, stays, knobs, programs.layout)

    def states(seed: Any, params: Any, knobs: Any = None, trained: Any = 0) -> tuple[Any, Any]:
        acting = latents.acting_in(stays, knobs, trained)
        hidden, labels, _ = latents.hidden_states(at_layer, seed, params, acting.touch, stays.spec, acting.shown)
        return hidden[index_M], labels[index_M]

    call = programs.get("hidden states", (stays._replace(values=()), places), states, arguments)
    states_CxMxNxD, labels_CxMxN = population.fetch(call(*arguments))
    return Block(tuple(cell for cell, _, _ in block), states_CxMxNxD[: len(block)], labels_CxMxN[: len(block)])
