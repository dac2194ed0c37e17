"""Magnitude pruning: at the start of a stage the smallest weights are set to zero and stay there.

Ranks decide, not thresholds, so the density is exact: of n prunable weights round(sparsity·n) are removed, ties in
favour of the earlier weight. Prunable are the kernels of the linear layers inside blocks. The mask is kept beside the
parameters and applied after every update, so a pruned weight is exactly zero at every step of fine-tuning.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, Extra, Knob, Knobs, Mechanism, Params, Seen
from lab.model import is_linear_kernel

SPARSITY = Knob(
    name="prune.sparsity",
    low=0.0,
    high=1.0,
    neutral=0.0,
    stage="last",
    about="share of the blocks' linear weights removed by magnitude, in one shot, as the stage begins",
    source="Han et al. 2015, arXiv 1506.02626",
)
SCOPE = Knob(
    name="prune.scope",
    neutral="global",
    stage="last",
    choices=("global", "layerwise"),
    about="rank the weights of all layers together, or each layer's on its own",
    source="Blalock et al. 2020, arXiv 2003.03033",
)


def ranks(scores_N: jax.Array) -> jax.Array:
    """Rank of each score, 0 for the smallest: int32[N]. Ties keep their order (a stable sort)."""
    order_N = jnp.argsort(scores_N, stable=True)
    return jnp.zeros_like(order_N).at[order_N].set(jnp.arange(order_N.size, dtype=order_N.dtype))


def magnitude_masks(kernels: list[jax.Array], sparsity: jax.Array, scope: str) -> list[jax.Array]:
    """Masks (True where a weight stays) that remove exactly round(sparsity·n) weights, n counted by `scope`.

    Args:
      kernels: weight matrices of any shapes.
      sparsity: float32[] in [0, 1].
      scope: 'global' counts n over all kernels together, 'layerwise' over each.
    """
    groups = [kernels] if scope == "global" else [[kernel] for kernel in kernels]
    masks = []
    for group in groups:
        scores_N = jnp.concatenate([jnp.abs(kernel).reshape(-1) for kernel in group])
        removed = jnp.round(sparsity * jnp.float32(scores_N.size)).astype(jnp.int32)
        keep_N = ranks(scores_N) >= removed
        start = 0
        for kernel in group:
            masks.append(keep_N[start : start + kernel.size].reshape(kernel.shape))
            start += kernel.size
    return masks


class Pruning(Mechanism):
    """See the module's docstring."""

    name = "prune"
    knobs = (SPARSITY, SCOPE)

    def init(self, params: Params, context: Context) -> Extra:
        """A mask for each prunable kernel, by its path: all True."""
        del context
        return {path: jnp.ones(kernel.shape, bool) for path, kernel in prunable(params).items()}

    def enter(self, params: Params, extra: Extra, knobs: Knobs, seen: Seen) -> Extra:
        """Choose the mask from the parameters as they are now."""
        del extra, seen
        kernels = prunable(params)
        masks = magnitude_masks(list(kernels.values()), knobs[SPARSITY.name], knobs[SCOPE.name])
        return dict(zip(kernels, masks, strict=True))

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Set pruned weights to exactly zero."""
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                jnp.where(extra[jax.tree_util.keystr(path)], leaf, jnp.zeros_like(leaf))
                if is_linear_kernel(path)
                else leaf
            ),
            params,
        )


def prunable(params: Params) -> dict[str, jax.Array]:
    """The kernels that pruning acts on, by tree path, in tree order."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_linear_kernel(path)}
