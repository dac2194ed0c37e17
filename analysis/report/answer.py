"""A study's answer in a few sentences, the claimed question first: latents, abilities, mismatches, divergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.design import SIDE, in_stratum, is_categorical, neutral_value, setting_of
from analysis.diagnosis import Findings
from analysis.report import map_wording, names, wording
from analysis.report.shapes import values
from analysis.stats import FINDS_NOTHING, least_seeds
from analysis.verdicts import Bounds, Judged
from lab.study.spec import Study

FEW = 2  # so many gains at a kept ability are named


def answers(findings: Findings) -> list[str]:
    """The answer of one stratum in three to six sentences: latents, where abilities are kept and lost, divergence."""
    study, primary = findings.study, findings.primary
    return [
        *latent_answer(study, findings.claims),
        *correction_answer(study, findings.claims),
        *bound_answers(study, primary),
        *mismatch_answer(study, findings.claims),
        *_diverged_answer(findings),
    ]


def bound_answers(study: Study, bounds: Sequence[Bounds]) -> list[str]:
    """Up to where each ability is shown free and from where lost, a sentence each for all; then what is not known."""
    names_of = {id(one): names.ability(study, one.label, one.split) for one in bounds}
    status = {id(one): wording.learned(study, one) for one in bounds}
    known = [one for one in bounds if status[id(one)] == "yes" and one.map.testable]
    found = []
    if known:
        free = _by_place([(_free_place(study, one), names_of[id(one)]) for one in known])
        found.append(f"Ability is shown kept {free}.")
        lost = _by_place([(_lost_place(study, one), names_of[id(one)]) for one in known])
        found.append(f"Ability is shown lost {lost}.")
        found += _certainty(study, known)
    unlearned = [names_of[id(one)] for one in bounds if status[id(one)] == "not learned"]
    if unlearned:
        found.append(
            f"Not learned: {wording.listed(unlearned)}. Without the knob the models are not shown to beat the trivial"
            " baseline, so nothing is concluded."
        )
    few = [names_of[id(one)] for one in bounds if status[id(one)] == "too few seeds"]
    if few:
        least = least_seeds(study.claim.alpha)["bounds"]
        found.append(
            f"Too few seeds: {wording.listed(few)}. With fewer than {least} seeds nothing can be shown kept or lost."
        )
    return found


def _free_place(study: Study, bound: Bounds) -> str:
    """'up to 40% sparsity', 'at every setting', 'at no setting'."""
    if is_categorical(study):
        return values.at_values(bound.map, values.kept_K(bound.map), wording.phrase(study).short)
    if bound.free_until is None or bound.free_until == neutral_value(study):
        return "at no setting"
    every = bound.free_until == bound.map.knob_K[-1]
    return "at every setting" if every else f"up to {wording.phrase(study).setting(bound.free_until)}"


def _lost_place(study: Study, bound: Bounds) -> str:
    """'from 60% sparsity on', 'at no setting'."""
    if is_categorical(study):
        return values.at_values(bound.map, bound.map.shown("harmed"), wording.phrase(study).short)
    if bound.harmful_from is None:
        return "at no setting"
    return f"from {wording.phrase(study).setting(bound.harmful_from)} on"


def _by_place(pairs: Sequence[tuple[str, str]]) -> str:
    """'on 256 facts up to 84%, and on addition and path-star up to 60%': names grouped by place."""
    groups: dict[str, list[str]] = {}
    for place, name in pairs:
        groups.setdefault(place, []).append(name)
    texts = [f"on {wording.listed(found)} {place}" for place, found in groups.items()]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, and {texts[-1]}"


def _certainty(study: Study, bounds: Sequence[Bounds]) -> list[str]:
    """How many seeds lost more than δ where 'kept' is shown, at most, and the share of seeds that is not excluded."""
    worst = (0, 0, 0.0, "")
    for bound in bounds:
        free_K, found = bound.map.shown("free"), bound.map
        share_K = found.not_excluded_K()
        for k in np.flatnonzero(free_K):
            if share_K[k] > worst[2]:
                where = wording.phrase(study).short(float(found.knob_K[k]))
                ability = names.ability(study, bound.label, bound.split)
                worst = int(found.lost_K[k]), int(found.counted_K[k]), float(share_K[k]), f"{ability} at {where}"
    lost, of, share, where = worst
    if not of:
        return []
    much = f"more than {study.claim.delta:.0%} of what it had learned"
    said = f"none of {of} seeds lost" if lost == 0 else f"at most {lost} of {of} seeds lost"
    place = "" if lost == 0 else f" ({where})"
    return [
        f"Kept is a statement about the mean: there {said} {much}{place}, and so few seeds can't exclude that up to"
        f" {share:.0%} of all seeds do (95% confidence)."
    ]


def _diverged_answer(findings: Findings) -> list[str]:
    """How many cells diverged, and at which settings."""
    study, stratum = findings.study, findings.stratum or {}
    cells = [
        setting_of(study, cell)
        for cell, step in zip(study.cells, findings.results.diverged_at, strict=True)
        if step >= 0 and in_stratum(study, cell, stratum)
    ]
    if not cells:
        return []
    short = wording.phrase(study).short
    places = wording.listed(f"{cells.count(value)} at {short(value)}" for value in sorted(set(cells)))
    many = "1 cell diverged" if len(cells) == 1 else f"{len(cells)} cells diverged"
    return [f"{many} ({places}): {'it counts' if len(cells) == 1 else 'each counts'} as the trivial ability."]


def latent_answer(study: Study, claims: Sequence[Judged]) -> list[str]:
    """Whether the claimed gains are there where the ability is kept, then what each metric does."""
    act = wording.phrase(study).act
    question = f"Does {act[0].lower()}{act[1:]} make latents better?"
    if is_categorical(study):
        control = wording.phrase(study).short(0.0)
        question = f"Are latents better at another {names.knob(study.claim.knob, study)} than {control}?"
    side = claims[0].stratum.get(SIDE) if claims else None
    question = f"{wording.capital(side)}: {question[0].lower()}{question[1:]}" if side else question
    tested = [one for one in claims if one.map.testable]
    if not tested:
        return [f"{question} There are too few seeds or settings to tell."]
    kept = [one for one in tested if _is_kept(one).any()]
    gained = [one for one in tested if one.map.shown("gain").any()]
    where = f"at a {'value' if is_categorical(study) else 'setting'} that is shown to keep the ability"
    if not gained:
        answer = "No: no claimed gain is shown."
    elif not kept:
        answer = f"No: no claimed gain is shown {where}."
    elif len(kept) == len(tested):
        answer = f"Yes: every claimed gain is shown {where}."
    else:
        few, be = len(kept) < len(tested) / 4, "is" if len(kept) == 1 else "are"
        answer = f"{'Hardly' if few else 'In part'}: {len(kept)} of {len(tested)} claimed gains {be} shown {where}"
        answer += f" ({'; '.join(_named(study, one) for one in kept)})." if len(kept) <= FEW else "."
    gains = dict.fromkeys(one.claimed for one in tested)
    parts = [_metric_answer(study, [one for one in tested if one.claimed == claimed]) for claimed in gains]
    moves = "; ".join(parts)
    return [f"{question} {answer}", f"{moves[0].upper()}{moves[1:]}."]


def correction_answer(study: Study, claims: Sequence[Judged]) -> list[str]:
    """How many verdicts that find something don't stand once claims are corrected for their number; none if all do."""
    tested = [one for one in claims if one.verdict.kind not in FINDS_NOTHING]
    fallen = [one for one in tested if not one.stands]
    if not fallen:
        return []
    level = f"adjusted p {min(one.adjusted_p for one in fallen):.2g} at least, and {study.claim.alpha:g} is needed"
    if len(fallen) == len(tested):
        which = "the one verdict that finds something does not" if len(tested) == 1 else f"none of {len(tested)} does"
        which = f"{which} ({level})"
    else:
        which = f"{len(fallen)} of {len(tested)} {'does' if len(fallen) == 1 else 'do'} not ({level})"
    seeds = f"With {len(claims)} claims, findings must stand a correction for their number"
    return [f"{seeds}: {which}; more seeds would decide."]


