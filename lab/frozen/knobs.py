"""The knobs of a frozen study: what each does to published weights, to hidden states, or to the vectors of texts.

A knob is one entry of `KNOBS` and one function. At its neutral value it returns what it was given, unchanged. Kernels
are the matrices of the blocks; embeddings, biases and norms stay as published.

Shape letters: N texts, D width, I inputs, O outputs, M neurons of a block, K = min(I, O).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS, STATES, LAYERS, VECTORS = "weights", "states", "layers", "vectors"
LOW_RANK = "low_rank.removed"
FLOAT = 32  # bits of a weight that is not quantized
Decomposed = tuple[np.ndarray, ...]  # float64[I, K], float64[K], float64[K, O]
Kernels = dict[tuple[str, ...], np.ndarray]  # (block, name) -> float32[I, O]


@dataclass(frozen=True)
class Fitted:
    """What all settings of a knob share: what is fitted on texts that no question is asked of, and decompositions.

    Attributes:
      mean_D, value_D, basis_DxD: float64, of the vectors: their mean, and the eigenvalues of their covariance, largest
        first, with the eigenvectors as columns.
      input_norms: (block, name) -> float64[I], the root mean square of what enters a kernel, over tokens; empty unless
        the knob asks for it.
      decomposed: (block, name) -> the singular value decomposition of a kernel; taken again where it is missing.
    """

    mean_D: np.ndarray
    value_D: np.ndarray
    basis_DxD: np.ndarray
    input_norms: Mapping[tuple[str, ...], np.ndarray]
    decomposed: Mapping[tuple[str, ...], Decomposed] = field(default_factory=dict)


@dataclass(frozen=True)
class FrozenKnob:
    """One knob.

    Attributes:
      name: 'mechanism.setting', as an axis names it.
      neutral, low, high: the value at which nothing happens, and the valid range, both ends included.
      acts_on: `WEIGHTS`, `STATES`, `LAYERS` or `VECTORS`.
      about: one line for a person.
      source: the paper that defines it.
      whole: whether only whole numbers are valid.
      drawn: whether it draws random numbers.
      choices: further settings of the mechanism -> their names, the first one by default.
      apply: of `WEIGHTS`: (kernels, value, fitted, seed, choices) -> kernels; of `VECTORS`: (float64[N, D], value,
        fitted) -> float64[N, D]; of the others None: `lab.frozen.embed` does it while texts are read.
    """

    name: str
    acts_on: str
    about: str
    source: str
    neutral: float = 0.0
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    drawn: bool = False
    choices: Mapping[str, tuple[str, ...]] | None = None
    apply: Callable[..., Any] | None = None


def _prune(kernels: Kernels, amount: float, fitted: Fitted, seed: int, chosen: Mapping[str, str]) -> Kernels:
    return {"magnitude": _by_magnitude, "wanda": _by_wanda, "neurons": _by_neurons}[chosen["score"]](
        kernels, amount, fitted
    )


def _by_magnitude(kernels: Kernels, amount: float, fitted: Fitted) -> Kernels:
    """The smallest weights of all kernels together are zero; of equal ones the first."""
    size = np.concatenate([np.abs(kernel).ravel() for kernel in kernels.values()])
    kept = np.ones(len(size), bool)
    kept[np.argsort(size, kind="stable")[: round(amount * len(size))]] = False
    found, start = {}, 0
    for name, kernel in kernels.items():
        found[name] = np.where(kept[start : start + kernel.size].reshape(kernel.shape), kernel, np.float32(0))
        start += kernel.size
    return found


def _by_wanda(kernels: Kernels, amount: float, fitted: Fitted) -> Kernels:
    """Of each output the inputs with the smallest |weight| × norm of the input are zero."""
    found = {}
    for name, kernel_IxO in kernels.items():
        score_IxO = np.abs(kernel_IxO.astype(np.float64)) * fitted.input_norms[name][:, None]
        out = np.argsort(score_IxO, axis=0, kind="stable")[: round(amount * len(score_IxO))]
        found[name] = kernel_IxO.copy()
        np.put_along_axis(found[name], out, np.float32(0), axis=0)
    return found


def _by_neurons(kernels: Kernels, amount: float, fitted: Fitted) -> Kernels:
    """The neurons of each block with the smallest norm in × norm out answer nothing."""
    found = dict(kernels)
    for block, name in kernels:
        if name == "down":
            norms_M = np.linalg.norm(kernels[block, "up"], axis=0) * np.linalg.norm(kernels[block, "down"], axis=1)
            out = np.argsort(norms_M, kind="stable")[: round(amount * len(norms_M))]
            found[block, "down"] = kernels[block, "down"].copy()
            found[block, "down"][out] = 0
    return found


def decompose(kernel_IxO: np.ndarray) -> Decomposed:
    """The singular value decomposition of a kernel, float64."""
    return tuple(np.linalg.svd(kernel_IxO.astype(np.float64), full_matrices=False))


def _low_rank(kernels: Kernels, removed: float, fitted: Fitted, seed: int, chosen: Mapping[str, str]) -> Kernels:
    """Each kernel at the rank that is left, by its largest singular values; one is the least."""
    found = {}
    for name, kernel_IxO in kernels.items():
        left_IxK, value_K, right_KxO = fitted.decomposed.get(name) or decompose(kernel_IxO)
        rank = max(1, round((1 - removed) * len(value_K)))
        found[name] = ((left_IxK[:, :rank] * value_K[:rank]) @ right_KxO[:rank]).astype(np.float32)
    return found


def _quantize(kernels: Kernels, bits: float, fitted: Fitted, seed: int, chosen: Mapping[str, str]) -> Kernels:
    """Each output's weights on an even grid around 0, its largest one on the last level."""
    levels = 2 ** (int(bits) - 1) - 1
    found = {}
    for name, kernel_IxO in kernels.items():
        step_O = np.abs(kernel_IxO).max(axis=0).astype(np.float64) / levels
        step_O[step_O == 0] = 1
        found[name] = (np.round(kernel_IxO / step_O) * step_O).astype(np.float32)
    return found


