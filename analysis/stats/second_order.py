"""Second-order calibration: does a model that answers twice know how wrong its first answer is?

Asked for two independent draws, a model that knows their distribution gives the second one the odds of the first. One
that doesn't, and is calibrated on pairs, shifts the second one's odds by what the first one tells; the covariance of
the two answers is then, on average over what the model can't tell apart, the squared error of its odds (Johnson et al.
2024, arXiv 2402.08733).

Shape letters: N examples, V values.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

BINS = 8  # of equally many examples, by the claimed error


class SecondOrder(NamedTuple):
    """The readings of one cell, each float32[].

    Attributes:
      claimed: mean over examples of the trace of the answers' covariance: the squared error that the model claims.
      actual: mean squared distance of its odds of the first answer from the true ones.
      error: mean distance of the two over bins of examples with a like claim; 0 for a model calibrated on pairs.
      first_order: mean divergence of its odds from the true ones, in nats; 0 for a model that knows them.
    """

    claimed: jax.Array
    actual: jax.Array
    error: jax.Array
    first_order: jax.Array


def second_order(first_NxV: jax.Array, second_NxVxV: jax.Array, true_NxV: jax.Array) -> SecondOrder:
    """Compare what a model claims not to know with what it doesn't.

    Args:
      first_NxV: its odds of the first answer; each row sums to 1.
      second_NxVxV: its odds of the second one, given each first one.
      true_NxV: the odds that both are drawn with.
    """
    again_NxV = first_NxV * jnp.diagonal(second_NxVxV, axis1=1, axis2=2)  # the odds of the same value twice
    claimed_N = jnp.sum(again_NxV - jnp.square(first_NxV), axis=1)
    actual_N = jnp.sum(jnp.square(true_NxV - first_NxV), axis=1)
    order_N = jnp.argsort(claimed_N)
    number_N = jnp.arange(order_N.size, dtype=jnp.int32) * BINS // order_N.size
    gaps_B = jax.ops.segment_sum((claimed_N - actual_N)[order_N], number_N, BINS)
    divergence_N = jnp.sum(jax.scipy.special.rel_entr(true_NxV, first_NxV), axis=1)
    gap = jnp.sum(jnp.abs(gaps_B)) / order_N.size
    return SecondOrder(jnp.mean(claimed_N), jnp.mean(actual_N), gap, jnp.mean(divergence_N))
