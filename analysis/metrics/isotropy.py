"""How evenly states point into all directions, their mean included. A reading of directions, not of a spectrum.

Shape letters: N examples, D width, K = min(N, D).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from analysis.metrics.geometry import centre, or_nan
from analysis.metrics.latent_metric import on_call


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
