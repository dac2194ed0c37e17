"""What a report says in plain sentences, computed from verdicts and bounds; every view uses the same words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from analysis.activations.claimable import READINGS
from analysis.design import (
    SIDE,
    interim,
    is_categorical,
    name_of,
    neutral_value,
    selection,
    setting_of,
    two_sided,
    without_side,
)
from analysis.diagnosis import Findings
from analysis.report import names
from analysis.report.shapes import values
from analysis.stats import MapVerdict, break_test
from analysis.stats.setting_map import error_bounds, level_divisors
from analysis.verdicts import Bounds
from lab.engine import Plan
from lab.errors import printable
from lab.study.published import kind_of_tasks
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
    "width.active": ("Narrowing the model", "a width of {}", _percent),
    "low_rank.rank": ("Lowering the rank", "a rank of {}", _percent),
    "head_dim.active": ("Narrowing the heads", "a head width of {}", _percent),
    "fsq.coordinates": ("Narrowing the code", "{} coordinates", significant),
    "vib.beta": ("The variational bottleneck", "a beta of {}", significant),
    "label_smoothing.rate": ("Label smoothing", "a smoothing of {}", significant),
    "weight_decay.rate": ("Weight decay", "a decay of {}", significant),
    "residual_dropout.rate": ("Dropout", "a dropout of {}", significant),
    "hidden_noise.sigma": ("Noise on hidden states", "noise of {}", significant),
    "confidence_penalty.rate": ("The confidence penalty", "a penalty of {}", significant),
    "isotropy.rate": ("The isotropy penalty", "a rate of {}", significant),
    "covariance.rate": ("Decorrelation", "a rate of {}", significant),
    "memory.tokens": ("Changing the number of memories", "{} memories", significant),
    "canon.strength": ("Adding Canon layers", "a Canon strength of {}", significant),
    "nested.rate": ("Training narrower widths", "a weight of {}", significant),
    "self_label.share": ("Self-labelling", "a self-labelled share of {}", _percent),
}
# Marks in addition to the colours, so that a verdict can be recognized without seeing them.
MARKS = {
    "transfers": ("good", "✓"),
    "gain for nothing": ("flat", "="),
    "gain, then loss": ("bad", "↘"),
    "harmed from the start": ("bad", "✗"),
    "gain only after the ability is lost": ("bad", "⚠"),
    "gains, then loses the gain": ("flat", "∩"),
    "gain with loss": ("bad", "✗"),
    "moves against the claim": ("bad", "⇅"),
    "no gain shown": ("open", "–"),
    "undecided": ("open", "?"),
    "not learned": ("open", "∅"),
}
MEANING = {
    "not learned": "the neutral cells are not shown to beat the trivial baseline, so there is no ability to lose",
    "moves against the claim": "the metric is shown to move the other way at some setting, and as claimed nowhere",
    "no gain shown": "the metric is at no setting shown to move, as claimed or against",
    "gain, then loss": "the metric gains where the ability isn't shown lost; farther out it gains and it is",
    "gain only after the ability is lost": "wherever the metric gains the ability is lost; before, no gain is shown,"
    " and at some setting the ability is kept",
    "harmed from the start": "wherever the metric gains the ability is lost, and no setting before shows it kept",
    "gain for nothing": "wherever the metric gains the ability is kept, and nowhere shown better",
    "transfers": "the metric gains and the ability gets better at one setting at least, and it never gains where the"
    " ability is lost",
    "gains, then loses the gain": "the metric gains while the ability is kept; where the ability is lost the gain is"
    " lost as well",
    "undecided": "none of these is shown; it is not evidence of absence",
}


def kinds(study: Study) -> list[tuple[str, str, str, str]]:
    """(verdict, look, mark, meaning) of every verdict that a claim of the study may get."""
    meaning = values.MEANING if is_categorical(study) else MEANING
    return [(kind, *MARKS[kind], text) for kind, text in meaning.items()]


def by_stage(numbers: Sequence[int]) -> str:
    """A number for each stage in words: one where all are the same."""
    return f"{numbers[0]}" if len(set(numbers)) == 1 else " then ".join(map(str, numbers))


def phrase(study: Study) -> Phrase:
    """The words for the claim's knob; no two settings of the study read alike."""
    knob = study.claim.knob
    words = names.knob(knob, study)
    if is_categorical(study):
        return Phrase(f"Changing the {words}", lambda v: f"{words} = {name_of(study, v)}", lambda v: name_of(study, v))
    act, setting, write = PHRASES.get(knob, (f"Changing the {words}", f"{words} = {{}}", significant))
    write, settings = names.or_never(write), {cell[knob] for cell in study.cells}
    digits = digits_apart(settings, LEAST_DIGITS, write)
    return Phrase(act, lambda value: setting.format(write(value, digits)), lambda value: write(value, digits))


