"""Label-free readings of one cell's hidden states: how many dimensions do they occupy, and how evenly?

Every function takes one cell, Z of shape N×D (one hidden vector an example), is pure, and vmaps over cells. All work
in float32 and depend neither on the place of Z's origin nor on its unit: `centre` removes both before anything else.

Shape letters: N examples, D hidden width, K = min(N, D).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

# Two evaluations of one input may differ by a few roundings (another place in the batch, another tile of the matrix
# product). Points closer than this many float32 epsilons of their norm count as one.
RESOLUTION_EPS = 8.0
# Among distinct points, a nearest neighbour closer than this share of the median one is numerical debris. Under TwoNN's
# model r1 and r2/r1 are independent, so dropping small r1 does not bias the estimate.
DEBRIS_SHARE = 1e-4
# TwoNN's relative standard error is about 1/√n; below this many points the reading says nothing.
TWO_NN_MIN_POINTS = 32
# Rows of the distance matrix computed at once: bounds memory at rows·N·D when the compiler does not fuse.
DISTANCE_ROWS = 32


def matmul(a: Float[Array, "... I J"], b: Float[Array, "... J O"]) -> Float[Array, "... I O"]:
    """`a @ b` in full float32 also where the device would round its inputs (TF32 on GPUs, bfloat16 on TPUs)."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def over_points(a_NxI: Float[Array, "N I"], b_NxO: Float[Array, "N O"]) -> Float[Array, "I O"]:
    """float32[I, O], `a.T @ b` with `a` written out the other way round first.

    Else XLA's CPU back end splits the sum over points by the number of devices, and readings differ in their last bits.
    """
    return matmul(lax.optimization_barrier(a_NxI.T), b_NxO)


class Cloud(NamedTuple):
    """One cell's points with their mean removed and their RMS norm set to 1.

    `resolution` is the distance, in the same unit, below which float32 cannot distinguish two points. `valid` is False
    for a cell with a non-finite entry, or whose spread is below the resolution; its points are then all zero, so that
    no linear algebra routine ever sees a NaN.
    """

    points_NxD: Float[Array, "N D"]
    resolution: Float[Array, ""]
    valid: Bool[Array, ""]


class Spectrum(NamedTuple):
    """Singular values of the centred points (descending) and the axes they belong to; Z = U·diag(s)·axes."""

    singular_K: Float[Array, "K"]
    axes_KxD: Float[Array, "K D"]


class TwoNN(NamedTuple):
    """`dimension` (NaN where too few points remain) and `kept`, the share of the N points that it rests on."""

    dimension: Float[Array, ""]
    kept: Float[Array, ""]


