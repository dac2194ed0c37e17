"""Canon layers: a causal convolution over neighbouring tokens, channel by channel, added to what it reads.

Each token gets a weighted sum of itself and of the three tokens before it. In a block there is room for four: A in
front of the attention's kernel, B on queries, keys and values, C in front of the feed-forward layer, D on its neurons
before the activation. Together they are published to double the depth at which a model reasons.

The weights start uniform in [-1/2, 1/2], the usual start of a convolution of four taps. One program serves every
strength and every choice of points: weights of points that aren't there are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Extra, Knob, Knobs, Mechanism, Params, StageSetup
from lab.nn.model import CANON_POINTS, TAPS, ModelSpec

SOURCE = "Allen-Zhu 2025, Physics of Language Models: Part 4.1, arXiv 2512.17351"
WHERES = tuple("".join(some) for count in range(1, 5) for some in combinations(CANON_POINTS, count))
STRENGTH = Knob(
    name="canon.strength",
    pinned=True,
    about="how much of the convolution over the last four tokens is added; 1 is the published layer",
    source=SOURCE,
)
WHERE = Knob(
    name="canon.where",
    high=len(WHERES) - 1,
    neutral=WHERES[-1],
    choices=WHERES,
    indexed=True,
    pinned=True,
    needs=(STRENGTH.name,),
    about="points of a block: A before attention, B on queries, keys and values, C before and D inside the feed-forward"
    " layer",
    source=SOURCE,
)


def there(where: jax.Array) -> jax.Array:
    """Which of the points A to D there are, for the index of a choice: float32[4]."""
    table = jnp.asarray([[float(point in each) for point in CANON_POINTS] for each in WHERES], jnp.float32)
    return table[jnp.asarray(where).astype(jnp.int32)]


class Canon(Mechanism):
    """See the module's docstring."""

    name = "canon"
    knobs = (STRENGTH, WHERE)
    hook_points = ("canon",)
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """Experts have no point D, and nothing may look past the memories."""
        knobs = setup.knobs
        if "D" in knobs[WHERE.name] and knobs["experts.count"] > 1:
            return f"{WHERE.name}='{knobs[WHERE.name]}': experts have no point D; leave it out, as in 'ABC'."
        if knobs["memory.tokens"] and knobs["memory.compress"]:
            return (
                f"{STRENGTH.name}: a convolution sees the question past the memories, which memory.compress=1 forbids;"
                " leave one of them at 0."
            )
        return ""

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the weights of all points."""
        return replace(spec, canon=TAPS)

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """How much is added at each point."""
        return knobs[STRENGTH.name] * there(knobs[WHERE.name])

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Zero the weights of points that aren't there."""
        there_P = dict(zip(CANON_POINTS, there(knobs[WHERE.name]), strict=True))

        def cut(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            point = next((e.key[-1].upper() for e in path if e.key.startswith("canon_")), None)
            return leaf if point is None else jnp.where(there_P[point] > 0, leaf, 0.0)

        return jax.tree_util.tree_map_with_path(cut, params)
