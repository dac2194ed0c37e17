"""What claims of other shapes get wrong and find, on simulated studies: the tables of docs/calibration.md.

python -m analysis.simulation.shape_rates --table=sides         a knob with settings on both sides of neutral
python -m analysis.simulation.shape_rates --table=categorical   values of a categorical axis against a control
python -m analysis.simulation.shape_rates --table=association   metric and ability over the cells of a grid
    --repetitions=1000

Words: N studies, S seeds, K settings or values, neutral or the control first.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.simulation.simulator import TRIVIAL
from analysis.stats import (
    ASSOCIATIONS,
    FINDS_NOTHING,
    MISMATCHES,
    association_of,
    categorical_map,
    family,
    map_verdict,
    setting_map,
)
from analysis.stats.association import spearman
from analysis.stats.setting_map import error_bounds
from lab.errors import Parser, UserError, command

BASE, DELTA = 0.8, 0.05  # neutral's ability, δ as a share of what it learned
LOSS = DELTA * (BASE - TRIVIAL)  # δ
SEED_SD, CELL_SD, METRIC_CELL_SD = 0.05, 0.03, 0.08  # as of `analysis.simulation.simulator.Truth`
ANSWERS = 1_000
ALPHA = 0.05


@dataclass(frozen=True)
class Planted:
    """Changes from neutral that a simulated study has: of the metric and of the ability, a number a setting."""

    metric_K: tuple[float, ...]
    ability_K: tuple[float, ...]


def draw(
    planted: Planted, repetitions: int, n_seeds: int, rng: np.random.Generator, freedom: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Metrics and abilities of so many studies, float64[N, S, K] each.

    Args:
      planted: the truth, neutral first.
      repetitions, n_seeds: N and S.
      rng: of the draws.
      freedom: of Student's t for the noise of cells, scaled to the same standard deviation.
    """
    size = (repetitions, n_seeds, len(planted.metric_K))

    def noise(sd: float) -> np.ndarray:
        if np.isinf(freedom):
            return rng.normal(0, sd, size)
        return rng.standard_t(freedom, size) * sd * np.sqrt((freedom - 2) / freedom)

    level_NxSx1 = rng.normal(0, SEED_SD, size[:2])[..., None]
    chance = np.clip(BASE + np.asarray(planted.ability_K) + level_NxSx1 + noise(CELL_SD), 0, 1)
    metric = np.asarray(planted.metric_K) + rng.normal(0, 0.1, size[:2])[..., None] + noise(METRIC_CELL_SD)
    return metric, rng.binomial(ANSWERS, chance) / ANSWERS


def categorical_rates(
    planted: Planted, repetitions: int, n_seeds: int, freedom: float = np.inf, rng_seed: int = 0
) -> dict[str, float]:
    """Share of studies in which a statement is shown at some value at which it is not true, and of any power.

    Returns:
      'false <statement>' for the statements that are false somewhere; 'false mismatch': gain and harm at a value that
      does not have both; 'power <statement>': shown at some value at which it is true.
    """
    metric_K, ability_K = np.asarray(planted.metric_K), np.asarray(planted.ability_K)
    true = {
        "gain": metric_K > 0,
        "against": metric_K < 0,
        "better": ability_K > 0,
        "free": ability_K > -LOSS * (1 - 1e-9),
        "harmed": ability_K < -LOSS * (1 + 1e-9),
    }
    true["mismatch"] = true["gain"] & true["harmed"]
    if np.isclose(ability_K, -LOSS).any():
        true["free"] = ability_K > -LOSS * (1 - 1e-6)
    rng = np.random.default_rng([rng_seed, n_seeds, len(metric_K)])
    counts = {name: np.zeros(2) for name in true}
    for metric_SxK, ability_SxK in zip(*draw(planted, repetitions, n_seeds, rng, freedom), strict=True):
        found = categorical_map(metric_SxK, ability_SxK, trivial=TRIVIAL, alpha=ALPHA, delta_share=DELTA)
        shown = {name: found.shown(name) for name in ("gain", "against", "better", "free", "harmed")}
        shown["mismatch"] = shown["gain"] & shown["harmed"]
        for name, true_K in true.items():
            counts[name] += (shown[name] & ~true_K)[1:].any(), (shown[name] & true_K)[1:].any()
    rates = {f"false {name}": counts[name][0] / repetitions for name in true if not true[name][1:].all()}
    return rates | {f"power {name}": counts[name][1] / repetitions for name in true if true[name][1:].any()}


def side_rates(planted: Sequence[Planted], repetitions: int, n_seeds: int, rng_seed: int = 0) -> dict[str, float]:
    """Share of two-sided studies with a standing verdict that finds something, and with a standing mismatch.

    Args:
      planted: below and above neutral; each begins with neutral, whose cells both share.
      repetitions, n_seeds: N and S.
      rng_seed: fixes the draws.
    """
    below, above = planted
    both = Planted((*below.metric_K[::-1], *above.metric_K[1:]), (*below.ability_K[::-1], *above.ability_K[1:]))
    at, rng = len(below.metric_K) - 1, np.random.default_rng([rng_seed, n_seeds])
    finds = mismatches = 0
    for metric_SxK, ability_SxK in zip(*draw(both, repetitions, n_seeds, rng), strict=True):
        verdicts = []
        for part, sign in ((np.s_[at::-1], -1.0), (np.s_[at:], 1.0)):
            knob_K = np.arange(metric_SxK[:, part].shape[1], dtype=float)
            found = setting_map(knob_K, sign * metric_SxK[:, part], ability_SxK[:, part], trivial=TRIVIAL, alpha=ALPHA)
            verdicts.append(map_verdict(found))
        stands = [
            one.kind for one, p in zip(verdicts, family(verdicts), strict=True)
            if p <= ALPHA and one.kind not in FINDS_NOTHING
        ]  # fmt: skip
        finds += bool(stands)
        mismatches += any(kind in MISMATCHES for kind in stands)
    return {"finds": finds / repetitions, "mismatch": mismatches / repetitions}