def subtract_mean(z_NxD: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Z minus its mean row. Twice, because the rounding of a large mean leaves an offset behind the first time."""
    once_NxD = z_NxD - jnp.mean(z_NxD, axis=0, keepdims=True)
    return once_NxD - jnp.mean(once_NxD, axis=0, keepdims=True)


def _rms_norm(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(z_NxD), axis=1)))


def centre(z_NxD: Float[Array, "N D"]) -> Cloud:
    """The cell's points as a `Cloud`: centred, unit RMS norm, harmless where Z is not finite or a single point.

    Raises:
        ValueError: Z is not float32 of shape N×D with N ≥ 8.
    """
    if z_NxD.ndim != 2 or z_NxD.dtype != jnp.float32 or z_NxD.shape[0] < 8:
        raise ValueError(f"hidden states must be float32 [N ≥ 8, D], got {z_NxD.dtype} {list(z_NxD.shape)}")
    finite = jnp.all(jnp.isfinite(z_NxD))
    z_NxD = jnp.where(finite, z_NxD, jnp.zeros_like(z_NxD))
    # A power of two changes no digit of Z, and keeps squares from over- or underflowing.
    _, exponent = jnp.frexp(jnp.max(jnp.abs(z_NxD)))
    z_NxD = z_NxD * jnp.ldexp(jnp.float32(1), -jnp.clip(exponent, -120, 120))
    centred_NxD = subtract_mean(z_NxD)
    raw, spread = _rms_norm(z_NxD), _rms_norm(centred_NxD)
    noise = RESOLUTION_EPS * jnp.finfo(jnp.float32).eps * raw
    valid = finite & (spread > noise)
    scale = jnp.where(valid, 1.0 / jnp.where(valid, spread, jnp.float32(1)), jnp.float32(0))
    return Cloud(centred_NxD * scale, noise * scale, valid)


def squared_distances(points_NxD: Float[Array, "N D"]) -> Float[Array, "N N"]:
    """All squared Euclidean distances, N×N, from coordinate differences.

    The usual ‖a‖²+‖b‖²−2ab cancels: in a collapsed representation its error exceeds the distance between neighbours.
    Differences cost 6 ms instead of 1 (N=1024, D=64, one core), are exactly 0 for duplicates, and symmetric.
    """
    return lax.map(
        lambda row_D: jnp.sum(jnp.square(points_NxD - row_D[None, :]), axis=1),
        points_NxD,
        batch_size=min(DISTANCE_ROWS, points_NxD.shape[0]),
    )


def spectrum(points_NxD: Float[Array, "N D"]) -> Spectrum:
    """Singular values and right singular vectors of centred points, through QR.

    Not from the covariance's eigenvalues: squaring would drown singular values below 3e-4 of the largest.
    """
    triangular_KxD = jnp.linalg.qr(points_NxD, mode="r")
    _, singular_K, axes_KxD = jnp.linalg.svd(triangular_KxD, full_matrices=False)
    return Spectrum(singular_K, axes_KxD)


def whitening(spec: Spectrum, n: int, resolution: Float[Array, ""]) -> Float[Array, "D K"]:
    """The D×K map that gives centred points unit variance in every direction that float32 resolves, 0 in the others.

    Directions of standard deviation s are scaled by s/(s²+resolution²), and dropped where s is not above the
    resolution: they hold only rounding noise of these points. Of points that the map was not fitted to they may hold
    much (an input that the train half lacks), which a factor of up to 1/(2·resolution) would blow up to anything. In
    these coordinates any rotation-invariant fit reads the same for Z and Z·R, for every invertible R.
    """
    deviation_K = spec.singular_K / jnp.sqrt(jnp.float32(n))
    scale_K = deviation_K / jnp.maximum(jnp.square(deviation_K) + jnp.square(resolution), jnp.float32(1e-30))
    return spec.axes_KxD.T * jnp.where(deviation_K > resolution, scale_K, jnp.float32(0))[None, :]


def or_nan(valid: Bool[Array, ""], reading: Float[Array, "..."]) -> Float[Array, "..."]:
    """The reading where it is valid, NaN elsewhere."""
    return jnp.where(valid, reading, jnp.full_like(reading, jnp.nan))


def distinct_pairs(
    squared_NxN: Float[Array, "N N"], resolution: Float[Array, ""]
) -> tuple[Float[Array, "N N"], Bool[Array, "N"]]:
    """Squared distances between distinct points, infinite elsewhere, and who is the first of its duplicates (bool N).

    Keeping the first of each group comes before any threshold on distances: with more than half of the points
    duplicated the median r1 is 0 and none relative to it can work, and a group of three or more has r2 = 0 as well.
    """
    index_N = jnp.arange(squared_NxN.shape[0])
    is_earlier_NxN = index_N[None, :] < index_N[:, None]
    is_same_NxN = squared_NxN <= jnp.square(resolution)
    is_first_N = ~jnp.any(is_same_NxN & is_earlier_NxN, axis=1)
    is_pair_NxN = is_first_N[:, None] & is_first_N[None, :] & (index_N[:, None] != index_N[None, :])
    return jnp.where(is_pair_NxN, squared_NxN, jnp.inf), is_first_N


def two_nn_of(squared_NxN: Float[Array, "N N"], resolution: Float[Array, ""]) -> TwoNN:
    """`two_nn` from squared distances that are already there."""
    n = squared_NxN.shape[0]
    pairs_NxN, is_first_N = distinct_pairs(squared_NxN, resolution)
    nearest_N = jnp.min(pairs_NxN, axis=1)
    is_tied_N = jnp.sum(pairs_NxN == nearest_N[:, None], axis=1) > 1
    beyond_N = jnp.min(jnp.where(pairs_NxN > nearest_N[:, None], pairs_NxN, jnp.inf), axis=1)
    second_N = jnp.where(is_tied_N, nearest_N, beyond_N)

    r1_N = jnp.sqrt(nearest_N)
    median = jnp.nanmedian(jnp.where(is_first_N, r1_N, jnp.nan))
    is_kept_N = is_first_N & (r1_N >= DEBRIS_SHARE * median) & jnp.isfinite(second_N)
    ratio_N = jnp.where(is_kept_N, second_N, jnp.float32(1)) / jnp.where(is_kept_N, nearest_N, jnp.float32(1))
    total = 0.5 * jnp.sum(jnp.where(is_kept_N, jnp.log(ratio_N), jnp.float32(0)))
    count = jnp.sum(is_kept_N).astype(jnp.float32)
    # All neighbours tied (one-hot codes, lattices): no information about a dimension.
    defined = (count >= TWO_NN_MIN_POINTS) & (total > 0)
    dimension = or_nan(defined, (count - 1) / jnp.where(defined, total, jnp.float32(1)))
    return TwoNN(dimension, count / jnp.float32(n))


def participation_ratio_of(singular_K: Float[Array, "K"]) -> Float[Array, ""]:
    """`participation_ratio` from singular values that are already there."""
    variance_K = jnp.square(singular_K)
    return jnp.square(jnp.sum(variance_K)) / jnp.sum(jnp.square(variance_K))


def rank_me_of(singular_K: Float[Array, "K"]) -> Float[Array, ""]:
    """`rank_me` from singular values that are already there."""
    share_K = singular_K / jnp.sum(singular_K)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share_K, share_K)))


def two_nn(z_NxD: Float[Array, "N D"]) -> TwoNN:
    """Intrinsic dimension from the two nearest neighbours: (n−1)/Σ log(r₂/r₁), the unbiased maximum likelihood.

    Facco et al. 2017 (10.1038/s41598-017-11873-y); the estimator of Denti et al. 2022, scikit-dimension's
    `TwoNN(method='mle', discard_fraction=0)`. Exact and near duplicates are merged first (first occurrence kept; near
    means within `RESOLUTION_EPS` roundings, and chains of such points merge into their first), then points with
    r₁ < `DEBRIS_SHARE`·median are dropped; n counts what remains.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.

    Returns:
        `TwoNN(dimension, kept)`, float32 scalars. `dimension` is NaN with fewer than `TWO_NN_MIN_POINTS` points left
        or with all neighbours tied; both are NaN for a cell with a non-finite entry or without spread.
    """
    cloud = centre(z_NxD)
    reading = two_nn_of(squared_distances(cloud.points_NxD), cloud.resolution)
    return TwoNN(*(or_nan(cloud.valid, value) for value in reading))


def participation_ratio(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Effective number of principal components, (Σλ)²/Σλ² over the covariance eigenvalues: from 1 to min(N−1, D).

    Biased low at small N: compare at equal N, and read the value at N/2 as well. NaN as in `two_nn`.
    """
    cloud = centre(z_NxD)
    return or_nan(cloud.valid, participation_ratio_of(spectrum(cloud.points_NxD).singular_K))


def rank_me(z_NxD: Float[Array, "N D"]) -> Float[Array, ""]:
    """Effective rank exp H(σ/Σσ), σ the singular values of the *centred* Z: from 1 to min(N, D).

    Garrido et al. 2023 (2210.02885), without their additive 1e-7 (zeros contribute zero) and centred, since a mean
    would count as one large singular value. NaN as in `two_nn`.
    """
    cloud = centre(z_NxD)
    return or_nan(cloud.valid, rank_me_of(spectrum(cloud.points_NxD).singular_K))
