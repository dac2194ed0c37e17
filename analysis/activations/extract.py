"""Hidden states of chosen cells, read from their checkpoints a block at a time, at several places in one pass.

Shape letters: C cells, M places, N probe examples, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from analysis.activations import measure
from analysis.activations.inference_model import InferenceModel, active_in, model_of, study_of
from lab.engine import Programs, device_grid
from lab.errors import UserError
from lab.storage import Saved, Store
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms

Members = dict[Path, list[tuple[int, Saved, int]]]
"""{checkpoint: (cell, checkpoint, row) of the cells in it}."""

OfCell = Callable[[InferenceModel, ActiveMechanisms, Any, Any], Any]
"""(the model next to its parameters, the mechanisms in it, seed, parameters) -> arrays; see `each`."""


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
      study, store: the study and what is kept of it.
      chosen: indices of cells.
      step: a kept step; of two stages that end there, the cells are those of the later one.

    Raises:
      UserError: for a cell that isn't trained so far.
    """
    # The last one: a stage without steps is kept under the step at which the one before it ends.
    stage = max(i for i, each in enumerate(study.stages) if step in each.saves)
    found: Members = {}
    for cell in chosen:
        place = store.at(study.key(study.cells[cell], stage), step)
        if place is None:
            settings = {axis.knob: study.cells[cell][axis.knob] for axis in study.axes}
            raise UserError(f"cell {cell} ({settings}) is not trained to step {step} yet.")
        saved, row = place
        found.setdefault(saved.path, []).append((cell, saved, row))
    return found


def each(
    study: Study,
    programs: Programs,
    knobs: Mapping[str, Mapping[str, Any]],
    members: Members,
    name: str,
    content: Hashable,
    function: OfCell,
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """What a function of one cell's model gives, block by block: memory holds one block and one checkpoint.

    Args:
      study: the study.
      programs: compiled ones, with the layout to run on.
      knobs: node key -> its knobs.
      members: the cells, see `find`.
      name, content: of the compiled program, see `lab.engine.program_cache.Programs.get`.
      function: pure JAX: (the model next to its parameters, the mechanisms in it, seed, parameters) -> arrays.

    Returns:
      (indices of the cells, the function's arrays with a leading axis over those cells), block by block.
    """
    size = programs.layout.devices * programs.layout.width
    for cells in members.values():
        inference = model_of(study, cells[0][1], knobs)
        for start in range(0, len(cells), size):
            block = cells[start : start + size]
            rows = device_grid.padded([(saved, row) for _, saved, row in block], size)
            arguments = measure.cells_to_read(rows, inference, knobs, programs.layout)

            def of_cell(seed: Any, params: Any, knobs: Any = None, trained: Any = 0, inference: Any = inference) -> Any:
                return function(inference, active_in(inference, knobs, trained), seed, params)

            call = programs.get(name, (inference._replace(values=()), content), of_cell, arguments)
            arrays = device_grid.fetch(call(*arguments))
            count = len(block)
            yield tuple(cell for cell, _, _ in block), jax.tree.map(lambda leaf, n=count: leaf[:n], arrays)


def at(study: Study, places: tuple[measure.ProbeSite, ...]) -> OfCell:
    """Of one cell: its states float32[M, N, D] and the task's factor int32[M, N] at some places, all at one layer."""
    at_layer = replace(study, probe_layers=(places[0].layer,))
    index_M = np.asarray([measure.probe_sites(at_layer).index(place) for place in places])

    def states(inference: InferenceModel, active: ActiveMechanisms, seed: Any, params: Any) -> tuple[Any, Any]:
        mine = study_of(at_layer, inference)
        hidden, labels, _ = measure.hidden_states(mine, seed, params, active.hook, inference.spec, active.shown)
        return hidden[index_M], labels[index_M]

    return states


def read(
    study: Study,
    programs: Programs,
    knobs: Mapping[str, Mapping[str, Any]],
    members: Members,
    places: tuple[measure.ProbeSite, ...],
) -> Iterator[Block]:
    """The cells' states, block by block; arguments as of `each`, places as of `at`."""
    for cells, arrays in each(study, programs, knobs, members, "hidden states", places, at(study, places)):
        yield Block(cells, *arrays)
