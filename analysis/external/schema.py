"""Arrays from elsewhere, checked field by field (docs/npz.md), and the latent metrics of hidden states among them.

Shape letters: S seeds, K settings, N examples, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analysis.metrics import METRICS, measure
from lab.engine.device_grid import lapack_on_one_thread
from lab.errors import UserError, nearest
from lab.values import exact

REQUIRED = ("knob_K", "neutral", "ability_SxK", "trivial")
OPTIONAL = ("seed_S", "alpha", "delta", "hidden_SxKxNxD", "labels_SxKxN", "control_labels_SxKxN")
SIGN, METRIC = "_sign", "_SxK"  # endings: two_nn_sign and two_nn_SxK
LEAST_EXAMPLES = 8


@dataclass(frozen=True)
class Given:
    """Checked arrays, knob and seeds ascending.

    Attributes:
      knob_K, seed_S, ability_SxK: as given, float64; the ability is NaN where a cell is missing.
      neutral_index: 0 or K−1.
      trivial, alpha, delta: numbers.
      signs: metric -> +1 if larger is the claimed gain, else −1.
      ready: metric -> float64[S, K], those that need no hidden states.
      hidden_SxKxNxD, labels_SxKxN, control_labels_SxKxN: float32 and int32; None where not given.
    """

    knob_K: np.ndarray
    seed_S: np.ndarray
    ability_SxK: np.ndarray
    neutral_index: int
    trivial: float
    alpha: float
    delta: float
    signs: dict[str, int]
    ready: dict[str, np.ndarray]
    hidden_SxKxNxD: np.ndarray | None
    labels_SxKxN: np.ndarray | None
    control_labels_SxKxN: np.ndarray | None


def check(arrays: Mapping[str, Any]) -> Given:
    """Check every field.

    Raises:
      UserError: for the first that is missing, unknown, of the wrong shape or out of its range.
    """
    _known(arrays)
    knob_K = _numbers(arrays, "knob_K", (None,))
    n_settings = len(knob_K)
    steps = np.diff(knob_K)
    if not np.isfinite(knob_K).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise UserError(f"knob_K must be finite and strictly ascending or descending, not {_short(knob_K)}.")
    ability_SxK = _numbers(arrays, "ability_SxK", (None, n_settings))
    n_seeds = len(ability_SxK)
    seed_S = _whole(arrays, "seed_S", (n_seeds,)) if "seed_S" in arrays else np.arange(n_seeds)
    if len(set(seed_S.tolist())) < n_seeds:
        raise UserError(f"seed_S must name each seed once, not {_short(seed_S)}.")
    # A study's curves ascend in knob and seed; its resampling follows that order.
    by_seed, by_knob = np.argsort(seed_S), np.argsort(knob_K)
    neutral = _number(arrays, "neutral")
    if neutral not in (knob_K[0], knob_K[-1]):
        raise UserError(f"neutral={exact(neutral)} must be the first or the last of knob_K, {_short(knob_K)}.")
    signs = {name.removesuffix(SIGN): _sign(arrays, name) for name in arrays if name.endswith(SIGN)}

    def ordered(values: np.ndarray) -> np.ndarray:
        return values[by_seed][:, by_knob]

    def labels_if_given(name: str) -> np.ndarray | None:
        shape = (n_seeds, n_settings, n_examples)
        return ordered(_whole(arrays, name, shape)).astype(np.int32) if name in arrays else None

    hidden = None
    if "hidden_SxKxNxD" in arrays:
        hidden = ordered(_numbers(arrays, "hidden_SxKxNxD", (n_seeds, n_settings, None, None), np.float32))
    n_examples = None if hidden is None else hidden.shape[2]
    labels, controls = labels_if_given("labels_SxKxN"), labels_if_given("control_labels_SxKxN")
    ready = {name: ordered(_numbers(arrays, f"{name}{METRIC}", (n_seeds, n_settings))) for name in _ready(arrays)}
    _check_hidden(hidden, labels, controls)
    _check_gains(signs, ready, hidden is not None, labels is not None)
    return Given(
        knob_K=knob_K[by_knob],
        seed_S=seed_S[by_seed],
        ability_SxK=ordered(ability_SxK),
        neutral_index=0 if neutral == knob_K.min() else n_settings - 1,
        trivial=_number(arrays, "trivial"),
        alpha=_share(arrays, "alpha", 0.05),
        delta=_share(arrays, "delta", 0.05),
        signs=signs,
        ready=ready,
        hidden_SxKxNxD=hidden,
        labels_SxKxN=labels,
        control_labels_SxKxN=controls,
    )


def metrics(given: Given) -> dict[str, np.ndarray]:
    """Every claimed metric, float64[S, K]: those given ready, and those measured on the hidden states."""
    hidden, found = given.hidden_SxKxNxD, dict(given.ready)
    missing = [name for name in given.signs if name not in found]
    if hidden is None or not missing:
        return found
    n_seeds, n_settings, n_examples, _ = hidden.shape
    labels = np.zeros(hidden.shape[:3], np.int32) if given.labels_SxKxN is None else given.labels_SxKxN
    controls = given.control_labels_SxKxN
    if controls is None:  # right where every input occurs once: each then has a label of its own
        controls = labels[:, :, np.random.default_rng(0).permutation(n_examples)]
    n_classes = int(max(labels.max(), controls.max())) + 1
    read = jax.jit(lambda *cell: {name: measure(*cell, n_classes=n_classes)[name] for name in missing})
    found |= {name: np.full((n_seeds, n_settings), np.nan) for name in missing}
    with lapack_on_one_thread():
        for s, k in np.ndindex(n_seeds, n_settings):
            cell = jnp.asarray(hidden[s, k]), jnp.asarray(labels[s, k]), jnp.asarray(controls[s, k])
            for name, value in read(*cell).items():
                found[name][s, k] = float(value)
    return found


def cautions(arrays: Mapping[str, Any]) -> list[str]:
    """What makes readings of these hidden states hard to trust."""
    if "hidden_SxKxNxD" not in arrays:
        return []
    *_, n_examples, width = np.shape(arrays["hidden_SxKxNxD"])
    least = max(1024, 8 * width)
    if n_examples >= least:
        return []
    return [f"{n_examples} examples of width {width}: at least {least} are wanted for latent readings to be trusted."]


def _known(arrays: Mapping[str, Any]) -> None:
    for name in REQUIRED:
        if name not in arrays:
            raise UserError(f"{name} is missing; docs/npz.md lists the fields.")
    for name in arrays:
        if name not in (*REQUIRED, *OPTIONAL) and not name.endswith((SIGN, METRIC)):
            raise UserError(f"{name}: no such field. {nearest(name, (*REQUIRED, *OPTIONAL))}")


def _ready(arrays: Mapping[str, Any]) -> list[str]:
    return [name.removesuffix(METRIC) for name in arrays if name.endswith(METRIC) and name != "ability_SxK"]


def _array(arrays: Mapping[str, Any], name: str) -> np.ndarray:
    try:
        values = np.asarray(arrays[name])
    except ValueError:  # a list of rows of different lengths
        raise UserError(f"{name} must be an array of numbers, with rows of one length.") from None
    if values.dtype.kind not in "biuf":
        raise UserError(f"{name} must hold numbers, not {values.dtype}.")
    return values


def _numbers(
    arrays: Mapping[str, Any], name: str, shape: tuple[int | None, ...], dtype: Any = np.float64
) -> np.ndarray:
    """A field's values; None in `shape` is any length from 1."""
    values, letters = _array(arrays, name), name.rpartition("_")[2].split("x")
    same = len(values.shape) == len(shape)
    if not same or any(have == 0 or want not in (None, have) for have, want in zip(values.shape, shape, strict=True)):
        wanted = [letter if want is None else f"{letter}={want}" for letter, want in zip(letters, shape, strict=True)]
        raise UserError(f"{name} must have shape [{', '.join(wanted)}], not {list(values.shape)}.")
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, which reads as missing
        return values.astype(dtype)


