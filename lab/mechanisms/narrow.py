"""Models narrower than their arrays: the residual stream, or the queries and keys, cut to their first dimensions.

Wherever the model runs. One compiled program then serves every width, and a cut model computes what a truly narrow one
computes: norms take their statistics over the active coordinates, attention scales its scores by the active dimensions,
and weights of inactive ones are zero, so that no other mechanism finds something in them.

Shape letters: D width, H heads, K = D/H dimensions a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Context, Knob, Knobs, Mechanism, Params, StageSetup, StepView, Update
from lab.mechanisms.counted import Counted
from lab.nn.model import ModelSpec
from lab.values import exact

WIDTH = Knob(
    name="width.active",
    low=0.01,
    neutral=1.0,
    about="share of the model's width that is there: a whole number of dimensions a head, at least one",
    source="Kaplan et al. 2020, arXiv 2001.08361; nested widths: Kusupati et al. 2022, arXiv 2205.13147",
)
HEAD = Knob(
    name="head_dim.active",
    low=0.01,
    neutral=1.0,
    about="share of each head's query and key dimensions that is there: a whole number of them, at least one",
    source="Bhojanapalli et al. 2020, arXiv 2002.07028",
)


def active_of(share: jax.Array, dimensions: Any) -> jax.Array:
    """How many of some dimensions are active: float32[], whole, at least 1."""
    return jnp.maximum(1.0, jnp.round(share * dimensions))


def leading(x: jax.Array, active: jax.Array) -> jax.Array:
    """x[..., D] with its coordinates from `active` on set to zero."""
    number = lax.broadcasted_iota(jnp.float32, x.shape, x.ndim - 1)
    return jnp.where(number < active, x, jnp.zeros_like(x))


def cut_heads(qkv_BxLx3xHxK: jax.Array, active: jax.Array, parts: int) -> jax.Array:
    """The first `active` dimensions a head of the first `parts` of queries, keys and values; the rest of these zero.

    The model scales scores by K^-1/2; queries are scaled so that it becomes active^-1/2.
    """
    q, k, v = (qkv_BxLx3xHxK[:, :, part] for part in range(3))
    q, k = leading(q, active) * jnp.sqrt(q.shape[-1] / active), leading(k, active)
    return jnp.stack([q, k, leading(v, active) if parts == 3 else v], axis=2)


def no_turning(name: str, spec: ModelSpec) -> str:
    """Why a knob can't cut the heads of a model, in a sentence; empty if it can."""
    reason = "turn other pairs of dimensions than a narrow model's; change config.model.positions."
    return f"{name} can't cut heads whose rotary positions {reason}" if spec.positions == "rotary" else ""


class Heads(NamedTuple):
    """What is kept next to the parameters.

    Attributes:
      count: float32[], H.
      rescale: float32[], what weights that are drawn by a fan-in of D are multiplied with at the next `project`.
    """

    count: jax.Array
    rescale: jax.Array


