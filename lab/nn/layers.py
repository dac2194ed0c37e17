"""The layers of the model: linear maps, norms, mixing of tokens, feed-forward, written for one cell.

Shape letters: B batch, L tokens, D width, H heads, K dimensions a head, M neurons, E experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lab.nn.mixing import NORM_EPSILON, linear_shares, neighbours, rotate, selective_shares, softmax_shares
from lab.nn.products import Precision, linear

Hook = Callable[[str, int, Any], Any]  # (hook point, layer, activations) -> activations, see HOOK_POINTS

# Where a mechanism may change activations. Layers count as in `Forward.hidden`: 0 after the embedding, then the blocks.
HOOK_POINTS = {
    "embedding": "[B, L, D], layer 0: tokens and positions added up",
    "onward": "[B, L, D]: the residual stream of a layer as the next block or the final norm takes it over",
    "norm_size": "number: how many coordinates, D, a norm of a block or the final one takes its statistics over",
    "attention_in": "[B, L, D]: what the kernel of queries, keys and values reads",
    "qkv": "[B, L, 3, H, K]: queries, keys and values, K dimensions a head, before positions turn them",
    "attention": "[B, H, L, L]: attention probabilities",
    "mixed": "[B, L, D]: what the heads gathered, which the attention's output kernel reads",
    "attention_out": "[B, L, D]: what attention writes to the residual stream",
    "mlp_in": "[B, L, D]: what the feed-forward layer's first kernel reads",
    "neurons": "[B, L, M], of experts [B, L, E, M]: the feed-forward layer after its activation",
    "mlp_out": "[B, L, D]: what the feed-forward layer writes to the residual stream",
    "residual": "[B, L, D]: the residual stream after a block, as `Forward.hidden` keeps it",
    "features": "[B, L, 2, H, K]: what a linear mixer makes of queries and keys",
    "thoughts": "[B, S, D]: the hidden vectors that are fed back as inputs, S the most of them",
    "quantized": "[L]: which tokens a layer passes on as their nearest codes, above 0",
    # Numbers, which may be traced. Each is given as it is without a mechanism.
    "turns": "number: how often the blocks are gone through, at most `ModelSpec.turns`",
    "injection": "number: how much of the embedding is added to the stream before each further turn",
    "registers": "number: learned vectors in front of the tokens, at most `ModelSpec.registers`",
    "thought_steps": "number: hidden vectors that are fed back before the first answer, at most `ModelSpec.thoughts`",
    "memories": "number: learned vectors after those, each its own, at most `ModelSpec.memories`",
    "pauses": "number: copies of one learned vector after those, at most `ModelSpec.pauses`",
    "compressed": "number: whether what comes after the memories sees the question through them alone",
    "experts": "number: experts that are there, at most `ModelSpec.experts`",
    "top_k": "number: experts that a token is sent to",
    "router_temperature": "number: what the router's logits are divided by",
    "canon": "[4] numbers: how much of the convolution over neighbours is added at points A to D of a block",
    "codes": "number: entries of the codebook that are there, at most `ModelSpec.codes`",
}

CANON_POINTS = "ABCD"
POSITIONS = ("learned", "rotary", "none")
MIXERS = ("softmax", "linear", "selective")
TAPS = 4  # tokens that a convolution over neighbours sees, its own included
COMPUTE = ("float32", "bfloat16")
PRODUCTS = ("highest", "high", "default")
ACTIVATIONS = {"relu": jax.nn.relu, "gelu": jax.nn.gelu}


@dataclass(frozen=True)
class ModelSpec:
    """Static sizes of a model.

    Attributes:
      vocab_size: V.
      max_length: the longest sequence it will ever see; sizes the learned position table.
      width: D.
      layers: number of blocks.
      heads: H; divides `width`.
      mlp_width: hidden units of the feed-forward layer.
      positions: 'learned', 'rotary' (arXiv 2104.09864) or 'none' (the causal mask alone gives order).
      activation: 'relu' or 'gelu'.
      compute: of matrix products: 'float32', or 'bfloat16': both factors rounded to it, sums in float32. All else
        (parameters, residual stream, norms, softmax, loss, optimizer) is float32 in both.
      products: how a GPU or TPU takes a float32 product: 'highest' (float32 throughout), 'high' (TF32, three passes of
        bfloat16) or 'default' (the device's fastest). A CPU knows one way only.
      mixer: 'softmax' attention; 'linear' (arXiv 2006.16236), which has a recurrent form with a fixed state; or
        'selective', a state space whose decay depends on the token (arXiv 2312.00752).
      turns, registers, thoughts, memories, pauses, experts, codes: room for the most that a cell may use, see
        HOOK_POINTS. A model without experts has one plain feed-forward layer a block.
      ahead: further answer tokens that are predicted at every answer position while training.
      canon: tokens that the Canon layers of a block see, 0 without such layers.
    """

    vocab_size: int
    max_length: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    mlp_width: int = 256
    positions: str = "learned"
    activation: str = "relu"
    compute: str = "float32"
    products: str = "highest"
    mixer: str = "softmax"
    turns: int = 1
    registers: int = 0
    thoughts: int = 0
    memories: int = 0
    pauses: int = 0
    experts: int = 0
    codes: int = 0
    ahead: int = 0
    canon: int = 0

    @property
    def precision(self) -> Precision:
        """How matrix products are taken."""
        return Precision(self.compute, self.products)

    @property
    def slots(self) -> int:
        """Room for vectors between question and answer."""
        return self.thoughts + self.memories + self.pauses


class View(NamedTuple):
    """Where tokens stand and which others they may look at; None for those in a row, each after all before it.

    Attributes:
      positions: int32[B, L].
      allowed: bool[B, 1, L, L], query by key.
    """

    positions: jax.Array | None = None
    allowed: jax.Array | None = None


def no_hook(hook_point: str, layer: int, x: jax.Array) -> jax.Array:
    """The hook of no mechanism: x itself."""
    return x


class Linear(nn.Module):
    """A bias-free linear layer, initialised with variance `scale`/fan-in."""

    features: int
    precision: Precision
    scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        """x[..., I] -> [..., features]."""
        initializer = nn.initializers.variance_scaling(self.scale, "fan_in", "normal")
        return linear(x, self.param("kernel", initializer, (x.shape[-1], self.features)), self.precision)


class Norm(nn.Module):
    """Layer norm, bit for bit Flax's unless a mechanism says that only some coordinates are there."""

    layer: int

    @nn.compact
    def __call__(self, x, hook):
        """x[..., D] -> [..., D]."""
        width = x.shape[-1]
        scale_D = self.param("scale", nn.initializers.ones, (width,))
        bias_D = self.param("bias", nn.initializers.zeros, (width,))
        size, row = hook("norm_size", self.layer, width), (1,) * (x.ndim - 1) + (-1,)
        squares = jnp.square(x)
        mean, mean_square = jnp.mean(x, axis=-1), jnp.mean(squares, axis=-1)
        if size is not width:
            # Coordinates that aren't there are 0 and add nothing to a sum, so only its divisor is another.
            mean, mean_square = mean * (width / size), mean_square * (width / size)
        variance = jnp.maximum(0.0, mean_square - jnp.square(mean))
        centred = x - mean[..., None]
        return centred * (lax.rsqrt(variance[..., None] + NORM_EPSILON) * scale_D.reshape(row)) + bias_D.reshape(row)


class Attention(nn.Module):
    """Causal multi-head attention: softmax, or the parallel form of a linear or a selective recurrence."""

    spec: ModelSpec
    layer: int

    @nn.compact
    def __call__(self, x_BxLxD, hook, view=View()):  # noqa: B008 (immutable)
        """[B, L, D] -> [B, L, D]."""
        spec = self.spec
        batch, length, _ = x_BxLxD.shape
        precision = spec.precision
        read = hook("attention_in", self.layer, x_BxLxD)
        qkv = canon(spec, self.layer, "B", Linear(3 * spec.width, precision, name="qkv")(read), hook)
        selection = None
        if spec.mixer == "selective":
            selection = Selection(spec, name="selection")(read, qkv)
            qkv = selection.qkv
        qkv = hook("qkv", self.layer, qkv.reshape(batch, length, 3, spec.heads, -1))
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if spec.positions == "rotary":
            positions_BxL = jnp.arange(length)[None] if view.positions is None else view.positions
            q, k = rotate(q, positions_BxL), rotate(k, positions_BxL)
        allowed = jnp.tril(jnp.ones((length, length), bool))[None, None] if view.allowed is None else view.allowed
        if selection is None:
            gather = linear_shares if spec.mixer == "linear" else softmax_shares
            shares_BxHxLxM = gather(q, k, allowed, partial(hook, "features", self.layer), precision)
        else:
            shares_BxHxLxM = selective_shares(q, k, allowed, selection.steps, selection.kept, precision)
        shares_BxHxLxM = hook("attention", self.layer, shares_BxHxLxM)
        mixed = precision.einsum("bhlm,bmhk->blhk", shares_BxHxLxM, v)
        if selection is not None:
            mixed = (mixed + selection.skip[None, None, :, None] * v) * selection.gate.reshape(v.shape)
        mixed = mixed.reshape(batch, length, spec.width)
        # Residual writes start small in deep models (variance / 2·layers), as in GPT-2.
        return Linear(spec.width, precision, 0.5 / spec.layers, name="out")(hook("mixed", self.layer, mixed))


class Canon(nn.Module):
    """A causal convolution over neighbours, added to what it reads (arXiv 2512.17351)."""

    taps: int
    first: int

    @nn.compact
    def __call__(self, x_BxLxC, strength):
        """[B, L, C] -> [B, L, C]; the first places stand apart, see `neighbours`."""
        taps = self.param("taps", uniform_taps, (self.taps, x_BxLxC.shape[-1]))
        return x_BxLxC + strength * neighbours(x_BxLxC, taps, self.first)


def canon(spec: ModelSpec, layer: int, point: str, x_BxLxC: jax.Array, hook: Hook) -> jax.Array:
    """`x` after the Canon layer at a point of a block, inside whose module this is called; x itself without one."""
    if not spec.canon:
        return x_BxLxC
    strength = hook("canon", layer, jnp.zeros(len(CANON_POINTS)))[CANON_POINTS.index(point)]
    name = f"canon_{point.lower()}"
    output: Any = Canon(spec.canon, spec.registers, name=name)(x_BxLxC, strength)
    return output


class Selected(NamedTuple):
    """What a selective mixer has in addition to queries, keys and values.

    Attributes:
      qkv: float32[B, L, 3·D], after their convolution.
      steps: float32[B, L, H], how much of a token is written to the state.
      kept: float32[B, L, H], the logarithm of how much of the state it leaves.
      skip: float32[H], how much of a token's own value is read next to the state.
      gate: float32[B, L, D], what the heads' sums are multiplied with.
    """

    qkv: jax.Array
    steps: jax.Array
    kept: jax.Array
    skip: jax.Array
    gate: jax.Array


class Selection(nn.Module):
    """What makes a recurrence selective: steps, decays and a gate that depend on the token, and a short convolution.

    The block of Mamba-2 (arXiv 2405.21060) without its expansion of the width and its norm. Heads start as averages
    over 2 to 64 tokens, in a geometric row: Δ of 1/2 to 1/64, with a decay of e^-Δ.
    """

    spec: ModelSpec

    @nn.compact
    def __call__(self, x_BxLxD, qkv_BxLxC):
        """What the kernel of queries, keys and values reads, and what it gives -> Selected."""
        spec = self.spec
        drawn = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        step_DxH = self.param("step", drawn, (spec.width, spec.heads))
        bias_H = self.param("bias", first_bias, (spec.heads,))
        rate_H = self.param("rate", nn.initializers.zeros, (spec.heads,))
        skip_H = self.param("skip", nn.initializers.ones, (spec.heads,))
        taps = self.param("taps", uniform_taps, (TAPS, 3 * spec.width))
        steps_BxLxH = jax.nn.softplus(linear(x_BxLxD, step_DxH, spec.precision) + bias_H[None, None])
        # Registers stand nowhere: no time passes at them.
        passes_1xLx1 = (jnp.arange(x_BxLxD.shape[1]) >= spec.registers)[None, :, None]
        kept_BxLxH = jnp.where(passes_1xLx1, -steps_BxLxH * jnp.exp(rate_H)[None, None], 0.0)
        qkv_BxLxC = jax.nn.silu(neighbours(qkv_BxLxC, taps, spec.registers))
        gate_BxLxD = jax.nn.silu(Linear(spec.width, spec.precision, name="gate")(x_BxLxD))
        return Selected(qkv_BxLxC, steps_BxLxH, kept_BxLxH, skip_H, gate_BxLxD)


def first_bias(key: jax.Array, shape: tuple[int]) -> jax.Array:
    """What softplus makes steps of 1/2 to 1/64 of, in a geometric row over heads; nothing is drawn."""
    (heads,) = shape
    steps_H = 0.5 * 32.0 ** (-jnp.arange(heads, dtype=jnp.float32) / max(heads - 1, 1))
    return jnp.log(jnp.expm1(steps_H))


def uniform_taps(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """A convolution's first weights, uniform within the inverse root of its taps on either side."""
    return jax.random.uniform(key, shape, minval=-(shape[0] ** -0.5), maxval=shape[0] ** -0.5)


class Block(nn.Module):
    """Attention and a feed-forward layer, each on a normalised copy of the residual stream."""

    spec: ModelSpec
    layer: int

    @nn.compact
    def __call__(self, x_BxLxD, hook, view=View()):  # noqa: B008 (immutable)
        """[B, L, D] -> ([B, L, D], neurons [B, L, M], router's probabilities [B, L, E])."""
        spec, layer = self.spec, self.layer
        normal = canon(spec, layer, "A", Norm(layer, name="norm_attention")(x_BxLxD, hook), hook)
        attention = Attention(spec, layer, name="attention")(normal, hook, view)
        x_BxLxD = x_BxLxD + hook("attention_out", layer, attention)
        normal = canon(spec, layer, "C", Norm(layer, name="norm_mlp")(x_BxLxD, hook), hook)
        normal = hook("mlp_in", layer, normal)
        if spec.experts:
            mlp, neurons, routing = Experts(spec, layer, name="mixture")(normal, hook)
        else:
            precision = spec.precision
            before = canon(spec, layer, "D", Linear(spec.mlp_width, precision, name="mlp_in")(normal), hook)
            neurons = hook("neurons", layer, ACTIVATIONS[spec.activation](before))
            mlp = Linear(spec.width, precision, 0.5 / spec.layers, name="mlp_out")(neurons)
            routing = jnp.zeros((*x_BxLxD.shape[:2], 0))
        return hook("residual", layer, x_BxLxD + hook("mlp_out", layer, mlp)), neurons, routing


class Experts(nn.Module):
    """Several feed-forward layers; each token is sent to a few of them (arXiv 1701.06538).

    All are computed for every token and those it isn't sent to get no weight: what is sparse here is what is learned.
    """

    spec: ModelSpec
    layer: int

    @nn.compact
    def __call__(self, x_BxLxD, hook):
        """[B, L, D] -> ([B, L, D], neurons [B, L, M] weighted by the gates, router's probabilities [B, L, E])."""
        spec, layer = self.spec, self.layer
        drawn = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        small = nn.initializers.variance_scaling(0.5 / spec.layers, "fan_in", "normal", batch_axis=0)
        in_ExDxM = self.param("experts_in", drawn, (spec.experts, spec.width, spec.mlp_width))
        out_ExMxD = self.param("experts_out", small, (spec.experts, spec.mlp_width, spec.width))
        precision = spec.precision
        logits_BxLxE = Linear(spec.experts, precision, name="router")(x_BxLxD) / hook("router_temperature", layer, 1.0)
        there_E = jnp.arange(spec.experts, dtype=jnp.float32) < hook("experts", layer, spec.experts)
        probability_BxLxE = jax.nn.softmax(jnp.where(there_E[None, None], logits_BxLxE, -1e30), axis=-1)
        # The place of each expert in a token's order, by two sorts.
        rank_BxLxE = jnp.argsort(jnp.argsort(-probability_BxLxE, axis=-1), axis=-1).astype(jnp.float32)
        gates_BxLxE = jnp.where(rank_BxLxE < hook("top_k", layer, spec.experts), probability_BxLxE, 0.0)
        # All experts' neurons side by side: two plain matrix products, as fast as one wide layer's.
        before = linear(x_BxLxD, in_ExDxM.transpose(1, 0, 2).reshape(spec.width, -1), precision)
        before = before.reshape(*x_BxLxD.shape[:2], spec.experts, spec.mlp_width)
        neurons = hook("neurons", layer, ACTIVATIONS[spec.activation](before))
        weighted = neurons * gates_BxLxE[..., None]
        mlp = linear(weighted.reshape(*x_BxLxD.shape[:2], -1), out_ExMxD.reshape(-1, spec.width), precision)
        return mlp, jnp.sum(weighted, axis=2), probability_BxLxE
