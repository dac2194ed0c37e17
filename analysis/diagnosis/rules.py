"""The rules behind `analysis.diagnosis.diagnose`: when a cause is shown, suspected or refuted where an ability breaks.

A rule is a function of a `BrokenAbility` that returns a `Diagnosis`; `RULES` has them in the order of a report.

Shape letter: S seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.activations.claimable import READINGS
from analysis.diagnosis.broken_ability import BrokenAbility, Diagnosis
from analysis.results import shared_evaluations
from analysis.results.recovery_record import UNCHANGED
from analysis.verdicts import gains as claimed
from lab.mechanisms import MECHANISMS
from tasks.base import trivial

CUED = "cued"  # the split of such a task in which the cue is always right, where the task has it
UNCUED = "uncued"  # the split of a task with a planted cue in which the cue says nothing
IMAGE_R2 = 0.95  # from here on, states count as linear images of one another
INVARIANT = ("v_information", "fisher_trace", "probe_accuracy")  # readings that no invertible linear map moves
PRUNING = ("prune", "structured")
TOKENS = "token_accuracy"  # the reading that an all-or-nothing score is compared with


def _mean(values_S: np.ndarray) -> float:
    present_S = values_S[np.isfinite(values_S)]
    return float(present_S.mean()) if present_S.size else float("nan")


def metric_artefact(broken: BrokenAbility) -> Diagnosis:
    """Accuracy per answer token is shown not to fall by δ of its own range where exact accuracy is shown to.

    An answer of one token is its token, so such a task can have no such artefact. Log-probability is reported and
    decides nothing: its range reaches far down, and a true loss of one answer in ten may be little of it. Where many
    tokens must all be right, the onset of any break looks like an artefact: the evidence says from which setting on
    either reading is shown to fall as well.
    """
    if broken.splits[broken.bound.split].answer_tokens == 1:
        return broken.diagnosis("metric artefact", "refuted", answer_tokens=1.0)
    margin, change_S = _ability_margin(broken, TOKENS), broken.ability_change(TOKENS)
    numbers = dict(change=_mean(change_S), margin=margin, logprob=_mean(broken.ability_change("logprob")))
    if not margin > 0:
        return broken.diagnosis("metric artefact", "not testable", **numbers)
    stays, p_stays = broken.shown(change_S + margin)
    falls, p_falls = broken.shown(-change_S - margin)
    status, further = "holds" if stays else "refuted" if falls else "not shown", {}
    for reading in (TOKENS, "logprob") if stays else ():
        if (setting := _falls_from(broken, reading)) is not None:
            further[f"{reading}_falls_from"] = setting
    return broken.diagnosis("metric artefact", status, **numbers, p_stays=p_stays, p_falls=p_falls, **further)


def _ability_margin(broken: BrokenAbility, reading: str) -> float:
    """δ of the range of a reading of the ability: of what the neutral cells have above the trivial predictor."""
    return broken.study.claim.delta * (_mean(broken.ability(broken.bound.neutral, reading)) - broken.floor(reading))


def _falls_from(broken: BrokenAbility, reading: str) -> float | None:
    """The setting from which on a reading is shown to fall by δ of its range, from the farthest inwards; or None."""
    found, neutral_S = None, broken.ability(broken.bound.neutral, reading)
    for setting in broken.farther:
        if not broken.shown(neutral_S - broken.ability(setting, reading) - _ability_margin(broken, reading))[0]:
            break
        found = setting
    return found


def latent_artefact(broken: BrokenAbility) -> Diagnosis:
    """A claimed metric gains, R² to and from the neutral states is above `IMAGE_R2`, and `INVARIANT` stays within δ.

    Says nothing about the ability, and nothing about what directions of little variance hold beyond those readings.
    """
    image_S = broken.values(broken.latent("image_r2"), broken.at)
    gains = [
        (name, sign)
        for name, sign in claimed(broken.study, broken.bound.stratum)
        if name not in INVARIANT and READINGS[name].linear_maps_move_it
    ]
    if not np.isfinite(image_S).any() or not gains:
        return broken.diagnosis("latent artefact", "not testable")
    changes = {name: _change(broken, name) for name in INVARIANT}
    margins = {name: _margin(broken, name) for name in INVARIANT}
    stays, p_stays = broken.shown(*(sign * changes[name] + margins[name] for name in INVARIANT for sign in (1, -1)))
    images, p_image = broken.shown(image_S - IMAGE_R2)
    bent, p_bent = broken.shown(IMAGE_R2 - image_S)
    # Any gain will do, so the smallest p-value counts as often as there are gains (Bonferroni).
    p_gain = min(
        1.0, len(gains) * min(broken.shown(sign * broken.change(broken.latent(name)))[1] for name, sign in gains)
    )
    gained = p_gain <= broken.study.claim.alpha
    holds = gained and images and stays and all(margin > 0 for margin in margins.values())
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
    """The harmed cells still rise by more than δ between the last two kept checkpoints, and the neutral ones don't.

    That neutral cells rise says nothing about why others are below them. The knob must act before the first of the two
    checkpoints, or the interval holds the loss itself.

    Or what was lost comes back, at least by half, with further training at the same setting (of a pruned cell that
    counts as over-pruning).
    """
    arm, recovered, tried = broken.recovery([UNCHANGED])
    if recovered and not prunes(broken.study.claim.knob):
        return broken.decided("undertrained", "holds", "", arm, tried)
    steps = float(broken.results.step[-1] - broken.results.step[-2]) if len(broken.results.step) > 1 else 0.0
    if not steps or len(broken.results.step) - shared_evaluations(broken.results, broken.bound.stratum) < 2:
        return broken.diagnosis("undertrained", "not testable")
    delta = broken.bound.delta
    ends = broken.at, broken.bound.neutral
    rise_S, neutral_S = (broken.ability(setting) - broken.ability(setting, evaluation=-2) for setting in ends)
    rises, p_rises = broken.shown(rise_S - delta, delta - neutral_S)
    rests, p_rests = broken.shown(delta - rise_S)
    status = "holds" if rises else "refuted" if rests else "not shown"
    numbers = dict(rise=_mean(rise_S), neutral_rise=_mean(neutral_S), p_rises=p_rises, p_rests=p_rests)
    return broken.diagnosis("undertrained", status, steps=steps, **numbers)


def _at_neutral(broken: BrokenAbility, metric: str) -> np.ndarray:
    """A latent metric of the neutral cells, float64[S]; NaN where V-information is below 0 and can't be trusted."""
    values_S = broken.neutral(broken.latent(metric))
    return np.where(values_S < 0, np.nan, values_S) if metric == "v_information" else values_S


