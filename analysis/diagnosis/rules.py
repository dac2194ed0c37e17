"""The rules behind `analysis.diagnosis.diagnose`: what is compared where an ability breaks, and when each label holds.

A rule is a function of a `BrokenAbility` that returns a `Label`; `RULES` has them in the order in which they are told.

Shape letters: S seeds, K settings, E evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.design.controls import neutral_value
from analysis.results.curves import curve
from analysis.results.recovery_record import UNCHANGED
from analysis.results.table import Results
from analysis.stats.sign_flip import sign_flip_p, without_rounding
from analysis.verdicts.claims import Bounds, claim_site
from lab.mechanisms import MECHANISMS
from lab.study.spec import Study
from tasks.base import trivial

UNCUED = "uncued"  # the split of a task with a planted cue in which the cue tells nothing
IMAGE_R2 = 0.95  # from here on, states count as linear images of one another
INVARIANT = ("v_information", "fisher_trace", "probe_accuracy")  # readings that no invertible linear map moves
PRUNING = ("prune", "structured")


@dataclass(frozen=True)
class Label:
    """One label of one ability.

    Attributes:
      label, split, stratum: the ability, as in `claims.Bounds`.
      name: one of `LABELS`.
      status: one of `STATUSES`.
      at: the knob's setting that is compared with neutral.
      evidence: what was measured: mean changes and p-values, by name.
      needs: the intervention that would turn a suspicion into a label, or ''.
      by: the interventions that decided it, or ''.
    """

    label: str
    split: str
    stratum: dict[str, Any]
    name: str
    status: str
    at: float
    evidence: dict[str, float] = field(default_factory=dict)
    needs: str = ""
    by: str = ""


def ability_of(bound: Bounds) -> tuple[str, str, dict[str, Any]]:
    """What an ability is known by: task, split, and the values of the other axes."""
    return bound.label, bound.split, bound.stratum


@dataclass(frozen=True)
class BrokenAbility:
    """An ability that breaks, and how to compare any column at its break with neutral."""

    results: Results
    bound: Bounds

    @property
    def study(self) -> Study:
        """The study."""
        return self.results.study

    @property
    def harmed(self) -> bool:
        """Whether the ability is shown harmful from some setting on."""
        return self.bound.harmful_from is not None

    def untestable(self, rule: Callable[..., Label]) -> Label:
        """A rule's label where there is nothing that it could be tested on."""
        return self.label_of(rule.__name__.replace("_", " ").replace("over ", "over-"), "not testable")

    @property
    def at(self) -> float:
        """The setting that is compared with neutral: the first shown harmful, or the farthest."""
        far = [value for value in self.bound.ability.knob_K if value != neutral_value(self.study)]
        last = max(far, key=lambda value: abs(value - neutral_value(self.study)))
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

    def tried(self, name: str) -> np.ndarray:
        """What an intervention read at the break, float64[S]; NaN where none was tried."""
        found = curve(self.results, self.bound.stratum, self.results.interventions[name][:, None])
        return found.values_SxK[:, int(np.argmin(np.abs(found.knob_K - self.at)))]

    def neutral(self, name: str, evaluation: int = -1) -> np.ndarray:
        """A column's values at neutral, float64[S]."""
        return self.values(name, neutral_value(self.study), evaluation)

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

    def label_of(self, name: str, status: str, needs: str = "", /, **evidence: float) -> Label:
        """A label of this ability."""
        return Label(self.bound.label, self.bound.split, self.bound.stratum, name, status, self.at, evidence, needs)

    def decided(self, name: str, status: str, needs: str, by: str, evidence: dict[str, float]) -> Label:
        """A label that rests on interventions."""
        return replace(self.label_of(name, status, needs), by=by, evidence=evidence)

    def recovery(self, arms: Sequence[str]) -> tuple[str, bool | None, dict[str, float]]:
        """The first of some arms that recovers half of what was lost.

        Returns:
          its name ('' if none does), whether half is recovered (None where that is open or no arm was run; False where
          all arms that were run are shown to stay below), and what was measured.
        """
        run = self.results.repairs.of(*ability_of(self.bound), self.at) if self.results.repairs else {}
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
        """The name of a latent reading at the claim's place."""
        return f"{claim_site(self.study, self.bound.label)}/{metric}"

    @property
    def splits(self) -> dict[str, Any]:
        """The splits of the ability's task."""
        return next(use.splits for use in self.study.tasks if use.label == self.bound.label)


