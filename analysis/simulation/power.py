"""Power of the break test for a feared truth: what `python -m analysis.simulation.power_cli` counts.

Claims with the feared truth are drawn (`analysis.simulation.simulator`) and judged (`analysis.stats.break_test`); a
share of them is the power, with Wilson's (1927) interval as its Monte Carlo error. u is the knob scaled to [0, 1] with
neutral at 0.
"""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from analysis.simulation.simulator import Curve, Truth, simulate
from analysis.stats import verdict
from lab.errors import UserError

# The verdict that each feared truth deserves.
EXPECTED = {
    "fall": "reversal",
    "free": "reversal",
    "cliff": "reversal",
    "plateau": "stall",
    "flat": "never transferred",
}
ABOUT = {
    "fall": "rises by --rise up to --at, then falls by --fall to the end",
    "free": "level up to --at, then falls by --fall to the end",
    "cliff": "level up to --at, then falls by --fall within --width, then a floor",
    "plateau": "rises by --rise up to --at, then level",
    "flat": "level everywhere, while the metric gains",
}
ENOUGH = 0.8


@dataclasses.dataclass(frozen=True)
class PowerPlan:
    """A truth and the test that is to find it.

    Attributes:
      truth: curves and noise.
      expected: the verdict that the truth deserves.
      reach: where the bound should get to, in u: the last setting up to the break.
      n_settings: K, equal steps.
      trivial, alpha, delta_share: as in `break_test.verdict`.
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
      verdict, bound: shares of claims that get the expected verdict, and whose `shown free until` reaches the break.
      instead: the most frequent other verdict and its share ('' and 0 if there is none).
      error_50, error_90: median and 90th percentile of |break − truth| in u where the verdict was given; NaN if it
        never was or the truth has no break.
      covered: share of those whose 95% interval holds the break.
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
        "free": ([0, at, 1], [0, 0, -fall]),
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
    verdicts = [
        verdict(u_K, m, a, trivial=plan.trivial, alpha=plan.alpha, delta_share=plan.delta_share, draws=100)
        for m, a in zip(metrics, abilities, strict=True)
    ]
    kinds = collections.Counter(v.kind for v in verdicts)
    hits = kinds.pop(plan.expected, 0)
    instead, times = kinds.most_common(1)[0] if kinds else ("", 0)
    reached = [v.shown_free_until is not None and v.shown_free_until >= plan.reach - 1e-9 for v in verdicts]
    true_at = plan.truth.break_at
    located = [
        (abs(v.break_at - true_at), v.break_interval[0] <= true_at <= v.break_interval[1])
        for v in verdicts
        if v.kind == plan.expected and v.break_at is not None and v.break_interval and true_at is not None
    ]
    errors, covered = np.array(located or [(np.nan, np.nan)], float).T
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
        f"To reach power {ENOUGH:g}: for the verdict '{plan.expected}' {said[0]};"
        f" for 'shown free until' to reach {plan.reach:.3g} of the knob {said[1]}"
        f" (of {', '.join(str(p.n_seeds) for p in powers)} seeds, {powers[0].repetitions} simulated studies each)."
    )