def _named(study: Study, one: Judged) -> str:
    """A gain at a kept ability: 'intrinsic dimension on products in Z6, at 60%'."""
    place = map_wording.where(one.map, _is_kept(one), wording.phrase(study).short)
    own = "" if one.claimed.task is not None else f" on {names.task(study, one.label)}"  # else its name says the task
    return f"{names.short_gains(study)[one.claimed]}{own}, {place}"


def _is_kept(one: Judged) -> np.ndarray:
    """bool[K]: where a gain is shown and the ability is shown free or better."""
    return one.map.shown("gain") & (one.map.shown("free") | one.map.shown("better"))


def _metric_answer(study: Study, claims: Sequence[Judged]) -> str:
    """What one metric does: 'class separation falls, against the claim, on every task (first at 12%)'."""
    groups: dict[str, list[tuple[str, Judged]]] = {}
    tasks = dict.fromkeys(one.label for one in claims)
    for one in claims:
        groups.setdefault(_movement(map_wording.words_of(study, one), one), []).append(
            (names.task(study, one.label), one)
        )
    texts = []
    for verb, found in groups.items():
        here = dict.fromkeys(name for name, _ in found)  # a task may have several abilities
        which = "every task" if len(here) == len(tasks) > 1 else wording.listed(here)
        own = claims[0].claimed.task is not None  # then its name says the task
        texts.append(f"{verb}{'' if own else f' on {which}'}{_earliest(study, [one for _, one in found])}")
    return f"{names.short_gains(study)[claims[0].claimed]} {wording.listed(texts)}"


