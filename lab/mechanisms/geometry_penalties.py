"""Penalties on the shape of the cloud of hidden vectors of a batch, at a chosen layer.

The cloud is Z, B×D: one vector an example, where its first answer token is predicted, tasks of a mixture together. That
is where the latent metrics of the claims are read, so each of these moves some latent metric directly, with or without
ability: `variance` and `covariance` are the two regularizing terms of VICReg, and `isotropy` is signed: below 0 it
plants a collapse. (A penalty on the share of the vectors' length that differs between examples does not: the network
adds a mean that all of them share.)
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, StageSetup, StepView, relaxing
from lab.mechanisms.quantization import DEEPEST, no_such_layer
from lab.nn.model import Forward

EPSILON = 1e-4  # under the square root, as in VICReg; and against division by nothing


class GeometryPenalty(Mechanism):
    """rate × a function of Z."""

    def __init__(self, strength: Knob, of: Callable[[jax.Array], jax.Array]):
        self.name, self._of = strength.name.split(".")[0], of
        layer = Knob(
            name=f"{self.name}.layer",
            low=-DEEPEST - 1,
            high=DEEPEST,
            neutral=-1,
            integer=True,
            needs=(strength.name,),
            about=f"the layer whose hidden vectors {self.name} acts on: 0 the embedding, negative from the end",
            source=strength.source,
        )
        self.knobs = (*relaxing(strength), layer)

    def objection(self, setup: StageSetup) -> str:
        """The layer must exist."""
        return no_such_layer(f"{self.name}.layer", setup, -setup.spec.layers - 1)

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """rate × the function of the centred cloud."""
        hidden, layer = forward.hidden, knobs[f"{self.name}.layer"].astype(jnp.int32)
        first_B = view.batch.answers[:, 0]
        cloud_ExBxD = jnp.take_along_axis(hidden, first_B[None, :, None, None], axis=2)[:, :, 0]
        cloud_BxD = jnp.take(cloud_ExBxD, jnp.where(layer < 0, layer + hidden.shape[0], layer), axis=0, mode="clip")
        return knobs[self.knobs[0].name] * self._of(cloud_BxD)


def covariance_of(z_BxD: jax.Array) -> jax.Array:
    """The unbiased covariance float32[D, D]."""
    centred_BxD = z_BxD - jnp.mean(z_BxD, axis=0, keepdims=True)
    return centred_BxD.T @ centred_BxD / (z_BxD.shape[0] - 1)


def missing_spread(z_BxD: jax.Array) -> jax.Array:
    """VICReg's variance term: by how much the coordinates' standard deviations fall short of 1, on average."""
    return jnp.mean(jax.nn.relu(1 - jnp.sqrt(jnp.diagonal(covariance_of(z_BxD)) + EPSILON)))


def correlation_left(z_BxD: jax.Array) -> jax.Array:
    """VICReg's covariance term: the squared covariances of different coordinates, summed, over D."""
    covariance_DxD = covariance_of(z_BxD)
    off_diagonal_DxD = covariance_DxD * (1 - jnp.eye(z_BxD.shape[1], dtype=z_BxD.dtype))
    return jnp.sum(jnp.square(off_diagonal_DxD)) / z_BxD.shape[1]


def anisotropy(z_BxD: jax.Array) -> jax.Array:
    """1 - IsoScore*, in [0, 1].

    IsoScore* is defined from the covariance's eigenvalues; written out, it is (participation ratio - 1)/(D - 1), and
    that ratio, tr(C)²/tr(C²), needs none. Left out is the paper's shrinkage towards an earlier batch's covariance.
    """
    covariance_DxD, size = covariance_of(z_BxD), z_BxD.shape[1]
    ratio = jnp.square(jnp.trace(covariance_DxD)) / (jnp.sum(jnp.square(covariance_DxD)) + EPSILON**2)
    return 1 - (ratio - 1) / (size - 1)


VICREG, ISOSCORE = "Bardes et al. 2022, arXiv 2105.04906", "Rudman & Eickhoff 2024, arXiv 2305.19358"
VARIANCE = GeometryPenalty(
    Knob("variance.rate", 0, 100, about="pushes each hidden coordinate's spread over a batch up to 1", source=VICREG),
    missing_spread,
)
COVARIANCE = GeometryPenalty(
    Knob("covariance.rate", 0, 100, about="pushes hidden coordinates to be uncorrelated", source=VICREG),
    correlation_left,
)
ISOTROPY = GeometryPenalty(
    Knob("isotropy.rate", -100, 100, about="adds rate × (1 - IsoScore*): above 0 isotropic", source=ISOSCORE),
    anisotropy,
)
