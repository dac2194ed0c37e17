"""The study's primary claims judged: every gain with every ability, at the last step, by the break test.

Claims that a study fixed before training are primary; every other split is judged for its bounds only and printed as
exploratory. Axes other than the claim's knob and the seed become strata: the claims are judged within each of them.

Shape letters: S seeds, K settings of the claim's knob.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.activations.measure import ProbeSite, claim_site
from analysis.design import cells_of_strata, neutral_value, strata
from analysis.design.interim import InterimAnalyses
from analysis.results import Curve, Results, curve
from analysis.stats import break_test
from lab.errors import UserError
from lab.study.spec import Study
from lab.values import exact
from tasks.base import trivial


@dataclass(frozen=True)
class Judged:
    """One claim with its data and verdict.

    Attributes:
      metric, sign: the latent metric, and +1 if larger is the claimed gain, else -1.
      site: where it is read.
      label, split: the ability.
      stratum: values of the grid's other axes; empty if there are none.
      gain: the metric as it was read (not signed).
      ability: exact accuracy.
      logprob: mean log-probability of the answer, in nats.
      trivial: the best trivial baseline's exact accuracy.
      verdict: the break test's outcome.
      adjusted_p: the deciding p-value adjusted for the number of primary claims (false discovery rate).
    """

    metric: str
    sign: int
    site: ProbeSite
    label: str
    split: str
    stratum: dict[str, Any]
    gain: Curve
    ability: Curve
    logprob: Curve
    trivial: float
    verdict: break_test.Verdict
    adjusted_p: float


@dataclass(frozen=True)
class Bounds:
    """How far one ability is shown free of harm along the knob, whatever the metric.

    Attributes:
      label, split, stratum: as in Judged.
      primary: whether the split is part of the claim.
      ability, logprob: the curves.
      trivial: the best trivial baseline's exact accuracy.
      learned: whether the neutral cells are shown to beat it.
      free_until: the last knob value up to which it is shown free; None where nothing can be tested.
      harmful_from: the first knob value from which it is shown harmful, or None.
      delta: the change that counts, in units of exact accuracy.
      neutral: the knob value that the others are compared with, an end of the ability's settings.
    """

    label: str
    split: str
    stratum: dict[str, Any]
    primary: bool
    ability: Curve
    logprob: Curve
    trivial: float
    learned: bool
    free_until: float | None
    harmful_from: float | None
    delta: float
    neutral: float


def check(study: Study) -> None:
    """Refuse, before training, a claim that the break test can't read.

    Raises:
      UserError: where the knob's neutral value isn't at an end of its axis.
    """
    knob, neutral = study.claim.knob, neutral_value(study)
    for _, inside in cells_of_strata(study):
        values = sorted({float(study.cells[index][knob]) for index in inside})
        if neutral not in (values[0], values[-1]):
            raise UserError(
                f"sweep(): axis '{knob}' must begin or end at {exact(neutral)}, its neutral value or else the study's"
                f" base value, which the claim is compared with; it has {', '.join(map(exact, values))}."
            )


def judge(results: Results, looks: InterimAnalyses | None = None) -> list[Judged]:
    """The verdict of every primary claim, strata outermost, then abilities, then gains.

    Args:
      results: of the whole grid.
      looks: at which seeds a refined study was judged; each look spends its share of α.
    """
    study, claim = results.study, results.study.claim
    uses = {use.label: use for use in study.tasks}
    found = []
    for stratum in strata(study):
        for label, split in claim.abilities:
            floor = trivial(uses[label].task, split).exact
            ability, logprob = _ability(results, stratum, label, split)
            for metric, sign in claim.gains:
                site = claim_site(study, label)
                gain = curve(results, stratum, results.latent(site, metric))
                verdict = break_test.verdict(
                    ability.knob_K,
                    gain.values_SxK * sign,
                    ability.values_SxK,
                    trivial=floor,
                    **_options(study, ability, looks),
                )
                found.append((metric, sign, site, label, split, stratum, gain, ability, logprob, floor, verdict))
    adjusted = break_test.family([row[-1] for row in found])
    return [Judged(*row, adjusted_p=float(p)) for row, p in zip(found, adjusted, strict=True)]


def bounds(results: Results, looks: InterimAnalyses | None = None) -> list[Bounds]:
    """Free and harmful bounds of every evaluated split, primary ones first; the arguments are those of `judge`."""
    study, claim = results.study, results.study.claim
    pairs = list(claim.abilities)
    pairs += [(u.label, s) for u in study.tasks for s in u.splits if (u.label, s) not in claim.abilities]
    uses = {use.label: use for use in study.tasks}
    found = []
    for stratum in strata(study):
        for label, split in pairs:
            floor = trivial(uses[label].task, split).exact
            ability, logprob = _ability(results, stratum, label, split)
            verdict, learned = bounds_verdict(ability, floor, **_options(study, ability, looks))
            found.append(
                Bounds(
                    label,
                    split,
                    stratum,
                    (label, split) in claim.abilities,
                    ability,
                    logprob,
                    floor,
                    learned,
                    verdict.shown_free_until,
                    verdict.shown_harmful_from,
                    verdict.delta,
                    neutral_value(study),
                )
            )
    return found


def _ability(results: Results, stratum: dict[str, Any], label: str, split: str) -> tuple[Curve, Curve]:
    exact = curve(results, stratum, results.ability(label, split))
    return exact, curve(results, stratum, results.ability(label, split, "logprob"))


def _options(study: Study, ability: Curve, looks: InterimAnalyses | None) -> dict[str, Any]:
    knob_K = ability.knob_K
    neutral_index = 0 if neutral_value(study) == knob_K[0] else len(knob_K) - 1
    options = {"neutral_index": neutral_index, "alpha": study.claim.alpha, "delta_share": study.claim.delta}
    return options | (looks.options(knob_K, ability.seed_S) if looks else {})


def bounds_verdict(ability: Curve, floor: float, *, alpha: float, **options: Any) -> tuple[break_test.Verdict, bool]:
    """A verdict that holds an ability's bounds, and whether its neutral cells are shown to beat the trivial baseline.

    The bounds don't depend on a metric; the knob itself stands in for it.
    """
    stand_in = np.broadcast_to(np.arange(len(ability.knob_K), dtype=float), ability.values_SxK.shape)
    values_SxK = ability.values_SxK
    options |= {"draws": 1}  # of a break, which a bound does not have
    verdict = break_test.verdict(ability.knob_K, stand_in, values_SxK, trivial=floor, alpha=alpha, **options)
    return verdict, verdict.kind != "not learned" and verdict.p_values.get("learned", 1.0) <= alpha
