"""Finite scalar quantization of the residual stream at a layer, wherever the model runs.

The first coordinates of every hidden vector are bounded and rounded to a few levels each; the others are set to zero,
so the code is the only way past the layer. Gradients pass the rounding straight through. The unit in which coordinates
are bounded is D^-1/2, the standard deviation of the embeddings' entries when they are drawn, and the code is put back
in that unit: bounded to (-1, 1) it would outweigh all that later layers write.

Shape letters: D width, N vectors.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Knob, Knobs, Params, StageSetup
from lab.mechanisms.narrow import leading
from lab.mechanisms.quantization import Quantization, at_position, code_entropy, own_readings, place_of

WIDEST = 4096  # a study's own width decides, see `objection`
MARGIN = 1e-3  # by which the outermost levels lie inside the bounds: the paper's eps
SOURCE = "Mentzer et al. 2023, arXiv 2309.15505"
LEVELS = Knob(
    name="fsq.levels",
    high=1024,
    integer=True,
    about="levels to which each quantized coordinate of the residual stream is rounded; 0 is no quantization",
    source=SOURCE,
)
COORDINATES = Knob(
    name="fsq.coordinates",
    low=1,
    high=WIDEST,
    neutral=4,
    integer=True,
    needs=(LEVELS.name,),
    about="leading coordinates that carry the code; the others are set to zero",
    source=SOURCE,
)
LAYER, POSITION = place_of(LEVELS)


def _code_entropy(hidden_NxD: jax.Array, params: Params, knobs: Knobs) -> jax.Array:
    """Of hidden vectors that are quantized already, in nats."""
    unit = jnp.maximum(jnp.floor(knobs[LEVELS.name] / 2), 1.0) * hidden_NxD.shape[-1] ** 0.5
    return code_entropy(jnp.round(hidden_NxD * unit).astype(jnp.int32))


class FiniteScalarQuantization(Quantization):
    """See the module's docstring."""

    name = "fsq"
    knobs = (LEVELS, COORDINATES, LAYER, POSITION)
    size, layer, position = LEVELS, LAYER, POSITION
    hook_points = ("embedding", "residual")
    claimable = own_readings(LEVELS, {"code_entropy": _code_entropy})

    def objection(self, setup: StageSetup) -> str:
        """The coordinates must exist, too."""
        coordinates, width = setup.knobs[COORDINATES.name], setup.spec.width
        too_many = f"{COORDINATES.name}={coordinates} is more than config.model.width={width}."
        return super().objection(setup) or (too_many if coordinates > width else "")

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """x[..., D] as its code."""
        at = (knobs[knob.name] for knob in (LEVELS, COORDINATES, POSITION))
        return replaced(x, self.acts(layer, knobs), *at)

    def readings(self, hidden_NxD: jax.Array, layer: jax.Array, params: Params, knobs: Knobs) -> dict[str, jax.Array]:
        """Entropy of the code of the quantized layer in nats, where every token is quantized."""
        entropy = _code_entropy(hidden_NxD, params, knobs)
        return {"code_entropy": jnp.where(self.readable(layer, knobs), entropy, jnp.nan)}


def grid_of(x: jax.Array, levels: jax.Array, coordinates: jax.Array) -> jax.Array:
    """The code of x[..., D] as whole numbers, straight through: from -levels//2 on, `levels` of them.

    Args:
      x: hidden vectors.
      levels: float32[] of at least 1; a single level leaves nothing.
      coordinates: float32[]; those from there on are 0.

    Returns:
      float32[..., D].
    """
    levels = jnp.maximum(levels, 1.0)
    half = (levels - 1) * (1 - MARGIN) / 2
    even = jnp.mod(levels, 2.0) == 0
    # An even number of levels has none at 0: the bounds are moved by half a level, and x so that its 0 keeps code 0.
    offset = jnp.where(even, 0.5, 0.0)
    shift = jnp.tan(offset / jnp.where(even, half, 1.0))
    bounded = jnp.tanh(x * x.shape[-1] ** 0.5 + shift) * half - offset
    # The value is the whole number itself; bounded + (rounded - bounded) can be off by a bit.
    rounded = lax.stop_gradient(jnp.round(bounded)) + (bounded - lax.stop_gradient(bounded))
    return leading(rounded, coordinates)


def quantized(x: jax.Array, levels: jax.Array, coordinates: jax.Array) -> jax.Array:
    """x[..., D] as its code, in x's own unit: within D^-1/2 of zero."""
    return grid_of(x, levels, coordinates) / (jnp.maximum(jnp.floor(levels / 2), 1.0) * x.shape[-1] ** 0.5)


def chosen(new: jax.Array, old: jax.Array, position: jax.Array) -> jax.Array:
    """`new`[..., L, D] at one position, or everywhere where that is -1; elsewhere `old`."""
    number = lax.broadcasted_iota(jnp.float32, old.shape, old.ndim - 2)
    return jnp.where(at_position(number, position), new, old)


@jax.custom_jvp
def replaced(
    x: jax.Array, acts: jax.Array, levels: jax.Array, coordinates: jax.Array, position: jax.Array
) -> jax.Array:
    """x[..., L, D] as its code where bool[] `acts`, at one position or all, else as it is.

    A loop of one turn or none, and a slope of its own that is another: XLA would fuse a selection's arithmetic, and the
    sum of its two gradients, with their neighbours', which then round differently even where nothing is quantized.
    """
    code = lambda _, x: chosen(quantized(x, levels, coordinates), x, position)  # noqa: E731
    return lax.fori_loop(0, acts.astype(jnp.int32), code, x)


@replaced.defjvp
def _replaced_jvp(primals, tangents):
    return replaced(*primals), _slope(*primals) * tangents[0]


@jax.custom_jvp
def _slope(x, acts, levels, coordinates, position):
    along = lambda _, ones: chosen(_along(x, ones, levels, coordinates), ones, position)  # noqa: E731
    return lax.fori_loop(0, acts.astype(jnp.int32), along, jnp.ones_like(x))


@_slope.defjvp
def _slope_jvp(primals, tangents):
    x, acts, levels, coordinates, position = primals
    slope = lambda x: chosen(_along(x, jnp.ones_like(x), levels, coordinates), jnp.ones_like(x), position)  # noqa: E731
    return _slope(*primals), jnp.where(acts, jax.jvp(slope, (x,), (tangents[0],))[1], 0.0)


def _along(x, direction, levels, coordinates):
    """How the code moves with x[..., D], each coordinate on its own."""
    return jax.jvp(lambda x: quantized(x, levels, coordinates), (x,), (direction,))[1]


def codes(x: jax.Array, levels: jax.Array, coordinates: jax.Array) -> jax.Array:
    """The code of x[..., D]: int32[..., D], zero from `coordinates` on."""
    return grid_of(x, levels, coordinates).astype(jnp.int32)
