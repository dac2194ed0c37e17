"""Where along a knob a latent gain stops becoming ability: the break test and its verdict.

One call judges one (knob, metric, ability) from S paired seeds at K settings. Every statement is a paired test by sign
flips (Fisher 1935), over candidate breaks by the maximum statistic (Westfall & Young 1993), joined within a verdict by
intersection–union (Berger 1982), with non-inferiority and equivalence margins ±δ (two one-sided tests: Schuirmann
1987). The bounds "shown free until" and "shown harmful from" are fixed-sequence tests, so need no correction (Maurer,
Hothorn & Lehmacher 1995). Rates on simulated truths: `python -m analysis.simulation`.

A study that grows is judged at several looks (`InterimLook`): each spends a share of α, so that all together err as
often as one test at α (Bonferroni over the looks; the shares are `analysis.design.interim`').

Words: u is the knob scaled to [0, 1] with neutral at 0; before (⁻) and after (⁺) are the settings up to and from a
candidate break, which belongs to both sides; slopes are per-seed least-squares slopes in u.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Real

from analysis.stats import segmented
from analysis.stats.claim_data import ClaimData, InterimLook, bounds, prepare, tests_over
from analysis.stats.setting_map import fewest_seeds
from analysis.stats.sign_flip import ROUNDING, SIDE, Contrasts

VERDICTS = (
    "not learned",
    "underpowered",
    "no latent gain",
    "harms from the start",
    "reversal",
    "stall",
    "scale-dependent",
    "never transferred",
    "transfers",
)
MIN_SETTINGS = 9  # of the grid as designed
# The strict level divides α by the number of components that can be in doubt: two for a reversal, four for a stall.
STRICT_DIVISOR = {"reversal": 2, "stall": 4, "scale-dependent": 4}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the break test says of one (knob, metric, ability).

    Attributes:
      kind: one of `VERDICTS`.
      sentence: the verdict in one plain sentence.
      p_values: a p-value for every verdict tried (1 where its test could not be made): 'learned', 'latent gain',
        'harms from the start', 'reversal', 'stall' (M, log M and rank M alike), 'stall, metric as given',
        'never transferred', 'transfers'. Not multiplied by a strict divisor.
      components: for each of those, the p-values of its components, at its best candidate break.
      deciding_p: the p-value behind `kind`, times the strict divisor where one applies; 1 if underpowered.
      break_at, break_interval: the break in knob units and its 95% interval (ascending), or None.
      shown_free_until: the last knob value up to which every setting is shown non-inferior to neutral at δ (neutral's
        own value when no other is); None where it cannot be tested.
      shown_harmful_from: the first knob value from which every setting is shown inferior by more than δ, or None.
      delta: δ, in units of the ability.
      neutral_ability: mean ability of the neutral cells (NaN if there is none).
      trivial: the trivial baseline given.
      n_seeds, n_settings: seeds and settings that had a usable cell.
      alpha: the level given.
      alpha_rule: 'alpha', or 'alpha/2', 'alpha/4' where the strict guarantee decided.
      removed: (seed, setting) indices of the cells left out because metric or ability is not finite.
    """

    kind: str
    sentence: str
    p_values: dict[str, float]
    components: dict[str, dict[str, float]]
    deciding_p: float
    break_at: float | None
    break_interval: tuple[float, float] | None
    shown_free_until: float | None
    shown_harmful_from: float | None
    delta: float
    neutral_ability: float
    trivial: float
    n_seeds: int
    n_settings: int
    alpha: float
    alpha_rule: str
    removed: tuple[tuple[int, int], ...]


def least_seeds(alpha: float = 0.05, strict: bool = False) -> dict[str, int]:
    """The fewest seeds with which each test can reject at all: p cannot fall below 2^−S.

    Args:
      alpha: the level, in (0, 1).
      strict: whether reversal is held to α/2 and stall to α/4.

    Returns:
      Seeds for 'reversal', 'stall', 'bounds' (also harm, equivalence and latent gain) and 'all' of them.
    """
    levels = {kind: alpha / (STRICT_DIVISOR[kind] if strict else 1) for kind in ("reversal", "stall")}
    levels["bounds"] = alpha
    seeds = {name: fewest_seeds(level) for name, level in levels.items()}
    return {**seeds, "all": max(seeds.values())}


