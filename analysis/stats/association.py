"""Does a latent metric predict an ability over all cells of a grid? Rank correlations, overall and in parts.

Spearman's correlation over all cells mixes three questions, so each has a number of its own: *between settings* (means
over seeds), *along* each knob (the others and the seed held fixed) and *between seeds* (at one setting). *Beyond* a
control, such as the training loss, is the partial rank correlation: ranks of both without what is linear in the
control's ranks (Kendall 1942; Conover & Iman 1981).

Intervals resample whole seeds (Field & Welsh 2007), the grid held fixed, at levels widened for few clusters (Hesterberg
2015, Am. Stat. 69): Φ(−√(S/(S−1))·t). p-values permute settings, alike in all seeds: cells of one setting are no
independent evidence, so that a grid of K settings has K! orders however many seeds it has. Along a knob only its own
values are permuted, between seeds whole seeds; beyond a control the residuals are (Freedman & Lane 1983). All p are
two-sided.

Words: S seeds, K settings (combinations of the knobs' values), B draws.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

LEAST_SETTINGS, LEAST_SEEDS = 5, 5
DRAWS, PERMUTATIONS = 1_000, 2_000
ASSOCIATIONS = (
    "predicts, beyond the loss",
    "predicts, not shown beyond the loss",
    "predicts the reverse",
    "no association shown",
    "too little varies",
)
SHOWN = ASSOCIATIONS[:3]
Scores = Callable[..., tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Correlation:
    """A rank correlation: NaN, with p = 1, where one of the two does not vary.

    Attributes:
      name: 'all cells', 'between settings', 'along <knob>', 'between seeds' or 'beyond <control>'.
      rho, low, high: the correlation and its 95% interval.
      p: two-sided, of no association.
    """

    name: str
    rho: float
    low: float
    high: float
    p: float


@dataclasses.dataclass(frozen=True)
class Association:
    """How a metric goes with an ability over a grid.

    Attributes:
      whole: over all cells.
      parts: between settings, along each knob, between seeds.
      beyond: partial on each control, the first of them the loss that the verdict is about.
      n_seeds, n_settings, n_cells: with both readings.
      left_out: cells without a metric or an ability.
      alpha: the level.
    """

    whole: Correlation
    parts: tuple[Correlation, ...]
    beyond: tuple[Correlation, ...]
    n_seeds: int
    n_settings: int
    n_cells: int
    left_out: int
    alpha: float

    @property
    def kind(self) -> str:
        """One of `ASSOCIATIONS`."""
        few = self.n_seeds < LEAST_SEEDS or self.n_settings < LEAST_SETTINGS
        if few or not np.isfinite(self.whole.rho):
            return "too little varies"
        if not self._shown(self.whole):
            return "no association shown"
        if self.whole.rho < 0:
            return "predicts the reverse"
        beyond = bool(self.beyond) and self._shown(self.beyond[0]) and self.beyond[0].rho > 0
        return "predicts, beyond the loss" if beyond else "predicts, not shown beyond the loss"

    @property
    def p(self) -> float:
        """Of what the verdict says is shown; 1 where nothing is."""
        if self.kind == "predicts, beyond the loss":
            return max(self.whole.p, self.beyond[0].p)
        return self.whole.p if self.kind in SHOWN else 1.0

    def _shown(self, one: Correlation) -> bool:
        """By both: over settings (p) and over seeds (the interval)."""
        return one.p <= self.alpha and (one.low > 0 or one.high < 0)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation over the places where both are finite; NaN where one of them is constant there."""
    there = np.isfinite(x) & np.isfinite(y)
    return float(_pearson(*_of_all(np.where(there, x, np.nan), np.where(there, y, np.nan))))


def association_of(
    metric_SxK: Float[np.ndarray, "S K"],
    ability_SxK: Float[np.ndarray, "S K"],
    controls: Mapping[str, Float[np.ndarray, "S K"]],
    lines: Mapping[str, Int[np.ndarray, "K"]],
    *,
    alpha: float = 0.05,
    draws: int = DRAWS,
    permutations: int = PERMUTATIONS,
    rng_seed: int = 0,
) -> Association:
    """The association of a metric with an ability.

    Args:
      metric_SxK: signed so that larger is claimed to mean a better ability; NaN where there is none.
      ability_SxK: larger is better.
      controls: by name, such as the training loss, the verdict's first.
      lines: for each knob, settings that differ in that knob alone have one number.
      alpha: the level.
      draws, permutations: of the bootstrap, and of settings; all orders where there are no more.
      rng_seed: fixes both.
    """
    there_SxK = np.isfinite(metric_SxK) & np.isfinite(ability_SxK)
    metric_SxK, ability_SxK = np.where(there_SxK, metric_SxK, np.nan), np.where(there_SxK, ability_SxK, np.nan)
    n_settings, rng = metric_SxK.shape[1], np.random.default_rng(rng_seed)
    orders_PxK = _orders(np.zeros(n_settings, int), permutations, rng)

    def found(name: str, scores: Scores, orders: np.ndarray, axis: int, *arrays: np.ndarray) -> Correlation:
        x, y = scores(metric_SxK, ability_SxK, *arrays)
        rho = float(_pearson(x, y))
        if not np.isfinite(rho):
            return Correlation(name, float("nan"), float("nan"), float("nan"), 1.0)
        low, high = _interval(scores, (metric_SxK, ability_SxK, *arrays), draws, rng)
        permuted = np.abs(_pearson(np.moveaxis(np.take(x, orders, axis=axis), axis, 0), y))
        return Correlation(name, rho, low, high, float((permuted >= abs(rho) - 1e-9).mean()))

    whole = found("all cells", _of_all, orders_PxK, 1)
    parts = [found("between settings", _of_means, orders_PxK, 1)]
    for knob, line_K in lines.items():
        parts.append(found(f"along {knob}", _along(line_K), _orders(line_K, permutations, rng), 1))
    seeds = _orders(np.zeros(len(metric_SxK), int), permutations, rng)
    parts.append(found("between seeds", _of_seeds, seeds, 0))
    beyond = [found(f"beyond {name}", _residuals, orders_PxK, 1, control) for name, control in controls.items()]
    return Association(
        whole,
        tuple(parts),
        tuple(beyond),
        int(there_SxK.any(axis=1).sum()),
        int(there_SxK.any(axis=0).sum()),
        int(there_SxK.sum()),
        int((~there_SxK).sum()),
        alpha,
    )


