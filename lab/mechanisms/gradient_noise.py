"""Gaussian noise on the gradient, drawn at every step: a temperature that doesn't depend on the batch."""

from __future__ import annotations

import jax

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, StepView, relaxing

SIGMA = Knob(
    name="gradient_noise.sigma",
    high=10.0,
    about="standard deviation of Gaussian noise added to every entry of the gradient, before Adam rescales it",
    source="Neelakantan et al. 2015, arXiv 1511.06807",
)


class GradientNoise(Mechanism):
    """See the module's docstring."""

    name = "gradient_noise"
    knobs = relaxing(SIGMA)

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params:
        """Independent noise for every parameter."""
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(view.key, len(leaves))
        noise = [knobs[SIGMA.name] * jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, noise)
