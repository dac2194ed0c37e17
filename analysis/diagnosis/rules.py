"""The rules behind `analysis.diagnosis.diagnose`: when a cause is shown, suspected or refuted where an ability breaks.

A rule is a function of a `BrokenAbility` that returns a `Diagnosis`; `RULES` has them in the order of a report.

Shape letter: S seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.diagnosis.broken_ability import BrokenAbility, Diagnosis
from analysis.results.recovery_record import UNCHANGED
from lab.mechanisms import MECHANISMS
from tasks.base import trivial

UNCUED = "uncued"  # the split of a task with a planted cue in which the cue says nothing
IMAGE_R2 = 0.95  # from here on, states count as linear images of one another
INVARIANT = ("v_information", "fisher_trace", "probe_accuracy")  # readings that no invertible linear map moves
PRUNING = ("prune", "structured")


def _mean(values_S: np.ndarray) -> float:
    present_S = values_S[np.isfinite(values_S)]
    return float(present_S.mean()) if present_S.size else float("nan")


def metric_artefact(broken: BrokenAbility) -> Diagnosis:
    """Log-probability is shown not to fall by δ of its own range where exact accuracy is shown to.

    Where many answers must all be right, that may be true of the onset of any break: the evidence says from which
    setting on log-probability is shown to fall as well.
    """
    name = broken.column(broken.bound.split, "logprob")
    use = next(use for use in broken.study.tasks if use.label == broken.bound.label)
    floor = trivial(use.task, broken.bound.split).logprob
    margin = broken.study.claim.delta * (_mean(broken.neutral(name)) - floor)
    change_S = broken.change(name)
    if not margin > 0:
        return broken.diagnosis("metric artefact", "not testable", change=_mean(change_S))
    stays, p_stays = broken.shown(change_S + margin)
    falls, p_falls = broken.shown(-change_S - margin)
    status, further = "holds" if stays else "refuted" if falls else "not shown", {}
    for setting in broken.farther if stays else ():  # from the farthest inwards, as far as it is shown
        if not broken.shown(broken.neutral(name) - broken.values(name, setting) - margin)[0]:
            break
        further = {"logprob_falls_from": setting}
    numbers = dict(change=_mean(change_S), margin=margin, p_stays=p_stays, p_falls=p_falls)
    return broken.diagnosis("metric artefact", status, **numbers, **further)


def latent_artefact(broken: BrokenAbility) -> Diagnosis:
    """A claimed metric gains, R² to and from the neutral states is above `IMAGE_R2`, and `INVARIANT` stays within δ.

    Says nothing about the ability, and nothing about what directions of little variance hold beyond those readings.
    """
    image_S = broken.values(broken.latent("image_r2"), broken.at)
    gains = [(name, sign) for name, sign in broken.study.claim.gains if name not in INVARIANT]
    if not np.isfinite(image_S).any() or not gains:
        return broken.diagnosis("latent artefact", "not testable")
    changes = {name: broken.change(broken.latent(name)) for name in INVARIANT}
    margins = {name: _margin(broken, name) for name in INVARIANT}
    stays, p_stays = broken.shown(*(sign * changes[name] + margins[name] for name in INVARIANT for sign in (1, -1)))
    images, p_image = broken.shown(image_S - IMAGE_R2)
    bent, p_bent = broken.shown(IMAGE_R2 - image_S)
    # Any gain will do, so the smallest p-value counts as often as there are gains (Bonferroni).
    p_gain = min(
        1.0, len(gains) * min(broken.shown(sign * broken.change(broken.latent(name)))[1] for name, sign in gains)
    )
    gained = p_gain <= broken.study.claim.alpha
    holds = gained and images and stays and min(margins.values()) > 0
    status = "holds" if holds else "refuted" if bent else "not shown"
    return broken.diagnosis(
        "latent artefact",
        status,
        image_r2=_mean(image_S),
        **{name: _mean(change_S) for name, change_S in changes.items()},
        p_gain=p_gain,
        p_image=p_image,
        p_stays=p_stays,
        p_no_image=p_bent,
    )


def ceiling(broken: BrokenAbility) -> Diagnosis:
    """The room above the neutral cells is shown to be below δ: why an ability doesn't rise, never why it falls."""
    if broken.harmed:
        return broken.diagnosis("ceiling", "not testable")
    room_S = 1.0 - broken.neutral(broken.column(broken.bound.split))
    within, p = broken.shown(broken.bound.delta - room_S)
    return broken.diagnosis("ceiling", "holds" if within else "not shown", room=_mean(room_S), p=p)


