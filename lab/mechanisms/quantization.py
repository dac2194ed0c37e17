"""What mechanisms that quantize the residual stream share: where they act, what may be wrong there, what is read.

Shape letters: D width, N vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, StageSetup
from lab.mechanisms.own_reading import OwnReading

DEEPEST, LONGEST = 64, 4096  # layers and tokens; a study's own sizes decide, see `Quantization.objection`
SAME = 2.0**-12  # states that are not quantized count as one where they agree to this, in the unit of a coordinate
MOVING = ("registers.tokens", "pause.tokens", "memory.tokens", "thoughts.steps")  # put vectors among the tokens


def no_such_layer(name: str, setup: StageSetup, lowest: int = 0) -> str:
    """Why the layer that a knob names isn't there, `lowest` the first one that is; empty if it is."""
    layers = setup.spec.layers
    if lowest <= setup.knobs[name] <= layers:
        return ""
    return f"{name}={setup.knobs[name]} must lie in [{lowest}, {layers}] (config.model.layers)."


class Quantization(Mechanism):
    """Quantizes one layer of the residual stream, at one token or at all of them, wherever the model runs.

    Attributes:
      size: the knob that says into how many codes; 0 is no quantization.
      layer: the knob of the layer.
      position: the knob of the token.
    """

    size: Knob
    layer: Knob
    position: Knob
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """The layer must exist, and so must the token, at its own place."""
        name, knobs = self.position.name, setup.knobs
        if missing := no_such_layer(self.layer.name, setup):
            return missing
        if knobs[name] >= setup.spec.max_length:
            return f"{name}={knobs[name]} must be below {setup.spec.max_length}, the tokens of the longest example."
        if knobs[name] >= 0 and (moved := [other for other in MOVING if knobs[other]]):
            return f"{name} counts tokens from the start, where {moved[0]} puts others; leave one of them neutral."
        return ""

    def acts(self, layer: Any, knobs: Knobs) -> jax.Array:
        """Whether it quantizes at a layer: bool[]."""
        return (knobs[self.size.name] > 0) & (knobs[self.layer.name] == layer)

    def readable(self, layer: Any, knobs: Knobs) -> jax.Array:
        """Whether all hidden vectors of a layer are quantized: bool[]."""
        return self.acts(layer, knobs) & (knobs[self.position.name] < 0)


def place_of(size: Knob) -> tuple[Knob, Knob]:
    """The knobs of the layer and of the token at which a quantization of some size acts."""
    mechanism = size.name.split(".")[0]
    layer = Knob(
        name=f"{mechanism}.layer",
        high=DEEPEST,
        neutral=1,
        integer=True,
        needs=(size.name,),
        about="the layer whose residual stream is quantized: 0 the embedding, then the blocks",
        source=size.source,
    )
    position = Knob(
        name=f"{mechanism}.position",
        low=-1,
        high=LONGEST,
        neutral=-1,
        integer=True,
        needs=(size.name,),
        about="the one token that is quantized, from 0; -1 is all of them",
        source=size.source,
    )
    return layer, position


def at_position(number: jax.Array, position: jax.Array) -> jax.Array:
    """Which of the tokens of those numbers are quantized: all of them where the position is -1."""
    return (number == position) | (position < 0)


def code_entropy(codes_NxD: jax.Array) -> jax.Array:
    """Shannon entropy of N codes as they are distributed, in nats: float32[], at most log N.

    Exact: every code is compared with every other, N²·D comparisons. It is the plug-in estimate, so with few vectors
    for many codes it lies below the entropy of the distribution that they come from.
    """
    return jnp.mean(jnp.log(codes_NxD.shape[0] / alike(codes_NxD)))


def alike(codes_NxD: jax.Array) -> jax.Array:
    """How many of N codes equal each, itself among them: float32[N]."""
    alike_N = lax.map(lambda code_D: jnp.sum(jnp.all(codes_NxD == code_D[None], axis=1)), codes_NxD)
    return alike_N.astype(jnp.float32)


def own_readings(
    size: Knob, read: Mapping[str, Callable[[jax.Array, Params, Knobs], jax.Array]]
) -> tuple[OwnReading, ...]:
    """What a claim may name of a quantization: its code's entropy and, where it has a codebook, how many codes it uses.

    Args:
      size: the knob that says into how many codes.
      read: 'code_entropy' or 'codes_used' -> the reading of a cell that quantizes.
    """
    mechanism = size.name.split(".")[0]

    def whole_read(name: str) -> Callable[[jax.Array, Params, Knobs], jax.Array]:
        def of_cell(hidden_NxD: jax.Array, params: Params, knobs: Knobs) -> jax.Array:
            alike_N = alike(jnp.round(hidden_NxD * (hidden_NxD.shape[-1] ** 0.5 / SAME)))
            distinct = {"code_entropy": jnp.mean(jnp.log(alike_N.size / alike_N)), "codes_used": jnp.sum(1 / alike_N)}
            quantizes, everywhere = knobs[size.name] > 0, knobs[f"{mechanism}.position"] < 0
            value = jnp.where(quantizes, read[name](hidden_NxD, params, knobs), distinct[name])
            return jnp.where(everywhere | ~quantizes, value, jnp.nan)

        return of_cell

    abouts = {
        "code_entropy": ("entropy of the code of the quantized layer in nats", "0 to log N", "entropy of the code"),
        "codes_used": ("codes of the codebook that some probe input is rounded to", "1 to N", "codes in use"),
    }
    return tuple(
        OwnReading(
            name=name,
            layer=f"{mechanism}.layer",
            read=whole_read(name),
            meaning=f"{meaning}; without quantization, that of the states themselves",
            range=span,
            source=size.source,
            trap="without quantization every distinct state is a code of its own, so any quantization reads lower",
            words=f"{words} ({mechanism.upper()})",
        )
        for name, (meaning, span, words) in abouts.items()
        if name in read
    )
