"""How curved the loss is around a trained model: trace and largest eigenvalue of its Hessian, and its rise nearby.

The Hessian is never formed: it is multiplied with vectors, as the gradient of (gradient · vector). Reverse over reverse
mode, because the lab's matrix products have gradients that are written out, which forward mode can't pass.

Only coordinates that are not exactly 0 take part: a weight that was cut is no direction in which the model can move.

Shape letters: P parameters, R draws, K Lanczos steps.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from analysis.metrics.latent_metric import on_call

Loss = Callable[[Any], Array]
"""From parameters, a pytree of float32 arrays, to a float32 scalar."""

DRAWS = 16  # of random signs: the trace's relative error is about √(2/R)·‖H‖_F/tr H
STEPS = 16  # of Lanczos: the largest eigenvalue to a percent where it stands out
RADIUS = 0.05  # of the ball, the usual radius of sharpness-aware minimization
ASCENT = 5  # steps on the ball's surface


def _flat(loss: Loss, params: Any) -> tuple[Callable[[Array], Array], Array, Array]:
    """The loss as a function of float32[P], the parameters, and which of them take part (1 or 0)."""
    theta_P, unravel = ravel_pytree(params)
    return (lambda flat_P: loss(unravel(flat_P))), theta_P, (theta_P != 0).astype(jnp.float32)


def hessian_product(loss: Loss, params: Any) -> tuple[Callable[[Array], Array], Array]:
    """(v[P] -> (Hessian · v)[P] over the coordinates that take part, which those are: float32[P] of 1 and 0)."""
    flat, theta_P, free_P = _flat(loss, params)

    def product(v_P: Array) -> Array:
        return free_P * jax.grad(lambda at_P: jnp.vdot(jax.grad(flat)(at_P), free_P * v_P))(theta_P)

    return product, free_P


def quadratic_forms(loss: Loss, params: Any, key: Key[Array, ""], draws: int = DRAWS) -> Float[Array, "R"]:
    """vᵀHv for random signs v, float32[R]: each has the trace as its mean (Hutchinson 1990)."""
    product, free_P = hessian_product(loss, params)

    def form(key: Key[Array, ""]) -> Array:
        signs_P = free_P * jax.random.rademacher(key, free_P.shape, jnp.float32)
        return jnp.vdot(signs_P, product(signs_P))

    return lax.map(form, jax.random.split(key, draws))


def ritz_values(loss: Loss, params: Any, key: Key[Array, ""], steps: int = STEPS) -> Float[Array, "K"]:
    """Eigenvalues of the Hessian in the Krylov space of a random vector, ascending, float32[K]; by Lanczos.

    Every new vector is made orthogonal to all before it, twice: without that, float32 finds the largest one again and
    again. Beyond the space's dimension the values repeat 0.
    """
    product, free_P = hessian_product(loss, params)
    start_P = free_P * jax.random.normal(key, free_P.shape)
    basis_KxP = jnp.zeros((steps, free_P.size)).at[0].set(_unit(start_P))

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis_KxP, image_KxP = carry
        image_P = product(basis_KxP[k])
        rest_P = image_P
        for _ in range(2):
            rest_P = rest_P - basis_KxP.T @ (basis_KxP @ rest_P)
        grown = jnp.linalg.norm(rest_P) > 1e-6 * jnp.linalg.norm(image_P)
        following_P = jnp.where(grown, _unit(rest_P), jnp.float32(0))
        return basis_KxP.at[k + 1].set(following_P, mode="drop"), image_KxP.at[k].set(image_P)

    basis_KxP, image_KxP = lax.fori_loop(0, steps, step, (basis_KxP, jnp.zeros_like(basis_KxP)))
    projected_KxK = basis_KxP @ image_KxP.T
    return jnp.linalg.eigvalsh((projected_KxK + projected_KxK.T) / 2)


def ball_rises(loss: Loss, params: Any, radius: float = RADIUS, ascent: int = ASCENT) -> Float[Array, "S"]:
    """Rises of the loss at points of a sphere around the parameters, float32[S]: each where the last one's slope leads.

    The first is the point of sharpness-aware minimization (2010.01412). A lower bound of the worst point of the ball.
    """
    flat, theta_P, free_P = _flat(loss, params)
    here, slope_P = jax.value_and_grad(flat)(theta_P)

    def up(slope_P: Array, _: None) -> tuple[Array, Array]:
        there, following_P = jax.value_and_grad(flat)(theta_P + radius * _unit(free_P * slope_P))
        return following_P, there - here

    return lax.scan(up, slope_P, None, length=ascent)[1]


def _unit(v_P: Array) -> Array:
    norm = jnp.linalg.norm(v_P)
    return v_P / jnp.where(norm == 0, jnp.float32(1), norm)


@on_call(
    arguments=("quadratic_forms",),
    meaning=f"trace of the Hessian of the training loss, from {DRAWS} random sign vectors",
    range="any; above 0 near a minimum",
    source="Hutchinson 1990, 10.1080/03610919008812866; as flatness: 1609.04836",
    trap="rescaling weights changes it and no function (1703.04933); it grows with how many parameters are left",
    words="curvature of the loss (trace of the Hessian)",
    gain=-1,
)
def hessian_trace(forms_R: Float[Array, "R"]) -> Float[Array, ""]:
    """The mean of `quadratic_forms`."""
    return jnp.mean(forms_R)


@on_call(
    arguments=("ritz_values",),
    meaning=f"largest eigenvalue of the Hessian of the training loss, by {STEPS} steps of Lanczos",
    range="any; above 0 near a minimum",
    source="Lanczos 1950; as sharpness: 2103.00065",
    trap="training holds it near 2/rate (edge of stability), so it may say what the learning rate was",
    words="sharpness (largest eigenvalue of the Hessian)",
    gain=-1,
)
def hessian_top_eigenvalue(ritz_K: Float[Array, "K"]) -> Float[Array, ""]:
    """The largest of `ritz_values`: a lower bound."""
    return jnp.max(ritz_K)


@on_call(
    arguments=("ball_rises",),
    meaning=f"how much the training loss rises at the worst point found at distance {RADIUS:g} in parameter space",
    range="0 or more, nearly; nats",
    source="Foret et al. 2021, 2010.01412",
    trap="the distance is absolute: a model of larger weights reads flatter without computing anything else",
    words="sharpness (rise of the loss nearby)",
    gain=-1,
)
def ball_sharpness(rises_S: Float[Array, "S"]) -> Float[Array, ""]:
    """The largest of `ball_rises`: a lower bound."""
    return jnp.max(rises_S)