def _decide(
    claim: ClaimData,
    contrasts: Contrasts,
    p: dict[str, float],
    alpha: float,
    spent: float,
    strict: bool,
    harmful: int | None,
) -> tuple[str, str]:
    """The first verdict of the ordered list that holds, and the reason where it is `underpowered`.

    `claim` and `contrasts` are of the last look, `spent` is its part of alpha, and `p` is of all looks.
    """
    least = least_seeds(spent, strict)
    level = {kind: alpha / (divisor if strict else 1) for kind, divisor in STRICT_DIVISOR.items()}
    n_neutral = int(np.isfinite(claim.ability_SxK[:, 0]).sum())
    n_seeds = int(np.isfinite(contrasts.metric_full_Sx1).sum())
    if n_neutral == 0:
        return "underpowered", "no neutral cell has an ability to compare with"
    if claim.neutral <= claim.trivial + ROUNDING:
        return "not learned", ""
    if p["learned"] > alpha:
        if n_neutral >= least["bounds"]:
            return "not learned", ""
        return "underpowered", f"{n_neutral} seeds are too few for this test ({least['bounds']} are needed)"
    if n_seeds < least["bounds"]:
        return "underpowered", f"{n_seeds} seeds can never reject at {spent:g}: {least['bounds']} are the least"
    if len(claim.u_K) < MIN_SETTINGS or not contrasts.breaks:
        side = f"{MIN_SETTINGS} settings are the least, {SIDE} with data on each side of a break"
        return "underpowered", f"{len(claim.u_K)} settings, {len(contrasts.breaks)} breaks that can be tested: {side}"
    if p["latent gain"] > alpha:
        return "no latent gain", ""
    if p["harms from the start"] <= alpha:
        return "harms from the start", ""
    if p["reversal"] <= level["reversal"]:
        return "reversal", ""
    if p["stall, metric as given"] <= level["stall"]:
        return ("stall" if p["stall"] <= level["stall"] else "scale-dependent"), ""
    if harmful is not None:
        return "underpowered", "ability is shown to be harmed, but not where or how it breaks"
    if p["never transferred"] <= alpha:
        return "never transferred", ""
    if n_seeds < least["all"]:
        return (
            "underpowered",
            f"{n_seeds} seeds could not show a stall at the strict level: {least['all']} are the least",
        )
    if p["transfers"] <= alpha:
        return "transfers", ""
    return "underpowered", "the metric rises, but ability is shown neither to change nor to stay within delta"


def _sentence(kind: str, reason: str, at: str, claim: ClaimData) -> str:
    """The verdict in words a reader without statistics can use."""
    delta, neutral, trivial = (f"{x * claim.unit:.3g}" for x in (claim.delta, claim.neutral, claim.trivial))
    text = {
        "not learned": f"At neutral the ability ({neutral}) is not shown to beat the trivial baseline ({trivial}).",
        "underpowered": f"Nothing can be concluded: {reason}.",
        "no latent gain": "The metric is not shown to move as claimed along the knob, so there is no gain to transfer.",
        "harms from the start": f"Ability falls by more than {delta} before the first break that can be tested.",
        "reversal": f"The metric keeps rising, but ability, down by less than {delta} until {at}, falls from there on.",
        "stall": f"Metric and ability rise together until {at}; then the metric rises and ability hardly follows.",
        "scale-dependent": "Ability stalls against the metric as given, but not against both its log and its ranks.",
        "never transferred": f"The metric rises along the knob while ability stays within {delta} of no change.",
        "transfers": "Metric and ability rise together along the knob, and no break is shown.",
    }[kind]
    lost = f" {len(claim.removed)} cells without a finite metric or ability were left out." if claim.removed else ""
    return text + lost


