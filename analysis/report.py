"""The views of a finished study: report.html, report.md, verdicts.json, results.csv and tb/; density.csv if it prunes.

All are functions of the results and can be deleted and rebuilt. What belongs to the run and not to the results
(seconds, versions, command) comes in as `run_facts` and goes into the reports only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as escape_html

from analysis import board, compute, costs, density, figures, labels, order, plotting, tables, verdicts_file, wording
from analysis.claims import Bounds, Judged, strata
from analysis.metrics import METRICS
from analysis.results import Results, to_csv
from lab import writer
from lab.config import Study
from lab.plan import Plan
from lab.progress import duration

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
    "latents": (
        "What it does to latents",
        "The claimed metrics along {knob}, at layer {layer}, on the same inputs for all cells of a seed.",
    ),
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
COMPUTE = (  # only where the knob changes what training costs
    "compute",
    "Ability against training compute",
    "A line a setting, a marker a kept checkpoint (IQM over seeds). Dotted: the budget that every cell spent.",
)


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
            {"name": name, "title": title, "caption": caption, "svg": Markup(plotting.svg(drawn[key], key, title))}
            for name, title, caption, key in _captions(results.study, section["index"])
        ]
        if section["matched"]:
            name, title, caption = COMPUTE
            svg = Markup(plotting.svg(drawn[f"{name}-{section['index']}"], f"{name}-{section['index']}", title))
            section["matched"]["figure"] = {"name": name, "title": title, "caption": caption, "svg": svg}
    _replace(workdir / "report.html", _render("report.html", content, escape=True))
    _replace(workdir / "report.md", _render("report.md", content, escape=False))
    _replace(workdir / "verdicts.json", verdicts_file.text(results, judged, bounds))
    _replace(workdir / "results.csv", to_csv(results))
    if results.density is not None:
        _replace(workdir / "density.csv", density.to_csv(results.study, results.density))
    images = {
        f"figures/{name} {section['name']}".strip(): plotting.png(drawn[key])
        for section in content["sections"]
        for name, _, _, key in _captions(results.study, section["index"])
    }
    images |= {
        f"figures/{COMPUTE[0]} {section['name']}".strip(): plotting.png(drawn[f"{COMPUTE[0]}-{section['index']}"])
        for section in content["sections"]
        if section["matched"]
    }
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
    environment.filters["code"] = _with_code
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.get_template(f"{template}.j2").render(**content)


def _with_code(text: str) -> Markup:
    """Text for HTML with `marked` parts as code."""
    parts = [str(escape_html(part)) for part in text.split("`")]
    return Markup("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


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
        if matched := compute.matched(results, stratum):
            yield f"{COMPUTE[0]}-{index}", figures.compute(results, primary, matched)


def _captions(study: Study, index: int) -> Iterator[tuple[str, str, str, str]]:
    for name, texts in FIGURES.items():
        title, caption = (text.format(knob=study.claim.knob, layer=study.claim.layer) for text in texts)
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
    diagnosis, words = labels.diagnose(results, judged, bounds), wording.phrase(study.claim.knob)
    in_time = order.trajectories(results, judged, bounds)
    patterns = {each.pattern for one in in_time for each in one.orders}
    sections = []
    for index, stratum in enumerate(strata(study)):
        mine, ours = _of(stratum, judged), _of(stratum, bounds)
        primary = [bound for bound in ours if bound.primary]
        sections.append(
            {
                "index": index,
                "name": wording.settings_text(stratum),
                "answers": wording.answers(study, primary, mine),
                "sentences": tables.sentences(mine),
                "why": labels.told(_of(stratum, diagnosis), words.setting),
                "verdicts": [tables.verdict_row(study, one, primary) for one in mine],
                "bounds": [tables.bounds_row(study, bound) for bound in ours],
                "latents": list(tables.latent_rows(study, results, mine, primary)),
                "checks": list(tables.check_rows(results, mine)),
                "in_time": tables.order_rows(study, _of(stratum, in_time)),
                "density": density.table(study, results.density, stratum),
                "costs": costs.table(study, results.costs, stratum),
                "matched": compute.table(results, compute.matched(results, stratum)),
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
        "patterns": [(name, about) for name, about in order.PATTERNS.items() if name in patterns],
        "metrics": [METRICS[name] for name, _ in study.claim.gains],
        "diverged": list(tables.diverged_rows(results)),
        "cautions": wording.cautions(study, results, judged),
        "limits": wording.limits(plan, results, judged),
        "run": {"device": "", "notes": [], **run_facts},
        "seconds": [(name, duration(value)) for name, value in seconds.items()],
        "programs": programs,
    }
