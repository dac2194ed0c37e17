"""The variational information bottleneck on the residual stream of a layer.

The stream is taken as the mean μ of a Gaussian code. In training, the layers above get z = μ + σε, ε standard normal
and drawn for every position and step, and beta × the rate is added to the loss; evaluation and measurement use the mean
itself, and `Forward.hidden` keeps the mean throughout. The prior of every coordinate is N(0, τ²) with τ = D^-1/2, the
standard deviation of the embeddings' entries when they are drawn; the noise is fixed in that unit, σ = vib.noise · τ.
(Noise in units of what a coordinate happens to carry would make the rate a constant: scaling would no longer help.)

Above a beta of 0 the noise has its full size, so the smallest beta already differs from none.

Shape letters: B examples, L tokens, D width, E layers + 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, StageSetup, StepView, relaxing
from lab.mechanisms.own_reading import OwnReading
from lab.mechanisms.quantization import DEEPEST, no_such_layer
from lab.nn.loss import heard
from lab.nn.model import Forward

SOURCE = "Alemi et al. 2017, arXiv 1612.00410"
BETA = Knob(
    name="vib.beta",
    high=100.0,
    about="loss a nat of what a token's residual stream tells of the input, and unit noise on it while training",
    source=SOURCE,
)
NOISE = Knob(
    name="vib.noise",
    low=0.01,
    high=100.0,
    neutral=1.0,
    needs=(BETA.name,),
    about="standard deviation of the bottleneck's noise, in units of its prior's",
    source=SOURCE,
)
LAYER = Knob(
    name="vib.layer",
    high=DEEPEST,
    neutral=1,
    integer=True,
    needs=(BETA.name,),
    about="the layer whose residual stream is the bottleneck: 0 the embedding, then the blocks",
    source=SOURCE,
)
ACTIVE_VARIANCE = 0.01  # of a coordinate's mean over inputs, in units of the prior's variance: the paper's threshold


def _mean_rate(hidden_NxD: jax.Array, params: Params, knobs: Knobs) -> jax.Array:
    return jnp.mean(rate(hidden_NxD, knobs[NOISE.name]))


def active_units(hidden_NxD: jax.Array, params: Params, knobs: Knobs) -> jax.Array:
    """How many coordinates depend on the input: the variance of their mean is above `ACTIVE_VARIANCE` of the prior's.

    Burda et al. 2015, arXiv 1509.00519: float32[].
    """
    return jnp.sum(jnp.var(hidden_NxD, axis=0) * hidden_NxD.shape[-1] > ACTIVE_VARIANCE).astype(jnp.float32)


RATE = OwnReading(
    name="rate",
    layer=LAYER.name,
    read=_mean_rate,
    meaning="mean rate KL(code ‖ prior) of the bottleneck's layer in nats; without a bottleneck, as if its noise acted",
    range="0 or more",
    source=SOURCE,
    trap="an upper bound on the information, in units of the noise: without a bottleneck nothing keeps it small",
    words="rate of the bottleneck (VIB)",
    gain=-1,
)
ACTIVE_UNITS = OwnReading(
    name="active_units",
    layer=LAYER.name,
    read=active_units,
    meaning=f"coordinates of the bottleneck's layer with over {ACTIVE_VARIANCE:g} of the prior's variance over inputs",
    range="0 to D",
    source="Burda et al. 2015, arXiv 1509.00519",
    trap="a threshold: a unit that carries little and one that carries much count the same; rotations change the count",
    words="active units of the bottleneck (VIB)",
)


class InformationBottleneck(Mechanism):
    """See the module's docstring. Not active at inference: without noise, the mean is the stream itself."""

    name = "vib"
    knobs = (*relaxing(BETA), NOISE, LAYER)
    hook_points = ("onward",)
    claimable = (RATE, ACTIVE_UNITS)

    def objection(self, setup: StageSetup) -> str:
        """The layer must exist."""
        return no_such_layer(LAYER.name, setup)

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """x[..., D] with noise at the bottleneck's layer."""
        assert key is not None, "noise is for training"
        acts = (knobs[BETA.name] > 0) & (knobs[LAYER.name] == layer)
        sigma = knobs[NOISE.name] * x.shape[-1] ** -0.5
        # A branch, not a selection: XLA would fuse a selection with its neighbours, which then round differently.
        return lax.cond(acts, lambda: x + sigma * jax.random.normal(key, x.shape), lambda: x)

    def readings(self, hidden_NxD: jax.Array, layer: jax.Array, params: Params, knobs: Knobs) -> dict[str, jax.Array]:
        """The mean rate of the bottleneck's layer, in nats."""
        here = (knobs[BETA.name] > 0) & (knobs[LAYER.name] == layer)
        return {"rate": jnp.where(here, jnp.mean(rate(hidden_NxD, knobs[NOISE.name])), jnp.nan)}

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """beta × the mean rate of the tokens that an answer can depend on."""
        layer = knobs[LAYER.name].astype(jnp.int32)
        mean_BxLxD = jnp.take(forward.hidden, layer, axis=0, mode="clip")
        heard_BxL = heard(view.batch)
        rate_BxL = jnp.where(heard_BxL, rate(mean_BxLxD, knobs[NOISE.name]), 0.0)
        return knobs[BETA.name] * jnp.sum(rate_BxL) / jnp.sum(heard_BxL.astype(jnp.float32))


def rate(mean: jax.Array, noise: jax.Array) -> jax.Array:
    """KL(N(μ, σ²) ‖ N(0, τ²)), coordinates summed, in nats: [..., D] means -> [...].

    Averaged over inputs it bounds what the noisy code tells of them from above.
    """
    width = mean.shape[-1]
    constant = jnp.square(noise) - 1 - 2 * jnp.log(noise)
    return 0.5 * width * (jnp.sum(jnp.square(mean), axis=-1) + constant)
