"""In how few nats can labels be sent to someone who has the hidden states? The MDL probe's online code (2003.12298).

Labels are sent block by block, in the fixed order of the examples: the first block by the uniform code, each later one
by a probe fitted to all blocks before it. A reading is good if it is easy to extract, from few examples as well, where
accuracy asks only whether it can be extracted from many.

Sender and receiver both have the states of all examples (not their labels), so features are whitened over all of them:
the code is neutral to invertible linear maps. The probe is the one of `analysis.metrics.v_information`. Its strength of
L2 is, for each block, the one whose codes of the blocks before were the shortest: both sides know it, so it costs no
bits.

Shape letters: N examples, T examples sent, D hidden width, K = min(N, D), C classes, B blocks after the first, S
strengths.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from analysis.metrics.geometry import centre, matmul, or_nan, spectrum, whitening
from analysis.metrics.separation import classes
from analysis.metrics.v_information import L2_STRENGTHS, fit_logistic, log_frequencies, log_loss

# The paper's blocks double too, from a thousandth of its many examples.
FIRST_BLOCK = 16
# Few examples leave a worse conditioned fit than whitened halves do.
CODE_STEPS = 300


class Code(NamedTuple):
    """`codelength` of all N labels in nats, and `compression`, how many times shorter it is than the uniform code."""

    codelength: Float[Array, ""]
    compression: Float[Array, ""]


def block_ends(n: int) -> tuple[int, ...]:
    """Where blocks end: n halved again and again, down to `FIRST_BLOCK` at the least."""
    ends = [n]
    while ends[0] // 2 >= FIRST_BLOCK:
        ends.insert(0, ends[0] // 2)
    return tuple(ends)


def _block_codes(
    white_NxK: Float[Array, "N K"], indicator_NxC: Float[Array, "N C"], sent: int, end: int
) -> Float[Array, "S"]:
    """Nats of the labels from `sent` to `end` after a fit to those before, for each strength: float32[S]."""
    seen_TxK, seen_TxC = white_NxK[:sent], indicator_NxC[:sent]
    base_C = log_frequencies(seen_TxC)
    # Whitened over all examples, not over these: what bounds the curvature has to be found.
    ones_Tx1 = jnp.ones((sent, 1), jnp.float32)
    design_TxJ = jnp.concatenate([seen_TxK, ones_Tx1], axis=1)
    largest = jnp.linalg.eigvalsh(matmul(design_TxJ.T, design_TxJ) / sent)[-1]

    def code(l2: Float[Array, ""]) -> Float[Array, ""]:
        weight_JxC = fit_logistic(seen_TxK, seen_TxC, base_C, l2, CODE_STEPS, largest)
        return (end - sent) * log_loss(weight_JxC, white_NxK[sent:end], indicator_NxC[sent:end], base_C)

    return lax.map(code, jnp.asarray(L2_STRENGTHS, jnp.float32))


def mdl_probe(z_NxD: Float[Array, "N D"], labels_N: Int[Array, "N"], n_classes: int) -> Code:
    """Online codelength of the labels given the states (Voita & Titov 2020, 2003.12298), with a logistic probe.

    Blocks end at N, N/2, N/4 … down to `FIRST_BLOCK` examples. With fewer than twice as many examples as that, all is
    sent by the uniform code.

    Traps: the order of the examples is part of the code (the same for all cells of a seed); inputs that come again are
    cheap the second time, whatever the factor: compare with the code of control labels. In proportion to N: compare at
    equal N.

    Args:
        z_NxD: hidden states of one cell, float32, N ≥ 8, examples in random order.
        labels_N: int32 labels in 0..n_classes−1.
        n_classes: static number of classes.

    Returns:
        `Code(codelength, compression)`, float32: nats, and N·log C / nats: about 1 without information. NaN with fewer
        than two classes or a label out of range, and for a cell with a non-finite entry or without spread.
    """
    cloud, groups, n = centre(z_NxD), classes(labels_N, n_classes), z_NxD.shape[0]
    white_NxK = matmul(cloud.points_NxD, whitening(spectrum(cloud.points_NxD), n, cloud.resolution))
    uniform, ends = jnp.log(jnp.float32(n_classes)), block_ends(n)
    total = ends[0] * uniform
    so_far_S = jnp.zeros(len(L2_STRENGTHS), jnp.float32)
    for sent, end in itertools.pairwise(ends):
        codes_S = _block_codes(white_NxK, groups.indicator_NxC, sent, end)
        # Where all are alike, as before the first fit, the strongest.
        best = len(L2_STRENGTHS) - 1 - jnp.argmin(so_far_S[::-1])
        total, so_far_S = total + codes_S[best], so_far_S + codes_S
    defined = cloud.valid & groups.valid
    return Code(or_nan(defined, total), or_nan(defined, n * uniform / total))
