"""The study's primary claims judged: every gain with every ability, at the last step, by the map of its settings.

Claims that a study fixed before training are primary; every other split is judged for its bounds only and printed as
exploratory. The break test over the whole range stands next to the map, for what slopes alone can show. Axes other than
the claim's knob and the seed become strata: the claims are judged within each of them. A knob whose neutral value lies
inside its axis makes two claims, one on either side: two strata, in one family of claims.

Shape letters: S seeds, K settings of the claim's knob.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from analysis.activations import claimable
from analysis.activations.claimed_sites import claimed_site
from analysis.activations.measure import ProbeSite
from analysis.design import (
    BELOW,
    SIDE,
    cells_of_other_axes,
    is_association,
    is_categorical,
    name_of,
    neutral_value,
    positions,
    setting_of,
    strata,
    two_sided,
)
from analysis.design.interim import InterimAnalyses
from analysis.results import Curve, Results, ability_curve, claimed_floor, curve, evaluation_at
from analysis.stats import (
    MapVerdict,
    SettingMap,
    break_test,
    categorical_map,
    categorical_verdict,
    family,
    map_verdict,
    setting_map,
)
from lab.errors import UserError
from lab.study.comparable import changing
from lab.study.places import Ability, Gain
from lab.study.spec import Study
from lab.values import exact

T = TypeVar("T")


@dataclass(frozen=True)
class Judged:
    """One claim with its data and verdict.

    Attributes:
      metric, sign: the latent metric, and +1 if larger is the claimed gain, else -1.
      site: where it is read.
      label, split: the ability.
      stratum: values of the grid's other axes; empty if there are none.
      gain: the metric as it was read (not signed).
      ability: exact accuracy, or the reading that the claim names; of a diverged cell, that of the trivial baseline.
      logprob: mean log-probability of the answer, in nats; NaN for what a probe reads.
      trivial: the best trivial baseline's ability.
      map: what is shown at each setting.
      verdict: what the map says of the claim.
      shape: the break test over the whole range of the knob.
      adjusted_p: the verdict's p-value adjusted for the number of primary claims (false discovery rate).
      place: the gain where it names a place; None where it is read at the ability's task, as a plain name is.
      reading: the ability where it is not the exact accuracy at the end; then `split` is its key.
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
    map: SettingMap
    verdict: MapVerdict
    shape: break_test.Verdict
    adjusted_p: float
    place: Gain | None = None
    reading: Ability | None = None

    @property
    def claimed(self) -> Gain:
        """The gain: its metric, sign and place."""
        return self.place or Gain(self.metric, self.sign)

    @property
    def stands(self) -> bool:
        """Whether what the verdict says is shown stays so after correction for the number of primary claims."""
        return self.adjusted_p <= self.map.alpha


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
      map: what is shown of the ability at each setting; its metric is the knob itself.
      reading: as in Judged.
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
    map: SettingMap
    reading: Ability | None = None


def check(study: Study) -> None:
    """Refuse, before training, a claim that the break test can't read.

    Raises:
      UserError: where the knob's neutral value isn't on its axis, or a claimed reading can't be taken.
    """
    claimable.check(study)
    if is_association(study):  # compared with nothing; lab.study.claim_kind checks its grid
        return
    knob, neutral = study.claim.knob, neutral_value(study)
    what = "the control" if is_categorical(study) else "its neutral value or else the study's base value"
    for stratum, inside in cells_of_other_axes(study):
        values = sorted({setting_of(study, study.cells[index]) for index in inside})
        if study.claim.below != 1 and not two_sided(study):
            raise UserError(
                f"config.claim.below={study.claim.below} is for an axis with settings on both sides of neutral, and all"
                f" values of '{knob}' lie on one; turn the signs of config.claim.gains, or add values."
            )
        if neutral not in values:
            where = "".join(f" where {name} is {exact(value)}" for name, value in stratum.items()) if stratum else ""
            raise UserError(
                f"sweep(): axis '{knob}' must hold {name_of(study, neutral)}, {what}, which the claim is compared with;"
                f" it has {', '.join(name_of(study, value) for value in values)}{where}."
            )


def judge(results: Results, looks: InterimAnalyses | None = None) -> list[Judged]:
    """The verdict of every primary claim, strata outermost, then abilities, then gains.

    Args:
      results: of the whole grid.
      looks: at which seeds a refined study was judged; each look spends its share of α.
    """
    study, claim = results.study, results.study.claim
    found = []
    for stratum in strata(study):
        for label, split in claim.abilities:
            floor, reading = claimed_floor(results, stratum, label, split), claim.place(label, split)
            ability, logprob = _ability(results, stratum, label, split)
            options = _options(study, ability, looks)
            for claimed in claim.every_gain:
                site, sign = claimed_site(study, claimed, label), _way(study, stratum) * claimed.sign
                at = evaluation_at(results, claimed)
                gain = curve(results, stratum, results.latent(site, claimed.metric), at)
                row = (claimed.metric, sign, site, label, split, stratum, gain, ability, logprob, floor)
                plain = claimed.is_plain and sign == claimed.sign
                of_place: dict[str, Any] = {"place": None if plain else claimed, "reading": reading}
                verdicts = judge_curves(gain, sign, ability, floor, **options)
                found.append((partial(Judged, *row, *verdicts, **of_place), verdicts[1]))
    return with_family([unfinished for unfinished, _ in found], [verdict for _, verdict in found])


