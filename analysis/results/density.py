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

from analysis.design import cells_in, name_of, setting_of
from lab.engine import Plan
from lab.mechanisms.pruning_masks import prunable
from lab.storage import Store, checkpoint
from lab.study.spec import Study

PRUNING = {"prune", "structured"}


@dataclass(frozen=True)
class Density:
    """Weights that aren't zero after the last step.

    Attributes:
      kernels: names, such as 'block_0/attention/qkv'.
      size_CxK: int[C, K], weights of each in a cell; 0 where the cell's model has no such kernel.
      nonzero_CxK: int[C, K], those of a cell that aren't zero.
    """

    kernels: tuple[str, ...]
    size_CxK: np.ndarray
    nonzero_CxK: np.ndarray

    @property
    def size_K(self) -> np.ndarray:
        """int[K], weights of each in the cell that has most."""
        return self.size_CxK.max(axis=0)


def count(plan: Plan, store: Store) -> Density | None:
    """The density of every cell's kernels; None for a study that doesn't prune."""
    if not PRUNING & set(plan.study.mechanisms(plan.study.cells)):
        return None
    trees: dict[Any, dict[str, np.ndarray]] = {}
    found: list[dict[str, tuple[int, int]]] = []
    for row in plan.nodes_of_cells():
        saved, index = store.final(row[-1].key)
        if saved.path not in trees:
            kernels = prunable(checkpoint.load_once(saved, "params"))
            trees[saved.path] = {path: np.asarray(kernel) for path, kernel in kernels.items()}
        each = {path: kernel[index] for path, kernel in trees[saved.path].items()}
        found.append({path: (kernel.size, int(np.count_nonzero(kernel))) for path, kernel in each.items()})
    paths = tuple(max(found, key=len))  # of the deepest cell
    counts_CxKx2 = np.asarray([[one.get(path, (0, 0)) for path in paths] for one in found])
    names = tuple(path.strip("[]'").replace("']['", "/").removesuffix("/kernel") for path in paths)
    return Density(names, counts_CxKx2[..., 0], counts_CxKx2[..., 1])


def to_csv(study: Study, density: Density) -> str:
    """A row for each cell and kernel: the axes' settings, the weights that aren't zero, and all of them."""
    axes = [axis.knob for axis in study.axes]
    rows = [
        [key, *(cell[name] for name in axes), *kernel]
        for key, cell, nonzero_K, size_K in zip(
            study.cell_keys, study.cells, density.nonzero_CxK.tolist(), density.size_CxK.tolist(), strict=True
        )
        for kernel in zip(density.kernels, nonzero_K, size_K, strict=True)
        if kernel[-1]
    ]
    # Objects, so that a setting is printed as the study has it, be it a name, a whole number or another.
    frame = pd.DataFrame(rows, columns=["cell", *axes, "kernel", "nonzero", "weights"], dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def table(study: Study, density: Density | None, stratum: Mapping[str, Any]) -> dict[str, Any]:
    """A line for each kernel and one for all: the range of its density over the cells of each setting, in percent."""
    if density is None:
        return {}
    mine = cells_in(study, stratum)
    knob_C = np.asarray([setting_of(study, study.cells[i]) for i in mine])
    values, lines = np.unique(knob_C), []
    nonzero_CxK, size_CxK = (_with_all(counts[mine]) for counts in (density.nonzero_CxK, density.size_CxK))
    for index, name in enumerate([*density.kernels, "all"]):
        size_C = size_CxK[:, index]
        there_C = size_C > 0  # not every model has all kernels, where depth is an axis
        if not there_C.any():
            continue
        share_C = nonzero_CxK[:, index] / np.maximum(size_C, 1)
        shares = [_range(share_C[there_C & (knob_C == v)]) for v in values]
        low, high = (f"{size:,}" for size in (size_C[there_C].min(), size_C.max()))
        lines.append({"kernel": name, "weights": low if low == high else f"{low} to {high}", "shares": shares})
    return {"settings": [name_of(study, value) for value in values], "lines": lines}


def _with_all(counts_CxK: np.ndarray) -> np.ndarray:
    return np.concatenate([counts_CxK, counts_CxK.sum(axis=1, keepdims=True)], axis=1)


def _range(shares: np.ndarray) -> str:
    if not len(shares):
        return "—"
    low, high = (f"{100 * share:.4g}%" for share in (shares.min(), shares.max()))
    return low if low == high else f"{low} to {high}"