# The functions below take any number of leading axes: draws of the bootstrap, or orders.


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation over the last two axes, where both are finite; NaN where one is constant."""
    there = np.isfinite(x) & np.isfinite(y)
    count = np.maximum(there.sum(axis=(-2, -1), keepdims=True), 1)
    x, y = (np.where(there, values, 0.0) for values in (x, y))
    x, y = (np.where(there, v - v.sum(axis=(-2, -1), keepdims=True) / count, 0.0) for v in (x, y))
    size = np.sqrt((x**2).sum(axis=(-2, -1)) * (y**2).sum(axis=(-2, -1)))
    return np.where(size > 1e-12, (x * y).sum(axis=(-2, -1)) / np.where(size > 1e-12, size, 1.0), np.nan)


def _ranks(values: np.ndarray, axis: int) -> np.ndarray:
    policy = "propagate" if np.isfinite(values).all() else "omit"
    return np.asarray(stats.rankdata(values, axis=axis, nan_policy=policy))


def _of_all(metric: np.ndarray, ability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = (_ranks(values.reshape(*values.shape[:-2], -1), -1).reshape(values.shape) for values in (metric, ability))
    return x, y


def _of_means(metric: np.ndarray, ability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of the settings' means over seeds."""
    means = []
    for values in (metric, ability):
        there = np.isfinite(values)
        total, count = np.where(there, values, 0.0).sum(axis=-2, keepdims=True), there.sum(axis=-2, keepdims=True)
        means.append(_ranks(np.where(count > 0, total / np.maximum(count, 1), np.nan), -1))
    return means[0], means[1]


def _along(line_K: np.ndarray) -> Scores:
    """Ranks within a line and a seed, less their mean."""

    def scores(metric: np.ndarray, ability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        both = []
        for values in (metric, ability):
            found = np.full(values.shape, np.nan)
            for line in np.unique(line_K):
                found[..., line_K == line] = _centred(_ranks(values[..., line_K == line], -1), -1)
            both.append(found)
        return both[0], both[1]

    return scores


def _of_seeds(metric: np.ndarray, ability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks over the seeds of a setting, less their mean."""
    return _centred(_ranks(metric, -2), -2), _centred(_ranks(ability, -2), -2)


def _centred(ranks: np.ndarray, axis: int | tuple[int, int]) -> np.ndarray:
    there = np.isfinite(ranks)
    total, count = np.where(there, ranks, 0.0).sum(axis=axis, keepdims=True), there.sum(axis=axis, keepdims=True)
    return ranks - total / np.maximum(count, 1)


def _residuals(metric: np.ndarray, ability: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of both less what is linear in the control's ranks."""
    there, both = np.isfinite(metric) & np.isfinite(ability) & np.isfinite(control), []
    z = _centred(_of_all(np.where(there, control, np.nan), metric)[0], (-2, -1))
    size = np.nansum(z**2, axis=(-2, -1), keepdims=True)
    for values in (metric, ability):
        ranks = _centred(_of_all(np.where(there, values, np.nan), metric)[0], (-2, -1))
        slope = np.nansum(ranks * z, axis=(-2, -1), keepdims=True) / np.where(size > 0, size, 1.0)
        both.append(ranks - z * slope)
    return both[0], both[1]


def _interval(
    scores: Scores, arrays: tuple[np.ndarray, ...], draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The 95% interval over resampled seeds; NaN with one seed."""
    n_seeds = len(arrays[0])
    if n_seeds < 2:
        return float("nan"), float("nan")
    chosen_BxS = rng.integers(0, n_seeds, (draws, n_seeds))
    found = _pearson(*scores(*(values_SxK[chosen_BxS] for values_SxK in arrays)))
    found = found[np.isfinite(found)]
    if len(found) < draws / 2:
        return float("nan"), float("nan")
    level = float(stats.norm.cdf(math.sqrt(n_seeds / (n_seeds - 1)) * stats.t.ppf(0.025, n_seeds - 1)))
    low, high = np.quantile(found, [level, 1 - level])
    return float(low), float(high)


def _orders(group_N: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Orders of N places that keep each in its group, the given one first: all where there are no more than `most`."""
    groups = [np.flatnonzero(group_N == group) for group in np.unique(group_N)]
    if math.prod(math.factorial(len(each)) for each in groups) <= most:
        every = itertools.product(*(itertools.permutations(each.tolist()) for each in groups))
        rows = []
        for chosen in every:
            order = np.arange(len(group_N))
            for each, permuted in zip(groups, chosen, strict=True):
                order[each] = permuted
            rows.append(order)
        return np.asarray(rows)
    rows = [np.arange(len(group_N))]
    for _ in range(most - 1):
        order = np.arange(len(group_N))
        for each in groups:
            order[each] = rng.permutation(each)
        rows.append(order)
    return np.asarray(rows)
