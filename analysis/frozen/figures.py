"""The two figures of a frozen study: the map of its claims, and accuracy and latents along the knob."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.activations.claimable import READINGS
from analysis.external.judge import Gain
from analysis.frozen.judge import UNIT, FrozenFindings, short, stands
from analysis.plots.recorded_figure import Picture, panels, styled
from analysis.plots.style import BLACK, BLUE, GREY, KnobAxis
from analysis.report.map_figure import LEGEND, draw_claim, legend_handles
from analysis.results import Curve
from analysis.stats import FINDS_NOTHING

MAP_ABOUT = (
    "A row is a claim: a latent metric (↑ claimed to rise, ↓ claimed to fall). A column is a setting, compared fold by"
    " fold with neutral, where the model is as published. Gain (▲): the metric is shown to move as claimed, up or down."
    " The ability is accuracy. Kept: accuracy is shown to lose less than δ; lost: shown to lose more. A frame runs from"
    " the last setting kept to the first lost. On the right, the verdict."
)
CURVES_ABOUT = (
    "Interquartile mean over folds of questions with its 95% interval, and a thin line a fold; the table below has the"
    " plain share of all questions, which differs a little. Guessing is dashed."
)
COLUMNS = 3


def title_of(metric: str, sign: int) -> str:
    """A claimed metric with the way it is claimed to go."""
    return f"{READINGS[metric].title} {'↑' if sign > 0 else '↓'}"


@styled
def draw_map(found: FrozenFindings) -> Picture:
    """The map: settings as columns, claims as rows."""
    study, knob_K = found.study, found.readings.knob_K
    picture, axes = panels(1, 1, 0.235 * (len(found.judged.gains) + 1) + 0.5)
    ax, ticks = axes[0, 0], {}
    for row, one in enumerate(found.judged.gains):
        panel = picture.panel(ax, one.metric)
        draw_claim(panel, one, knob_K, row, _short(found), units=UNIT)
        ticks[row + 0.5] = title_of(one.metric, one.sign)
        ax.text(len(knob_K) - 0.38, row + 0.5, _verdict(found, one), va="center", fontsize=8, color=BLACK)
    ax.set_xlim(-0.5, len(knob_K) - 0.5)
    ax.set_ylim(len(found.judged.gains), 0)
    ax.set_yticks(list(ticks), list(ticks.values()))
    columns = range(0, len(knob_K), -(-len(knob_K) // 13))
    ax.set_xticks(columns, [("neutral\n" if k == 0 else "") + short(study, float(knob_K[k])) for k in columns])
    ax.xaxis.set_ticks_position("top")
    ax.xaxis.set_label_position("top")
    ax.set_xlabel(study.knob.name)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    picture.figure.legend(handles=legend_handles(found.judged.gains), loc="outside lower left", **LEGEND)
    return picture


def _short(found: FrozenFindings) -> Callable[[float], str]:
    return lambda value: short(found.study, value)


def _verdict(found: FrozenFindings, one: Gain) -> str:
    settled = one.verdict.kind in FINDS_NOTHING or stands(found, one)
    return one.verdict.kind + ("" if settled else " (does not stand)")


@styled
def draw_curves(found: FrozenFindings) -> Picture:
    """Accuracy first, then each claimed metric, along the knob."""
    study, readings = found.study, found.readings
    order_K = np.argsort(readings.knob_K)
    axis = KnobAxis(study.knob.name, readings.knob_K[order_K], study.knob.neutral)
    fold_F = np.arange(study.folds)
    values: list[tuple[str, np.ndarray, Any]] = [("accuracy", readings.accuracy_FxK, BLACK)]
    values += [(READINGS[one.metric].title, readings.latent[one.metric], BLUE) for one in found.judged.gains]
    rows = -(-len(values) // COLUMNS)
    picture, axes = panels(rows, COLUMNS, 2.1)
    for ax in axes.ravel()[len(values) :]:
        ax.set_visible(False)
    for ax, (title, values_FxK, colour) in zip(axes.ravel(), values, strict=False):
        panel = picture.panel(ax, title)
        if title == "accuracy":
            panel.level("guessing", found.chance, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
        panel.curve(axis, Curve(axis.value_K, fold_F, values_FxK[:, order_K]), colour, unit="fold")
        ax.set_title(title)
        axis.dress(ax)
    return picture
