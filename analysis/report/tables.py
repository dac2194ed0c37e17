"""The tables of a report: rows of strings, computed from the findings in one stratum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from analysis.design import is_association, is_categorical, name_of, neutral_value, two_sided, values_of
from analysis.diagnosis import Findings, lead_lag
from analysis.plots.style import picked
from analysis.report import map_figure, map_wording, names, wording
from analysis.report.shapes import values
from analysis.results import Curve, curve, evaluation_at
from analysis.stats import FINDS_NOTHING, summaries
from analysis.verdicts import Bounds, Judged
from lab.engine import Plan
from lab.study.parts import TaskUse
from lab.study.spec import Study
from lab.values import exact
from tasks.base import Task, trivial


def claim_text(study: Study) -> str:
    """The primary hypotheses in one sentence."""
    claim = study.claim
    gains = wording.listed(
        f"{'raises' if one.sign > 0 else 'lowers'} {names.gain(study, one)}" for one in claim.every_gain
    )
    abilities = wording.listed(names.ability(study, label, split) for label, split in claim.abilities)
    knob = names.knob(claim.knob, study)
    if is_categorical(study):
        others = wording.listed(name_of(study, code) for code in range(1, len(values_of(study))))
        return f"Against {name_of(study, 0)}, {others} ({knob}) {gains}, and cost no ability on {abilities}."
    if two_sided(study) and claim.below < 0:
        return f"A higher {knob} {gains}, a lower one does the reverse, and neither costs ability on {abilities}."
    if two_sided(study):
        return f"Leaving neutral to either side, {knob} {gains}, and costs no ability on {abilities}."
    way = "higher" if neutral_value(study) <= min(float(cell[claim.knob]) for cell in study.cells) else "lower"
    return f"A {way} {knob} {gains}, and costs no ability on {abilities}."


def raw_names(study: Study) -> list[tuple[str, str]]:
    """(words of this report, name in files and options) of the knob, the abilities and the metrics."""
    found = [(names.knob(study.claim.knob, study), study.claim.knob)]
    found += [(names.ability(study, label, split), f"{label}/{split}") for label, split in study.claim.abilities]
    return found + [(names.gain(study, one), one.key) for one in study.claim.every_gain]


ALWAYS_STATED = ("seed", "optimizer.learning_rate", "optimizer.name")


def setting(plan: Plan) -> Iterator[tuple[str, str]]:
    """(heading, text) of what was trained, evaluated and tested, and how."""
    study, spec, layout = plan.study, plan.study.spec, plan.layout
    size = study.size_text
    grid = " × ".join(f"{len(axis.values)} values of {axis.knob}" for axis in study.axes if not axis.tuned)
    tuned = f", each at the best {wording.listed(list(study.tuned))} of those tried" if study.tuned else ""
    claim, rate, on_axis = study.claim, study.base["optimizer.learning_rate"], {a.knob for a in study.axes}
    fixed = "" if "optimizer.learning_rate" in on_axis else f" {exact(rate)}"
    optimizer = "optimizer as in the grid" if "optimizer.name" in on_axis else study.base["optimizer.name"]
    used = {name for cell in study.cells for name in study.active(cell)} - {*on_axis, *ALWAYS_STATED}
    others = {name: value for name, value in study.base.items() if name in used}
    everywhere = "".join(f"; {name} {exact(value)} in every cell" for name, value in others.items())
    yield (
        "Model",
        f"decoder-only pre-norm transformer, {size('layers')} layers, width {size('width')}, {size('heads')} heads,"
        f" MLP {size('mlp_width')} ({spec.activation}), {spec.positions} positions, {plan.parameters():,} parameters",
    )
    stages = ", then ".join(f"{s.name} ({s.end - s.start:,} steps)" for s in study.stages)
    yield (
        "Training",
        f"{stages}; {optimizer}, learning rate{fixed} ({study.schedule.name}, {study.schedule.warmup} steps of warm-up)"
        f"{everywhere};"
        f" {wording.by_stage(study.examples)} fresh examples of up to {study.longest_training} tokens a step",
    )
    yield "Grid", f"{grid} = {len(study.cells)} cells{tuned}; cells of one seed are compared with each other"
    if not is_association(study):
        acts = study.stages[study.acts_from[claim.knob]].name
        yield (
            "Shared prefixes",
            f"{claim.knob} acts from stage '{acts}'; what comes before is trained once a seed: {plan.steps_shared():,}"
            f" model steps in place of {plan.steps_alone():,}",
        )
    yield (
        "Evaluation",
        f"{study.eval_examples} examples a task and split; greedy free-running answers, right as a whole or wrong",
    )
    yield (
        "Latents",
        f"{study.probe_examples} inputs a task, the same for all cells of {names.alike(study)};"
        f" {names.layer(study, claim.layer)} at a task's first read position{names.PLACED * bool(claim.placed_gains)}",
    )
    of_pairs = f"δ is {100 * claim.delta:g}% of (neutral ability − trivial baseline)"
    tests = f"sign flips over paired seeds, level {claim.alpha:g}; {of_pairs}"
    if is_association(study):
        tests = f"rank correlations, permuting settings and resampling seeds, level {claim.alpha:g}"
    yield "Tests", tests
    yield "Layout", f"{layout.devices} {layout.platform} devices, at most {layout.chunk} cells a device and call"


def task_rows(study: Study) -> list[dict[str, Any]]:
    """A line about each task, with a training example; where cells differ in its sizes, about each of them."""
    found: dict[tuple[str, Task], dict[str, Any]] = {}
    for one, setting in zip(study.variants, study.task_settings, strict=True):
        shown = _examples(one)
        for use in one.tasks:
            if (use.label, use.task) not in found:
                found[use.label, use.task] = _task_row(study, use, names.task(study, use.label, setting), shown)
    labels = [use.label for use in study.tasks]
    return [found[key] for key in sorted(found, key=lambda key: labels.index(key[0]))]


def _examples(study: Study) -> dict[str, str]:
    """A training example of each task as a person would read it."""

    def sample(key: jax.Array) -> dict[str, Any]:
        key_world, key_example = jax.random.split(key)
        found = {}
        for task, split, label in ((use.task, use.task.splits["train"], use.label) for use in study.tasks):
            found[label] = task.sample(key_example, task.world(key_world), dict(split.difficulty), split.length)
        return found

    # One program for all tasks: compiling is all the time it takes.
    found = jax.tree.map(np.asarray, jax.jit(sample)(jax.random.key(0)))
    return {use.label: use.task.render(found[use.label]) for use in study.tasks}


def _task_row(study: Study, use: TaskUse, name: str, examples: dict[str, str]) -> dict[str, Any]:
    task, probed = use.task, " and ".join(f"{f} ({use.task.factor_sizes[f]} values)" for f in use.factors)
    return {
        "label": use.label,
        "title": name,
        "name": task.name,
        "family": task.family,
        "about": (type(task).__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " "),
        "examples": wording.by_stage(use.examples),
        "factor": f"{probed} on inputs of '{use.probe}'",
        "example": examples[use.label],
        "splits": [_split_row(study, use, split) for split in use.splits],
    }


def _split_row(study: Study, use: TaskUse, split: str) -> dict[str, Any]:
    floor, primary = trivial(use.task, split).exact, (use.label, split) in study.claim.abilities
    about = use.splits[split].about
    return {"name": split, "about": about, "primary": primary, "trivial": wording.number(floor)}


def verdict_rows(findings: Findings) -> list[dict[str, Any]]:
    """A row for each primary claim."""
    return [_verdict_row(findings.study, one, findings.primary) for one in findings.claims]


def _verdict_row(study: Study, one: Judged, primary: Sequence[Bounds]) -> dict[str, Any]:
    """A primary claim; its bounds are the ability's own, which no missing metric makes narrower."""
    verdict = one.verdict
    bound = next(b for b in primary if (b.label, b.split) == (one.label, one.split))
    tested = verdict.kind not in FINDS_NOTHING
    mark, symbol = wording.MARKS[verdict.kind]
    return {
        "ability": names.ability(study, one.label, one.split),
        "metric": f"{names.gain(study, one.claimed)} {'↑' if one.sign > 0 else '↓'}",
        "score": "mean accuracy " if one.reading is None else "",  # an ability at a place names its own
        "neutral": wording.number(one.map.neutral_ability, ".3f"),
        "trivial": wording.number(one.trivial, ".3f"),
        "kind": verdict.kind,
        "stands": one.stands or not tested,
        "mark": mark,
        "symbol": symbol,
        "sentence": _sentence(study, one),
        "p": wording.p_value(verdict.p) if tested else "—",
        "adjusted": wording.p_value(one.adjusted_p) if tested else "—",
        "bounds": _bounds_sentence(study, bound),
    }


