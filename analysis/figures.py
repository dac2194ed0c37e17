"""The figures of a study: pure functions of results, verdicts and bounds, each about one stratum of the grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis import statistics, wording
from analysis.claims import Bounds, Curve, Judged, curve, neutral_value
from analysis.compute import Matched
from analysis.plotting import (
    BAND_TINT,
    BLACK,
    BLUE,
    FREE_TINT,
    GREY,
    HARM_TINT,
    VERMILLION,
    KnobAxis,
    draw_curve,
    draw_ranges,
    draw_unknown,
    knob_colours,
    panels,
    range_handles,
    styled,
)
from analysis.results import Results, shared_evaluations
from lab.config import Study
from tasks.base import trivial

COLUMNS = 4  # panels side by side
UNITS = {
    "two_nn": "dimensions",
    "participation_ratio": "components",
    "rank_me": "effective rank",
    "silhouette": "−1 to 1",
    "fisher_trace": "between / within",
    "probe_accuracy": "share right",
    "probe_selectivity": "share right, above control",
    "v_information": "nats",
}


def knob_axis(study: Study, one: Bounds | Judged) -> KnobAxis:
    """The axis of the claim's knob within the stratum of `one`."""
    return KnobAxis(study.claim.knob, one.ability.knob_K, neutral_value(study))


