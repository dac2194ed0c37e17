"""Lead–lag analysis: which reaches half of its total change first during training, a latent metric or the ability?

For each seed: the step at which a reading has gone half of the way from the first checkpoint of a stretch to its last,
by linear interpolation between the kept checkpoints. Two readings of the same cells are compared by the ratio of their
steps (paired by seed, in logarithms), with the interval that inverts the sign-flip test (Hartigan 1969). A ratio that
stays within one gap between checkpoints is `together`: interpolation can't decide an order. Exploratory: nothing
corrects for the number of comparisons.

Cells that share a prefix have the same numbers up to where the knob acts. That stretch is read once, for all settings;
each setting's own begins at its last checkpoint.

Shape letters: S seeds, K settings of the claim's knob, E evaluations, F sign flips.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.diagnosis.broken_ability import by_ability, key_of
from analysis.results import Results, curve, shared_evaluations
from analysis.stats.sign_flip import sign_flip_p, sign_flips, without_rounding
from analysis.verdicts import Bounds, Judged

MIN_CHECKPOINTS = 4  # of a stretch: fewer leave no gap between its ends in which an order could show
LONG = 2.0  # grokking: the ability takes more than this many times the steps of the accuracy on training problems
TRAINED_ON = ("train", "seen")  # the split of a task whose problems are those of training, where it has one
LOGPROB, TOO_FEW = "log-probability", "too few checkpoints"
PATTERNS = {
    "latents first": "the latent metric has gone half of its way before the ability has",
    "log-probability first": "the answers' log-probability rises before exact accuracy does: a continuous score sees it"
    " earlier (arXiv 2304.15004)",
    "training problems first": "accuracy on the problems trained on rises before the ability does",
    "grokking": f"accuracy on the problems trained on rises, and the ability takes more than {LONG:g} times the steps"
    " (arXiv 2201.02177)",
    "ability first": "the ability has risen by half before the other reading has",
    "together": "whatever lies between them is less than one gap between checkpoints",
    "not shown": "one of the two doesn't move, the seeds allow either order, or the order rests on interpolation alone",
    TOO_FEW: f"fewer than {MIN_CHECKPOINTS} in the stretch, or half of the rise came before the first",
}


@dataclass(frozen=True)
class Order:
    """One reading against the ability.

    Attributes:
      against: the key of a claimed gain (a latent metric's name), 'log-probability', or the split trained on.
      pattern: one of `PATTERNS`.
      against_half, ability_half: steps at which each is half-way (geometric mean over seeds), counted from the start of
        training, or from where the settings part; NaN where it can't be determined.
      ratio, low, high: the first over the second and its interval at 1 − alpha.
      n_seeds: seeds in which both moved.
    """

    against: str
    pattern: str
    against_half: float = float("nan")
    ability_half: float = float("nan")
    ratio: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    n_seeds: int = 0


@dataclass(frozen=True)
class Trajectory:
    """A primary ability over a stretch of training.

    Attributes:
      label, split, stratum: the ability, as in `claims.Bounds`.
      setting: the knob's value; None for the stretch that all settings share.
      start, end: the steps at which the stretch begins (0, or where settings part) and ends.
      checkpoints: how many it has, its first one with it.
      plateau: mean share of training (from step 0 to `end`) within δ of the trivial baseline; NaN where the ability is
        not learned, and in a setting's own stretch.
      orders: against every claimed metric, the log-probability, and the problems trained on where they are a split.
    """

    label: str
    split: str
    stratum: dict[str, Any]
    setting: float | None
    start: int
    end: int
    checkpoints: int
    plateau: float
    orders: tuple[Order, ...]


def trajectories(results: Results, claims: Sequence[Judged], bounds: Sequence[Bounds]) -> list[Trajectory]:
    """The order in time of every primary ability: what all settings share, then each setting's own."""
    claims_of, found = by_ability(claims), []
    for bound in (one for one in bounds if one.primary):
        together = shared_evaluations(results, bound.stratum)
        readings = dict(_readings(results, bound, claims_of.get(key_of(bound), ())))
        if together:  # every setting has these numbers: the first stands for all
            found.append(_trajectory(results, bound, readings, None, slice(0, together)))
        for setting in range(len(bound.ability.knob_K)):
            found.append(_trajectory(results, bound, readings, setting, slice(max(together - 1, 0), None)))
    return found


def _readings(results: Results, bound: Bounds, claims: Sequence[Judged]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float64[S, K, E]) of the ability itself, '', and of what it is compared with, given its claims."""
    columns = {"": results.ability(bound.label, bound.split)}
    for one in claims:
        columns[one.claimed.key] = results.latent(one.site, one.metric)
    if bound.reading is None or bound.reading.probe is None:  # a probe answers nothing
        columns[LOGPROB] = results.ability(bound.label, bound.split, "logprob")
    for split in TRAINED_ON:
        if f"{bound.label}/{split}/exact" in results.columns and split != bound.split:
            columns[split] = results.ability(bound.label, split)
    for name, column in columns.items():
        over = [curve(results, bound.stratum, column, e).values_SxK for e in range(len(results.step))]
        yield name, np.stack(over, axis=-1)


def _trajectory(
    results: Results, bound: Bounds, readings: dict[str, np.ndarray], setting: int | None, stretch: slice
) -> Trajectory:
    step_E = results.step[stretch]
    start = int(step_E[0]) if stretch.start else 0
    own = {name: values_SxKxE[:, setting or 0, stretch] for name, values_SxKxE in readings.items()}
    ability_SxE, floor = own.pop(""), None if start else bound.trivial
    alpha = results.study.claim.alpha
    orders = [compare(other, ability_SxE, step_E, start, alpha, name, floor) for name, other in own.items()]
    plateau = float("nan")
    if bound.learned and not start:
        plateau = plateau_share(ability_SxE, step_E, bound.trivial + bound.delta)
    value = None if setting is None else float(bound.ability.knob_K[setting])
    return Trajectory(
        bound.label, bound.split, bound.stratum, value, start, int(step_E[-1]), len(step_E), plateau, tuple(orders)
    )


def compare(
    other_SxE: np.ndarray,
    ability_SxE: np.ndarray,
    step_E: np.ndarray,
    start: int,
    alpha: float,
    against: str,
    trivial: float | None = None,
) -> Order:
    """Which of two readings of the same cells is half-way first.

    Args:
      other_SxE: the reading that the ability is compared with; it may rise or fall.
      ability_SxE: the ability, which must rise for an order to be shown.
      step_E: steps of the evaluations, ascending.
      start: the step from which time counts.
      alpha: level of the tests.
      against: what the other reading is.
      trivial: the trivial ability; where half of the rise from it came before the first evaluation, no order is shown.
    """
    there_S = np.isfinite(other_SxE).all(axis=1) & np.isfinite(ability_SxE).all(axis=1)
    other_SxE, ability_SxE = other_SxE[there_S], ability_SxE[there_S]
    if len(step_E) < MIN_CHECKPOINTS:
        return Order(against, TOO_FEW)
    if not len(ability_SxE) or not _moves(ability_SxE, alpha) > 0 or not (way := _moves(other_SxE, alpha)):
        return Order(against, "not shown")
    first, last = ability_SxE[:, 0].mean(), ability_SxE[:, -1].mean()
    if trivial is not None and first - trivial > 0.5 * (last - trivial):
        return Order(against, TOO_FEW)
    ours_S, gap_S, at_S = half_way(ability_SxE, step_E, start)
    theirs_S, _, their_at_S = half_way(way * other_SxE, step_E, start)
    both_S = np.isfinite(ours_S) & np.isfinite(theirs_S)
    if not both_S.any():  # each moves, but in other seeds
        return Order(against, "not shown")
    log_S = without_rounding(np.log(theirs_S[both_S] / ours_S[both_S]))
    low, high = flip_interval(log_S, alpha)
    halves = [float(np.exp(np.log(steps_S[both_S]).mean())) for steps_S in (theirs_S, ours_S)]
    # How many checkpoints the ability's half lies after the other's: what interpolation can't change.
    behind = float(np.median(at_S[both_S] - their_at_S[both_S]))
    gap = float(np.median(gap_S[both_S]))
    pattern = _pattern(against, low, high, behind, gap)
    ratios = np.exp([log_S.mean(), low, high]).tolist()
    return Order(against, pattern, *halves, *ratios, n_seeds=int(both_S.sum()))


def _pattern(against: str, low: float, high: float, behind: float, gap: float) -> str:
    if high < 0 and behind >= 1:
        if against in TRAINED_ON:
            return "grokking" if high < -np.log(LONG) else "training problems first"
        return "log-probability first" if against == LOGPROB else "latents first"
    if low > 0 and behind <= -1:
        return "ability first"
    return "together" if max(-low, high) <= gap else "not shown"


def _moves(values_SxE: np.ndarray, alpha: float) -> int:
    """1 or −1 where a reading is shown to end above or below where it started, else 0."""
    change_Sx1 = (values_SxE[:, -1] - values_SxE[:, 0])[:, None]
    change_Sx1 = without_rounding(change_Sx1 / (np.abs(change_Sx1).max() or 1.0))
    ups, downs = (float(sign_flip_p(way * change_Sx1)[0]) <= alpha / 2 for way in (1, -1))
    return int(ups) - int(downs)


def half_way(values_SxE: np.ndarray, step_E: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When each seed's rising reading is first half of the way up.

    Returns:
      (steps since `start`, logarithm of the gap between checkpoints in which it is, index of that gap's later end),
      each [S] and NaN for a seed whose reading doesn't rise.
    """
    elapsed_E = np.asarray(step_E, float) - start
    steps_S, gaps_S, at_S = (np.full(len(values_SxE), np.nan) for _ in range(3))
    for s, values_E in enumerate(values_SxE):
        half = (values_E[0] + values_E[-1]) / 2
        if not values_E[-1] > values_E[0]:
            continue
        e = int(np.argmax(values_E >= half))  # never 0: the first lies below half
        if not elapsed_E[e]:  # in a stage without steps at the fork, which takes no time
            continue
        before, after = elapsed_E[e - 1], elapsed_E[e]
        share = (half - values_E[e - 1]) / (values_E[e] - values_E[e - 1])
        steps_S[s], at_S[s] = before + share * (after - before), e
        gaps_S[s] = np.log(after / max(before, after / 2))  # from the fork itself a gap has no finite ratio
    return steps_S, gaps_S, at_S


def flip_interval(values_S: np.ndarray, alpha: float) -> tuple[float, float]:
    """The mean's interval at 1 − alpha: every mean that two-sided sign flips don't reject.

    Its ends are order statistics of the means of all subsets of the seeds (typical values: Hartigan 1969, JASA 64).
    Infinite where so few seeds can reject nothing.
    """
    if not len(values_S):
        return -np.inf, np.inf
    inside_FxS = (sign_flips(len(values_S), 0) > 0).astype(float)
    size_F = inside_FxS.sum(axis=1)
    means = np.sort((inside_FxS @ values_S)[size_F > 0] / size_F[size_F > 0])
    rank = int(alpha / 2 * len(inside_FxS) + 1e-9)
    return (float(means[rank - 1]), float(means[-rank])) if rank else (-np.inf, np.inf)


def plateau_share(ability_SxE: np.ndarray, step_E: np.ndarray, level: float) -> float:
    """Mean share over seeds of the steps from 0 to the last at which ability is at most `level`.

    Between checkpoints it is interpolated; before the first it is taken to be as at the first.
    """
    ability_SxE = ability_SxE[np.isfinite(ability_SxE).all(axis=1)]
    if not len(ability_SxE):
        return float("nan")
    values_SxE = np.concatenate([ability_SxE[:, :1], ability_SxE], axis=1)
    gap_E = np.diff(np.concatenate([[0.0], step_E]))
    left, right = values_SxE[:, :-1], values_SxE[:, 1:]
    lowest, highest = np.minimum(left, right), np.maximum(left, right)
    spread = np.where(highest > lowest, highest - lowest, 1.0)
    below_SxE = np.where(highest > lowest, np.clip((level - lowest) / spread, 0, 1), (left <= level).astype(float))
    return float((below_SxE @ gap_E / step_E[-1]).mean())


def shown(found: Sequence[Trajectory], neutral: float) -> Iterator[Trajectory]:
    """Those that a report prints: what all settings share, neutral's own and the far end's own."""
    ends = {one.setting for one in found if one.setting is not None}
    far = max(ends, key=lambda value: abs(value - neutral), default=neutral)
    return (one for one in found if one.setting in (None, neutral, far))
