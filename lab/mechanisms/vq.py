"""Vector quantization of the residual stream: what goes on from a layer is the nearest entry of a learned codebook.

Hidden states are measured before it, as the vectors that are quantized. Gradients pass straight through.

Shape letters: N vectors, C codes, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.loss import heard
from lab.mechanisms.base import Knob, Knobs, Mechanism, Seen
from lab.model import Forward, ModelSpec
from tasks.mixture import Mixture

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
LAYER = Knob(
    name="vq.layer",
    high=64,
    neutral=1,
    integer=True,
    needs=CODES.name,
    about="the layer whose residual stream is quantized: 0 the embedding, then the blocks",
    source=SOURCE,
)
RATE = Knob(
    name="vq.rate",
    high=10.0,
    default=1.0,
    needs=CODES.name,
    about="weight of the squared distance between vectors and codes; the vectors' own part of it has a quarter",
    source=SOURCE,
)


class VectorQuantization(Mechanism):
    """See the module's docstring."""

    name = "vq"
    knobs = (CODES, LAYER, RATE)
    sites = ("codes", "quantized")
    stays = True

    def objection(self, mixture: Mixture, spec: ModelSpec, knobs: Mapping[str, Any]) -> str:
        """The layer must exist."""
        del mixture
        if knobs[LAYER.name] > spec.layers:
            return f"{LAYER.name}={knobs[LAYER.name]} must lie in [0, {spec.layers}] (config.model.layers)."
        return ""

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the codebook."""
        return replace(spec, codes=knobs[CODES.name])

    def touch(self, site: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """How many codes there are, and whether it is this layer."""
        del x, key
        if site == "codes":
            return knobs[CODES.name]
        return ((knobs[LAYER.name] == layer) & (knobs[CODES.name] > 0)).astype(jnp.float32)

    def penalty(self, forward: Forward, seen: Seen, knobs: Knobs) -> jax.Array:
        """The codebook's cost, mean over the tokens that an answer hears."""
        heard_BxL = heard(seen.batch).astype(jnp.float32)
        return knobs[RATE.name] * jnp.sum(forward.quantization * heard_BxL) / jnp.sum(heard_BxL)
