"""The views of a frozen study: report.html, report.md, verdicts.json, results.csv, arrays.npz, figures/, tb/.

All are functions of the findings and can be deleted and rebuilt.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup

from analysis.activations.claimable import READINGS
from analysis.frozen import figures
from analysis.frozen.judge import (
    FrozenFindings,
    answers,
    arrays_of,
    claim_hash,
    document,
    mark,
    sentence,
    short,
    stands,
)
from analysis.plots import style
from analysis.plots.recorded_figure import Picture
from analysis.report import event_files, wording
from analysis.report.event_files import Run, Series
from analysis.report.write import TEMPLATES as REPORT_TEMPLATES
from analysis.report.write import environment
from analysis.stats import FINDS_NOTHING, summaries
from lab.storage import write_atomically
from lab.values import exact

TEMPLATES = Path(__file__).parent / "templates"
TITLES = {
    "map": "Where latents gain, and whether accuracy is kept",
    "curves": "Accuracy and latents along the knob",
}


def write_views(workdir: Path, found: FrozenFindings, facts: Mapping[str, Any]) -> Path:
    """Write every view, each one atomically. Returns the path of the report.

    Args:
      workdir: the study's directory.
      found: what was found.
      facts: 'about' (rows of (what, text) on the model and the benchmark), 'command', 'tensorboard', 'seconds'
        (activity -> text), 'versions', 'python'.
    """
    pictures = {"map": figures.draw_map(found), "curves": figures.draw_curves(found)}
    content = _content(found, facts, pictures)
    write_atomically(workdir / "report.html", _render("frozen.html", content, escape=True))
    write_atomically(workdir / "report.md", _render("frozen.md", content, escape=False))
    write_atomically(workdir / "verdicts.json", _json(document(found)))
    write_atomically(workdir / "results.csv", to_csv(found))
    write_atomically(workdir / "arrays.npz", _npz(arrays_of(found.study, found.readings, found.chance)))
    (workdir / "figures").mkdir(exist_ok=True)
    settings = set(found.readings.knob_K.tolist())
    for name, picture in pictures.items():
        svg = style.svg(picture.figure, name, TITLES[name])
        write_atomically(workdir / "figures" / f"{name}.svg", style.svg_file(svg))
        write_atomically(workdir / "figures" / f"{name}.csv", picture.to_csv(settings))
    event_files.write(workdir / "tb", _runs(found, pictures, _render("frozen.md", content, escape=False)), _tags(found))
    return workdir / "report.html"


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _npz(arrays: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _render(template: str, content: Mapping[str, Any], escape: bool) -> str:
    found = environment(TEMPLATES, escape)
    found.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), FileSystemLoader(REPORT_TEMPLATES)])
    return found.get_template(f"{template}.j2").render(**content)


def to_csv(found: FrozenFindings) -> str:
    """A row for each setting and fold: the setting, the fold, its questions, accuracy, and every reading."""
    study, readings = found.study, found.readings
    rows = [
        {
            study.knob.name: exact(value),
            "fold": fold,
            "questions": int(readings.questions_F[fold]),
            "accuracy": readings.accuracy_FxK[fold, k],
            **{name: values_FxK[fold, k] for name, values_FxK in readings.latent.items()},
        }
        for k, value in enumerate(readings.knob_K.tolist())
        for fold in range(study.folds)
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.7g")


def _content(found: FrozenFindings, facts: Mapping[str, Any], pictures: Mapping[str, Picture]) -> dict[str, Any]:
    printed, elements = {}, []
    for name, picture in pictures.items():
        elements.append(style.inline(style.svg(picture.figure, name, TITLES[name]), picture.placed()))
        about = figures.MAP_ABOUT if name == "map" else figures.CURVES_ABOUT
        file = f"figures/{name}"
        printed[name] = {
            "key": name, "title": TITLES[name], "caption": about, "svg": Markup(elements[-1]), "file": file,
        }  # fmt: skip
    kinds = list(dict.fromkeys(one.verdict.kind for one in found.judged.gains))
    return {
        "study": found.study,
        "question": found.study.question or found.study.name,
        "answers": answers(found),
        "scope": scope(found),
        "figures": printed,
        "verdicts": [_verdict_row(found, one) for one in found.judged.gains],
        "columns": ["accuracy", *(READINGS[one.metric].title for one in found.judged.gains)],
        "rows": _rows(found),
        "claim": claim_text(found),
        "tested": how_tested(found),
        "claim_hash": claim_hash(found.study),
        "kinds": [(kind, *wording.MARKS[kind], wording.MEANING[kind]) for kind in kinds],
        "metrics": list({READINGS[one.metric].meaning: READINGS[one.metric] for one in found.judged.gains}.values()),
        "limits": limits(found),
        "dark_colours": Markup(style.dark_rules(elements)),
        "run": facts,
    }


def claim_text(found: FrozenFindings) -> str:
    """The hypotheses in one sentence."""
    study = found.study
    gains = wording.listed(
        f"{READINGS[name].title} {'rises' if sign > 0 else 'falls'}" for name, sign in study.gains.items()
    )
    return f"As {study.knob.name} leaves {short(study, study.knob.neutral)}, {gains}, at no cost in accuracy."


def how_tested(found: FrozenFindings) -> str:
    """How, in sentences."""
    study = found.study
    return (
        "At every setting each fold is compared with itself at neutral, where the knob does nothing (sign-flip tests"
        f" over folds, level {exact(study.alpha)}, p-values adjusted for the number of claims). δ, the change that"
        f" counts, is {exact(study.delta)} of the way from guessing to accuracy at neutral:"
        f" {100 * found.judged.delta:.1f} points."
    )


def scope(found: FrozenFindings) -> str:
    """What the findings are about, and what they are not."""
    study, questions = found.study, int(found.readings.questions_F.sum())
    return (
        f"This is one model, and nothing was trained: {questions:,} questions fall into {study.folds} folds, and each"
        " fold is compared with itself at neutral. The findings hold for this model over questions like these; they"
        " say nothing of another model, or of one trained with the knob."
    )


def limits(found: FrozenFindings) -> list[str]:
    """What not to conclude."""
    study, many = found.study, float(found.readings.questions_F.mean())
    lines = [
        "Accuracy is that of the choice whose vector has the largest cosine to the question's. A reader that learns"
        " from the vectors, or a model that is fine-tuned, may find what cosines do not, and lose what cosines keep.",
        f"Latent readings are of the {many:.0f} or so questions of a fold. Ranks and dimensions are bounded, and biased"
        " low, by so few: compare them between settings, never with the literature.",
        "The model was trained by others on texts that are not known here in full; whether it has seen these questions"
        " cannot be checked.",
    ]
    if study.knob.drawn:
        lines.append("Noise is one draw, the same for all folds: another draw may move all of them together.")
    if study.fits:
        lines.append(
            f"What the knob fits, it fits on the texts of {study.fit_questions:,} questions at most of '{study.fit}',"
            f" none of which is asked; choices may occur in both."
        )
    return lines


def _verdict_row(found: FrozenFindings, one: Any) -> dict[str, Any]:
    look, symbol = mark(one)
    return {
        "metric": figures.title_of(one.metric, one.sign),
        "kind": one.verdict.kind,
        "mark": look,
        "symbol": symbol,
        "sentence": sentence(found, one),
        "stands": stands(found, one) or one.verdict.kind in FINDS_NOTHING,
        "p": "–" if one.verdict.kind in FINDS_NOTHING else wording.p_value(one.verdict.p),
        "adjusted": "–" if one.verdict.kind in FINDS_NOTHING else wording.p_value(one.adjusted_p),
    }


def _rows(found: FrozenFindings) -> list[tuple[str, list[str]]]:
    """For each setting what it reads: the IQM over folds with its interval, and for accuracy the plain share."""
    study, readings, rows = found.study, found.readings, []
    weight_F = readings.questions_F / readings.questions_F.sum()
    for k, value in enumerate(readings.knob_K.tolist()):
        cells = [f"{float(weight_F @ readings.accuracy_FxK[:, k]):.1%}"]
        for one in found.judged.gains:
            column_Fx1 = readings.latent[one.metric][:, [k]]
            low, high = summaries.interval(column_Fx1)
            iqm = float(summaries.iqm(column_Fx1)[0])
            cells.append(f"{wording.number(iqm)} [{wording.number(float(low[0]))}, {wording.number(float(high[0]))}]")
        rows.append((short(study, value) + (" (neutral)" if k == 0 else ""), cells))
    return rows


def _mean(values_F: np.ndarray) -> float:
    """Over the folds that have a value; NaN where none has."""
    finite_F = values_F[np.isfinite(values_F)]
    return float(finite_F.mean()) if len(finite_F) else float("nan")


def _tags(found: FrozenFindings) -> list[str]:
    return ["accuracy", *found.readings.latent]


ALONG = "all settings"


def _runs(found: FrozenFindings, pictures: Mapping[str, Picture], text: str) -> Sequence[Run]:
    """A run a setting, for the table of settings; then one with the curves along the knob, pictures and the report.

    Values are means over folds. A step is a setting, counted from neutral: a chart shows the knob from there outwards.
    """
    study, readings = found.study, found.readings
    columns = {"accuracy": readings.accuracy_FxK, **readings.latent}
    means = {name: [_mean(values_F) for values_F in values_FxK.T] for name, values_FxK in columns.items()}
    about = f"step: how many settings of {study.knob.name} from neutral"
    runs = [
        Run(
            name=f"{study.knob.name}={short(study, value)}",
            series=[Series(name, (k,), (values_K[k],), about) for name, values_K in means.items()],
            hparams={study.knob.name: value},
        )
        for k, value in enumerate(readings.knob_K.tolist())
    ]
    along = [Series(name, range(len(values_K)), values_K, about) for name, values_K in means.items()]
    images = {name: style.png(picture.figure) for name, picture in pictures.items()}
    return [*runs, Run(ALONG, along, images=images, texts={"report": text})]
