"""Vector quantization of the residual stream: a layer passes on the nearest entry of a learned codebook.

Hidden states are measured before it, as the vectors that are quantized. Gradients pass straight through.

Shape letters: N vectors, C codes, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Params, StepView
from lab.mechanisms.quantization import Quantization, at_position, code_entropy, own_readings, place_of
from lab.nn.codebook import nearest
from lab.nn.loss import heard
from lab.nn.model import Forward, ModelSpec

SOURCE = "van den Oord et al. 2017, arXiv 1711.00937"
CODES = Knob(
    name="vq.codes",
    high=4096,
    integer=True,
    pinned=True,
    sizes=True,
    about="entries of the codebook that the residual stream is rounded to; 0 is no quantization",
    source=SOURCE,
)
LAYER, POSITION = place_of(CODES)
RATE = Knob(
    name="vq.rate",
    high=10.0,
    default=1.0,
    needs=(CODES.name,),
    about="weight of the squared distance between vectors and codes; the vectors' own part of it has a quarter",
    source=SOURCE,
)


def _codes(hidden_NxD: jax.Array, params: Params, knobs: Knobs) -> dict[str, jax.Array]:
    """Entropy of the code in nats, and how many codes are used; NaN in a model without a codebook."""
    if "codebook" not in params:
        return {"code_entropy": jnp.float32(jnp.nan), "codes_used": jnp.float32(jnp.nan)}
    codebook_CxD = params["codebook"]["vectors"]
    index_N = nearest(hidden_NxD, codebook_CxD, knobs[CODES.name])
    used = jnp.sum(jnp.any(index_N[:, None] == jnp.arange(codebook_CxD.shape[0])[None], axis=0))
    return {"code_entropy": code_entropy(index_N[:, None]), "codes_used": used.astype(jnp.float32)}


def _one_of_codes(name: str, hidden_NxD: jax.Array, params: Params, knobs: Knobs) -> jax.Array:
    return _codes(hidden_NxD, params, knobs)[name]


class VectorQuantization(Quantization):
    """See the module's docstring."""

    name = "vq"
    knobs = (CODES, LAYER, POSITION, RATE)
    size, layer, position = CODES, LAYER, POSITION
    hook_points = ("codes", "quantized")
    claimable = own_readings(CODES, {name: partial(_one_of_codes, name) for name in ("code_entropy", "codes_used")})

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the codebook."""
        return replace(spec, codes=knobs[CODES.name])

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """How many codes there are, and which tokens are quantized."""
        if hook_point == "codes":
            return knobs[CODES.name]
        chosen_L = at_position(jnp.arange(x.size, dtype=jnp.float32), knobs[POSITION.name])
        return (self.acts(layer, knobs) & chosen_L).astype(jnp.float32)

    def readings(self, hidden_NxD: jax.Array, layer: jax.Array, params: Params, knobs: Knobs) -> dict[str, jax.Array]:
        """Entropy of the code of the quantized layer in nats, and how many codes are used; where all is quantized."""
        here, read = self.readable(layer, knobs), _codes(hidden_NxD, params, knobs)
        return {name: jnp.where(here, value, jnp.nan) for name, value in read.items()}

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """The codebook's cost, mean over the quantized tokens that an answer hears."""
        position_1xL = jnp.arange(view.batch.tokens.shape[1], dtype=jnp.float32)[None]
        chosen_1xL = at_position(position_1xL, knobs[POSITION.name])
        there_BxL = (heard(view.batch) & chosen_1xL).astype(jnp.float32)
        cost = jnp.sum(forward.quantization * there_BxL) / jnp.maximum(jnp.sum(there_BxL), 1.0)
        return knobs[RATE.name] * cost
