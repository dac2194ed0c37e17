"""An ability that breaks, with what the rules of a diagnosis compare at its break, and the record that a rule gives.

Shape letters: S seeds, K settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.activations.measure import claim_site
from analysis.results import NO_RECORDS, Records, Results, ability_curve, ability_floor, curve
from analysis.stats.sign_flip import sign_flip_p, without_rounding
from analysis.verdicts import Bounds, Judged
from lab.study.spec import Study
from tasks.base import Split


@dataclass(frozen=True)
class Diagnosis:
    """One cause tested for one ability.

    Attributes:
      task, split, stratum: the ability, as in `claims.Bounds`.
      cause: one of `diagnose.CAUSES`.
      status: one of `diagnose.STATUSES`.
      at: the knob's setting that is compared with neutral.
      evidence: what was measured: mean changes and p-values, by name.
      needs: the intervention that would decide a suspicion, or ''.
      by: the arm of a repair that decided it, or ''.
    """

    task: str
    split: str
    stratum: dict[str, Any]
    cause: str
    status: str
    at: float
    evidence: dict[str, float] = field(default_factory=dict)
    needs: str = ""
    by: str = ""


def ability_of(bound: Bounds) -> tuple[str, str, dict[str, Any]]:
    """What identifies an ability: task, split, and the values of the other axes."""
    return bound.label, bound.split, bound.stratum


def by_ability(claims: Iterable[Judged]) -> dict[tuple[Any, ...], list[Judged]]:
    """Claims by ability, each under `key_of`: of a large grid there are thousands."""
    found: dict[tuple[Any, ...], list[Judged]] = {}
    for one in claims:
        found.setdefault(key_of(one), []).append(one)
    return found


def key_of(one: Bounds | Judged) -> tuple[Any, ...]:
    """What identifies an ability, as a key."""
    return one.label, one.split, *one.stratum.items()


@dataclass(frozen=True)
class BrokenAbility:
    """An ability that breaks, and how to compare any column at its break with neutral."""

    results: Results
    bound: Bounds
    records: Records = NO_RECORDS

    @property
    def study(self) -> Study:
        """The study."""
        return self.results.study

    @property
    def harmed(self) -> bool:
        """Whether the ability is shown harmful from some setting on."""
        return self.bound.harmful_from is not None

    def untestable(self, rule: Callable[..., Diagnosis]) -> Diagnosis:
        """A rule's diagnosis where there is nothing that it could be tested on."""
        return self.diagnosis(rule.__name__.replace("_", " ").replace("over ", "over-"), "not testable")

    @property
    def at(self) -> float:
        """The setting that is compared with neutral: the first shown harmful, or the farthest."""
        far = [value for value in self.bound.ability.knob_K if value != self.bound.neutral]
        last = max(far, key=lambda value: abs(value - self.bound.neutral))
        return float(last) if self.bound.harmful_from is None else self.bound.harmful_from

    @property
    def farther(self) -> list[float]:
        """Settings beyond the first shown harmful, the farthest first; none where none is."""
        neutral, first = self.bound.neutral, self.bound.harmful_from
        if first is None:
            return []
        beyond = [float(v) for v in self.bound.ability.knob_K if abs(v - neutral) > abs(first - neutral)]
        return sorted(beyond, key=lambda value: -abs(value - neutral))

    def values(self, name: str, setting: float, evaluation: int = -1) -> np.ndarray:
        """A column's values at a setting, float64[S]; NaN where a cell is missing."""
        found = curve(self.results, self.bound.stratum, self.results.columns[name], evaluation)
        return found.values_SxK[:, int(np.argmin(np.abs(found.knob_K - setting)))]

    def ability(self, setting: float, reading: str = "exact", split: str = "", evaluation: int = -1) -> np.ndarray:
        """A reading of the ability's task at a setting, float64[S]: of a cell that diverged, the trivial predictor's.

        What a cell lost by diverging is lost: the cells that are left must not speak for those that are gone.
        """
        found = ability_curve(
            self.results, self.bound.stratum, self.bound.label, split or self.bound.split, reading, evaluation
        )
        return found.values_SxK[:, int(np.argmin(np.abs(found.knob_K - setting)))]

    def ability_change(self, reading: str = "exact", split: str = "") -> np.ndarray:
        """The paired change of such a reading from neutral to the break, float64[S]."""
        return self.ability(self.at, reading, split) - self.ability(self.bound.neutral, reading, split)

    def floor(self, reading: str) -> float:
        """What the best trivial predictor reaches, by a reading."""
        return ability_floor(self.study.at(self.bound.stratum), self.bound.label, self.bound.split, reading)

    def edited(self, name: str) -> np.ndarray:
        """A reading under edited activations at the break, float64[S]; NaN where a cell was not edited."""
        found = curve(self.results, self.bound.stratum, self.records.activation_edits[name][:, None])
        return found.values_SxK[:, int(np.argmin(np.abs(found.knob_K - self.at)))]

    def neutral(self, name: str, evaluation: int = -1) -> np.ndarray:
        """A column's values at neutral, float64[S]."""
        return self.values(name, self.bound.neutral, evaluation)

    def change(self, name: str) -> np.ndarray:
        """A column's paired change from neutral to the break, float64[S]."""
        return self.values(name, self.at) - self.neutral(name)

    def shown(self, *contrasts_S: np.ndarray) -> tuple[bool, float]:
        """Whether every contrast is shown to be positive, and the largest p-value; a contrast's unit doesn't matter."""
        ps = []
        for contrast_S in contrasts_S:
            size = np.abs(contrast_S[np.isfinite(contrast_S)]).max(initial=0.0) or 1.0
            ps.append(float(sign_flip_p(without_rounding(contrast_S[:, None] / size))[0]))
        return max(ps) <= self.study.claim.alpha, max(ps)

    def diagnosis(self, cause: str, status: str, needs: str = "", /, **evidence: float) -> Diagnosis:
        """A diagnosis of this ability."""
        return Diagnosis(*ability_of(self.bound), cause, status, self.at, evidence, needs)

    def decided(self, cause: str, status: str, needs: str, by: str, evidence: dict[str, float]) -> Diagnosis:
        """A diagnosis that rests on arms of a repair."""
        return replace(self.diagnosis(cause, status, needs), by=by, evidence=evidence)

    def recovery(self, arms: Sequence[str]) -> tuple[str, bool | None, dict[str, float]]:
        """The first of some arms that recovers half of what was lost.

        Returns:
          its name ('' if none does), whether half is recovered (None where that is open or no arm was run; False where
          all arms that were run are shown to stay below), and the shares that were measured.
        """
        run = self.records.repairs.of(*ability_of(self.bound), self.at) if self.records.repairs else {}
        evidence = {f"recovered by {arm}": run[arm].share for arm in arms if arm in run}
        tried = [run[arm] for arm in arms if arm in run and run[arm].p("lacks") <= self.study.claim.alpha]
        for one in tried:
            if one.p("half") <= self.study.claim.alpha:
                return one.arm, True, evidence | {"p of half": one.p("half")}
        below = bool(tried) and all(one.p("under half") <= self.study.claim.alpha for one in tried)
        return "", False if below else None, evidence

    def column(self, split: str, reading: str = "exact") -> str:
        """The name of a reading of the ability's task."""
        return f"{self.bound.label}/{split}/{reading}"

    def latent(self, metric: str) -> str:
        """The name of a latent reading at the claim's site."""
        return f"{claim_site(self.study, self.bound.label)}/{metric}"

    @property
    def splits(self) -> dict[str, Split]:
        """The splits of the ability's task."""
        return self.study.at(self.bound.stratum).use(self.bound.label).splits
