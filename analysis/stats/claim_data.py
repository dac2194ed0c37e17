"""One claim's data, ready to be tested: the p-values of every verdict, and the bounds "free until" and "harmful from".

`analysis.stats.break_test` reads its verdict off these. Every test is one of paired contrasts by sign flips
(`analysis.stats.sign_flip`). A study that grows has one `ClaimData` for each look, and each look spends a share of α.

Words: S seeds, K settings, B candidate breaks; u is the knob scaled to [0, 1] with neutral at 0.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from analysis.stats.sign_flip import (
    Contrasts,
    intersection_union,
    log_metric,
    rank_metric,
    sign_flip_p,
    without_rounding,
)


@dataclasses.dataclass(frozen=True)
class InterimLook:
    """One look at a study that grows.

    Attributes:
      seeds_S: bool[S], the seeds there were.
      share: of α, spent at this look; the shares of all looks planned add up to 1.
    """

    seeds_S: Bool[np.ndarray, "S"]
    share: float


@dataclasses.dataclass(frozen=True)
class ClaimData:
    """The data of one claim, neutral first, metric and ability each divided by their largest size.

    The division changes no test (all are free of units) and keeps squares of extreme inputs finite. `delta` and
    `trivial` are in the divided units; `unit` and `metric_unit` turn them back.
    """

    knob_K: Float[np.ndarray, "K"]
    u_K: Float[np.ndarray, "K"]
    metric_SxK: Float[np.ndarray, "S K"]
    ability_SxK: Float[np.ndarray, "S K"]
    trivial: float
    delta: float
    neutral: float
    unit: float
    metric_unit: float
    removed: tuple[tuple[int, int], ...]

    @property
    def contrasts(self) -> Contrasts:
        """Per-seed slopes before and after every candidate break."""
        return Contrasts.of(self.u_K, self.metric_SxK, self.ability_SxK)

    def of_seeds(self, seeds_S: Bool[np.ndarray, "S"], delta_share: float, delta: float | None) -> "ClaimData":
        """The claim's data of some seeds, with their own neutral ability and δ (a share of it, unless given)."""
        ability_SxK = self.ability_SxK[seeds_S]
        neutral = _mean_neutral(ability_SxK)
        margin = delta_share * (neutral - self.trivial) if delta is None else delta / self.unit
        part = dict(metric_SxK=self.metric_SxK[seeds_S], ability_SxK=ability_SxK, neutral=neutral, delta=margin)
        return dataclasses.replace(self, **part)


def _mean_neutral(ability_SxK: Float[np.ndarray, "S K"]) -> float:
    """Mean ability of the neutral cells, NaN where there is none."""
    there_S = np.isfinite(ability_SxK[:, 0])
    return float(ability_SxK[there_S, 0].mean()) if there_S.any() else float("nan")


def prepare(
    knob: ArrayLike,
    metric: ArrayLike,
    ability: ArrayLike,
    trivial: float,
    neutral_index: int,
    delta_share: float,
    delta: float | None,
) -> ClaimData:
    """Checks shapes and values, puts neutral first, and marks what is missing as NaN.

    Args:
      knob, metric, ability: numbers [K], [S, K] and [S, K]; the other arguments as of `break_test.verdict`.

    Raises:
      ValueError: shapes disagree, the knob is out of order, or a number is out of its range.
    """
    knob_K, metric_SxK, ability_SxK = (np.array(x, float) for x in (knob, metric, ability))
    n_settings = len(knob_K) if knob_K.ndim == 1 else 0
    if n_settings < 1 or ability_SxK.ndim != 2 or ability_SxK.shape[1] != n_settings or not len(ability_SxK):
        raise ValueError(
            f"knob {knob_K.shape} and ability {ability_SxK.shape} must be [K] and [S, K], S and K at least 1"
        )
    if metric_SxK.shape != ability_SxK.shape:
        raise ValueError(f"metric {metric_SxK.shape} and ability {ability_SxK.shape} must have one shape [S, K]")
    steps = np.diff(knob_K / (np.abs(knob_K).max() or 1.0))
    if not np.isfinite(knob_K).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(f"knob values must be finite and in strict order, not {knob_K.tolist()}")
    if neutral_index not in (0, -1, n_settings - 1):
        raise ValueError(f"neutral_index must be 0 or {n_settings - 1} (an end of the knob), not {neutral_index}")
    if not np.isfinite(trivial) or delta_share <= 0 or (delta is not None and not 0 < delta < np.inf):
        raise ValueError(f"trivial {trivial} must be finite, delta_share {delta_share} and delta {delta} positive")
    lost_SxK = ~(np.isfinite(metric_SxK) & np.isfinite(ability_SxK))
    removed = tuple((int(s), int(k)) for s, k in np.argwhere(lost_SxK))
    if neutral_index != 0:
        knob_K, metric_SxK, ability_SxK = knob_K[::-1], metric_SxK[:, ::-1], ability_SxK[:, ::-1]
    metric_SxK, metric_unit = _divided(metric_SxK)
    ability_SxK, unit = _divided(ability_SxK, floor=abs(trivial))
    scaled_K = knob_K / (np.abs(knob_K).max() or 1.0)
    u_K = (scaled_K - scaled_K[0]) / ((scaled_K[-1] - scaled_K[0]) or 1.0)
    neutral = _mean_neutral(ability_SxK)
    margin = delta_share * (neutral - trivial / unit) if delta is None else delta / unit
    return ClaimData(
        knob_K, u_K, metric_SxK, ability_SxK, trivial / unit, float(margin), neutral, unit, metric_unit, removed
    )


