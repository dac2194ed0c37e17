"""Random keys are derived, not passed along: each is a function of (the cell's seed, a purpose, an index)."""

from __future__ import annotations

import jax

PURPOSES = ("init", "world", "batch", "evaluation", "curriculum", "mechanism", "probe")


def derive_key(seed: jax.Array, purpose: str, index: jax.Array | int = 0) -> jax.Array:
    """The PRNG key of (seed, purpose, index); the index is the absolute step for values that are drawn at each step."""
    key = jax.random.fold_in(jax.random.key(seed), PURPOSES.index(purpose))
    return jax.random.fold_in(key, index)
