"""The views of `python -m analysis.forecast`: its tables, every setting's readings and forecasts as CSV, one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from rich.table import Table
from rich.text import Text

from analysis.forecast.features import ABILITIES, LATENTS, ForecastCase
from analysis.forecast.predictors import (
    MEAN,
    NONE,
    NOW,
    Prediction,
    Score,
    break_errors,
    harm_rights,
    lost_errors,
    mechanisms,
    score,
)
from analysis.plots import BAND_TINT, BLACK, BLUE, GREY, VERMILLION, Picture, panels, style, styled
from analysis.report import wording
from lab.storage import write_atomically
from lab.values import exact, rounded

SHOWN = (NOW, "abilities", "latents", "both")  # predictors that look at something early
# A colour and a marker a mechanism (Okabe & Ito's), started again with the next marker after the last colour.
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
NOWHERE = 1.3  # where a break that isn't there is drawn, beyond the end of the range
SIDESTEP = 0.065  # between points that would hide each other
STEPS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))
TITLE = "Predictions for mechanisms left out, and what came"

Predictions = Mapping[str, Sequence[Prediction]]  # predictor -> its prediction for each case, in the cases' order


def title(case: ForecastCase) -> str:
    """The ability, and its stratum where there are several."""
    return case.ability + (f" [{wording.settings_text(case.stratum)}]" if case.stratum else "")


def scores(
    found: Sequence[ForecastCase], predictions: Predictions, other: str = MEAN
) -> dict[str, tuple[Score, Score]]:
    """predictor -> its score on the share lost, and on the break, compared with another predictor."""
    return {
        name: (
            score(lost_errors(found, predictions[name]), lost_errors(found, predictions[other])),
            score(break_errors(found, predictions[name]), break_errors(found, predictions[other])),
        )
        for name in predictions
    }


def score_table(found: Sequence[ForecastCase], predictions: Predictions) -> Table:
    """A predictor a row: errors and skills on mechanisms left out."""
    made, count = Table(), len(mechanisms(found))
    made.add_column("predictor", no_wrap=True)
    for name in ("lost: error", "skill [95%]", "nearer", "break: error", "skill [95%]", "nearer", "harm or none"):
        made.add_column(name, justify="right", no_wrap=True)
    for name, pair in scores(found, predictions).items():
        row = [cell for one in pair for cell in (f"{one.error:.3f}", *_skill(one, count, name == MEAN))]
        made.add_row(Text(name), *(Text(cell) for cell in row), f"{harm_rights(found, predictions[name]).mean():.0%}")
    return made


def _skill(one: Score, count: int, itself: bool = False) -> tuple[str, str]:
    if itself or not np.isfinite(one.skill):
        return "—", "—"
    return f"{one.skill:+.2f} [{one.low:+.2f}, {one.high:+.2f}]", f"{one.better} of {count}"


def break_table(found: Sequence[ForecastCase], predictions: Predictions) -> Table:
    """An ability a row: where it broke, and where fits without its mechanism predicted it."""
    made = Table()
    for name in ("study", "mechanism", "ability", "read at", "broke at", *SHOWN):
        made.add_column(name, overflow="fold")
    for index, case in enumerate(found):
        predicted = [_place(predictions[name][index].broke, predictions[name][index].harmful) for name in SHOWN]
        read_at = f"{case.step:,} ({case.share:.0%})"
        actual = _place(case.broke or 1.0, case.broke is not None)
        cells = (case.study, case.mechanism, title(case), read_at, actual, *predicted)
        made.add_row(*(Text(cell) for cell in cells))
    return made


def _place(u: float, harmful: bool) -> str:
    return f"{u:.0%}" if harmful else "nowhere"


def notes(cases: Sequence[ForecastCase], predictions: Predictions, share: float) -> list[str]:
    """What a reader of the tables must know."""
    count, settings = len(mechanisms(cases)), sum(len(case.u_K) for case in cases)
    lines = [
        f"{count} mechanisms, {len(cases)} abilities, {settings} settings; each mechanism is predicted by fits on"
        f" the other {count - 1} alone, and mechanisms weigh alike. Skill: 1 − error / error of the mean. Intervals"
        f" resample {count} mechanisms and are too short for so few.",
        "Errors: of the share lost, at a setting; of the break, in shares of the knob's range, the far end where no"
        " harm is shown. Broke at: the first setting shown harmful, as a share of the range.",
    ]
    for one, other in (("latents", "abilities"), ("both", "abilities"), ("both", NOW)):
        names = zip(("lost", "break"), scores(cases, predictions, other)[one], strict=True)
        skills = [
            f"{name} {' nearer in '.join(_skill(pair, count))}" for name, pair in names if np.isfinite(pair.skill)
        ]
        lines += [f"Skill of {one} relative to {other}: {', '.join(skills)}."] if skills else []
    late = list(dict.fromkeys(f"{case.study} ({case.share:.0%})" for case in cases if case.share > share + 1e-9))
    if late:
        lines.append(
            f"Nothing was evaluated within {share:.0%} and the first evaluation is read: {wording.listed(late)}."
        )
    return lines


def warning_table(
    cases: Sequence[ForecastCase], predictions: Predictions, errors: dict[str, float], finished: bool
) -> Table:
    """Where the abilities of one study are expected to break, in its knob's units."""
    made = Table(
        title=Text(f"{cases[0].study}: break of {cases[0].knob} expected at"),  # brackets in a path are no markup
        caption=Text(f"Leave-out errors are shares of the knob's range. Of saying nowhere: ±{errors[NONE]:.0%}."),
        title_justify="left",
        caption_justify="left",
    )
    for name in ("ability", "read at", "neutral then", *SHOWN, *(("broke at",) if finished else ())):
        made.add_column(name, overflow="fold")
    for index, case in enumerate(cases):
        predicted = [_setting(case, predictions[name][index].broke, predictions[name][index].harmful) for name in SHOWN]
        actual = [_setting(case, case.broke or 1.0, case.broke is not None)] if finished else []
        row = (title(case), f"{case.step:,} ({case.share:.0%})", f"{case.neutral_now:.3f}", *predicted, *actual)
        made.add_row(*(Text(cell) for cell in row))
    made.add_section()
    made.add_row("leave-out error", "", "", *(f"±{errors[name]:.0%}" for name in SHOWN))
    return made


