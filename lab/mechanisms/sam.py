"""Sharpness-aware minimization: follow the gradient taken a step uphill. It always pays a second gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, relaxing

RHO = Knob(
    name="sam.rho",
    high=10.0,
    about="length of the step uphill, in weight space, at whose end the gradient is taken",
    source="Foret et al. 2021, arXiv 2010.01412",
)
TINY = 1e-12


class SharpnessAware(Mechanism):
    """See the module's docstring."""

    name = "sam"
    knobs = relaxing(RHO)

    def perturbed_params(self, params: Params, gradient: Params, knobs: Knobs) -> Params:
        """params + rho × gradient / |gradient|, the length taken over all weights."""
        scale = knobs[RHO.name] / jnp.maximum(optax.tree.norm(gradient), TINY)
        return jax.tree.map(lambda p, g: p + scale * g, params, gradient)
