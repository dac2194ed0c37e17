"""Matrix products: their precision, and gradients written out so that they run fast.

Shape letters: I inputs and O outputs of a kernel, T tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Precision(NamedTuple):
    """How matrix products are taken, see `ModelSpec.compute` and `ModelSpec.products`."""

    compute: str = "float32"
    products: str = "highest"

    def product(self, dot: Callable[..., jax.Array], a: jax.Array, b: jax.Array) -> jax.Array:
        """`dot(a, b)` at this precision: float32, whatever the factors are rounded to."""
        if self.compute == "bfloat16":
            # A CPU lacks some products of bfloat16; those of factors rounded to it are the same numbers.
            return lax.platform_dependent(
                a,
                b,
                cpu=lambda a, b: dot(lax.reduce_precision(a, 8, 7), lax.reduce_precision(b, 8, 7)),
                default=lambda a, b: dot(
                    a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32
                ),
            )
        # 'highest' is what every program is compiled with, see lab.engine.program_cache.
        return dot(a, b) if self.products == "highest" else dot(a, b, precision=self.products)

    def einsum(self, subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
        """Two terms whose letters all stand in two of the three.

        The gradient is written out: JAX's own would take its products in float32 where these are of bfloat16, and the
        barrier makes a CPU's step faster (docs/benchmarks.md; unmeasured on other platforms).
        """
        product: Any = _einsum(subscripts, self, a, b)
        return product


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _einsum(subscripts, precision, a, b):
    return precision.product(partial(jnp.einsum, subscripts), a, b)


def _einsum_backward(subscripts, precision, saved, dy):
    (of_a, of_b), of_y = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    dy = lax.optimization_barrier(dy)
    da = _einsum(f"{of_y},{of_b}->{of_a}", precision, dy, saved[1])
    return da, _einsum(f"{of_y},{of_a}->{of_b}", precision, dy, saved[0])


_einsum.defvjp(lambda subscripts, precision, a, b: (_einsum(subscripts, precision, a, b), (a, b)), _einsum_backward)


def linear(x: jax.Array, kernel: jax.Array, precision: Precision = Precision()) -> jax.Array:  # noqa: B008 (immutable)
    """`x[..., I] @ kernel[I, O]`, with the weight gradient written out.

    Left alone, XLA's CPU back end fuses the activation's backward pass into a transposed layout for the weight
    gradient, which costs 1.5 to 2 times as much (docs/benchmarks.md). A barrier keeps the incoming gradient out of that
    fusion, and the token axis is contracted directly (on a CPU see `_over_tokens_on_cpu`).
    """
    product: Any = _linear(x, kernel, precision)
    return product


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _linear(x, kernel, precision):
    return precision.product(jnp.dot, x, kernel)


def _linear_forward(x, kernel, precision):
    return _linear(x, kernel, precision), (x, kernel)


def _linear_backward(precision, saved, dy):
    x, kernel = saved
    dy = lax.optimization_barrier(dy)
    x_TxI = x.reshape(-1, x.shape[-1])
    dy_TxO = dy.reshape(-1, dy.shape[-1])
    dkernel = lax.platform_dependent(
        x_TxI, dy_TxO, cpu=partial(_over_tokens_on_cpu, precision), default=partial(_over_tokens, precision)
    )
    over_features = partial(lax.dot_general, dimension_numbers=(((dy.ndim - 1,), (1,)), ((), ())))
    return precision.product(over_features, dy, kernel), dkernel


_linear.defvjp(_linear_forward, _linear_backward)


def _over_tokens(precision: Precision, x_TxI: jax.Array, dy_TxO: jax.Array) -> jax.Array:
    """float32[I, O], the sum over tokens."""
    return precision.product(partial(lax.dot_general, dimension_numbers=(((0,), (0,)), ((), ()))), x_TxI, dy_TxO)


def _over_tokens_on_cpu(precision: Precision, x_TxI: jax.Array, dy_TxO: jax.Array) -> jax.Array:
    """The same with the narrower factor, which comes first, written out the other way round.

    XLA's CPU back end hands a product over both first axes to a slower library, which splits the sum by the number of
    devices. The barriers keep it from turning the product round again.
    """
    if x_TxI.shape[1] > dy_TxO.shape[1]:
        return _over_tokens_on_cpu(precision, dy_TxO, x_TxI).T
    turned_IxT = lax.optimization_barrier(x_TxI.T)
    return lax.optimization_barrier(precision.product(jnp.dot, turned_IxT, dy_TxO))
