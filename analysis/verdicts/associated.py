"""An association judged: does each metric predict each ability over the cells of a grid, and beyond the loss?

Shape letters: S seeds, K settings: the combinations of the claim's knobs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from analysis.activations.claimed_sites import claimed_site
from analysis.activations.measure import ProbeSite
from analysis.design import strata, value_at
from analysis.results import Curve, Results, ability_curve, claimed_floor, curve, evaluation_at
from analysis.stats import Association, association_of
from lab.study.places import Gain
from lab.study.spec import Study

LOSS, LOGPROB = "training loss", "log-probability"
"""What an association is taken beyond: the loss at the end of training, and the answers' mean log-probability."""


@dataclass(frozen=True)
class Associated:
    """One metric and one ability over the cells of a grid.

    Attributes:
      claimed: the latent metric and its place; of sign +1 where a larger one is claimed to mean a better ability.
      site: where it is read.
      label, split, stratum: the ability, and the values of axes that are none of the claim's.
      gain: the metric as it was read (not signed), over seeds and settings.
      ability: exact accuracy, or its own reading; a diverged cell has no metric, and is left out.
      trivial: the best trivial baseline's.
      found: of the metric times its sign with the ability.
      adjusted_p: the verdict's p-value adjusted for the number of claims (false discovery rate).
    """

    claimed: Gain
    site: ProbeSite
    label: str
    split: str
    stratum: dict[str, Any]
    gain: Curve
    ability: Curve
    trivial: float
    found: Association
    adjusted_p: float

    @property
    def metric(self) -> str:
        """The latent metric."""
        return self.claimed.metric

    @property
    def sign(self) -> int:
        """+1 where a larger metric is claimed to mean a better ability, else -1."""
        return self.claimed.sign

    @property
    def stands(self) -> bool:
        """Whether the verdict stays so after correction for the number of claims."""
        return self.adjusted_p <= self.found.alpha


def associate(results: Results) -> list[Associated]:
    """Every gain with every ability, strata outermost, then abilities, then gains."""
    study, rows = results.study, []
    for stratum in strata(study):
        loss = curve(results, stratum, results.columns["train/loss"]).values_SxK
        for label, split in study.claim.abilities:
            ability = ability_curve(results, stratum, label, split)
            floor = claimed_floor(results, stratum, label, split)
            controls, place = {LOSS: loss}, study.claim.place(label, split)
            if place is None or place.probe is None:  # a probe answers nothing
                controls[LOGPROB] = ability_curve(results, stratum, label, split, "logprob").values_SxK
            for claimed in study.claim.every_gain:
                site = claimed_site(study, claimed, label)
                column = results.latent(site, claimed.metric)
                gain = curve(results, stratum, column, evaluation_at(results, claimed))
                if ability.diverged_SxK is not None:  # no metric either, also where it was read before
                    gain = replace(gain, values_SxK=np.where(ability.diverged_SxK, np.nan, gain.values_SxK))
                found = association_of(
                    claimed.sign * gain.values_SxK,
                    ability.values_SxK,
                    controls,
                    lines(study, ability.knob_K),
                    alpha=study.claim.alpha,
                )
                rows.append((claimed, site, label, split, stratum, gain, ability, floor, found))
    adjusted = stats.false_discovery_control([row[-1].p for row in rows]) if rows else ()
    return [Associated(*row, adjusted_p=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def lines(study: Study, settings_K: np.ndarray) -> dict[str, np.ndarray]:
    """For each knob int[K]: settings that differ in it alone have one number; knobs with one value are left out."""
    settings = [value_at(study, setting) for setting in settings_K.tolist()]
    found = {}
    for knob in study.claim.knobs:
        others = [tuple(value for name, value in one.items() if name != knob) for one in settings]
        if len({one[knob] for one in settings}) > 1:
            known = list(dict.fromkeys(others))
            found[knob] = np.asarray([known.index(one) for one in others])
    return found
