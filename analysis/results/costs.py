"""What the cells of a study cost: counted in their checkpoints, at every one that was kept.

Shape letters: C cells, E evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from analysis.design import cells_in, name_of, setting_of
from lab.engine import Node, Plan, flops
from lab.mechanisms.low_rank import RANK as LOW_RANK
from lab.storage import Store, checkpoint
from lab.study.spec import Study

COLUMNS = ("parameters", "active_parameters", "flops_per_example", "training_flops")


@dataclass(frozen=True)
class Costs:
    """Costs of every cell at every kept step; `lab.engine.flops` says what is counted.

    Attributes:
      parameters: int[C, E], of the cell's own model.
      active_parameters: int[C, E], those of them that aren't zero.
      flops_per_example: float64[C, E], of a forward pass over a training example.
      training_flops: float64[C, E], of all steps so far. Those between two checkpoints are counted as the model is at
        the second: what was pruned in between counts as gone from the first on.
    """

    parameters: np.ndarray
    active_parameters: np.ndarray
    flops_per_example: np.ndarray
    training_flops: np.ndarray


def count(plan: Plan, store: Store) -> Costs:
    """Count them in the kept checkpoints of a finished study."""
    study = plan.study
    evaluations = [(index, step) for index, stage in enumerate(study.stages) for step in stage.saves]
    shape = (len(study.cells), len(evaluations))
    parameters, active = np.zeros(shape, int), np.zeros(shape, int)
    example, training = np.zeros(shape), np.zeros(shape)
    found = _read(plan, store)
    for cell, row in enumerate(plan.nodes_of_cells()):
        spent, before = 0.0, 0
        for at, (stage, step) in enumerate(evaluations):
            parameters[cell, at], active[cell, at], example[cell, at] = found[row[stage].key, step]
            spent += flops.training_flops(study, stage, row[stage].knobs, example[cell, at], before, step)
            training[cell, at], before = spent, step
    return Costs(parameters, active, example, training)


def _read(plan: Plan, store: Store) -> dict[tuple[str, int], tuple[int, int, float]]:
    """(node, step) -> (parameters, those that aren't zero, FLOPs an example); each checkpoint is loaded once."""
    study, found = plan.study, {}
    nodes = {node.key: node for group in plan.program_groups for node in group.nodes}
    chunks = {saves[0].path: saves for saves, _ in (store.nodes[key] for key in nodes)}
    for saves in chunks.values():
        for saved in saves:
            params = checkpoint.load_once(saved, "params")
            for row, key in enumerate(saved.meta["cells"]):
                if key in nodes:
                    one = jax.tree.map(lambda leaf, row=row: leaf[row], params)
                    found[key, saved.step] = _cost(study, nodes[key], one, saved.step)
    return found


def _cost(study: Study, node: Node, params: Any, step: int) -> tuple[int, int, float]:
    cell = {**study.cells[node.cells[0]], **{name: node.knobs[name] for name in study.tested}}
    spec = flops.own_spec(study, cell)
    weights = flops.weights_of(params, spec, low_rank=node.knobs[LOW_RANK.name] != LOW_RANK.neutral)
    per_example = flops.example_flops(
        study.at(node.knobs), node.stage, spec, weights, flops.sizes_of(spec, node.knobs, step)
    )
    return flops.dense(spec).total, weights.total, per_example


def table(study: Study, costs: Costs | None, stratum: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line for each setting of the claim's knob, at the end: the range over its cells."""
    if costs is None:
        return []
    mine = cells_in(study, stratum)
    knob_C = np.asarray([setting_of(study, study.cells[i]) for i in mine])
    lines = []
    for value in np.unique(knob_C):
        cells = np.asarray(mine)[knob_C == value]
        ranges = {name: _range(getattr(costs, name)[cells, -1]) for name in COLUMNS}
        lines.append({"setting": name_of(study, value), **ranges})
    return lines


def _range(values: np.ndarray) -> str:
    whole = np.issubdtype(values.dtype, np.integer)
    low, high = (f"{value:,}" if whole else f"{value:.4g}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