def alike(values: int, metric: float, ability: float) -> Planted:
    """The same change at every value but the control."""
    return Planted((0.0, *[metric] * (values - 1)), (0.0, *[ability] * (values - 1)))


def one(values: int, metric: float, ability: float) -> Planted:
    """A change at the first value after the control."""
    others = (0.0,) * (values - 2)
    return Planted((0.0, metric, *others), (0.0, ability, *others))


def categorical_table(repetitions: int) -> None:
    """Print the rates of wrong statements, then power."""
    bounds = {n: tuple(f"{bound:.3f}" for bound in error_bounds(n, ALPHA)) for n in (5, 6, 8)}
    print("bounds (mismatch, each statement on the ability):", bounds)
    truths: dict[str, Callable[[int], Planted]] = {
        "nothing happens": lambda k: alike(k, 0.0, 0.0),
        "ability at -delta": lambda k: alike(k, 0.0, -LOSS),
        "gain, ability at -delta": lambda k: alike(k, 0.2, -LOSS),
        "one value loses .5": lambda k: one(k, 0.0, -0.5),
        "one value: gain .2, ability +.1": lambda k: one(k, 0.2, 0.1),
        "one value: gain .2, ability -.15": lambda k: one(k, 0.2, -0.15),
    }
    for name, make in truths.items():
        for values, n_seeds, freedom in itertools.product((3, 5), (5, 6, 8), (np.inf, 3.0)):
            if np.isfinite(freedom) and n_seeds != 8:
                continue
            rates = categorical_rates(make(values), repetitions, n_seeds, freedom)
            noise = "t3" if np.isfinite(freedom) else "normal"
            print(f"{name}; {values} values, S = {n_seeds}, {noise}:", _texts(rates), flush=True)


def side_table(repetitions: int) -> None:
    """Print how often a two-sided study finds something where nothing happens, or a mismatch where there is none."""
    rise = tuple(0.05 * k for k in range(5))
    nothing, gains = Planted((0.0,) * 5, (0.0,) * 5), Planted(rise, (0.0,) * 5)
    edge = Planted(rise, (0.0, *[-LOSS] * 4))
    along = Planted(tuple(-value for value in rise), edge.ability_K)
    truths = {
        "nothing happens": (nothing, nothing),
        "gains above, ability as it was": (nothing, gains),
        "gains on both sides, ability at -delta": (along, edge),
    }
    for n_seeds, (name, planted) in itertools.product((6, 8), truths.items()):
        print(f"{name}, S = {n_seeds}:", _texts(side_rates(planted, repetitions, n_seeds)), flush=True)


def coverage(
    rho: float, n_settings: int, n_seeds: int, repetitions: int, draws: int = 300, rng_seed: int = 0
) -> dict[str, float]:
    """How often an association's 95% intervals hold the truth of their grid, and how often its verdict finds one.

    Args:
      rho: correlation of the settings' metric and ability in the population that grids are drawn from.
      n_settings, n_seeds: K and S.
      repetitions, draws: simulated studies, and resamples (and orders) of each.
      rng_seed: fixes the draws.

    Returns:
      'all cells', 'between settings': the shares of intervals that hold what 500 seeds of the same grid have; 'shown':
      the share of studies whose verdict finds an association (false where `rho` is 0).
    """
    rng = np.random.default_rng([rng_seed, n_seeds, n_settings])
    held, shown = {"all cells": 0, "between settings": 0}, 0
    for index in range(repetitions):
        settings_2xK = rng.multivariate_normal((0, 0), ((1, rho), (rho, 1)), n_settings).T

        def seeds(count: int, settings_2xK: np.ndarray = settings_2xK) -> np.ndarray:
            levels = rng.normal(0, 0.3, (2, count, 1))
            return settings_2xK[:, None] + levels + rng.normal(0, 0.5, (2, count, n_settings))

        many, few = seeds(500), seeds(n_seeds)
        truth = {"all cells": spearman(*many), "between settings": spearman(*many.mean(axis=1, keepdims=True))}
        found = association_of(few[0], few[1], {}, {}, draws=draws, permutations=draws, rng_seed=index)
        for one in (found.whole, found.parts[0]):
            held[one.name] += one.low <= truth[one.name] <= one.high
        shown += found.kind in ASSOCIATIONS[:3]
    return {name: count / repetitions for name, count in (held | {"shown": shown}).items()}


def association_table(repetitions: int) -> None:
    """Print coverage and how often an association is found."""
    for rho, n_settings, n_seeds in itertools.product((0.0, 0.7), (12, 27), (5, 8, 16)):
        rates = coverage(rho, n_settings, n_seeds, repetitions)
        print(f"rho {rho}, {n_settings} settings, S = {n_seeds}:", _texts(rates), flush=True)


def _texts(rates: dict[str, float]) -> str:
    return ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())


TABLES = {"sides": side_table, "categorical": categorical_table, "association": association_table}


@command
def main(arguments: Sequence[str]) -> int:
    """Prints a table. Exit status: 0 done, 2 a user's mistake."""
    parser = Parser("analysis.simulation.shape_rates", __doc__)
    parser.add_argument("--table", choices=sorted(TABLES), default="categorical", help="which shape (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=1000, help="simulated studies a row (%(default)s)")
    args = parser.read(arguments)
    if args.repetitions < 1:
        raise UserError(f"--repetitions={args.repetitions} must be 1 or more.")
    TABLES[args.table](args.repetitions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
