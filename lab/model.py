"""A decoder-only pre-norm transformer behind two pure functions, `init` and `apply`, written for one cell.

Shape letters: B batch, L tokens, D width, H heads, V vocabulary, A answer positions.

Flax Linen lives in this file only, so that a port to another library touches nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Params = dict[str, Any]

POSITIONS = ("learned", "rotary", "none")
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


class Attention(nn.Module):
    """Causal multi-head softmax attention."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, x_BxLxD):
        """[B, L, D] -> [B, L, D]."""
        spec = self.spec
        batch, length, _ = x_BxLxD.shape
        qkv = Linear(3 * spec.width, name="qkv")(x_BxLxD).reshape(batch, length, 3, spec.heads, -1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if spec.positions == "rotary":
            q, k = rotate(q), rotate(k)
        scores_BxHxLxM = jnp.einsum("blhk,bmhk->bhlm", q, k) * (q.shape[-1] ** -0.5)
        causal = jnp.tril(jnp.ones((length, length), bool))
        scores_BxHxLxM = jnp.where(causal[None, None], scores_BxHxLxM, jnp.float32(-1e30))
        mixed = jnp.einsum("bhlm,bmhk->blhk", jax.nn.softmax(scores_BxHxLxM, axis=-1), v)
        # Residual writes start small in deep models (variance / 2·layers), as in GPT-2.
        return Linear(spec.width, scale=0.5 / spec.layers, name="out")(mixed.reshape(batch, length, spec.width))


class Block(nn.Module):
    """Attention and a feed-forward layer, each on a normalised copy of the residual stream."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, x_BxLxD):
        """[B, L, D] -> [B, L, D]."""
        spec = self.spec
        x_BxLxD = x_BxLxD + Attention(spec, name="attention")(nn.LayerNorm(name="norm_attention")(x_BxLxD))
        hidden = Linear(spec.mlp_width, name="mlp_in")(nn.LayerNorm(name="norm_mlp")(x_BxLxD))
        hidden = ACTIVATIONS[spec.activation](hidden)
        return x_BxLxD + Linear(spec.width, scale=0.5 / spec.layers, name="mlp_out")(hidden)


class Transformer(nn.Module):
    """Embedding, blocks, final norm, unembedding."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, tokens_BxL, at_BxA=None):
        """See `apply`."""
        spec = self.spec
        normal = nn.initializers.normal(spec.width**-0.5)
        embedding = self.param("embedding", normal, (spec.vocab_size, spec.width))
        x_BxLxD = embedding[tokens_BxL]
        if spec.positions == "learned":
            positions = self.param("positions", normal, (spec.max_length, spec.width))
            x_BxLxD = x_BxLxD + positions[None, : tokens_BxL.shape[1]]
        hidden = [x_BxLxD]
        for layer in range(spec.layers):
            hidden.append(Block(spec, name=f"block_{layer}")(hidden[-1]))
        final = hidden[-1]
        if at_BxA is not None:
            final = jnp.take_along_axis(final, at_BxA[..., None], axis=1)
        logits = Linear(spec.vocab_size, name="unembedding")(nn.LayerNorm(name="norm_final")(final))
        return logits, jnp.stack(hidden)


def init(key: jax.Array, spec: ModelSpec) -> Params:
    """Fresh parameters of one cell."""
    return dict(Transformer(spec).init(key, jnp.zeros((1, 2), jnp.int32))["params"])


def apply(
    params: Params, tokens_BxL: jax.Array, spec: ModelSpec, at_BxA: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Run one cell's model.

    Args:
      params: from `init`.
      tokens_BxL: int32 token ids; L ≤ spec.max_length.
      spec: the sizes `params` were made with.
      at_BxA: positions whose logits are wanted (all of them when None): projecting to the vocabulary only where
        something is to be answered saves the rest.

    Returns:
      logits float32[B, A or L, V], and hidden float32[layers + 1, B, L, D]: the residual stream after the embedding
      and after each block.
    """
    output: Any = Transformer(spec).apply({"params": params}, tokens_BxL, at_BxA)
    return output


def is_linear_kernel(path: tuple[Any, ...]) -> bool:
    """Whether a parameter (by its tree path) is the kernel of a linear layer inside a block.

    These are the weights that pruning and per-layer mechanisms act on; embeddings, norms and the unembedding are not.
    """
    names = [str(getattr(entry, "key", entry)) for entry in path]
    return names[-1] == "kernel" and names[0].startswith("block_")
