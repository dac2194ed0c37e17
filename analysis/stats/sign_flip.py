"""Paired contrasts along a knob and their sign-flip p-values: what the break test is made of.

Sign flips: Fisher (1935); the maximum over candidate breaks: Westfall & Young (1993); all components of a verdict at
once: the intersection–union test of Berger (1982); variances that borrow from each other: Smyth (2004).

Words: u is the knob scaled to [0, 1] with neutral at 0, S seeds, K settings, B candidate breaks, F sign flips. Before
and after are the settings up to and from a candidate break, which belongs to both sides.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float
from scipy import special, stats

SIDE = 3  # settings on each side of a candidate break, itself included
ALL_FLIPS_UP_TO = 14  # seeds; beyond, RANDOM_FLIPS random ones
RANDOM_FLIPS = 10_000
TIE = 1e-9  # statistics that differ by less are equal
MOST_BORROWED = 0.5  # of a variance that is moderated: more inflates the error where tails are heavy (measured)
ROUNDING = 1e-12  # relative to the largest value: smaller contrasts are rounding, not evidence


@functools.lru_cache(maxsize=32)
def sign_flips(n_seeds: int, rng_seed: int = 0) -> Float[np.ndarray, "F S"]:
    """Sign flips F×S of ±1, the identity first: all 2^S up to 14 seeds, else 10,000 (the identity and random ones)."""
    if n_seeds <= ALL_FLIPS_UP_TO:
        bits_FxS = (np.arange(2**n_seeds)[:, None] >> np.arange(n_seeds)) & 1
        flips_FxS = 1.0 - 2.0 * bits_FxS
    else:
        flips_FxS = np.random.default_rng(rng_seed).choice([-1.0, 1.0], size=(RANDOM_FLIPS, n_seeds))
        flips_FxS[0] = 1.0
    flips_FxS.flags.writeable = False
    return flips_FxS


def sign_flip_p(
    contrasts_SxB: Float[np.ndarray, "S B"], *, corrected: bool = True, rng_seed: int = 0
) -> Float[np.ndarray, "B"]:
    """One-sided p-values that each contrast's mean is above 0, by flipping the signs of whole seeds.

    The statistic is Σx/√Σx² over the seeds that have the contrast: increasing in t for a given number of them, of
    variance 1 under the flips for any number, and finite when the seeds agree exactly.

    Args:
      contrasts_SxB: a value for each seed and contrast; NaN where a seed lacks it.
      corrected: compare with the largest statistic over the contrasts (Westfall–Young), else each with its own. A rival
        of negative mean is moved to mean 0 first: flipping all signs of one strong loss would outdo every gain.
      rng_seed: fixes the random flips used above 14 seeds.

    Returns:
      p[B]: the share of flips that reach the statistic of the data; 1 for a contrast that is 0 in every seed.
    """
    observed_B, rival_FxB, there_B = _flipped(contrasts_SxB, corrected, False, rng_seed)
    if not observed_B.size:
        return np.ones(0)
    rival_FxB = rival_FxB.max(axis=1, keepdims=True) if corrected else rival_FxB
    return np.where(there_B, (rival_FxB >= observed_B - TIE).mean(axis=0), 1.0)


def step_down_p(
    contrasts_SxB: Float[np.ndarray, "S B"], *, moderated: bool = False, rng_seed: int = 0
) -> Float[np.ndarray, "B"]:
    """`sign_flip_p`, corrected step by step: a contrast's rivals are those with no larger statistic.

    Westfall & Young (1993), algorithm 2.8. Never above the single-step p-values; the same error over the family.

    Args:
      contrasts_SxB: a value for each seed and contrast; NaN where a seed lacks it.
      moderated: divide by sizes that borrow from each other (`_borrowed`), so that a contrast whose few seeds agree by
        chance does not outdo a large one. It changes how contrasts compare, not how one compares with its own flips.
      rng_seed: fixes the random flips used above 14 seeds.
    """
    observed_B, rival_FxB, there_B = _flipped(contrasts_SxB, True, moderated, rng_seed)
    if not observed_B.size:
        return np.ones(0)
    order = np.argsort(-observed_B, kind="stable")
    largest_FxB = np.maximum.accumulate(rival_FxB[:, order[::-1]], axis=1)[:, ::-1]
    p_B = np.empty(len(order))
    p_B[order] = np.maximum.accumulate((largest_FxB >= observed_B[order] - TIE).mean(axis=0))
    return np.where(there_B, p_B, 1.0)


def _flipped(
    contrasts_SxB: Float[np.ndarray, "S B"], recentred: bool, moderated: bool, rng_seed: int
) -> tuple[Float[np.ndarray, "B"], Float[np.ndarray, "F B"], Bool[np.ndarray, "B"]]:
    """The statistic of the data, of every flip (of rivals moved to mean 0 if `recentred`), and where it has a value."""
    present_SxB = np.isfinite(contrasts_SxB)
    filled_SxB = np.where(present_SxB, contrasts_SxB, 0.0)
    own_B, count_B = (filled_SxB**2).sum(axis=0), np.maximum(present_SxB.sum(axis=0), 1)
    weight_B, prior = _borrowed(filled_SxB, present_SxB) if moderated else (np.zeros(len(own_B)), 0.0)

    def size_B(squares_B: Float[np.ndarray, "B"]) -> Float[np.ndarray, "B"]:
        norm_B = np.sqrt((1 - weight_B) * squares_B + weight_B * count_B * prior)
        return np.where(norm_B > 0, norm_B, 1.0)

    total_B = filled_SxB.sum(axis=0)
    observed_B = total_B / size_B(own_B)
    if recentred:
        filled_SxB = np.where(present_SxB, filled_SxB - np.minimum(total_B / count_B, 0.0), 0.0)
    flips_FxS = sign_flips(len(filled_SxB), rng_seed)
    return observed_B, flips_FxS @ (filled_SxB / size_B((filled_SxB**2).sum(axis=0))), own_B > 0


def _borrowed(
    filled_SxB: Float[np.ndarray, "S B"], present_SxB: Bool[np.ndarray, "S B"]
) -> tuple[Float[np.ndarray, "B"], float]:
    """How far each contrast's variance moves to a common one, and that one: empirical Bayes (Smyth 2004, as in limma).

    The logarithms of the variances are matched by moments to a scaled F distribution with d₀ degrees of freedom for the
    common variance: the more the variances differ, the smaller d₀, and the less is borrowed.

    Returns:
      (weight of the common variance for each contrast, from 0 to `MOST_BORROWED`; the common variance).
    """
    count_B = present_SxB.sum(axis=0)
    mean_B = filled_SxB.sum(axis=0) / np.maximum(count_B, 1)
    squares_B = (np.where(present_SxB, filled_SxB - mean_B, 0.0) ** 2).sum(axis=0)
    variance_B = squares_B / np.maximum(count_B - 1, 1)
    usable_B = (count_B > 1) & (variance_B > ROUNDING**2)
    if usable_B.sum() < 2:
        return np.zeros(len(count_B)), 0.0
    half_U = (count_B[usable_B] - 1) / 2
    log_U = np.log(variance_B[usable_B]) - special.digamma(half_U) + np.log(half_U)
    excess = log_U.var(ddof=1) - special.polygamma(1, half_U).mean()
    half_prior = _inverse_trigamma(excess) if excess > 1e-6 else 1e6
    prior = float(np.exp(log_U.mean() + special.digamma(half_prior) - np.log(half_prior)))
    return np.minimum(half_prior / (half_prior + np.maximum(count_B - 1, 1) / 2), MOST_BORROWED), prior


def _inverse_trigamma(value: float) -> float:
    """The x > 0 with trigamma(x) = `value`: Newton's method, monotone from this start (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        slope = special.polygamma(1, x)
        step = slope * (1 - slope / value) / special.polygamma(2, x)
        x += step
        if -step < 1e-8 * x:
            break
    return float(x)