def _setting(case: ForecastCase, u: float, harmful: bool) -> str:
    names = rounded(case.knob_K)
    if not harmful:
        return f"nowhere up to {names[-1]}"
    return f"{names[int(np.argmin(np.abs(case.u_K - u)))]} ({u:.0%})"


SETTING_COLUMNS = (
    *("study", "mechanism", "knob", "ability", "stratum", "step_read", "share_read", "neutral_then", "value", "u"),
)


def to_csv(cases: Sequence[ForecastCase], predictions: Predictions) -> str:
    """A row for each setting of each case; empty where there is nothing."""
    readings = (*ABILITIES, *LATENTS)
    named = [
        *readings,
        "lost",
        *(f"lost by {name}" for name in predictions),
        "broke",
        *(f"broke by {name}" for name in predictions),
    ]
    columns = [*SETTING_COLUMNS, *(name.replace(" ", "_") for name in named)]
    rows = []
    for index, case in enumerate(cases):
        where = (case.study, case.mechanism, case.knob, case.ability, wording.settings_text(case.stratum))
        breaks = [one[index].broke if one[index].harmful else None for one in predictions.values()]
        for k in range(len(case.u_K)):
            seen = [case.readings[name][k] if name in case.readings else None for name in readings]
            lost = [case.lost_K[k], *(one[index].lost_K[k] for one in predictions.values())]
            numbers = [case.step, case.share, case.neutral_now, exact(case.knob_K[k]), case.u_K[k], *seen, *lost]
            rows.append([*where, *numbers, case.broke, *breaks])
    frame = pd.DataFrame(rows, columns=columns).replace([np.inf, -np.inf], np.nan)
    return frame.to_csv(index=False, lineterminator="\n", float_format="%.7g")


