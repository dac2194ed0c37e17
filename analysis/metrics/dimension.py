"""Intrinsic dimension beyond the two nearest neighbours: maximum likelihood, a curve over scales, local PCA.

All rest on the `NEIGHBOURS` nearest *distinct* points of each point: discrete inputs make duplicates, whose distance of
0 would decide every estimate. Finding them (a partial sort of every row of distances) costs about twice what the eight
first metrics of the registry do together, so these are metrics on call (`analysis.metrics.on_call`), not columns of
every study.

Shape letters: N examples, D hidden width, J = min(NEIGHBOURS, N−1) neighbours.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from analysis.metrics.geometry import DEBRIS_SHARE, TWO_NN_MIN_POINTS, centre, distinct_pairs, or_nan, squared_distances

NEIGHBOURS = 32
MLE_NEIGHBOURS = 20  # scikit-dimension's default
# Bounds of the dimension in Gride's bisection, and its steps: the interval shrinks to float32's resolution.
GRIDE_RANGE = (1e-2, 1e4)
GRIDE_STEPS = 30


class Neighbours(NamedTuple):
    """Squared distances to each point's nearest distinct points, ascending (infinite where there are too few), which
    points they are, and whether the point counts: the first of its duplicates, and no numerical debris."""

    squared_NxJ: Float[Array, "N J"]
    index_NxJ: Int[Array, "N J"]
    is_kept_N: Bool[Array, "N"]


def neighbours(squared_NxN: Float[Array, "N N"], resolution: Float[Array, ""]) -> Neighbours:
    """The nearest distinct points, with the rules for duplicates and debris of `analysis.metrics.geometry.two_nn`."""
    pairs_NxN, is_first_N = distinct_pairs(squared_NxN, resolution)
    negative_NxJ, index_NxJ = lax.top_k(-pairs_NxN, min(NEIGHBOURS, squared_NxN.shape[0] - 1))
    nearest_N = -negative_NxJ[:, 0]
    median = jnp.nanmedian(jnp.where(is_first_N, nearest_N, jnp.nan))
    return Neighbours(-negative_NxJ, index_NxJ, is_first_N & (nearest_N >= DEBRIS_SHARE**2 * median))


def _reaching(near: Neighbours, k: int) -> tuple[Bool[Array, "N"], Float[Array, ""]]:
    """Which kept points have k distinct neighbours (bool N), and how many do."""
    if near.squared_NxJ.shape[1] < k:
        return jnp.zeros_like(near.is_kept_N), jnp.float32(0)
    is_used_N = near.is_kept_N & jnp.isfinite(near.squared_NxJ[:, k - 1])
    return is_used_N, jnp.sum(is_used_N).astype(jnp.float32)


def mle_of(near: Neighbours) -> Float[Array, ""]:
    """`mle` from neighbours that are already there."""
    is_used_N, count = _reaching(near, MLE_NEIGHBOURS)
    squared_NxK = near.squared_NxJ[:, :MLE_NEIGHBOURS]
    ratio_NxK = jnp.where(is_used_N[:, None], squared_NxK[:, -1:], jnp.float32(1)) / jnp.where(
        is_used_N[:, None], squared_NxK, jnp.float32(1)
    )
    total = 0.5 * jnp.sum(jnp.log(ratio_NxK))
    defined = (count >= TWO_NN_MIN_POINTS) & (total > 0)
    return or_nan(defined, count * (MLE_NEIGHBOURS - 1) / jnp.where(defined, total, jnp.float32(1)))


def gride_of(near: Neighbours, k: int) -> Float[Array, ""]:
    """`gride` from neighbours that are already there."""
    is_used_N, _ = _reaching(near, 2 * k)
    if near.squared_NxJ.shape[1] < 2 * k:
        return jnp.float32(jnp.nan)
    ratio_N = near.squared_NxJ[:, 2 * k - 1] / near.squared_NxJ[:, k - 1]
    is_used_N &= ratio_N > 1  # ties say nothing about a dimension
    log_N = 0.5 * jnp.log(jnp.where(is_used_N, ratio_N, jnp.float32(2)))
    count = jnp.sum(is_used_N).astype(jnp.float32)
    total = jnp.sum(jnp.where(is_used_N, log_N, jnp.float32(0)))

    def score(dimension: Float[Array, ""]) -> Float[Array, ""]:
        """Derivative of the log-likelihood, falling in the dimension; n−1 for n makes k = 1 unbiased."""
        inner_N = log_N / -jnp.expm1(-dimension * log_N)
        inner = jnp.sum(jnp.where(is_used_N, inner_N, jnp.float32(0)))
        return (count - 1) / dimension + (k - 1) * inner - (2 * k - 1) * total

    def halve(
        _: Int[Array, ""], interval: tuple[Float[Array, ""], Float[Array, ""]]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        low, high = interval
        middle = 0.5 * (low + high)
        rises = score(jnp.exp(middle)) > 0
        return jnp.where(rises, middle, low), jnp.where(rises, high, middle)

    low, high = jnp.log(jnp.asarray(GRIDE_RANGE, dtype=jnp.float32))
    low, high = lax.fori_loop(0, GRIDE_STEPS, halve, (low, high))
    return or_nan(count >= TWO_NN_MIN_POINTS, jnp.exp(0.5 * (low + high)))


def local_pca_of(squared_NxN: Float[Array, "N N"], near: Neighbours) -> Float[Array, ""]:
    """`local_pca` from distances and neighbours that are already there."""
    is_used_N, count = _reaching(near, NEIGHBOURS)
    self_Nx1 = jnp.arange(squared_NxN.shape[0], dtype=near.index_NxJ.dtype)[:, None]
    members_NxM = jnp.concatenate([self_Nx1, near.index_NxJ], axis=1)
    block_NxMxM = squared_NxN[members_NxM[:, :, None], members_NxM[:, None, :]]
    # The centred Gram matrix from distances: its eigenvalues are those of the neighbourhood's covariance.
    row_NxMx1 = jnp.mean(block_NxMxM, axis=2, keepdims=True)
    gram_NxMxM = 0.5 * (row_NxMx1 + row_NxMx1.mT - jnp.mean(row_NxMx1, axis=1, keepdims=True) - block_NxMxM)
    trace_N = jnp.trace(gram_NxMxM, axis1=1, axis2=2)
    # Scaled first: the squares of a tight neighbourhood's Gram entries would underflow.
    safe_N = jnp.where(is_used_N & (trace_N > 0), trace_N, jnp.float32(1))
    share_NxMxM = gram_NxMxM / safe_N[:, None, None]
    participation_N = 1 / jnp.maximum(jnp.sum(jnp.square(share_NxMxM), axis=(1, 2)), jnp.float32(1e-30))
    mean = jnp.sum(jnp.where(is_used_N, participation_N, jnp.float32(0))) / jnp.maximum(count, jnp.float32(1))
    return or_nan(count >= TWO_NN_MIN_POINTS, mean)


def _near(z_NxD: Float[Array, "N D"]) -> tuple[Float[Array, "N N"], Neighbours, Bool[Array, ""]]:
    cloud = centre(z_NxD)
    squared_NxN = squared_distances(cloud.points_NxD)
    return squared_NxN, neighbours(squared_NxN, cloud.resolution), cloud.valid


def mle(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Intrinsic dimension by maximum likelihood over `MLE_NEIGHBOURS` neighbours, inverses averaged over points.

    Levina & Bickel 2004, averaged as MacKay & Ghahramani 2005 correct it: the inverse of the mean of
    Σ_{j<k} log(T_k/T_j)/(k−1). Strongly biased low in high dimension (a true 20 reads about 14): compare at equal N.
    NaN with fewer than `TWO_NN_MIN_POINTS` points that have enough distinct neighbours, and as in
    `analysis.metrics.geometry.two_nn`.
    """
    _, near, valid = _near(z_NxD)
    return or_nan(valid, mle_of(near))


def gride(z_NxD: Float[Array, "N D"], k: int) -> Float[Array, ""]:
    """Intrinsic dimension at the scale of the k-th neighbour, from the ratios r_2k/r_k (Denti et al. 2022, Gride).

    10.1038/s41598-022-20991-1. k = 1 is TwoNN. Read as a curve over k: falling with k is noise at the smallest scale.
    k is static, 1 to `NEIGHBOURS`/2. NaN as in `mle`.
    """
    _, near, valid = _near(z_NxD)
    return or_nan(valid, gride_of(near, k))


def local_pca(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Mean participation ratio of each point's neighbourhood: the point and its `NEIGHBOURS` nearest distinct ones.

    A local principal component dimension (Fukunaga & Olsen 1971) that needs no threshold and, through the neighbours'
    distances, no decomposition. At most `NEIGHBOURS`, and biased low unless the dimension is far below it. NaN as in
    `mle`.
    """
    squared_NxN, near, valid = _near(z_NxD)
    return or_nan(valid, local_pca_of(squared_NxN, near))
