"""The pages of the gallery: docs/gallery.md for a reader of the repository, docs/gallery.html with every map."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from analysis.design import is_association
from analysis.diagnosis import Findings
from analysis.forecast.predictors import MEAN
from analysis.gallery import across
from analysis.gallery.cases import NOT_RUN, STATUS, About, Case, about, folder_of
from analysis.gallery.early import early_warning
from analysis.gallery.kept import Kept
from analysis.plots import style
from analysis.report import answer, map_figure, names, tables, wording, write
from analysis.report.shapes import association
from analysis.stats import FINDS_NOTHING
from analysis.stats.association import SHOWN

TEMPLATES = Path(__file__).parent / "templates"
REPORT_CSS = Path(tables.__file__).parent / "templates" / "report.css"
STATUS_LOOK = {"held": "good", "held in part": "open", "failed": "bad", NOT_RUN: "flat"}


@dataclass(frozen=True)
class Card:
    """A study on the page: what it says of itself, and its findings where it was run.

    Attributes:
      study: as `run.py --config` takes it below ablations/.
      about: its docstring.
      kept: None where it was not run.
    """

    study: str
    about: About
    kept: Kept | None


def cards_of(case: Case, kept: Mapping[str, Kept], ablations: Path) -> list[Card]:
    """The studies of one case, in its order."""
    return [Card(study, _about(study, ablations), kept.get(study)) for study in case.studies]


def markdown(cases: Sequence[Case], kept: Mapping[str, Kept], ablations: Path) -> str:
    """The text of docs/gallery.md."""
    return _render("gallery.md", _content(cases, kept, ablations), escape=False)


def html(cases: Sequence[Case], kept: Mapping[str, Kept], ablations: Path) -> str:
    """The text of docs/gallery.html, which needs no other file."""
    content = _content(cases, kept, ablations)
    drawn = across.draw(content["rows"]).figure if content["rows"] else None
    element = "" if drawn is None else style.inline(style.svg(drawn, "across", ACROSS_TITLE))
    return _render(
        "gallery.html",
        {
            **content,
            "css": Markup(REPORT_CSS.read_text(encoding="utf-8")),
            "figure": Markup(element),
            "dark_colours": Markup(style.dark_rules([element])),
        },
        escape=True,
    )


ACROSS_TITLE = "What is shown of the ability where a latent metric is shown to improve"


def _content(cases: Sequence[Case], kept: Mapping[str, Kept], ablations: Path) -> dict[str, Any]:
    studies = [kept[name] for name in sorted(kept)]
    entries = [_entry(case, cards_of(case, kept, ablations)) for case in cases]
    cards = [card for entry in entries for card in entry["cards"]]
    rows = across.by_metric(studies)
    return {
        "published": [one for one in entries if not one["case"].founding],
        "founding": [one for one in entries if one["case"].founding],
        "others": [_card(Card(one.run.study, _about(one.run.study, ablations), one)) for one in studies if
                   one.run.study not in {card["study"] for card in cards}],
        "finished": f"{len(studies)} {'study is' if len(studies) == 1 else 'studies are'} finished",
        "seeds": min((len({cell["seed"] for cell in one.findings.study.cells}) for one in studies), default=0),
        "planned": len({card["study"] for card in cards}),
        "fared": _fared(cards),
        "rows": rows,
        "metric_rows": [_metric_row(row) for row in rows],
        "headline": headline(rows),
        "contradictions": across.contradictions(studies),
        "labels": across.labels(studies),
        "repairs": across.repairs(studies),
        "early": _early(studies),
        "states": map_figure.STATES,
        "least_studies": across.LEAST_STUDIES,
        "mechanisms": sorted({card["mechanism"] for card in cards if card["mechanism"]}),
        "families": sorted({one for card in cards for one in card["families"]}),
        "kinds": sorted({kind for card in cards for kind in card["kinds"]}),
        "statuses": [one for one in (*STATUS, NOT_RUN) if one in {card["status"] for card in cards}],
    }  # fmt: skip


def _about(study: str, ablations: Path) -> About:
    file, _, variant = study.partition(":")
    return about(ablations / file, variant)


def _fared(cards: Sequence[Mapping[str, Any]]) -> str:
    """How predictions fared, in a sentence that names failures first."""
    counts = Counter({card["study"]: card["status"] for card in cards if card["status"] != NOT_RUN}.values())
    if not counts:
        return "No study has an outcome yet."
    many = counts.total()
    return (
        f"Of {many} {'study' if many == 1 else 'studies'} with an outcome, the prediction failed in {counts['failed']},"
        f" held in part in {counts['held in part']}, and held in {counts['held']}."
    )


def headline(rows: Sequence[across.MetricRow]) -> str:
    """The sentence that the table of all studies allows."""
    found = [row for row in rows if row.metric == across.ALL and row.gaining]
    if not found:
        return "No study shows a claimed gain yet."
    row = found[0]

    def said(name: str) -> str:
        o = across.OUTCOMES.index(name)
        low, high = row.interval_O[:, o]
        return f"{row.share_O[o]:.0%}" + ("" if np.isnan(low) else f" ({low:.0%} to {high:.0%})")

    many = "1 study shows" if row.studies == 1 else f"{row.gaining} of {row.studies} studies show"
    text = (
        f"{many} a claimed latent metric improving somewhere. At those settings the ability is shown better in"
        f" {said('better')}, kept but not better in {said('kept')}, lost in {said('lost')}, and not decided in"
        f" {said('undecided')} (mean over studies, with 95% intervals where there are {across.LEAST_STUDIES} or more)."
    )
    if np.isfinite(row.lost_elsewhere):
        text += f" Where no gain is shown, the ability is lost at {row.lost_elsewhere:.0%} of the settings."
    return text


def _metric_row(row: across.MetricRow) -> dict[str, str]:
    cells = {}
    for o, name in enumerate(across.OUTCOMES):
        text = "–" if np.isnan(row.share_O[o]) else f"{row.share_O[o]:.0%}"
        low, high = row.interval_O[:, o]
        cells[name] = text if np.isnan(low) else f"{text} [{low:.0%}, {high:.0%}]"
    lost = "–" if np.isnan(row.lost_elsewhere) else f"{row.lost_elsewhere:.0%}"
    head = {"metric": row.metric, "studies": f"{row.gaining} of {row.studies}", "settings": str(row.settings)}
    return {**head, **cells, "elsewhere": lost}


def _early(studies: Sequence[Kept]) -> dict[str, Any]:
    """The early warning's scores as texts, and what they rest on in a sentence."""
    found = early_warning(studies)

    def skill(one: tuple[float, float, float]) -> str:
        return "–" if not np.isfinite(one[0]) else f"{one[0]:+.2f} [{one[1]:+.2f}, {one[2]:+.2f}]"

    rows = [
        {
            "predictor": row.predictor,
            "lost": f"{row.lost:.3f}",
            "lost_skill": skill(row.lost_skill) if row.predictor != MEAN else "–",
            "broke": f"{row.broke:.3f}",
            "broke_skill": skill(row.broke_skill) if row.predictor != MEAN else "–",
            "harm": f"{row.harm:.0%}",
        }
        for row in found.rows
    ]
    return {
        "rows": rows,
        "about": f"{found.abilities} abilities of {found.studies} studies, {len(found.mechanisms)} mechanisms"
        f" ({', '.join(found.mechanisms)}); each mechanism is predicted by fits on the others alone.",
    }


