"""Power for a feared truth: what `python -m analysis.simulation.power_cli` counts.

Claims with the feared truth are drawn (`analysis.simulation.simulator`) and judged, by the map of the settings or,
where slopes over the whole range alone can speak (a fall after a rise, a stall), by the slope test (`analysis.stats`).
A share of them is the power, with Wilson's (1927) interval as its Monte Carlo error. u is the knob scaled to [0, 1],
neutral at 0.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from analysis.simulation.map_truths import loss_at
from analysis.simulation.simulator import Curve, Truth, simulate
from analysis.stats import MISMATCHES, map_verdict, setting_map, verdict
from lab.errors import UserError

MISMATCH = "gain and harm at one setting"  # any of the map's verdicts that say so
# What each feared truth should be found as; 'reversal' and 'stall' by the slope test, the others by the map.
EXPECTED = {
    "loss": MISMATCH,
    "cliff": MISMATCH,
    "harm": MISMATCH,
    "flat": "gain for nothing",
    "fall": "reversal",
    "plateau": "stall",
}
BY_SLOPE = ("reversal", "stall")
ABOUT = {
    "loss": "level up to --at, then falls by --fall to the end",
    "cliff": "level up to --at, then falls by --fall within --width, then a floor",
    "harm": "falls by --fall from the first setting on",
    "flat": "level everywhere, while the metric gains",
    "fall": "rises by --rise up to --at, then falls by --fall to the end",
    "plateau": "rises by --rise up to --at, then level",
}
ENOUGH = 0.8


@dataclasses.dataclass(frozen=True)
class PowerPlan:
    """A truth and the test that is to find it.

    Attributes:
      truth: curves and noise.
      expected: what should be found, one of `EXPECTED`'s values.
      reach: where the bound should get to, in u: the last setting up to the break.
      n_settings: K, equal steps.
      trivial, alpha, delta_share: as in `setting_map`.
    """

    truth: Truth
    expected: str
    reach: float
    n_settings: int
    trivial: float
    alpha: float = 0.05
    delta_share: float = 0.05


@dataclasses.dataclass(frozen=True)
class Power:
    """What a number of seeds gives.

    Attributes:
      n_seeds, repetitions: S and the number of simulated claims.
      verdict, bound: shares of claims in which it is found, and whose `shown free until` reaches the break.
      instead: the most frequent other verdict and its share ('' and 0 if there is none).
      error_50, error_90: median and 90th percentile of |break − truth| in u where it was found; NaN if it never was or
        the truth has no break. The map's break is the middle of its interval, and the truth where δ is truly lost.
      covered: share of those whose interval holds the break.
    """

    n_seeds: int
    repetitions: int
    verdict: float
    bound: float
    instead: str
    instead_share: float
    error_50: float
    error_90: float
    covered: float


def ability_curve(kind: str, base: float, at: float, rise: float, fall: float, width: float) -> Curve:
    """A feared truth as a curve of u; `ABOUT` says which.

    Raises:
      UserError: the curve leaves [0, 1], or the break leaves the knob.
    """
    if not 0 < at < 1:
        raise UserError(f"--at={at:g} must lie between 0 and 1: it is the break's place along the scaled knob.")
    if kind == "cliff" and not 0 < width <= 1 - at + 1e-9:
        raise UserError(f"--width={width:g} must be above 0 and at most {1 - at:g}, what --at={at:g} leaves.")
    for flag, value in (("--rise", rise), ("--fall", fall)):
        if value <= 0:
            raise UserError(f"{flag}={value:g} must be above 0.")
    knots = {
        "fall": ([0, at, 1], [0, rise, rise - fall]),
        "loss": ([0, at, 1], [0, 0, -fall]),
        "harm": ([0, 1], [0, -fall]),
        "cliff": ([0, at, min(at + width, 1.0)], [0, 0, -fall]),
        "plateau": ([0, at, 1], [0, rise, rise]),
        "flat": ([0, 1], [0, 0]),
    }
    u, change = knots[kind]
    low, high = base + min(change), base + max(change)
    if low < 0 or high > 1:
        raise UserError(
            f"--truth={kind}: the ability would run from {low:.3g} to {high:.3g}, outside 0 to 1; change --base, --rise"
            " or --fall."
        )
    return lambda u_K: base + np.interp(u_K, u, change)


def measure(plan: PowerPlan, n_seeds: int, repetitions: int, rng_seed: int = 0) -> Power:
    """Judges `repetitions` simulated claims with `n_seeds` seeds each."""
    rng = np.random.default_rng([rng_seed, n_seeds])
    u_K, metrics, abilities = simulate(
        plan.truth, rng, repetitions=repetitions, n_seeds=n_seeds, n_settings=plan.n_settings
    )
    judged = [_judged(plan, u_K, m, a) for m, a in zip(metrics, abilities, strict=True)]
    kinds = collections.Counter(one.kind for one in judged)
    hits = kinds.pop(plan.expected, 0)
    instead, times = kinds.most_common(1)[0] if kinds else ("", 0)
    reached = [one.free_until is not None and one.free_until >= plan.reach - 1e-9 for one in judged]
    by_slope = plan.expected in BY_SLOPE
    true_at = plan.truth.break_at if by_slope else loss_at(plan.truth, plan.trivial, plan.delta_share)
    errors, covered = [np.nan], [np.nan]
    if true_at is not None and np.isfinite(true_at):
        mine = [one for one in judged if one.kind == plan.expected]
        errors = [abs(one.at - true_at) for one in mine if one.at is not None] or errors
        covered = [a - 1e-9 <= true_at <= b + 1e-9 for a, b in (one.between for one in mine if one.between)] or covered
    return Power(
        n_seeds=n_seeds,
        repetitions=repetitions,
        verdict=hits / repetitions,
        bound=float(np.mean(reached)),
        instead=instead,
        instead_share=times / repetitions,
        error_50=float(np.median(errors)),
        error_90=float(np.quantile(errors, 0.9)),
        covered=float(np.mean(covered)),
    )


@dataclasses.dataclass(frozen=True)
class _Judged:
    """One claim: what was found, the last setting shown free, the break and its interval."""

    kind: str
    free_until: float | None
    at: float | None
    between: tuple[float, float] | None


def _judged(plan: PowerPlan, u_K: np.ndarray, metric_SxK: np.ndarray, ability_SxK: np.ndarray) -> _Judged:
    options: dict[str, Any] = dict(trivial=plan.trivial, alpha=plan.alpha, delta_share=plan.delta_share)
    if plan.expected in BY_SLOPE:
        slope = verdict(u_K, metric_SxK, ability_SxK, **options, draws=100)
        return _Judged(slope.kind, slope.shown_free_until, slope.break_at, slope.break_interval)
    mapped = setting_map(u_K, metric_SxK, ability_SxK, **options)
    found = map_verdict(mapped)
    kind = MISMATCH if found.kind in MISMATCHES else found.kind
    return _Judged(kind, mapped.free_until, found.break_at, found.break_interval)


def interval(share: float, repetitions: int) -> tuple[float, float]:
    """Wilson's 95% interval of a simulated share: its Monte Carlo error."""
    found = stats.binomtest(round(share * repetitions), repetitions).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def enough(powers: Sequence[Power], field: str) -> int | None:
    """The fewest simulated seeds from which on every share is at least `ENOUGH`; None where there are none such."""
    few = None
    for one in sorted(powers, key=lambda p: -p.n_seeds):
        if getattr(one, field) < ENOUGH:
            break
        few = one.n_seeds
    return few


def sentence(plan: PowerPlan, powers: Sequence[Power]) -> str:
    """How many seeds reach a power of .8, in one sentence."""
    most = max(p.n_seeds for p in powers)
    verdict_seeds, bound_seeds = enough(powers, "verdict"), enough(powers, "bound")
    said = [
        f"not even {most} seeds do" if seeds is None else f"{seeds} seeds do" for seeds in (verdict_seeds, bound_seeds)
    ]
    return (
        f"To reach power {ENOUGH:g}: for '{plan.expected}' {said[0]};"
        f" for 'shown free until' to reach {plan.reach:.3g} of the knob {said[1]}"
        f" (of {', '.join(str(p.n_seeds) for p in powers)} seeds, {powers[0].repetitions} simulated studies each)."
    )
