"""Figures that are maps: hidden states on a plane, and abilities over the claim's knob and another axis of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.design import names_of
from analysis.diagnosis import Findings
from analysis.plots.recorded_figure import Panel, Picture, panels, styled
from analysis.plots.style import BLACK, BLUE, GREY, MOST_SHOWN, ON_BRIGHT, ON_DARK, VERMILLION, picked
from analysis.report import names, wording
from analysis.report.figures import setting_series
from analysis.report.projections import Embedding, View
from analysis.stats import summaries
from analysis.verdicts import Bounds, Judged
from lab.study.spec import Study
from lab.values import exact, rounded

POINTS = 256  # inputs drawn a panel: the first ones, which are as random as any
COLOURED = 8  # classes with a colour and a marker of their own
# Okabe & Ito's colours, with purple in place of yellow, which is too light for points on white paper.
CLASSES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#1a1a1a", "#7a4fbf")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
OTHERS = "#c4c4c4"
PANEL_COLUMNS = 3  # heatmaps side by side
PRINTED = 12  # columns up to which, in as many rows as are named, a heatmap's cells also say their value


@styled
def embeddings(study: Study, found: Sequence[Embedding]) -> Picture:
    """Hidden states of one seed: a row a task, a column a setting, coloured by the task's factor."""
    columns = max(len(one.views) for one in found)
    picture, axes = panels(len(found), columns, 2.2)
    for row, one in enumerate(found):
        coloured = _coloured(one.labels_N)
        limit = max(_reach(view.plane.points_Nx2) for view in one.views)
        for ax, view in zip(axes[row], one.views, strict=False):
            panel = picture.panel(ax, f"{one.label}, {setting_series(study, view.value)}")
            _embedding_panel(panel, study, one, view, coloured, limit)
        for ax in axes[row, len(one.views) :]:
            ax.set_visible(False)
        last = axes[row, len(one.views) - 1]
        last.legend(
            handles=_class_handles(one.labels_N, coloured),
            title=one.factor,
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            alignment="left",
            fontsize=7,
            title_fontsize=7.5,
        )
    return picture


def _reach(points_Nx2: np.ndarray) -> float:
    """How far a panel has to reach: the farthest point, but little beyond where nearly all points are.

    A single one far out would else shrink all the others to a dot; the panel says how many lie beyond.
    """
    far_N = np.abs(points_Nx2).max(axis=1)
    far_N = far_N[np.isfinite(far_N)]
    if not len(far_N):
        return 0.1
    return 1.05 * max(0.1, float(min(far_N.max(), 1.3 * np.quantile(far_N, 0.97))))


def _coloured(labels_N: np.ndarray) -> list[int]:
    """The most frequent classes, ascending."""
    classes, counts = np.unique(labels_N, return_counts=True)
    return sorted(classes[np.argsort(-counts, kind="stable")[:COLOURED]].tolist())


def _class_handles(labels_N: np.ndarray, coloured: list[int]) -> list[Line2D]:
    handles = [
        Line2D([], [], linestyle="none", marker=MARKERS[i], color=CLASSES[i], markersize=4.5, label=str(one))
        for i, one in enumerate(coloured)
    ]
    others = len(np.unique(labels_N)) - len(coloured)
    if others:
        label = f"{others} more"
        handles.append(Line2D([], [], linestyle="none", marker="o", color=OTHERS, markersize=3.5, label=label))
    return handles