def _whole(arrays: Mapping[str, Any], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    values = _numbers(arrays, name, shape)
    if not np.isfinite(values).all() or (values != np.round(values)).any() or np.abs(values).max() >= 2**31:
        raise UserError(f"{name} must hold whole numbers below 2^31.")
    return values.astype(np.int64)


def _number(arrays: Mapping[str, Any], name: str) -> float:
    value = _array(arrays, name)
    if value.size != 1 or not np.isfinite(value).all():
        raise UserError(f"{name} must be one finite number.")
    return float(value.reshape(()))


def _share(arrays: Mapping[str, Any], name: str, default: float) -> float:
    value = _number(arrays, name) if name in arrays else default
    if not 0 < value < 1:
        raise UserError(f"{name}={value:g} must lie between 0 and 1.")
    return value


def _sign(arrays: Mapping[str, Any], name: str) -> int:
    value = _number(arrays, name)
    if value not in (-1, 1):
        raise UserError(f"{name}={value:g} must be 1 (larger is the claimed gain) or -1 (smaller is).")
    return int(value)


def _check_hidden(hidden: np.ndarray | None, labels: np.ndarray | None, controls: np.ndarray | None) -> None:
    if hidden is None:
        for name, values in (("labels_SxKxN", labels), ("control_labels_SxKxN", controls)):
            if values is not None:
                raise UserError(f"{name} is given without hidden_SxKxNxD, which it labels.")
        return
    if hidden.shape[2] < LEAST_EXAMPLES:
        raise UserError(f"hidden_SxKxNxD has {hidden.shape[2]} examples; {LEAST_EXAMPLES} are the least.")
    if controls is not None and labels is None:
        raise UserError("control_labels_SxKxN is given without labels_SxKxN.")
    for name, values in (("labels_SxKxN", labels), ("control_labels_SxKxN", controls)):
        if values is not None and values.min() < 0:
            raise UserError(f"{name} must count classes from 0; the smallest label is {values.min()}.")
        if values is not None and values.max() >= hidden.shape[2]:
            raise UserError(f"{name} must count classes from 0 without gaps; its largest label is {values.max()}.")


def _check_gains(signs: dict[str, int], ready: dict[str, np.ndarray], hidden: bool, labels: bool) -> None:
    if not signs:
        raise UserError("no gain is claimed; name one by its sign, such as two_nn_sign=-1 (docs/npz.md).")
    for name in ready:
        if name not in signs:
            raise UserError(
                f"{name}{SIGN} is missing; say 1 if larger values of {name}{METRIC} are the claimed gain, else -1."
            )
    for name in (name for name in signs if name not in ready):
        if not hidden:
            raise UserError(f"{name}{SIGN} claims a gain without values; give {name}{METRIC}, or hidden_SxKxNxD.")
        if name not in METRICS:
            raise UserError(f"{name}{SIGN}: no such latent metric. {nearest(name, METRICS)}")
        if METRICS[name].needs_labels and not labels:
            raise UserError(f"labels_SxKxN is missing; {name} is about labels.")


def _short(values: np.ndarray) -> str:
    return f"[{', '.join(exact(v) for v in values[:12])}{', …' if len(values) > 12 else ''}]"