def verdict(
    knob_K: Real[np.ndarray, "K"] | Sequence[float],
    metric_SxK: Real[np.ndarray, "S K"] | Sequence[Sequence[float]],
    ability_SxK: Real[np.ndarray, "S K"] | Sequence[Sequence[float]],
    *,
    trivial: float,
    neutral_index: int = 0,
    alpha: float = 0.05,
    delta_share: float = 0.05,
    delta: float | None = None,
    rho: float = 0.25,
    strict: bool = False,
    draws: int = 400,
    rng_seed: int = 0,
    looks: Sequence[InterimLook] = (),
    designed_K: Bool[np.ndarray, "K"] | Sequence[bool] | None = None,
) -> Verdict:
    """Judges whether a latent gain along a knob becomes ability, and where it stops.

    Args:
      knob_K: knob values in strict order, up or down, neutral at one end. Slopes are taken in these values, so pass
        logarithms for a knob that is swept by factors.
      metric_SxK: the latent metric, signed so that larger is the claimed gain; not finite where a cell is missing.
      ability_SxK: the ability, larger is better, in any unit; not finite where a cell is missing.
      trivial: the ability of the trivial baseline, in the same unit.
      neutral_index: the setting at which the knob is neutral, 0 or K−1.
      alpha: the level of every test.
      delta_share: δ as a share of (mean neutral ability − trivial).
      delta: δ itself, in the unit of the ability, in place of the share.
      rho: a stall is transfer efficiency below this share of what it was.
      strict: hold a reversal to α/2 and a stall to α/4.
      draws: resamplings for the break's interval.
      rng_seed: fixes the resampling and, above 14 seeds, the random flips.
      looks: of a study that grew, each with its share of α; p-values are then of all looks, comparable with α.
      designed_K: the settings that were chosen before anything was seen. Only they decide which verdict it is; bounds
        and the break's place use the others, too. All by default.

    Returns:
      The first of `VERDICTS` that holds; every input of the right shape has one.

    Raises:
      ValueError: shapes disagree, the knob is out of order, or a number is out of its range.
    """
    if not 0 < alpha < 1 or not 0 < rho < 1:
        raise ValueError(f"alpha {alpha} and rho {rho} must lie between 0 and 1")
    metric_SxK, ability_SxK = np.asarray(metric_SxK, float), np.asarray(ability_SxK, float)
    known_K = np.ones(len(knob_K), bool) if designed_K is None else np.asarray(designed_K, bool)

    def part(seeds: np.ndarray | slice, settings_K: Bool[np.ndarray, "K"]) -> ClaimData:
        data = (np.asarray(knob_K)[settings_K], metric_SxK[seeds][:, settings_K], ability_SxK[seeds][:, settings_K])
        return prepare(*data, trivial, 0 if neutral_index == 0 else -1, delta_share, delta)

    claim = prepare(knob_K, metric_SxK, ability_SxK, trivial, neutral_index, delta_share, delta)
    looks = looks or (InterimLook(np.ones(len(claim.ability_SxK), bool), 1.0),)
    designed = [(part(look.seeds_S, known_K), look.share) for look in looks]
    contrasts = designed[-1][0].contrasts
    tests = tests_over(designed, rho, rng_seed)
    every_K = np.ones_like(known_K)
    free, harmful = bounds([(part(each.seeds_S, every_K), each.share) for each in looks], alpha, rng_seed)
    free, harmful = (free, harmful) if tests else (None, None)
    p_values = {name: p for name, (p, _) in tests.items()}
    kind, reason = _decide(designed[-1][0], contrasts, p_values, alpha, alpha * looks[-1].share, strict, harmful)
    divisor = STRICT_DIVISOR.get(kind, 1) if strict else 1
    at, interval = _located(claim, kind, draws, rng_seed)
    deciding = p_values.get(_DECIDED_BY[kind], 1.0)
    return Verdict(
        kind=kind,
        sentence=_sentence(kind, reason, "an unlocated break" if at is None else f"{at:.3g}", claim),
        p_values=p_values,
        components={name: parts for name, (_, parts) in tests.items()},
        deciding_p=min(1.0, divisor * deciding),
        break_at=at,
        break_interval=interval,
        shown_free_until=None if free is None else float(claim.knob_K[free]),
        shown_harmful_from=None if harmful is None else float(claim.knob_K[harmful]),
        delta=claim.delta * claim.unit,
        neutral_ability=claim.neutral * claim.unit,
        trivial=float(trivial),
        n_seeds=int(np.isfinite(contrasts.metric_full_Sx1).sum()),
        n_settings=int((np.isfinite(claim.metric_SxK) & np.isfinite(claim.ability_SxK)).any(axis=0).sum()),
        alpha=alpha,
        alpha_rule="alpha" if divisor == 1 else f"alpha/{divisor}",
        removed=claim.removed,
    )


# The test whose p-value stands for a verdict among the primary claims; none speaks for 'underpowered'.
_DECIDED_BY = {
    "not learned": "learned",
    "underpowered": "",
    "no latent gain": "latent gain",
    "scale-dependent": "stall, metric as given",
    **{kind: kind for kind in ("harms from the start", "reversal", "stall", "never transferred", "transfers")},
}


def _located(claim: ClaimData, kind: str, draws: int, rng_seed: int) -> tuple[float | None, tuple[float, float] | None]:
    """The break and its interval in knob units, for a reversal or a stall."""
    if kind not in ("reversal", "stall"):
        return None, None
    there_SxK = np.isfinite(claim.ability_SxK)
    seeds_S, settings_K = there_SxK.any(axis=1), there_SxK.any(axis=0)
    u_K = claim.u_K[settings_K]
    found = segmented.locate(u_K, claim.ability_SxK[seeds_S][:, settings_K], kind, draws=draws, rng_seed=rng_seed)
    if found is None:
        return None, None
    start, reach = claim.knob_K[0], claim.knob_K[-1] - claim.knob_K[0]
    at, low, high = (float(start + reach * x) for x in (found.at, found.low, found.high))
    return at, (min(low, high), max(low, high))
