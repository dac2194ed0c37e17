"""How alike are two cells' hidden states of the same examples? CKA, SVCCA, Procrustes, and linear images of each other.

Functions of a pair (X, Y), row i of both being the same example in the same order; the widths may differ. All centre
first, depend neither on the place of the origin nor on the unit, are pure and vmap over pairs.

What each ignores decides what it can show: Procrustes and CKA ignore rotations, `svcca(share=1)` and `linear_image`
every invertible linear map. None says that two networks behave alike (2210.16156).

Shape letters: N examples, D and E the hidden widths, K = min(N, D).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from analysis.metrics.geometry import Cloud, centre, matmul, or_nan, over_points, spectrum, squared_distances

# Every fourth distinct example is held out: enough to estimate R², and few enough to leave more examples than widths.
HELD_OUT = 4
# Penalty on whitened features, as in `analysis.metrics.probes`: every direction is shrunk alike, which costs 1e-4 of
# R².
IMAGE_RIDGE = 1e-2
# Directions whose deviation is below this share of the RMS norm are left out. Rounding fills directions that no fitted
# example has; blown up to unit variance they would rule the prediction of held-out examples that do have them.
LEAST_DEVIATION = 1e-5
LEAST_EXAMPLES = 2
# Gram entries are of order 1 here; smaller ones than this are rounding.
LEAST_GRAM = 1e-5


class Image(NamedTuple):
    """Held-out R² of Y regressed on X, and of X regressed on Y. 1: a linear image; 0 or less: nothing in common."""

    y_from_x: Float[Array, ""]
    x_from_y: Float[Array, ""]


def _pair(x_NxD: Float[Array, "N D"], y_NxE: Float[Array, "N E"]) -> tuple[Cloud, Cloud, Bool[Array, ""]]:
    """Both as clouds, and whether both are valid."""
    if x_NxD.shape[:1] != y_NxE.shape[:1]:
        raise ValueError(f"both must hold the same examples, got {list(x_NxD.shape)} and {list(y_NxE.shape)}")
    x, y = centre(x_NxD), centre(y_NxE)
    return x, y, x.valid & y.valid


def linear_cka(x_NxD: Float[Array, "N D"], y_NxE: Float[Array, "N E"]) -> Float[Array, ""]:
    """Biased linear CKA, ‖XᵀY‖²/(‖XᵀX‖·‖YᵀY‖) in Frobenius norms, 0 to 1 (Kornblith et al. 2019, 1905.00414).

    Trap: independent data read about D/(N+D) rather than 0: .68/.50/.20/.06 at N=32/64/256/1024 and D=64. Use
    `debiased_linear_cka`. And a few directions of large variance decide it.

    Args:
        x_NxD, y_NxE: hidden states of two cells on the same examples, float32, N ≥ 8.

    Returns:
        float32 scalar; NaN for a non-finite entry, or states without spread, in either.

    Raises:
        ValueError: the numbers of examples differ, another rank or dtype, or N < 8.
    """
    x, y, valid = _pair(x_NxD, y_NxE)
    cross, own_x, own_y = (
        jnp.sqrt(jnp.sum(jnp.square(over_points(a.points_NxD, b.points_NxD)))) for a, b in ((x, y), (x, x), (y, y))
    )
    both = jnp.where(valid, own_x * own_y, jnp.float32(1))
    return or_nan(valid, jnp.square(cross) / both)


def debiased_linear_cka(x_NxD: Float[Array, "N D"], y_NxE: Float[Array, "N E"]) -> Float[Array, ""]:
    """Linear CKA from unbiased HSIC (Song et al. 2012; Nguyen et al. 2021, 2010.15327): about 0 for independent data.

    At most 1; slightly negative by chance. The ratio of unbiased parts is not itself unbiased, but nearly.

    Trap: like `linear_cka` it follows the directions of large variance; a high value does not mean that the same can be
    read from both, and subsets that are moved far change it without any change of behaviour (2210.16156).

    Arguments and errors as in `linear_cka`. NaN as there, and where all examples are equally far apart.
    """
    x, y, valid = _pair(x_NxD, y_NxE)
    gram_x_NxN, gram_y_NxN = _debiased_gram(x.points_NxD), _debiased_gram(y.points_NxD)
    own_x, own_y = (jnp.sqrt(jnp.mean(jnp.square(gram))) for gram in (gram_x_NxN, gram_y_NxN))
    defined = valid & (own_x > LEAST_GRAM) & (own_y > LEAST_GRAM)
    both = jnp.where(defined, own_x * own_y, jnp.float32(1))
    return or_nan(defined, jnp.mean(gram_x_NxN * gram_y_NxN) / both)


def _debiased_gram(points_NxD: Float[Array, "N D"]) -> Float[Array, "N N"]:
    """The U-centred Gram matrix (Székely & Rizzo 2014): no diagonal, rows and columns sum to 0.

    N×N rather than the equivalent sums over D×D: those cancel, and one far outlier leaves no digit of them.
    """
    n = points_NxD.shape[0]
    off_NxN = 1 - jnp.eye(n, dtype=jnp.float32)
    gram_NxN = matmul(points_NxD, points_NxD.T) * off_NxN
    row_N = jnp.sum(gram_NxN, axis=1) / (n - 2)
    return (gram_NxN - row_N[:, None] - row_N[None, :] + jnp.sum(row_N) / (n - 1)) * off_NxN


def svcca(x_NxD: Float[Array, "N D"], y_NxE: Float[Array, "N E"], share: float = 0.99) -> Float[Array, ""]:
    """Mean canonical correlation of the leading principal components, 0 to 1 (Raghu et al. 2017, 1706.05806).

    Of each, the fewest components that hold `share` of the variance are kept, and the mean is over as many correlations
    as the smaller number kept. Directions that float32 doesn't resolve are never kept, so at share=1 the reading is
    neutral to invertible linear maps; below it, to rotations and scale only.

    Traps: independent data read .03/.22/.64 with 2/64/512 components kept of N=1024, and 1 with all; one component
    more or less at the threshold changes the mean. Compare at equal N, and see how the value moves with `share`.

    Args:
        x_NxD, y_NxE: as in `linear_cka`.
        share: of the variance, above 0 and up to 1; not traced.

    Returns:
        float32 scalar; NaN as in `linear_cka`.

    Raises:
        ValueError: as `linear_cka`, or a share out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r} must lie above 0 and at most at 1")
    x, y, valid = _pair(x_NxD, y_NxE)
    (left_x_NxK, kept_x), (left_y_NxK, kept_y) = _leading(x, share), _leading(y, share)
    correlation_K = jnp.linalg.svd(over_points(left_x_NxK, left_y_NxK), compute_uv=False)
    total = jnp.sum(jnp.minimum(correlation_K, jnp.float32(1)))  # those beyond what is kept are 0
    return or_nan(valid, total / jnp.maximum(jnp.minimum(kept_x, kept_y), jnp.float32(1)))