def undertrained(broken: BrokenAbility) -> Diagnosis:
    """The neutral cells' rise between the last two kept checkpoints, against δ.

    Or what was lost comes back, at least by half, with further training at the same setting (of a pruned cell that
    counts as over-pruning).
    """
    arm, recovered, tried = broken.recovery([UNCHANGED])
    if recovered and not prunes(broken.study.claim.knob):
        return broken.decided("undertrained", "holds", "", arm, tried)
    if len(broken.results.step) < 2:
        return broken.diagnosis("undertrained", "not testable")
    name = broken.column(broken.bound.split)
    rise_S = broken.neutral(name) - broken.neutral(name, -2)
    rises, p_rises = broken.shown(rise_S - broken.bound.delta)
    rests, p_rests = broken.shown(broken.bound.delta - rise_S)
    status = "holds" if rises else "refuted" if rests else "not shown"
    steps = float(broken.results.step[-1] - broken.results.step[-2])
    return broken.diagnosis("undertrained", status, rise=_mean(rise_S), steps=steps, p_rises=p_rises, p_rests=p_rests)


def _margin(broken: BrokenAbility, metric: str) -> float:
    """δ of what the neutral cells have of a metric."""
    return broken.study.claim.delta * max(_mean(broken.neutral(broken.latent(metric))), 0.0)


def _information(broken: BrokenAbility) -> tuple[np.ndarray, float]:
    """V-information's change at the break, and δ of what the neutral cells have."""
    return broken.change(broken.latent("v_information")), _margin(broken, "v_information")


def collapse(broken: BrokenAbility) -> Diagnosis:
    """Participation ratio and V-information both fall, the latter by more than δ of what it was.

    At the first setting shown harmful, where little is lost by construction; where it isn't shown there, from the
    farthest setting inwards as far as it is. That walk is a fixed sequence and needs no correction, but it is a second
    chance: the diagnosis errs at up to twice alpha. Diagnoses are exploratory.
    """
    found = _collapse_at(broken)
    if found.status != "holds":
        for setting in broken.farther:
            there = _collapse_at(replace(broken, bound=replace(broken.bound, harmful_from=setting)))
            if there.status != "holds":
                break
            found = there
    return found


def _collapse_at(broken: BrokenAbility) -> Diagnosis:
    rank_S, (information_S, margin) = broken.change(broken.latent("participation_ratio")), _information(broken)
    both, p = broken.shown(-rank_S, -information_S - margin)
    holds_on, p_stays = broken.shown(information_S + margin)
    status = "holds" if both else "refuted" if holds_on and margin > 0 else "not shown"
    return broken.diagnosis(
        "collapse", status, rank=_mean(rank_S), information=_mean(information_S), p=p, p_information_stays=p_stays
    )


def compression(broken: BrokenAbility) -> Diagnosis:
    """Participation ratio falls and V-information is shown to stay within δ of what it was."""
    rank_S, (information_S, margin) = broken.change(broken.latent("participation_ratio")), _information(broken)
    both, p = broken.shown(-rank_S, information_S + margin)
    status = "holds" if both and margin > 0 else "not shown"
    return broken.diagnosis("compression", status, rank=_mean(rank_S), information=_mean(information_S), p=p)


def shortcut(broken: BrokenAbility) -> Diagnosis:
    """A study with a planted cue: `iid` is free of harm where `uncued`, in which the cue says nothing, is harmed.

    It holds where activations were edited and show that the answers don't rest on what a selective probe reads.
    """
    if not {"iid", UNCUED} <= set(broken.splits):
        return broken.diagnosis("shortcut", "not testable", "a task with spurious > 0")
    cued_S, uncued_S = (broken.change(broken.column(split)) for split in ("iid", UNCUED))
    both, p = broken.shown(cued_S + broken.bound.delta, -uncued_S - broken.bound.delta)
    numbers = dict(cued=_mean(cued_S), uncued=_mean(uncued_S), p=p)
    if f"{broken.bound.label}/remove/factor/exact" not in broken.records.activation_edits:
        needs = "removing the probe's subspace against random ones"
        return broken.diagnosis("shortcut", "suspected" if both else "not shown", needs, **numbers)
    unused, edits = _unused(broken)
    status = "holds" if both and unused else "suspected" if both else "not shown"
    needs = "" if status == "holds" else "a factor shown decodable and not used"
    return broken.diagnosis("shortcut", status, needs, **numbers, **edits)