def _sentence(study: Study, one: Judged) -> str:
    """The verdict, then what slopes over the whole range add where they add something."""
    parts = (map_wording.claim_sentence(study, one), map_wording.shape_sentence(study, one))
    return " ".join(part for part in parts if part)


def _bounds_sentence(study: Study, bound: Bounds) -> str:
    """'kept up to 40%, lost from 50% on', in so many words for a table."""
    if not bound.learned:
        return wording.learned(study, bound)
    short, texts = wording.phrase(study).short, []
    if is_categorical(study):
        shown = {"kept": values.kept_K(bound.map), "lost": bound.map.shown("harmed")}
        texts = [f"{word} {values.at_values(bound.map, each, short)}" for word, each in shown.items() if each.any()]
        return ", ".join(texts) or "shown neither kept nor lost"
    if bound.free_until is not None and bound.free_until != neutral_value(study):
        texts.append(f"kept up to {short(bound.free_until)}")
    if bound.harmful_from is not None:
        texts.append(f"lost from {short(bound.harmful_from)} on")
    return ", ".join(texts) or "shown neither kept nor lost"


def map_rows(findings: Findings, columns: int = 40) -> dict[str, Any]:
    """The map of one stratum as texts.

    Args:
      columns: settings that there is room for; of more, so many at even distances are taken.

    Returns:
      'settings' (texts, neutral first), 'values' and 'left_out' (how many are not shown); 'groups': for each ability
      (name, rows), where a row is (metric with its arrow, marks, keys of `map_figure.STATES`, verdict).
    """
    study, every = findings.study, map_figure.settings_of(findings.claims)
    chosen = every[picked(len(every), columns)]
    short = names.short_gains(study)
    groups = []
    for group in map_figure.of_ability(findings.claims):
        rows = [(f"{short[one.claimed]} {'↑' if one.sign > 0 else '↓'}", *_marks(one, chosen), one.verdict.kind)
                for one in group]  # fmt: skip
        groups.append((names.ability(study, group[0].label, group[0].split), rows))
    texts = [wording.phrase(study).short(float(value)) for value in chosen]
    return {"settings": texts, "values": chosen, "left_out": len(every) - len(chosen), "groups": groups}


