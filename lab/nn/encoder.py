"""An encoder of BERT's family, for models that others trained: attention both ways, the norm after each sum.

`lab.storage.pretrained` reads one from a folder. Hooks have the names of `lab.nn.HOOK_POINTS`, so that what acts on the
activations of our own models acts on these, too. Source: Devlin et al. 2019, arXiv 1810.04805.

Shape letters: B batch, L tokens, D width, H heads, K dimensions a head, M neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from lab.nn.layers import Hook, no_hook

ACTIVATIONS = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}
FAR = -1e9  # added to the attention score of padding: its probability is 0 in float32


@dataclass(frozen=True)
class EncoderSpec:
    """Static sizes of an encoder.

    Attributes:
      vocab_size: V.
      max_length: positions that have a learned vector.
      width: D.
      layers: number of blocks.
      heads: H; divides `width`.
      mlp_width: M, hidden units of the feed-forward layer.
      segments: kinds of segments with a learned vector; all tokens are of the first.
      activation: one of `ACTIVATIONS`.
      epsilon: added to the variance in a norm.
    """

    vocab_size: int
    max_length: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    segments: int = 2
    activation: str = "gelu"
    epsilon: float = 1e-12


class _Linear(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.normal(0.02), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x @ kernel + jnp.broadcast_to(bias, (*x.shape[:-1], self.features))


class _Norm(nn.Module):
    epsilon: float

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(variance + jnp.float32(self.epsilon))
        return normed * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(bias, x.shape)


class _Block(nn.Module):
    spec: EncoderSpec
    layer: int

    @nn.compact
    def __call__(self, x_BxLxD, shown_BxL, hook: Hook):
        spec, layer = self.spec, self.layer
        batch, length, width = x_BxLxD.shape
        heads, size = spec.heads, spec.width // spec.heads
        read = hook("attention_in", layer, x_BxLxD)
        three = [_Linear(width, name=name)(read) for name in ("query", "key", "value")]
        qkv_BxLx3xHxK = jnp.stack([each.reshape(batch, length, heads, size) for each in three], axis=2)
        query, key, value = jnp.moveaxis(hook("qkv", layer, qkv_BxLx3xHxK), 2, 0)
        scores_BxHxLxL = jnp.einsum("bihk,bjhk->bhij", query, key) / jnp.sqrt(jnp.float32(size))
        unseen_BxLx = jnp.where(shown_BxL, jnp.float32(0), jnp.float32(FAR))
        scores_BxHxLxL = scores_BxHxLxL + jnp.broadcast_to(unseen_BxLx[:, None, None, :], scores_BxHxLxL.shape)
        shares_BxHxLxL = hook("attention", layer, jax.nn.softmax(scores_BxHxLxL, axis=-1))
        mixed = jnp.einsum("bhij,bjhk->bihk", shares_BxHxLxL, value).reshape(batch, length, width)
        out = hook("attention_out", layer, _Linear(width, name="output")(hook("mixed", layer, mixed)))
        x_BxLxD = _Norm(spec.epsilon, name="norm_attention")(x_BxLxD + out)
        neurons = _Linear(spec.mlp_width, name="up")(hook("mlp_in", layer, x_BxLxD))
        neurons = hook("neurons", layer, ACTIVATIONS[spec.activation](neurons))
        out = hook("mlp_out", layer, _Linear(width, name="down")(neurons))
        return hook("residual", layer, _Norm(spec.epsilon, name="norm_mlp")(x_BxLxD + out))


class Encoder(nn.Module):
    """Embedding, its norm, and blocks."""

    spec: EncoderSpec

    @nn.compact
    def __call__(self, tokens_BxL: jax.Array, shown_BxL: jax.Array, hook: Hook = no_hook) -> jax.Array:
        """The residual stream after the embedding and after each block: float32[layers + 1, B, L, D].

        Args:
          tokens_BxL: int32, L at most `EncoderSpec.max_length`.
          shown_BxL: bool, False at padding, which nothing attends to; what stands there in the result means nothing.
          hook: see `lab.nn.HOOK_POINTS`.
        """
        spec, normal = self.spec, nn.initializers.normal(0.02)
        words = self.param("words", normal, (spec.vocab_size, spec.width))
        positions = self.param("positions", normal, (spec.max_length, spec.width))
        segments = self.param("segments", normal, (spec.segments, spec.width))
        x_BxLxD = words[tokens_BxL]
        around_LxD = positions[: tokens_BxL.shape[1]] + segments[:1]
        x_BxLxD = _Norm(spec.epsilon, name="norm")(x_BxLxD + jnp.broadcast_to(around_LxD[None], x_BxLxD.shape))
        streams = [hook("embedding", 0, x_BxLxD)]
        for index in range(spec.layers):
            streams.append(_Block(spec, index + 1, name=f"block_{index}")(streams[-1], shown_BxL, hook))
        return jnp.stack(streams)


def mean_pooled(stream_BxLxD: jax.Array, shown_BxL: jax.Array) -> jax.Array:
    """The mean of a layer's vectors over the tokens that are shown, float32[B, D] (Reimers & Gurevych 2019).

    arXiv 1908.10084. A text without a token is zero.
    """
    weights_BxLx1 = shown_BxL[..., None].astype(jnp.float32)
    total_BxD = jnp.sum(stream_BxLxD * weights_BxLx1, axis=1)
    return total_BxD / jnp.maximum(jnp.sum(weights_BxLx1, axis=1), jnp.float32(1))
