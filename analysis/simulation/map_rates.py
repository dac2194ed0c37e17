"""What the map finds and how often it errs, on simulated truths: `python -m analysis.simulation --table=map`.

Every rate is a share of simulated claims. A zone is a setting of gain and harm (`analysis.stats.setting_map`); a false
one lies where the truth has no gain or no harm. A verdict is false where it is neither in the truth's set of true ones
nor one that finds nothing.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from analysis.design import interim
from analysis.simulation.map_truths import (
    EXPECTED_REPETITIONS,
    EXPECTED_SEEDS,
    NULL_CONDITIONS,
    NULLS,
    SILENT,
    WORST,
    ZONES,
    zone_K,
)
from analysis.simulation.scenarios import errors_apart, too_often
from analysis.simulation.simulator import PLAIN, TRIVIAL, Condition, Truth, simulate
from analysis.stats import MISMATCHES, MapVerdict, SettingMap, family, map_verdict, setting_map, verdict

SLOPE_FINDS = ("reversal", "stall", "harms from the start")
STUDIES, ABILITIES, GAINS = 40, 4, 3  # of whole studies with nothing planted
NULL_SEEDS = (5, 6, 8, 12)


@dataclasses.dataclass(frozen=True)
class MapRates:
    """What one truth gave.

    Attributes:
      repetitions: simulated claims.
      zone: share with gain and harm at one setting.
      false_zone: share with such a setting where the truth has no gain or no harm.
      slope: share in which the slope test finds a reversal, a stall or harm from the start; NaN where it was not asked.
      first: 5th, 50th and 95th percentile of the first setting of the zone, in u; NaN without any.
      verdicts: how often each verdict was given.
      false: share with a false verdict.
    """

    repetitions: int
    zone: float
    false_zone: float
    slope: float
    first: tuple[float, float, float]
    verdicts: collections.Counter[str]
    false: float


def maps(
    truth: Truth, condition: Condition, repetitions: int, n_seeds: int, n_settings: int, rng: np.random.Generator
) -> Iterator[tuple[SettingMap, np.ndarray, np.ndarray]]:
    """(map, metric [S, K], ability [S, K]) of so many simulated claims; NaN where a cell is lost or diverged."""
    u_K, metrics, abilities = simulate(
        truth, rng, repetitions=repetitions, n_seeds=n_seeds, n_settings=n_settings, condition=condition
    )
    for metric_SxK, ability_SxK in zip(metrics, abilities, strict=True):
        diverged_SxK = np.isnan(ability_SxK) if condition.diverging else None
        found = setting_map(u_K, metric_SxK, ability_SxK, trivial=TRIVIAL, diverged_SxK=diverged_SxK)
        yield found, metric_SxK, ability_SxK


def measure(
    truth: Truth,
    right: Sequence[str],
    repetitions: int,
    n_seeds: int = 8,
    n_settings: int = 9,
    condition: Condition = PLAIN,
    rng_seed: Sequence[int] = (0,),
    slope: int = 0,
) -> MapRates:
    """Maps `repetitions` simulated claims at α = .05.

    Args:
      truth: curves and noise.
      right: the true verdicts; a mismatch is one, too, where the condition harms the truth's gain.
      repetitions, n_seeds, n_settings, condition: of the simulation.
      rng_seed: numbers that fix the draws, together with the number of seeds.
      slope: how many of the claims to put to the slope test, too, which takes six times as long.
    """
    zones, found, by_slope, u_K = [], [], 0, np.zeros(n_settings)
    rng = np.random.default_rng([*rng_seed, n_seeds])
    claims = maps(truth, condition, repetitions, n_seeds, n_settings, rng)
    for place, (mapped, metric_SxK, ability_SxK) in enumerate(claims):
        zones.append(mapped.shown("gain") & mapped.shown("harmed"))
        found.append(map_verdict(mapped).kind)
        if place < slope:
            judged = verdict(mapped.knob_K, metric_SxK, ability_SxK, trivial=TRIVIAL, draws=2)
            by_slope += judged.kind in SLOPE_FINDS
        u_K = mapped.knob_K
    zone_RxK, true_K = np.array(zones), zone_K(truth, u_K, condition)
    true = SILENT.union(right, MISMATCHES if true_K.any() else ())
    hit_R = zone_RxK.any(axis=1)
    low, middle, high = np.nan, np.nan, np.nan
    if hit_R.any():
        low, middle, high = np.percentile(u_K[zone_RxK[hit_R].argmax(axis=1)], [5, 50, 95]).tolist()
    return MapRates(
        repetitions=repetitions,
        zone=float(hit_R.mean()),
        false_zone=float((zone_RxK & ~true_K).any(axis=1).mean()),
        slope=by_slope / slope if slope else float("nan"),
        first=(low, middle, high),
        verdicts=collections.Counter(found),
        false=float(np.mean([kind not in true for kind in found])),
    )


def measure_looks(truth: Truth, repetitions: int, n_seeds: int, count: int, n_settings: int, rng_seed: int) -> float:
    """Share of studies with a false zone at any of `count` looks, as `run.py --refine` takes them from `n_seeds` on."""
    rng = np.random.default_rng([rng_seed, n_seeds, count])
    u_K = np.linspace(0, 1, n_settings)
    looks = interim.first(tuple(u_K), tuple(range(n_seeds)), count)
    while looks.left:
        looks = dataclasses.replace(looks, seeds=(*looks.seeds, interim.next_seeds(looks)))
    seed_S = np.asarray(looks.seeds[-1])
    _, metrics, abilities = simulate(truth, rng, repetitions=repetitions, n_seeds=len(seed_S), n_settings=n_settings)
    true_K, wrong = zone_K(truth, u_K, PLAIN), 0
    for each in zip(metrics, abilities, strict=True):  # what was shown at a look stays shown
        found = setting_map(u_K, *each, trivial=TRIVIAL, **looks.options(u_K, seed_S))
        wrong += bool((found.shown("gain") & found.shown("harmed") & ~true_K).any())
    return wrong / repetitions


@dataclasses.dataclass(frozen=True)
class FreeRates:
    """ "Free" where a tenth of the seeds collapse away from neutral.

    Attributes:
      free_wrong: share of studies in which the first setting is shown free, although the mean ability has lost .07.
      not_excluded: median of the share of seeds that may lose more than δ for all that was seen, where it was.
      held: share of all studies in which that bound holds the true share, a tenth.
    """

    free_wrong: float
    not_excluded: float
    held: float


def measure_free(repetitions: int, n_seeds: int, n_settings: int = 9, rng_seed: int = 0) -> FreeRates:
    """Collapses of .7 in a tenth of the seeds at every setting but neutral, the ability level and quiet (a cliff's)."""
    rng = np.random.default_rng([rng_seed, n_seeds, 10])
    quiet = Truth(lambda u: u, lambda u: 0.9 + 0.0 * u, seed_sd=0.02, slope_sd=0.0, cell_sd=0.01)
    u_K, metrics, abilities = simulate(quiet, rng, repetitions=repetitions, n_seeds=n_seeds, n_settings=n_settings)
    collapsed_RxSx1 = rng.random((repetitions, n_seeds, 1)) < 0.1
    abilities = np.where(collapsed_RxSx1 & (u_K > 0), abilities - 0.7, abilities)
    found = [setting_map(u_K, *each, trivial=TRIVIAL) for each in zip(metrics, abilities, strict=True)]
    free_R = np.array([each.shown("free")[1] for each in found])
    bound_R = np.array([each.not_excluded_K()[1] for each in found])
    return FreeRates(
        float(free_R.mean()),
        float(np.median(bound_R[free_R])) if free_R.any() else float("nan"),
        float((bound_R >= 0.1).mean()),
    )


def null_study(rng: np.random.Generator, n_seeds: int, n_settings: int) -> list[MapVerdict]:
    """A whole study with nothing planted: four abilities, three metrics each, all level; the metrics share abilities.

    The seeds' levels are shared by everything that a seed has, as a seed's model is.
    """
    u_K = np.linspace(0, 1, n_settings)
    seed_Sx1 = rng.normal(0, 1, (n_seeds, 1))
    found = []
    for _ in range(ABILITIES):
        level = 0.8 + 0.05 * seed_Sx1 + rng.normal(0, 0.04, (n_seeds, 1)) * (u_K - 0.5)
        chance_SxK = np.clip(level + rng.normal(0, 0.03, (n_seeds, n_settings)), 0.01, 0.99)
        ability_SxK = rng.binomial(1000, chance_SxK) / 1000
        for _ in range(GAINS):
            metric_SxK = 0.1 * seed_Sx1 + rng.normal(0, 0.08, (n_seeds, n_settings))
            found.append(map_verdict(setting_map(u_K, metric_SxK, ability_SxK, trivial=TRIVIAL)))
    return found


def standing(verdicts: Sequence[MapVerdict], alpha: float = 0.05) -> list[str]:
    """The verdicts of a study that find something and stand after correction for their number."""
    return [
        one.kind for one, p in zip(verdicts, family(verdicts), strict=True) if p <= alpha and one.kind not in SILENT
    ]


def lines(repetitions: int, n_settings: int, rng_seed: int) -> Iterator[str]:
    """The tables, line by line."""
    size = (repetitions, n_settings, rng_seed)
    yield from _zone_lines(*size)
    yield "\n!: above .05 by more than chance; beyond 8 seeds half as many.  S =" + "".join(
        f" {n:7d}" for n in NULL_SEEDS
    )
    yield from _null_lines(*size)
    looked = measure_looks(WORST, repetitions, 8, 4, n_settings, rng_seed)
    yield f"\nthe worst case looked at with 8, 12, 16 and 20 seeds: false zones {_marked(looked, repetitions)}"
    yield "\na tenth of the seeds collapses: free shown wrongly, share of seeds not excluded (median), share held by it"
    for n_seeds in NULL_SEEDS:
        free = measure_free(repetitions, n_seeds, n_settings, rng_seed)
        yield f"S={n_seeds:<2d}  {free.free_wrong:.3f}  {free.not_excluded:.2f}  {free.held:.3f}"
    yield f"\n{STUDIES} studies with nothing planted, {ABILITIES} abilities x {GAINS} metrics: verdicts that stand in"
    yield from _study_lines(n_settings, rng_seed)


def _zone_lines(repetitions: int, n_settings: int, rng_seed: int) -> Iterator[str]:
    yield "measured (expected, difference in Monte Carlo errors); slope test: reversal, stall or harms from the start"
    yield f"{'truth':34s}S   {'zone':22s}{'slope test':22s}{'first 5/50/95%':18s}false  verdicts"
    for place, (name, one) in enumerate(ZONES.items()):
        for n_seeds, zone, slope in zip(EXPECTED_SEEDS, one.zone, one.slope, strict=True):
            size = (repetitions, n_seeds, n_settings)
            asked = -(-repetitions // 4)
            rates = measure(one.truth, one.right, *size, rng_seed=(rng_seed, place), slope=asked)
            cells = "  ".join(
                f"{seen:.3f} ({wanted:.2f}, {errors_apart(seen, count, wanted, EXPECTED_REPETITIONS):+5.1f})"
                for seen, count, wanted in ((rates.zone, repetitions, zone), (rates.slope, asked, slope))
            )
            first = "/".join(f"{u:.3g}" for u in rates.first)
            yield f"{name:34s}{n_seeds:<2d}  {cells}  {first:16s}  {_marked(rates.false, repetitions)} {_shares(rates)}"


def _null_lines(repetitions: int, n_settings: int, rng_seed: int) -> Iterator[str]:
    """False zones, then false verdicts, a column for each number of seeds, and the most frequent verdicts at S=8."""
    rows = [(name, NULL_CONDITIONS[name], "the constructed worst case") for name in ("plain", "heavy tails")]
    rows += [(name, condition, null) for name, condition in NULL_CONDITIONS.items() for null in NULLS]
    for place, (name, condition, null) in enumerate(rows):
        truth, right = NULLS.get(null, (WORST, ()))
        found = [
            measure(
                truth, right, -(-repetitions // (2 if n > 8 else 1)), n, n_settings, condition, (rng_seed, 100 + place)
            )
            for n in NULL_SEEDS
        ]
        zones = " ".join(_marked(each.false_zone, each.repetitions) for each in found)
        false = " ".join(_marked(each.false, each.repetitions) for each in found)
        yield f"{name:12s}{null:31s}zone {zones} verdict {false} {_shares(found[-2])}"


def _study_lines(n_settings: int, rng_seed: int) -> Iterator[str]:
    for n_seeds in EXPECTED_SEEDS:
        rng = np.random.default_rng([rng_seed, 300, n_seeds])
        kinds = [standing(null_study(rng, n_seeds, n_settings)) for _ in range(STUDIES)]
        stood = collections.Counter(kind for each in kinds for kind in set(each))
        said = ", ".join(f"{kind} {n}" for kind, n in stood.most_common()) or "none"
        zones = sum(any(kind in MISMATCHES for kind in each) for each in kinds)
        yield f"S={n_seeds:<2d}  {sum(map(bool, kinds))} of {STUDIES}; a mismatch in {zones}; {said}"


def _marked(share: float, repetitions: int) -> str:
    return f"{share:.3f}{'!' if too_often(share, repetitions) else ' '}"


def _shares(rates: MapRates) -> str:
    return ", ".join(f"{kind} {n / rates.repetitions:.2f}" for kind, n in rates.verdicts.most_common(3))
