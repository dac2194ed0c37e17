"""How many directions distinguish inputs, in units of what their augmentations move? LiDAR (2312.04000).

A metric on call (`analysis.metrics.on_call`): it needs several task-preserving views of each input (renamed tokens, for
the tasks that have `interchangeable` ones), while the other readings need one state an example.

Shape letters: C inputs (LiDAR's classes), V views of each, D hidden width, R = min(D, C).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from analysis.metrics.geometry import centre, or_nan, over_points

# Added to the within-input covariance, as a share of the mean variance of a column that isn't silent. The paper adds it
# to raw embeddings; as a share, the reading doesn't depend on the states' unit.
WITHIN_FLOOR = 1e-4


def lidar(z_CxVxD: Float[Array, "C V D"]) -> Float[Array, ""]:
    """exp H of the eigenvalues of Σ_w^{-½} Σ_b Σ_w^{-½}: from 1 to min(C−1, D).

    Thilak et al. 2023. Σ_b is the covariance of the inputs' means, Σ_w the mean covariance of the views around theirs,
    plus `WITHIN_FLOOR`. Without the paper's additive 1e-7 (zeros contribute zero).

    Traps: it cannot exceed C−1, so use more inputs than D, the same for every cell; with few views noise in the means
    counts as difference between inputs; views that move nothing leave only the floor.

    Args:
        z_CxVxD: float32 states of V ≥ 2 views of each of C ≥ 2 inputs, C·V ≥ 8.

    Returns:
        float32 scalar; NaN for a non-finite entry, for states without spread, and where all inputs share one mean.

    Raises:
        ValueError: another rank, dtype or fewer views or inputs.
    """
    if z_CxVxD.ndim != 3 or z_CxVxD.shape[0] < 2 or z_CxVxD.shape[1] < 2:
        raise ValueError(f"states must be [inputs ≥ 2, views ≥ 2, D], got {list(z_CxVxD.shape)}")
    c, v, d = z_CxVxD.shape
    cloud = centre(z_CxVxD.reshape(c * v, d))
    points_CxVxD = cloud.points_NxD.reshape(c, v, d)
    mean_CxD = jnp.mean(points_CxVxD, axis=1)
    residual_NxD = (points_CxVxD - mean_CxD[:, None, :]).reshape(c * v, d)
    # Silent columns (cut by a width mask) hold no variance and must not dilute the floor.
    active = jnp.maximum(jnp.sum(jnp.any(jnp.abs(cloud.points_NxD) > cloud.resolution, axis=0)), 1).astype(jnp.float32)
    floor_DxD = WITHIN_FLOOR / active * jnp.eye(d, dtype=jnp.float32)
    within_DxD = over_points(residual_NxD, residual_NxD) / (c * v) + floor_DxD
    factor_DxD = jax.scipy.linalg.cholesky(within_DxD, lower=True)
    # L⁻¹ΣL⁻ᵀ and Σ_w^{-½}Σ_bΣ_w^{-½} have the same eigenvalues: squares of these singular values.
    scaled_DxC = jax.scipy.linalg.solve_triangular(factor_DxD, mean_CxD.T, lower=True)
    eigen_R = jnp.square(jnp.linalg.svd(scaled_DxC, compute_uv=False))
    total = jnp.sum(eigen_R)
    apart = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(mean_CxD), axis=1)))
    defined = cloud.valid & (apart > cloud.resolution)
    share_R = eigen_R / jnp.where(defined, total, jnp.float32(1))
    return or_nan(defined, jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share_R, share_R))))
