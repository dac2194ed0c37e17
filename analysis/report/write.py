"""The views of a finished study: report.html, report.md, verdicts.json, results.csv, figures/ and tb/; density.csv too
if it prunes.

All are functions of the results and can be deleted and rebuilt. What belongs to the run and not to the results
(seconds, versions, command) comes in as `run_facts` and goes into the reports only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as escape_html

from analysis.design import selection
from analysis.design.controls import strata
from analysis.diagnosis import diagnose, lead_lag
from analysis.metrics.registry import METRICS
from analysis.plots import style
from analysis.report import (
    event_files,
    figure_list,
    matched_compute,
    repair_section,
    tables,
    tensorboard,
    verdicts_json,
    wording,
)
from analysis.report.figure_list import Shown
from analysis.report.projections import Embedding
from analysis.results import costs, density
from analysis.results.recovery_record import KINDS
from analysis.results.table import Results, to_csv
from analysis.verdicts.claims import Bounds, Judged
from lab.engine.plan import Plan
from lab.engine.progress import duration

TEMPLATES = Path(__file__).parent / "templates"


def write_views(
    workdir: Path,
    plan: Plan,
    results: Results,
    judged: list[Judged],
    bounds: list[Bounds],
    run_facts: Mapping[str, Any],
    embeddings: Sequence[Embedding] = (),
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
      embeddings: `embeddings.read(...)`; without them the report has no picture of hidden states.
    """
    shown = list(figure_list.shown(results, judged, bounds, embeddings))
    elements = {one.key: style.svg(one.picture.figure, one.key, one.title) for one in shown}
    content = _content(plan, results, judged, bounds, run_facts) | _pictured(shown, elements)
    _replace(workdir / "report.html", _render("report.html", content, escape=True))
    _replace(workdir / "report.md", _render("report.md", content, escape=False))
    _replace(workdir / "verdicts.json", verdicts_json.text(results, judged, bounds))
    _replace(workdir / "results.csv", to_csv(results))
    if results.tuning is not None:
        _replace(workdir / "tuning.csv", selection.to_csv(results.tuning, results.study.claim.knob))
    if results.density is not None:
        _replace(workdir / "density.csv", density.to_csv(results.study, results.density))
    _write_files(workdir / "figures", shown, elements)
    settings = [*strata(results.study), {}]
    images = {figure_list.tag(one, settings[-1 if one.stratum is None else one.stratum]): style.png(one.picture.figure)
              for one in shown}  # fmt: skip
    texts = {"answer and verdicts": _render("verdicts.md", content, escape=False)}
    event_files.write(
        workdir / "tb",
        tensorboard.sweep(results, images, texts),
        tensorboard.cells(results),
        step=int(results.step[-1]),
    )


def _pictured(shown: list[Shown], elements: Mapping[str, str]) -> dict[str, Any]:
    """The pictures as the templates print them: those of the whole study, and by stratum the others."""
    whole: list[dict[str, Any]] = []
    by_section: dict[int, list[dict[str, Any]]] = {}
    for one in shown:
        printed = {"name": one.name, "key": one.key, "title": one.title, "caption": one.caption}
        printed |= {"svg": Markup(elements[one.key]), "file": f"figures/{one.file}"}
        (whole if one.stratum is None else by_section.setdefault(one.stratum, [])).append(printed)
    return {"whole": whole, "figures": by_section}


def _write_files(directory: Path, shown: list[Shown], elements: Mapping[str, str]) -> None:
    """Every picture as an SVG file, and its numbers as CSV (docs/figures.md)."""
    directory.mkdir(exist_ok=True)
    for one in shown:
        _replace(directory / f"{one.file}.svg", style.svg_file(elements[one.key]))
        _replace(directory / f"{one.file}.csv", one.picture.to_csv())


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
    environment.filters["code"] = _with_code
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(f"{template}.j2").render(**content)


def _with_code(text: str) -> Markup:
    """Text for HTML with `marked` parts as code."""
    parts = [str(escape_html(part)) for part in text.split("`")]
    return Markup("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


def _of(stratum: dict[str, Any], items: list[Any]) -> list[Any]:
    return [item for item in items if item.stratum == stratum]


def _repairs(results: Results, stratum: dict[str, Any]) -> dict[str, Any]:
    """What interventions recovered in a stratum; empty where none were run."""
    if results.repairs is None or not repair_section.chosen(results, stratum):
        return {}
    return {
        "title": repair_section.TITLE,
        "steps": results.repairs.steps,
        "arms": repair_section.about(results),
        "sentences": list(repair_section.sentences(results, stratum)),
        "routes": list(repair_section.second_routes(results, stratum)),
        "columns": repair_section.COLUMNS,
        "rows": list(repair_section.rows(results, stratum)),
        "kinds": list(KINDS.items()),
    }


def _content(
    plan: Plan, results: Results, judged: list[Judged], bounds: list[Bounds], run_facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the templates print, as strings."""
    study = plan.study
    diagnosis, words = diagnose.diagnose(results, judged, bounds), wording.phrase(study.claim.knob)
    in_time = lead_lag.trajectories(results, judged, bounds)
    patterns = {each.pattern for one in in_time for each in one.orders}
    sections = []
    for index, stratum in enumerate(strata(study)):
        mine, ours = _of(stratum, judged), _of(stratum, bounds)
        primary = [bound for bound in ours if bound.primary]
        sections.append(
            {
                "index": index,
                "name": wording.settings_text(stratum),
                "answers": [*wording.answers(study, primary, mine), *repair_section.headline(results, stratum)],
                "sentences": tables.sentences(mine),
                "why": diagnose.told(_of(stratum, diagnosis), words.setting),
                "repairs": _repairs(results, stratum),
                "verdicts": [tables.verdict_row(study, one, primary) for one in mine],
                "bounds": [tables.bounds_row(study, bound) for bound in ours],
                "latents": list(tables.latent_rows(study, results, mine, primary)),
                "checks": list(tables.check_rows(results, mine)),
                "in_time": tables.order_rows(study, _of(stratum, in_time)),
                "density": density.table(study, results.density, stratum),
                "costs": costs.table(study, results.costs, stratum),
                "matched": matched_compute.table(results, matched_compute.matched(results, stratum)),
            }
        )
    examples = tables.examples(study)
    seconds = dict(run_facts.get("seconds", {}))
    programs = seconds.pop("training_programs", None)
    return {
        "study": study,
        "knob": study.claim.knob,
        "level": f"{1 - study.claim.alpha:.0%}",
        "knob_about": wording.knob_about(study),
        "claim_hash": study.claim_hash(),
        "claim": tables.claim_text(study),
        "setting": list(tables.setting(plan)),
        "tasks": [tables.task_row(study, use, examples[use.label]) for use in study.tasks],
        "sections": sections,
        "kinds": [(kind, *wording.MARKS[kind], meaning) for kind, meaning in wording.MEANING.items()],
        "patterns": [(name, about) for name, about in lead_lag.PATTERNS.items() if name in patterns],
        "metrics": [METRICS[name] for name, _ in study.claim.gains],
        "diverged": list(tables.diverged_rows(results)),
        "cautions": wording.cautions(study, results, judged),
        "limits": wording.limits(plan, results, judged),
        "run": {"device": "", "notes": [], **run_facts},
        "seconds": [(name, duration(value)) for name, value in seconds.items()],
        "programs": programs,
    }
