"""A cap on the largest singular value of every kernel inside the blocks.

The largest singular value is followed by power iteration: one step after every update from the vector of the step
before, many when the cap starts to act. Kernels above the cap are scaled down to it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, Extra, Knob, Knobs, Mechanism, Params, StepView, Update
from lab.nn.model import is_linear_kernel

OFF = 1e6
CAP = Knob(
    name="spectral_cap.norm",
    low=1e-3,
    high=OFF,
    neutral=OFF,
    about=f"the largest singular value that a kernel inside the blocks may have; {OFF:g} is no cap",
    source="Miyato et al. 2018, arXiv 1802.05957; Yoshida & Miyato 2017, arXiv 1705.10941",
)
OPENING = 50  # power iterations when the cap starts to act
TINY = 1e-30


class SpectralCap(Mechanism):
    """See the module's docstring."""

    name = "spectral_cap"
    knobs = (CAP,)

    def init(self, params: Params, context: Context) -> Extra:
        """A unit vector for each kernel, by its path."""
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return {
            jax.tree_util.keystr(path): unit(jnp.cos(1.0 + jnp.arange(leaf.shape[1], dtype=leaf.dtype)))
            for path, leaf in leaves
            if is_linear_kernel(path)
        }

    def on_stage_start(self, params: Params, extra: Extra, knobs: Knobs, view: StepView) -> Extra:
        """Find the leading right singular vectors."""
        return jax.lax.fori_loop(0, OPENING, lambda _, kept: iterated(params, kept), extra)

    def after_update(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """One power iteration."""
        return iterated(params, extra)

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Scale kernels above the cap down to it."""
        cap = knobs[CAP.name]

        def capped(path, leaf):
            if not is_linear_kernel(path):
                return leaf
            norm = jnp.linalg.norm(leaf @ extra[jax.tree_util.keystr(path)])
            return jnp.where((norm > cap) & (cap < OFF), leaf * (cap / jnp.maximum(norm, TINY)), leaf)

        return jax.tree_util.tree_map_with_path(capped, params)


def unit(vector_N: jax.Array) -> jax.Array:
    """The vector at length 1; a zero vector stays zero."""
    return vector_N / jnp.maximum(jnp.linalg.norm(vector_N), TINY)


def iterated(params: Params, extra: Extra) -> Extra:
    """Every kernel's vector v, moved to WᵀWv at length 1."""
    kernels = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    return {path: unit(kernels[path].T @ (kernels[path] @ v)) for path, v in extra.items()}