def _leading(cloud: Cloud, share: float) -> tuple[Float[Array, "N K"], Float[Array, ""]]:
    """Orthonormal scores of the components kept, N×K with zero columns for the others, and how many are kept."""
    q_NxK, triangular_KxD = jnp.linalg.qr(cloud.points_NxD)
    u_KxK, singular_K, _ = jnp.linalg.svd(triangular_KxD, full_matrices=False)
    variance_K = jnp.square(singular_K)
    rest_K = jnp.cumsum(variance_K[::-1])[::-1]  # what is left if this and all later components are dropped
    resolved_K = singular_K > cloud.resolution * jnp.sqrt(jnp.float32(cloud.points_NxD.shape[0]))
    kept_K = (rest_K > (1 - share) * rest_K[0]) & resolved_K
    return matmul(q_NxK, u_KxK) * kept_K[None, :].astype(jnp.float32), jnp.sum(kept_K).astype(jnp.float32)


def procrustes_distance(x_NxD: Float[Array, "N D"], y_NxE: Float[Array, "N E"]) -> Float[Array, ""]:
    """Squared orthogonal Procrustes distance 2 − 2‖XᵀY‖_* of states at unit Frobenius norm, 0 to 2 (2108.01661).

    The least ‖XQ − Y‖² over rotations and reflections Q. scipy.spatial.procrustes, which also scales, gives d − d²/4.

    Traps: independent data read 2 only in the limit of many examples (1.57 at N=1024, D=64); differences below 1e-6 are
    rounding. It moves under linear maps that change no ability.

    Arguments, NaN and errors as in `linear_cka`.
    """
    x, y, valid = _pair(x_NxD, y_NxE)
    cross_DxE = over_points(x.points_NxD, y.points_NxD) / x_NxD.shape[0]
    nuclear = jnp.sum(jnp.linalg.svd(cross_DxE, compute_uv=False))
    return or_nan(valid, jnp.maximum(2 - 2 * nuclear, jnp.float32(0)))