def _entry(case: Case, cards: Sequence[Card]) -> dict[str, Any]:
    return {"case": case, "cards": [_card(card) for card in cards]}


def _card(card: Card) -> dict[str, Any]:
    """What the templates print of a study."""
    shown = {
        "study": card.study,
        "about": card.about,
        "status": card.about.status,
        "status_look": STATUS_LOOK[card.about.status],
        "kept": card.kept is not None,
        "folder": folder_of(card.study),
        "pictures": [path.name for path in sorted(card.kept.folder.glob("*.svg"))] if card.kept else [],
        "mechanism": "",
        "families": [],
        "kinds": [],
        "maps": [],
        "associations": [],
        "verdicts": [],
        "answers": [],
        "labels": [],
        "repairs": [],
        "run": None,
        "command": f"python run.py --config=ablations/{card.study}",
    }
    return shown | (_finished(card.kept) if card.kept else {})


def _finished(kept: Kept) -> dict[str, Any]:
    findings, study, run = kept.findings, kept.findings.study, kept.run
    spec, count = study.spec, len(study.cells)
    size = f"{count} models of {spec.layers} blocks, width {study.size_text('width')}"
    seconds = "" if run.seconds is None else f"{run.seconds:.0f} s, {run.conditions}"
    knobs = study.claim.knobs if is_association(study) else (study.claim.knob,)
    counts = Counter(_standing(kept)).most_common()
    parts = [findings.in_stratum(one) for one in findings.strata]
    shown = {
        "question": study.question,
        "knob": " × ".join(names.knob(knob, study) for knob in knobs),
        "mechanism": knobs[0].partition(".")[0],
        "families": sorted({use.task.family for use in study.tasks}),
        "kinds": sorted({kind.removesuffix(FALLEN) for kind, _ in counts}),
        "verdicts": [
            (kind, many, *wording.MARKS.get(kind.removesuffix(FALLEN), ("flat", "ρ"))) for kind, many in counts
        ],
        "labels": _labels(kept),
        "repairs": _repairs(kept),
        "run": {"date": run.date, "commit": run.commit[:7], "seconds": seconds, "size": size},
        "command": run.command,
    }
    if is_association(study):
        return shown | {"associations": association.rows(findings), "answers": association.answers(findings)}
    maps = [{"stratum": wording.stratum_text(study, one.stratum or {}), **_map(one)} for one in parts]
    return shown | {"maps": maps, "answers": [text for one in parts for text in answer.answers(one)]}


