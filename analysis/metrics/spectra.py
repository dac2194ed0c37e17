"""Readings of the spectrum beyond its rank: entropies in nats, how steeply the eigenvalues of the covariance decay, and
how evenly states that are not centred point into all directions.

Shape letters: N examples, D hidden width, K = min(N, D).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from analysis.metrics.geometry import Cloud, centre, or_nan, spectrum
from analysis.metrics.latent_metric import on_call

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


class Isotropy(NamedTuple):
    """The mean cosine of two states, and log (min Z(c) / max Z(c)) over directions c, in nats."""

    mean_cosine: Float[Array, ""]
    partition: Float[Array, ""]


@on_call(
    arguments=("states",),
    meaning="how evenly states point into all directions: mean cosine of two states (mean_cosine), and"
    " log (min Z(c) / max Z(c)) with Z(c) = Σ exp(c·z) over principal directions, both ways (partition)",
    range="mean_cosine −1 to 1, partition 0 or less; both are 0 for an isotropic cloud, apart from sampling",
    source="Ethayarajh 2019, 1909.00512; Mu & Viswanath 2018, 1702.01417",
    trap="a common mean decides both; partition takes states to unit mean square, and few far states decide it",
    words="isotropy",
    gain={"mean_cosine": -1, "partition": 1},
)
def isotropy(z_NxD: Float[Array, "N D"]) -> Isotropy:
    """Mean cosine and partition-function score of states that are not centred.

    Mu & Viswanath 2018 (1702.01417) take Z over the eigenvectors of ZᵀZ, whose sign is arbitrary, and the states as
    they are. Here both signs count, so that the reading is of the cloud alone, and the states are taken to a mean
    square of one for each coordinate, so that a common factor, which no direction sees, does not move it.

    Args:
        z_NxD: float32 states of one cell.

    Returns:
        `Isotropy`, float32; NaN as in `analysis.metrics.geometry.two_nn`, and where all states are zero.
    """
    valid = centre(z_NxD).valid
    n, width = z_NxD.shape
    safe_NxD = jnp.where(valid, z_NxD, jnp.float32(0))
    largest = jnp.max(jnp.abs(safe_NxD))
    defined = valid & (largest > 0)
    scaled_NxD = safe_NxD / jnp.where(defined, largest, jnp.float32(1))
    rms = jnp.sqrt(jnp.mean(jnp.square(scaled_NxD)))
    scaled_NxD = scaled_NxD / jnp.where(defined, rms, jnp.float32(1))
    norm_Nx1 = jnp.linalg.norm(scaled_NxD, axis=1, keepdims=True)
    unit_NxD = scaled_NxD / jnp.where(norm_Nx1 > 0, norm_Nx1, jnp.float32(1))
    total_D = jnp.sum(unit_NxD, axis=0)
    cosines = (jnp.sum(jnp.square(total_D)) - jnp.sum(jnp.square(unit_NxD))) / jnp.float32(n * (n - 1))
    directions_KxD = jnp.linalg.svd(scaled_NxD, full_matrices=False)[2]
    along_NxK = jnp.matmul(scaled_NxD, directions_KxD.T, precision=jax.lax.Precision.HIGHEST)
    log_z = jax.nn.logsumexp(jnp.concatenate([along_NxK, -along_NxK], axis=1), axis=0)
    low, high = jnp.min(log_z), jnp.max(log_z)
    if width > n:  # a direction that no state has a part in: Z is N
        low, high = jnp.minimum(low, jnp.float32(math.log(n))), jnp.maximum(high, jnp.float32(math.log(n)))
    return Isotropy(or_nan(defined, cosines), or_nan(defined, low - high))
