"""How tokens gather from each other, as functions of queries and keys or of neighbours.

Shape letters: B batch, L tokens, H heads, K dimensions a head.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lab.nn.products import Precision

Features = Callable[[jax.Array], jax.Array]
NORM_EPSILON = 1e-6


def rotate(x_BxLxHxK: jax.Array, positions_BxL: jax.Array) -> jax.Array:
    """Rotary position embedding: pairs (i, i + K/2) turned by position times a geometric range of frequencies."""
    half = x_BxLxHxK.shape[-1] // 2
    frequency_K = 10000.0 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_BxLxK = positions_BxL.astype(jnp.float32)[..., None] * frequency_K[None, None]
    cos, sin = (f(angle_BxLxK)[:, :, None, :] for f in (jnp.cos, jnp.sin))
    first, second = x_BxLxHxK[..., :half], x_BxLxHxK[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def softmax_shares(
    q: jax.Array, k: jax.Array, allowed: jax.Array, features: Features, precision: Precision
) -> jax.Array:
    """The share of each key in what a query gathers: float32[B, H, L, L] of q, k [B, L, H, K]."""
    scores_BxHxLxM = precision.einsum("blhk,bmhk->bhlm", q, k) * (q.shape[-1] ** -0.5)
    return jax.nn.softmax(jnp.where(allowed, scores_BxHxLxM, jnp.float32(-1e30)), axis=-1)


def linear_shares(
    q: jax.Array, k: jax.Array, allowed: jax.Array, features: Features, precision: Precision
) -> jax.Array:
    """The same where the share is a product of positive features of query and key (elu + 1, arXiv 2006.16236).

    Sums over keys can then be carried along the tokens: a state of K·K numbers and K for the divisor, a head.
    """
    mapped = features(jax.nn.elu(jnp.stack([q, k], axis=2)) + 1)
    scores_BxHxLxM = precision.einsum("blhk,bmhk->bhlm", mapped[:, :, 0], mapped[:, :, 1])
    scores_BxHxLxM = jnp.where(allowed, scores_BxHxLxM, 0.0)
    return scores_BxHxLxM / (jnp.sum(scores_BxHxLxM, axis=-1, keepdims=True) + NORM_EPSILON)
