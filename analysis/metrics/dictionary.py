"""A sparse dictionary of a cell's states: what it explains, and whether its latents are the task's known factors.

A top-k autoencoder (Gao et al. 2024, 2406.04093), trained on the first half of the examples and read on the second. Its
control is the same encoder untrained: random directions of the same number, as sparse (2602.14111). What the trained
one recovers beyond that is what training the dictionary found.

A metric on call: it costs more than all metrics of the registry together.

Shape letters: N examples, H of a half, D width, K latents, F factors, V factor values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from analysis.metrics.geometry import centre, matmul, or_nan, over_points, subtract_mean
from analysis.metrics.latent_metric import on_call

LATENTS = 2  # for each dimension of the states
ACTIVE = 4  # latents of an example, at most
TRAINING_STEPS = 300
LEARNING_RATE = 1e-2
LEAST_EXAMPLES = 8  # of a factor value, and of all others, in each half: rarer ones are not looked for


class Dictionary(NamedTuple):
    """A trained dictionary: x ≈ latents · decoder, latents the `active` largest of relu(x · encoder + bias)."""

    encoder_DxK: Float[Array, "D K"]
    bias_K: Float[Array, "K"]
    decoder_KxD: Float[Array, "K D"]


class Recovery(NamedTuple):
    """What the second half of the examples says of a dictionary.

    `explained_variance` of the states, 1 at most; `l0`, active latents of an example; `recovery`, the mean over
    factor values of |correlation| between the value and the latent that fitted it best on the first half;
    `random_recovery` that of the untrained encoder; `recovery_gain` their difference.
    """

    explained_variance: Float[Array, ""]
    l0: Float[Array, ""]
    recovery: Float[Array, ""]
    random_recovery: Float[Array, ""]
    recovery_gain: Float[Array, ""]


def encode(x_HxD: Float[Array, "H D"], of: Dictionary, active: int) -> Float[Array, "H K"]:
    """The latents of some states: not negative, at most `active` of an example above 0 (ties aside)."""
    positive_HxK = jax.nn.relu(matmul(x_HxD, of.encoder_DxK) + of.bias_K[None])
    least_Hx1 = lax.top_k(positive_HxK, active)[0][:, -1:]
    return jnp.where(positive_HxK >= least_Hx1, positive_HxK, jnp.float32(0))


def train(x_HxD: Float[Array, "H D"], key: Key[Array, ""], latents: int, active: int, steps: int) -> Dictionary:
    """The dictionary of some centred states at unit RMS norm, by Adam on the mean squared error of all of them.

    The atoms start as examples, and the encoder as their transpose: few latents are then never active.
    """
    start_K = jax.random.choice(key, x_HxD.shape[0], (latents,), replace=latents > x_HxD.shape[0])
    jitter_KxD = 0.01 * jax.random.normal(key, (latents, x_HxD.shape[1]))
    atoms_KxD = _unit_rows(x_HxD[start_K] + jitter_KxD)
    start = Dictionary(atoms_KxD.T, jnp.zeros(latents), atoms_KxD)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def error(of: Dictionary) -> Float[Array, ""]:
        guess_HxD = matmul(encode(x_HxD, of, active), _unit_rows(of.decoder_KxD))
        return jnp.mean(jnp.sum(jnp.square(x_HxD - guess_HxD), axis=1))

    def step(carry: tuple[Dictionary, optax.OptState], _: None) -> tuple[tuple[Dictionary, optax.OptState], None]:
        of, state = carry
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
            update, state = optimizer.update(jax.grad(error)(of), state)
        return (Dictionary(*jax.tree.map(jnp.add, of, update)), state), None

    found = lax.scan(step, (start, optimizer.init(start)), None, length=steps)[0][0]
    return found._replace(decoder_KxD=_unit_rows(found.decoder_KxD))


def _unit_rows(rows_KxD: Float[Array, "K D"]) -> Float[Array, "K D"]:
    norm_Kx1 = jnp.sqrt(jnp.sum(jnp.square(rows_KxD), axis=1, keepdims=True))
    return rows_KxD / jnp.maximum(norm_Kx1, jnp.float32(1e-12))


def correlations(a_HxK: Float[Array, "H K"], b_HxV: Float[Array, "H V"]) -> Float[Array, "K V"]:
    """|Pearson correlation| of every column with every other's; 0 where one of them is constant."""
    unit_HxK, unit_HxV = (_unit_rows(subtract_mean(x).T).T for x in (a_HxK, b_HxV))
    return jnp.abs(over_points(unit_HxK, unit_HxV))