def _margin(broken: BrokenAbility, metric: str) -> float:
    """δ of what the neutral cells have of a metric."""
    return broken.study.claim.delta * max(_mean(_at_neutral(broken, metric)), 0.0)


def _change(broken: BrokenAbility, metric: str) -> np.ndarray:
    """The paired change of a latent metric from neutral to the break, float64[S].

    No reader does worse than to ignore the states, so V-information below 0 is the estimate's error and no information:
    within δ of 0 it counts as 0, as it is read off states that say nothing; farther below it isn't trusted (NaN).
    """
    there_S = broken.values(broken.latent(metric), broken.at)
    if metric == "v_information":
        there_S = np.where(there_S < -_margin(broken, metric), np.nan, np.maximum(there_S, 0.0))
    return there_S - _at_neutral(broken, metric)


def _information(broken: BrokenAbility) -> tuple[np.ndarray, float]:
    """V-information's change at the break, and δ of what the neutral cells have."""
    return _change(broken, "v_information"), _margin(broken, "v_information")


def collapse(broken: BrokenAbility) -> Diagnosis:
    """Participation ratio, V-information and probe accuracy fall, the last two by more than δ of what they were.

    Both, for each alone has its errors: V-information is read off a held-out log-loss, which a few confident errors
    carry; accuracy doesn't see answers that become less sure.

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
    probe_S = _change(broken, "probe_accuracy")
    all_fall, p = broken.shown(-rank_S, -information_S - margin, -probe_S - _margin(broken, "probe_accuracy"))
    holds_on, p_stays = broken.shown(information_S + margin)
    status = "holds" if all_fall else "refuted" if holds_on and margin > 0 else "not shown"
    numbers = dict(rank=_mean(rank_S), information=_mean(information_S), probe=_mean(probe_S))
    return broken.diagnosis("collapse", status, **numbers, p=p, p_information_stays=p_stays)


def compression(broken: BrokenAbility) -> Diagnosis:
    """Participation ratio falls and V-information is shown to stay within δ of what it was."""
    rank_S, (information_S, margin) = broken.change(broken.latent("participation_ratio")), _information(broken)
    both, p = broken.shown(-rank_S, information_S + margin)
    status = "holds" if both and margin > 0 else "not shown"
    return broken.diagnosis("compression", status, rank=_mean(rank_S), information=_mean(information_S), p=p)


def shortcut(broken: BrokenAbility) -> Diagnosis:
    """A study with a planted cue: `iid` is free of harm where `uncued`, in which the cue says nothing, is harmed.

    Where the cue of `iid` says nothing, either, because a knob turns it in training, `cued` stands in place of `iid`.

    It holds where activations were edited and show that the answers don't rest on what a selective probe reads.
    """
    if not {"iid", UNCUED} <= set(broken.splits):
        return broken.diagnosis("shortcut", "not testable", "a task with spurious > 0")
    cued_S = broken.ability_change(split=CUED if CUED in broken.splits else "iid")
    uncued_S = broken.ability_change(split=UNCUED)
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
    use = broken.study.at(broken.bound.stratum).use(label)
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
        head_S, tail_S = (broken.ability_change(split=split) for split in ("head", "tail"))
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

    And relaxing it recovers half of what was lost. Never suspected before that is tried: on fresh data the loss rises
    wherever the ability falls, whatever made it fall.
    """
    if not regularizes(broken.study.claim.knob):
        return broken.diagnosis("over-regularization", "not testable")
    rise_S = broken.change("train/loss")
    rises, p = broken.shown(rise_S)
    arm, recovered, tried = broken.recovery(["relax", "anneal"])
    needs = "" if arm or recovered is False else "relaxing the penalty from the checkpoint (`--repair`)"
    status = {True: "holds", False: "refuted", None: "not shown"}[recovered]
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

OF_ANY = (latent_artefact, ceiling, compression)  # also where nothing is harmed
