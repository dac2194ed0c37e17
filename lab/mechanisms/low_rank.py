"""Kernels of low rank: after every update, each kernel inside the blocks is replaced by its nearest one of the rank.

Nearest in the Frobenius norm, which is the truncated singular value decomposition (Eckart & Young 1936): projected
gradient descent, or hard thresholding of singular values. The singular vectors of a kernel's shorter side are the
eigenvectors of the smaller Gram matrix, and projecting on the leading ones truncates it. Masks act after it and may
raise the rank again.

It costs an eigendecomposition of each kernel at every step (docs/benchmarks.md).

Shape letters: I inputs and O outputs of a kernel, K = min(I, O).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Extra, Knob, Knobs, Mechanism, Params, StageSetup
from lab.mechanisms.counted import Counted
from lab.mechanisms.narrow import active_of
from lab.nn.model import is_linear_kernel

RANK = Knob(
    name="low_rank.rank",
    low=0.01,
    neutral=1.0,
    about="share of each block kernel's full rank, min(inputs, outputs), that it may have: a whole number, at least 1",
    source="Jain, Meka & Dhillon 2010, arXiv 0909.5457",
)


class LowRank(Mechanism):
    """See the module's docstring."""

    name = "low_rank"
    knobs = (RANK,)

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Ranks of the kernels of attention and of the feed-forward layers."""
        full = {setup.spec.width, min(setup.spec.width, setup.spec.mlp_width)}
        return {RANK.name: Counted.of_share("ranks", setup.knobs[RANK.name], *sorted(full), least=1)}

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Truncate every kernel whose rank is not full."""

        def cut(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            if not is_linear_kernel(path):
                return leaf
            full = min(leaf.shape)
            rank = active_of(knobs[RANK.name], full)
            return lax.cond(rank < full, lambda: truncated(leaf, rank), lambda: leaf)

        return jax.tree_util.tree_map_with_path(cut, params)


def truncated(kernel_IxO: jax.Array, rank: jax.Array) -> jax.Array:
    """The best approximation of at most that rank, float32[] whole: float32[I, O].

    Not finite where the kernel isn't.
    """
    wide = kernel_IxO if kernel_IxO.shape[0] <= kernel_IxO.shape[1] else kernel_IxO.T
    _, vectors_KxK = jnp.linalg.eigh(wide @ wide.T)  # columns, of ascending eigenvalues
    place_K = jnp.arange(len(wide), 0, -1, dtype=jnp.float32)  # the last column is the first vector
    leading_KxK = jnp.where(place_K <= rank, vectors_KxK, 0.0)
    found = leading_KxK @ (leading_KxK.T @ wide)
    return found if wide is kernel_IxO else found.T