def _earliest(study: Study, claims: Sequence[Judged]) -> str:
    """' (from 12% on)', ' (first at 12% to 36%, by task)': where the metric of some claims begins to move."""
    short = wording.phrase(study).short
    moving = [one.map.shown("gain") | one.map.shown("against") for one in claims]
    if not any(moving_K.any() for moving_K in moving):
        return ""
    places = {map_wording.where(one.map, moving_K, short) for one, moving_K in zip(claims, moving, strict=True)}
    if len(places) == 1:
        return f" ({places.pop()})"
    if not claims[0].map.ordered:
        return ""
    firsts = sorted(int(np.argmax(moving_K)) for moving_K in moving if moving_K.any())
    near, far = (short(float(claims[0].map.knob_K[k])) for k in (firsts[0], firsts[-1]))
    first = (
        "first move at"
        if any(one.map.shown("gain").any() for one in claims) and any(one.map.shown("against").any() for one in claims)
        else "first at"
    )
    return f" ({first} {near})" if near == far else f" ({first} {near} to {far}, by task)"


def _movement(words: map_wording.Words, one: Judged) -> str:
    """What a metric does along the knob, from one claim of it."""
    rises, falls = (words.gains, words.loses) if one.map.ordered else (words.is_gain, words.is_loss)
    gains, against = bool(one.map.shown("gain").any()), bool(one.map.shown("against").any())
    if gains and against:
        what = "settings" if one.map.ordered else "values"
        return f"{rises} as claimed at some {what} and {falls} at others"
    if gains:
        return f"{rises} as claimed"
    return f"{falls}, against the claim," if against else "is not shown to move"


def mismatch_answer(study: Study, claims: Sequence[Judged]) -> list[str]:
    """Where latents are shown better while an ability is shown lost: one sentence for all, none where there is none."""
    short, groups = wording.phrase(study).short, {}
    brief = names.short_gains(study)
    for one in claims:
        zone_K = one.map.shown("gain") & one.map.shown("harmed")
        if zone_K.any():
            place = f"{names.ability(study, one.label, one.split)} {map_wording.where(one.map, zone_K, short)}"
            groups.setdefault(place, []).append(brief[one.claimed])
    if not groups:
        return []
    every = len(study.claim.every_gain)
    places = [
        f"{place} ({'every claimed metric' if len(metrics) == every > 1 else wording.listed(metrics)})"
        for place, metrics in groups.items()
    ]
    return [f"Latents look better while the ability is lost: {'; '.join(places)}."]
