"""Truths that the map of `analysis.stats.setting_map` is measured on, what is true of them, and the rates expected.

Noise is the simulator's. A setting truly gains where the metric's curve is above neutral's; it is truly harmed where
the ability is expected to be lower than neutral's by more than δ, cells that collapse or diverge counted.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from analysis.simulation.simulator import COLLAPSE, TRIVIAL, Condition, Curve, Truth, cliff
from analysis.stats import FINDS_NOTHING, MISMATCHES

SILENT = frozenset(FINDS_NOTHING)
DELTA = 0.05  # of (neutral ability − trivial)
CLIFFS: dict[str, Any] = dict(seed_sd=0.02, slope_sd=0.0, cell_sd=0.01)


def _level_then(fall: float) -> Curve:
    """.8 up to the middle, then lower by `fall` at the end."""
    return lambda u: 0.8 - 2 * fall * np.maximum(0.0, u - 0.5)


def _rises(u: np.ndarray) -> np.ndarray:
    return u


def _saturates(u: np.ndarray) -> np.ndarray:
    return np.minimum(4 * u, 1.0)


def _hump(u: np.ndarray) -> np.ndarray:
    return 4 * u * (1 - u)


def _bottleneck(u: np.ndarray) -> np.ndarray:
    """.97, less by .06 in the middle, then a cliff down to .1."""
    return 0.97 - 0.12 * np.minimum(u, 0.5) - 0.81 * np.clip((u - 0.5) / 0.25, 0.0, 1.0)


def _cliff_under(metric: Curve, start: float = 0.5, width: float = 0.25) -> Truth:
    return dataclasses.replace(cliff(start, width), metric=metric)


@dataclasses.dataclass(frozen=True)
class Mapped:
    """A truth that has a mismatch zone.

    Attributes:
      truth: curves and noise.
      right: true verdicts, the one hoped for first; the others misplace where the zone begins.
      zone, slope: shares expected at S = 5, 6, 8 (SCIENCE.md §2a): with a zone, and with the best verdict of the slope
        test as it was then (200 to 300 repetitions).
    """

    truth: Truth
    right: tuple[str, ...]
    zone: tuple[float, float, float]
    slope: tuple[float, float, float]


_LATE = ("gain, then loss", "gain only after the ability is lost", "harmed from the start")
_EARLY = ("harmed from the start", "gain, then loss", "gain only after the ability is lost")
ZONES: dict[str, Mapped] = {
    "gain u; flat, then -.2": Mapped(Truth(_rises, _level_then(0.2)), _LATE, (0.99, 0.98, 1.0), (0.20, 0.42, 0.49)),
    "gain u; flat, then -.1": Mapped(Truth(_rises, _level_then(0.1)), _LATE, (0.46, 0.41, 0.72), (0.18, 0.41, 0.50)),
    "gain .2u; flat, then -.2": Mapped(
        Truth(lambda u: 0.2 * u, _level_then(0.2)), _LATE, (0.53, 0.53, 0.90), (0.08, 0.32, 0.40)
    ),
    "late gain; -.2": Mapped(
        Truth(lambda u: np.maximum(0.0, 2 * u - 1), _level_then(0.2)), _LATE, (0.98, 0.97, 1.0), (0.15, 0.34, 0.45)
    ),
    "saturating gain; -.2": Mapped(Truth(_saturates, _level_then(0.2)), _LATE, (0.99, 0.98, 1.0), (0.0, 0.01, 0.0)),
    "saturating gain; cliff": Mapped(_cliff_under(_saturates), _LATE, (1.0, 1.0, 1.0), (0.0, 0.04, 0.05)),
    "inverse-U gain; -.2": Mapped(
        Truth(_hump, _level_then(0.2)), (*_LATE, "gains, then loses the gain"), (0.86, 0.86, 1.0), (0.0, 0.0, 0.0)
    ),
    "-.06, then cliff (the bottleneck)": Mapped(
        Truth(_rises, _bottleneck, **CLIFFS), _LATE, (1.0, 1.0, 1.0), (0.0, 0.28, 0.41)
    ),
    "cliff at .5": Mapped(_cliff_under(_rises), _LATE, (1.0, 1.0, 1.0), (0.0, 1.0, 1.0)),
    "falls from the first setting": Mapped(
        Truth(_rises, lambda u: 0.8 - 0.4 * u), _EARLY, (1.0, 1.0, 1.0), (0.64, 0.83, 0.95)
    ),
}
EXPECTED_SEEDS = (5, 6, 8)
EXPECTED_REPETITIONS = 250

_AT_MARGIN = 0.8 - DELTA * (0.8 - TRIVIAL)
NULLS: dict[str, tuple[Truth, tuple[str, ...]]] = {
    "both flat": (Truth(lambda u: 0.0 * u, _level_then(0.0)), ()),
    "gain; ability flat": (Truth(_rises, _level_then(0.0)), ("gain for nothing",)),
    "gain; ability rises": (Truth(_rises, lambda u: 0.4 + 0.4 * u), ("transfers", "gain for nothing")),
    "no gain; -.2": (Truth(lambda u: 0.0 * u, _level_then(0.2)), ()),
    "gain; loss of exactly delta": (Truth(_rises, lambda u: np.where(u > 0, _AT_MARGIN, 0.8)), ()),
    "against; -.2": (Truth(lambda u: -u, _level_then(0.2)), ("moves against the claim",)),
    "gain gone before the loss; -.2": (
        Truth(lambda u: np.maximum(0.0, 1 - np.abs(4 * u - 1)), _level_then(0.2)),
        ("gains, then loses the gain", "gain for nothing"),
    ),
}
"""Truths without a mismatch zone, each with its true verdicts, the one hoped for first."""
# The gain is null wherever harm is true, and harm is exactly δ wherever the gain is true: each can go wrong alone.
WORST = Truth(
    lambda u: np.where((u > 0) & (u <= 0.5), 1.0, 0.0),
    lambda u: np.select([u == 0, u <= 0.5], [0.8, _AT_MARGIN], 0.4),
)
NULL_CONDITIONS: dict[str, Condition] = {
    "plain": Condition(),
    "heavy tails": Condition(freedom=3.0),
    "lost cells": Condition(lost=0.05),
    "geometric": Condition(geometric=True),
    "bimodal": Condition(collapsing=0.1),
    "diverging": Condition(diverging=0.4),
}
# What is true of the slope test's truths in the map's words: it compares with neutral, so a fall after a rise is none.
RIGHT: dict[str, tuple[str, ...]] = {
    "both flat": ("no gain shown",),
    "ability flat": ("gain for nothing",),
    "both linear": ("transfers", "gain for nothing"),
    "both rise, then fall": ("transfers", "gain for nothing"),
    "efficiency exactly rho": ("transfers", "gain for nothing"),
    "smooth saturation": ("transfers", "gain for nothing"),
    "fall of .20, metric flat": ("no gain shown",),
    "plateau": ("transfers", "gain for nothing"),
    "fall of .03 after a rise": ("transfers", "gain for nothing"),
    "fall of .06 after a rise": ("transfers", "gain for nothing"),
    "fall of .20 after a rise": ("transfers", "gain for nothing"),
    "falls from the first setting": _EARLY,
    "cliff at .30": _LATE,
    "cliff at .50": _LATE,
    "flat to .5, then -.2": _LATE,
}
assert set(_LATE) == set(_EARLY) == set(MISMATCHES)


def ability_change_K(truth: Truth, u_K: np.ndarray, condition: Condition) -> tuple[np.ndarray, float]:
    """Expected change of the ability from neutral at each setting, and δ, cells that collapse or diverge counted."""
    ability_K = truth.ability(u_K) - condition.collapsing * COLLAPSE
    ability_K = np.where(u_K > 0.5, ability_K - condition.diverging * (ability_K - TRIVIAL), ability_K)
    return ability_K - ability_K[0], DELTA * (float(ability_K[0]) - TRIVIAL)


def zone_K(truth: Truth, u_K: np.ndarray, condition: Condition) -> np.ndarray:
    """Where a mismatch is true: bool [K]."""
    change_K, delta = ability_change_K(truth, u_K, condition)
    return (truth.metric(u_K) > truth.metric(u_K[:1]) + 1e-12) & (change_K < -delta - 1e-9)


def loss_at(truth: Truth, trivial: float = TRIVIAL, share: float = DELTA) -> float:
    """The least u at which the ability has lost δ, `share` of (neutral − `trivial`); NaN where it never has."""
    u_K = np.linspace(0, 1, 2001)
    ability_K = truth.ability(u_K)
    lost = np.flatnonzero(ability_K - ability_K[0] < -share * (ability_K[0] - trivial) - 1e-9)
    return float(u_K[lost[0]]) if len(lost) else float("nan")
