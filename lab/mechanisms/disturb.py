"""Disturbances of a model that is read: noise on the residual stream, or another example's stream in its place.

Nothing of it acts in training. Where evaluation and probes run, `disturb.noise` adds Gaussian noise after a block, in
units of each hidden vector's own root mean square, and `disturb.swap` moves the stream towards that of the next
example, token by token: at 1 it is another example's. What is lost says how much of the ability goes through that
place, and how finely. Draws are the same for all cells, at every pass: `axis("disturb.noise", (0, 0.5, 1, 2),
at="test")` reads one trained model at four strengths.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StageSetup
from lab.mechanisms.quantization import DEEPEST, no_such_layer

NOISE = Knob(
    name="disturb.noise",
    high=10.0,
    about="standard deviation of Gaussian noise on hidden states while the model is read, in units of their RMS",
    source="Morcos et al. 2018, arXiv 1803.06959",
)
SWAP = Knob(
    name="disturb.swap",
    about="how far the stream is moved to that of the next example while the model is read; 1 is in its place",
    source="interchange interventions: Geiger et al. 2021, arXiv 2106.02997",
)
LAYER = Knob(
    name="disturb.layer",
    high=DEEPEST,
    neutral=0,
    integer=True,
    needs=(NOISE.name, SWAP.name),
    about="the block after which the stream is disturbed; 0 is each of them",
    source="Morcos et al. 2018, arXiv 1803.06959",
)


class Disturbance(Mechanism):
    """See the module's docstring."""

    name = "disturb"
    knobs = (NOISE, SWAP, LAYER)
    hook_points = ("residual",)
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """The block must exist."""
        return no_such_layer(LAYER.name, setup)

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """x[B, ..., D] disturbed after the block, while the model is read."""
        if key is not None:
            return x
        here = (knobs[LAYER.name] == 0) | (knobs[LAYER.name] == layer)
        rms = jnp.sqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True))
        drawn = jax.random.normal(jax.random.fold_in(jax.random.key(0), layer), x.shape)
        moved = x + knobs[SWAP.name] * (jnp.roll(x, -1, axis=0) - x)
        return jnp.where(here, moved + knobs[NOISE.name] * rms * drawn, x)
