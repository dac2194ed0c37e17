"""A decoder-only pre-norm transformer behind two pure functions, `init` and `apply`, written for one cell.

Shape letters: B batch, L tokens, D width, H heads, V vocabulary, A answer positions.

Flax Linen lives in this file only, so that a port to another library touches nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Params = dict[str, Any]
Touch = Callable[[str, int, Any], Any]  # (site, layer, activations) -> activations, see SITES

# Where a mechanism may change activations. Layers count as in `Forward.hidden`: 0 after the embedding, then the blocks.
SITES = {
    "embedding": "[B, L, D], layer 0: tokens and positions added up",
    "onward": "[B, L, D]: the residual stream of a layer as the next block or the final norm takes it over",
    "norm_size": "number: how many coordinates, D, a norm of a block or the final one takes its statistics over",
    "attention_in": "[B, L, D]: what the kernel of queries, keys and values reads",
    "qkv": "[B, L, 3, H, K]: queries, keys and values, K dimensions a head, before positions turn them",
    "attention": "[B, H, L, L]: attention probabilities",
    "mixed": "[B, L, D]: what the heads gathered, which the attention's output kernel reads",
    "attention_out": "[B, L, D]: what attention writes to the residual stream",
    "mlp_in": "[B, L, D]: what the feed-forward layer's first kernel reads",
    "neurons": "[B, L, M]: the feed-forward layer after its activation, which its second kernel reads",
    "mlp_out": "[B, L, D]: what the feed-forward layer writes to the residual stream",
    "residual": "[B, L, D]: the residual stream after a block, as `Forward.hidden` keeps it",
}

POSITIONS = ("learned", "rotary", "none")
NORM_EPSILON = 1e-6
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
      positions: 'learned', 'rotary' (arXiv 2104.09864) or 'none' (the causal mask alone tells order).
      activation: 'relu' or 'gelu'.
    """

    vocab_size: int
    max_length: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    mlp_width: int = 256
    positions: str = "learned"
    activation: str = "relu"


class Forward(NamedTuple):
    """What a forward pass gives.

    Attributes:
      logits: float32[B, A or L, V].
      hidden: float32[layers + 1, B, L, D], the residual stream after the embedding and after each block.
      neurons: float32[layers, B, L, M], the feed-forward layers after their activation.
    """

    logits: jax.Array
    hidden: jax.Array
    neurons: jax.Array


def untouched(site: str, layer: int, x: jax.Array) -> jax.Array:
    """The touch of no mechanism."""
    del site, layer
    return x


