"""Dropout at three places, each a mechanism of its own so that a study pays only for the one it uses.

Drawn at every step, hook point and layer; at rate 0 nothing is dropped and every survivor is scaled by exactly 1. Off
during evaluation and measurement.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, relaxing

LEVELS = 2**16  # 16 random bits an element, half of what floats would cost; so rates count in steps of 1/65536


class Dropout(Mechanism):
    """Sets a share of the activations at some hook points to zero and scales the rest by 1/(1 - rate)."""

    def __init__(self, name: str, hook_points: tuple[str, ...], where: str):
        self.name, self.hook_points = name, hook_points
        about, source = f"share of {where} set to zero in training", "Srivastava et al. 2014, jmlr.org/papers/v15"
        self.knobs = relaxing(Knob(name=f"{name}.rate", high=0.95, about=about, source=source))

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array) -> jax.Array:
        """x with dropped elements, any shape."""
        rate = knobs[f"{self.name}.rate"]
        dropped = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.float32) < jnp.round(rate * LEVELS)
        return jnp.where(dropped, 0.0, x * (1 / (1 - rate)))


EMBEDDING = Dropout("embedding_dropout", ("embedding",), "the embedded tokens' entries")
ATTENTION = Dropout("attention_dropout", ("attention",), "attention probabilities")
RESIDUAL = Dropout("residual_dropout", ("attention_out", "mlp_out"), "what blocks write to the residual stream")
