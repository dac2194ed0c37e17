"""Readings of the covariance spectrum beyond its rank: entropies in nats, and how steeply the eigenvalues decay.

Shape letters: N examples, D hidden width, K = min(N, D).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from analysis.metrics.geometry import Cloud, centre, or_nan, spectrum

# α-ReQ's line is fitted to these shares of the ranks that float32 resolves: the first eigenvalues are the class means,
# the last are bent down by sampling. Fewer ranks than ALPHA_MIN_RANKS make no line.
ALPHA_FIRST, ALPHA_LAST = 0.1, 0.5
ALPHA_MIN_RANKS = 4


def von_neumann_entropy_of(singular_K: Float[Array, "K"]) -> Float[Array, ""]:
    """`von_neumann_entropy` from singular values that are already there."""
    share_K = jnp.square(singular_K) / jnp.sum(jnp.square(singular_K))
    return -jnp.sum(jax.scipy.special.xlogy(share_K, share_K))


def alpha_req_of(singular_K: Float[Array, "K"], cloud: Cloud) -> Float[Array, ""]:
    """`alpha_req` from the singular values that are already there."""
    n, resolution = cloud.points_NxD.shape[0], cloud.resolution
    rank_K = jnp.arange(1, singular_K.shape[0] + 1, dtype=jnp.float32)
    is_resolved_K = singular_K > resolution * jnp.sqrt(jnp.float32(n))
    resolved = jnp.sum(is_resolved_K).astype(jnp.float32)
    is_used_K = is_resolved_K & (rank_K >= ALPHA_FIRST * resolved) & (rank_K <= ALPHA_LAST * resolved)
    used_K, count = is_used_K.astype(jnp.float32), jnp.sum(is_used_K).astype(jnp.float32)
    defined = count >= ALPHA_MIN_RANKS
    safe = jnp.maximum(count, jnp.float32(1))
    x_K = jnp.log(rank_K)
    y_K = 2 * jnp.log(jnp.where(is_used_K, singular_K, jnp.float32(1)))
    x_K = (x_K - jnp.sum(x_K * used_K) / safe) * used_K
    slope = jnp.sum(x_K * y_K) / jnp.where(defined, jnp.sum(jnp.square(x_K)), jnp.float32(1))
    return or_nan(defined, -slope)


def von_neumann_entropy(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Entropy of the eigenvalues of the centred Gram matrix at unit trace, in nats: from 0 to log min(N−1, D).

    Not the log of RankMe, whose shares are of singular values, not of their squares. Giraldo et al. 2015 (1211.2459) at
    α → 1. Biased low at small N. NaN as in `analysis.metrics.geometry.two_nn`.
    """
    cloud = centre(z_NxD)
    return or_nan(cloud.valid, von_neumann_entropy_of(spectrum(cloud.points_NxD).singular_K))


def renyi_entropy(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Matrix Rényi entropy of order 2, −log Σp², over the same eigenvalues, in nats (Giraldo et al. 2015, 1211.2459).

    Exactly the logarithm of the participation ratio, which is why it is no metric of its own in the registry.
    NaN as in `analysis.metrics.geometry.two_nn`.
    """
    cloud = centre(z_NxD)
    variance_K = jnp.square(spectrum(cloud.points_NxD).singular_K)
    share_K = variance_K / jnp.sum(variance_K)
    return or_nan(cloud.valid, -jnp.log(jnp.sum(jnp.square(share_K))))


def alpha_req(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Decay exponent α of the covariance eigenvalues, λᵢ ∝ i^−α, by least squares of log λ on log i (α-ReQ).

    Agrawal et al. 2022 (NeurIPS, "α-ReQ: assessing representation quality"). The paper leaves the fit range open; here
    it is from `ALPHA_FIRST` to `ALPHA_LAST` of the ranks that float32 resolves, so neither rounding noise in unused
    directions nor switched-off columns enter. 0 for an isotropic cloud, apart from sampling.

    Returns:
        float32 scalar; NaN with fewer than `ALPHA_MIN_RANKS` ranks in the range, and as in
        `analysis.metrics.geometry.two_nn`.
    """
    cloud = centre(z_NxD)
    singular_K = spectrum(cloud.points_NxD).singular_K
    return or_nan(cloud.valid, alpha_req_of(singular_K, cloud))
