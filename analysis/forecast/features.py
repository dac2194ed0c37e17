"""What an early warning may look at: each setting's first readings next to the neutral cells', and its end.

A case is one primary ability of a study in one stratum. Its early readings come from a single evaluation, chosen by
its step alone; nothing later enters them. Every reading of a setting is relative to the neutral cell of the same seed
at the same step, then a mean over seeds: logarithms of ratios where a reading is positive, differences elsewhere.

Shape letters: S seeds, K settings of the claim's knob other than neutral, outwards from it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.activations import claim_site
from analysis.design import neutral_value
from analysis.design.interim import InterimAnalyses
from analysis.results import Results, curve
from analysis.stats import break_test
from analysis.verdicts import Bounds, bounds
from lab.study.spec import Study
from tasks.base import trivial

LOST_SO_FAR = "exact accuracy lost so far"
ABILITIES = (LOST_SO_FAR, "log-probability", "training loss")
# One or two of each kind and fixed before any score was seen: five mechanisms can't rank thirteen metrics.
LATENTS = ("participation_ratio", "two_nn", "fisher_trace", "silhouette", "v_information")
POSITION = "position"
MAY_BE_NEGATIVE = ("silhouette", "v_information")  # differences; the others are ratios
FLOOR = (
    0.05  # added to both sides of a ratio of losses, in shares of the trivial loss: a loss near 0 has no finite ratio
)
LEAST_ROOM = 0.05  # of exact accuracy beyond the trivial: below it nothing can have been lost
TINY = 1e-6  # added to both sides of a ratio of latent metrics, which are far above it unless a cell has collapsed
LARGEST = 3.0  # a ratio beyond e³ counts as e³: one collapsed cell is not to rule a fit
# Ways of cutting weights away; whoever left one out would still have been fitted on the other.
KIN = {"structured": "prune", "rewind": "prune"}


@dataclass(frozen=True)
class ForecastCase:
    """One primary ability of a study, along its knob.

    Attributes:
      study, mechanism, knob: what the study is called, the group it is left out with, the claim's knob.
      ability, stratum: '<task>/<split>', and the values of the grid's other axes.
      step, share: the step that is read, and how much of the training under the knob that is, in (0, 1).
      neutral_now, trivial: exact accuracy of the neutral cells at that step, and of the trivial baseline.
      learned: whether the neutral cells are shown to beat the trivial baseline in the end.
      knob_K, u_K: the settings, in the knob's units and as a share of its range (neutral 0, the far end 1).
      readings: name -> float64[K], the names those of `ABILITIES`, `LATENTS` and `POSITION`; NaN where missing.
      lost_K: mean share of (neutral − trivial) lost at the end, within [0, 1]; NaN where not known (yet).
      broke: u of the first setting shown harmful; None where none is shown.
    """

    study: str
    mechanism: str
    knob: str
    ability: str
    stratum: dict[str, Any]
    step: int
    share: float
    neutral_now: float
    trivial: float
    learned: bool
    knob_K: np.ndarray
    u_K: np.ndarray
    readings: dict[str, np.ndarray]
    lost_K: np.ndarray
    broke: float | None


def early_evaluation(study: Study, share: float) -> tuple[int, float] | None:
    """The evaluation that is read: the last within `share` of the training under the knob, or else the first of all.

    Returns:
      (its index in `Results.step`, the share of training that it lies at); None where the knob has acted at no
      evaluation but the last, which is the outcome itself.
    """
    start, end = study.stages[study.acts_from[study.claim.knob]].start, study.stages[-1].end
    steps = [step for stage in study.stages for step in stage.saves]
    found = [(e, (step - start) / (end - start)) for e, step in enumerate(steps) if start < step < end]
    within = [one for one in found if one[1] <= share + 1e-9]
    return within[-1] if within else found[0] if found else None


def mechanism_of(study: Study) -> str:
    """The group that a study is left out with."""
    name = study.claim.knob.split(".")[0]
    return KIN.get(name, name)


def cases(name: str, results: Results, share: float, looks: InterimAnalyses | None = None) -> list[ForecastCase]:
    """A study's primary abilities, strata outermost; empty where nothing early was evaluated.

    Args:
      name: what the study is called.
      results: its results, finished or not.
      share: how much of the training under the knob may be looked at, in (0, 1).
      looks: at which seeds a refined study was judged.
    """
    early = early_evaluation(results.study, share)
    if early is None:
        return []
    found = bounds(results, looks)
    return [_case(name, results, bound, *early) for bound in found if bound.primary and bound.reading is None]


def _case(name: str, results: Results, bound: Bounds, evaluation: int, share: float) -> ForecastCase:
    study, knob_K = results.study, bound.ability.knob_K
    # Neutral first, as in the break test; it is at one end.
    order_K = np.argsort(np.abs(knob_K - neutral_value(study)))
    u_K = np.abs(knob_K - neutral_value(study))[order_K]
    u_K = u_K / (u_K[-1] or 1.0)

    def now(column: np.ndarray) -> np.ndarray:
        return curve(results, bound.stratum, column, evaluation).values_SxK[:, order_K]

    floor = trivial(study.at(bound.stratum).use(bound.label).task, bound.split)
    exact_SxK = now(results.ability(bound.label, bound.split))
    readings = {POSITION: u_K[1:], LOST_SO_FAR: lost(exact_SxK, floor.exact)}
    loss_SxK = -now(results.ability(bound.label, bound.split, "logprob"))
    readings["log-probability"] = _ratio(loss_SxK, FLOOR * abs(floor.logprob))
    readings["training loss"] = _ratio(now(results.columns["train/loss"]), FLOOR * abs(floor.logprob))
    place = claim_site(study, bound.label)
    for metric in LATENTS:
        if f"{place}/{metric}" in results.columns:
            values_SxK = now(results.latent(place, metric))
            readings[metric] = _difference(values_SxK) if metric in MAY_BE_NEGATIVE else _ratio(values_SxK, TINY)
    end_SxK = bound.ability.values_SxK[:, order_K]
    at = [k for k, value in enumerate(knob_K[order_K]) if value == bound.harmful_from]
    return ForecastCase(
        study=name,
        mechanism=mechanism_of(study),
        knob=study.claim.knob,
        ability=f"{bound.label}/{bound.split}",
        stratum=bound.stratum,
        step=int(results.step[evaluation]),
        share=share,
        neutral_now=float(_mean(exact_SxK)[0]),
        trivial=floor.exact,
        learned=bound.learned,
        knob_K=knob_K[order_K][1:],
        u_K=u_K[1:],
        readings=readings,
        lost_K=np.clip(lost(end_SxK, floor.exact), 0, 1),
        broke=float(u_K[at[0]]) if at else None,
    )


def lost(exact_SxK: np.ndarray, floor: float) -> np.ndarray:
    """Mean share of what the neutral cells (column 0) have beyond `floor` that each other setting lacks.

    Zero where the neutral cells have next to nothing yet (less than `LEAST_ROOM`): nothing can be lost.

    Returns:
      float64[K − 1], within [−1, 1]; NaN where no seed has both.
    """
    room = float(_mean(exact_SxK[:, :1])[0]) - floor
    less_K = _mean(exact_SxK[:, :1] - exact_SxK[:, 1:])
    share_K = np.clip(less_K / room, -1, 1) if room >= LEAST_ROOM else np.zeros(len(less_K))
    return np.where(np.isfinite(less_K), share_K, np.nan)


def _ratio(values_SxK: np.ndarray, floor: float) -> np.ndarray:
    """Mean over seeds of log(setting / neutral), both raised by `floor`."""
    log_SxK = np.log(np.maximum(values_SxK, 0.0) + floor)
    return _difference(log_SxK)


def _difference(values_SxK: np.ndarray) -> np.ndarray:
    """Mean over seeds of setting − neutral, each within ±LARGEST."""
    return _mean(np.clip(values_SxK[:, 1:] - values_SxK[:, :1], -LARGEST, LARGEST))


def _mean(values_SxK: np.ndarray) -> np.ndarray:
    """Mean over the seeds that are there; NaN where none is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a setting without any seed
        return np.nanmean(np.where(np.isfinite(values_SxK), values_SxK, np.nan), axis=0)


def few_seeds(study: Study) -> bool:
    """Whether the study has too few seeds for anything to be shown learned."""
    return len({cell["seed"] for cell in study.cells}) < break_test.least_seeds(study.claim.alpha)["bounds"]
