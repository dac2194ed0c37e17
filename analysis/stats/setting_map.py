"""The map: what is shown of a latent metric and an ability at each setting of a knob, compared with neutral.

At every setting other than neutral, by paired sign flips over the seeds (Fisher 1935):

* *gain*: the metric is above neutral's; *against*: below. Step-down maximum statistic over the settings (Westfall &
  Young 1993), rivals with a negative mean moved to mean 0 first, variances moderated (Smyth 2004).
* *better*: the ability is above neutral's; step-down maximum statistic likewise.
* *free*: the ability has lost less than δ; fixed sequence from neutral outwards. *harmed*: it has lost more than δ;
  fixed sequence from the last setting inwards (Maurer, Hothorn & Lehmacher 1995).

Metric and ability share α (`level_divisors`). A false mismatch (gain and harm at one setting) takes a false gain or a
false harm, so it comes up in at most α of all claims without one; each is tested at α where so few seeds can't reach
α/2 (`error_bounds`). `python -m analysis.simulation --table=map` measures the rates.

Words: S seeds, K settings of the knob, neutral first.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy import stats

from analysis.stats.claim_data import ClaimData, InterimLook, learns, prepare
from analysis.stats.sign_flip import ALL_FLIPS_UP_TO, sign_flip_p, step_down_p, without_rounding

STATEMENTS = ("gain", "against", "better", "free", "harmed", "gain lost")
OF_THE_METRIC = ("gain", "against", "gain lost")


@dataclasses.dataclass(frozen=True)
class SettingMap:
    """What is shown at each setting. Arrays run over the settings from neutral outwards; neutral itself shows nothing.

    Attributes:
      knob_K: the settings.
      p_K: for each of `STATEMENTS` its p-values, corrected for the number of settings and scaled so that a statement is
        shown where p ≤ α; 1 where it can't be tested. 'gain lost': below an earlier setting at which gain is shown.
      metric_change_K, ability_change_K: mean change from neutral over the seeds that have both cells; NaN without any.
      lost_K, counted_K: how many seeds lost more than δ, of how many.
      diverged_K: how many cells diverged; each has the trivial ability and no metric.
      designed_K: the settings that were chosen before anything was seen; only they decide a verdict.
      neutral_ability, trivial, delta: mean ability of the neutral cells (NaN without any), the trivial baseline, δ.
      p_learned: of neutral's ability above the trivial baseline.
      n_seeds, least_seeds: seeds with a usable neutral cell, and the fewest with which anything could be shown.
      alpha: the level.
      ordered: whether settings have an order; if not, they are values of a categorical axis, the control first.
    """

    knob_K: Float[np.ndarray, "K"]
    p_K: dict[str, Float[np.ndarray, "K"]]
    metric_change_K: Float[np.ndarray, "K"]
    ability_change_K: Float[np.ndarray, "K"]
    lost_K: Int[np.ndarray, "K"]
    counted_K: Int[np.ndarray, "K"]
    diverged_K: Int[np.ndarray, "K"]
    designed_K: Bool[np.ndarray, "K"]
    neutral_ability: float
    trivial: float
    delta: float
    p_learned: float
    n_seeds: int
    least_seeds: int
    alpha: float
    ordered: bool = True

    def shown(self, statement: str) -> Bool[np.ndarray, "K"]:
        """Where a statement is shown."""
        return self.p_K[statement] <= self.alpha

    @property
    def learned(self) -> bool:
        """Whether the neutral cells are shown to beat the trivial baseline."""
        return self.neutral_ability > self.trivial and self.p_learned <= self.alpha

    @property
    def testable(self) -> bool:
        """Whether there are seeds enough for any statement, and a setting other than neutral."""
        return self.n_seeds >= self.least_seeds and len(self.knob_K) > 1

    @property
    def free_until(self) -> float | None:
        """The last setting up to which the ability is shown free; neutral where no other is, None if not testable."""
        if not (self.ordered and self.testable and self.learned):
            return None
        return float(self.knob_K[int(np.argmin([*self.shown("free")[1:], False]))])

    @property
    def harmed_from(self) -> float | None:
        """The first setting from which on the ability is shown harmed, or None."""
        harmed = np.flatnonzero(self.shown("harmed"))
        return float(self.knob_K[harmed[0]]) if len(harmed) and self.ordered else None

    def of_designed(self) -> "SettingMap":
        """The map of the settings that were designed alone, which decide a verdict."""
        per_setting = {
            field.name: getattr(self, field.name)[self.designed_K]
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), np.ndarray)
        }
        p_K = {name: one_K[self.designed_K] for name, one_K in self.p_K.items()}
        return dataclasses.replace(self, p_K=p_K, **per_setting)

    def not_excluded_K(self, level: float = 0.95) -> Float[np.ndarray, "K"]:
        """The largest share of all seeds that may lose more than δ: one-sided Clopper–Pearson bound, 1 without data."""
        upper_K = stats.beta.ppf(level, self.lost_K + 1, np.maximum(self.counted_K - self.lost_K, 0))
        return np.where(self.lost_K < self.counted_K, upper_K, 1.0)


def level_divisors(n_seeds: int, alpha: float) -> tuple[float, float]:
    """Divisors of α for statements on the metric and on the ability, whose levels add up to α.

    The metric has α/2. Its p-values are multiples of 2^−S: what they can't use of α/2 is the ability's, too (with six
    seeds 1/64 for the metric, so 2/64 for the ability). Both have α where `n_seeds` can't reach α/2.
    """
    if 2.0**-n_seeds > alpha / 2:
        return 1.0, 1.0
    used = np.floor(alpha / 2 * 2.0**n_seeds) / 2.0**n_seeds if n_seeds <= ALL_FLIPS_UP_TO else alpha / 2
    return 2.0, float(alpha / (alpha - used))


def error_bounds(n_seeds: int, alpha: float) -> tuple[float, float]:
    """How often the map may err: (a false mismatch of a claim, a wrong 'free' and a wrong 'harmed' of an ability each).

    What so many seeds can reach of the levels: with 5 seeds (2/32, 1/32), with 8 (12/256, 6/256) at α = .05.
    """

    def reached(level: float) -> float:
        return float(np.floor(level * 2.0**n_seeds + 1e-9)) / 2.0**n_seeds if n_seeds <= ALL_FLIPS_UP_TO else level

    metric, ability = (reached(alpha / divisor) for divisor in level_divisors(n_seeds, alpha))
    return metric + ability, ability


def fewest_seeds(alpha: float) -> int:
    """The fewest seeds with which anything can be shown at level `alpha`: p can't fall below 2^−S."""
    return next(n for n in range(1, 1100) if 2.0**-n <= alpha)


