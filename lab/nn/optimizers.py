"""The optimizers: from gradients to directions, which the learning rate then scales. Each has a program of its own."""

from __future__ import annotations

from typing import Any

import jax
import optax

from lab.nn.model import is_linear_kernel

ADAM = optax.scale_by_adam(b1=0.9, b2=0.98)


def kinds(params: Any) -> Any:
    """Which leaves Muon acts on: the kernels inside blocks; the others are Adam's, as Muon's author has it."""
    return jax.tree_util.tree_map_with_path(lambda path, _: "muon" if is_linear_kernel(path) else "adam", params)


def matrices(params: Any) -> Any:
    """All of Muon's leaves are plain matrices, input by output."""
    return jax.tree.map(lambda _: optax.contrib.MuonDimensionNumbers(), params)


MUON = optax.contrib.scale_by_muon(weight_dimension_numbers=matrices)
OPTIMIZERS: dict[str, optax.GradientTransformation] = {
    "adamw": ADAM,
    "sgd": optax.trace(decay=0.9),
    "lion": optax.scale_by_lion(b1=0.9, b2=0.99),
    "muon": optax.partition({"muon": MUON, "adam": ADAM}, kinds),
}
