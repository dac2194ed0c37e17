"""The views of an association: a scatter of every metric against every ability, sentences, a table, verdicts.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.lines import Line2D
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.design import value_at
from analysis.diagnosis import Findings
from analysis.plots import style
from analysis.plots.recorded_figure import Picture, panels, styled
from analysis.plots.style import GREY, picked
from analysis.report import names, tables, verdicts_json, wording
from analysis.report.figures import ABILITY_UNITS
from analysis.results import Results, evaluation_at, to_csv
from analysis.stats import Association, Correlation
from analysis.stats.association import SHOWN
from analysis.verdicts import Associated
from lab.engine import Plan
from lab.storage import write_atomically
from lab.study.spec import Study
from lab.values import exact

CAPTION = (
    "A dot is a cell: the metric against the ability, each where the claim reads it, coloured by one knob a panel."
    " ρ is Spearman's rank correlation over all cells."
)


def claim_text(study: Study) -> str:
    """The hypotheses in one sentence."""
    claim = study.claim
    gains = wording.listed(
        f"{'higher' if one.sign > 0 else 'lower'} {names.gain(study, one)}" for one in claim.every_gain
    )
    abilities = wording.listed(names.skill(study, label, split) for label, split in claim.abilities)
    return f"Over the cells of {_grid(study)}, {gains} goes with better {abilities}, beyond what the loss says."


def _grid(study: Study) -> str:
    return " × ".join(names.knob(knob, study) for knob in study.claim.knobs)


def sentence(study: Study, one: Associated) -> str:
    """What is shown of one metric and one ability."""
    found, metric = one.found, names.gain(study, one.claimed)
    ability = names.skill(study, one.label, one.split)
    high = "Higher" if one.sign > 0 else "Lower"
    if found.kind == "too little varies":
        return (
            f"{wording.capital(metric)} and {ability}: {found.n_settings} settings and {found.n_seeds} seeds with both"
            " readings, or one of the two does not vary; nothing can be correlated."
        )
    whole = _number(found.whole)
    if found.kind == "no association shown":
        return f"{wording.capital(metric)} is not shown to go with {ability} ({whole}).{_parts(found)}"
    way = "worse" if found.kind == "predicts the reverse" else "better"
    text = f"{high} {metric} goes with {way} {ability} ({whole})."
    beyond = found.beyond[0]
    if way == "better":
        shown = "also" if found.kind == "predicts, beyond the loss" else "not shown to"
        text += f" Among cells of equal {beyond.name.removeprefix('beyond ')} it {shown} does ({_number(beyond)})."
        text = text.replace("it not shown to does", "is that not shown").replace("it also does", "it does, too")
    return text + _parts(found)


def _parts(found: Association) -> str:
    parts = [f"{one.name} {_short(one)}" for one in found.parts if np.isfinite(one.rho)]
    return f" In parts: {'; '.join(parts)}." if parts else ""


def _number(one: Correlation) -> str:
    """'ρ = 0.41 [0.20, 0.58], p = 0.002'."""
    return f"ρ = {_short(one)}, p {_p(one.p)}"


def _p(value: float) -> str:
    text = wording.p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _short(one: Correlation) -> str:
    return f"{one.rho:.2f} [{one.low:.2f}, {one.high:.2f}]" if np.isfinite(one.rho) else "—"


def answers(findings: Findings) -> list[str]:
    """A sentence for each claim, then how far intervals and p-values go."""
    study = findings.study
    found = [sentence(study, one) for one in findings.associations]
    fallen = sum(one.found.kind in SHOWN and not one.stands for one in findings.associations)
    if fallen:
        many = "1 of these findings does" if fallen == 1 else f"{fallen} of these findings do"
        found.append(f"{many} not stand after the correction for {len(findings.associations)} claims.")
    return found


def limits(study: Study) -> list[str]:
    """What a reader must not conclude."""
    return [
        "An association is no cause: what the knobs change moves metric and ability at once.",
        "Intervals resample seeds and hold the grid fixed; p-values permute settings, alike in all seeds, because cells"
        " of one setting are no independent evidence. A finding needs both.",
        "With few seeds the intervals are approximate; their measured coverage is in docs/calibration.md.",
        "Diverged cells have no metric and are left out.",
        "Claims are corrected for their number by the false discovery rate (Benjamini–Hochberg) at"
        f" {study.claim.alpha:g}.",
    ]


def rows(findings: Findings) -> list[dict[str, str]]:
    """A row for each correlation of each claim."""
    study, found = findings.study, []
    for one in findings.associations:
        stratum = wording.stratum_text(study, one.stratum)
        head = {
            "ability": names.ability(study, one.label, one.split) + (f" [{stratum}]" if stratum else ""),
            "metric": f"{names.gain(study, one.claimed)} {'↑' if one.sign > 0 else '↓'}",
            "verdict": one.found.kind + ("" if one.stands or one.found.kind not in SHOWN else " (does not stand)"),
        }
        for each in (one.found.whole, *one.found.beyond, *one.found.parts):
            found.append({**head, "over": each.name, "rho": _short(each), "p": wording.p_value(each.p)})
    return found


def table(findings: Findings) -> Table:
    """The correlations, for the terminal."""
    shown = Table(title="Associations", title_justify="left", box=box.SIMPLE_HEAD)
    columns = ("ability", "metric", "verdict", "over", "rho", "p")
    for column in columns:
        shown.add_column("ρ [95%]" if column == "rho" else column)
    last: tuple[str, ...] = ()
    for row in rows(findings):
        head = tuple(row[name] for name in columns[:3])
        cells = [*([""] * 3 if head == last else head), *(row[name] for name in columns[3:])]
        shown.add_row(*map(Text, cells))  # brackets are no markup
        last = head
    return shown


@styled
def scatter(study: Study, claims: Sequence[Associated]) -> Picture:
    """Metric against ability: a row a claim, a column a knob, whose values have colours of their own."""
    knobs = [knob for knob in study.claim.knobs if len({cell[knob] for cell in study.cells}) > 1]
    picture, axes = panels(len(claims), len(knobs), 2.3, sharey="row")
    for row, one in enumerate(claims):
        place = study.claim.place(one.label, one.split)
        settings = [value_at(study, setting) for setting in one.ability.knob_K.tolist()]
        for column, knob in enumerate(knobs):
            ax = axes[row, column]
            panel = picture.panel(ax, f"{one.label}/{one.split} against {one.claimed.key}, {knob}")
            values = list(dict.fromkeys(cell[knob] for cell in study.cells))
            colours = style.knob_colours(style.KnobAxis(knob, np.arange(len(values), dtype=float), 0.0))
            handles = []
            for at, value in enumerate(values):
                mine_K = np.asarray([setting[knob] == value for setting in settings])
                x, y = one.gain.values_SxK[:, mine_K].ravel(), one.ability.values_SxK[:, mine_K].ravel()
                ax.scatter(x, y, s=9, color=colours[at], alpha=0.75, linewidths=0)
                panel.notes(f"{knob} = {exact(value)}", x=x, y=y)
                if at in picked(len(values)):
                    handles.append(Line2D([], [], color=colours[at], marker="o", linestyle="none", label=exact(value)))
            ax.legend(handles=handles, title=names.knob(knob, study), fontsize=6.5, title_fontsize=7, loc="best")
            panel.level("trivial baseline", one.trivial, color=GREY, linestyle="--", linewidth=0.8)
            ax.set_xlabel(names.gain(study, one.claimed))
            if column == 0:
                ax.set_ylabel(ABILITY_UNITS[str(place.probe or place.measure) if place else "exact"])
                ax.set_title(f"{names.ability(study, one.label, one.split)}: ρ = {one.found.whole.rho:.2f}", loc="left")
    return picture


def _reading(results: Results, one: Associated) -> dict[str, Any]:
    place = results.study.claim.place(one.label, one.split)
    reading = "exact" if place is None else str(place.probe or place.measure)
    return {"reading": reading, "reading_step": int(results.step[evaluation_at(results, place)])}


def document(findings: Findings) -> dict[str, Any]:
    """verdicts.json as plain JSON values."""
    study, claim, results = findings.study, findings.study.claim, findings.results
    content = {
        "schema": verdicts_json.SCHEMA,
        "study": study.name,
        "question": study.question,
        "claim_hash": study.claim_hash(),
        "kind": claim.kind,
        "alpha": claim.alpha,
        "layer": claim.layer,
        "knobs": {knob: list(dict.fromkeys(cell[knob] for cell in study.cells)) for knob in claim.knobs},
        "seeds": sorted({int(cell["seed"]) for cell in study.cells}),
        "step": int(results.step[-1]),
        "cells": len(study.cells),
        "associations": [
            {
                "ability": f"{one.label}/{one.split}",
                "metric": one.metric,
                "sign": one.sign,
                "place": str(one.site),
                "place_step": int(results.step[evaluation_at(results, one.claimed)]),
                **_reading(results, one),
                "stratum": one.stratum,
                "sentence": sentence(study, one),
                "kind": one.found.kind,
                "p": one.found.p,
                "adjusted_p": one.adjusted_p,
                "n_seeds": one.found.n_seeds,
                "n_settings": one.found.n_settings,
                "n_cells": one.found.n_cells,
                "left_out": one.found.left_out,
                "correlations": [
                    {"over": each.name, "rho": each.rho, "low": each.low, "high": each.high, "p": each.p}
                    for each in (one.found.whole, *one.found.beyond, *one.found.parts)
                ],
            }
            for one in findings.associations
        ],
    }
    settings = {value for cell in study.cells for knob, value in cell.items() if knob in claim.knobs}
    return verdicts_json.plain(content, settings)


def write_views(
    workdir: Path, plan: Plan, findings: Findings, facts: Mapping[str, Any], render: Callable[..., str]
) -> Path:
    """report.html, report.md, verdicts.json, results.csv and figures/ of an association. Returns the report's path.

    Args:
      workdir, plan, findings, facts: as of `analysis.report.write.write_views`.
      render: fills a template in, given its name and content.
    """

    study = findings.study
    figures, elements = [], []
    (workdir / "figures").mkdir(exist_ok=True)
    strata = list({str(one.stratum): one.stratum for one in findings.associations}.values())
    for index, stratum in enumerate(strata):
        claims = [one for one in findings.associations if one.stratum == stratum]
        picture, key = scatter(study, claims), f"scatter-{index}" if len(strata) > 1 else "scatter"
        title = "Metric against ability" + (f", {wording.stratum_text(study, stratum)}" if stratum else "")
        svg = style.svg(picture.figure, key, title)
        write_atomically(workdir / "figures" / f"{key}.svg", style.svg_file(svg))
        write_atomically(workdir / "figures" / f"{key}.csv", picture.to_csv())
        elements.append(style.inline(svg, picture.placed()))
        figures.append({"key": key, "title": title, "caption": CAPTION, "svg": Markup(elements[-1])})
    content = {
        "study": study,
        "claim": claim_text(study),
        "claim_hash": study.claim_hash(),
        "answers": answers(findings),
        "figures": figures,
        "rows": rows(findings),
        "limits": limits(study),
        "setting": list(tables.setting(plan)),
        "tasks": tables.task_rows(study),
        "run": {"device": "", "notes": [], **facts},
        "dark_colours": Markup(style.dark_rules(elements)),
    }
    for name, escape in (("html", True), ("md", False)):
        write_atomically(workdir / f"report.{name}", render(f"association.{name}", content, escape=escape))
    text = json.dumps(document(findings), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(workdir / "verdicts.json", text)
    write_atomically(workdir / "results.csv", to_csv(findings.results))
    return workdir / "report.html"
