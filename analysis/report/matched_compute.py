"""Abilities at matched compute: where each setting of the claim's knob stood when the same compute was spent on it.

The budget is the largest that every cell has spent: the total of the cheapest. A cell that spends more a step is read
where it had spent the budget, between the two checkpoints around it, linearly in steps. Differences to neutral are
paired by seed and summarized for the eye as elsewhere in a report (`analysis.stats.summaries`); verdicts rest on
matched steps.

Shape letters: S seeds, K settings, E evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from analysis.design import neutral_value, without_side
from analysis.diagnosis import Findings
from analysis.report import names, wording
from analysis.results import Curve, Results, ability_curve, curve
from analysis.stats import summaries
from lab.study.spec import Study

LEAST_SHARE = 0.01  # settings whose totals differ by less are matched as they are
ROUNDING = 1e-9  # relative: sums of the same terms in another order
PLACES = {1: "ahead of neutral", 0: "not distinguished from neutral", -1: "behind neutral"}
UNREAD = "can't be read at matched compute"


@dataclass(frozen=True)
class Pair:
    """One ability at matched steps and at matched compute.

    Attributes:
      label, split: the ability.
      at_steps: after the last step.
      at_compute: at the budget; NaN where nothing was read around it.
    """

    label: str
    split: str
    at_steps: Curve
    at_compute: Curve


@dataclass(frozen=True)
class Matched:
    """One stratum at matched compute.

    Attributes:
      budget: training FLOPs.
      knob_K: the settings.
      total_K: float64[K], training FLOPs of each after its last step, mean over seeds.
      step_K: float64[K], the step at which each had spent the budget, mean over seeds.
      spent_SxKxE: training FLOPs at every evaluation.
      pairs: the primary abilities.
    """

    budget: float
    knob_K: np.ndarray
    total_K: np.ndarray
    step_K: np.ndarray
    spent_SxKxE: np.ndarray
    pairs: tuple[Pair, ...]


def matched(findings: Findings) -> Matched | None:
    """The findings of a stratum at matched compute.

    None where compute doesn't depend on the claim's knob, or where there is nothing to compare: a single checkpoint, or
    none but neutral cells that were read around the budget.
    """
    results, study, stratum = findings.results, findings.study, findings.stratum or {}
    count = len(results.step)
    if results.costs is None or count < 2:
        return None
    curves = [curve(results, stratum, results.costs.training_flops, e) for e in range(count)]
    knob_K, spent_SxKxE = curves[-1].knob_K, np.stack([one.values_SxK for one in curves], axis=-1)
    totals_SxK = spent_SxKxE[..., -1]
    totals = totals_SxK[np.isfinite(totals_SxK)]
    if not len(totals) or totals.max() <= (1 + LEAST_SHARE) * totals.min():
        return None
    budget = float(totals.min())
    neutral_K = knob_K == neutral_value(study)
    joined_E, acts_E = _joined(results), _acts(results, stratum)

    def at_budget(column: np.ndarray, everywhere: bool = False) -> np.ndarray:
        """float64[S, K]; `everywhere` for what has no jump where the knob begins to act."""
        values = np.stack([curve(results, stratum, column, e).values_SxK for e in range(count)], axis=-1)
        values = np.where(acts_E | everywhere, values, np.nan)
        found = [
            [
                read(spent, value, joined_E | everywhere | neutral, budget)
                for spent, value, neutral in zip(*row, neutral_K, strict=True)
            ]
            for row in zip(spent_SxKxE, values, strict=True)
        ]
        return np.asarray(found, float)

    pairs = []
    for label, split in study.claim.abilities:
        if study.claim.place(label, split) is not None:  # read at a step, or by a measure, of its own
            continue
        column = results.ability(label, split)
        at_steps = ability_curve(results, stratum, label, split)
        at_compute = Curve(at_steps.knob_K, at_steps.seed_S, at_budget(column))
        pairs.append(Pair(label, split, at_steps, at_compute))
    if not any(np.isfinite(pair.at_compute.values_SxK[:, ~neutral_K]).any() for pair in pairs):
        return None
    steps = np.broadcast_to(results.step, results.costs.training_flops.shape).astype(float)
    return Matched(
        budget, knob_K, _mean(totals_SxK), _mean(at_budget(steps, everywhere=True)), spent_SxKxE, tuple(pairs)
    )


def read(spent_E: np.ndarray, value_E: np.ndarray, joined_E: np.ndarray, budget: float) -> float:
    """A reading where a cell had spent the budget, on the straight line between the checkpoints around it.

    Args:
      spent_E: rising.
      value_E: the readings.
      joined_E: whether a line may be drawn to each from the one before.
      budget: in the unit of `spent_E`.

    Returns:
      NaN before the first checkpoint, after the last one, and where no line may be drawn.
    """
    reached = np.flatnonzero(spent_E >= budget * (1 - ROUNDING))
    if not len(reached):
        return np.nan
    after = int(np.flatnonzero(spent_E <= spent_E[reached[0]])[-1])  # a stage without steps spends nothing
    if spent_E[after] <= budget * (1 + ROUNDING):
        return float(value_E[after])
    if after == 0 or not joined_E[after]:
        return np.nan
    share = (budget - spent_E[after - 1]) / (spent_E[after] - spent_E[after - 1])
    return float(value_E[after - 1] + share * (value_E[after] - value_E[after - 1]))


def _joined(results: Results) -> np.ndarray:
    """bool[E]: False for the first evaluation after the claim's knob begins to act: abilities may have jumped there."""
    study = results.study
    numbers_E = np.asarray([[stage.name for stage in study.stages].index(name) for name in results.stage])
    acts = study.acts_from[study.claim.knob]
    before_E = np.concatenate([[-1], numbers_E[:-1]])
    return ~((before_E < acts) & (numbers_E >= acts) & (acts > 0))


