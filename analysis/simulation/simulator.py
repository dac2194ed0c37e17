"""Simulated claims with a known truth, on which the error rates and power of the map and the slope test are measured.

A metric is m(u) + N(0, .1) a seed + N(0, .08) a cell. An ability is a share of correct answers out of 1,000, with
probability p(u) + N(0, .05) a seed + N(0, .04)·(u − ½) a seed + N(0, .03) a cell, clipped to [.01, .99]; the cliffs
have .02 a seed and .01 a cell and no slope of their own. u is the knob scaled to [0, 1].
"""

import dataclasses
from collections.abc import Callable

import numpy as np

TRIVIAL = 0.1
TRIALS = 1000
COLLAPSE = 0.7  # of the probability of a right answer
Curve = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Truth:
    """A planted truth.

    Attributes:
      metric, ability: noiseless curves of u; the ability's is a probability.
      break_at: where ability truly breaks, in u, or None.
      seed_sd, slope_sd, cell_sd: noise of the ability's probability a seed, a seed times (u − ½), and a cell.
      metric_seed_sd, metric_cell_sd: noise of the metric a seed and a cell.
      trials: answers that an ability is a share of; None: no binomial noise besides `cell_sd`, clipped to [0, 1].
    """

    metric: Curve
    ability: Curve
    break_at: float | None = None
    seed_sd: float = 0.05
    slope_sd: float = 0.04
    cell_sd: float = 0.03
    metric_seed_sd: float = 0.1
    metric_cell_sd: float = 0.08
    trials: int | None = TRIALS


@dataclasses.dataclass(frozen=True)
class Condition:
    """What a design or its noise may do other than the plain simulation.

    Attributes:
      freedom: degrees of freedom of Student's t for every noise, scaled to the same standard deviation; above 2.
      lost: expected share of cells that are lost (NaN in metric and ability), the likelier the farther from neutral.
      geometric: settings at distances that grow by a constant factor, 16 over the range, instead of equal ones.
      collapsing: share of cells, neutral ones among them, whose ability collapses by `COLLAPSE`.
      diverging: share of the cells past the middle that diverge: NaN in metric and ability.
    """

    freedom: float = np.inf
    lost: float = 0.0
    geometric: bool = False
    collapsing: float = 0.0
    diverging: float = 0.0


PLAIN = Condition()
CONDITIONS: dict[str, Condition] = {
    "plain": PLAIN,
    "heavy tails": Condition(freedom=3.0),
    "lost cells": Condition(lost=0.05),
    "geometric knob": Condition(geometric=True),
    "all three": Condition(freedom=3.0, lost=0.05, geometric=True),
}


def _rises(u: np.ndarray) -> np.ndarray:
    return u


def _flat(u: np.ndarray) -> np.ndarray:
    return 0.0 * u


def _bent(after: float, before: float = 1.0) -> Curve:
    """Slope `before` up to one half, `after` beyond."""
    return lambda u: before * np.minimum(u, 0.5) + after * np.maximum(0.0, u - 0.5)


def _share(curve: Curve, base: float = 0.4) -> Curve:
    """A curve of order one as a probability."""
    return lambda u: base + 0.4 * curve(u)


def cliff(start: float, width: float) -> Truth:
    """From .97 down by .9 over `width`, then a floor."""

    def ability(u: np.ndarray) -> np.ndarray:
        return 0.97 - 0.9 * np.clip((u - start) / width, 0.0, 1.0)

    return Truth(_rises, ability, start, seed_sd=0.02, slope_sd=0.0, cell_sd=0.01)


# "Falls from the first setting" and "flat, then falls" start at .8, where there is room to fall.
TRUTHS: dict[str, Truth] = {
    "both flat": Truth(_flat, _share(_flat)),
    "ability flat": Truth(_rises, _share(_flat)),
    "both linear": Truth(_rises, _share(_rises)),
    "both rise, then fall": Truth(_bent(-1.0), _share(_bent(-1.0))),
    "efficiency exactly rho": Truth(_rises, _share(_bent(0.25))),
    "smooth saturation": Truth(_rises, _share(lambda u: 1.0 - np.exp(-3.0 * u))),
    "fall of .20, metric flat": Truth(_flat, _share(_bent(-1.0))),
    "plateau": Truth(_rises, _share(_bent(0.0)), 0.5),
    "fall of .03 after a rise": Truth(_rises, _share(_bent(-0.15)), 0.5),
    "fall of .06 after a rise": Truth(_rises, _share(_bent(-0.3)), 0.5),
    "fall of .20 after a rise": Truth(_rises, _share(_bent(-1.0)), 0.5),
    "falls from the first setting": Truth(_rises, _share(lambda u: -u, 0.8)),
    "cliff at .30": cliff(0.30, 0.30),
    "cliff at .50": cliff(0.50, 0.25),
    "flat to .5, then -.2": Truth(_rises, _share(_bent(-1.0, 0.0), 0.8), 0.5),
}


def settings(n_settings: int, condition: Condition = PLAIN) -> np.ndarray:
    """The knob's settings u [K] from 0 to 1."""
    if condition.geometric:
        return (np.geomspace(1.0, 16.0, n_settings) - 1.0) / 15.0
    return np.linspace(0.0, 1.0, n_settings)


def simulate(
    truth: Truth,
    rng: np.random.Generator,
    *,
    repetitions: int,
    n_seeds: int = 8,
    n_settings: int = 9,
    condition: Condition = PLAIN,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws claims with a known truth.

    Args:
      truth: one of `TRUTHS`, or another.
      rng: the generator that is drawn from.
      repetitions: the number R of claims.
      n_seeds, n_settings: S and K.
      condition: spacing of the settings, tails of the noise, lost cells.

    Returns:
      (u [K], metric [R, S, K], ability [R, S, K]); lost and diverged cells are NaN.
    """
    u_K = settings(n_settings, condition)
    a_seed, a_cell = (repetitions, n_seeds, 1), (repetitions, n_seeds, n_settings)

    def noise(sd: float, shape: tuple[int, ...]) -> np.ndarray:
        if np.isinf(condition.freedom):
            return rng.normal(0, sd, shape)
        return sd * np.sqrt(1 - 2 / condition.freedom) * rng.standard_t(condition.freedom, shape)

    metric_RxSxK = truth.metric(u_K) + noise(truth.metric_seed_sd, a_seed) + noise(truth.metric_cell_sd, a_cell)
    probability = truth.ability(u_K) + noise(truth.seed_sd, a_seed)
    probability = probability + noise(truth.slope_sd, a_seed) * (u_K - 0.5) + noise(truth.cell_sd, a_cell)
    if condition.collapsing:
        probability = probability - COLLAPSE * (rng.random(a_cell) < condition.collapsing)
    if truth.trials is None:
        ability_RxSxK = np.clip(probability, 0.0, 1.0)
    else:
        ability_RxSxK = rng.binomial(truth.trials, np.clip(probability, 0.01, 0.99)) / truth.trials
    if condition.lost:
        lost_RxSxK = rng.random(a_cell) < condition.lost * u_K / u_K.mean()
        metric_RxSxK[lost_RxSxK] = ability_RxSxK[lost_RxSxK] = np.nan
    if condition.diverging:
        diverged_RxSxK = (rng.random(a_cell) < condition.diverging) & (u_K > 0.5)
        metric_RxSxK[diverged_RxSxK] = ability_RxSxK[diverged_RxSxK] = np.nan
    return u_K, metric_RxSxK, ability_RxSxK