def _weight_noise(kernels: Kernels, scale: float, fitted: Fitted, seed: int, chosen: Mapping[str, str]) -> Kernels:
    found = {}
    for index, (name, kernel) in enumerate(kernels.items()):
        draw = np.random.default_rng([seed, index]).normal(size=kernel.shape)
        found[name] = (kernel + scale * np.std(kernel, dtype=np.float64) * draw).astype(np.float32)
    return found


def _whiten(vectors_NxD: np.ndarray, power: float, fitted: Fitted) -> np.ndarray:
    """(z − power·μ) U Λ^(−power/2) Uᵀ: nothing at 0, whitening at 1, in the coordinates of the model."""
    floor = RESOLVED * fitted.value_D[0]
    scale_D = np.maximum(fitted.value_D, floor) ** (-power / 2)
    return (vectors_NxD - power * fitted.mean_D) @ (fitted.basis_DxD * scale_D) @ fitted.basis_DxD.T


RESOLVED = 1e-7  # of the largest eigenvalue: what float32 vectors resolve


def _without_top(vectors_NxD: np.ndarray, count: float, fitted: Fitted) -> np.ndarray:
    """Without the mean and without so many of the first principal directions."""
    top_DxT = fitted.basis_DxD[:, : int(count)]
    centred_NxD = vectors_NxD - fitted.mean_D
    return centred_NxD - (centred_NxD @ top_DxT) @ top_DxT.T


def _without_last(vectors_NxD: np.ndarray, removed: float, fitted: Fitted) -> np.ndarray:
    """Without a share of the principal directions, the last ones; one stays."""
    width = vectors_NxD.shape[1]
    kept_DxT = fitted.basis_DxD[:, : max(1, round((1 - removed) * width))]
    return (vectors_NxD @ kept_DxT) @ kept_DxT.T


SCORES = ("magnitude", "wanda", "neurons")
KNOBS: Mapping[str, FrozenKnob] = {
    knob.name: knob
    for knob in (
        FrozenKnob(
            "prune.amount",
            WEIGHTS,
            "share of weights (or of each block's neurons) set to zero, the least by prune.score",
            "Han et al. 2015, 1506.02626; Sun et al. 2023, 2306.11695",
            choices={"score": SCORES},
            apply=_prune,
        ),
        FrozenKnob(
            LOW_RANK,
            WEIGHTS,
            "share of each kernel's rank removed, the smallest singular values first",
            "Eckart & Young 1936; Denton et al. 2014, 1404.0736",
            apply=_low_rank,
        ),
        FrozenKnob(
            "quantize.bits",
            WEIGHTS,
            f"bits of a weight, rounded on an even grid for each output; {FLOAT}: as published",
            "Jacob et al. 2018, 1712.05877, symmetric, per channel",
            neutral=FLOAT,
            low=2,
            high=FLOAT,
            whole=True,
            apply=_quantize,
        ),
        FrozenKnob(
            "weight_noise.scale",
            WEIGHTS,
            "Gaussian noise on every kernel, in its standard deviations, one draw",
            "definition",
            high=10,
            drawn=True,
            apply=_weight_noise,
        ),
        FrozenKnob(
            "state_noise.scale",
            STATES,
            "Gaussian noise on the residual stream after each block, in root mean squares of a token, one draw a text",
            "definition",
            high=10,
            drawn=True,
        ),
        FrozenKnob(
            "layers.dropped",
            LAYERS,
            "last blocks left out; vectors are the mean over the tokens of what is then the last layer",
            "Fan et al. 2020, 1909.11556; Sajjad et al. 2023, 2004.03844",
            high=64,
            whole=True,
        ),
        FrozenKnob(
            "dimensions.removed",
            VECTORS,
            "share of the vectors' principal directions removed, those of least variance first",
            "Raunak et al. 2019, 1708.03629",
            apply=_without_last,
        ),
        FrozenKnob(
            "top_directions.removed",
            VECTORS,
            "first principal directions removed, and with the first of them the mean",
            "Mu & Viswanath 2018, 1702.01417",
            high=1024,
            whole=True,
            apply=_without_top,
        ),
        FrozenKnob(
            "whitening.power",
            VECTORS,
            "power at which the vectors' covariance is undone: 0 nothing, 1 whitening",
            "Su et al. 2021, 2103.15316",
            apply=_whiten,
        ),
    )
}


def kernels_of(params: Mapping[str, Any]) -> Kernels:
    """The kernels of an encoder's blocks."""
    return {
        (block, name): np.asarray(parts["kernel"])
        for block, parts_of in params.items()
        if block.startswith("block_")
        for name, parts in parts_of.items()
        if "kernel" in parts
    }


def with_kernels(params: Mapping[str, Any], kernels: Kernels) -> dict[str, Any]:
    """An encoder's parameters with other kernels."""
    found = jax.tree.map(lambda leaf: leaf, dict(params))
    for (block, name), kernel in kernels.items():
        found[block][name]["kernel"] = jnp.asarray(kernel)
    return found