def _mean(values_S: np.ndarray) -> float:
    present_S = values_S[np.isfinite(values_S)]
    return float(present_S.mean()) if present_S.size else float("nan")


def metric_artefact(case: BrokenAbility) -> Label:
    """Log-probability is shown not to fall by δ of its own range where exact accuracy is shown to.

    Where many answers must all be right, that may be true of the onset of any break: the evidence says from which
    setting on log-probability is shown to fall as well.
    """
    name = case.column(case.bound.split, "logprob")
    use = next(use for use in case.study.tasks if use.label == case.bound.label)
    floor = trivial(use.task, case.bound.split).logprob
    margin = case.study.claim.delta * (_mean(case.neutral(name)) - floor)
    change_S = case.change(name)
    if not margin > 0:
        return case.label_of("metric artefact", "not testable", change=_mean(change_S))
    stays, p_stays = case.shown(change_S + margin)
    falls, p_falls = case.shown(-change_S - margin)
    status, further = "holds" if stays else "refuted" if falls else "not shown", {}
    for setting in case.farther if stays else ():  # from the farthest inwards, as far as it is shown
        if not case.shown(case.neutral(name) - case.values(name, setting) - margin)[0]:
            break
        further = {"logprob_falls_from": setting}
    numbers = dict(change=_mean(change_S), margin=margin, p_stays=p_stays, p_falls=p_falls)
    return case.label_of("metric artefact", status, **numbers, **further)


def latent_artefact(case: BrokenAbility) -> Label:
    """A claimed metric gains, R² to and from the neutral states is above `IMAGE_R2`, and `INVARIANT` stays within δ.

    Says nothing about the ability, and nothing about what directions of little variance hold beyond those readings.
    """
    image_S = case.values(case.latent("image_r2"), case.at)
    gains = [(name, sign) for name, sign in case.study.claim.gains if name not in INVARIANT]
    if not np.isfinite(image_S).any() or not gains:
        return case.label_of("latent artefact", "not testable")
    changes = {name: case.change(case.latent(name)) for name in INVARIANT}
    margins = {name: _margin(case, name) for name in INVARIANT}
    stays, p_stays = case.shown(*(sign * changes[name] + margins[name] for name in INVARIANT for sign in (1, -1)))
    images, p_image = case.shown(image_S - IMAGE_R2)
    bent, p_bent = case.shown(IMAGE_R2 - image_S)
    # Any gain will do, so the smallest p-value counts as often as there are gains (Bonferroni).
    p_gain = min(1.0, len(gains) * min(case.shown(sign * case.change(case.latent(name)))[1] for name, sign in gains))
    gained = p_gain <= case.study.claim.alpha
    holds = gained and images and stays and min(margins.values()) > 0
    status = "holds" if holds else "refuted" if bent else "not shown"
    return case.label_of(
        "latent artefact",
        status,
        image_r2=_mean(image_S),
        **{name: _mean(change_S) for name, change_S in changes.items()},
        p_gain=p_gain,
        p_image=p_image,
        p_stays=p_stays,
        p_no_image=p_bent,
    )


def ceiling(case: BrokenAbility) -> Label:
    """The room above the neutral cells is shown to be below δ: why an ability doesn't rise, never why it falls."""
    if case.harmed:
        return case.label_of("ceiling", "not testable")
    room_S = 1.0 - case.neutral(case.column(case.bound.split))
    within, p = case.shown(case.bound.delta - room_S)
    return case.label_of("ceiling", "holds" if within else "not shown", room=_mean(room_S), p=p)


