"""A study's answer in a few sentences, the claimed question first: latents, abilities, mismatches, divergence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.design import neutral_value
from analysis.diagnosis import Findings
from analysis.report import map_wording, names, wording
from analysis.stats import least_seeds
from analysis.verdicts import Bounds, Judged
from lab.study.spec import Study


def answers(findings: Findings) -> list[str]:
    """The answer of one stratum in a few sentences: latents, the abilities' bounds, mismatches, what diverged."""
    study, groups = findings.study, {}
    for bound in findings.primary:
        ability, sure = names.ability(study, bound.label, bound.split), certainty(study, bound)
        groups.setdefault(_free_and_harmed(study, bound), []).append((ability, sure))
    bounds = [_bound_answer(text, abilities) for text, abilities in groups.items()]
    latents = latent_answer(study, findings.claims)
    return [latents, *bounds, *mismatch_answer(study, findings.claims), *_diverged_answer(findings)]


def _bound_answer(text: str, abilities: Sequence[tuple[str, str]]) -> str:
    """The sentence about abilities that share it; with how sure 'free' is, once where that is the same for all."""
    sentence = text.replace("{abilities}", wording.listed(name for name, _ in abilities))
    sure = {note for _, note in abilities}
    if sure == {""}:
        return sentence
    notes = sure.pop() if len(sure) == 1 else "; ".join(f"{name}: {note}" for name, note in abilities if note)
    return f"{sentence} (Up to there {notes}.)"


def _diverged_answer(findings: Findings) -> list[str]:
    """How many cells diverged, and at which settings."""
    study, stratum = findings.study, findings.stratum or {}
    cells = [
        float(cell[study.claim.knob])
        for cell, step in zip(study.cells, findings.results.diverged_at, strict=True)
        if step >= 0 and all(cell[name] == value for name, value in stratum.items())
    ]
    if not cells:
        return []
    short = wording.phrase(study).short
    places = wording.listed(f"{cells.count(value)} at {short(value)}" for value in sorted(set(cells)))
    many = "1 cell diverged" if len(cells) == 1 else f"{len(cells)} cells diverged"
    return [f"{many} ({places}): {'it counts' if len(cells) == 1 else 'each counts'} as the trivial ability."]


def latent_answer(study: Study, claims: Sequence[Judged]) -> str:
    """Whether the claimed gains are there, metric by metric: the first sentence of an answer."""
    act = wording.phrase(study).act
    question = f"Does {act[0].lower()}{act[1:]} make latents better?"
    tested = [one for one in claims if one.verdict.reason not in map_wording.UNTESTED]
    if not tested:
        return f"{question} There are too few seeds or settings to tell."
    gained = [one for one in tested if one.map.shown("gain").any()]
    verdict = "Yes" if len(gained) == len(tested) else "Only in part" if gained else "No"
    metrics = dict.fromkeys(one.metric for one in tested)
    parts = [_metric_answer(study, [one for one in tested if one.metric == metric]) for metric in metrics]
    return f"{question} {verdict}: {'; '.join(parts)}."


def _metric_answer(study: Study, claims: Sequence[Judged]) -> str:
    """What one metric does on each task: 'class separation falls, against the claim, on every task from 12% on'."""
    groups: dict[str, dict[str, str]] = {}
    tasks = dict.fromkeys(one.label for one in claims)
    for one in claims:
        verb, place = _movement(one, map_wording.words_of(study, one))
        groups.setdefault(verb, {})[names.task(study, one.label)] = place
    texts = []
    for verb, places in groups.items():
        if len(set(places.values())) == 1:
            which = "every task" if len(places) == len(tasks) > 1 else wording.listed(places)
            texts.append(f"{verb} on {which} {next(iter(places.values()))}".rstrip())
        else:
            texts.append(f"{verb} on {wording.listed(f'{name} ({place})' for name, place in places.items())}")
    return f"{names.metric(claims[0].metric)} {wording.listed(texts)}"


