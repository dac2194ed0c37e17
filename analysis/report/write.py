"""The views of a finished study: report.html, report.md, verdicts.json, results.csv, figures/, tb/ and tb_cells/;
density.csv too if it prunes.

All are functions of the findings and can be deleted and rebuilt. Facts of the run that are no findings (seconds,
versions, command) come from `run_facts` and are printed in the reports only.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as escape_html

from analysis.activations.claimable import READINGS
from analysis.design import is_association, selection, setting_of
from analysis.diagnosis import Findings, diagnose, lead_lag
from analysis.plots import style
from analysis.report import (
    answer,
    event_files,
    figure_list,
    large_grid,
    map_figure,
    matched_compute,
    names,
    repair_section,
    tables,
    tensorboard,
    verdicts_json,
    wording,
)
from analysis.report.figure_list import Shown
from analysis.report.projections import Embedding
from analysis.report.shapes import association
from analysis.results import costs, density, to_csv
from lab.engine import Plan
from lab.engine.progress import duration
from lab.storage import write_atomically

TEMPLATES = Path(__file__).parent / "templates"


def write_views(
    workdir: Path,
    plan: Plan,
    findings: Findings,
    facts: Mapping[str, Any],
    embeddings: Sequence[Embedding] = (),
    whole: bool = False,
) -> Path:
    """Write every view of a study into its work directory, each one atomically. Returns the path of the report.

    Args:
      workdir: the study's directory.
      plan: of the cells that are judged.
      findings: of all strata.
      facts: what is true of this run: 'command' (how to repeat it), 'python' and 'versions' (name -> version), and
        optionally 'device', 'seconds' (activity -> seconds, in the HTML only; 'training_programs' in it is a count) and
        'notes' (sentences) and 'tensorboard' (the command that shows tb/); see `run_facts`.
      embeddings: `projections.read(...)`; without them the report has no picture of hidden states.
      whole: leave nothing out of a large grid's views; see `analysis.report.large_grid`.
    """
    if is_association(findings.study):
        return association.write_views(workdir, plan, findings, facts, _render)
    results, tuning = findings.results, findings.records.tuning
    knob_values = {setting_of(findings.study, cell) for cell in findings.study.cells}
    exported = [_exported(one, findings, knob_values) for one in figure_list.shown(findings, embeddings, whole)]
    content = _content(findings, plan, facts, whole) | _pictured(exported, len(findings.strata))
    write_atomically(workdir / "report.html", _render("report.html", content, escape=True))
    write_atomically(workdir / "report.md", _render("report.md", content, escape=False))
    write_atomically(workdir / "verdicts.json", verdicts_json.text(findings))
    write_atomically(workdir / "results.csv", to_csv(results))
    if tuning is not None:
        write_atomically(workdir / "tuning.csv", selection.to_csv(tuning, results.study.claim.knob))
    if results.density is not None:
        write_atomically(workdir / "density.csv", density.to_csv(results.study, results.density))
    _write_files(workdir / "figures", exported)
    images = {one.tag: one.png for one in exported}
    texts = {"answer and verdicts": _render("verdicts.md", content, escape=False)}
    runs, cells = tensorboard.settings(findings, images, texts), tensorboard.cells(findings, whole)
    event_files.write(workdir / tensorboard.SETTINGS, runs, tensorboard.metrics(findings.study))
    event_files.write(workdir / tensorboard.CELLS, cells, tensorboard.cell_metrics(findings.study))
    return workdir / "report.html"


class _Exported(NamedTuple):
    """A picture as the views take it. The figure itself is not kept: hundreds of them are hundreds of megabytes."""

    name: str
    stratum: int | None
    file: str
    key: str
    title: str
    caption: str
    tag: str
    svg: str
    png: bytes
    csv: str
    hovers: list[tuple[float, float, str]]


def _exported(one: Shown, findings: Findings, knob_values: Collection[float]) -> _Exported:
    figure, texts = one.picture.figure, (one.title, one.caption)
    tag = figure_list.tag(one, {} if one.stratum is None else findings.strata[one.stratum])
    svg, png = style.svg(figure, one.key, one.title), style.png(figure)
    table, hovers = one.picture.to_csv(knob_values), one.picture.placed()
    return _Exported(one.name, one.stratum, one.file, one.key, *texts, tag, svg, png, table, hovers)


def _pictured(exported: Sequence[_Exported], strata: int) -> dict[str, Any]:
    """The pictures as the templates print them: those of the whole study, and by stratum the others."""
    whole: list[dict[str, Any]] = []
    elements = []
    by_section: dict[int, list[dict[str, Any]]] = {index: [] for index in range(strata)}
    for one in exported:
        printed = {"name": one.name, "key": one.key, "title": one.title, "caption": one.caption}
        elements.append(style.inline(one.svg, one.hovers))
        printed |= {"svg": Markup(elements[-1]), "file": f"figures/{one.file}"}
        (whole if one.stratum is None else by_section[one.stratum]).append(printed)
    return {"whole": whole, "figures": by_section, "dark_colours": Markup(style.dark_rules(elements))}


def _write_files(directory: Path, exported: Sequence[_Exported]) -> None:
    """Every picture as an SVG file, and its numbers as CSV (docs/figures.md)."""
    directory.mkdir(exist_ok=True)
    for one in exported:
        write_atomically(directory / f"{one.file}.svg", style.svg_file(one.svg))
        write_atomically(directory / f"{one.file}.csv", one.csv)


def _render(template: str, content: Mapping[str, Any], escape: bool) -> str:
    return environment(TEMPLATES, escape).get_template(f"{template}.j2").render(**content)


def environment(folder: Path, escape: bool) -> Environment:
    """Where templates of a folder are filled in, with the filters of every page; `escape` texts for HTML."""
    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["code"] = _with_code
    found.filters["capital"] = wording.capital
    found.filters["cell"] = _in_cell
    found.filters["text"] = wording.markdown
    found.filters["fenced"] = _fenced
    return found


def _with_code(text: str) -> Markup:
    """Text for HTML with `marked` parts as code."""
    parts = [str(escape_html(part)) for part in text.split("`")]
    return Markup("".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts)))


def _in_cell(text: Any) -> str:
    """Text for a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def _fenced(text: str) -> str:
    """Lines of Markdown that are shown as they are."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}\n{text}\n{fence}"


def run_facts(seconds: Mapping[str, float], argv: Sequence[str], notes: Sequence[str], workdir: Path) -> dict[str, Any]:
    """What is true of this run but not of the findings: commands, versions, seconds."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy")
    return {
        "command": shlex.join(["python", *argv]),
        "tensorboard": tensorboard.command(workdir / tensorboard.SETTINGS),
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in packages},
        "seconds": dict(seconds),
        "notes": list(notes),
    }


