"""What a report says in plain sentences, computed from verdicts and bounds; every view uses the same words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from analysis.design import interim, neutral_value, selection
from analysis.diagnosis import Findings
from analysis.metrics.registry import METRICS
from analysis.stats import break_test
from analysis.verdicts import Bounds, Judged
from lab.engine import Plan
from lab.errors import printable
from lab.mechanisms import knobs as registry
from lab.study.spec import Study
from lab.values import digits_apart, exact, significant


@dataclass(frozen=True)
class Phrase:
    """How a sentence speaks of a knob: the act ('Pruning'), and a setting ('40% sparsity')."""

    act: str
    setting: Callable[[float], str]
    short: Callable[[float], str]


def _percent(value: float, digits: int) -> str:
    """A share in percent: whole ones in the middle of the range, unless that few digits are too few."""
    whole = digits == LEAST_DIGITS and 0.1 <= value <= 0.9
    return f"{100 * value:.0f}%" if whole else f"{significant(100 * value, digits)}%"


LEAST_DIGITS = 3  # of a setting in a sentence; more where settings would read alike
# knob -> (the act, a setting, how its value is written in so many digits)
PHRASES: dict[str, tuple[str, str, Callable[[float, int], str]]] = {
    "prune.sparsity": ("Pruning", "{} sparsity", _percent),
}
# Marks in addition to the colours, so that a verdict can be recognized without seeing them.
MARKS = {
    "transfers": ("good", "✓"),
    "never transferred": ("flat", "="),
    "stall": ("bad", "↷"),
    "reversal": ("bad", "↘"),
    "harms from the start": ("bad", "✗"),
    "scale-dependent": ("open", "~"),
    "no latent gain": ("open", "–"),
    "underpowered": ("open", "?"),
    "not learned": ("open", "∅"),
}
MEANING = {
    "not learned": "the neutral cells are not shown to beat the trivial baseline, so there is no ability to lose",
    "underpowered": "there are too few seeds or settings, or too much noise, for any other verdict; it is not"
    " evidence of absence",
    "no latent gain": "the metric is not shown to move as claimed over the whole range",
    "harms from the start": "ability falls by more than δ before the first break that can be tested",
    "reversal": "up to the break ability loses less than δ, after it ability falls while the metric continues to gain",
    "stall": "metric and ability rise together up to the break; after it the metric rises and ability hardly follows",
    "scale-dependent": "a stall for the metric as given that does not survive its log or its ranks",
    "never transferred": "the metric gains and ability is shown to change by less than δ over the whole range",
    "transfers": "the metric gains, ability rises, and no break is shown",
}


def by_stage(numbers: Sequence[int]) -> str:
    """A number for each stage in words: one where all are the same."""
    return f"{numbers[0]}" if len(set(numbers)) == 1 else " then ".join(map(str, numbers))


def phrase(study: Study) -> Phrase:
    """The words for the claim's knob, its name where there are none; no two settings of the study read alike."""
    knob = study.claim.knob
    act, setting, write = PHRASES.get(knob, (f"Changing {knob}", f"{knob} = {{}}", significant))
    digits = digits_apart({cell[knob] for cell in study.cells}, LEAST_DIGITS, write)
    return Phrase(act, lambda value: setting.format(write(value, digits)), lambda value: write(value, digits))