def _way(study: Study, stratum: Mapping[str, Any]) -> int:
    """What the claimed signs are multiplied by in a stratum: they hold as the knob leaves neutral there."""
    return study.claim.below if stratum.get(SIDE) == BELOW else 1


def gains(study: Study, stratum: Mapping[str, Any]) -> Sequence[tuple[str, int]]:
    """The gains with plain names in a stratum, with their signs as the knob leaves neutral there."""
    return [(metric, _way(study, stratum) * sign) for metric, sign in study.claim.gains]


def judge_curves(
    gain: Curve, sign: int, ability: Curve, floor: float, **options: Any
) -> tuple[SettingMap, MapVerdict, break_test.Verdict]:
    """The map of one claim, its verdict, and the break test over the whole range.

    Args:
      gain, sign: the metric, and +1 where larger is the claimed gain.
      ability, floor: the ability, and that of the trivial baseline.
      **options: of both tests: `neutral_index`, `alpha`, `delta_share`, `looks`, `designed_K`; `ordered=False` for the
        values of a categorical axis, over which there is no shape: only the control is put to the break test.
    """
    if not options.pop("ordered", True):
        data = gain.values_SxK * sign, ability.values_SxK
        found = categorical_map(*data, trivial=floor, diverged_SxK=ability.diverged_SxK, **options)
        control = (ability.knob_K[:1], *(values_SxK[:, :1] for values_SxK in data))
        options = options | {"designed_K": [True]} if "designed_K" in options else options
        return found, categorical_verdict(found), break_test.verdict(*control, trivial=floor, **options)
    data = (ability.knob_K, gain.values_SxK * sign, ability.values_SxK)
    found = setting_map(*data, trivial=floor, diverged_SxK=ability.diverged_SxK, **options)
    shape = break_test.verdict(positions(ability.knob_K), *data[1:], trivial=floor, **options)
    return found, map_verdict(found), shape


def with_family(unfinished: Sequence[Callable[..., T]], verdicts: Sequence[MapVerdict]) -> list[T]:
    """Claims with their `adjusted_p`, which needs the verdicts of all."""
    adjusted = family(verdicts)
    return [finish(adjusted_p=float(p)) for finish, p in zip(unfinished, adjusted, strict=True)]


def bounds(results: Results, looks: InterimAnalyses | None = None) -> list[Bounds]:
    """Free and harmful bounds of every evaluated split, primary ones first; the arguments are those of `judge`.

    A task that is another one at each setting of the claim's knob is left out: nothing is kept or lost there.
    """
    study, claim = results.study, results.study.claim
    pairs, others = list(claim.abilities), [use for use in study.tasks if use.label not in changing(study)]
    pairs += [(use.label, s) for use in others for s in use.splits if (use.label, s) not in claim.abilities]
    found = []
    for stratum in strata(study):
        for label, split in pairs:
            floor = claimed_floor(results, stratum, label, split)
            ability, logprob = _ability(results, stratum, label, split)
            mapped = ability_map(ability, floor, **_options(study, ability, looks))
            found.append(
                Bounds(
                    label,
                    split,
                    stratum,
                    (label, split) in claim.abilities,
                    ability,
                    logprob,
                    floor,
                    mapped.learned,
                    mapped.free_until,
                    mapped.harmed_from,
                    mapped.delta,
                    neutral_value(study),
                    mapped,
                    claim.place(label, split),
                )
            )
    return found


def ability_map(ability: Curve, floor: float, **options: Any) -> SettingMap:
    """What is shown of an ability at each setting, whatever the metric: the knob itself stands in for one."""
    stand_in_SxK = np.broadcast_to(np.arange(len(ability.knob_K), dtype=float), ability.values_SxK.shape)
    data = (ability.knob_K, stand_in_SxK, ability.values_SxK)
    return setting_map(*data, trivial=floor, diverged_SxK=ability.diverged_SxK, **options)


def _ability(results: Results, stratum: dict[str, Any], label: str, split: str) -> tuple[Curve, Curve]:
    exact, logprob = (ability_curve(results, stratum, label, split, name) for name in ("exact", "logprob"))
    place = results.study.claim.place(label, split)
    if place is not None and place.probe is not None:  # a probe answers nothing
        logprob = replace(logprob, values_SxK=np.full_like(logprob.values_SxK, np.nan))
    return exact, logprob


def _options(study: Study, ability: Curve, looks: InterimAnalyses | None) -> dict[str, Any]:
    knob_K = ability.knob_K
    neutral_index = 0 if neutral_value(study) == knob_K[0] else len(knob_K) - 1
    if is_categorical(study):
        neutral_index = 0
    options: dict[str, Any] = {"ordered": False} if is_categorical(study) else {}
    options |= {"neutral_index": neutral_index, "alpha": study.claim.alpha, "delta_share": study.claim.delta}
    return options | (looks.options(knob_K, ability.seed_S) if looks else {})