def undertrained(case: BrokenAbility) -> Label:
    """The neutral cells' rise between the last two kept checkpoints, against δ.

    Or what was lost comes back, at least by half, with further training at the same setting (of a pruned cell that is
    said as over-pruning).
    """
    arm, recovered, tried = case.recovery([UNCHANGED])
    if recovered and not prunes(case.study.claim.knob):
        return case.decided("undertrained", "holds", "", arm, tried)
    if len(case.results.step) < 2:
        return case.label_of("undertrained", "not testable")
    name = case.column(case.bound.split)
    rise_S = case.neutral(name) - case.neutral(name, -2)
    rises, p_rises = case.shown(rise_S - case.bound.delta)
    rests, p_rests = case.shown(case.bound.delta - rise_S)
    status = "holds" if rises else "refuted" if rests else "not shown"
    steps = float(case.results.step[-1] - case.results.step[-2])
    return case.label_of("undertrained", status, rise=_mean(rise_S), steps=steps, p_rises=p_rises, p_rests=p_rests)


def _margin(case: BrokenAbility, metric: str) -> float:
    """δ of what the neutral cells have of a metric."""
    return case.study.claim.delta * max(_mean(case.neutral(case.latent(metric))), 0.0)


def _information(case: BrokenAbility) -> tuple[np.ndarray, float]:
    """V-information's change at the break, and δ of what the neutral cells have."""
    return case.change(case.latent("v_information")), _margin(case, "v_information")


def collapse(case: BrokenAbility) -> Label:
    """Participation ratio and V-information both fall, the latter by more than δ of what it was.

    At the first setting shown harmful, where little is lost by construction; where it isn't shown there, from the
    farthest setting inwards as far as it is. That walk is a fixed sequence and needs no correction, but it is a second
    chance: the label errs at up to twice alpha. Labels are exploratory.
    """
    found = _collapse_at(case)
    if found.status != "holds":
        for setting in case.farther:
            there = _collapse_at(replace(case, bound=replace(case.bound, harmful_from=setting)))
            if there.status != "holds":
                break
            found = there
    return found


def _collapse_at(case: BrokenAbility) -> Label:
    rank_S, (information_S, margin) = case.change(case.latent("participation_ratio")), _information(case)
    both, p = case.shown(-rank_S, -information_S - margin)
    holds_on, p_stays = case.shown(information_S + margin)
    status = "holds" if both else "refuted" if holds_on and margin > 0 else "not shown"
    return case.label_of(
        "collapse", status, rank=_mean(rank_S), information=_mean(information_S), p=p, p_information_stays=p_stays
    )


def compression(case: BrokenAbility) -> Label:
    """Participation ratio falls and V-information is shown to stay within δ of what it was."""
    rank_S, (information_S, margin) = case.change(case.latent("participation_ratio")), _information(case)
    both, p = case.shown(-rank_S, information_S + margin)
    status = "holds" if both and margin > 0 else "not shown"
    return case.label_of("compression", status, rank=_mean(rank_S), information=_mean(information_S), p=p)


def shortcut(case: BrokenAbility) -> Label:
    """A study with a planted cue: `iid` is free of harm where `uncued`, in which the cue tells nothing, is harmed.

    It holds where interventions were tried and show that a selective probe reads what the answers don't rest on.
    """
    if not {"iid", UNCUED} <= set(case.splits):
        return case.label_of("shortcut", "not testable", "a task with spurious > 0")
    cued_S, uncued_S = (case.change(case.column(split)) for split in ("iid", UNCUED))
    both, p = case.shown(cued_S + case.bound.delta, -uncued_S - case.bound.delta)
    numbers = dict(cued=_mean(cued_S), uncued=_mean(uncued_S), p=p)
    if f"{case.bound.label}/remove/factor/exact" not in case.results.interventions:
        needs = "removing the probe's subspace against random ones"
        return case.label_of("shortcut", "suspected" if both else "not shown", needs, **numbers)
    unused, tried = _unused(case)
    status = "holds" if both and unused else "suspected" if both else "not shown"
    needs = "" if status == "holds" else "a factor shown decodable and not used"
    return case.label_of("shortcut", status, needs, **numbers, **tried)


