"""How the break test errs, and what it finds, when design and noise are not the plain ones: table 3 of
`python -m analysis.simulation`.

For each simulated truth a set of verdicts is right; `SILENT` ones claim nothing and are never false; every other
verdict is a false one.
"""

import collections
import dataclasses

import numpy as np
from scipy import stats

from analysis.simulation.simulator import CONDITIONS, TRIVIAL, TRUTHS, simulate
from analysis.stats import verdict

# These say that something is not shown.
SILENT = frozenset({"not learned", "underpowered", "no latent gain"})
# True verdicts, the one hoped for first; the others say something that is true but less. A plateau, or a small fall
# after a large rise, does rise over the whole range; a smooth saturation does lose efficiency on the metric's scale.
RIGHT: dict[str, tuple[str, ...]] = {
    "both flat": ("no latent gain",),
    "ability flat": ("never transferred",),
    "both linear": ("transfers",),
    "both rise, then fall": ("no latent gain",),
    "efficiency exactly rho": ("transfers",),
    "smooth saturation": ("transfers", "scale-dependent"),
    "fall of .20, metric flat": ("no latent gain",),
    "plateau": ("stall", "scale-dependent", "transfers"),
    "fall of .03 after a rise": ("reversal", "stall", "scale-dependent", "transfers"),
    "fall of .06 after a rise": ("reversal", "stall", "scale-dependent", "transfers"),
    "fall of .20 after a rise": ("reversal", "stall", "scale-dependent"),
    "falls from the first setting": ("harms from the start",),
    "cliff at .30": ("reversal",),
    "cliff at .50": ("reversal",),
    "flat to .5, then -.2": ("reversal",),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What one truth gave under one condition.

    Attributes:
      condition, truth: their names in `CONDITIONS` and `TRUTHS`.
      n_seeds, n_settings, repetitions: S, K and the number of simulated claims.
      power: share of claims that get the verdict hoped for.
      false: share of each false verdict, the most frequent first.
      free_wrong, harmful_wrong: share of claims whose bound contradicts the truth.
    """

    condition: str
    truth: str
    n_seeds: int
    n_settings: int
    repetitions: int
    power: float
    false: dict[str, float]
    free_wrong: float
    harmful_wrong: float


def measure(
    name: str, condition: str, repetitions: int, n_seeds: int = 8, n_settings: int = 9, rng_seed: int = 0
) -> Row:
    """Judges `repetitions` simulated claims of a truth under a condition, at α = .05 before the union factor."""
    truth = TRUTHS[name]
    rng = np.random.default_rng([rng_seed, list(TRUTHS).index(name), list(CONDITIONS).index(condition)])
    u_K, metrics, abilities = simulate(
        truth,
        rng,
        repetitions=repetitions,
        n_seeds=n_seeds,
        n_settings=n_settings,
        condition=CONDITIONS[condition],
    )
    # Nothing here reads the break's interval, so it is resampled hardly at all.
    verdicts = [verdict(u_K, m, a, trivial=TRIVIAL, draws=2) for m, a in zip(metrics, abilities, strict=True)]
    counts = collections.Counter(v.kind for v in verdicts)
    true = SILENT.union(RIGHT[name])
    worse_K = truth.ability(u_K) - truth.ability(u_K[:1])
    free_wrong = harmful_wrong = 0
    for v in verdicts:
        if v.shown_free_until is not None:
            free_wrong += bool((worse_K[u_K <= v.shown_free_until] < -v.delta).any())
        if v.shown_harmful_from is not None:
            harmful_wrong += bool((worse_K[u_K >= v.shown_harmful_from] > -v.delta).any())
    return Row(
        condition,
        name,
        n_seeds,
        n_settings,
        repetitions,
        counts[RIGHT[name][0]] / repetitions,
        {kind: n / repetitions for kind, n in counts.most_common() if kind not in true},
        free_wrong / repetitions,
        harmful_wrong / repetitions,
    )


def too_often(share: float, repetitions: int, alpha: float = 0.05) -> bool:
    """Whether a rate is above α by more than Monte Carlo error: exact binomial test at .005."""
    return bool(stats.binom.sf(round(share * repetitions) - 1, repetitions, alpha) < 0.005)


def errors_apart(measured: float, repetitions: int, expected: float, expected_repetitions: int) -> float:
    """Difference of two measured rates in standard errors, each rate shrunk towards ½ so that 0 and 1 have an error."""
    pooled = (measured * repetitions + expected * expected_repetitions + 1) / (repetitions + expected_repetitions + 2)
    variance = pooled * (1 - pooled) * (1 / repetitions + 1 / expected_repetitions)
    return (measured - expected) / float(np.sqrt(variance))


def line(row: Row) -> str:
    """The row as text; what errs too often has an exclamation mark."""

    def rate(share: float) -> str:
        return f"{share:.3f}{'!' if too_often(share, row.repetitions) else ' '}"

    false = ", ".join(f"{kind} {rate(share).strip()}" for kind, share in row.false.items()) or "-"
    return (
        f"{row.condition:14s} {row.n_seeds:2d} {row.n_settings:3d}  {row.truth:29s} {row.power:.3f}"
        f"  {rate(row.free_wrong)}      {rate(row.harmful_wrong)}         {false}"
    )


HEADER = "condition       S   K  truth                         right  free wrong  harmful wrong  false verdicts"