def listed(items: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"


def number(value: float | None, form: str = ".3g") -> str:
    """A number, or a dash where there is none."""
    return "—" if value is None or not math.isfinite(value) else format(value, form)


def p_value(value: float) -> str:
    """A p-value with three decimals."""
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


# What Markdown takes for markup, apart from code; an underline in a word is none.
MARKDOWN = re.compile(r"[\\*\[\]<>~$&]|(?<!\w)_|_(?!\w)")


def markdown(text: str, code: bool = False) -> str:
    """A user's text on one line of Markdown as itself, without markup; with `code` marked parts are code."""
    escaped = MARKDOWN.sub(r"\\\g<0>", printable(text))
    return escaped if code else escaped.replace("`", "\\`")


def settings_text(settings: Mapping[str, Any]) -> str:
    """'prune.scope = global, seed = 3'."""
    return ", ".join(f"{knob} = {exact(value)}" for knob, value in settings.items())


def answers(findings: Findings) -> list[str]:
    """The answer of one stratum in a few sentences: the bounds of the primary abilities, then latents and breaks."""
    study, groups = findings.study, {}
    for bound in findings.primary:
        groups.setdefault(_free_and_harmed(study, bound), []).append(f"{bound.label}/{bound.split}")
    sentences = [text.replace("{abilities}", listed(names)) for text, names in groups.items()]
    return [*sentences, *_latent_sentence(study, findings.claims), *_break_sentence(study, findings.claims)]


def learned(study: Study, bound: Bounds) -> str:
    """'yes', 'not learned', or 'too few seeds' where learning looks real but so few seeds can't show it."""
    if bound.learned:
        return "yes"
    neutral_S = bound.ability.values_SxK[:, bound.ability.knob_K == neutral_value(study)]
    neutral_S = neutral_S[np.isfinite(neutral_S)]
    few = len(neutral_S) < break_test.least_seeds(study.claim.alpha)["bounds"]
    return "too few seeds" if few and (not len(neutral_S) or neutral_S.mean() > bound.trivial) else "not learned"


def _free_and_harmed(study: Study, bound: Bounds) -> str:
    """The sentence about one ability, with a gap for the names of all that share it."""
    words, neutral = phrase(study), neutral_value(study)
    status = learned(study, bound)
    if status == "not learned":
        return (
            "Not learned: {abilities}. The neutral cells are not shown to beat the trivial baseline: nothing is"
            " concluded."
        )
    if status == "too few seeds" or bound.free_until is None:
        least = break_test.least_seeds(study.claim.alpha)["bounds"]
        return f"Underpowered: {{abilities}}. With fewer than {least} seeds nothing can be shown free or harmful."
    values = bound.ability.knob_K
    end = values[-1] if neutral == values[0] else values[0]
    if bound.free_until == end:
        return f"{words.act} is shown free for {{abilities}} at every setting tried, up to {words.setting(end)}."
    if bound.free_until == neutral:
        free = f"{words.act} is not shown free for {{abilities}} at any setting"
    else:
        free = f"{words.act} is shown free for {{abilities}} up to {words.setting(bound.free_until)}"
    if bound.harmful_from is None:
        return f"{free}, and nowhere shown harmful; beyond that nothing is known."
    since = words.setting(bound.harmful_from) if bound.free_until == neutral else words.short(bound.harmful_from)
    return f"{free} and shown harmful from {since}; between them nothing is known."


def _latent_sentence(study: Study, claims: Sequence[Judged]) -> list[str]:
    """Which claimed gains are shown, over the whole range of the knob."""
    alpha, groups = study.claim.alpha, {}
    for metric, sign in study.claim.gains:
        mine = {j.label: j.verdict.p_values.get("latent gain") for j in claims if j.metric == metric}
        shown = [label for label, p in mine.items() if p is not None and p <= alpha]
        tested = [label for label, p in mine.items() if p is not None]
        if tested:
            where = f"{'' if shown == tested else 'only '}on {listed(shown)}" if shown else ""
            groups.setdefault(where, []).append(f"{metric} {'rises' if sign > 0 else 'falls'}")
    shown = [f"that {listed(metrics)} {where}" for where, metrics in groups.items() if where]
    sentences = [f"Over the whole range it is shown {listed(shown)}."] if shown else []
    return sentences + ([f"It is nowhere shown that {' or '.join(groups[''])}."] if "" in groups else [])


def break_text(words: Phrase, verdict: break_test.Verdict) -> str:
    """'40% [37%, 43%]', or a dash where no break is located."""
    if verdict.break_at is None:
        return "—"
    place = words.short(verdict.break_at)
    if verdict.break_interval is None:
        return place
    return f"{place} [{words.short(verdict.break_interval[0])}, {words.short(verdict.break_interval[1])}]"


def _break_sentence(study: Study, claims: Sequence[Judged]) -> list[str]:
    """Where latent gain stops becoming ability, by ability, whatever the metric."""
    words, found = phrase(study), {}
    for one in claims:
        if one.verdict.break_at is not None:
            at = f"{one.label}/{one.split} at {break_text(words, one.verdict)} ({one.verdict.kind})"
            found.setdefault(at, []).append(one.metric)
    if found:
        every = len(study.claim.gains)
        breaks = [at if len(metrics) == every else f"{at} against {listed(metrics)}" for at, metrics in found.items()]
        return [f"Latent gain stops becoming ability for {'; for '.join(breaks)}."]
    kinds = {j.verdict.kind for j in claims}
    if "underpowered" in kinds and kinds <= {"underpowered", "not learned"}:
        return ["Every break test that could be made is underpowered: no break is shown, and none is excluded."]
    return ["No break is shown."]


def limits(findings: Findings, plan: Plan) -> list[str]:
    """What a reader must not conclude, computed from the study."""
    study, claim, records = findings.study, findings.study.claim, findings.records
    seeds = len({cell["seed"] for cell in study.cells})
    least, error = break_test.least_seeds(claim.alpha), 0.5 / math.sqrt(study.eval_examples)
    rules = sorted({one.verdict.alpha_rule for one in findings.claims})
    settings = len({float(cell[claim.knob]) for cell in study.cells})
    sentences = [*selection.sentences(records.tuning, claim.knob)]
    if "optimizer.learning_rate" not in {axis.knob for axis in study.axes}:
        rate = study.base["optimizer.learning_rate"]
        sentences.append(
            f"One learning rate ({exact(rate)}) at every value of {claim.knob}, not retuned: a setting that looks"
            " harmful may only want another rate."
        )
    sentences += [interim.sentence(records.looks, claim.alpha)] if records.looks else []
    sentences += [
        f"{seeds} seeds: no p-value can fall below 2^-{seeds} = {2.0**-seeds:.2g}. Showing a bound takes at least"
        f" {least['bounds']} seeds, a reversal {least['reversal']}, a stall {least['stall']}. More seeds narrow the"
        " range between 'shown free' and 'shown harmful'.",
        "A reversal joins two tests that can be in doubt and a stall four, so their strict levels are alpha/2 and"
        f" alpha/4; the verdicts here used {listed(rules)}, alpha being {claim.alpha:g}.",
        "Underpowered means that the data can show neither change nor its absence; it is not a finding of no effect.",
        f"Small transformers ({plan.parameters():,} parameters) on synthetic tasks: the result is about this setting."
        " That it carries over to large language models is not shown.",
        f"Abilities are measured on {study.eval_examples} examples a split: the standard error of one cell's accuracy"
        f" is up to {error:.3f}.",
        "The figures' intervals are percentile bootstraps of the interquartile mean; with few seeds they are somewhat"
        " too short. No verdict rests on them.",
        f"Adjusted p-values control the false discovery rate over the {len(findings.claims)} primary claims"
        " (Benjamini–Hochberg). Claims about one ability share its data, so they are not independent evidence.",
        "Splits outside the claim are exploratory: their bounds are not corrected for how many there are.",
        f"Slopes are taken in the knob's own unit, over {settings} settings; between settings nothing was measured.",
        f"Latents are read at layer {claim.layer} of {study.spec.layers} on {study.probe_examples} inputs a task, the"
        " same for all cells of a seed; another layer may read differently.",
        *_schedule_limit(study),
        "The study shows what happens together along the knob. That the latent gain causes the ability, or its loss,"
        " would need an intervention on the latent itself.",
    ]
    sentences += [f"{name}: {METRICS[name].trap}." for name, _ in claim.gains]
    lost = int((findings.results.diverged_at >= 0).sum())
    if lost:
        diverged = "diverged and is" if lost == 1 else "diverged and are"
        sentences.append(f"{lost} of {len(study.cells)} cells {diverged} left out from that step on.")
    layout = plan.layout
    sentences.append(
        f"The numbers repeat bit for bit on the same layout ({layout.devices} {layout.platform} devices,"
        f" {layout.width} cells at a time) and software; on other hardware they differ by rounding, which training"
        " amplifies."
    )
    return sentences


def _schedule_limit(study: Study) -> list[str]:
    """How much learning is left once the knob acts: the free range depends on it."""
    if study.schedule.name == "constant":
        return []
    stage = study.stages[study.acts_from[study.claim.knob]]
    first, last = (float(study.schedule(jnp.int32(step))) for step in (stage.start, stage.end - 1))
    return [
        f"From where {study.claim.knob} acts, {study.stages[-1].end - stage.start:,} steps are trained, at {first:.0%}"
        f" of the learning rate falling to {last:.0%} ('{study.schedule.name}'): longer or hotter training after it may"
        " repair more."
    ]


def cautions(findings: Findings) -> list[str]:
    """What makes latent readings of a probe site hard to trust, seen from the readings themselves.

    Few distinct inputs let a reading fit single points: the scatter within classes then has too few directions for the
    width (the trace of its inverse explodes), and a probe can memorize.
    """
    study = findings.study
    needed, found = 8 * study.spec.width, []
    for site in dict.fromkeys(one.site for one in findings.claims):
        kept = findings.results.columns[f"{site}/two_nn_kept"][:, -1]
        kept = kept[np.isfinite(kept)]
        distinct = round(float(np.median(kept)) * study.probe_examples) if len(kept) else needed
        if distinct < needed:
            found.append(f"{site.label} ({distinct})")
    if not found:
        return []
    return [
        f"Few distinct points among the {study.probe_examples} inputs of {listed(found)}, against 8 × width = {needed}:"
        " there separation and probe readings can fit single points, and dimensions are estimated from little. Read the"
        " latent verdicts of these tasks with caution."
    ]


def knob_about(study: Study) -> str:
    """What the claim's knob is, with its source."""
    knob = registry.KNOBS[study.claim.knob]
    return f"{knob.about} ({knob.source})"