def setting_map(
    knob_K: Real[np.ndarray, "K"] | Sequence[float],
    metric_SxK: Real[np.ndarray, "S K"] | Sequence[Sequence[float]],
    ability_SxK: Real[np.ndarray, "S K"] | Sequence[Sequence[float]],
    *,
    trivial: float,
    diverged_SxK: Bool[np.ndarray, "S K"] | None = None,
    neutral_index: int = 0,
    alpha: float = 0.05,
    delta_share: float = 0.05,
    delta: float | None = None,
    rng_seed: int = 0,
    looks: Sequence[InterimLook] = (),
    designed_K: Bool[np.ndarray, "K"] | Sequence[bool] | None = None,
    statements: Collection[str] = STATEMENTS,
    ordered: bool = True,
) -> SettingMap:
    """Tests every statement of the map at every setting.

    Args:
      knob_K: knob values in strict order, up or down, neutral at one end.
      metric_SxK: the latent metric, signed so that larger is the claimed gain; not finite where a cell is missing.
      ability_SxK: the ability, larger is better; not finite where a cell is missing.
      trivial: the ability of the trivial baseline, in the same unit.
      diverged_SxK: the cells whose training diverged. Divergence is a loss, not a missing value: such a cell has the
        trivial ability, and no metric.
      neutral_index: the setting at which the knob is neutral, 0 or K−1.
      alpha: the probability with which a false mismatch may come up, of one claim.
      delta_share: δ as a share of (mean neutral ability − trivial).
      delta: δ itself, in the unit of the ability, in place of the share.
      rng_seed: fixes the random flips above 14 seeds.
      looks: of a study that grew, each with its share of α; p-values are then of all looks, comparable with α.
      designed_K: the settings that were chosen before anything was seen; all by default. They are tested among
        themselves, the others among all settings.
      statements: those to be tested; the others are shown nowhere. Power needs few of them, and quickly.
      ordered: whether settings have an order. Without one *free* and *harmed* are tested by the step-down maximum
        statistic, too, and *gain lost* has no meaning: see `analysis.stats.categorical`.

    Raises:
      ValueError: shapes disagree, the knob is out of order, or a number is out of its range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha} must lie between 0 and 1")
    metric_SxK, ability_SxK = np.array(metric_SxK, float), np.array(ability_SxK, float)
    lost_SxK = np.zeros(ability_SxK.shape, bool) if diverged_SxK is None else np.asarray(diverged_SxK, bool)
    if lost_SxK.shape != ability_SxK.shape or metric_SxK.shape != ability_SxK.shape:
        raise ValueError(
            f"metric {metric_SxK.shape}, ability {ability_SxK.shape} and diverged {lost_SxK.shape} must be [S, K]"
        )
    metric_SxK[lost_SxK], ability_SxK[lost_SxK] = np.nan, trivial
    claim = prepare(knob_K, metric_SxK, ability_SxK, trivial, neutral_index, delta_share, delta)
    known_K = np.ones(len(claim.knob_K), bool) if designed_K is None else np.asarray(designed_K, bool)
    if neutral_index != 0:
        lost_SxK, known_K = lost_SxK[:, ::-1], known_K[::-1]
    looks = looks or (InterimLook(np.ones(len(ability_SxK), bool), 1.0),)
    p_K = {name: np.ones(len(known_K)) for name in STATEMENTS}
    p_learned = 1.0
    for look in looks:
        now = claim.of_seeds(look.seeds_S, delta_share, delta)
        spent_K, spent_learned = _look(now, known_K, alpha * look.share, rng_seed, statements, ordered)
        p_K = {name: np.minimum(p_K[name], spent_K[name] / look.share) for name in STATEMENTS}
        p_learned = min(p_learned, spent_learned / look.share)
    change_SxK = claim.ability_SxK - claim.ability_SxK[:, :1]
    return SettingMap(
        knob_K=claim.knob_K,
        p_K=p_K,
        metric_change_K=_mean(claim.metric_SxK - claim.metric_SxK[:, :1]) * claim.metric_unit,
        ability_change_K=_mean(change_SxK) * claim.unit,
        lost_K=(without_rounding(change_SxK + claim.delta) < 0).sum(axis=0),
        counted_K=np.isfinite(change_SxK).sum(axis=0),
        diverged_K=lost_SxK.sum(axis=0),
        designed_K=known_K,
        neutral_ability=claim.neutral * claim.unit,
        trivial=float(trivial),
        delta=claim.delta * claim.unit,
        p_learned=p_learned,
        n_seeds=int(np.isfinite(claim.ability_SxK[:, 0]).sum()),
        least_seeds=fewest_seeds(alpha * looks[-1].share),
        alpha=alpha,
        ordered=ordered,
    )


def _look(
    claim: ClaimData,
    designed_K: Bool[np.ndarray, "K"],
    alpha: float,
    rng_seed: int,
    statements: Collection[str],
    ordered: bool,
) -> tuple[dict[str, Float[np.ndarray, "K"]], float]:
    """p-values of every statement at one look, times the divisor of its level; and of learning."""
    of_metric, of_ability = level_divisors(int(np.isfinite(claim.ability_SxK[:, 0]).sum()), alpha)
    p_K = {name: np.ones(len(designed_K)) for name in STATEMENTS}
    every_K = np.ones_like(designed_K)
    for settings_K, wanted_K in ((every_K, ~designed_K), (designed_K, designed_K)):
        if wanted_K.any():
            found = _among(claim, np.flatnonzero(settings_K), alpha / of_metric, rng_seed, statements, ordered)
            for name in STATEMENTS:
                divisor = of_metric if name in OF_THE_METRIC else of_ability
                p_K[name][wanted_K] = np.minimum(1.0, divisor * found[name])[wanted_K]
    learned = sign_flip_p(without_rounding(claim.ability_SxK[:, :1] - claim.trivial), rng_seed=rng_seed)
    return p_K, float(learned[0])


def _among(
    claim: ClaimData,
    settings: Int[np.ndarray, "_"],
    metric_level: float,
    rng_seed: int,
    statements: Collection[str],
    ordered: bool,
) -> dict[str, Float[np.ndarray, "K"]]:
    """p-values of every statement, tested among some settings (neutral the first of them); 1 at the others."""
    n_settings = len(claim.knob_K)
    p_K = {name: np.ones(n_settings) for name in STATEMENTS}
    far = settings[settings > 0]
    if not len(far):
        return p_K
    gained = without_rounding(claim.metric_SxK[:, far] - claim.metric_SxK[:, :1])
    p_K["gain"][far] = step_down_p(gained, moderated=True, rng_seed=rng_seed)
    if "against" in statements:
        p_K["against"][far] = step_down_p(-gained, moderated=True, rng_seed=rng_seed)
    if "gain lost" in statements and ordered:
        p_K["gain lost"] = _gain_lost(claim, far, p_K["gain"] <= metric_level, rng_seed)
    if learns(claim):
        change = claim.ability_SxK[:, far] - claim.ability_SxK[:, :1]
        if "better" in statements:
            p_K["better"][far] = step_down_p(without_rounding(change), moderated=True, rng_seed=rng_seed)
        there = np.isfinite(change).any(axis=0)  # a setting without any cell ends no walk
        for name, contrast, order in (("free", change + claim.delta, 1), ("harmed", -change - claim.delta, -1)):
            if name not in statements:
                continue
            if not ordered:
                p_K[name][far] = step_down_p(without_rounding(contrast), moderated=True, rng_seed=rng_seed)
                continue
            p = sign_flip_p(without_rounding(contrast[:, there]), corrected=False, rng_seed=rng_seed)
            p_K[name][far[there]] = np.maximum.accumulate(p[::order])[::order]
    return p_K


def _gain_lost(
    claim: ClaimData, far: Int[np.ndarray, "_"], gain_K: Bool[np.ndarray, "K"], rng_seed: int
) -> Float[np.ndarray, "K"]:
    """p-values that the metric is below that of an earlier setting with a gain, over all pairs of settings."""
    p_K = np.ones(len(claim.knob_K))
    pairs = [(one, later) for one in far for later in far if later > one]
    if not pairs or not gain_K.any():
        return p_K
    earlier, later = np.array(pairs).T
    fallen = without_rounding(claim.metric_SxK[:, earlier] - claim.metric_SxK[:, later])
    for (one, at), p in zip(pairs, step_down_p(fallen, moderated=True, rng_seed=rng_seed), strict=True):
        if gain_K[one]:
            p_K[at] = min(p_K[at], p)
    return p_K


def _mean(values_SxK: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "K"]:
    """Mean over the seeds that have a value, NaN where none has."""
    there_SxK = np.isfinite(values_SxK)
    total_K, count_K = np.where(there_SxK, values_SxK, 0.0).sum(axis=0), there_SxK.sum(axis=0)
    return np.where(count_K > 0, total_K / np.maximum(count_K, 1), np.nan)
