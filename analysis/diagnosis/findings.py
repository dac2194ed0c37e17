"""What a study found, in one object: computed once, and taken by every view, by the library and by `run.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from analysis.design import is_association, strata
from analysis.diagnosis.broken_ability import Diagnosis
from analysis.diagnosis.diagnose import diagnose
from analysis.diagnosis.lead_lag import Trajectory, trajectories
from analysis.results import NO_RECORDS, Records, Results
from analysis.results.recovery_record import Outcome
from analysis.verdicts import Associated, Bounds, Judged, associate, bounds, judge
from lab.study.spec import Study

Stratum = Mapping[str, Any]
"""The values of the grid's other axes, as in `Bounds.stratum`; empty where there are none."""
InStratum = TypeVar("InStratum", Judged, Bounds, Diagnosis, Trajectory, Outcome, Associated)


@dataclass(frozen=True)
class Findings:
    """The measurements of a study and everything concluded from them.

    Attributes:
      results: every reading of every cell, of all strata.
      claims: the verdicts of the primary claims, strata outermost, then abilities, then gains.
      bounds: how far each ability is shown free of harm, primary ones first within each stratum.
      diagnoses: the causes tested for every ability that breaks.
      lead_lag: for each primary ability, what moves first while cells train.
      records: how the study was tuned and refined, what edits of activations and arms of a repair showed.
      associations: of a claim over all cells of a grid; it has no verdicts, bounds, diagnoses or lead–lag.
      stratum: the stratum that claims, bounds, diagnoses, lead–lag and repairs are restricted to; None for all.
    """

    results: Results
    claims: tuple[Judged, ...]
    bounds: tuple[Bounds, ...]
    diagnoses: tuple[Diagnosis, ...]
    lead_lag: tuple[Trajectory, ...]
    records: Records = NO_RECORDS
    stratum: dict[str, Any] | None = None
    associations: tuple[Associated, ...] = ()

    @property
    def study(self) -> Study:
        """The study."""
        return self.results.study

    @property
    def strata(self) -> list[dict[str, Any]]:
        """The strata that these findings are about."""
        return strata(self.study) if self.stratum is None else [self.stratum]

    @property
    def primary(self) -> list[Bounds]:
        """The bounds of the abilities that belong to the claim."""
        return [bound for bound in self.bounds if bound.primary]

    @property
    def repairs(self) -> tuple[Outcome, ...]:
        """What every arm recovered, ability by ability; empty where none was run."""
        return self.records.repairs.outcomes if self.records.repairs else ()

    def in_stratum(self, stratum: Stratum) -> Findings:
        """The findings of one stratum; the results stay those of all cells."""

        def inside(items: Iterable[InStratum]) -> tuple[InStratum, ...]:
            return tuple(item for item in items if item.stratum == stratum)

        repairs = self.records.repairs
        return Findings(
            self.results,
            inside(self.claims),
            inside(self.bounds),
            inside(self.diagnoses),
            inside(self.lead_lag),
            replace(self.records, repairs=repairs and replace(repairs, outcomes=inside(repairs.outcomes))),
            dict(stratum),
            inside(self.associations),
        )

    def with_records(self, **changes: Any) -> Findings:
        """The findings after a further stage, diagnosed again in the light of its record.

        Args:
          **changes: fields of `Records`: `activation_edits` or `repairs`. Neither has a say in verdicts or bounds.
        """
        records = replace(self.records, **changes)
        return replace(
            self, records=records, diagnoses=tuple(diagnose(self.results, self.claims, self.bounds, records))
        )


def find(results: Results, records: Records = NO_RECORDS) -> Findings:
    """Judge a study's claims and bounds, diagnose the abilities that break, and see what moves first.

    Args:
      results: of the cells that are judged; of a study that tunes a knob away, of the chosen ones.
      records: of its other stages. Looks set the levels of all verdicts and bounds.
    """
    if is_association(results.study):
        return Findings(results, (), (), (), (), records, associations=tuple(associate(results)))
    claims, found = judge(results, records.looks), bounds(results, records.looks)
    return Findings(
        results,
        tuple(claims),
        tuple(found),
        tuple(diagnose(results, claims, found, records)),
        tuple(trajectories(results, claims, found)),
        records,
    )
