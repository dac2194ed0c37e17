"""How tight are the classes for how far apart they lie? Cluster indices, and class separation by angle.

The companions of `analysis.metrics.separation`: all move under invertible linear maps that change no ability, and all
compare only at equal class counts.

Shape letters: N examples, D hidden width, C classes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from analysis.metrics.geometry import Cloud, centre, matmul, or_nan, over_points
from analysis.metrics.separation import Classes, classes


class Centroids(NamedTuple):
    """Class means (zero rows for absent classes), each point's offset from its own, and which classes occur."""

    mean_CxD: Float[Array, "C D"]
    residual_NxD: Float[Array, "N D"]
    occurs_C: Bool[Array, "C"]


def centroids(points_NxD: Float[Array, "N D"], groups: Classes) -> Centroids:
    """The class means of centred points, and what they leave."""
    count_Cx1 = jnp.maximum(groups.count_C, jnp.float32(1))[:, None]
    mean_CxD = over_points(groups.indicator_NxC, points_NxD) / count_Cx1
    residual_NxD = points_NxD - matmul(groups.indicator_NxC, mean_CxD)
    return Centroids(mean_CxD, residual_NxD, groups.count_C > 0)


def davies_bouldin_of(cloud: Cloud, groups: Classes, middle: Centroids) -> Float[Array, ""]:
    """`davies_bouldin` from class means that are already there."""
    radius_N = jnp.sqrt(jnp.sum(jnp.square(middle.residual_NxD), axis=1))
    radius_C = matmul(radius_N[None, :], groups.indicator_NxC)[0] / jnp.maximum(groups.count_C, jnp.float32(1))
    difference_CxCxD = middle.mean_CxD[:, None, :] - middle.mean_CxD[None, :, :]
    apart_CxC = jnp.sqrt(jnp.sum(jnp.square(difference_CxCxD), axis=2))
    # Means that float32 cannot distinguish (the diagonal too) make no pair: scikit-learn's rule for a distance of 0.
    is_pair_CxC = middle.occurs_C[:, None] & middle.occurs_C[None, :] & (apart_CxC > cloud.resolution)
    overlap_CxC = (radius_C[:, None] + radius_C[None, :]) / jnp.where(is_pair_CxC, apart_CxC, jnp.float32(1))
    worst_C = jnp.max(jnp.where(is_pair_CxC, overlap_CxC, jnp.float32(0)), axis=1)
    n_present = jnp.maximum(groups.present, 1).astype(jnp.float32)
    return or_nan(_fewer_classes_than_points(groups), jnp.sum(worst_C) / n_present)


def calinski_harabasz_of(cloud: Cloud, groups: Classes, middle: Centroids) -> Float[Array, ""]:
    """`calinski_harabasz` from class means that are already there."""
    n, present = middle.residual_NxD.shape[0], groups.present.astype(jnp.float32)
    between = jnp.sum(groups.count_C * jnp.sum(jnp.square(middle.mean_CxD), axis=1))
    within = jnp.maximum(jnp.sum(jnp.square(middle.residual_NxD)), n * jnp.square(cloud.resolution))
    defined = _fewer_classes_than_points(groups) & (within > 0)
    ratio = between / jnp.where(defined, within, jnp.float32(1))
    return or_nan(defined, ratio * (n - present) / jnp.maximum(present - 1, jnp.float32(1)))


def class_separation_of(points_NxD: Float[Array, "N D"], groups: Classes) -> Float[Array, ""]:
    """`class_separation` from centred points."""
    norm_N = jnp.sqrt(jnp.sum(jnp.square(points_NxD), axis=1))
    unit_NxD = points_NxD / jnp.where(norm_N > 0, norm_N, jnp.float32(1))[:, None]
    mean_CxD = over_points(groups.indicator_NxC, unit_NxD) / jnp.maximum(groups.count_C, jnp.float32(1))[:, None]
    n_present = jnp.maximum(groups.present, 1).astype(jnp.float32)
    # The mean cosine over all pairs of two groups, self-pairs included, is the inner product of their mean directions.
    within = 1 - jnp.sum(jnp.square(mean_CxD)) / n_present
    overall = 1 - jnp.sum(jnp.square(jnp.sum(mean_CxD, axis=0) / n_present))
    defined = groups.valid & (overall > 0)
    return or_nan(defined, 1 - within / jnp.where(defined, overall, jnp.float32(1)))


def _fewer_classes_than_points(groups: Classes) -> Bool[Array, ""]:
    return groups.valid & (groups.present < groups.labels_N.shape[0])


def davies_bouldin(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """Mean over classes of the worst (radius + radius) / distance between means (Davies & Bouldin 1979); 0 or more.

    scikit-learn's definition, its rule that classes on the very same mean make no pair included. The radius is the mean
    distance to the class mean. Arguments and NaN as in `analysis.metrics.separation.silhouette`.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    return or_nan(cloud.valid, davies_bouldin_of(cloud, groups, centroids(cloud.points_NxD, groups)))


def calinski_harabasz(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """Between-class over within-class variance, each per degree of freedom (Caliński & Harabasz 1974); 0 or more.

    scikit-learn's definition, except that the within-class spread counts as no less than float32 resolves: fully
    collapsed classes read very large, where scikit-learn says 1. Arguments and NaN as in
    `analysis.metrics.separation.silhouette`.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    return or_nan(cloud.valid, calinski_harabasz_of(cloud, groups, centroids(cloud.points_NxD, groups)))


def class_separation(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """1 − mean cosine distance within classes / over all pairs of classes (Kornblith et al. 2021, 2010.16402).

    Classes weigh alike, and self-pairs count, as in the paper; so with n examples a class and no class signal it reads
    about 1/n rather than 0. Cosines are between centred points. 1 when every class is one direction. Arguments and NaN
    as in `analysis.metrics.separation.silhouette`.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    return or_nan(cloud.valid, class_separation_of(cloud.points_NxD, groups))
