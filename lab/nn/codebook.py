"""Vector quantization: the nearest entry of a learned codebook takes a vector's place.

Shape letters: C codes, D width, N vectors.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

COMMITMENT = 0.25  # weight of the vectors' own way to their codes, the paper's beta


def nearest(x: jax.Array, codebook_CxD: jax.Array, active: Any) -> jax.Array:
    """Index of the nearest (Euclidean) of the first `active` codes for each of x[..., D]: int32[...]."""
    products = jnp.einsum("...d,cd->...c", x, codebook_CxD)
    squares_C = jnp.sum(jnp.square(codebook_CxD), axis=1)
    distance = squares_C.reshape((1,) * (x.ndim - 1) + (-1,)) - 2 * products
    there_C = jnp.arange(codebook_CxD.shape[0], dtype=jnp.float32) < active
    return jnp.argmin(jnp.where(there_C, distance, jnp.inf), axis=-1).astype(jnp.int32)


def quantize(x: jax.Array, codebook_CxD: jax.Array, active: Any) -> tuple[jax.Array, jax.Array]:
    """x[..., D] as its nearest codes, and the cost of each vector (van den Oord et al. 2017, arXiv 1711.00937).

    Gradients pass straight through to x. The cost, float32[...], is the squared distance between vector and code: it
    draws the code to its vectors, and with weight COMMITMENT the vectors to their code.
    """
    code = codebook_CxD[nearest(lax.stop_gradient(x), codebook_CxD, active)]
    drawn = jnp.sum(jnp.square(lax.stop_gradient(x) - code), axis=-1)
    committed = jnp.sum(jnp.square(x - lax.stop_gradient(code)), axis=-1)
    # The value is the code itself; x + (code - x) can be off by a bit.
    straight = lax.stop_gradient(code) + (x - lax.stop_gradient(x))
    return straight, drawn + COMMITMENT * committed