def recovered(
    latents_NxK: Float[Array, "N K"], values_NxV: Float[Array, "N V"], counts_V: Bool[Array, "V"]
) -> Float[Array, ""]:
    """Mean over values of their |correlation| on the second half with the latent that fits best on the first.

    Chosen on one half and read on the other: the best of many latents would fit by chance.
    """
    h = latents_NxK.shape[0] // 2
    best_V = jnp.argmax(correlations(latents_NxK[:h], values_NxV[:h]), axis=0)
    fits_V = correlations(latents_NxK[h:], values_NxV[h:])[best_V, jnp.arange(best_V.shape[0])]
    return jnp.sum(jnp.where(counts_V, fits_V, jnp.float32(0))) / jnp.maximum(jnp.sum(counts_V), 1).astype(jnp.float32)


@on_call(
    arguments=("states", "factors", "factor_sizes", "key"),
    meaning=f"sparse dictionary of {LATENTS}·D latents, at most {ACTIVE} active: explained variance, latents an example"
    " (l0), and how well single latents are the task's factor values (recovery), next to random directions",
    range="explained_variance up to 1; l0 0 to the number active; recoveries 0 to 1",
    source="Gao et al. 2024, 2406.04093; against random directions: 2602.14111",
    trap="explained variance says little of recovery: read recovery_gain, over random directions as sparse",
    words="sparse dictionary",
    gain={"explained_variance": 1, "l0": 0, "recovery": 1, "random_recovery": 0, "recovery_gain": 1},
)
def dictionary(
    z_NxD: Float[Array, "N D"], factors_NxF: Int[Array, "N F"], factor_sizes: Sequence[int], key: Key[Array, ""]
) -> Recovery:
    """A dictionary trained on the states, and what it recovers.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 16, examples in random order.
        factors_NxF: int32, the task's factors.
        factor_sizes: how many values each has; static.
        key: a typed key; the same for every cell of a comparison.

    Returns:
        `Recovery`, float32; NaN for a cell with a non-finite entry or without spread, recoveries NaN where no factor
        value occurs, and lacks, `LEAST_EXAMPLES` times in both halves.
    """
    cloud, h = centre(z_NxD), z_NxD.shape[0] // 2
    latents = LATENTS * z_NxD.shape[1]
    active = min(ACTIVE, latents)
    trained = train(cloud.points_NxD[:h], key, latents, active, TRAINING_STEPS)
    random_KxD = _unit_rows(jax.random.normal(key, (latents, z_NxD.shape[1])))
    untrained = Dictionary(random_KxD.T, jnp.zeros(latents), random_KxD)
    latents_NxK = encode(cloud.points_NxD, trained, active)
    rest_MxD = cloud.points_NxD[h:] - matmul(latents_NxK[h:], trained.decoder_KxD)
    spread = jnp.sum(jnp.square(subtract_mean(cloud.points_NxD[h:])))
    explained = 1 - jnp.sum(jnp.square(rest_MxD)) / jnp.where(spread > 0, spread, jnp.float32(1))

    values_NxV = jnp.concatenate(
        [jax.nn.one_hot(factors_NxF[:, f], size, dtype=jnp.float32) for f, size in enumerate(factor_sizes)], axis=1
    )
    there_V = jnp.minimum(jnp.sum(values_NxV[:h], axis=0), jnp.sum(values_NxV[h:], axis=0))
    absent_V = jnp.minimum(jnp.sum(1 - values_NxV[:h], axis=0), jnp.sum(1 - values_NxV[h:], axis=0))
    counts_V = jnp.minimum(there_V, absent_V) >= LEAST_EXAMPLES
    mine = recovered(latents_NxK, values_NxV, counts_V)
    theirs = recovered(encode(cloud.points_NxD, untrained, active), values_NxV, counts_V)
    l0 = jnp.mean(jnp.sum((latents_NxK[h:] > 0).astype(jnp.float32), axis=1))
    known = cloud.valid & jnp.any(counts_V)
    recoveries = (or_nan(known, value) for value in (mine, theirs, mine - theirs))
    return Recovery(or_nan(cloud.valid, explained), or_nan(cloud.valid, l0), *recoveries)