@styled
def ranges(study: Study, bounds: list[Bounds]) -> Figure:
    """Every ability's ranges shown free and shown harmful along the knob, primary ones on top."""
    axis = knob_axis(study, bounds[0])
    figure, axes = panels(1, 1, 0.27 * len(bounds) + 0.45)
    ax = axes[0, 0]
    for row, bound in enumerate(bounds):
        free, harm = axis.free_span(bound.free_until), axis.harm_span(bound.harmful_from)
        draw_unknown(
            ax, row, axis.limits, "" if bound.learned else f" {wording.learned(study, bound)}: nothing is shown "
        )
        if not bound.learned:
            continue
        draw_ranges(ax, row, free, harm)
        ax.plot(axis.at(axis.neutral), row, marker="|", color=BLACK, markersize=9, zorder=3)
    ax.set_yticks(range(len(bounds)))
    ax.set_yticklabels([f"{b.label}/{b.split}" for b in bounds])
    for tick, bound in zip(ax.get_yticklabels(), bounds, strict=True):
        tick.set_fontweight("bold" if bound.primary else "normal")
        tick.set_color(BLACK if bound.primary else GREY)
    ax.set_ylim(len(bounds) - 0.4, -0.6)
    axis.dress(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    handles = [
        *range_handles(),
        Line2D([], [], color=BLACK, marker="|", linestyle="none", markersize=9, label="neutral"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


@styled
def abilities(study: Study, bounds: list[Bounds], judged: list[Judged], diverged: dict[float, int]) -> Figure:
    """What the knob costs: every primary ability along it, with what is shown free, shown harmful, and the break.

    Args:
      study: the study.
      bounds: the stratum's primary bounds.
      judged: the stratum's claims.
      diverged: knob value -> number of diverged cells.
    """
    columns = min(COLUMNS, len(bounds))
    figure, axes = panels(-(-len(bounds) // columns), columns, 2.5, sharey=True)
    for ax, bound in zip(axes.flat, bounds, strict=False):
        _ability_panel(ax, study, bound, [j for j in judged if (j.label, j.split) == (bound.label, bound.split)])
        if diverged:
            axis = knob_axis(study, bound)
            at = [axis.at(value) for value in diverged]
            ax.plot(at, np.zeros(len(at)), "x", color=VERMILLION, markersize=5, clip_on=False, zorder=6)
    for ax in axes.flat[len(bounds) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("exact accuracy\n(share of answers right)")
    axes[0, 0].set_ylim(-0.02, 1.08)
    handles = [
        Line2D([], [], color=BLACK, marker="o", markersize=3.5, label="IQM over seeds, 95% interval"),
        Line2D([], [], color=BLACK, alpha=0.4, linewidth=0.7, label="one seed"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="trivial baseline"),
        Patch(color=BAND_TINT, label="neutral ± δ"),
        Patch(color=FREE_TINT, label="shown free"),
        Patch(facecolor=HARM_TINT, edgecolor="white", hatch="////", label="shown harmful"),
    ]
    if any(j.verdict.break_at is not None for j in judged):
        handles.append(Line2D([], [], color=VERMILLION, marker="D", linestyle=":", label="break, 95% interval"))
    if diverged:
        handles.append(Line2D([], [], color=VERMILLION, marker="x", linestyle="none", label="a cell diverged"))
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def _ability_panel(ax: Axes, study: Study, bound: Bounds, judged: list[Judged]) -> None:
    axis = knob_axis(study, bound)
    free, harm = axis.free_span(bound.free_until), axis.harm_span(bound.harmful_from)
    if free and bound.learned:
        ax.axvspan(*free, color=FREE_TINT, linewidth=0, zorder=0)
    if harm and bound.learned:
        ax.axvspan(*harm, facecolor=HARM_TINT, edgecolor="white", hatch="////", linewidth=0, zorder=0)
    column_S = bound.ability.values_SxK[:, bound.ability.knob_K == axis.neutral]
    if np.isfinite(column_S).any() and np.isfinite(bound.delta):
        mean = float(np.nanmean(column_S))
        ax.axhspan(mean - bound.delta, mean + bound.delta, color=BAND_TINT, alpha=0.75, linewidth=0, zorder=1)
    ax.axhline(bound.trivial, color=GREY, linestyle="--", linewidth=1, zorder=1)
    draw_curve(ax, axis, bound.ability)
    found = {(j.verdict.break_at, j.verdict.break_interval) for j in judged if j.verdict.break_at is not None}
    for place, interval in sorted(found, key=str):
        ax.axvline(axis.at(place), color=VERMILLION, linestyle=":", linewidth=1.2, zorder=5)
        if interval is not None:
            ends = [axis.at(value) for value in interval]
            ax.plot(ends, (1.05, 1.05), color=VERMILLION, linewidth=2.2, solid_capstyle="butt", zorder=5)
        ax.plot(axis.at(place), 1.05, marker="D", markersize=4, color=VERMILLION, zorder=6)
    ax.set_title(f"{bound.label}/{bound.split}{'' if bound.learned else f' ({wording.learned(study, bound)})'}")
    axis.dress(ax)


def _claimed(judged: list[Judged]) -> tuple[list[tuple[str, int]], list[str]]:
    """Metrics with their sign, and labels, each once in the order of the claim."""
    metrics = list(dict.fromkeys((j.metric, j.sign) for j in judged))
    return metrics, list(dict.fromkeys(j.label for j in judged))


def metric_label(metric: str, sign: int = 0) -> str:
    """A metric's name, unit, and the claimed direction."""
    claim = {1: "\nclaimed to rise ↑", -1: "\nclaimed to fall ↓"}.get(sign, "")
    return f"{metric}\n({UNITS.get(metric, 'see metrics')}){claim}"


@styled
def latents(study: Study, results: Results, judged: list[Judged]) -> Figure:
    """The claimed latent metrics along the knob: a row a metric, a column a task, the value at N/2 dotted."""
    metrics, labels = _claimed(judged)
    figure, axes = panels(len(metrics), len(labels), 1.75, sharex="col")
    for row, (metric, sign) in enumerate(metrics):
        for column, label in enumerate(labels):
            ax = axes[row, column]
            one = next(j for j in judged if (j.metric, j.label) == (metric, label))
            axis = knob_axis(study, one)
            draw_curve(ax, axis, one.gain, BLUE)
            half = results.columns.get(f"{one.place}/{metric}_half")
            if half is not None:
                at_half = curve(results, one.stratum, half)
                at_K = [axis.at(v) for v in at_half.knob_K]
                ax.plot(at_K, statistics.iqm(at_half.values_SxK), color=GREY, linestyle=":", linewidth=1.2)
            axis.dress(ax, label=row == len(metrics) - 1)
            if row == 0:
                ax.set_title(f"{label}, at {one.place.read}")
            if column == 0:
                ax.set_ylabel(metric_label(metric, sign))
    handles = [
        Line2D([], [], color=BLUE, marker="o", markersize=3.5, label="IQM over seeds, 95% interval"),
        Line2D([], [], color=BLUE, alpha=0.4, linewidth=0.7, label="one seed"),
        Line2D([], [], color=GREY, linestyle=":", label="IQM from half the examples (bias check)"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


@styled
def paths(study: Study, judged: list[Judged]) -> Figure:
    """Gain against ability: one marker a knob setting, joined in the knob's order, neutral ringed."""
    metrics, _ = _claimed(judged)
    pairs = list(dict.fromkeys((j.label, j.split) for j in judged))
    figure, axes = panels(len(metrics), len(pairs), 1.95, sharey="row")
    colours = knob_colours(knob_axis(study, judged[0]))
    for row, (metric, sign) in enumerate(metrics):
        for column, pair in enumerate(pairs):
            ax = axes[row, column]
            one = next(j for j in judged if (j.metric, j.label, j.split) == (metric, *pair))
            x_K, y_K = statistics.iqm(one.gain.values_SxK), statistics.iqm(one.ability.values_SxK)
            ax.plot(x_K, y_K, color=GREY, linewidth=0.9, zorder=2)
            _cross(ax, one.gain, one.ability, colours)
            ax.scatter(x_K, y_K, c=colours, s=26, zorder=4, edgecolors="white", linewidths=0.5)
            neutral = one.gain.knob_K == neutral_value(study)
            ax.scatter(x_K[neutral], y_K[neutral], s=80, facecolors="none", edgecolors=BLACK, linewidths=1.1, zorder=5)
            ax.axhline(one.trivial, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
            ax.set_ylim(-0.02, 1.05)
            if sign < 0:
                ax.invert_xaxis()
            if row == 0:
                ax.set_title("/".join(pair))
            if column == 0:
                ax.set_ylabel("exact accuracy")
            ax.set_xlabel(f"{metric} ({UNITS.get(metric, 'see metrics')})\nclaimed gain →")
    _knob_legend(figure, study, judged[0], colours, "ringed: neutral; dashed: trivial baseline")
    return figure


def _cross(ax: Axes, x: Curve, y: Curve, colours: np.ndarray) -> None:
    """The 95% intervals of both readings as a cross at each setting."""
    x_K, y_K = statistics.iqm(x.values_SxK), statistics.iqm(y.values_SxK)
    (xl_K, xh_K), (yl_K, yh_K) = statistics.interval(x.values_SxK), statistics.interval(y.values_SxK)
    for k, colour in enumerate(colours):
        ax.plot((xl_K[k], xh_K[k]), (y_K[k], y_K[k]), color=colour, linewidth=1, zorder=3)
        ax.plot((x_K[k], x_K[k]), (yl_K[k], yh_K[k]), color=colour, linewidth=1, zorder=3)


def _knob_legend(figure: Figure, study: Study, one: Judged | Bounds, colours: np.ndarray, note: str) -> None:
    handles: list[Any] = [
        Line2D([], [], color=colour, marker="o", markersize=5, linestyle="-", label=f"{value:.3g}")
        for value, colour in zip(one.ability.knob_K, colours, strict=True)
    ]
    title = f"{study.claim.knob} ({note})"
    figure.legend(handles=handles, loc="outside upper left", ncols=min(12, len(handles)), title=title, alignment="left")


@styled
def trajectories(study: Study, results: Results, judged: list[Judged]) -> Figure:
    """Abilities and latents while training: the shared prefix in black, then a line a knob value (IQM over seeds)."""
    metrics, labels = _claimed(judged)
    figure, axes = panels(1 + len(metrics), len(labels), 1.6, sharex=True)
    one = judged[0]
    colours = knob_colours(knob_axis(study, one))
    clock = _Clock.of(results.step, shared_evaluations(results, one.stratum))
    for column, label in enumerate(labels):
        mine = [j for j in judged if j.label == label]
        rows = [("exact accuracy\n(share right)", results.ability(label, mine[0].split))]
        rows += [(metric_label(m), results.latent(mine[0].place, m)) for m, _ in metrics]
        for row, (text, values) in enumerate(rows):
            ax = axes[row, column]
            _trajectory(ax, results, one.stratum, values, colours, clock)
            if column == 0:
                ax.set_ylabel(text)
        axes[0, column].set_title(f"{label}/{mine[0].split}")
        axes[0, column].axhline(mine[0].trivial, color=GREY, linestyle="--", linewidth=0.9)
        axes[0, column].set_ylim(-0.02, 1.05)
        axes[-1, column].set_xlabel(
            "training steps (log; after\nthe dotted line: linear)" if clock.together else "training steps (log)"
        )
    note = "black: before it acts, shared by all settings; dashed: trivial baseline"
    _knob_legend(figure, study, one, colours, note)
    return figure


@dataclass(frozen=True)
class _Clock:
    """Training time as drawn: a log scale up to the step where the knob starts to act, a linear one after it.

    A fine-tuning stage is short beside the training before it; on one log scale it would be a vertical line.

    Attributes:
      together: evaluations that all settings share.
      at_E: positions.
      ticks: position -> label.
    """

    together: int
    at_E: np.ndarray
    ticks: dict[float, str]

    @staticmethod
    def of(step_E: np.ndarray, together: int) -> _Clock:
        """The clock of a study whose first `together` evaluations are shared by all settings."""
        parting = max(together, 1) - 1
        fork, last = step_E[parting], step_E[-1]
        logs_E = np.log(step_E / step_E[0])
        if not 0 < parting < len(step_E) - 1:
            at_E, shown = logs_E, range(len(step_E))
        else:
            after_E = 1 + 0.5 * (step_E - fork) / (last - fork)
            at_E = np.where(step_E <= fork, logs_E / logs_E[parting], after_E)
            shown = (*range(parting + 1), len(step_E) - 1)
        ticks: dict[float, str] = {}
        for e in reversed(shown):  # later ticks first: the fork and the end must be readable
            if all(abs(at_E[e] - taken) > 0.17 * at_E[-1] for taken in ticks):
                ticks[float(at_E[e])] = (
                    f"{step_E[e]:,}" if step_E[e] <= fork or together == 0 else f"+{step_E[e] - fork:,}"
                )
        return _Clock(together, at_E, ticks)

    def dress(self, ax: Axes) -> None:
        """Ticks, and a dotted line where the settings part."""
        ax.set_xticks(list(self.ticks), list(self.ticks.values()))
        if self.together:
            ax.axvline(self.at_E[self.together - 1], color=GREY, linewidth=0.8, linestyle=":")


def _trajectory(
    ax: Axes, results: Results, stratum: dict[str, Any], column: np.ndarray, colours: np.ndarray, clock: _Clock
) -> None:
    curves = [curve(results, stratum, column, e).values_SxK for e in range(len(results.step))]
    iqm_ExK = np.stack([statistics.iqm(values_SxK) for values_SxK in curves])
    together, at_E = clock.together, clock.at_E
    start = max(together - 1, 0)  # each line begins where the shared one ends
    for k, colour in enumerate(colours):
        ax.plot(at_E[start:], iqm_ExK[start:, k], color=colour, linewidth=1.2, marker="o", markersize=2.5)
    if together:
        shared_SxE = np.stack([values_SxK[:, 0] for values_SxK in curves[:together]], axis=1)
        low_E, high_E = statistics.interval(shared_SxE)
        ax.fill_between(at_E[:together], low_E, high_E, color=BLACK, alpha=0.2, linewidth=0)
        ax.plot(at_E[:together], iqm_ExK[:together, 0], color=BLACK, marker="o", markersize=3)
    clock.dress(ax)


@styled
def log_probabilities(study: Study, bounds: list[Bounds]) -> Figure:
    """Exact accuracy above, log-probability of the answer below: a fall in the first only is the metric's doing."""
    figure, axes = panels(2, len(bounds), 1.75, sharex="col")
    tasks = {use.label: use.task for use in study.tasks}
    for column, bound in enumerate(bounds):
        axis, floor = knob_axis(study, bound), trivial(tasks[bound.label], bound.split)
        for ax, values, level in zip(axes[:, column], (bound.ability, bound.logprob), floor, strict=True):
            draw_curve(ax, axis, values, seeds=False)
            ax.axhline(level, color=GREY, linestyle="--", linewidth=1)
            axis.dress(ax, label=ax is axes[1, column])
        axes[0, column].set_ylim(-0.02, 1.05)
        axes[0, column].set_title(f"{bound.label}/{bound.split}")
    axes[0, 0].set_ylabel("exact accuracy\n(share right)")
    axes[1, 0].set_ylabel("log-probability\n(nats an answer token)")
    handles = [
        Line2D([], [], color=BLACK, marker="o", markersize=3.5, label="IQM over seeds, 95% interval"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="trivial baseline"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@styled
def compute(results: Results, bounds: list[Bounds], matched: Matched) -> Figure:
    """Each primary ability against training FLOPs: a line a setting (IQM over seeds), the matched budget dotted."""
    columns = min(COLUMNS, len(bounds))
    figure, axes = panels(-(-len(bounds) // columns), columns, 2.2, sharey=True)
    colours = knob_colours(knob_axis(results.study, bounds[0]))
    spent_ExK = np.stack([statistics.iqm(spent_SxK) for spent_SxK in np.moveaxis(matched.spent_SxKxE, -1, 0)])
    for ax, bound in zip(axes.flat, bounds, strict=False):
        column = results.ability(bound.label, bound.split)
        curves = [curve(results, bound.stratum, column, e).values_SxK for e in range(len(results.step))]
        iqm_ExK = np.stack([statistics.iqm(values_SxK) for values_SxK in curves])
        for k, colour in enumerate(colours):
            ax.plot(spent_ExK[:, k], iqm_ExK[:, k], color=colour, linewidth=1.2, marker="o", markersize=2.5)
        ax.axvline(matched.budget, color=BLACK, linestyle=":", linewidth=1)
        ax.axhline(bound.trivial, color=GREY, linestyle="--", linewidth=0.9)
        ax.set_xscale("log")
        ax.set_title(f"{bound.label}/{bound.split}")
        ax.set_xlabel("training FLOPs (log)")
    for ax in axes.flat[len(bounds) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("exact accuracy\n(share right)")
    axes[0, 0].set_ylim(-0.02, 1.05)
    note = "dotted: the budget that all have spent; dashed: trivial baseline"
    _knob_legend(figure, results.study, bounds[0], colours, note)
    return figure
