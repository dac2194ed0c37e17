"""Have classes, means, readout and decisions collapsed to one simplex? NC1 to NC4 of Papyan et al. 2020, 2008.08186.

Metrics on call (`analysis.metrics.on_call`): NC1 compares only at equal examples a class, NC3 needs the readout's
weights and NC4 its decisions, which the hidden states of one layer don't have. Collapse is a claim under test, not a
virtue: it can hurt transfer (2202.08384).

Class means are taken from their own mean, each class counting alike; absent classes are left out.

Shape letters: N examples, D hidden width, C classes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from analysis.metrics.cluster_indices import centroids
from analysis.metrics.geometry import centre, matmul, or_nan
from analysis.metrics.separation import Classes, classes

# What is smaller in the means than this share of their largest direction is rounding.
LEAST_MEAN_SHARE = 1e-5


class Simplex(NamedTuple):
    """NC2: 0 throughout when the class means are a simplex around their mean.

    `norm_spread` is deviation/mean of the means' norms, `angle_spread` the deviation of their pairwise cosines, and
    `angle_gap` the mean |cosine + 1/(C−1)|.
    """

    norm_spread: Float[Array, ""]
    angle_spread: Float[Array, ""]
    angle_gap: Float[Array, ""]


def _means(points_NxD: Float[Array, "N D"], groups: Classes) -> tuple[Float[Array, "C D"], Bool[Array, "C"]]:
    """Class means around their own mean, C×D with zero rows for absent classes, and which classes occur."""
    occurs_C = groups.count_C > 0
    mean_CxD = matmul(groups.indicator_NxC.T, points_NxD) / jnp.maximum(groups.count_C, jnp.float32(1))[:, None]
    return _centred_rows(mean_CxD, occurs_C), occurs_C


def _centred_rows(rows_CxD: Float[Array, "C D"], occurs_C: Bool[Array, "C"]) -> Float[Array, "C D"]:
    rows_CxD = jnp.where(occurs_C[:, None], rows_CxD, jnp.float32(0))
    mean_1xD = jnp.sum(rows_CxD, axis=0, keepdims=True) / jnp.maximum(jnp.sum(occurs_C), 1).astype(jnp.float32)
    return jnp.where(occurs_C[:, None], rows_CxD - mean_1xD, jnp.float32(0))


def _mean_and_deviation(
    values: Float[Array, "..."], counts: Bool[Array, "..."]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Over the entries that count."""
    total = jnp.maximum(jnp.sum(counts), 1).astype(jnp.float32)
    mean = jnp.sum(jnp.where(counts, values, jnp.float32(0))) / total
    spread = jnp.sum(jnp.where(counts, jnp.square(values - mean), jnp.float32(0))) / total
    return mean, jnp.sqrt(spread)


