"""Randomness is addressed, not carried: every key is a function of (the cell's seed, a purpose, an index)."""

from __future__ import annotations

import jax

PURPOSES = ("init", "world", "batch", "evaluation", "curriculum", "mechanism")


def derive_key(seed: jax.Array, purpose: str, index: jax.Array | int = 0) -> jax.Array:
    """The PRNG key of (seed, purpose, index); index is the absolute step for what is drawn anew each step."""
    key = jax.random.fold_in(jax.random.key(seed), PURPOSES.index(purpose))
    return jax.random.fold_in(key, index)
