"""How dense the kernels of a pruned study are at its end: counted in the checkpoints, not taken from the knobs.

A weight that grew back and has not moved since counts as zero, as does one that training left at zero by chance.

Shape letters: C cells, K kernels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.design import cells_in
from lab.engine import Plan
from lab.mechanisms.pruning_masks import prunable
from lab.storage import Store, checkpoint
from lab.study.spec import Study
from lab.values import exact

PRUNING = {"prune", "structured"}


@dataclass(frozen=True)
class Density:
    """Weights that aren't zero after the last step.

    Attributes:
      kernels: names, such as 'block_0/attention/qkv'.
      size_K: int[K], weights of each.
      nonzero_CxK: int[C, K], those of a cell that aren't zero.
    """

    kernels: tuple[str, ...]
    size_K: np.ndarray
    nonzero_CxK: np.ndarray


def count(plan: Plan, store: Store) -> Density | None:
    """The density of every cell's kernels; None for a study that doesn't prune."""
    if not PRUNING & set(plan.study.mechanisms(plan.study.cells)):
        return None
    trees: dict[Any, dict[str, np.ndarray]] = {}
    counts = []
    for row in plan.nodes_of_cells():
        saved, index = store.final(row[-1].key)
        if saved.path not in trees:
            kernels = prunable(checkpoint.load_once(saved, "params"))
            trees[saved.path] = {path: np.asarray(kernel) for path, kernel in kernels.items()}
        counts.append([np.count_nonzero(kernel[index]) for kernel in trees[saved.path].values()])
    kernels = next(iter(trees.values()))
    names = tuple(path.strip("[]'").replace("']['", "/").removesuffix("/kernel") for path in kernels)
    return Density(names, np.asarray([kernel[0].size for kernel in kernels.values()]), np.asarray(counts))


def to_csv(study: Study, density: Density) -> str:
    """A row for each cell and kernel: the axes' settings, the weights that aren't zero, and all of them."""
    axes = [axis.knob for axis in study.axes]
    rows = [
        [key, *(cell[name] for name in axes), *kernel]
        for key, cell, nonzero_K in zip(study.cell_keys, study.cells, density.nonzero_CxK, strict=True)
        for kernel in zip(density.kernels, nonzero_K.tolist(), density.size_K.tolist(), strict=True)
    ]
    # Objects, so that a setting is printed as the study has it, be it a name, a whole number or another.
    frame = pd.DataFrame(rows, columns=["cell", *axes, "kernel", "nonzero", "weights"], dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def table(study: Study, density: Density | None, stratum: Mapping[str, Any]) -> dict[str, Any]:
    """A line for each kernel and one for all: the range of its density over the cells of each setting, in percent."""
    if density is None:
        return {}
    mine = cells_in(study, stratum)
    knob_C = np.asarray([float(study.cells[i][study.claim.knob]) for i in mine])
    values, lines = np.unique(knob_C), []
    nonzero_CxK = density.nonzero_CxK[mine]
    every_CxK = np.concatenate([nonzero_CxK, nonzero_CxK.sum(axis=1, keepdims=True)], axis=1)
    sizes = [*density.size_K, density.size_K.sum()]
    for index, (name, size) in enumerate(zip([*density.kernels, "all"], sizes, strict=True)):
        shares_C = every_CxK[:, index] / size
        lines.append(
            {"kernel": name, "weights": f"{size:,}", "shares": [_range(shares_C[knob_C == v]) for v in values]}
        )
    return {"settings": [exact(value) for value in values], "lines": lines}


def _range(shares: np.ndarray) -> str:
    low, high = (f"{100 * share:.4g}%" for share in (shares.min(), shares.max()))
    return low if low == high else f"{low} to {high}"
