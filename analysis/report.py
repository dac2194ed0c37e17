"""The views of a finished study: report.html, report.md, verdicts.json, results.csv and tb/.

All are functions of the results and can be deleted and rebuilt. What belongs to the run and not to the results
(seconds, versions, command) comes in as `run_facts` and goes into the reports only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis import board, figures, plotting, statistics, verdicts_file, wording
from analysis.claims import Bounds, Curve, Judged, curve, neutral_value, strata
from analysis.metrics import METRICS
from analysis.results import Results, to_csv
from lab import writer
from lab.config import Study, TaskUse
from lab.plan import Plan
from lab.progress import duration
from tasks.base import trivial

TEMPLATES = Path(__file__).parent / "templates"
# name -> (title, caption); {knob} is filled in.
FIGURES = {
    "ranges": (
        "Where it is free, where it harms",
        "Bold: primary abilities. Grey: exploratory splits, not corrected for their number. Dotted: nothing is known.",
    ),
    "abilities": (
        "What it costs: abilities along {knob}",
        "Shaded where shown free and shown harmful; the grey band is the neutral ability ± δ.",
    ),
    "latents": ("What it does to latents", "The claimed metrics along {knob}, read on the same inputs for every cell."),
    "paths": (
        "Gain against ability",
        "One marker a setting, joined in the order of {knob}; to the right is the claimed gain. A path that goes right"
        " and down gains latents and loses ability.",
    ),
    "trajectories": ("Training", "Abilities and latents at every kept checkpoint (IQM over seeds)."),
    "log_probabilities": (
        "Log-probability beside exact accuracy",
        "A fall that shows in exact accuracy alone may be the doing of an all-or-nothing score.",
    ),
}


def write_views(
    workdir: Path,
    plan: Plan,
    results: Results,
    judged: list[Judged],
    bounds: list[Bounds],
    run_facts: Mapping[str, Any],
) -> None:
    """Write every view of a study into its work directory, each one atomically.

    Args:
      workdir: the study's directory.
      plan: its plan.
      results: its results.
      judged: `claims.judge(results)`.
      bounds: `claims.bounds(results)`.
      run_facts: what is true of this run: 'command' (how to repeat it), 'python' and 'versions' (name -> version), and
        optionally 'device', 'seconds' (activity -> seconds, in the HTML only; 'training_programs' in it is a count) and
        'notes' (sentences).
    """
    drawn = {name: figure for name, figure in _draw(results, judged, bounds)}
    content = _content(plan, results, judged, bounds, run_facts)
    for section in content["sections"]:
        section["figures"] = [
            {"name": name, "title": title, "caption": caption, "svg": Markup(plotting.svg(drawn[key], key, title))}  # noqa: S704
            for name, title, caption, key in _captions(results.study, section["index"])
            if key in drawn
        ]
    _replace(workdir / "report.html", _render("report.html", content, escape=True))
    _replace(workdir / "report.md", _render("report.md", content, escape=False))
    _replace(workdir / "verdicts.json", verdicts_file.text(results, judged, bounds))
    _replace(workdir / "results.csv", to_csv(results))
    images = {f"figures/{key}": plotting.png(figure) for key, figure in drawn.items()}
    texts = {"answer and verdicts": _render("verdicts.md", content, escape=False)}
    writer.write(workdir / "tb", board.sweep(results, images, texts), board.cells(results), step=int(results.step[-1]))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def _render(template: str, content: Mapping[str, Any], escape: bool) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(f"{template}.j2").render(**content)


def _of(stratum: dict[str, Any], items: list[Any]) -> list[Any]:
    return [item for item in items if item.stratum == stratum]


def _draw(results: Results, judged: list[Judged], bounds: list[Bounds]) -> Iterator[tuple[str, Any]]:
    """('<figure>-<stratum's index>', figure), in the order in which they are read."""
    study = results.study
    for index, stratum in enumerate(strata(study)):
        mine, ours = _of(stratum, judged), _of(stratum, bounds)
        primary = [bound for bound in ours if bound.primary]
        yield f"ranges-{index}", figures.ranges(study, ours)
        yield f"abilities-{index}", figures.abilities(study, primary, mine, _diverged(results, stratum))
        yield f"latents-{index}", figures.latents(study, results, mine)
        yield f"paths-{index}", figures.paths(study, mine)
        yield f"trajectories-{index}", figures.trajectories(study, results, mine)
        yield f"log_probabilities-{index}", figures.log_probabilities(study, primary)


def _captions(study: Study, index: int) -> Iterator[tuple[str, str, str, str]]:
    for name, texts in FIGURES.items():
        title, caption = (text.format(knob=study.claim.knob) for text in texts)
        yield name, title, caption, f"{name}-{index}"


def _diverged(results: Results, stratum: dict[str, Any]) -> dict[float, int]:
    """Knob value -> how many of the stratum's cells diverged."""
    found: dict[float, int] = {}
    for cell, step in zip(results.study.cells, results.diverged_at, strict=True):
        if step >= 0 and all(cell[name] == value for name, value in stratum.items()):
            value = float(cell[results.study.claim.knob])
            found[value] = found.get(value, 0) + 1
    return found


def _content(
    plan: Plan, results: Results, judged: list[Judged], bounds: list[Bounds], run_facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the templates print, as strings."""
    study = plan.study
    sections = []
    for index, stratum in enumerate(strata(study)):
        mine, ours = _of(stratum, judged), _of(stratum, bounds)
        primary = [bound for bound in ours if bound.primary]
        sections.append(
            {
                "index": index,
                "name": wording.stratum_name(stratum),
                "answers": wording.answers(study, primary, mine),
                "sentences": _sentences(mine),
                "verdicts": [_verdict_row(study, one, primary) for one in mine],
                "bounds": [_bounds_row(study, bound) for bound in ours],
                "latents": list(_latent_rows(study, results, mine, primary)),
                "checks": list(_check_rows(results, mine)),
            }
        )
    axes = [f"{len(axis.values)} values of {axis.knob}" for axis in study.axes]
    examples = _examples(study)
    seconds = dict(run_facts.get("seconds", {}))
    programs = seconds.pop("training_programs", None)
    return {
        "study": study,
        "knob": study.claim.knob,
        "knob_about": wording.knob_about(study),
        "claim_hash": study.claim_hash(),
        "claim": _claim_text(study),
        "setting": list(_setting(plan, " × ".join(axes))),
        "tasks": [_task_row(study, use, examples[use.label]) for use in study.tasks],
        "sections": sections,
        "kinds": [(kind, *wording.MARKS[kind], meaning) for kind, meaning in wording.MEANING.items()],
        "metrics": [METRICS[name] for name, _ in study.claim.gains],
        "diverged": list(_diverged_rows(results)),
        "limits": wording.limits(plan, results, judged),
        "run": {"device": "", "notes": [], **run_facts},
        "seconds": [(name, duration(value)) for name, value in seconds.items()],
        "programs": programs,
    }


def _claim_text(study: Study) -> str:
    claim = study.claim
    gains = wording.listed(f"{'raises' if sign > 0 else 'lowers'} {name}" for name, sign in claim.gains)
    names = wording.listed(f"{label}/{split}" for label, split in claim.abilities)
    return (
        f"Going up {claim.knob} {gains}, and does not cost {names}."
        if neutral_value(study) <= min(float(cell[claim.knob]) for cell in study.cells)
        else f"Along {claim.knob} in ascending order: {gains}; the abilities are {names}."
    )


def _setting(plan: Plan, grid: str) -> Iterator[tuple[str, str]]:
    study, spec, layout = plan.study, plan.study.spec, plan.layout
    claim, rate = study.claim, study.base["optimizer.learning_rate"]
    fixed = "" if "optimizer.learning_rate" in {a.knob for a in study.axes} else f" {rate:g}"
    yield (
        "Model",
        f"decoder-only pre-norm transformer, {spec.layers} layers, width {spec.width}, {spec.heads} heads, MLP"
        f" {spec.mlp_width} ({spec.activation}), {spec.positions} positions, {plan.parameters():,} parameters",
    )
    stages = ", then ".join(f"{s.name} ({s.end - s.start:,} steps)" for s in study.stages)
    yield (
        "Training",
        f"{stages}; AdamW, learning rate{fixed} ({study.schedule.name}, {study.schedule.warmup} steps of warm-up);"
        f" {sum(u.examples for u in study.tasks)} fresh examples of up to {study.train_length} tokens a step",
    )
    yield "Grid", f"{grid} = {len(study.cells)} cells, seeds crossed with the knob: every comparison is paired by seed"
    acts = study.stages[study.acts_from[claim.knob]].name
    yield (
        "Shared prefixes",
        f"{claim.knob} acts from stage '{acts}'; what comes before is trained once a seed: {plan.steps_shared():,} model"
        f" steps in place of {plan.steps_alone():,}",
    )
    yield (
        "Evaluation",
        f"{study.eval_examples} examples a task and split; greedy free-running answers, right as a whole",
    )
    yield (
        "Latents",
        f"{study.probe_examples} inputs a task, the same for every cell; layer {claim.layer} of {spec.layers} at the task's"
        " last read position",
    )
    yield (
        "Tests",
        f"sign flips over paired seeds, level {claim.alpha:g}; δ is {100 * claim.delta:g}% of (neutral ability − trivial"
        " baseline)",
    )
    yield "Layout", f"{layout.devices} {layout.platform} devices, at most {layout.chunk} cells a device and call"


def _examples(study: Study) -> dict[str, str]:
    """A training example of each task as a person would read it."""

    def sample(key: jax.Array) -> dict[str, Any]:
        key_world, key_example = jax.random.split(key)
        splits = {use.label: (use.task, use.task.splits["train"]) for use in study.tasks}
        return {
            label: task.sample(key_example, task.world(key_world), dict(split.difficulty), split.length)
            for label, (task, split) in splits.items()
        }

    # One program for all tasks: compiling is all the time it takes.
    examples = jax.tree.map(np.asarray, jax.jit(sample)(jax.random.key(0)))
    return {use.label: use.task.render(examples[use.label]) for use in study.tasks}


def _task_row(study: Study, use: TaskUse, example: str) -> dict[str, Any]:
    """One line about a task."""
    task = use.task
    return {
        "label": use.label,
        "name": task.name,
        "family": task.family,
        "about": (type(task).__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", " "),
        "examples": use.examples,
        "factor": f"{use.factor} ({task.factor_sizes[use.factor]} values)",
        "example": example,
        "splits": [
            {
                "name": name,
                "about": one.about,
                "primary": (use.label, name) in study.claim.abilities,
                "trivial": wording.number(trivial(task, name).exact),
            }
            for name, one in use.splits.items()
        ],
    }


def _verdict_row(study: Study, one: Judged, primary: list[Bounds]) -> dict[str, Any]:
    words, verdict = wording.phrase(study.claim.knob), one.verdict
    bound = next(b for b in primary if (b.label, b.split) == (one.label, one.split))
    tested = verdict.kind != "underpowered"
    mark, symbol = wording.MARKS[verdict.kind]
    return {
        "ability": f"{one.label}/{one.split}",
        "metric": f"{one.metric} {'↑' if one.sign > 0 else '↓'}",
        "neutral": wording.number(verdict.neutral_ability, ".3f"),
        "trivial": wording.number(one.trivial, ".3f"),
        "kind": verdict.kind,
        "mark": mark,
        "symbol": symbol,
        "break": wording.break_text(words, verdict),
        "p": f"{wording.p_value(verdict.deciding_p)}" if tested else "—",
        "adjusted": wording.p_value(one.adjusted_p) if tested else "—",
        "rule": verdict.alpha_rule,
        **_bounds_texts(study, bound),
    }


def _sentences(judged: list[Judged]) -> list[tuple[str, str]]:
    """(claims, sentence), claims about one ability that share a sentence together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in judged:
        groups.setdefault((f"{one.label}/{one.split}", one.verdict.sentence), []).append(one.metric)
    return [(f"{ability} with {wording.listed(metrics)}", text) for (ability, text), metrics in groups.items()]


def _bounds_texts(study: Study, bound: Bounds) -> dict[str, str]:
    words = wording.phrase(study.claim.knob)
    if not bound.learned:
        return {"free": "—", "harmful": "—"}
    free = "cannot be tested" if bound.free_until is None else words.short(bound.free_until)
    if bound.free_until == neutral_value(study):
        free = "neutral only"
    return {"free": free, "harmful": "nowhere" if bound.harmful_from is None else words.short(bound.harmful_from)}


def _bounds_row(study: Study, bound: Bounds) -> dict[str, Any]:
    neutral_S = bound.ability.values_SxK[:, bound.ability.knob_K == neutral_value(study)]
    return {
        "ability": f"{bound.label}/{bound.split}",
        "primary": bound.primary,
        "learned": "yes" if bound.learned else "not learned",
        "neutral": wording.number(float(statistics.iqm(neutral_S)[0]), ".3f"),
        "trivial": wording.number(bound.trivial, ".3f"),
        "delta": wording.number(bound.delta if bound.learned else None, ".3f"),
        **_bounds_texts(study, bound),
    }


def _latent_rows(
    study: Study, results: Results, judged: list[Judged], primary: list[Bounds]
) -> Iterator[dict[str, Any]]:
    """Each claimed metric at neutral, at the last setting shown free, and at the far end, with the check at N/2."""
    words, neutral = wording.phrase(study.claim.knob), neutral_value(study)
    seen = set()
    for one in judged:
        if (one.label, one.metric) in seen:
            continue
        seen.add((one.label, one.metric))
        values_K = one.gain.knob_K
        end = float(values_K[-1] if neutral == values_K[0] else values_K[0])
        bound = next(b for b in primary if (b.label, b.split) == (one.label, one.split))
        free = bound.free_until if bound.learned else None
        half = results.columns.get(f"{one.place}/{one.metric}_half")
        halves = None if half is None else curve(results, one.stratum, half)
        yield {
            "label": one.label,
            "metric": f"{one.metric} {'↑' if one.sign > 0 else '↓'}",
            "neutral": _at(one.gain, neutral),
            "free": "—" if free is None else f"{_at(one.gain, free)} at {words.short(free)}",
            "end": f"{_at(one.gain, end)} at {words.short(end)}",
            "half": "—" if halves is None else f"{_at(halves, neutral, False)} → {_at(halves, end, False)}",
        }


def _at(values: Curve, knob: float, interval: bool = True) -> str:
    """IQM and 95% interval at one setting."""
    column_Sx1 = values.values_SxK[:, values.knob_K == knob]
    text = wording.number(float(statistics.iqm(column_Sx1)[0]))
    low, high = statistics.interval(column_Sx1)
    return f"{text} [{low[0]:.3g}, {high[0]:.3g}]" if interval and np.isfinite(low[0]) else text


def _check_rows(results: Results, judged: list[Judged]) -> Iterator[dict[str, str]]:
    """What the readings of each task rest on."""
    for place in dict.fromkeys(one.place for one in judged):
        stratum = next(one.stratum for one in judged if one.place == place)

        def spread(name: str, form: str, place=place, stratum=stratum) -> str:
            values = curve(results, stratum, results.columns[f"{place}/{name}"]).values_SxK
            values = values[np.isfinite(values)]
            if not len(values):
                return "—"
            low, high = format(values.min(), form), format(values.max(), form)
            return low if low == high else f"{low} to {high}"

        yield {
            "place": f"{place.label}, {place.read} position, layer {place.layer}",
            "kept": spread("two_nn_kept", ".0%"),
            "classes": spread("classes_present", ".0f"),
            "smallest": spread("class_count_min", ".0f"),
            "largest": spread("class_count_max", ".0f"),
            "probe": spread("probe_accuracy", ".2f"),
            "control": spread("probe_control_accuracy", ".2f"),
        }


def _diverged_rows(results: Results) -> Iterator[dict[str, str]]:
    study = results.study
    for cell, step in zip(study.cells, results.diverged_at, strict=True):
        if step >= 0:
            named = ", ".join(f"{a.knob} = {cell[a.knob]}" for a in study.axes)
            yield {"cell": named, "step": f"{int(step):,}"}