def _unused(broken: BrokenAbility) -> tuple[bool, dict[str, float]]:
    """Whether at the break a selective probe's subspace is shown to carry less than δ of the answers, and the numbers.

    Less than δ more than a random subspace of its dimension does, of answers that are above the trivial baseline by
    more than δ: where nothing is answered, no removal can hurt.
    """
    label, delta = broken.bound.label, broken.bound.delta
    use = next(use for use in broken.study.tasks if use.label == label)
    right_S, random_S, factor_S = (
        broken.edited(f"{label}/remove/{kind}/exact") for kind in ("none", "random", "factor")
    )
    selective_S = broken.values(broken.latent("probe_selectivity"), broken.at)
    above_S = right_S - trivial(use.task, use.probe).exact - delta
    unused, p = broken.shown(selective_S, above_S, delta - (random_S - factor_S))
    numbers = dict(selectivity=_mean(selective_S), lost_beyond_random=_mean(random_S - factor_S), p_unused=p)
    return unused, numbers


def elicitation_gap(broken: BrokenAbility) -> Diagnosis:
    """V-information is shown to stay within δ of what it was, and training the readout alone recovers half."""
    information_S, margin = _information(broken)
    stays, p = broken.shown(information_S + margin)
    arm, recovered, tried = broken.recovery(["readout"])
    needs = "" if arm or recovered is False else "training only the readout (`--repair`)"
    status = "not shown"
    if not stays or not margin > 0:
        falls, _ = broken.shown(-information_S - margin)
        status, needs = ("refuted" if falls else "not shown"), ""
    elif recovered is not None:
        status = "holds" if recovered else "refuted"
    elif not tried:
        status = "suspected"
    evidence = {"information": _mean(information_S), "p": p} | tried
    return broken.decided("elicitation gap", status, needs, arm, evidence)


def over_pruning(broken: BrokenAbility) -> Diagnosis:
    """Fine-tuning, rewinding or regrowth recovers half; where facts have frequencies the tail falls beyond the head.

    Cells trained further unchanged are fine-tuned under their masks: what that recovers was lost to optimization, and
    so was what early weights recover under the masks. What only lifting the masks recovers was lost to capacity.
    """
    if not prunes(broken.study.claim.knob):
        return broken.diagnosis("over-pruning", "not testable")
    evidence, further = {}, True
    if {"head", "tail"} <= set(broken.splits):
        head_S, tail_S = (broken.change(broken.column(split)) for split in ("head", "tail"))
        further, p = broken.shown(head_S - tail_S)
        evidence = {"head": _mean(head_S), "tail": _mean(tail_S), "p": p}
    arm, recovered, tried = broken.recovery([UNCHANGED, "rewind", "relax"])
    needs = "" if arm or recovered is False else "fine-tuning under fixed masks next to regrowth (`--repair`)"
    if not further:
        return broken.decided("over-pruning", "not shown", "", "", evidence | tried)
    status = {True: "holds", False: "refuted", None: "not shown" if tried else "suspected"}[recovered]
    return broken.decided("over-pruning", status, needs, arm, evidence | tried)


def prunes(knob: str) -> bool:
    """Whether a knob removes weights."""
    return knob.split(".")[0] in PRUNING


def regularizes(knob: str) -> bool:
    """Whether a knob's mechanism has a strength that can be relaxed: it pulls training away from the task's loss."""
    mechanism = MECHANISMS.get(knob.split(".")[0])
    return mechanism is not None and any(each.relaxes for each in mechanism.knobs)


def over_regularization(broken: BrokenAbility) -> Diagnosis:
    """Under a regularizer, the task's loss on the batches of the last call is shown to be above neutral's.

    And relaxing it recovers half of what was lost.
    """
    if not regularizes(broken.study.claim.knob):
        return broken.diagnosis("over-regularization", "not testable")
    rise_S = broken.change("train/loss")
    rises, p = broken.shown(rise_S)
    arm, recovered, tried = broken.recovery(["relax", "anneal"])
    needs = "" if arm or recovered is False else "relaxing the penalty from the checkpoint (`--repair`)"
    status = {True: "holds", False: "refuted", None: "not shown" if tried else "suspected"}[recovered]
    evidence = {"rise": _mean(rise_S), "p": p} | tried
    if not rises:
        return broken.decided("over-regularization", "not shown", "", "", evidence)
    return broken.decided("over-regularization", status, needs, arm, evidence)


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
