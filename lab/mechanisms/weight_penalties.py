"""Penalties on weights that go through the gradient, hence through Adam's scaling: L2, L1 and soft orthogonality.

Decoupled decay (`weight_decay`) acts on the same matrices but after Adam. Each is off at rate 0, and can be relaxed.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, StepView, relaxing
from lab.nn.model import is_linear_kernel

L2 = Knob(
    name="l2.rate",
    high=10.0,
    about="adds rate/2 × the sum of squares of matrices and embeddings to the loss (coupled: Adam rescales it)",
    source="Krogh & Hertz 1991, A simple weight decay can improve generalization (NeurIPS 4)",
)
L1 = Knob(
    name="l1.rate",
    high=1.0,
    about="adds rate × the sum of magnitudes of matrices and embeddings to the loss",
    source="Tibshirani 1996, doi 10.1111/j.2517-6161.1996.tb02080.x",
)
ORTHOGONALITY = Knob(
    name="orthogonality.rate",
    high=10.0,
    about="adds rate × |WᵀW - I|² of the blocks' kernels to the loss, over the shorter side of each",
    source="Bansal et al. 2018, arXiv 1810.09102",
)


class L2Penalty(Mechanism):
    """See the module's docstring."""

    name = "l2"
    knobs = relaxing(L2)

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params:
        """The gradient of rate/2 × Σ w²."""
        return of_matrices(lambda w: knobs[L2.name] * w, params)


class L1Penalty(Mechanism):
    """See the module's docstring."""

    name = "l1"
    knobs = relaxing(L1)

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params:
        """The gradient of rate × Σ |w|; that of a weight at exactly 0 is 0."""
        return of_matrices(lambda w: knobs[L1.name] * jnp.sign(w), params)


class Orthogonality(Mechanism):
    """See the module's docstring."""

    name = "orthogonality"
    knobs = relaxing(ORTHOGONALITY)

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params:
        """The gradient of rate × Σ over kernels of |G - I|²."""
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                knobs[ORTHOGONALITY.name] * pull_to_orthogonal(leaf) if is_linear_kernel(path) else jnp.zeros_like(leaf)
            ),
            params,
        )


def of_matrices(function: Callable[[jax.Array], jax.Array], params: Params) -> Params:
    """The function of every leaf with two axes, those that weight decay acts on too; nothing elsewhere."""
    return jax.tree.map(lambda leaf: function(leaf) if leaf.ndim == 2 else jnp.zeros_like(leaf), params)


def pull_to_orthogonal(kernel_IxO: jax.Array) -> jax.Array:
    """The gradient of |G - I|², G the Gram matrix of the kernel's columns or rows, whichever are fewer."""
    rows, columns = kernel_IxO.shape
    eye = jnp.eye(min(rows, columns), dtype=kernel_IxO.dtype)
    if columns <= rows:
        return 4 * kernel_IxO @ (kernel_IxO.T @ kernel_IxO - eye)
    return 4 * (kernel_IxO @ kernel_IxO.T - eye) @ kernel_IxO
