"""How many nats about the label can a linear-softmax reader extract? V-information (Xu et al. 2020, 2002.10689).

I_V(T→Y) = H_V(Y) − H_V(Y|T), both estimated as log-loss on the held-out half. The family V is the softmax of
log-frequencies + W·t + c, with L2 on W and c; at W = c = 0 it ignores T and is exactly the reader behind H_V(Y).

Features are whitened on the train half (see `analysis.metrics.probes`), which makes the reading neutral to invertible
linear maps, and bounds the curvature by 1/2: so accelerated gradient descent with constant steps provably converges in
a fixed number of iterations, without a line search. Directions that the train half does not resolve are dropped: with
40 inputs at Zipf frequencies some occur in the held-out half only, and what those hold in such directions, blown up,
once read as −1 to −40 nats.

The strength of the L2 is the best of four on a split inside the train half. One fixed strength cannot serve: for
labels independent of 64 features (16 classes, 512 train examples) the light ones that suit informative cells read −1 to
−2 nats, and a collapse from 64 to few noise features would then look like a gain in information.

Shape letters: H train examples, M held out, D hidden width, K = min(H, D), C classes.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from analysis.metrics.geometry import Cloud, centre, matmul, or_nan
from analysis.metrics.probes import Halves, split_halves, whitened_halves
from analysis.metrics.separation import Classes, classes

L2_STRENGTHS = (0.003, 0.02, 0.15, 1.0)
FIT_STEPS = 150
# A fit ends before its last step when what is provably left of its gap is this share: less than float32 resolves.
GAP_LEFT = 1e-8
# Half a pseudo-count a class (Krichevsky & Trofimov): a class unseen in the train half keeps a finite log-loss.
PSEUDO_COUNT = 0.5


def log_frequencies(indicator_HxC: Float[Array, "H C"]) -> Float[Array, "C"]:
    """Smoothed log-frequencies of the classes."""
    count_C = jnp.sum(indicator_HxC, axis=0) + PSEUDO_COUNT
    return jnp.log(count_C) - jnp.log(jnp.sum(count_C))


def _with_constant(features_HxK: Float[Array, "H K"]) -> Float[Array, "H K+1"]:
    return jnp.concatenate([features_HxK, jnp.ones((features_HxK.shape[0], 1), jnp.float32)], axis=1)


def fit_logistic(
    features_HxK: Float[Array, "H K"],
    indicator_HxC: Float[Array, "H C"],
    base_C: Float[Array, "C"],
    l2: Float[Array, ""],
    steps: int = FIT_STEPS,
    largest: Float[Array, ""] | float = 1.0,
) -> Float[Array, "K+1 C"]:
    """Weights (K+1)×C, the constant last, that minimize mean log-loss + l2/2·(‖W‖² + ‖c‖²) around the logits `base_C`.

    Nesterov's method for a strongly convex function. Its steps are right for features whose second moments, those of
    the constant among them, have no eigenvalue above `largest`: that bounds the curvature by largest/2 + l2 (Böhning
    1992). Centred ones with covariance at most the identity need no more than 1. A step leaves 1 − √(l2/curvature) of
    the gap, so strong penalties take few: `steps` is the most.
    """
    h = features_HxK.shape[0]
    curvature = 0.5 * largest + l2
    root = jnp.sqrt(l2 / curvature)
    momentum = (1 - root) / (1 + root)
    enough = jnp.minimum(jnp.ceil(math.log(GAP_LEFT) / jnp.log1p(-root)), steps).astype(jnp.int32)
    # Examples run last: on a CPU XLA takes twice as long over a softmax along the last axis, of few classes.
    design_HxJ = _with_constant(features_HxK)
    design_JxH, target_CxH = design_HxJ.T, indicator_HxC.T

    def step(_, state):
        weight_CxJ, ahead_CxJ = state
        share_CxH = jax.nn.softmax(matmul(ahead_CxJ, design_JxH) + base_C[:, None], axis=0)
        slope_CxJ = matmul(share_CxH - target_CxH, design_HxJ) / h + l2 * ahead_CxJ
        next_CxJ = ahead_CxJ - slope_CxJ / curvature
        return next_CxJ, next_CxJ + momentum * (next_CxJ - weight_CxJ)

    start_CxJ = jnp.zeros((indicator_HxC.shape[1], design_HxJ.shape[1]), jnp.float32)
    return lax.fori_loop(0, enough, step, (start_CxJ, start_CxJ))[0].T


def log_loss(
    weight_JxC: Float[Array, "J C"],
    features_MxK: Float[Array, "M K"],
    indicator_MxC: Float[Array, "M C"],
    base_C: Float[Array, "C"],
) -> Float[Array, ""]:
    """Mean log-loss in nats."""
    logit_MxC = matmul(_with_constant(features_MxK), weight_JxC) + base_C[None, :]
    return -jnp.mean(jnp.sum(indicator_MxC * jax.nn.log_softmax(logit_MxC, axis=1), axis=1))


def select_l2(
    train_HxK: Float[Array, "H K"], indicator_HxC: Float[Array, "H C"], resolution: Float[Array, ""]
) -> Float[Array, ""]:
    """The strength whose fit on the first half of the train half has the least log-loss on its second half."""
    q = train_HxK.shape[0] // 2
    inner = whitened_halves(train_HxK[:q], train_HxK[q:], resolution)
    base_C = log_frequencies(indicator_HxC[:q])

    def loss(l2: Float[Array, ""]) -> Float[Array, ""]:
        weight_JxC = fit_logistic(inner.train_HxK, indicator_HxC[:q], base_C, l2)
        return log_loss(weight_JxC, inner.test_MxK, indicator_HxC[q:], base_C)

    strengths = jnp.asarray(L2_STRENGTHS, jnp.float32)
    return strengths[jnp.argmin(lax.map(loss, strengths))]  # one by one: each takes as many steps as it needs


def v_information_of(halves: Halves, groups: Classes) -> Float[Array, ""]:
    """`v_information` from prepared halves."""
    h = halves.train_HxK.shape[0]
    train_HxC, test_MxC = groups.indicator_NxC[:h], groups.indicator_NxC[h:]
    base_C = log_frequencies(train_HxC)
    # Whitened features have unit variance already, so the inner whitening needs a floor of rounding size only.
    l2 = select_l2(halves.train_HxK, train_HxC, jnp.float32(1e-3))
    weight_JxC = fit_logistic(halves.train_HxK, train_HxC, base_C, l2)
    ignorant = -jnp.mean(jnp.sum(test_MxC * base_C[None, :], axis=1))
    return or_nan(groups.valid, ignorant - log_loss(weight_JxC, halves.test_MxK, test_MxC, base_C))


def v_information(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Float[Array, ""]:
    """V-information about the label in nats, V a softmax of linear functions of Z.

    About log C at most; slightly negative (overfitting) where Z says nothing. No reader of the family can do worse than
    ignore T, so a reading below 0 is an error of the estimate and is never evidence. The halves are those of
    `analysis.metrics.probes`: where the same inputs occur in both, this is information about inputs already seen,
    inherently.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8, examples in random order.
        labels_N: int32 labels in 0..n_classes−1.
        n_classes: static number of classes.

    Returns:
        float32 scalar; NaN with fewer than two classes or a label out of range, and for a cell with a non-finite entry
        or without spread.
    """
    cloud: Cloud = centre(z_NxD)
    return or_nan(cloud.valid, v_information_of(split_halves(cloud), classes(labels_N, n_classes)))
