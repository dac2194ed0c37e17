"""Linear maps of one cell's hidden states: what a factor's probe reads, what to compare that with, changes of basis.

Rows are examples. A `Removal` holds P such that x − (x − mean)·P lacks the removed part and (x − mean)·P is that part,
P·P = P. All are pure, run in float32 and vmap over cells; states come centred, see `analysis.metrics.geometry.centre`.

Shape letters: H examples that a map is fitted to, D hidden width, K = min(H, D), C classes, R columns.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from analysis.metrics import Classes, Cloud, Spectrum, matmul, over_points, spectrum, whitening

# Class means closer to the mean than this share of the farthest, in whitened states, span no direction of their own.
RANK_TOLERANCE = 1e-4
# Exponents of the tilt that is searched for equal variance, and halvings of that interval.
TILT_LOW, TILT_HIGH, HALVINGS = -8.0, 32.0, 24
# How far a change of basis scales one direction against another: 100 leaves float32 five digits of seven.
STRETCH = 100.0
SCALED = 10.0  # of the factor's own part


class Removal(NamedTuple):
    """A projection and its size.

    Attributes:
      map_DxD: P.
      dimension: its rank, float32.
      variance: mean ‖(x − mean)·P‖² over mean ‖x − mean‖² on the examples that it was fitted to.
    """

    map_DxD: Array
    dimension: Array
    variance: Array


class Basis(NamedTuple):
    """A change of basis: x·there, and back by x·there·back = x."""

    there_DxD: Array
    back_DxD: Array


def factor_removal(cloud: Cloud, groups: Classes) -> Removal:
    """The projection whose removal leaves no linear probe better than a constant, and moves states least: LEACE.

    Belrose et al. 2023 (2306.03819): in whitened coordinates the span of the class means is removed, which is also the
    row space of the ridge probe of `analysis.metrics.probes`. Oblique, of rank at most C − 1.

    Trap: guarded on the examples that it was fitted to and against linear readers alone. What a later layer reads
    nonlinearly stays, and on new examples a class mean is known only as well as its few members show it. With C − 1
    near D nearly everything is removed, whatever the factor: compare it with `random_removal` of its rank.

    Args:
        cloud: the states.
        groups: the factor's classes, of the same examples.
    """
    h = cloud.points_NxD.shape[0]
    spec = spectrum(cloud.points_NxD)
    white_DxK = whitening(spec, h, cloud.resolution)
    mean_CxK = over_points(groups.indicator_NxC, matmul(cloud.points_NxD, white_DxK))
    mean_CxK = mean_CxK / jnp.sqrt(jnp.maximum(groups.count_C, jnp.float32(1)) * h)[:, None]
    _, size_R, axes_RxK = jnp.linalg.svd(mean_CxK, full_matrices=False)
    # Means weighted by their counts add up to zero, so that one direction fewer than classes is spanned.
    is_spanned_R = (size_R > RANK_TOLERANCE * size_R[0]) & (jnp.arange(size_R.shape[0]) < groups.present - 1)
    axes_RxK = axes_RxK * is_spanned_R.astype(jnp.float32)[:, None]
    colour_KxD = (spec.singular_K / jnp.sqrt(jnp.float32(h)))[:, None] * spec.axes_KxD
    map_DxD = matmul(matmul(white_DxK, axes_RxK.T), matmul(axes_RxK, colour_KxD))
    variance = jnp.sum(jnp.square(matmul(cloud.points_NxD, map_DxD))) / h  # the cloud's own is 1
    return Removal(map_DxD, jnp.sum(is_spanned_R).astype(jnp.float32), variance)


def random_removal(spec: Spectrum, key: Array, dimension: Array, most: int, tilt: Array | float = 0.0) -> Removal:
    """An orthogonal projection onto random directions that the states use.

    Args:
        spec: of the centred states; directions are drawn among its axes, so a switched-off column is never one.
        key: a typed JAX key.
        dimension: how many directions, float32, traced.
        most: the largest that `dimension` may be, static.
        tilt: 0 draws all axes alike, more prefers those of large variance, see `matched_removal`.
    """
    share_K = jnp.square(spec.singular_K) / jnp.maximum(jnp.sum(jnp.square(spec.singular_K)), jnp.float32(1e-30))
    is_used_K = share_K > 1e-12
    # Logarithms from the largest: no power over- or underflows to an empty matrix.
    log_K = jnp.log(jnp.where(is_used_K, share_K, jnp.float32(1)))
    log_K = tilt * (log_K - jnp.max(jnp.where(is_used_K, log_K, -jnp.inf)))
    log_K = log_K - jnp.max(jnp.where(is_used_K, log_K, -jnp.inf))
    gain_K = jnp.where(is_used_K, jnp.exp(jnp.maximum(log_K, -60.0)), jnp.float32(0))
    drawn_KxR = jax.random.normal(key, (share_K.shape[0], most), jnp.float32)
    axes_KxR = jnp.linalg.qr(gain_K[:, None] * drawn_KxR)[0]
    axes_KxR = axes_KxR * (jnp.arange(axes_KxR.shape[1], dtype=jnp.float32) < dimension).astype(jnp.float32)[None, :]
    axes_DxR = matmul(spec.axes_KxD.T, axes_KxR)
    variance = jnp.sum(share_K[:, None] * jnp.square(axes_KxR))
    return Removal(matmul(axes_DxR, axes_DxR.T), dimension, variance)


def matched_removal(spec: Spectrum, key: Array, dimension: Array, most: int, variance: Array) -> Removal:
    """A random projection of given rank that removes a given share of the variance, as nearly as the states allow.

    One draw is tilted, S^t·G with S the states' variances, until its share is met: it grows with t, since with
    commuting A and B the trace of a projection flowing along A grows in B. So it is found by halving.

    Trap: where the factor is most of the variance, a subspace that holds as much of it is nearly the factor's own.
    Then removing it hurts as much, and says nothing; the probe's accuracy after it (which then falls too) tells.

    Args:
        spec, key, dimension, most: as in `random_removal`.
        variance: the share wanted, 0 to 1.
    """

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        too_little = random_removal(spec, key, dimension, most, middle).variance < variance
        return jnp.where(too_little, middle, low), jnp.where(too_little, high, middle)

    low, high = lax.fori_loop(0, HALVINGS, halve, (jnp.float32(TILT_LOW), jnp.float32(TILT_HIGH)))
    return random_removal(spec, key, dimension, most, (low + high) / 2)


def bases(spec: Spectrum, factor: Removal, key: Array) -> dict[str, Basis]:
    """Changes of basis that a network can undo in the next layer, so that they change no function.

    `rotated`: at random. `whitened`: all principal axes to one variance, `sharpened`: each variance squared, both as
    far as directions then differ by `STRETCH` in scale. `factor up`, `factor down`: what a probe of the factor reads,
    ten times as large or as small.

    Args:
        spec: of the centred states.
        factor: from `factor_removal`.
        key: of the rotation.
    """
    width = spec.axes_KxD.shape[1]
    eye_DxD = jnp.eye(width, dtype=jnp.float32)
    largest = jnp.maximum(spec.singular_K[0], jnp.float32(1e-30))
    relative_K = jnp.maximum(spec.singular_K / largest, jnp.float32(1 / STRETCH))

    def along_axes(gain_K: Array) -> Basis:
        """Axes beyond the K that the states use are left alone."""

        def scaled(gain_K: Array) -> Array:
            return eye_DxD + matmul(spec.axes_KxD.T * (gain_K - 1)[None, :], spec.axes_KxD)

        return Basis(scaled(gain_K), scaled(1 / gain_K))

    def along_factor(gain: float) -> Basis:
        return Basis(eye_DxD + (gain - 1) * factor.map_DxD, eye_DxD + (1 / gain - 1) * factor.map_DxD)

    turn_DxD = jnp.linalg.qr(jax.random.normal(key, (width, width), jnp.float32))[0]
    return {
        "rotated": Basis(turn_DxD, turn_DxD.T),
        "whitened": along_axes(1 / relative_K),
        "sharpened": along_axes(relative_K),
        "factor up": along_factor(SCALED),
        "factor down": along_factor(1 / SCALED),
    }