class Width(Mechanism):
    """The residual stream of every layer, and the heads with it; the feed-forward layers keep their neurons.

    Where it acts from the first step, weights are scaled to the variance that a narrow model draws them with.
    """

    name = "width"
    knobs = (WIDTH,)
    hook_points = ("embedding", "onward", "norm_size", "qkv", "features", "attention_out")
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """A narrow model's heads must divide its width."""
        knobs, spec = setup.knobs, setup.spec
        a_head = knobs[WIDTH.name] * spec.width / spec.heads
        if abs(a_head - round(a_head)) > 1e-4 or round(a_head) < 1:
            return (
                f"{WIDTH.name}={knobs[WIDTH.name]} of config.model.width={spec.width} must be a whole number of"
                f" dimensions for each of {spec.heads} heads: a multiple of {exact(spec.heads / spec.width)}."
            )
        if knobs[HEAD.name] != HEAD.neutral:
            return f"{WIDTH.name} cuts the heads, too: leave {HEAD.name} at {HEAD.neutral:g}."
        return no_turning(WIDTH.name, spec)

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Dimensions of the stream."""
        return {WIDTH.name: Counted.of_share("dimensions", setup.knobs[WIDTH.name], setup.spec.width, least=1)}

    def init(self, params: Params, context: Context) -> Heads:
        """No rescaling yet."""
        return Heads(jnp.float32(context.spec.heads), jnp.float32(1))

    def on_stage_start(self, params: Params, extra: Heads, knobs: Knobs, view: StepView) -> Heads:
        """Rescale weights that no step has trained yet."""
        width = params["embedding"].shape[1]
        scale = jnp.sqrt(width / active_of(knobs[WIDTH.name], width))
        return extra._replace(rescale=jnp.where(view.step == 0, scale, jnp.float32(1)))

    def after_update(self, params: Params, extra: Heads, knobs: Knobs, update: Update) -> Heads:
        """Rescale only once."""
        return extra._replace(rescale=jnp.float32(1))

    def project(self, params: Params, extra: Heads, knobs: Knobs) -> Params:
        """Zero the weights that read or write what isn't there."""
        width = params["embedding"].shape[1]
        stream_D = leading(jnp.ones(width, bool), active_of(knobs[WIDTH.name], width))
        head_D = _in_head(width, extra.count) < active_of(knobs[WIDTH.name], width / extra.count)

        def cut(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            names = [entry.key for entry in path]
            drawn_by_width = leaf.ndim >= 2 and not {"mlp_out", "experts_out", "taps"} & set(names)
            scaled = leaf * extra.rescale if drawn_by_width else leaf
            ends = _ends(names, stream_D, head_D)[-leaf.ndim :]
            for axis, there in enumerate(ends, leaf.ndim - len(ends)):
                if there is not None:
                    shape = [1] * axis + [there.size] + [1] * (leaf.ndim - axis - 1)
                    scaled = jnp.where(there.reshape(shape), scaled, 0.0)
            return scaled

        return jax.tree_util.tree_map_with_path(cut, params)

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """Cut the stream and the heads; give the number of coordinates that norms average."""
        if hook_point == "norm_size":
            return active_of(knobs[WIDTH.name], x)
        active = active_of(knobs[WIDTH.name], x.shape[-1])
        # What a linear mixer makes of a query's zero isn't 0: there, too, what isn't there is cut.
        return cut_heads(x, active, 3) if hook_point == "qkv" else leading(x, active)


def _ends(names: list[str], stream_D: jax.Array, head_D: jax.Array) -> tuple[Any, ...]:
    """Which entries of a parameter are active, for each of its last axes; None for all."""
    if "qkv" in names:
        return stream_D, jnp.tile(head_D, 3)
    if "canon_b" in names or "canon_d" in names:
        return None, jnp.tile(head_D, 3) if "canon_b" in names else None
    if "selection" in names:
        last = {"kernel": head_D, "taps": jnp.tile(head_D, 3)}.get(names[-1])
        return None if names[-1] == "taps" else stream_D, last
    if "out" in names:
        return head_D, stream_D
    if "mlp_in" in names or "unembedding" in names or "router" in names:
        return stream_D, None
    if "experts_in" in names:
        return None, stream_D, None
    if any(name.startswith("ahead_") for name in names):
        return stream_D, stream_D
    return None, stream_D  # the embeddings, the norms, and what feed-forward layers write


def _in_head(width: int, heads: jax.Array) -> jax.Array:
    """The number of each of D dimensions within its head: float32[D]."""
    return jnp.mod(jnp.arange(width, dtype=jnp.float32), width / heads)


class HeadDimension(Mechanism):
    """Queries and keys alone: the values, hence what heads can say, keep their size."""

    name = "head_dim"
    knobs = (HEAD,)
    hook_points = ("qkv", "features")
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """Rotary positions pair dimensions."""
        return no_turning(HEAD.name, setup.spec)

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Dimensions of a head's queries and keys."""
        share, a_head = setup.knobs[HEAD.name], setup.spec.width // setup.spec.heads
        return {HEAD.name: Counted.of_share("dimensions a head", share, a_head, least=1)}

    def init(self, params: Params, context: Context) -> Heads:
        """Nothing is ever rescaled: queries and keys are drawn by the stream's width."""
        return Heads(jnp.float32(context.spec.heads), jnp.float32(1))

    def project(self, params: Params, extra: Heads, knobs: Knobs) -> Params:
        """Zero the weights of queries and keys that aren't there."""
        width = params["embedding"].shape[1]
        head_D = _in_head(width, extra.count) < active_of(knobs[HEAD.name], width / extra.count)
        there_1xO = jnp.concatenate([head_D, head_D, jnp.ones(width, bool)])[None]
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.where(there_1xO, leaf, 0.0) if any(e.key == "qkv" for e in path) else leaf, params
        )

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """Cut queries and keys, leave values as they are."""
        active = active_of(knobs[HEAD.name], x.shape[-1])
        return cut_heads(x, active, 2) if hook_point == "qkv" else leading(x, active)