def _acts(results: Results, stratum: dict[str, Any]) -> np.ndarray:
    """bool[E]: whether all that distinguishes a stratum from its neutral one acts; before, both read the same."""
    study = results.study
    names = [stage.name for stage in study.stages]
    others = without_side(stratum).items()
    active = [study.acts_from[knob] for knob, value in others if value != study.knobs[knob].neutral]
    return np.asarray([names.index(name) for name in results.stage]) >= max(active, default=0)


def _mean(values_SxK: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values_SxK)
    sums_K = np.where(finite, values_SxK, 0.0).sum(axis=0)
    return np.where(finite.any(axis=0), sums_K / np.maximum(finite.sum(axis=0), 1), np.nan)


def differences(values: Curve, neutral: float) -> np.ndarray:
    """Each cell's reading minus that of its seed's neutral cell: float64[S, K]."""
    return values.values_SxK - values.values_SxK[:, values.knob_K == neutral]


def signs(differences_SxK: np.ndarray) -> list[int | None]:
    """For each setting whether the interval of its difference lies above 0, below, or around; None without one."""
    low_K, high_K = summaries.interval(differences_SxK)
    return [
        None if not np.isfinite(low) else int(low > 0) - int(high < 0) for low, high in zip(low_K, high_K, strict=True)
    ]


def table(findings: Findings) -> dict[str, Any]:
    """What a report prints of a stratum at matched compute; empty where there is nothing to match."""
    one, study = matched(findings), findings.study
    if one is None:
        return {}
    words = wording.phrase(study)
    cheapest = float(one.knob_K[int(np.nanargmin(one.total_K))])
    intro = (
        f"The budget is {flops_text(one.budget)} FLOPs of training, the most that every cell has spent"
        f" ({words.setting(cheapest)} is the cheapest setting, the dearest spends"
        f" {np.nanmax(one.total_K) / np.nanmin(one.total_K):.3g} times as much in as many steps). Cells that spend more"
        " a step are read where they had spent as much, on the straight line between the checkpoints around it."
    )
    return {
        "intro": intro,
        "sentences": [text for pair in one.pairs for text in _sentences(study, pair)],
        "lines": [line for pair in one.pairs for line in _lines(study, one, pair)],
        "schedule": schedule_text(study, one),
    }