def _unused(case: BrokenAbility) -> tuple[bool, dict[str, float]]:
    """Whether at the break a selective probe's subspace is shown to carry less than δ of the answers, and the numbers.

    Less than δ more than a random subspace of its dimension does, of answers that are above the trivial baseline by
    more than δ: where nothing is answered, no removal can hurt.
    """
    label, delta = case.bound.label, case.bound.delta
    use = next(use for use in case.study.tasks if use.label == label)
    right_S, random_S, factor_S = (case.tried(f"{label}/remove/{kind}/exact") for kind in ("none", "random", "factor"))
    selective_S = case.values(case.latent("probe_selectivity"), case.at)
    above_S = right_S - trivial(use.task, use.probe).exact - delta
    unused, p = case.shown(selective_S, above_S, delta - (random_S - factor_S))
    numbers = dict(selectivity=_mean(selective_S), lost_beyond_random=_mean(random_S - factor_S), p_unused=p)
    return unused, numbers


def elicitation_gap(case: BrokenAbility) -> Label:
    """V-information is shown to stay within δ of what it was, and training the readout alone recovers half."""
    information_S, margin = _information(case)
    stays, p = case.shown(information_S + margin)
    arm, recovered, tried = case.recovery(["readout"])
    needs = "" if arm or recovered is False else "training only the readout (`--intervene`)"
    status = "not shown"
    if not stays or not margin > 0:
        falls, _ = case.shown(-information_S - margin)
        status, needs = ("refuted" if falls else "not shown"), ""
    elif recovered is not None:
        status = "holds" if recovered else "refuted"
    elif not tried:
        status = "suspected"
    evidence = {"information": _mean(information_S), "p": p} | tried
    return case.decided("elicitation gap", status, needs, arm, evidence)


def over_pruning(case: BrokenAbility) -> Label:
    """Fine-tuning, rewinding or regrowth recovers half; where facts have frequencies the tail falls beyond the head.

    Fine-tuning under the masks is what cells that went on unchanged do: what it recovers was lost to optimization, and
    so was what early weights recover under the masks. What only lifting the masks recovers was lost to capacity.
    """
    if not prunes(case.study.claim.knob):
        return case.label_of("over-pruning", "not testable")
    evidence, further = {}, True
    if {"head", "tail"} <= set(case.splits):
        head_S, tail_S = (case.change(case.column(split)) for split in ("head", "tail"))
        further, p = case.shown(head_S - tail_S)
        evidence = {"head": _mean(head_S), "tail": _mean(tail_S), "p": p}
    arm, recovered, tried = case.recovery([UNCHANGED, "rewind", "relax"])
    needs = "" if arm or recovered is False else "fine-tuning under fixed masks beside regrowth (`--intervene`)"
    if not further:
        return case.decided("over-pruning", "not shown", "", "", evidence | tried)
    status = {True: "holds", False: "refuted", None: "not shown" if tried else "suspected"}[recovered]
    return case.decided("over-pruning", status, needs, arm, evidence | tried)


def prunes(knob: str) -> bool:
    """Whether a knob takes weights away."""
    return knob.split(".")[0] in PRUNING


def regularizes(knob: str) -> bool:
    """Whether a knob's mechanism has a strength that can be relaxed: it pulls training away from the task's loss."""
    mechanism = MECHANISMS.get(knob.split(".")[0])
    return mechanism is not None and any(each.relaxes for each in mechanism.knobs)


def over_regularization(case: BrokenAbility) -> Label:
    """Under a regularizer, the task's loss on the batches of the last call is shown to be above neutral's.

    And relaxing it recovers half of what was lost.
    """
    if not regularizes(case.study.claim.knob):
        return case.label_of("over-regularization", "not testable")
    rise_S = case.change("train/loss")
    rises, p = case.shown(rise_S)
    arm, recovered, tried = case.recovery(["relax", "anneal"])
    needs = "" if arm or recovered is False else "relaxing the penalty from the checkpoint (`--intervene`)"
    status = {True: "holds", False: "refuted", None: "not shown" if tried else "suspected"}[recovered]
    evidence = {"rise": _mean(rise_S), "p": p} | tried
    if not rises:
        return case.decided("over-regularization", "not shown", "", "", evidence)
    return case.decided("over-regularization", status, needs, arm, evidence)


RULES = (
    metric_artefact,
    latent_artefact,
    ceiling,
    undertrained,
    shortcut,
    collapse,
    compression,
    elicitation_gap,
    over_pruning,
    over_regularization,
)

OF_ANY = (latent_artefact, ceiling, undertrained, compression)  # also where nothing is harmed
