"""How the unembedding spreads its rows: in how many directions, and with how unequal norms. A reading of the weights.

Rows are taken from their mean, which moves no softmax. A metric on call: it needs the model's weights.

Shape letters: V tokens of the vocabulary, D width, K = min(V, D).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from analysis.metrics.geometry import or_nan, participation_ratio_of, rank_me_of, spectrum, subtract_mean
from analysis.metrics.latent_metric import on_call

LEAST_SPREAD = 1e-6  # of the rows around their mean, as a share of their largest entry: below it is rounding


class RowSpectrum(NamedTuple):
    """Of the centred rows: exp H(σ/Σσ), (Σσ²)²/Σσ⁴, Σσ²/max σ², and deviation over mean of the rows' norms."""

    effective_rank: Float[Array, ""]
    participation_ratio: Float[Array, ""]
    stable_rank: Float[Array, ""]
    norm_spread: Float[Array, ""]


@on_call(
    arguments=("unembedding",),
    meaning="spectrum of the unembedding's rows less their mean (effective_rank, participation_ratio, stable_rank), and"
    " how unequal their norms are (norm_spread, deviation over mean)",
    range="ranks 1 to min(V−1, D); norm_spread 0 or more",
    source="Roy & Vetterli 2007; Rudelson & Vershynin 2007, 10.1145/1255443.1255449; claimed in 2602.20433",
    trap="of weights, the same at every place; rows of tokens that are no answer count, too, and only decay moves them",
    words="unembedding",
    gain={"effective_rank": 1, "participation_ratio": 1, "stable_rank": 1, "norm_spread": -1},
)
def unembedding(unembedding_VxD: Float[Array, "V D"]) -> RowSpectrum:
    """The spectrum of the unembedding's rows.

    Args:
        unembedding_VxD: float32, a row for each token.

    Returns:
        `RowSpectrum`, float32; NaN for an entry that isn't finite, and for rows that are all alike.
    """
    finite = jnp.all(jnp.isfinite(unembedding_VxD))
    rows_VxD = jnp.where(finite, unembedding_VxD, jnp.float32(0))
    largest = jnp.max(jnp.abs(rows_VxD))
    rows_VxD = subtract_mean(rows_VxD / jnp.where(largest > 0, largest, jnp.float32(1)))
    norm_V = jnp.sqrt(jnp.sum(jnp.square(rows_VxD), axis=1))
    defined = finite & (jnp.max(norm_V) > LEAST_SPREAD)
    singular_K = jnp.where(defined, spectrum(rows_VxD).singular_K, jnp.float32(1))
    mean = jnp.where(defined, jnp.mean(norm_V), jnp.float32(1))
    values = (
        rank_me_of(singular_K),
        participation_ratio_of(singular_K),
        jnp.sum(jnp.square(singular_K)) / jnp.square(jnp.max(singular_K)),
        jnp.std(norm_V) / mean,
    )
    return RowSpectrum(*(or_nan(defined, value) for value in values))