def _map(findings: Findings) -> dict[str, Any]:
    """As `tables.map_rows`, with the mean over seeds of every ability at each setting as `means`."""
    rows, means = tables.map_rows(findings, SETTINGS), []
    for group in map_figure.of_ability(findings.claims):
        curve = group[0].ability
        mean_K = np.nanmean(curve.values_SxK, axis=0)
        means.append([wording.number(float(mean_K[curve.knob_K == value][0]), ".2f") for value in rows["values"]])
    return rows | {"means": means}


SETTINGS = 26  # of a map that a card has room for
FALLEN = " (does not stand)"  # once claims are corrected for their number


def _standing(kept: Kept) -> Iterator[str]:
    """The verdict of every claim, and whether it falls when claims are corrected for their number."""
    for one in kept.findings.claims:
        yield one.verdict.kind + FALLEN * (not one.stands and one.verdict.kind not in FINDS_NOTHING)
    for one in kept.findings.associations:
        yield one.found.kind + FALLEN * (not one.stands and one.found.kind in SHOWN)


def _labels(kept: Kept) -> list[str]:
    found = Counter(
        (one["name"], one["status"])
        for one in kept.verdicts.get("labels", ())
        if one["status"] in ("holds", "suspected")
    )
    return [f"{name} ({status}{'' if many == 1 else f', {many} abilities'})" for (name, status), many in found.items()]


def _repairs(kept: Kept) -> list[str]:
    return [
        f"{one['about']}: {one['outcome']} ({one['ability']})"
        for one in kept.verdicts.get("repairs", ())
        if one["outcome"] in ("all of it", "at least half", "some of it")
    ]


def _render(template: str, content: Mapping[str, Any], escape: bool) -> str:
    environment = write.environment(TEMPLATES, escape)
    environment.filters["prose"] = _prose
    environment.filters["linked"] = _linked
    return environment.get_template(f"{template}.j2").render(**content)


def _prose(text: str) -> Markup:
    """Text for HTML with `marked` parts as code and *others* as emphasis."""
    parts = str(Markup.escape(text)).split("`")
    shown = (f"<code>{part}</code>" if i % 2 else _EMPHASIS.sub(r"<em>\1</em>", part) for i, part in enumerate(parts))
    return Markup("".join(shown))


def _linked(text: str) -> Markup:
    """Text for HTML whose arXiv numbers lead to the papers."""
    return Markup(re.sub(r"\b(\d{4}\.\d{5})\b", r'<a href="https://arxiv.org/abs/\1">\1</a>', str(Markup.escape(text))))


_EMPHASIS = re.compile(r"\*(?=\S)([^*]+)(?<=\S)\*")
