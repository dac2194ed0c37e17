"""Can a linear readout recover the label? Accuracy of a closed-form ridge probe, and its selectivity.

The fixed order of the examples decides the halves: the first ⌊N/2⌋ train, the rest are held out. Examples must come in
random order. Where the same input occurs in both halves (128 facts in 1024 examples), the held-out half holds no new
inputs: accuracy then measures how separably the inputs are stored, not generalization, and only selectivity corrects
for memorization. That is inherent in such tasks, and the same for every cell of a grid.

Features are whitened on the train half, a stronger standardization than dividing each column by its deviation: the
probe then reads the same for Z and Z·R for every invertible R, which the `latent artefact` label relies on. The price,
measured on 16 classes that differ in the 8 leading of 64 steeply decaying components, with 512 train examples: accuracy
.66 where a tuned, basis-dependent ridge has .75.

Shape letters: N examples, H in the train half, M = N − H held out, D hidden width, K = min(H, D), C classes, L tokens.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, UInt

from analysis.metrics.geometry import (
    Cloud,
    centre,
    matmul,
    or_nan,
    over_points,
    spectrum,
    subtract_mean,
    whitening,
)
from analysis.metrics.separation import Classes, classes

# Penalty on whitened features, a share of the train half's size. There every direction is shrunk alike by 1/(1+ridge),
# which changes no decision between classes of equal frequency: there is nothing to tune, so it is fixed.
PROBE_RIDGE = 1e-2


class Halves(NamedTuple):
    """Features of the train and of the held-out half, whitened by the train half's mean and covariance."""

    train_HxK: Float[Array, "H K"]
    test_MxK: Float[Array, "M K"]


class Probe(NamedTuple):
    """Held-out accuracy on the labels and on the control labels, and their difference."""

    accuracy: Float[Array, ""]
    control_accuracy: Float[Array, ""]
    selectivity: Float[Array, ""]


def whitened_halves(
    train_HxD: Float[Array, "H D"], test_MxD: Float[Array, "M D"], resolution: Float[Array, ""]
) -> Halves:
    """Both halves in the train half's whitened coordinates."""
    h = train_HxD.shape[0]
    mean_1xD = jnp.mean(train_HxD, axis=0, keepdims=True)
    map_DxK = whitening(spectrum(subtract_mean(train_HxD)), h, resolution)
    return Halves(matmul(train_HxD - mean_1xD, map_DxK), matmul(test_MxD - mean_1xD, map_DxK))


def split_halves(cloud: Cloud) -> Halves:
    """The cell's points, split in their given order and whitened."""
    h = cloud.points_NxD.shape[0] // 2
    return whitened_halves(cloud.points_NxD[:h], cloud.points_NxD[h:], cloud.resolution)


def accuracy_of(halves: Halves, groups: Classes) -> Float[Array, ""]:
    """Held-out accuracy of ridge regression onto the class indicators; the largest prediction wins."""
    h = halves.train_HxK.shape[0]
    target_HxC = groups.indicator_NxC[:h]
    mean_1xC = jnp.mean(target_HxC, axis=0, keepdims=True)
    k = halves.train_HxK.shape[1]
    gram_KxK = over_points(halves.train_HxK, halves.train_HxK) / h + PROBE_RIDGE * jnp.eye(k, dtype=jnp.float32)
    moment_KxC = over_points(halves.train_HxK, target_HxC - mean_1xC) / h
    weight_KxC = jax.scipy.linalg.solve(gram_KxK, moment_KxC, assume_a="pos")
    guess_M = jnp.argmax(matmul(halves.test_MxK, weight_KxC) + mean_1xC, axis=1)
    correct_M = guess_M.astype(jnp.int32) == groups.labels_N[h:].astype(jnp.int32)
    return or_nan(groups.valid, jnp.mean(correct_M.astype(jnp.float32)))


def probe_of(halves: Halves, groups: Classes, control: Classes) -> Probe:
    """`probe` from prepared halves."""
    accuracy, on_control = accuracy_of(halves, groups), accuracy_of(halves, control)
    return Probe(accuracy, on_control, accuracy - on_control)


def probe(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], control_labels_N: Int[Array, "N"], n_classes: int
) -> Probe:
    """Linear probe with its control task (Hewitt & Liang 2019, 1909.03368).

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8, examples in random order.
        labels_N: int32 labels in 0..n_classes−1.
        control_labels_N: labels of the control task, a random function of the input's identity: equal inputs carry
            equal control labels. See `control_labels`.
        n_classes: static number of classes, of both tasks.

    Returns:
        `Probe(accuracy, control_accuracy, selectivity)`, float32 shares of the held-out half. NaN with fewer than two
        classes or a label out of range, and for a cell with a non-finite entry or without spread.
    """
    cloud = centre(z_NxD)
    reading = probe_of(split_halves(cloud), classes(labels_N, n_classes), classes(control_labels_N, n_classes))
    return Probe(*(or_nan(cloud.valid, value) for value in reading))


def probe_accuracy(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """Held-out accuracy of the linear probe, 0 to 1; arguments and NaN as in `probe`."""
    cloud = centre(z_NxD)
    return or_nan(cloud.valid, accuracy_of(split_halves(cloud), classes(labels_N, n_classes)))


def selectivity(
    z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], control_labels_N: Int[Array, "N"], n_classes: int
) -> Float[Array, ""]:
    """Held-out accuracy on the labels minus that on the control labels, −1 to 1; arguments and NaN as in `probe`."""
    return probe(z_NxD, labels_N, control_labels_N, n_classes).selectivity


def control_labels(tokens_NxL: Integer[Array, "N L"], labels_N: Int[Array, "N"], seed: int = 0) -> Int[Array, "N"]:
    """Labels for the control task: each distinct input gets one label, drawn from the labels' own distribution.

    Args:
        tokens_NxL: integer tokens that identify an input; equal rows are equal inputs.
        labels_N: int32 labels whose frequencies the control labels follow.
        seed: another seed gives another control task.

    Returns:
        int32 control labels of shape N. Two distinct inputs share a hash, hence a label, with probability 2⁻³².
    """
    hash_N = jnp.full(tokens_NxL.shape[:1], seed, jnp.uint32) ^ jnp.uint32(0x9E3779B9)
    # The columns are folded in one by one, each followed by an invertible 32-bit scramble.
    for column in range(tokens_NxL.shape[1]):
        hash_N = _scramble(hash_N ^ _scramble(tokens_NxL[:, column].astype(jnp.uint32) + jnp.uint32(column + 1)))
    rank_N = (hash_N % jnp.uint32(labels_N.shape[0])).astype(jnp.int32)
    return jnp.sort(labels_N)[rank_N].astype(jnp.int32)


def _scramble(word_N: UInt[Array, "N"]) -> UInt[Array, "N"]:
    word_N = (word_N ^ (word_N >> jnp.uint32(16))) * jnp.uint32(0x21F0AAAD)
    word_N = (word_N ^ (word_N >> jnp.uint32(15))) * jnp.uint32(0x735A2D97)
    return word_N ^ (word_N >> jnp.uint32(15))