def without_rounding(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Values of order one with those below `ROUNDING` set to 0: equal numbers must not differ "in every seed"."""
    return np.where(np.abs(values) < ROUNDING, 0.0, values)


def log_metric(metric_SxK: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S K"]:
    """A logarithm of a signed metric that increases with it and whose slopes do not depend on its unit.

    log M where all M > 0; −log(−M) where all M < 0 (a raw positive metric whose claimed gain is a fall); of mixed sign,
    log(M − min M + sd M), the standard deviation over all cells. Non-finite cells stay NaN.
    """
    finite = metric_SxK[np.isfinite(metric_SxK)]
    if not finite.size or np.ptp(finite) == 0:
        return np.where(np.isfinite(metric_SxK), 0.0, np.nan)
    if finite.min() > 0:
        return np.log(metric_SxK)
    if finite.max() < 0:
        return -np.log(-metric_SxK)
    return np.log(metric_SxK - finite.min() + finite.std())


def rank_metric(metric_SxK: Float[np.ndarray, "S K"]) -> Float[np.ndarray, "S K"]:
    """Ranks among all finite cells, ties averaged; non-finite cells stay NaN."""
    return stats.rankdata(np.where(np.isfinite(metric_SxK), metric_SxK, np.nan), axis=None, nan_policy="omit").reshape(
        metric_SxK.shape
    )


def seed_slopes(
    u_K: Float[np.ndarray, "K"], values_SxK: Float[np.ndarray, "S K"], segments_BxK: Bool[np.ndarray, "B K"]
) -> Float[np.ndarray, "S B"]:
    """Least-squares slope in u of each seed over each segment's finite cells, S×B; NaN with fewer than two cells."""
    present_SxK = np.isfinite(values_SxK)
    scale = np.abs(values_SxK[present_SxK]).max(initial=0.0) or 1.0
    values_SxK = np.where(present_SxK, values_SxK, 0.0) / scale
    count_Sx1 = np.maximum(present_SxK.sum(axis=1, keepdims=True), 1)
    centred_SxK = np.where(present_SxK, values_SxK - values_SxK.sum(axis=1, keepdims=True) / count_Sx1, 0.0)
    weight_SxBxK = present_SxK[:, None, :] & segments_BxK[None]
    count_SxB = weight_SxBxK.sum(axis=2)
    middle_SxB = weight_SxBxK @ u_K / np.maximum(count_SxB, 1)
    lever_SxBxK = np.where(weight_SxBxK, u_K - middle_SxB[:, :, None], 0.0)
    spread_SxB = (lever_SxBxK**2).sum(axis=2)
    slope_SxB = np.einsum("sbk,sk->sb", lever_SxBxK, centred_SxK) / np.where(spread_SxB > 0, spread_SxB, 1.0)
    return np.where(count_SxB >= 2, without_rounding(slope_SxB) * scale, np.nan)


@dataclasses.dataclass(frozen=True)
class Contrasts:
    """Per-seed slopes of metric and ability, S×B over the B candidate breaks (S×1 over the full range).

    `breaks` are the candidate settings; `reach_B` the distance in u from neutral to each; `metric_inner_SxB` the
    metric's slope after the break without the last setting.
    """

    breaks: tuple[int, ...]
    reach_B: Float[np.ndarray, "B"]
    metric_before_SxB: Float[np.ndarray, "S B"]
    metric_after_SxB: Float[np.ndarray, "S B"]
    ability_before_SxB: Float[np.ndarray, "S B"]
    ability_after_SxB: Float[np.ndarray, "S B"]
    metric_inner_SxB: Float[np.ndarray, "S B"]
    metric_full_Sx1: Float[np.ndarray, "S 1"]
    ability_full_Sx1: Float[np.ndarray, "S 1"]

    @classmethod
    def of(
        cls, u_K: Float[np.ndarray, "K"], metric_SxK: Float[np.ndarray, "S K"], ability_SxK: Float[np.ndarray, "S K"]
    ) -> "Contrasts":
        """The metric's slopes from the cells that have both readings, the ability's from all that have an ability.

        A diverged cell has lost its ability and has no metric: it counts for the ability.
        """
        there_SxK = np.isfinite(ability_SxK)
        both_SxK = np.isfinite(metric_SxK) & there_SxK
        used = np.flatnonzero(there_SxK.any(axis=0))
        breaks = tuple(used[SIDE - 1 : max(len(used) - SIDE + 1, 0)].tolist())
        settings_K, breaks_Bx1 = np.arange(len(u_K)), np.array(breaks, int)[:, None]
        before_BxK, after_BxK = settings_K <= breaks_Bx1, settings_K >= breaks_Bx1
        inner_BxK = after_BxK & (settings_K < used.max(initial=0))
        full_1xK = np.ones((1, len(u_K)), bool)
        metric_SxK = np.where(both_SxK, metric_SxK, np.nan)
        return cls(
            breaks,
            u_K[list(breaks)],
            metric_before_SxB=seed_slopes(u_K, metric_SxK, before_BxK),
            metric_after_SxB=seed_slopes(u_K, metric_SxK, after_BxK),
            ability_before_SxB=seed_slopes(u_K, ability_SxK, before_BxK),
            ability_after_SxB=seed_slopes(u_K, ability_SxK, after_BxK),
            metric_inner_SxB=seed_slopes(u_K, metric_SxK, inner_BxK),
            metric_full_Sx1=seed_slopes(u_K, metric_SxK, full_1xK),
            ability_full_Sx1=seed_slopes(u_K, ability_SxK, full_1xK),
        )

    def efficiency_loss_SxB(self, rho: float) -> Float[np.ndarray, "S B"]:
        """c_s = ρ·a⁻_s/m̄⁻ − a⁺_s/m̄⁺, NaN where a mean metric slope is not positive and efficiency has no meaning."""
        means = [_mean_over_seeds(x) for x in (self.metric_before_SxB, self.metric_after_SxB)]
        before_B, after_B = (np.where(mean_B > 0, mean_B, np.nan) for mean_B in means)
        return rho * self.ability_before_SxB / before_B - self.ability_after_SxB / after_B

    def reversal_parts(self, delta: float) -> dict[str, Float[np.ndarray, "S B"]]:
        """The contrasts that must all be positive for a reversal, S×B each; `delta` in units of the ability."""
        return {
            "ability non-inferior up to the break": self.ability_before_SxB * self.reach_B + delta,
            "ability falls by more than delta after": -self.ability_after_SxB * (1.0 - self.reach_B) - delta,
            "ability's slope drops": self.ability_before_SxB - self.ability_after_SxB,
            "metric rises after": self.metric_after_SxB,
            "metric rises after, without the last setting": self.metric_inner_SxB,
        }

    def stall_parts(self, rho: float, scale: str = "") -> dict[str, Float[np.ndarray, "S B"]]:
        """The contrasts that must all be positive for a stall, S×B each; `scale` names the metric's re-expression."""
        return {
            f"{scale}metric rises before": self.metric_before_SxB,
            "ability rises before": self.ability_before_SxB,
            f"{scale}metric rises after": self.metric_after_SxB,
            f"{scale}metric rises after, without the last setting": self.metric_inner_SxB,
            f"{scale}efficiency falls": self.efficiency_loss_SxB(rho),
        }


def _mean_over_seeds(values_SxB: Float[np.ndarray, "S B"]) -> Float[np.ndarray, "B"]:
    """Mean over the seeds that have a value, 0 where none has."""
    present_SxB = np.isfinite(values_SxB)
    return np.where(present_SxB, values_SxB, 0.0).sum(axis=0) / np.maximum(present_SxB.sum(axis=0), 1)


def intersection_union(parts: dict[str, Float[np.ndarray, "S B"]], rng_seed: int = 0) -> tuple[float, dict[str, float]]:
    """p-value that all parts are positive at one and the same break: smallest over breaks of the largest over parts.

    Args:
      parts: contrasts S×B by name, in units of order one: sizes below `ROUNDING` count as 0.
      rng_seed: fixes the random flips used above 14 seeds.

    Returns:
      The p-value, and each part's own at the best break (empty where there is no candidate break).
    """
    p_PxB = np.stack([sign_flip_p(without_rounding(part), rng_seed=rng_seed) for part in parts.values()])
    if not p_PxB.size:
        return 1.0, {}
    best = int(p_PxB.max(axis=0).argmin())
    return float(p_PxB[:, best].max()), dict(zip(parts, p_PxB[:, best].tolist(), strict=True))
