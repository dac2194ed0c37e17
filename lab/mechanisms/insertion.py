"""A change of the hidden states that is undone before anything reads it: a planted control, not a proposal.

After every block the residual stream is mapped by an invertible function, and mapped back before the next block and
before the readout. What is measured on hidden states moves; what the model computes, and so every ability, doesn't, but
for rounding. A metric that gains by it gains nothing.

    stretch  x + (f - 1)(x·v)v along one fixed unit vector v a layer: a linear image, in which one direction grows
    write    the second half of the columns gets w · rms · sin(random features of the first half), fixed a layer:
             an additive coupling (Dinh et al. 2014, arXiv 1410.8516), so channels that are written to and never read,
             which raise rank and dimension
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StageSetup

STRETCH = Knob(
    name="insertion.stretch",
    low=1.0,
    high=100.0,
    neutral=1.0,
    about="factor by which hidden states are stretched along one direction, undone before anything reads them",
    source="—",
)
WRITE = Knob(
    name="insertion.write",
    high=100.0,
    about="size, in root mean squares, of what is written into hidden states and taken out before anything reads them",
    source="Dinh et al. 2014, arXiv 1410.8516",
)


class Insertion(Mechanism):
    """See the module's docstring."""

    name = "insertion"
    knobs = (STRETCH, WRITE)
    hook_points = ("residual", "onward")
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """A mask of columns would also mask what was written there."""
        if setup.knobs["width.active"] < 1:
            return f"{STRETCH.name} and {WRITE.name} mix columns, which width.active masks; leave one of them out."
        width = setup.spec.width
        return "" if width % 2 == 0 else f"{WRITE.name} needs an even config.model.width, not {width}."

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """Map after a block, and map back where the next block takes over; the embedding is left alone."""
        if layer == 0:
            return x
        if hook_point == "residual":
            return written(stretched(x, layer, knobs[STRETCH.name]), layer, knobs[WRITE.name])
        return stretched(written(x, layer, -knobs[WRITE.name]), layer, 1.0 / knobs[STRETCH.name])


def stretched(x: jax.Array, layer: int, factor: jax.Array) -> jax.Array:
    """x[..., D] with its component along the layer's direction multiplied."""
    direction_D = jax.random.normal(jax.random.key(layer), x.shape[-1:])
    direction_D = direction_D / jnp.linalg.norm(direction_D)
    return x + (factor - 1.0) * jnp.tensordot(x, jnp.outer(direction_D, direction_D), 1)


def written(x: jax.Array, layer: int, size: jax.Array) -> jax.Array:
    """x[..., D] with features of its first half added to its second; the opposite size takes them out again."""
    first, second = jnp.split(x, 2, axis=-1)
    half = first.shape[-1]
    weight_HxH = jax.random.normal(jax.random.key(1000 + layer), (half, half)) * (4.0 / half**0.5)
    rms = jnp.sqrt(jnp.mean(jnp.square(first), axis=-1, keepdims=True) + 1e-12)
    features = rms * jnp.sin((first / rms) @ weight_HxH)
    return jnp.concatenate([first, second + size * features], axis=-1)
