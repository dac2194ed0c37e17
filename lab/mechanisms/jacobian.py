"""A penalty on how strongly the answers' logits react to the embedded input: the Frobenius norm of their Jacobian.

For a random vector v of independent unit normals E|Jᵀv|² = |J|², so one extra backward pass a step gives an unbiased
estimate. The penalty's gradient passes through that backward pass, so a step costs about twice as much.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, StepView, relaxing

RATE = Knob(
    name="jacobian.rate",
    high=10.0,
    about="adds rate/2 × the squared norm of the Jacobian of the answers' logits in the embedded input, by one draw",
    source="Hoffman et al. 2019, arXiv 1908.02729",
)


class Jacobian(Mechanism):
    """See the module's docstring."""

    name = "jacobian"
    knobs = relaxing(RATE)

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params:
        """The gradient of rate/2 × mean over examples of |Jᵀv|²."""
        there_BxA = view.batch.answer_mask.astype(jnp.float32)
        none_BxLxD = jnp.zeros(_embedded(params, view))

        def shifted_logits(params: Params, shift_BxLxD: jax.Array) -> jax.Array:
            shifted = lambda hook_point, layer, x: x + shift_BxLxD if hook_point == "embedding" else x  # noqa: E731
            return view.forward(params, shifted).logits

        def squared_norm(params: Params) -> jax.Array:
            logits_BxAxV, pullback = jax.vjp(lambda shift: shifted_logits(params, shift), none_BxLxD)
            (pulled_BxLxD,) = pullback(jax.random.normal(view.key, logits_BxAxV.shape) * there_BxA[..., None])
            return jnp.mean(jnp.sum(jnp.square(pulled_BxLxD), axis=(1, 2)))

        return jax.tree.map(lambda g: 0.5 * knobs[RATE.name] * g, jax.grad(squared_norm)(params))


def _embedded(params: Params, view: StepView) -> tuple[int, ...]:
    """The shape of the embedded batch, with what is put between its tokens."""
    shapes = []

    def note(hook_point: str, layer: int, x: jax.Array) -> jax.Array:
        if hook_point == "embedding":
            shapes.append(x.shape)
        return x

    jax.eval_shape(lambda p: view.forward(p, note).logits, params)
    return shapes[0]