def listed(items: Iterable[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "nothing"


def capital(text: str) -> str:
    """A text with a capital at the front."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]  # bAbI stays


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


def stratum_text(study: Study, settings: Mapping[str, Any]) -> str:
    """'prune scope = global', 'below neutral', for a heading."""
    return ", ".join(
        str(value) if knob == SIDE else f"{names.knob(knob, study)} = {exact(value)}"
        for knob, value in settings.items()
    )


def settings_text(settings: Mapping[str, Any]) -> str:
    """'prune.scope = global, seed = 3'."""
    return ", ".join(f"{knob} = {exact(value)}" for knob, value in settings.items())


def learned(study: Study, bound: Bounds) -> str:
    """'yes', 'not learned', or 'too few seeds' where learning looks real but so few seeds can't show it."""
    if bound.learned:
        return "yes"
    neutral_S = bound.ability.values_SxK[:, bound.ability.knob_K == neutral_value(study)]
    neutral_S = neutral_S[np.isfinite(neutral_S)]
    few = len(neutral_S) < break_test.least_seeds(study.claim.alpha)["bounds"]
    return "too few seeds" if few and (not len(neutral_S) or neutral_S.mean() > bound.trivial) else "not learned"


def break_text(words: Phrase, verdict: MapVerdict) -> str:
    """'48% to 60%', or a dash where there is no break."""
    if verdict.break_between is None:
        return "—"
    return " to ".join(words.short(value) for value in verdict.break_between)


def how_tested(findings: Findings) -> str:
    """Why a verdict may be believed, in a few sentences for a reader who knows nothing of the lab."""
    study, claim = findings.study, findings.study.claim
    seeds = len({cell["seed"] for cell in study.cells})
    settings = len({setting_of(study, cell) for cell in study.cells})
    strata = len({str(without_side(stratum)) for stratum in findings.strata})
    others = f" times {strata} settings of the other axes" if strata > 1 else ""
    what = "values" if is_categorical(study) else "settings"
    base = f"the control, {name_of(study, 0)}," if is_categorical(study) else "neutral"
    either = ", those below it and those above it as claims of their own," if two_sided(study) else ""
    other = ", where its name says nothing else" if claim.placed_abilities else ""
    mismatch, ability = error_bounds(seeds, claim.alpha)
    tasks = "one task" if len(study.tasks) == 1 else f"all {len(study.tasks)} tasks at once"
    knob = names.knob(claim.knob, study)
    return (
        f"{len(study.cells)} small transformers on {kind_of_tasks(study.tasks)}, each of which learns {tasks}:"
        f" {settings} {what} of the {knob}{others}, with {seeds} seeds each{_acts_late(study)}. A {what[:-1]} is"
        f" compared with {base} seed by seed{either} (sign-flip tests, level {claim.alpha:g}, corrected for the number"
        f" of {what}). Ability is exact accuracy: the share of answers that are right as a whole{other}."
        f" δ, the loss that counts, is {claim.delta:.0%} of what {base} has above the trivial baseline, the best"
        f" guess without learning. With so many seeds a claim is wrongly shown to gain where its ability is lost with"
        f" a probability of at most {mismatch:.1%}, and an ability wrongly called kept, or lost, of at most"
        f" {ability:.1%} each."
    )


def _acts_late(study: Study) -> str:
    """What is trained before the knob acts, where that is shared by all settings."""
    start, end = study.stages[study.acts_from[study.claim.knob]].start, study.stages[-1].end
    if not start:
        return ""
    knob = names.knob(study.claim.knob, study)
    if study.claim.knob in study.tested:
        return (
            f"; all {end:,} steps are trained once a seed, at {exact(study.base[study.claim.knob])}, and the {knob}"
            " differs when the model is evaluated and read"
        )
    if start == end:
        return (
            f"; all {end:,} steps are trained once a seed and shared by its settings, the {knob} acts after them, and"
            " nothing is learned under it"
        )
    return (
        f"; the first {start:,} steps are trained once a seed and shared by its settings, the {knob} acts for the last"
        f" {end - start:,}"
    )


def heads(study: Study) -> dict[str, Any]:
    """Words that head columns: what settings are compared with, where abilities are kept and lost."""
    if is_categorical(study):
        return {"ordered": False, "base": "control", "kept": "kept at", "lost": "lost at", "end": "last value"}
    return {"ordered": True, "base": "neutral", "kept": "kept up to", "lost": "lost from", "end": "far end"}


def arrows(study: Study) -> str:
    """What the arrows next to metrics mean."""
    knob = names.knob(study.claim.knob, study)
    if is_categorical(study):
        return f"↑ claimed to be higher than at the control, {name_of(study, 0)}, ↓ claimed to be lower."
    if two_sided(study):
        return f"↑ claimed to rise as the {knob} leaves neutral on that side, ↓ claimed to fall."
    return f"↑ claimed to rise with the {knob}, ↓ claimed to fall."


def correction(findings: Findings) -> str:
    """How several settings and several claims are corrected, for a note under the verdicts."""
    claims, alpha = len(findings.claims), findings.study.claim.alpha
    seeds = len({cell["seed"] for cell in findings.study.cells})
    family = (
        f"The {claims} claims are corrected for their number by the false discovery rate (Benjamini–Hochberg, adjusted"
        f" p): of the verdicts with an adjusted p of at most {alpha:g}, at most {alpha:.0%} are expected to be wrong;"
        " any other is marked 'does not stand'."
        + (" Both sides of neutral are in that number." if two_sided(findings.study) else "")
        if claims > 1
        else "There is one claim, so no p-value is adjusted."
    )
    least = level_divisors(seeds, alpha)[0] * 2.0**-seeds
    return (
        "p is the largest p-value among the tests that the verdict rests on, corrected for the number of settings; with"
        f" {seeds} seeds it can't be below {least:.2g}. A verdict that rests on no test has a dash. {family}"
    )


def limits(findings: Findings, plan: Plan) -> list[str]:
    """What a reader must not conclude, computed from the study."""
    study, claim, records = findings.study, findings.study.claim, findings.records
    seeds = len({cell["seed"] for cell in study.cells})
    least, error = break_test.least_seeds(claim.alpha), 0.5 / math.sqrt(study.eval_examples)
    settings = len({setting_of(study, cell) for cell in study.cells})
    placed = names.PLACED if claim.placed_gains else ""
    sentences = [*selection.sentences(records.tuning, claim.knob)]
    if "optimizer.learning_rate" not in {axis.knob for axis in study.axes}:
        rate = study.base["optimizer.learning_rate"]
        sentences.append(
            f"One learning rate ({exact(rate)}) at every {names.knob(claim.knob, study)}, not retuned: a setting that"
            " looks harmful may only want another rate."
        )
    sentences += [interim.sentence(records.looks, claim.alpha)] if records.looks else []
    sentences += [
        f"{seeds} seeds: no test on one side can have a p below 2^-{seeds} = {2.0**-seeds:.2g}; {least['bounds']} are"
        " the least that can show anything. More seeds narrow the range between kept and lost.",
        "Undecided means that neither is shown, not that nothing happens.",
        f"Small transformers ({plan.parameters():,} parameters) on {kind_of_tasks(study.tasks)}: the result is about"
        " this setting. That it carries over to large language models is not shown.",
        f"Abilities are measured on {study.eval_examples} examples a split: the standard error of one cell's accuracy"
        f" is up to {error:.3f}.",
        "The figures' intervals are percentile bootstraps of the interquartile mean; with few seeds they are somewhat"
        " too short. No verdict rests on them.",
        "Claims about one ability share its data, so they are not independent evidence.",
        "Splits outside the claim are exploratory: their bounds are not corrected for how many there are.",
        *_slopes_limit(study, settings),
        f"Latents are read at {names.layer(study, claim.layer)} on {study.probe_examples} inputs a task, the"
        f" same for all cells of {names.alike(study)}{placed}; another layer may read differently.",
        *_schedule_limit(study),
        "The study shows what happens together along the knob. That the latent gain causes the ability, or its loss,"
        " would need an intervention on the latent itself.",
    ]
    sentences += [f"{capital(names.metric(name))}: {READINGS[name].trap}." for name in names.claimed_metrics(study)]
    lost = int((findings.results.diverged_at >= 0).sum())
    if lost:
        counts = "counts" if lost == 1 else "count"
        sentences.append(
            f"{lost} of {len(study.cells)} cells diverged and {counts} as the trivial ability; latents are not read"
            " there."
        )
    layout = plan.layout
    sentences.append(
        f"The numbers repeat bit for bit on the same layout ({layout.devices} {layout.platform} devices,"
        f" {layout.width} {'cell' if layout.width == 1 else 'cells'} at a time) and software; on other hardware they"
        " differ by rounding, which training amplifies."
    )
    return sentences


def _slopes_limit(study: Study, settings: int) -> list[str]:
    """What is not known between settings, where they have an order."""
    if is_categorical(study):
        return []
    unit = "Slopes are taken in the knob's own unit"
    return [f"{unit}, over {settings} settings; between settings nothing was measured."]


def _schedule_limit(study: Study) -> list[str]:
    """How much learning is left once the knob acts: the free range depends on it."""
    acts, knob = study.acts_from[study.claim.knob], names.knob(study.claim.knob, study)
    if study.claim.knob in study.tested:
        return [
            f"The {knob} differs from {exact(study.base[study.claim.knob])}, what was trained, at test alone: a model"
            " trained at a setting may do better there, or worse."
        ]
    if not study.steps_from(acts):
        return [
            f"Nothing is learned after the {knob} acts: what is lost is what it costs at once,"
            " and training after it may repair much of it."
        ]
    if study.schedule.name == "constant":
        return []
    stage = next(one for one in study.stages[acts:] if one.steps)
    first, last = (float(study.schedule(jnp.int32(step))) for step in (stage.start, stage.end - 1))
    return [
        f"From where the knob acts, {study.stages[-1].end - stage.start:,} steps are trained, at {first:.0%}"
        f" of the learning rate falling to {last:.0%} ('{study.schedule.name}'): longer or hotter training after it may"
        " repair more."
    ]


def cautions(findings: Findings) -> list[str]:
    """What makes readings hard to trust, seen from the readings themselves."""
    return [*_few_inputs(findings), *_unlearned_seeds(findings)]


def _unlearned_seeds(findings: Findings) -> list[str]:
    """Seeds that have not learned an ability that the others have: they have nothing to lose."""
    study, found = findings.study, []
    for bound in findings.primary:
        neutral_S = bound.ability.values_SxK[:, bound.ability.knob_K == bound.neutral].ravel()
        low = int((neutral_S <= bound.trivial).sum())
        if bound.learned and low:
            many = f"{low} of {len(neutral_S)} seeds has" if low == 1 else f"{low} of {len(neutral_S)} seeds have"
            found.append(f"{many} not learned {names.ability(study, bound.label, bound.split)} at the neutral setting")
    if not found:
        return []
    return [f"{'; '.join(found)}. What was not learned can't be lost: there 'kept' rests on the other seeds."]


def _few_inputs(findings: Findings) -> list[str]:
    """Probe sites with few distinct inputs.

    Few distinct inputs let a reading fit single points: the scatter within classes then has too few directions for the
    width (the trace of its inverse explodes), and a probe can memorize.
    """
    study = findings.study
    needed, found = 8 * max(spec.width for spec in study.bare_specs), []
    setting_C = [study.task_setting(cell) for cell in study.cells]
    for site in dict.fromkeys(one.site for one in findings.claims):
        for setting in study.task_settings:  # a small task must not hide behind a large one
            mine_C = np.asarray([one == tuple(setting.values()) for one in setting_C])
            kept = findings.results.columns[f"{site}/two_nn_kept"][mine_C, -1]
            kept = kept[np.isfinite(kept)]
            distinct = round(float(np.median(kept)) * study.probe_examples) if len(kept) else needed
            if distinct < needed:
                found.append(f"{names.task(study, site.label, setting)} ({distinct} distinct)")
    found = list(dict.fromkeys(found))  # several places of a task read the same inputs
    if not found:
        return []
    return [
        f"Few distinct points among the {study.probe_examples} inputs of {listed(found)}, against 8 × width = {needed}:"
        " there separation and probe readings can fit single points, and dimensions are estimated from little. Read the"
        f" latent verdicts of {'this task' if len(found) == 1 else 'these tasks'} with caution."
    ]
