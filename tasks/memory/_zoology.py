"""How the published multi-query recall places its queries and fills its gaps (Zoology, arXiv 2312.04927).

Behind the context come slots of two tokens. The first token of a slot may hold a query; every other token is a filler.

Shape letters: S slots, N pairs, L positions.
"""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import unit
from tasks.base import Baseline
from tasks.memory._shared import below

POWER = 0.01  # the law of the gaps: slot s is drawn with a share of (s + 1)^(POWER - 1)
SIMULATED = 1 << 20  # numbers drawn for the baseline `in_order`


def slots(bits_S: jax.Array, pairs: int, space: jax.Array) -> jax.Array:
    """The slot in which each pair is asked about, drawn one after another without repetition: int32[N].

    The largest of Gumbel noise added to log shares are such a draw, in its order. Of more slots than are in use, those
    from `space` on are never drawn, but for entries from `space` on, which are meaningless.

    Args:
      bits_S: uint32[S], uniform.
      pairs: N, at most S.
      space: int32[], how many slots are in use.
    """
    index_S = jnp.arange(bits_S.shape[0], dtype=jnp.int32)
    noise_S = -jnp.log(-jnp.log(unit(bits_S) + jnp.float32(2**-25)))
    score_S = noise_S + (POWER - 1) * jnp.log1p(index_S.astype(jnp.float32))
    return lax.top_k(jnp.where(index_S < space, score_S, -jnp.inf), pairs)[1].astype(jnp.int32)


def fillers(bits_L: jax.Array, key_N: jax.Array, count: jax.Array, vocabulary: int) -> jax.Array:
    """Random tokens, PAD apart, none of them a key of the context: int32[L].

    Args:
      bits_L: uint32[L], uniform.
      key_N: int32[N], tokens of the keys, all different.
      count: int32[], how many of the keys there are.
      vocabulary: number of token ids.
    """
    index_N = jnp.arange(key_N.shape[0], dtype=jnp.int32)
    sorted_N = jnp.sort(jnp.where(index_N < count, key_N, 2 * vocabulary))
    token_L = 1 + below(bits_L, vocabulary - 1 - count)
    skipped_LxN = (sorted_N - index_N)[None, :] <= token_L[:, None]  # a key, and with it all larger ids move up by one
    return token_L + jnp.sum(skipped_LxN, axis=1, dtype=jnp.int32)


@lru_cache(maxsize=256)
def in_order(pairs: int, tokens: int) -> Baseline:
    """The i-th query answered with the i-th value: early pairs take early slots, for those are drawn first.

    Simulated with a fixed seed. No other guess from positions is right more often; the log-probability is that of
    knowing how often each pair is asked about at each place.
    """
    space = (tokens - 2 * pairs) // 2
    share_S = np.arange(1, space + 1) ** (POWER - 1)
    noise_CxS = np.random.default_rng(0).gumbel(size=(max(512, min(16384, SIMULATED // space)), space))
    slot_CxN = np.argsort(-np.log(share_S) - noise_CxS, axis=1)[:, :pairs]
    pair_CxN = np.argsort(slot_CxN, axis=1)
    share_NxN = np.stack([np.mean(pair_CxN == pair, axis=0) for pair in range(pairs)])
    nats = np.sum(share_NxN * np.log(np.maximum(share_NxN, 1e-12))) / pairs
    return Baseline(float(np.mean(np.all(pair_CxN == np.arange(pairs), axis=1))), float(nats))