def within_class_collapse(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """NC1: tr(Σ_W Σ_B⁺)/C, the spread within classes over that of their means; 0 when each class is one point.

    Classes count alike in both covariances, and C is how many occur. Directions in which the means differ by less than
    `LEAST_MEAN_SHARE` of the largest are left out of the pseudo-inverse.

    Trap: without any class signal the means differ by sampling noise, so it grows with the examples a class: .7 at 5,
    160 at 1000 (10 classes of noise with D=64). Compare at equal counts only. `fisher_trace`, its inverse in
    spirit, weighs all directions by the within-class spread, and doesn't blow up where two means come close.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.
        labels_N: int32 labels in 0..n_classes−1.
        n_classes: static number of classes.

    Returns:
        float32 scalar, 0 or more; NaN with fewer than two classes or a label out of range, with class means that
        float32 can't tell from their mean, and for a cell with a non-finite entry or without spread.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    centred_CxD, _ = _means(cloud.points_NxD, groups)
    middle = centroids(cloud.points_NxD, groups)
    _, singular_K, axes_KxD = jnp.linalg.svd(centred_CxD, full_matrices=False)
    share_N = 1 / (matmul(groups.indicator_NxC, groups.count_C[:, None])[:, 0] * groups.present.astype(jnp.float32))
    within_K = jnp.sum(jnp.square(matmul(middle.residual_NxD, axes_KxD.T)) * share_N[:, None], axis=0)
    # Σ_B = MᵀM/C, so that the C of the definition cancels.
    counts_K = singular_K > jnp.maximum(cloud.resolution, LEAST_MEAN_SHARE * singular_K[0])
    ratio_K = within_K / jnp.where(counts_K, jnp.square(singular_K), jnp.float32(1))
    reading = jnp.sum(jnp.where(counts_K, ratio_K, jnp.float32(0)))
    return or_nan(cloud.valid & groups.valid & counts_K[0], reading)


def class_mean_simplex(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Simplex:
    """NC2: how far the class means are from a simplex, in norms and in angles.

    Trap: in high dimension the means' sampling noise alone is nearly a simplex. 16 classes of pure noise at N=1024 read
    .22/.34/.29 with D=8, .09/.13/.11 with D=64 and .03/.05/.04 with D=512.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.
        labels_N: int32 labels in 0..n_classes−1.
        n_classes: static number of classes.

    Returns:
        `Simplex`, float32; NaN with fewer than two classes or a label out of range, with class means that float32 can't
        tell from their mean, and for a cell with a non-finite entry or without spread.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    mean_CxD, occurs_C = _means(cloud.points_NxD, groups)
    norm_C = jnp.sqrt(jnp.sum(jnp.square(mean_CxD), axis=1))
    average, deviation = _mean_and_deviation(norm_C, occurs_C)
    unit_CxD = mean_CxD / jnp.where(norm_C > 0, norm_C, jnp.float32(1))[:, None]
    is_pair_CxC = occurs_C[:, None] & occurs_C[None, :] & ~jnp.eye(n_classes, dtype=bool)
    cosine_CxC = matmul(unit_CxD, unit_CxD.T)
    _, angle_spread = _mean_and_deviation(cosine_CxC, is_pair_CxC)
    ideal = -1 / jnp.maximum(groups.present - 1, 1).astype(jnp.float32)
    angle_gap, _ = _mean_and_deviation(jnp.abs(cosine_CxC - ideal), is_pair_CxC)
    resolved = jnp.all(~occurs_C | (norm_C > cloud.resolution))
    spread = deviation / jnp.where(average > 0, average, jnp.float32(1))
    return Simplex(*(or_nan(cloud.valid & groups.valid & resolved, x) for x in (spread, angle_spread, angle_gap)))


def readout_alignment(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], readout_CxD: Float[Array, "C D"]
) -> Float[Array, ""]:
    """NC3: ‖W/‖W‖ − M/‖M‖‖², M the class means and W the readout's rows; 0 aligned, 2 orthogonal, 4 opposed.

    W too is taken from the mean of its rows, unlike in the paper: a part common to all classes moves no softmax.
    W must read the same coordinates as Z (behind the last norm). Arguments and NaN as in `class_mean_simplex`, and NaN
    for a readout that is not finite or the same for all classes.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, readout_CxD.shape[0])
    mean_CxD, occurs_C = _means(cloud.points_NxD, groups)
    finite = jnp.all(jnp.isfinite(readout_CxD))
    # Scaled first, so that squares neither over- nor underflow.
    largest = jnp.max(jnp.where(jnp.isfinite(readout_CxD), jnp.abs(readout_CxD), jnp.float32(0)))
    scaled_CxD = readout_CxD / jnp.where(largest > 0, largest, jnp.float32(1))
    weight_CxD = _centred_rows(jnp.where(finite, scaled_CxD, jnp.float32(0)), occurs_C)
    length, weight_length = (jnp.sqrt(jnp.sum(jnp.square(x))) for x in (mean_CxD, weight_CxD))
    defined = cloud.valid & groups.valid & finite & (length > cloud.resolution) & (weight_length > 1e-6)
    length, weight_length = (jnp.where(defined, x, jnp.float32(1)) for x in (length, weight_length))
    return or_nan(defined, jnp.sum(jnp.square(weight_CxD / weight_length - mean_CxD / length)))


def nearest_mean_disagreement(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], decisions_N: Int[Array, "N"], n_classes: int
) -> Float[Array, ""]:
    """NC4: the share of examples whose decision is not the class with the nearest mean, 0 to 1.

    `decisions_N` are the readout's int32 choices; ties of the nearest mean go to the first class, and one outside the
    classes that occur counts as disagreement. Other arguments and NaN as in `class_mean_simplex`.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    mean_CxD = matmul(groups.indicator_NxC.T, cloud.points_NxD) / jnp.maximum(groups.count_C, jnp.float32(1))[:, None]
    # Less ‖z‖², which is the same for every class.
    far_NxC = jnp.sum(jnp.square(mean_CxD), axis=1)[None, :] - 2 * matmul(cloud.points_NxD, mean_CxD.T)
    nearest_N = jnp.argmin(jnp.where((groups.count_C > 0)[None, :], far_NxC, jnp.inf), axis=1).astype(jnp.int32)
    share = jnp.mean((nearest_N != decisions_N.astype(jnp.int32)).astype(jnp.float32))
    return or_nan(cloud.valid & groups.valid, share)