@jax.custom_vjp
def linear(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x[..., I] @ kernel[I, O]`, with the weight gradient written out.

    XLA's CPU back end otherwise fuses the activation's backward pass into a transposed layout for the weight gradient,
    which costs 1.5 to 2 times as much (docs/benchmarks.md). Contracting the token axis directly, behind a barrier that
    keeps the incoming gradient out of that fusion, leaves two plain matrix products.
    """
    return jnp.dot(x, kernel)


def _linear_forward(x, kernel):
    return jnp.dot(x, kernel), (x, kernel)


def _linear_backward(saved, dy):
    x, kernel = saved
    dy = lax.optimization_barrier(dy)
    x_TxI = x.reshape(-1, x.shape[-1])
    dy_TxO = dy.reshape(-1, dy.shape[-1])
    dkernel = lax.dot_general(x_TxI, dy_TxO, (((0,), (0,)), ((), ())))
    dx = lax.dot_general(dy, kernel, (((dy.ndim - 1,), (1,)), ((), ())))
    return dx, dkernel


linear.defvjp(_linear_forward, _linear_backward)


class Linear(nn.Module):
    """A bias-free linear layer, initialised with variance `scale`/fan-in."""

    features: int
    scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        """x[..., I] -> [..., features]."""
        initializer = nn.initializers.variance_scaling(self.scale, "fan_in", "normal")
        return linear(x, self.param("kernel", initializer, (x.shape[-1], self.features)))


def rotate(x_BxLxHxK: jax.Array) -> jax.Array:
    """Rotary position embedding: pairs (i, i + K/2) turned by position times a geometric range of frequencies."""
    length, half = x_BxLxHxK.shape[1], x_BxLxHxK.shape[-1] // 2
    frequency_K = 10000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_LxK = jnp.arange(length, dtype=jnp.float32)[:, None] * frequency_K[None, :]
    cos, sin = (f(angle_LxK)[None, :, None, :] for f in (jnp.cos, jnp.sin))
    first, second = x_BxLxHxK[..., :half], x_BxLxHxK[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class Norm(nn.Module):
    """Layer norm, bit for bit Flax's unless a mechanism says that only some coordinates are there."""

    layer: int

    @nn.compact
    def __call__(self, x, touch):
        """x[..., D] -> [..., D]."""
        width = x.shape[-1]
        scale_D = self.param("scale", nn.initializers.ones, (width,))
        bias_D = self.param("bias", nn.initializers.zeros, (width,))
        size, row = touch("norm_size", self.layer, width), (1,) * (x.ndim - 1) + (-1,)
        squares = jnp.square(x)
        mean, mean_square = jnp.mean(x, axis=-1), jnp.mean(squares, axis=-1)
        if size is not width:
            # Coordinates that aren't there are 0 and add nothing to a sum, so only its divisor is another.
            mean, mean_square = mean * (width / size), mean_square * (width / size)
        variance = jnp.maximum(0.0, mean_square - jnp.square(mean))
        centred = x - mean[..., None]
        return centred * (lax.rsqrt(variance[..., None] + NORM_EPSILON) * scale_D.reshape(row)) + bias_D.reshape(row)


class Attention(nn.Module):
    """Causal multi-head softmax attention."""

    spec: ModelSpec
    layer: int

    @nn.compact
    def __call__(self, x_BxLxD, touch):
        """[B, L, D] -> [B, L, D]."""
        spec = self.spec
        batch, length, _ = x_BxLxD.shape
        qkv = Linear(3 * spec.width, name="qkv")(touch("attention_in", self.layer, x_BxLxD)).reshape(
            batch, length, 3, spec.heads, -1
        )
        qkv = touch("qkv", self.layer, qkv)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if spec.positions == "rotary":
            q, k = rotate(q), rotate(k)
        scores_BxHxLxM = jnp.einsum("blhk,bmhk->bhlm", q, k) * (q.shape[-1] ** -0.5)
        causal = jnp.tril(jnp.ones((length, length), bool))
        scores_BxHxLxM = jnp.where(causal[None, None], scores_BxHxLxM, jnp.float32(-1e30))
        shares_BxHxLxM = touch("attention", self.layer, jax.nn.softmax(scores_BxHxLxM, axis=-1))
        mixed = jnp.einsum("bhlm,bmhk->blhk", shares_BxHxLxM, v).reshape(batch, length, spec.width)
        # Residual writes start small in deep models (variance / 2·layers), as in GPT-2.
        return Linear(spec.width, scale=0.5 / spec.layers, name="out")(touch("mixed", self.layer, mixed))


class Block(nn.Module):
    """Attention and a feed-forward layer, each on a normalised copy of the residual stream."""

    spec: ModelSpec
    layer: int

    @nn.compact
    def __call__(self, x_BxLxD, touch):
        """[B, L, D] -> ([B, L, D], neurons [B, L, M])."""
        spec, layer = self.spec, self.layer
        normal = Norm(layer, name="norm_attention")(x_BxLxD, touch)
        attention = Attention(spec, layer, name="attention")(normal, touch)
        x_BxLxD = x_BxLxD + touch("attention_out", layer, attention)
        normal = touch("mlp_in", layer, Norm(layer, name="norm_mlp")(x_BxLxD, touch))
        before = Linear(spec.mlp_width, name="mlp_in")(normal)
        neurons = touch("neurons", layer, ACTIVATIONS[spec.activation](before))
        mlp = Linear(spec.width, scale=0.5 / spec.layers, name="mlp_out")(neurons)
        return touch("residual", layer, x_BxLxD + touch("mlp_out", layer, mlp)), neurons


class Transformer(nn.Module):
    """Embedding, blocks, final norm, unembedding."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, tokens_BxL, at_BxA=None, touch=untouched):
        """See `run`."""
        spec = self.spec
        normal = nn.initializers.normal(spec.width**-0.5)
        embedding = self.param("embedding", normal, (spec.vocab_size, spec.width))
        x_BxLxD = embedding[tokens_BxL]
        if spec.positions == "learned":
            positions = self.param("positions", normal, (spec.max_length, spec.width))
            x_BxLxD = x_BxLxD + positions[None, : tokens_BxL.shape[1]]
        hidden, neurons = [touch("embedding", 0, x_BxLxD)], []
        for layer in range(spec.layers):
            onward = touch("onward", layer, hidden[-1])
            x_BxLxD, neurons_BxLxM = Block(spec, layer + 1, name=f"block_{layer}")(onward, touch)
            hidden.append(x_BxLxD)
            neurons.append(neurons_BxLxM)
        final = touch("onward", spec.layers, hidden[-1])
        if at_BxA is not None:
            final = jnp.take_along_axis(final, at_BxA[..., None], axis=1)
        final = Norm(spec.layers, name="norm_final")(final, touch)
        logits = Linear(spec.vocab_size, name="unembedding")(final)
        return Forward(logits, jnp.stack(hidden), jnp.stack(neurons))


def init(key: jax.Array, spec: ModelSpec) -> Params:
    """Fresh parameters of one cell."""
    return dict(Transformer(spec).init(key, jnp.zeros((1, 2), jnp.int32))["params"])


def run(
    params: Params, tokens_BxL: jax.Array, spec: ModelSpec, at_BxA: jax.Array | None = None, touch: Touch = untouched
) -> Forward:
    """Run one cell's model.

    Args:
      params: from `init`.
      tokens_BxL: int32 token ids; L ≤ spec.max_length.
      spec: the sizes `params` were made with.
      at_BxA: positions whose logits are wanted (all of them when None): projecting to the vocabulary only where
        something is to be answered saves the rest.
      touch: called with the activations at each of SITES; gives what goes on from there.
    """
    output: Any = Transformer(spec).apply({"params": params}, tokens_BxL, at_BxA, touch)
    return output


def apply(
    params: Params, tokens_BxL: jax.Array, spec: ModelSpec, at_BxA: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Logits and hidden states of `run` with no mechanism acting."""
    return run(params, tokens_BxL, spec, at_BxA)[:2]


def is_linear_kernel(path: tuple[Any, ...]) -> bool:
    """Whether a parameter (by its tree path) is the kernel of a linear layer inside a block.

    These are the weights that pruning and per-layer mechanisms act on; embeddings, norms and the unembedding are not.
    """
    names = [str(getattr(entry, "key", entry)) for entry in path]
    return names[-1] == "kernel" and names[0].startswith("block_")