def _movement(one: Judged, words: map_wording.Words) -> tuple[str, str]:
    """(what a metric does, where), from one claim of it."""
    gain_K, against_K = one.map.shown("gain"), one.map.shown("against")
    there, back = map_wording.where(one.map, gain_K, words.short), map_wording.where(one.map, against_K, words.short)
    if gain_K.any() and against_K.any():
        return f"{words.gains} as claimed and {words.loses} again", f"{there}; {back}"
    if gain_K.any():
        return f"{words.gains} as claimed", there
    if against_K.any():
        return f"{words.loses}, against the claim,", back
    return "is not shown to move", ""


def mismatch_answer(study: Study, claims: Sequence[Judged]) -> list[str]:
    """Where latents are shown better while an ability is shown lost: one sentence for all, none where there is none."""
    short, groups = wording.phrase(study).short, {}
    brief = names.short_metrics(name for name, _ in study.claim.gains)
    for one in claims:
        zone_K = one.map.shown("gain") & one.map.shown("harmed")
        if zone_K.any():
            place = f"{names.ability(study, one.label, one.split)} {map_wording.where(one.map, zone_K, short)}"
            groups.setdefault(place, []).append(brief[one.metric])
    if not groups:
        return []
    every = len(study.claim.gains)
    places = [
        f"{place} ({'every claimed metric' if len(metrics) == every > 1 else wording.listed(metrics)})"
        for place, metrics in groups.items()
    ]
    return [f"Latents look better while the ability is lost: {'; '.join(places)}."]


def certainty(study: Study, bound: Bounds) -> str:
    """How many seeds lost more than δ at the settings shown free, and the share that cannot be excluded."""
    found = bound.map
    free_K = found.shown("free")
    if not free_K.any():
        return ""
    worst = int(np.flatnonzero(free_K)[np.argmax(found.lost_K[free_K])])
    lost, of = int(found.lost_K[worst]), int(found.counted_K[worst])
    share = float(found.not_excluded_K()[worst])
    said = f"none of {of} seeds" if lost == 0 else f"{lost} of {of} seeds"
    at = "" if lost == 0 else f" at {wording.phrase(study).short(float(found.knob_K[worst]))}"
    much = f"{study.claim.delta:.0%} of what was learned"
    return f"{said} lost more than {much}{at}; that up to {share:.0%} of all seeds do is not excluded"


def _free_and_harmed(study: Study, bound: Bounds) -> str:
    """The sentence about one ability, with a gap for the names of all that share it."""
    words, neutral = wording.phrase(study), neutral_value(study)
    status = wording.learned(study, bound)
    if status == "not learned":
        return (
            "Not learned: {abilities}. Without the knob the models are not shown to beat the trivial baseline, so"
            " nothing is concluded."
        )
    if status == "too few seeds" or bound.free_until is None:
        least = least_seeds(study.claim.alpha)["bounds"]
        return f"Too few seeds: {{abilities}}. With fewer than {least} seeds nothing can be shown kept or lost."
    values = bound.ability.knob_K
    end = values[-1] if neutral == values[0] else values[0]
    if bound.free_until == end:
        return f"{words.act} costs nothing on {{abilities}} at any setting tried, up to {words.setting(end)}."
    if bound.free_until == neutral:
        free = f"{words.act} is shown free on {{abilities}} at no setting"
    else:
        free = f"{words.act} is shown free on {{abilities}} up to {words.setting(bound.free_until)}"
    if bound.harmful_from is None:
        return f"{free}; beyond that neither harm nor its absence is shown."
    since = words.setting(bound.harmful_from) if bound.free_until == neutral else words.short(bound.harmful_from)
    return f"{free} and shown to cost ability from {since} on{_between(bound)}."


def _between(bound: Bounds) -> str:
    """'; in between neither is shown', where there is a setting in between."""
    if bound.free_until is None or bound.harmful_from is None:
        return ""
    far = np.abs(bound.ability.knob_K - bound.neutral)
    free, harmed = abs(bound.free_until - bound.neutral), abs(bound.harmful_from - bound.neutral)
    return "; in between neither is shown" if ((far > free) & (far < harmed)).any() else ""
