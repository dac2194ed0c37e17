"""Gaussian noise on the residual stream after every block, in units of each hidden vector's own root mean square.

Relative, because a network could outgrow noise of a fixed size by growing its residual stream. Off during evaluation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, relaxing

SIGMA = Knob(
    name="hidden_noise.sigma",
    high=10.0,
    about="standard deviation of Gaussian noise on hidden states while training, in units of their root mean square",
    source="Poole et al. 2014, arXiv 1406.1831",
)


class HiddenNoise(Mechanism):
    """See the module's docstring."""

    name = "hidden_noise"
    knobs = relaxing(SIGMA)
    hook_points = ("residual",)

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array) -> jax.Array:
        """x[..., D] plus noise; no gradient flows through its scale."""
        rms = jax.lax.stop_gradient(jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True)))
        return x + knobs[SIGMA.name] * rms * jax.random.normal(key, x.shape)