def _marks(one: Judged, chosen: np.ndarray) -> tuple[list[str], list[str]]:
    """Marks and states of a claim at some settings, neutral first; a thick line at either end of its break."""
    found, marks, states = one.map, [], []
    where = {float(value): k for k, value in enumerate(found.knob_K)}
    for value in map(float, chosen):
        k = where.get(value)
        marks.append("" if k is None else map_figure.mark(found, k))
        states.append("open" if not k else map_figure.state(found, k))
    if one.verdict.break_between is not None:
        kept, lost = (abs(value - chosen[0]) for value in one.verdict.break_between)
        far = np.abs(chosen - chosen[0])  # settings of the break may not be among the chosen
        last, first = int(np.flatnonzero(far <= kept)[-1]), int(np.argmax(far >= lost))
        marks[first] = f"{map_figure.BREAK}{marks[first]}"
        if last < first - 1:
            marks[last] += map_figure.BREAK
    return marks, states


def bounds_texts(study: Study, bound: Bounds) -> dict[str, str]:
    """Where an ability is shown kept ('free') and lost ('harmful')."""
    words = wording.phrase(study)
    if not bound.learned:
        return {"free": "—", "harmful": "—"}
    if is_categorical(study):
        shown = values.kept_K(bound.map), bound.map.shown("harmed")
        kept, lost = (values.at_values(bound.map, each, words.short).removeprefix("at ") for each in shown)
        return {"free": kept, "harmful": lost}
    free = "cannot be tested" if bound.free_until is None else words.short(bound.free_until)
    if bound.free_until == neutral_value(study):
        free = "neutral only"
    return {"free": free, "harmful": "nowhere" if bound.harmful_from is None else words.short(bound.harmful_from)}


