"""How much do noisy hidden states say about the example? Bounds on I(X; T + N(0, σ²I)), X the example drawn evenly.

In a deterministic network I(X; T) itself is constant or infinite (Saxe et al. 2018; Goldfeld et al. 2019, 1810.05728).
With noise it is finite, and the bounds of Kolchinsky & Tracey 2017 (1706.02419) need pairwise distances only.

σ is `relative_noise` times the RMS norm of the centred states, so that scaling the states buys no information. The
norm, not the RMS entry, so that silent columns change nothing: at 1/√D the noise is as long as the states.

Shape letters: N examples, D hidden width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from analysis.metrics.geometry import centre, or_nan, squared_distances


class NoiseInformation(NamedTuple):
    """Lower and upper bound in nats; both lie between 0 and log N."""

    lower: Float[Array, ""]
    upper: Float[Array, ""]


def _nats(divergence_NxN: Float[Array, "N N"]) -> Float[Array, ""]:
    """−E log E exp(−divergence) over all pairs, the points themselves included."""
    n = jnp.float32(divergence_NxN.shape[0])
    return jnp.log(n) - jnp.mean(jax.nn.logsumexp(-divergence_NxN, axis=1))


def noise_information_of(squared_NxN: Float[Array, "N N"], relative_noise: Float[Array, ""]) -> NoiseInformation:
    """`noise_information` from the squared distances of points with RMS norm 1."""
    variance = jnp.maximum(jnp.square(relative_noise), jnp.float32(1e-30))
    # Between two Gaussians of one variance: Kullback–Leibler d²/2σ² (upper), Bhattacharyya d²/8σ² (lower).
    return NoiseInformation(lower=_nats(squared_NxN / (8 * variance)), upper=_nats(squared_NxN / (2 * variance)))


def noise_information(z_NxD: Float[Array, "N D"], relative_noise: Float[Array, ""]) -> NoiseInformation:
    """Bounds on the nats that states under Gaussian noise carry about which of the N examples they come from.

    Trap: capped at log N. Where the upper bound comes near it, the noise is too small for N to say anything: read the
    curve over several strengths, at equal N. Equal rows count as one example seen more often.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.
        relative_noise: float32 scalar above 0, σ as a share of the states' RMS norm (traced: vmap over a curve).

    Returns:
        `NoiseInformation(lower, upper)`, float32; NaN for a cell with a non-finite entry or without spread, and for
        noise that is not above 0.
    """
    cloud = centre(z_NxD)
    defined = cloud.valid & (relative_noise > 0)
    bounds = noise_information_of(squared_distances(cloud.points_NxD), relative_noise)
    return NoiseInformation(*(or_nan(defined, value) for value in bounds))
