"""Is a factor encoded the same way everywhere, apart from other factors, and how easily does the encoding break?

A probe may read a factor well and yet by another direction in every context ("fractured"): then what is learned in some
contexts says nothing in the next. Metrics on call (`analysis.metrics.on_call`): they need a second factor (the
context), a key for noise, or a second cloud.

Shape letters: N examples, H train, M held out, D hidden width, K = min(N, D), C classes, X contexts, R draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from analysis.metrics.geometry import centre, matmul, or_nan, over_points, spectrum, squared_distances, whitening
from analysis.metrics.latent_metric import on_call
from analysis.metrics.probes import PROBE_RIDGE, Halves, accuracy_of, whitened_halves
from analysis.metrics.separation import classes

NOISE_DRAWS = 8


class Stretch(NamedTuple):
    """How much a map stretches neighbours: `median` and `largest` over the examples."""

    median: Float[Array, ""]
    largest: Float[Array, ""]


def parallelism_score(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], contexts_N: Int[Array, "N"], n_classes: int, n_contexts: int
) -> Float[Array, ""]:
    """Mean cosine between a factor's coding directions in different contexts, −1 to 1 (Bernardi et al. 2020).

    10.1016/j.cell.2020.09.031. A coding direction is the difference of two class means within one context; the mean is
    over all pairs of classes and pairs of contexts where both occur. Around 0 when contexts code independently.

    Trap: few examples a class and context pull it to 0, as their noise is independent; compare at equal counts.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.
        labels_N: int32 labels of the factor in 0..n_classes−1.
        contexts_N: int32 labels of the context in 0..n_contexts−1.
        n_classes: static number of classes.
        n_contexts: static number of contexts.

    Returns:
        float32 scalar; NaN where no two contexts share two classes with means apart, with fewer than two classes or
        contexts or a label out of range, and for a cell with a non-finite entry or without spread.
    """
    cloud, groups, places = centre(z_NxD), classes(labels_N, n_classes), classes(contexts_N, n_contexts)
    member_NxXC = (places.indicator_NxC[:, :, None] * groups.indicator_NxC[:, None, :]).reshape(labels_N.shape[0], -1)
    count_XC = jnp.sum(member_NxXC, axis=0)
    mean_XCxD = over_points(member_NxXC, cloud.points_NxD) / jnp.maximum(count_XC, jnp.float32(1))[:, None]
    mean_XxCxD = mean_XCxD.reshape(n_contexts, n_classes, -1)
    occurs_XxC = count_XC.reshape(n_contexts, n_classes) > 0
    lower, upper = jnp.triu_indices(n_classes, 1)
    way_XxPxD = mean_XxCxD[:, upper] - mean_XxCxD[:, lower]
    norm_XxP = jnp.sqrt(jnp.sum(jnp.square(way_XxPxD), axis=2))
    has_XxP = occurs_XxC[:, lower] & occurs_XxC[:, upper] & (norm_XxP > cloud.resolution)
    unit_XxPxD = jnp.where(has_XxP[:, :, None], way_XxPxD / jnp.where(has_XxP, norm_XxP, 1.0)[:, :, None], 0.0)
    # Σ over ordered pairs of contexts of u_a·u_b = ‖Σ u‖² − Σ ‖u‖², pair of classes by pair of classes.
    contexts_P = jnp.sum(has_XxP, axis=0).astype(jnp.float32)
    cosines = jnp.sum(jnp.square(jnp.sum(unit_XxPxD, axis=0))) - jnp.sum(contexts_P)
    pairs = jnp.sum(contexts_P * (contexts_P - 1))
    defined = cloud.valid & groups.valid & places.valid & (pairs > 0)
    return or_nan(defined, cosines / jnp.where(defined, pairs, jnp.float32(1)))


def cross_condition_accuracy(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], contexts_N: Int[Array, "N"], n_classes: int, n_contexts: int
) -> Float[Array, ""]:
    """Accuracy of the ridge probe in a context it was not trained in, 0 to 1: the mean over contexts left out in turn.

    Cross-condition generalization (Bernardi et al. 2020). The probe is that of `analysis.metrics.probes`: whitened on
    what it trains on, so neutral to invertible linear maps. Order of the examples plays no part.

    Trap: chance is the share of the commonest class within a context, and a class that occurs in one context only can't
    be got right there. Read it together with `probe_accuracy`, never alone. Arguments and NaN as in
    `parallelism_score`, except that contexts need not share classes.
    """
    cloud, groups, places = centre(z_NxD), classes(labels_N, n_classes), classes(contexts_N, n_contexts)

    def accuracy(is_out_N: Float[Array, "N"]) -> Float[Array, ""]:
        """Of the context left out; rows of weight 0 stand for absent ones, as shapes are fixed."""
        train_Nx1 = (1 - is_out_N)[:, None]
        count = jnp.maximum(jnp.sum(train_Nx1), jnp.float32(1))
        points_NxD = cloud.points_NxD - jnp.sum(cloud.points_NxD * train_Nx1, axis=0, keepdims=True) / count
        spec = spectrum(points_NxD * train_Nx1)
        # `whitening` divides by √n: the count is traced here, so it is applied to the singular values.
        spec = spec._replace(singular_K=spec.singular_K / jnp.sqrt(count))
        white_NxK = matmul(points_NxD, whitening(spec, 1, cloud.resolution))
        base_1xC = jnp.sum(groups.indicator_NxC * train_Nx1, axis=0, keepdims=True) / count
        fitted_NxK = white_NxK * train_Nx1
        gram_KxK = over_points(fitted_NxK, fitted_NxK) / count
        moment_KxC = over_points(fitted_NxK, groups.indicator_NxC - base_1xC) / count
        ridge_KxK = PROBE_RIDGE * jnp.eye(gram_KxK.shape[0], dtype=jnp.float32)
        weight_KxC = jax.scipy.linalg.solve(gram_KxK + ridge_KxK, moment_KxC, assume_a="pos")
        guess_N = jnp.argmax(matmul(white_NxK, weight_KxC) + base_1xC, axis=1).astype(jnp.int32)
        right_N = (guess_N == labels_N.astype(jnp.int32)).astype(jnp.float32)
        return jnp.sum(right_N * is_out_N) / jnp.maximum(jnp.sum(is_out_N), jnp.float32(1))

    # One by one: on two CPU devices at once LAPACK's batched kernels wait for each other's threads for ever.
    accuracy_X = lax.map(accuracy, places.indicator_NxC.T)
    present = jnp.maximum(places.present, 1).astype(jnp.float32)
    average = jnp.sum(jnp.where(places.count_C > 0, accuracy_X, jnp.float32(0))) / present
    return or_nan(cloud.valid & groups.valid & places.valid, average)


def noisy_probe_accuracy(
    z_NxD: Float[Array, "N D"],
    labels_N: Int[Array, "N"],
    n_classes: int,
    relative_noise: Float[Array, ""],
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """Held-out accuracy of the ridge probe, trained on clean states and tested on states under Gaussian noise.

    The noise in each column has a deviation of `relative_noise` times the RMS *norm* of the centred states, so that
    scaling them buys no robustness; the mean over `NOISE_DRAWS` draws. At 0 it is
    `analysis.metrics.probes.probe_accuracy`.

    Trap: unlike the clean probe it moves under linear maps that change no ability.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8, examples in random order (the halves are the probe's).
        labels_N: int32 labels in 0..n_classes−1.
        n_classes: static number of classes.
        relative_noise: float32 scalar, 0 or more.
        key: a typed JAX key; the same for every cell of a comparison.

    Returns:
        float32 scalar; NaN as in `analysis.metrics.probes.probe`.
    """
    cloud, groups = centre(z_NxD), classes(labels_N, n_classes)
    h = z_NxD.shape[0] // 2
    train_HxD, test_MxD = cloud.points_NxD[:h], cloud.points_NxD[h:]
    noise_RxMxD = jax.random.normal(key, (NOISE_DRAWS, *test_MxD.shape), jnp.float32)

    def accuracy(noise_MxD: Float[Array, "M D"]) -> Float[Array, ""]:
        halves: Halves = whitened_halves(train_HxD, test_MxD + relative_noise * noise_MxD, cloud.resolution)
        return accuracy_of(halves, groups)

    return or_nan(cloud.valid, jnp.mean(jax.lax.map(accuracy, noise_RxMxD)))


def neighbour_stretch(from_NxE: Float[Array, "N E"], to_NxD: Float[Array, "N D"]) -> Stretch:
    """‖Δto‖/‖Δfrom‖ from each example to its nearest neighbour in `from`, both clouds at RMS norm 1.

    A proxy for the Lipschitz constant of the map from one layer's states (or an embedding of inputs) to another's:
    `largest` is a lower bound on it, which grows with N. Neighbours closer than float32 resolves are passed over.

    Args:
        from_NxE: float32 states before the map, N ≥ 8.
        to_NxD: float32 states behind it, the same examples in the same order.

    Returns:
        `Stretch(median, largest)`, float32, 0 or more; NaN where either cloud has a non-finite entry or no spread.
    """
    before, after = centre(from_NxE), centre(to_NxD)
    near_NxN, far_NxN = squared_distances(before.points_NxD), squared_distances(after.points_NxD)
    is_distinct_NxN = near_NxN > jnp.square(before.resolution)
    nearest_N = jnp.argmin(jnp.where(is_distinct_NxN, near_NxN, jnp.inf), axis=1)[:, None]
    step_N = jnp.take_along_axis(near_NxN, nearest_N, axis=1)[:, 0]
    moved_N = jnp.take_along_axis(far_NxN, nearest_N, axis=1)[:, 0]
    defined = before.valid & after.valid
    ratio_N = jnp.sqrt(moved_N / jnp.where(defined, step_N, jnp.float32(1)))
    return Stretch(*(or_nan(defined, value) for value in (jnp.median(ratio_N), jnp.max(ratio_N))))


class Disentanglement(NamedTuple):
    """Whether factors have coordinates, or subspaces, of their own; each 0 to 1.

    `coordinates`: each coordinate is about one factor (disentanglement of Eastwood & Williams 2018); `completeness`:
    each factor has one coordinate; `subspaces`: the class means of different factors span orthogonal subspaces.
    """

    coordinates: Float[Array, ""]
    completeness: Float[Array, ""]
    subspaces: Float[Array, ""]


@on_call(
    arguments=("states", "factors", "factor_sizes"),
    meaning="whether the task's factors have coordinates of their own (coordinates, completeness; importance is the"
    " share of a coordinate's variance between a factor's classes), or orthogonal subspaces of class means (subspaces)",
    range="0 to 1; subspaces alone ignores rotations",
    source="after Eastwood & Williams 2018, DCI, ICLR; definition (subspaces)",
    trap="factors that depend on one another can't be apart; without signal coordinates is the noise of class means",
    words="disentanglement of factors",
    gain={"coordinates": 1, "completeness": 1, "subspaces": 1},
)
def disentanglement(
    z_NxD: Float[Array, "N D"], factors_NxF: Int[Array, "N F"], factor_sizes: Sequence[int]
) -> Disentanglement:
    """How far the factors of a task are apart in the states.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8.
        factors_NxF: int32 labels of F ≥ 2 factors, each in 0..size−1.
        factor_sizes: how many values each has; static.

    Returns:
        `Disentanglement`, float32; NaN with fewer than two factors, and for a cell with a non-finite entry or without
        spread. Factors of one class in the examples are left out of `subspaces`.
    """
    cloud, n = centre(z_NxD), z_NxD.shape[0]
    means = []
    for f, size in enumerate(factor_sizes):
        indicator_NxC = jax.nn.one_hot(factors_NxF[:, f], size, dtype=jnp.float32)
        count_C = jnp.sum(indicator_NxC, axis=0)
        mean_CxD = over_points(indicator_NxC, cloud.points_NxD) / jnp.maximum(count_C, jnp.float32(1))[:, None]
        means.append(mean_CxD * jnp.sqrt(count_C / n)[:, None])  # so that its Gram matrix is the covariance between
    between_FxD = jnp.stack([jnp.sum(jnp.square(mean_CxD), axis=0) for mean_CxD in means])
    total_D = jnp.mean(jnp.square(cloud.points_NxD), axis=0)
    live_D = total_D > jnp.square(cloud.resolution)
    total_1xD = jnp.where(live_D, total_D, jnp.float32(1))[None]
    importance_FxD = jnp.where(live_D[None], between_FxD / total_1xD, jnp.float32(0))
    subspaces = [_projector(mean_CxD, cloud.resolution) for mean_CxD in means]
    overlap, pairs = jnp.float32(0), jnp.float32(0)
    for first in range(len(subspaces)):
        for second in range(first):
            (one_DxD, rank), (other_DxD, other_rank) = subspaces[first], subspaces[second]
            least = jnp.minimum(rank, other_rank)
            shared = jnp.sum(one_DxD * other_DxD) / jnp.maximum(least, jnp.float32(1))
            overlap, pairs = (
                overlap + jnp.where(least > 0, shared, jnp.float32(0)),
                pairs + (least > 0).astype(jnp.float32),
            )
    defined = cloud.valid & (len(factor_sizes) > 1)
    apart = or_nan(defined & (pairs > 0), 1 - overlap / jnp.maximum(pairs, jnp.float32(1)))
    coordinates, completeness = _one_sided(importance_FxD), _one_sided(importance_FxD.T)
    return Disentanglement(or_nan(defined, coordinates), or_nan(defined, completeness), apart)


def _one_sided(importance_AxB: Float[Array, "A B"]) -> Float[Array, ""]:
    """Mean over columns, weighted by their sums, of 1 − the entropy of the column's shares over log A."""
    total_B = jnp.sum(importance_AxB, axis=0)
    share_AxB = importance_AxB / jnp.where(total_B > 0, total_B, jnp.float32(1))[None]
    entropy_B = -jnp.sum(jax.scipy.special.xlogy(share_AxB, share_AxB), axis=0)
    score_B = 1 - entropy_B / jnp.log(jnp.float32(importance_AxB.shape[0]))
    return jnp.sum(score_B * total_B) / jnp.maximum(jnp.sum(total_B), jnp.float32(1e-30))


def _projector(
    mean_CxD: Float[Array, "C D"], resolution: Float[Array, ""]
) -> tuple[Float[Array, "D D"], Float[Array, ""]]:
    """Onto the span of class means around the states' mean, without directions that are rounding; and its rank."""
    _, singular_K, axes_KxD = jnp.linalg.svd(mean_CxD, full_matrices=False)
    has_K = (singular_K > jnp.maximum(resolution, jnp.float32(1e-4) * singular_K[0])).astype(jnp.float32)
    kept_KxD = axes_KxD * has_K[:, None]
    return matmul(kept_KxD.T, kept_KxD), jnp.sum(has_K)