def bounds_rows(findings: Findings) -> list[dict[str, Any]]:
    """A row for each evaluated split."""
    return [_bounds_row(findings.study, bound) for bound in findings.bounds]


def _bounds_row(study: Study, bound: Bounds) -> dict[str, Any]:
    neutral_S = bound.ability.values_SxK[:, bound.ability.knob_K == neutral_value(study)]
    return {
        "ability": names.ability(study, bound.label, bound.split),
        "primary": bound.primary,
        "learned": wording.learned(study, bound),
        "neutral": wording.number(
            float(np.nanmean(neutral_S)) if np.isfinite(neutral_S).any() else float("nan"), ".3f"
        ),
        "trivial": wording.number(bound.trivial, ".3f"),
        "delta": wording.number(bound.delta if bound.learned else None, ".3f"),
        **bounds_texts(study, bound),
    }


def latent_rows(findings: Findings) -> Iterator[dict[str, Any]]:
    """Each claimed metric at neutral, at the last setting shown free, and at the far end, with the check at N/2."""
    study, primary = findings.study, findings.primary
    words, neutral = wording.phrase(study), neutral_value(study)
    seen = set()
    for one in findings.claims:
        if (what := (one.site, one.metric, one.claimed.stage, one.claimed.step)) in seen:
            continue
        seen.add(what)
        values_K = one.gain.knob_K
        end = float(values_K[-1] if neutral == values_K[0] else values_K[0])
        bound = next(b for b in primary if (b.label, b.split) == (one.label, one.split))
        free = bound.free_until if bound.learned else None
        half = findings.results.columns.get(f"{one.site}/{one.metric}_half")
        at = evaluation_at(findings.results, one.claimed)
        halves = None if half is None else curve(findings.results, one.stratum, half, at)
        yield {
            "label": names.task(study, one.site.label),
            "metric": f"{names.gain(study, one.claimed)} {'↑' if one.sign > 0 else '↓'}",
            "neutral": _at(one.gain, neutral),
            "free": "—" if free is None else f"{_at(one.gain, free)} at {words.short(free)}",
            "others": "; ".join(f"{_at(one.gain, v)} at {words.short(v)}" for v in values_K.tolist() if v != neutral),
            "end": f"{_at(one.gain, end)} at {words.short(end)}",
            "half": "—" if halves is None else f"{_at(halves, neutral, False)} → {_at(halves, end, False)}",
        }


def _at(values: Curve, knob: float, interval: bool = True) -> str:
    """IQM and 95% interval at one setting."""
    column_Sx1 = values.values_SxK[:, values.knob_K == knob]
    text = _plain(float(summaries.iqm(column_Sx1)[0]))
    low, high = summaries.interval(column_Sx1)
    return f"{text} [{_plain(low[0])}, {_plain(high[0])}]" if interval and np.isfinite(low[0]) else text