def _embedding_panel(panel: Panel, study: Study, one: Embedding, view: View, coloured: list[int], limit: float) -> None:
    ax, labels_N = panel.ax, one.labels_N[:POINTS]
    points_Nx2, neutral = view.plane.points_Nx2[:POINTS], one.views[0].plane.spread
    ax.set_title(f"{names.task(study, one.label)}: {exact(view.value)}\n{view.role}")
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
    if not np.isfinite(points_Nx2).all():
        ax.text(0, 0, "no spread" if np.isfinite(view.plane.spread) else "diverged", ha="center", color=GREY)
        return
    for label in sorted(set(labels_N.tolist()), key=lambda label: (label in coloured, label)):
        mine_Nx2 = points_Nx2[labels_N == label]
        style: dict[str, Any] = dict(marker="o", color=OTHERS, markersize=2.4, zorder=2)
        if label in coloured:
            i = coloured.index(label)
            style = dict(marker=MARKERS[i], color=CLASSES[i], markersize=3.4, zorder=3)
        series = f"{one.factor} = {label}"
        panel.line(series, mine_Nx2[:, 0], mine_Nx2[:, 1], hover=False, linestyle="none", markeredgewidth=0, **style)
    ax.set_xlabel(f"{view.plane.share_2[0]:.0%} of variance")
    ax.set_ylabel(f"{view.plane.share_2[1]:.0%} of variance")
    panel.note("variance share of the axes", x=view.plane.share_2[0], y=view.plane.share_2[1])
    panel.note("exact accuracy", y=view.exact)
    panel.note("spread, neutral = 1", y=view.plane.spread / neutral)
    beyond = int((np.abs(points_Nx2).max(axis=1) > limit).sum())
    text = f"exact {view.exact:.2f}, spread ×{view.plane.spread / neutral:.2g}"
    text += f", {beyond} beyond the edge" if beyond else ""
    ax.text(0.02, 0.015, text, transform=ax.transAxes, fontsize=6.5, color=GREY)


def shares(findings: Findings) -> list[Bounds]:
    """The primary abilities that lie between 0 and 1, which one scale of colours fits."""
    return [bound for bound in findings.primary if bound.reading is None or bound.reading.is_share]