def linear_image(x_NxD: Float[Array, "N D"], y_NxE: Float[Array, "N E"]) -> Image:
    """Is Y a linear image of X, and X of Y? R² of a regression with intercept on examples held out, in both directions.

    R² is of all columns together, 1 − Σ squared error / Σ squared deviation (scikit-learn's `variance_weighted`).
    Features are whitened first, so the reading doesn't depend on which invertible linear map X went through.

    Every `HELD_OUT`-th distinct example is held out. Distinct, because with few inputs seen again and again (36 of
    them, 64 columns) any states are linear images of any others; rows that both X and Y repeat stay on one side.

    Trap: the columns of large variance decide R², so at .95 up to 5% of the variance may be lost, and all that is read
    from it: ask also whether V-information stays.

    Args:
        x_NxD, y_NxE: as in `linear_cka`; examples in random order.

    Returns:
        `Image(y_from_x, x_from_y)`, float32, up to 1 and without a lower bound. NaN as in `linear_cka`; a direction is
        NaN with fewer than `LEAST_EXAMPLES` distinct examples to fit for each dimension that its source has (an exact
        image of fewer would read low), and where what is held out has no spread.
    """
    x, y, valid = _pair(x_NxD, y_NxE)
    held_N, is_first_N = _held_out(x, y)
    distinct = jnp.sum(is_first_N & ~held_N).astype(jnp.float32)
    forward, backward = (_held_out_r2(a, b, held_N, distinct) for a, b in ((x, y), (y, x)))
    return Image(or_nan(valid, forward), or_nan(valid, backward))


def _held_out(x: Cloud, y: Cloud) -> tuple[Bool[Array, "N"], Bool[Array, "N"]]:
    """Who is held out, bool N: every `HELD_OUT`-th distinct pair of rows with all its repeats; and who is no repeat."""
    both_NxF = jnp.concatenate([x.points_NxD, y.points_NxD], axis=1)
    within = jnp.square(x.resolution) + jnp.square(y.resolution)
    first_N = jnp.argmax(squared_distances(both_NxF) <= within, axis=1)
    is_first_N = first_N == jnp.arange(first_N.shape[0])
    rank_N = jnp.cumsum(is_first_N) - 1
    return rank_N[first_N] % HELD_OUT == HELD_OUT - 1, is_first_N


def _held_out_r2(
    source: Cloud, target: Cloud, held_N: Bool[Array, "N"], distinct: Float[Array, ""]
) -> Float[Array, ""]:
    """R² on the rows held out, of a ridge regression of the target on the source fitted to the others."""
    fits_N = (~held_N).astype(jnp.float32)
    n = jnp.maximum(jnp.sum(fits_N), jnp.float32(1))
    source_NxD, target_NxE = (_less_mean(cloud.points_NxD, fits_N) for cloud in (source, target))
    singular_K, axes_KxD = spectrum(source_NxD * fits_N[:, None])
    deviation_K = singular_K / jnp.sqrt(n)
    has_K = deviation_K > jnp.maximum(source.resolution, jnp.float32(LEAST_DEVIATION))
    scale_K = has_K.astype(jnp.float32) / jnp.where(has_K, deviation_K, jnp.float32(1))
    white_NxK = matmul(source_NxD, axes_KxD.T * scale_K[None, :])
    # Whitened columns are orthonormal over the rows that are fitted, so the ridge solution is a division.
    weight_KxE = over_points(white_NxK * fits_N[:, None], target_NxE) / (n * (1 + IMAGE_RIDGE))
    enough = distinct >= LEAST_EXAMPLES * jnp.sum(has_K).astype(jnp.float32)
    return or_nan(enough, _r2(matmul(white_NxK, weight_KxE), target_NxE, held_N, target.resolution))


def _less_mean(points_NxD: Float[Array, "N D"], weight_N: Float[Array, "N"]) -> Float[Array, "N D"]:
    """Points less the mean of those of weight 1."""
    total = jnp.maximum(jnp.sum(weight_N), jnp.float32(1))
    return points_NxD - jnp.sum(points_NxD * weight_N[:, None], axis=0, keepdims=True) / total


def _r2(
    guess_NxE: Float[Array, "N E"],
    target_NxE: Float[Array, "N E"],
    held_N: Bool[Array, "N"],
    resolution: Float[Array, ""],
) -> Float[Array, ""]:
    """1 − Σ squared error / Σ squared deviation over the rows held out."""
    weight_N = held_N.astype(jnp.float32)
    error = jnp.sum(jnp.sum(jnp.square(guess_NxE - target_NxE), axis=1) * weight_N)
    spread = jnp.sum(jnp.sum(jnp.square(_less_mean(target_NxE, weight_N)), axis=1) * weight_N)
    defined = spread > jnp.square(resolution) * jnp.sum(weight_N)
    return or_nan(defined, 1 - error / jnp.where(defined, spread, jnp.float32(1)))
