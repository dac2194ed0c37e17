"""How tokens gather from each other, as functions of queries and keys or of neighbours.

Shape letters: B batch, L tokens, C channels, H heads, K dimensions a head.
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


def selective_shares(
    q: jax.Array, k: jax.Array, allowed: jax.Array, steps_BxLxH: jax.Array, kept_BxLxH: jax.Array, precision: Precision
) -> jax.Array:
    """The same of a selective state space (Mamba: arXiv 2312.00752), with one decay a head (arXiv 2405.21060).

    The state of a head, K·K numbers, is carried from token to token: h_t = a_t h_{t-1} + Δ_t k_t v_tᵀ, of which q_t
    reads K^-½ q_tᵀ h_t. So the share of key s is K^-½ (q_t·k_s) Δ_s a_{s+1} ⋯ a_t. For sequences as short as a study's
    it is computed at once for all pairs.

    Args:
      q, k: float32[B, L, H, K].
      allowed: bool, broadcasts to [B, H, L, L], query by key.
      steps_BxLxH: Δ, how much of a token is written.
      kept_BxLxH: ln a, at most 0: how much of the state each token leaves.
    """
    passed_BxHxL = jnp.cumsum(kept_BxLxH, axis=1).transpose(0, 2, 1)
    since = jnp.where(allowed, passed_BxHxL[..., :, None] - passed_BxHxL[..., None, :], 0.0)
    weights = jnp.exp(since) * steps_BxLxH.transpose(0, 2, 1)[:, :, None, :] * (q.shape[-1] ** -0.5)
    return jnp.where(allowed, precision.einsum("blhk,bmhk->bhlm", q, k) * weights, 0.0)


def neighbours(x_BxLxC: jax.Array, taps_NxC: jax.Array, first: int = 0) -> jax.Array:
    """A causal convolution of each channel by itself: tap n weighs the token n places back; [B, L, C].

    The first places, `first` of them, stand apart: they see themselves alone, and no later token sees them.
    """
    place_1xLx1 = jnp.arange(x_BxLxC.shape[1])[None, :, None]
    taps_Nx1x1xC = taps_NxC[:, None, None]
    found = taps_Nx1x1xC[0] * x_BxLxC
    for back in range(1, taps_NxC.shape[0]):
        before = jnp.where(place_1xLx1 >= first + back, jnp.roll(x_BxLxC, back, axis=1), 0.0)
        found = found + taps_Nx1x1xC[back] * before
    return found
