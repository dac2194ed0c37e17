"""How far apart do the classes lie? Readings of one cell's hidden states and a label an example.

Higher separation can hurt transfer (2010.16402): these are claims under test, not virtues.

Shape letters: N examples, D hidden width, K = min(N, D), C classes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from analysis.metrics.geometry import centre, matmul, or_nan, over_points, spectrum, squared_distances, whitening

# Share of the total covariance added to the within-class one. Caps each discriminant direction at 1/FISHER_RIDGE, and
# is about the smallest share that float32 resolves.
FISHER_RIDGE = 1e-5


class Classes(NamedTuple):
    """Labels prepared once: their indicator matrix, the size of each class, and how many classes occur.

    `valid` is False where a label lies outside 0..C−1 or fewer than two classes occur.
    """

    labels_N: Int[Array, "N"]
    indicator_NxC: Float[Array, "N C"]
    count_C: Float[Array, "C"]
    present: Int[Array, ""]
    valid: Bool[Array, ""]


def classes(labels_N: Int[Array, "N"], n_classes: int) -> Classes:
    """Labels (int32, 0..n_classes−1) as a `Classes`. Absent classes and classes of one member are fine."""
    indicator_NxC = jax.nn.one_hot(labels_N, n_classes, dtype=jnp.float32)
    count_C = jnp.sum(indicator_NxC, axis=0)
    present = jnp.sum(count_C > 0)
    in_range = jnp.all((labels_N >= 0) & (labels_N < n_classes))
    return Classes(labels_N, indicator_NxC, count_C, present, in_range & (present > 1))


def class_balance(groups: Classes) -> dict[str, Float[Array, ""]]:
    """Size of the smallest and of the largest class that occurs, and the number that occur, as float32.

    Silhouette's mean is over points and Fisher's trace is weighted by counts: compare at equal balance.
    """
    occurring_C = jnp.where(groups.count_C > 0, groups.count_C, jnp.inf)
    return {
        "class_count_min": jnp.min(occurring_C),
        "class_count_max": jnp.max(groups.count_C),
        "classes_present": groups.present.astype(jnp.float32),
    }


def silhouette_of(squared_NxN: Float[Array, "N N"], groups: Classes) -> Float[Array, ""]:
    """`silhouette` from squared distances that are already there."""
    sum_NxC = matmul(jnp.sqrt(squared_NxN), groups.indicator_NxC)
    is_own_NxC = groups.indicator_NxC > 0
    size_N = jnp.sum(groups.indicator_NxC * groups.count_C[None, :], axis=1)
    within_N = jnp.sum(sum_NxC * groups.indicator_NxC, axis=1) / jnp.maximum(size_N - 1, jnp.float32(1))
    is_rival_NxC = ~is_own_NxC & (groups.count_C > 0)[None, :]
    mean_NxC = sum_NxC / jnp.maximum(groups.count_C, jnp.float32(1))[None, :]
    rival_N = jnp.min(jnp.where(is_rival_NxC, mean_NxC, jnp.inf), axis=1)
    larger_N = jnp.maximum(within_N, rival_N)
    counts_N = (size_N > 1) & (larger_N > 0)
    score_N = jnp.where(counts_N, (rival_N - within_N) / jnp.where(counts_N, larger_N, jnp.float32(1)), jnp.float32(0))
    return or_nan(groups.valid & (groups.present < squared_NxN.shape[0]), jnp.mean(score_N))


def fisher_trace_of(white_NxK: Float[Array, "N K"], groups: Classes) -> Float[Array, ""]:
    """`fisher_trace` from whitened points that are already there."""
    n, k = white_NxK.shape
    mean_CxK = over_points(groups.indicator_NxC, white_NxK) / jnp.maximum(groups.count_C, jnp.float32(1))[:, None]
    residual_NxK = white_NxK - matmul(groups.indicator_NxC, mean_CxK)
    within_KxK = over_points(residual_NxK, residual_NxK) / n
    weighted_CxK = mean_CxK * jnp.sqrt(groups.count_C / n)[:, None]
    # The total covariance is the identity here, so the ridge is FISHER_RIDGE·S_T in Z's own coordinates.
    factor = jax.scipy.linalg.cholesky(within_KxK + FISHER_RIDGE * jnp.eye(k, dtype=jnp.float32), lower=True)
    scaled_KxC = jax.scipy.linalg.solve_triangular(factor, weighted_CxK.T, lower=True)
    return or_nan(groups.valid, jnp.sum(jnp.square(scaled_KxC)))


def silhouette(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """Mean silhouette in Euclidean distance, −1 to 1 (Rousseeuw 1987), by scikit-learn's definition.

    A point alone in its class scores 0; absent classes are ignored.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.
        labels_N: int32 labels in 0..n_classes−1.
        n_classes: static number of classes.

    Returns:
        float32 scalar; NaN with fewer than two classes or as many as points (scikit-learn raises there), with a label
        out of range, and for a cell with a non-finite entry or without spread.
    """
    cloud = centre(z_NxD)
    return or_nan(cloud.valid, silhouette_of(squared_distances(cloud.points_NxD), classes(labels_N, n_classes)))


def fisher_trace(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """Fisher's discriminant tr((S_W + ρ·S_T)⁻¹ S_B), from 0 to (C−1)/ρ with ρ = `FISHER_RIDGE`.

    S_W and S_B weigh classes by their counts, so that the total covariance S_T = S_W + S_B (classes of one member add
    nothing to S_W). The ridge is a share of S_T, not of the identity: so the reading is exactly neutral to every
    invertible linear map, scale included, and a fully collapsed class structure reads its cap rather than infinity.
    With N < D + C the within-class covariance is singular and the reading is near that cap: keep to N ≥ 8D.

    Arguments and NaN as in `silhouette` (as many classes as points read the cap).
    """
    cloud = centre(z_NxD)
    n = z_NxD.shape[0]
    white_NxK = matmul(cloud.points_NxD, whitening(spectrum(cloud.points_NxD), n, cloud.resolution))
    return or_nan(cloud.valid, fisher_trace_of(white_NxK, classes(labels_N, n_classes)))
