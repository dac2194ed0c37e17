"""Which weights stay: exact counts by rank, the sparsity that grows with the steps, and regrowth at a fixed density.

Ranks decide, not values: of n weights round(share·n) go; of equal scores the earlier weight's goes first.

Shape letters: I inputs and O outputs of a kernel, N weights that are ranked together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Params
from lab.nn.model import is_linear_kernel

SCOPES = ("global", "layerwise", "output")
SPREADS = ("even", "erk")
Kernels = dict[str, jax.Array]  # tree path -> [I, O]


def prunable(params: Params) -> Kernels:
    """The kernels that pruning acts on, by tree path, in tree order; also of a gradient."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if is_linear_kernel(path)}


def masked(params: Params, masks: Kernels) -> Params:
    """The parameters, exactly zero where a mask, of the parameter's shape or one that broadcasts, says so."""

    def cut(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        mask = masks.get(jax.tree_util.keystr(path))
        return leaf if mask is None else jnp.where(mask, leaf, jnp.zeros_like(leaf))

    return jax.tree_util.tree_map_with_path(cut, params)


def share_of(share: jax.Array, count: int | jax.Array) -> jax.Array:
    """round(share·count), halves to the even number: int32[]."""
    return jnp.round(share * jnp.asarray(count).astype(jnp.float32)).astype(jnp.int32)


def lowest(scores_N: jax.Array, count: jax.Array) -> jax.Array:
    """True for exactly `count` scores, the smallest, of equal ones the earlier; NaN counts as the largest: bool[N].

    The threshold is found bit by bit, which on a CPU takes a tenth of the time of a sort.
    """
    top = jnp.uint32(2**31)
    bits_N = lax.bitcast_convert_type(jnp.where(jnp.isnan(scores_N), jnp.inf, scores_N), jnp.uint32)
    bits_N = jnp.where(bits_N == top, jnp.uint32(0), bits_N)  # -0 is 0; adding would lose subnormal numbers
    ordered_N = jnp.where(bits_N >= top, ~bits_N, bits_N | top)  # integers in the order of the floats

    def more(turn: int, found: jax.Array) -> jax.Array:
        trial = found | (top >> jnp.uint32(turn))
        return jnp.where(jnp.sum(ordered_N < trial, dtype=jnp.int32) < count, trial, found)

    threshold = lax.fori_loop(0, 32, more, jnp.uint32(0))  # the count-th smallest
    below_N, equal_N = ordered_N < threshold, ordered_N == threshold
    missing = count - jnp.sum(below_N, dtype=jnp.int32)
    return below_N | (equal_N & (jnp.cumsum(equal_N, dtype=jnp.int32) <= missing))


def kept(scores_N: jax.Array, share: jax.Array) -> jax.Array:
    """True but for the round(share·N) smallest scores: bool[N]."""
    return ~lowest(scores_N, share_of(share, scores_N.size))


def masks_of(scores: Kernels, sparsity: jax.Array, scope: str, spread: str = "even") -> Kernels:
    """Masks (True where a weight stays) that remove exactly round(sparsity·n) weights, n counted by `scope`.

    Args:
      scores: of the weights, the lowest go first; all at least 0.
      sparsity: float32[] in [0, 1].
      scope: 'global' counts n over all kernels together, 'layerwise' over each, 'output' over each column of each.
      spread: 'even', or for 'layerwise' also 'erk': n is then counted over all kernels, see `erk_counts`.
    """
    if spread == "erk":
        counts = erk_counts({path: (s.shape[0], s.shape[1]) for path, s in scores.items()}, sparsity)
        return {p: ~lowest(s.reshape(-1), s.size - counts[p]).reshape(s.shape) for p, s in scores.items()}
    if scope == "output":
        columns = jax.vmap(kept, in_axes=(1, None), out_axes=1)
        return {path: columns(scores_IxO, sparsity) for path, scores_IxO in scores.items()}
    if scope == "layerwise":
        return {path: kept(s.reshape(-1), sparsity).reshape(s.shape) for path, s in scores.items()}
    keep_N = kept(jnp.concatenate([s.reshape(-1) for s in scores.values()]), sparsity)
    masks, start = {}, 0
    for path, scores_IxO in scores.items():
        masks[path] = keep_N[start : start + scores_IxO.size].reshape(scores_IxO.shape)
        start += scores_IxO.size
    return masks


def erk_counts(shapes: Mapping[str, tuple[int, int]], sparsity: jax.Array) -> dict[str, jax.Array]:
    """How many weights stay of each kernel: in proportion to I + O, but no more than it has: int32[] by path.

    So densities are in proportion to (I + O)/(I·O), or 1: Erdős–Rényi(-kernel) densities as of Evci et al. 2020. In all
    exactly N - round(sparsity·N) stay. These are dealt out one by one: a kernel's j-th waits until (j - ½)/(I + O),
    which is Sainte-Laguë's method for seats in proportion to votes, and no kernel gets more than it has.
    """
    waits = [(jnp.arange(i * o, dtype=jnp.float32) + 0.5) / (i + o) for i, o in shapes.values()]
    wait_N = jnp.concatenate(waits)
    dealt_N = lowest(wait_N, wait_N.size - share_of(sparsity, wait_N.size))
    counts, start = {}, 0
    for path, wait in zip(shapes, waits, strict=True):
        counts[path] = jnp.sum(dealt_N[start : start + wait.size], dtype=jnp.int32)
        start += wait.size
    return counts


def cubic(sparsity: jax.Array, elapsed: jax.Array, over: jax.Array) -> jax.Array:
    """The sparsity `elapsed` steps after pruning began (Zhu & Gupta 2017, equation 1, from 0): float32[].

    It grows fast while there is much to spare and levels off. `over` 1 is one shot: all of it at once.
    """
    done = jnp.where(over > 1, jnp.clip(elapsed.astype(jnp.float32) / over, 0.0, 1.0), 1.0)
    left = 1.0 - done
    return sparsity * (1.0 - left * left * left)  # exactly `sparsity` when done


def annealed(share: jax.Array, elapsed: jax.Array, over: jax.Array) -> jax.Array:
    """The share that is exchanged `elapsed` steps after pruning began (Evci et al. 2020, f_decay): float32[].

    Half a cosine from `share` to 0 over `over` steps, 0 from there on.
    """
    done = jnp.clip(elapsed.astype(jnp.float32) / over, 0.0, 1.0)
    return share * 0.5 * (1.0 + jnp.cos(jnp.pi * done))


def regrown(
    mask_IxO: jax.Array, kernel_IxO: jax.Array, wanted_IxO: jax.Array, share: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One exchange at a fixed density: the smallest active weights go, as many inactive ones of the highest score come.

    What has just gone can't come back at once. Exchanged are round(share·active), or all inactive weights where those
    are fewer, so that nothing happens to a dense kernel.

    Args:
      mask_IxO: bool, which weights are active.
      kernel_IxO: the weights.
      wanted_IxO: float32, how much each inactive weight is wanted.
      share: float32[] in [0, 1], of the active weights.

    Returns:
      the new mask, and which weights are new in it: bool[I, O] each.
    """
    active = jnp.sum(mask_IxO, dtype=jnp.int32)
    count = jnp.minimum(share_of(share, active), mask_IxO.size - active)

    def first(scores_IxO: jax.Array) -> jax.Array:
        return lowest(scores_IxO.reshape(-1), count).reshape(scores_IxO.shape)

    gone_IxO = mask_IxO & first(jnp.where(mask_IxO, jnp.abs(kernel_IxO), jnp.inf))
    born_IxO = ~mask_IxO & first(jnp.where(mask_IxO, jnp.inf, -wanted_IxO))
    return (mask_IxO & ~gone_IxO) | born_IxO, born_IxO
