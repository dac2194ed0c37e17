"""The figures of a study that run over training: abilities and latents along the steps, abilities along the compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.diagnosis import Findings
from analysis.plots.recorded_figure import Panel, Picture, panels, styled
from analysis.plots.style import BLACK, GREY, knob_colours, picked
from analysis.report import names
from analysis.report.figures import (
    COLUMNS,
    TRIVIAL,
    answered,
    claimed,
    is_share,
    knob_axis,
    knob_legend,
    metric_label,
    setting_series,
    unit,
    wrapped,
)
from analysis.report.matched_compute import Matched
from analysis.results import Results, curve, shared_evaluations
from analysis.stats import summaries
from lab.study.places import Gain


@styled
def trajectories(findings: Findings) -> Picture:
    """Abilities and latents while training: the shared prefix in black, then a line a knob value (IQM over seeds)."""
    study, results, claims = findings.study, findings.results, findings.claims
    gains, labels = claimed(claims)
    gains = list(dict.fromkeys(map(_at_all_steps, gains)))
    picture, axes = panels(1 + len(gains), len(labels), 1.6, sharex=True)
    one = claims[0]
    colours = knob_colours(knob_axis(study, one))
    clock = _Clock.of(results.step, shared_evaluations(results, one.stratum))
    for column, label in enumerate(labels):
        mine = [j for j in claims if j.label == label]
        text = "exact accuracy\n(share right)" if mine[0].reading is None else unit(mine[0])
        rows = [(text, results.ability(label, mine[0].split), f"{label}/{mine[0].split}")]
        for each in gains:
            here = next(j for j in mine if _at_all_steps(j.claimed) == each)
            values = results.latent(here.site, here.metric)
            rows.append((metric_label(study, each, signed=False), values, f"{here.site}/{here.metric}"))
        for row, (text, values, name) in enumerate(rows):
            ax = axes[row, column]
            if row and column and gains[row - 1].task is not None:  # read at a task of its own, shown once
                ax.set_visible(False)
                continue
            panel = picture.panel(ax, name)
            _trajectory(panel, results, one.stratum, values, colours, clock)
            if row == 0:
                panel.level(TRIVIAL, mine[0].trivial, color=GREY, linestyle="--", linewidth=0.9)
            if column == 0 or (row == 0 and study.claim.placed_abilities):
                ax.set_ylabel(text)
        axes[0, column].set_title(wrapped(names.ability(study, label, mine[0].split)))
        if is_share(mine[0]):
            axes[0, column].set_ylim(-0.02, 1.05)
        axes[-1, column].set_xlabel(
            "training steps (log; after\nthe dotted line: linear)" if clock.together else "training steps (log)"
        )
    note = "black: before it acts, shared by all settings; dashed: trivial baseline"
    knob_legend(picture, study, one, colours, note)
    return picture


def _at_all_steps(one: Gain) -> Gain:
    """A gain without the step that it is read at and its sign: what is drawn over training."""
    return replace(one, stage=None, step=None, sign=1)


@dataclass(frozen=True)
class _Clock:
    """Training time as drawn: a log scale up to the step where the knob starts to act, a linear one after it.

    A fine-tuning stage is short compared with the training before it; on one log scale it would be a vertical line.

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
        fork, last, index_E = step_E[parting], step_E[-1], np.arange(len(step_E))
        logs_E = np.log(step_E / step_E[0])
        if not 0 < parting < len(step_E) - 1:
            at_E, shown = logs_E, range(len(step_E))
        else:
            # Of what acts in stages without steps the evaluations are drawn apart all the same.
            since_E = step_E - fork if last > fork else index_E - parting
            after_E = 1 + 0.5 * since_E / since_E[-1]
            at_E = np.where(index_E <= parting, logs_E / logs_E[parting], after_E)
            shown = (*range(parting + 1), len(step_E) - 1)
        ticks: dict[float, str] = {}
        for e in reversed(shown):  # later ticks first: the fork and the end must be readable
            if all(abs(at_E[e] - taken) > 0.17 * at_E[-1] for taken in ticks):
                ticks[float(at_E[e])] = f"{step_E[e]:,}" if e <= parting or together == 0 else f"+{step_E[e] - fork:,}"
        return _Clock(together, at_E, ticks)

    def dress(self, ax: Axes) -> None:
        """Ticks, and a dotted line where the settings part."""
        ax.set_xticks(list(self.ticks), list(self.ticks.values()))
        if self.together:
            ax.axvline(self.at_E[self.together - 1], color=GREY, linewidth=0.8, linestyle=":")