def _section(findings: Findings, index: int) -> dict[str, Any]:
    """What the templates print of one stratum."""
    study, results, stratum = findings.study, findings.results, findings.stratum or {}
    undiagnosed = diagnose.undiagnosed(findings.claims, findings.bounds)
    return {
        "index": index,
        "name": wording.stratum_text(study, stratum),
        "answers": [*answer.answers(findings), *repair_section.headline(findings)],
        "map": tables.map_rows(findings),
        "why": [
            *diagnose.paragraphs(findings.diagnoses, wording.phrase(study).setting, partial(names.ability, study)),
            *((names.ability(study, one.label, one.split), diagnose.NOT_DIAGNOSED) for one in undiagnosed),
        ],
        "causes": list(tables.cause_rows(findings)),
        "repairs": repair_section.section(findings),
        "verdicts": tables.verdict_rows(findings),
        "bounds": tables.bounds_rows(findings),
        "latents": list(tables.latent_rows(findings)),
        "checks": list(tables.check_rows(findings)),
        "in_time": tables.order_rows(findings),
        "density": density.table(study, results.density, stratum),
        "costs": costs.table(study, results.costs, stratum),
        "matched": matched_compute.table(findings),
    }


def _content(findings: Findings, plan: Plan, facts: Mapping[str, Any], whole: bool = False) -> dict[str, Any]:
    """Everything that the templates print, as strings."""
    study = findings.study
    causes = {one.cause for one in findings.diagnoses}
    patterns = {each.pattern for one in findings.lead_lag for each in one.orders}
    seconds = dict(facts.get("seconds", {}))
    programs = seconds.pop("training_programs", None)
    return {
        "study": study,
        "knob": names.knob(study.claim.knob, study),
        "raw_knob": study.claim.knob,
        "raw_names": tables.raw_names(study),
        "level": f"{1 - study.claim.alpha:.0%}",
        "knob_about": names.knob_about(study),
        "claim_hash": study.claim_hash(),
        "claim": tables.claim_text(study),
        "setting": list(tables.setting(plan)),
        "tasks": tables.task_rows(study),
        "sections": [_section(findings.in_stratum(one), index) for index, one in enumerate(findings.strata)],
        "kinds": wording.kinds(study),
        "patterns": [(name, about) for name, about in lead_lag.PATTERNS.items() if name in patterns],
        "metrics": [READINGS[name] for name in names.claimed_metrics(study)],
        "causes": [(cause, about) for cause, about in diagnose.CAUSES.items() if cause in causes],
        "arrows": wording.arrows(study),
        "correction": wording.correction(findings),
        "tested": wording.how_tested(findings),
        "states": map_figure.STATES,
        "heads": wording.heads(study),
        "dark_colours": "",
        "diverged": list(tables.diverged_rows(findings)),
        "cautions": wording.cautions(findings),
        "limits": wording.limits(findings, plan),
        "run": {"device": "", "notes": [], "tensorboard": "tensorboard --logdir tb", **facts},
        "seconds": [(name, duration(value)) for name, value in seconds.items()],
        "programs": programs,
        "cell_runs": large_grid.has_cell_runs(study, whole),
        "left_out": large_grid.notes(findings, whole),
    }