@styled
def phases(findings: Findings) -> Picture:
    """Every primary ability over the whole grid: a row a setting of the other axes, a column one of the claim's knob.

    Args:
      findings: of all strata of a study that has more than one.
    """
    bounds = shares(findings)
    pairs = list(dict.fromkeys((bound.label, bound.split) for bound in bounds))
    columns, rows = min(PANEL_COLUMNS, len(pairs)), len(findings.strata)
    picture, axes = panels(-(-len(pairs) // columns), columns, 0.3 * min(rows, MOST_SHOWN) + 0.75)
    image: Any = None
    exact_only = all(bound.reading is None for bound in bounds)
    for ax, (label, split) in zip(axes.flat, pairs, strict=False):
        mine = [bound for bound in bounds if (bound.label, bound.split) == (label, split)]
        claims = [one for one in findings.claims if (one.label, one.split) == (label, split)]
        image = _phase_panel(picture.panel(ax, f"{label}/{split}"), findings.study, mine, claims)
    for ax in axes.flat[len(pairs) :]:
        ax.set_visible(False)
    picture.figure.colorbar(
        image,
        ax=axes,
        label=f"{'exact accuracy' if exact_only else 'share right'}\n(IQM over seeds)",
        shrink=0.9,
        pad=0.01,
        aspect=15,
    )
    for ax in axes[:, 0]:
        ax.set_ylabel(", ".join(names.knob(name, findings.study) for name in bounds[0].stratum))
    handles = [
        Line2D([], [], color=BLUE, linewidth=2.5, label="shown kept up to here"),
        Line2D([], [], color=VERMILLION, linewidth=2.5, linestyle=(0, (2, 1)), label="shown lost from here on"),
    ]
    if any(one.verdict.break_at is not None for one in findings.claims):
        style: dict[str, Any] = dict(color="white", marker="D", markeredgecolor=VERMILLION, linestyle="none")
        handles.append(Line2D([], [], label="break", **style))
    picture.figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return picture


def _phase_panel(panel: Panel, study: Study, bounds: list[Bounds], claims: list[Judged]) -> Any:
    """One ability; returns the image, for the colour bar."""
    ax, knob = panel.ax, study.claim.knob
    knob_K = np.unique(np.concatenate([bound.ability.knob_K for bound in bounds]))
    value_RxK = np.full((len(bounds), len(knob_K)), np.nan)
    for row, bound in enumerate(bounds):
        iqm_K, (low_K, high_K) = summaries.iqm(bound.ability.values_SxK), summaries.interval(bound.ability.values_SxK)
        value_RxK[row, np.searchsorted(knob_K, bound.ability.knob_K)] = iqm_K
        name = wording.settings_text(bound.stratum)
        panel.notes(name, x=bound.ability.knob_K, y=iqm_K, low=low_K, high=high_K)
        for series, value in (("shown free up to", bound.free_until), ("shown harmful from", bound.harmful_from)):
            if bound.learned and value is not None:
                panel.note(f"{series} ({name})", x=value)
    image = ax.imshow(value_RxK, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower")
    ax.set_facecolor("#efefef")
    _print_values(ax, value_RxK)
    _boundaries(ax, bounds, knob_K)
    for row, bound in enumerate(bounds):
        _breaks(panel, row, bound, knob_K, [one for one in claims if one.stratum == bound.stratum])
    rows, columns = picked(len(bounds)), range(0, len(knob_K), -(-len(knob_K) // 6) if len(knob_K) > MOST_SHOWN else 1)
    ax.set_yticks(rows, [_row_name(study, bounds[row]) for row in rows])
    for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
        tick.set_color(BLACK if bounds[row].learned else GREY)
    texts = names_of(study, knob_K) or rounded(knob_K)
    ax.set_xticks(columns, [texts[k] for k in columns])
    ax.set_xlabel(names.knob(knob, study))
    ax.set_title(names.ability(study, bounds[0].label, bounds[0].split))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def _row_name(study: Study, bound: Bounds) -> str:
    """A row's settings, and the reason where nothing is shown in it."""
    values = ", ".join(map(exact, bound.stratum.values()))
    return values + ("" if bound.learned else f"\n({wording.learned(study, bound)})")


def _print_values(ax: Axes, value_RxK: np.ndarray) -> None:
    if value_RxK.shape[1] > PRINTED or len(value_RxK) > MOST_SHOWN:
        return
    dark = matplotlib.colormaps["cividis"]
    for (row, k), value in np.ndenumerate(value_RxK):
        if np.isfinite(value):
            bright = np.dot(dark(value)[:3], (0.299, 0.587, 0.114)) > 0.5
            text = f"{value:.2f}".removeprefix("0")
            ink = ON_BRIGHT if bright else ON_DARK
            ax.text(k, row, text, ha="center", va="center", fontsize=6.5, color=ink, zorder=3)


def _boundaries(ax: Axes, bounds: list[Bounds], knob_K: np.ndarray) -> None:
    """Both bounds as lines that step from row to row, each at its own setting's edge; none where nothing is shown."""
    for field, side, style in (("free_until", 0.44, "-"), ("harmful_from", -0.44, (0, (2, 1)))):
        xs, ys = [], []
        for row, bound in enumerate(bounds):
            value = getattr(bound, field) if bound.learned else None
            at = np.nan if value is None else float(np.searchsorted(knob_K, value)) + _way(bound) * side
            xs += [at, at]
            ys += [row - 0.5, row + 0.5]
        ax.plot(xs, ys, color="white", linewidth=4.5, solid_capstyle="butt", zorder=4)
        colour = BLUE if field == "free_until" else VERMILLION
        ax.plot(xs, ys, color=colour, linewidth=2.5, linestyle=style, solid_capstyle="butt", zorder=5)


def _way(bound: Bounds) -> float:
    """1 where settings run up from neutral, -1 where they run down."""
    return 1.0 if bound.map.knob_K[-1] >= bound.map.knob_K[0] else -1.0


def _breaks(panel: Panel, row: int, bound: Bounds, knob_K: np.ndarray, claims: list[Judged]) -> None:
    for value in sorted({one.verdict.break_at for one in claims if one.verdict.break_at is not None}):
        at = float(np.interp(value, knob_K, np.arange(len(knob_K))))
        style: dict[str, Any] = dict(marker="D", markeredgecolor=VERMILLION, markersize=4.5, zorder=6)
        panel.ax.plot(at, row + 0.36, color="white", **style)  # above the value that the cell prints
        panel.note(f"break ({wording.settings_text(bound.stratum)})", x=value)