def _trajectory(
    panel: Panel, results: Results, stratum: dict[str, Any], column: np.ndarray, colours: np.ndarray, clock: _Clock
) -> None:
    ax, step_E = panel.ax, results.step
    found = [curve(results, stratum, column, e) for e in range(len(step_E))]
    knob_K, curves = found[0].knob_K, [one.values_SxK for one in found]
    iqm_ExK = np.stack([summaries.iqm(values_SxK) for values_SxK in curves])
    together, at_E = clock.together, clock.at_E
    start = max(together - 1, 0)  # each line begins where the shared one ends
    for k in picked(len(colours)):
        style: dict[str, Any] = dict(color=colours[k], linewidth=1.2, marker="o", markersize=2.5)
        panel.line(setting_series(results.study, knob_K[k]), step_E[start:], iqm_ExK[start:, k], at_E[start:], **style)
    if together:
        shared_SxE = np.stack([values_SxK[:, 0] for values_SxK in curves[:together]], axis=1)
        low_E, high_E = summaries.interval(shared_SxE)
        ax.fill_between(at_E[:together], low_E, high_E, color=BLACK, alpha=0.2, linewidth=0)
        ax.plot(at_E[:together], iqm_ExK[:together, 0], color=BLACK, marker="o", markersize=3)
        panel.notes("before the knob acts", x=step_E[:together], y=iqm_ExK[:together, 0], low=low_E, high=high_E)
    clock.dress(ax)


@styled
def compute(findings: Findings, matched: Matched) -> Picture:
    """Each primary ability against training FLOPs: a line a setting (IQM over seeds), the matched budget dotted."""
    results, bounds = findings.results, answered(findings)
    columns = min(COLUMNS, len(bounds))
    picture, axes = panels(-(-len(bounds) // columns), columns, 2.2, sharey=True)
    colours = knob_colours(knob_axis(results.study, bounds[0]))
    spent_ExK = np.stack([summaries.iqm(spent_SxK) for spent_SxK in np.moveaxis(matched.spent_SxKxE, -1, 0)])
    for ax, bound in zip(axes.flat, bounds, strict=False):
        column = results.ability(bound.label, bound.split)
        curves = [curve(results, bound.stratum, column, e).values_SxK for e in range(len(results.step))]
        iqm_ExK = np.stack([summaries.iqm(values_SxK) for values_SxK in curves])
        panel = picture.panel(ax, f"{bound.label}/{bound.split}")
        for k in picked(len(colours)):
            style: dict[str, Any] = dict(color=colours[k], linewidth=1.2, marker="o", markersize=2.5)
            panel.line(setting_series(results.study, matched.knob_K[k]), spent_ExK[:, k], iqm_ExK[:, k], **style)
        ax.axvline(matched.budget, color=BLACK, linestyle=":", linewidth=1)
        panel.note("matched budget", x=matched.budget)
        panel.level(TRIVIAL, bound.trivial, color=GREY, linestyle="--", linewidth=0.9)
        ax.set_xscale("log")
        ax.set_title(wrapped(names.ability(results.study, bound.label, bound.split)))
        ax.set_xlabel("training FLOPs (log)")
    for ax in axes.flat[len(bounds) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("exact accuracy\n(share right)")
    axes[0, 0].set_ylim(-0.02, 1.05)
    note = "dotted: the budget that all have spent; dashed: trivial baseline"
    knob_legend(picture, results.study, bounds[0], colours, note)
    return picture