@styled
def figure(cases: Sequence[ForecastCase], predictions: Predictions) -> Picture:
    """Predicted against actual, a column a predictor: the share lost at every setting above, the breaks below."""
    drawn, axes = panels(2, len(SHOWN), 2.65, sharex="row", sharey="row")
    for column, name in enumerate(SHOWN):
        above, below = axes[0, column], axes[1, column]
        above.set_title(name)
        _losses(above, cases, predictions[name])
        _breaks(below, cases, predictions[name])
        above.set_xlabel("share of the ability lost")
        below.set_xlabel("break, share of the range")
    axes[0, 0].set_ylabel("predicted")
    axes[1, 0].set_ylabel("predicted")
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=name)
        for name, (colour, marker) in _marks(cases).items()
    ]
    drawn.figure.legend(handles=handles, loc="outside upper left", ncols=7)
    return drawn


def _losses(ax: Axes, cases: Sequence[ForecastCase], predictions: Sequence[Prediction]) -> None:
    for case, one in zip(cases, predictions, strict=True):
        colour, marker = _marks(cases)[case.mechanism]
        ax.plot(case.lost_K, one.lost_K, color=colour, marker=marker, linestyle="", markersize=3.5, alpha=0.65,
                markeredgewidth=0, zorder=3)  # fmt: skip
    _square(ax)


def _breaks(ax: Axes, cases: Sequence[ForecastCase], predictions: Sequence[Prediction]) -> None:
    """Points that would lie on one another are set around one another."""
    ax.axvspan(NOWHERE - 0.17, NOWHERE + 0.17, color=BAND_TINT, linewidth=0, zorder=0)
    ax.axhspan(NOWHERE - 0.17, NOWHERE + 0.17, color=BAND_TINT, linewidth=0, zorder=0)
    taken: dict[tuple[float, float], int] = {}
    for case, one in zip(cases, predictions, strict=True):
        colour, marker = _marks(cases)[case.mechanism]
        place = (NOWHERE if case.broke is None else case.broke, one.broke if one.harmful else NOWHERE)
        place = (round(place[0], 6), round(place[1], 6))  # 0.75 in another knob's units may be 0.7500…1
        taken[place] = taken.get(place, -1) + 1
        aside, up = STEPS[taken[place] % len(STEPS)]
        ax.plot(place[0] + SIDESTEP * aside, place[1] + SIDESTEP * up, color=colour, marker=marker, markersize=4.5,
                markeredgecolor="white", markeredgewidth=0.5, zorder=3)  # fmt: skip
    _square(ax, NOWHERE)


def _square(ax: Axes, beyond: float | None = None) -> None:
    """Both axes from none to all, with a place for what lies beyond the range where there is one."""
    ax.plot((0, 1), (0, 1), color=GREY, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    at, names = [0, 0.5, 1], ["0", "50%", "100%"]
    for limits, ticks in ((ax.set_xlim, ax.set_xticks), (ax.set_ylim, ax.set_yticks)):
        limits(-0.05, 1.05 if beyond is None else beyond + 0.17)
        ticks(at if beyond is None else [*at, beyond], names if beyond is None else [*names, "none"])


def _marks(cases: Sequence[ForecastCase]) -> dict[str, tuple[str, str]]:
    names = mechanisms(cases)
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def write(cases: Sequence[ForecastCase], predictions: Predictions, folder: Path) -> list[Path]:
    """Write early.csv and early.svg into a folder, made where it is missing; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "early.csv", folder / "early.svg"
    write_atomically(table, to_csv(cases, predictions))
    drawn = style.svg_file(style.svg(figure(cases, predictions).figure, "early", TITLE))
    write_atomically(picture, drawn)
    return [table, picture]