def _divided(values_SxK: Float[np.ndarray, "S K"], floor: float = 0.0) -> tuple[Float[np.ndarray, "S K"], float]:
    """Values over their largest size (or `floor`), non-finite ones as NaN, and the divisor."""
    present_SxK = np.isfinite(values_SxK)
    unit = float(np.abs(values_SxK[present_SxK]).max(initial=floor)) or 1.0
    return np.where(present_SxK, values_SxK, np.nan) / unit, unit


def _tests(
    claim: ClaimData, contrasts: Contrasts, rho: float, rng_seed: int
) -> dict[str, tuple[float, dict[str, float]]]:
    """Every verdict's p-value and those of its components."""
    full, early = contrasts.ability_full_Sx1, slice(0, 1)
    change_Sx1 = contrasts.ability_before_SxB[:, early] * contrasts.reach_B[early]
    rise = {"metric rises": contrasts.metric_full_Sx1}
    given = contrasts.stall_parts(rho)
    rescaled = {}
    for name, re_express in (("log ", log_metric), ("rank ", rank_metric)):
        again = Contrasts.of(claim.u_K, re_express(claim.metric_SxK), claim.ability_SxK)
        rescaled |= again.stall_parts(rho, name)
    within = {
        "ability falls by less than delta": full + claim.delta,
        "ability rises by less than delta": claim.delta - full,
    }
    parts = {
        "learned": {"neutral beats trivial": claim.ability_SxK[:, :1] - claim.trivial},
        "latent gain": rise,
        "harms from the start": {"ability falls by more than delta": -change_Sx1 - claim.delta},
        "reversal": contrasts.reversal_parts(claim.delta),
        "stall": given | rescaled,
        "stall, metric as given": given,
        "never transferred": rise | within,
        "transfers": rise | {"ability rises": full},
    }
    return {name: intersection_union(part, rng_seed) for name, part in parts.items()}


def tests_over(
    looks: Sequence[tuple[ClaimData, float]], rho: float, rng_seed: int
) -> dict[str, tuple[float, dict[str, float]]]:
    """`_tests` at every look, p over the look's share of α, the smallest of each verdict; empty if none can be made."""
    found: dict[str, tuple[float, dict[str, float]]] = {}
    for claim, share in looks:
        for name, (p, parts) in _tests(claim, claim.contrasts, rho, rng_seed).items() if learns(claim) else ():
            spent = min(1.0, p / share), {part: min(1.0, each / share) for part, each in parts.items()}
            if name not in found or spent[0] <= found[name][0]:
                found[name] = spent
    return found


def learns(claim: ClaimData) -> bool:
    """Whether neutral's mean ability is above the trivial baseline; False where there is no neutral cell."""
    return claim.neutral > claim.trivial


def bounds(looks: Sequence[tuple[ClaimData, float]], alpha: float, rng_seed: int) -> tuple[int | None, int | None]:
    """The last setting shown free and the first shown harmful, as indices; each look comes with its share of α.

    Fixed sequences: free walks out from neutral, harmful walks in from the last setting that has data, and each stops
    at its first failure, which keeps each walk's error at α without a correction. Only abilities matter here.
    """
    n_settings = len(looks[0][0].knob_K)
    harmless_K, harmful_K, testable = np.zeros(n_settings, bool), np.zeros(n_settings, bool), False
    for claim, share in looks:
        change_SxK = claim.ability_SxK - claim.ability_SxK[:, :1]
        testable |= 2.0 ** -int(np.isfinite(change_SxK[:, 0]).sum()) <= alpha * share
        if learns(claim):
            for shown_K, contrast_SxK in ((harmless_K, change_SxK), (harmful_K, -change_SxK)):
                margin = claim.delta if shown_K is harmless_K else -claim.delta
                p_K = sign_flip_p(without_rounding(contrast_SxK + margin), corrected=False, rng_seed=rng_seed)
                shown_K |= p_K <= alpha * share
    if not testable:
        return None, None
    free = int(np.argmin(np.append(harmless_K, False))) - 1
    there_SxK = np.isfinite(looks[-1][0].ability_SxK - looks[-1][0].ability_SxK[:, :1])
    last = int(np.flatnonzero(there_SxK.any(axis=0))[-1])
    harmful_from = last + 1 - int(np.argmin(np.append(harmful_K[last::-1], False)))
    return max(free, 0), harmful_from if harmful_from <= last else None