def flops_text(value: float) -> str:
    """A number of FLOPs, or of parameters, in three digits."""
    return f"{value:.3g}" if value >= 1e6 else f"{value:,.0f}"


def _lines(study: Study, one: Matched, pair: Pair) -> Iterator[dict[str, str]]:
    neutral, words = neutral_value(study), wording.phrase(study)
    shown = {}
    for name, values in (("steps", pair.at_steps), ("compute", pair.at_compute)):
        apart_SxK = differences(values, neutral)
        apart_K, (low_K, high_K) = summaries.iqm(apart_SxK), summaries.interval(apart_SxK)
        shown[name] = summaries.iqm(values.values_SxK), apart_K, low_K, high_K
    for k, value in enumerate(pair.at_steps.knob_K):
        line = {"ability": names.ability(study, pair.label, pair.split), "setting": words.short(float(value))}
        line |= {"total": flops_text(one.total_K[k]), "step": wording.number(one.step_K[k], ",.0f")}
        for name, (iqm_K, apart_K, low_K, high_K) in shown.items():
            line[name] = wording.number(iqm_K[k], ".3f")
            apart = wording.number(apart_K[k], "+.3f")
            between = f" [{low_K[k]:+.3f}, {high_K[k]:+.3f}]" if np.isfinite(low_K[k]) else ""
            line[f"{name}_apart"] = "—" if value == neutral else f"{apart}{between}"
        yield line


def _sentences(study: Study, pair: Pair) -> Iterator[str]:
    """Where each setting stands compared with neutral, settings that stand alike in one sentence."""
    neutral, words = neutral_value(study), wording.phrase(study)
    steps, compute = (signs(differences(values, neutral)) for values in (pair.at_steps, pair.at_compute))
    groups: dict[str, list[str]] = {}
    for value, by_steps, by_compute in zip(pair.at_steps.knob_K, steps, compute, strict=True):
        if value == neutral or by_steps is None:
            continue
        if by_compute is None:
            standing = f"{PLACES[by_steps]} at matched steps; {UNREAD}"
        elif by_steps == by_compute:
            standing = f"{PLACES[by_steps]} at matched steps and at matched compute"
        else:
            standing = f"{PLACES[by_steps]} at matched steps, {PLACES[by_compute]} at matched compute"
        groups.setdefault(standing, []).append(words.short(float(value)))
    for standing, settings in groups.items():
        be = "is" if len(settings) == 1 else "are"
        ability = names.ability(study, pair.label, pair.split)
        yield f"{wording.capital(ability)}: {wording.listed(settings)} {be} {standing}."


def schedule_text(study: Study, one: Matched) -> str:
    """Whether cells at the budget are what runs of that length would have given."""
    if study.schedule.name == "constant":
        return "The learning rate is constant, so a cell at the budget is what a run of that length would have given."
    steps = one.step_K[np.isfinite(one.step_K)]
    early = [float(study.schedule(jnp.int32(round(step) - 1))) for step in steps if step < study.stages[-1].end]
    if not early:
        return (
            f"The schedule '{study.schedule.name}' is that of the whole run; a constant one makes the fair comparison."
        )
    at = f"{min(early):.0%}" if f"{min(early):.0%}" == f"{max(early):.0%}" else f"{min(early):.0%} to {max(early):.0%}"
    return (
        f"The schedule '{study.schedule.name}' is that of the whole run: settings read before their last step are read"
        f" at {at} of the learning rate, not yet decayed as in a run of that length, which counts against them. A"
        " constant schedule makes the fair comparison."
    )