def _plain(value: float) -> str:
    """Three digits; 1,234 in place of 1.23e+03."""
    return wording.number(value, ",.0f" if 999.5 <= abs(value) < 1e6 else ".3g")


def check_rows(findings: Findings) -> Iterator[dict[str, str]]:
    """What the readings of each task rest on."""
    results = findings.results
    for site in dict.fromkeys(one.site for one in findings.claims):
        stratum = next(one.stratum for one in findings.claims if one.site == site)

        def spread(name: str, form: str, site=site, stratum=stratum) -> str:
            values = curve(results, stratum, results.columns[f"{site}/{name}"]).values_SxK
            values = values[np.isfinite(values)]
            if not len(values):
                return "—"
            low, high = format(values.min(), form), format(values.max(), form)
            return low if low == high else f"{low} to {high}"

        yield {
            "site": f"{names.task(findings.study, site.label)}, {site.read} position, layer {site.layer}"
            + "".join(f", {text}" for text in (site.factor, site.split) if text),
            "kept": spread("two_nn_kept", ".0%"),
            "classes": spread("classes_present", ".0f"),
            "smallest": spread("class_count_min", ".0f"),
            "largest": spread("class_count_max", ".0f"),
            "probe": spread("probe_accuracy", ".2f"),
            "control": spread("probe_control_accuracy", ".2f"),
        }


def order_rows(findings: Findings) -> list[dict[str, str]]:
    """What moves first: in the stretch that all settings share, at neutral and at the far end.

    Stretches with too few checkpoints for any order are one row an ability.
    """
    study = findings.study
    words, rows = wording.phrase(study), []
    against = {one.key: names.gain(study, one) for one in study.claim.every_gain}
    for one in lead_lag.shown(findings.lead_lag, neutral_value(study)):
        few = {each.pattern for each in one.orders} == {lead_lag.TOO_FEW}
        where = "all, before the knob acts" if one.setting is None else words.short(one.setting)
        where = "each on its own" if few and one.setting is not None else where
        head = {
            "ability": names.ability(study, one.label, one.split),
            "setting": where,
            "steps": f"{one.start:,} to {one.end:,}",
            "plateau": wording.number(one.plateau, ".0%"),
        }
        silent = {"against": "—", "other": "—", "half": "—", "ratio": "—"}
        if few:
            row = {**head, **silent, "pattern": f"{lead_lag.TOO_FEW} ({one.checkpoints})"}
            rows += [] if row in rows else [row]
            continue
        for each in one.orders:
            known = np.isfinite(each.ratio)
            rows.append(
                {
                    **head,
                    "against": against.get(each.against, each.against),
                    "other": wording.number(each.against_half, ",.0f"),
                    "half": wording.number(each.ability_half, ",.0f"),
                    "ratio": f"{each.ratio:.2f} [{each.low:.2f}, {each.high:.2f}]" if known else "—",
                    "pattern": each.pattern,
                }
            )
    return rows


def cause_rows(findings: Findings) -> Iterator[dict[str, str]]:
    """What was tested of every ability that breaks, with the numbers behind it."""
    study = findings.study
    words = wording.phrase(study)
    for one in findings.diagnoses:
        yield {
            "ability": names.ability(study, one.task, one.split),
            "cause": one.cause,
            "status": one.status,
            "at": words.short(one.at),
            "evidence": names.evidence(one.evidence),
        }


def diverged_rows(findings: Findings) -> Iterator[dict[str, str]]:
    """The cells of all strata whose loss stopped being finite."""
    study = findings.study
    for cell, step in zip(study.cells, findings.results.diverged_at, strict=True):
        if step >= 0:
            yield {"cell": wording.settings_text({a.knob: cell[a.knob] for a in study.axes}), "step": f"{int(step):,}"}
