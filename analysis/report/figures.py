"""The figures of a study: pure functions of the findings in one stratum of the grid.

docs/figures.md says what each writes into its CSV.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.design import in_stratum, is_categorical, name_of, names_of, neutral_value, setting_of
from analysis.diagnosis import Findings
from analysis.plots.recorded_figure import Panel, Picture, panels, styled
from analysis.plots.style import (
    BAND_TINT,
    BLACK,
    BLUE,
    FREE_TINT,
    GREY,
    HARM_TINT,
    SEED_ALPHA,
    VERMILLION,
    KnobAxis,
    draw_ranges,
    draw_unknown,
    knob_colours,
    picked,
    range_handles,
)
from analysis.report import names, wording
from analysis.results import Curve, ability_curve, curve, evaluation_at
from analysis.stats import summaries
from analysis.verdicts import Bounds, Judged
from lab.study.places import Gain
from lab.study.spec import Study
from lab.values import rounded
from tasks.base import trivial

COLUMNS = 4  # panels side by side
TRIVIAL = "trivial baseline"  # a series of most figures
ABILITY_UNITS = {
    "exact": "exact accuracy",
    "token_accuracy": "token accuracy",
    "logprob": "log-probability [nats]",
    "probe_accuracy": "probe accuracy",
    "probe_selectivity": "probe selectivity",
    "v_information": "V-information [nats]",
}
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
    knob_K = one.ability.knob_K
    return KnobAxis(names.knob(study.claim.knob, study), knob_K, neutral_value(study), names_of(study, knob_K))


@styled
def ranges(findings: Findings) -> Picture:
    """Every ability's ranges shown free and shown harmful along the knob, primary ones on top."""
    study, bounds = findings.study, findings.bounds
    axis = knob_axis(study, bounds[0])
    picture, axes = panels(1, 1, 0.27 * len(bounds) + 0.45)
    ax = axes[0, 0]
    for row, bound in enumerate(bounds):
        panel = picture.panel(ax, f"{bound.label}/{bound.split}")
        free, harm = axis.free_span(bound.free_until), axis.harm_span(bound.harmful_from)
        draw_unknown(
            ax, row, axis.limits, "" if bound.learned else f" {wording.learned(study, bound)}: nothing is shown "
        )
        if not bound.learned:
            continue
        _note_ranges(panel, bound, axis)
        draw_ranges(ax, row, free, harm)
        ax.plot(axis.at(axis.neutral), row, marker="|", color=BLACK, markersize=9, zorder=3)
    ax.set_yticks(range(len(bounds)))
    ax.set_yticklabels([names.ability(study, b.label, b.split) for b in bounds])
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
    picture.figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return picture


def _note_ranges(panel: Panel, bound: Bounds, axis: KnobAxis) -> None:
    """Write down the ranges that are shown: nothing where nothing is."""
    last = axis.value_K[-1 if axis.neutral == axis.value_K[0] else 0]
    spans = (("shown free", axis.neutral, bound.free_until), ("shown harmful", bound.harmful_from, last))
    panel.note("neutral", x=axis.neutral)
    for series, since, until in spans:
        if bound.learned and since is not None and until is not None and (since, until) != (axis.neutral, axis.neutral):
            low, high = sorted((since, until))
            panel.note(series, x_low=low, x_high=high)


@styled
def abilities(findings: Findings) -> Picture:
    """What the knob costs: every primary ability along it, the ranges shown free and shown harmful, and the break."""
    study, claims, bounds, diverged = findings.study, findings.claims, findings.primary, diverged_at(findings)
    columns = min(COLUMNS, len(bounds))
    same = one_scale(bounds)
    picture, axes = panels(-(-len(bounds) // columns), columns, 2.5, sharey=same)
    for ax, bound in zip(axes.flat, bounds, strict=False):
        panel = picture.panel(ax, f"{bound.label}/{bound.split}")
        _ability_panel(panel, study, bound, [j for j in claims if (j.label, j.split) == (bound.label, bound.split)])
        lost_at = diverged if bound.reading is None else bound.map.knob_K[bound.map.diverged_K > 0].tolist()
        if lost_at:
            axis = knob_axis(study, bound)
            at = [axis.at(value) for value in lost_at]
            lost = 0.0 if is_share(bound) else bound.trivial
            ax.plot(at, np.full(len(at), lost), "x", color=VERMILLION, markersize=5, clip_on=False, zorder=6)
            panel.notes("a cell diverged", x=lost_at)
    for ax in axes.flat[len(bounds) :]:
        ax.set_visible(False)
    name_scales(axes, bounds, "exact accuracy\n(share of answers right)", 1.08)
    handles = [
        Line2D([], [], color=BLACK, marker="o", markersize=3.5, label="IQM over seeds, 95% interval"),
        Line2D([], [], color=BLACK, alpha=SEED_ALPHA, linewidth=0.8, label="one seed"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="trivial baseline"),
        Patch(color=BAND_TINT, label="control ± δ" if is_categorical(study) else "neutral ± δ"),
    ]
    if not is_categorical(study):
        handles.append(Patch(color=FREE_TINT, label="shown kept"))
        handles.append(Patch(facecolor=HARM_TINT, edgecolor="white", hatch="////", label="shown lost"))
    if any(j.verdict.break_at is not None for j in claims):
        handles.append(Line2D([], [], color=VERMILLION, marker="D", linestyle=":", label="break, within the bar"))
    if diverged:
        handles.append(Line2D([], [], color=VERMILLION, marker="x", linestyle="none", label="a cell diverged"))
    picture.figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return picture


def is_share(one: Bounds | Judged) -> bool:
    """Whether an ability lies between 0 and 1."""
    return one.reading is None or one.reading.is_share


def one_scale(found: Sequence[Bounds | Judged]) -> bool:
    """Whether the panels of some abilities can share a scale."""
    return all(map(is_share, found))


def unit(one: Bounds | Judged) -> str:
    """An ability's unit, for an axis."""
    return "exact accuracy" if one.reading is None else ABILITY_UNITS[str(one.reading.probe or one.reading.measure)]


def name_scales(axes: np.ndarray, found: Sequence[Bounds | Judged], exact: str, top: float) -> None:
    """The y axes of panels that show an ability each: its unit, `exact` for all where each is the exact accuracy.

    Those of abilities between 0 and 1 reach from there to `top`.
    """
    if all(one.reading is None for one in found):
        for ax in axes[:, 0]:
            ax.set_ylabel(exact)
        axes[0, 0].set_ylim(-0.02, top)
        return
    for ax, one in zip(axes.flat, found, strict=False):
        ax.set_ylabel(unit(one))
        if is_share(one):
            ax.set_ylim(-0.02, top)


def diverged_at(findings: Findings) -> list[float]:
    """The stratum's knob values at which a cell diverged, in the order of the cells."""
    study, found = findings.study, findings.results.diverged_at
    lost = [cell for cell, step in zip(study.cells, found, strict=True) if step >= 0]
    stratum = findings.stratum or {}
    return list(dict.fromkeys(setting_of(study, cell) for cell in lost if in_stratum(study, cell, stratum)))


def _ability_panel(panel: Panel, study: Study, bound: Bounds, claims: list[Judged]) -> None:
    ax, axis = panel.ax, knob_axis(study, bound)
    _note_ranges(panel, bound, axis)
    free, harm = axis.free_span(bound.free_until), axis.harm_span(bound.harmful_from)
    if free and bound.learned:
        ax.axvspan(*free, color=FREE_TINT, linewidth=0, zorder=0)
    if harm and bound.learned:
        ax.axvspan(*harm, facecolor=HARM_TINT, edgecolor="white", hatch="////", linewidth=0, zorder=0)
    column_S = bound.ability.values_SxK[:, bound.ability.knob_K == axis.neutral]
    if np.isfinite(column_S).any() and np.isfinite(bound.delta):
        mean = float(np.nanmean(column_S))
        low, high = mean - bound.delta, mean + bound.delta
        ax.axhspan(low, high, color=BAND_TINT, alpha=0.75, linewidth=0, zorder=1)
        panel.note("neutral ± δ", y=mean, low=low, high=high)
    panel.level(TRIVIAL, bound.trivial, color=GREY, linestyle="--", linewidth=1, zorder=1)
    panel.curve(axis, bound.ability)
    found = {(j.verdict.break_at, j.verdict.break_interval) for j in claims if j.verdict.break_at is not None}
    place: dict[str, Any] = dict(color=VERMILLION)
    top = 1.05  # of an ability up to 1; else a place in the panel
    if not is_share(bound):
        place["transform"], top = ax.get_xaxis_transform(), 0.97
    for value, interval in sorted(found, key=str):
        ax.axvline(axis.at(value), color=VERMILLION, linestyle=":", linewidth=1.2, zorder=5)
        if interval is not None:
            ends = [axis.at(end) for end in interval]
            ax.plot(ends, (top, top), linewidth=2.2, solid_capstyle="butt", zorder=5, **place)
        ax.plot(axis.at(value), top, marker="D", markersize=4, zorder=6, **place)
        panel.note("break", x=value, x_low=interval and interval[0], x_high=interval and interval[1])
    ax.set_title(ability_title(study, bound))
    axis.dress(ax)


def ability_title(study: Study, bound: Bounds) -> str:
    """An ability in words, in lines that fit a panel; with the reason where nothing is shown of it."""
    name = names.ability(study, bound.label, bound.split)
    return wrapped(name + ("" if bound.learned else f" ({wording.learned(study, bound)})"))


def wrapped(text: str, width: int = 30) -> str:
    """A text in lines of a panel's width."""
    return "\n".join(textwrap.wrap(text, width))


def claimed(claims: Sequence[Judged]) -> tuple[list[Gain], list[str]]:
    """Gains and tasks, each once in the order of the claim."""
    return list(dict.fromkeys(j.claimed for j in claims)), list(dict.fromkeys(j.label for j in claims))


def latent_series(one: Judged) -> str:
    """A claimed metric's column, with the step that it is read at where that isn't the last."""
    return f"{one.site}/{one.metric}" + (
        "" if one.claimed.step is None else f"@{one.claimed.stage or one.claimed.step}"
    )


def metric_label(study: Study, one: Gain, signed: bool = True) -> str:
    """A gain's name, unit, and the claimed direction."""
    claim = {1: "\nclaimed to rise ↑", -1: "\nclaimed to fall ↓"}[one.sign] if signed else ""
    unit = f"\n[{UNITS[one.metric]}]" if one.metric in UNITS else ""
    return f"{wrapped(names.gain(study, one), 24)}{unit}{claim}"


@styled
def latents(findings: Findings) -> Picture:
    """The claimed latent metrics along the knob: a row a metric, a column a task, the value at N/2 dotted."""
    study, results, claims = findings.study, findings.results, findings.claims
    gains, labels = claimed(claims)
    picture, axes = panels(len(gains), len(labels), 1.75, sharex="col")
    for row, claimed_gain in enumerate(gains):
        metric = claimed_gain.metric
        for column, label in enumerate(labels):
            ax = axes[row, column]
            if column and claimed_gain.task is not None:  # read at a task of its own: the same for all abilities
                ax.set_visible(False)
                continue
            one = next(j for j in claims if (j.claimed, j.label) == (claimed_gain, label))
            axis = knob_axis(study, one)
            panel = picture.panel(ax, latent_series(one))
            panel.curve(axis, one.gain, BLUE)
            half = results.columns.get(f"{one.site}/{metric}_half")
            if half is not None:
                at_half = curve(results, one.stratum, half, evaluation_at(results, claimed_gain))
                at_K, iqm_K = [axis.at(v) for v in at_half.knob_K], summaries.iqm(at_half.values_SxK)
                ax.plot(at_K, iqm_K, color=GREY, linestyle=":", linewidth=1.2)
                panel.notes("IQM from half the examples", x=at_half.knob_K, y=iqm_K)
            axis.dress(ax, label=row == len(gains) - 1)
            if row == 0:
                read = f", at {one.site.read}" if not study.claim.placed_gains else ""
                ax.set_title(wrapped(f"{names.task(study, label)}{read}"))
            if column == 0:
                ax.set_ylabel(metric_label(study, replace(claimed_gain, sign=one.sign)))
    handles = [
        Line2D([], [], color=BLUE, marker="o", markersize=3.5, label="IQM over seeds, 95% interval"),
        Line2D([], [], color=BLUE, alpha=SEED_ALPHA, linewidth=0.8, label="one seed"),
        Line2D([], [], color=GREY, linestyle=":", label="IQM from half the examples (bias check)"),
    ]
    picture.figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return picture


@styled
def paths(findings: Findings) -> Picture:
    """Gain against ability: one marker a knob setting, joined in the knob's order, neutral ringed."""
    study, claims = findings.study, findings.claims
    gains, _ = claimed(claims)
    pairs = list(dict.fromkeys((j.label, j.split) for j in claims))
    picture, axes = panels(len(gains), len(pairs), 1.95, sharey="row" if one_scale(claims) else False)
    colours = knob_colours(knob_axis(study, claims[0]))
    for row, claimed_gain in enumerate(gains):
        for column, pair in enumerate(pairs):
            ax = axes[row, column]
            one = next(j for j in claims if (j.claimed, j.label, j.split) == (claimed_gain, *pair))
            x_K, y_K = summaries.iqm(one.gain.values_SxK), summaries.iqm(one.ability.values_SxK)
            ax.plot(x_K, y_K, color=GREY, linewidth=0.9, zorder=2)
            panel = picture.panel(ax, f"{'/'.join(pair)} against {claimed_gain.key}")
            _crosses(panel, one.gain, one.ability, colours, study)
            ax.scatter(x_K, y_K, c=colours, s=26, zorder=4, edgecolors="white", linewidths=0.5)
            neutral = one.gain.knob_K == neutral_value(study)
            ax.scatter(x_K[neutral], y_K[neutral], s=80, facecolors="none", edgecolors=BLACK, linewidths=1.1, zorder=5)
            panel.level(TRIVIAL, one.trivial, color=GREY, linestyle="--", linewidth=0.9, zorder=1)
            if is_share(one):
                ax.set_ylim(-0.02, 1.05)
            if one.sign < 0:
                ax.invert_xaxis()
            if row == 0:
                ax.set_title(wrapped(names.ability(study, *pair)))
            if column == 0 or study.claim.placed_abilities:
                ax.set_ylabel(unit(one))
            ax.set_xlabel(f"{wrapped(names.gain(study, claimed_gain))}\nclaimed gain →")
    knob_legend(picture, study, claims[0], colours, "ringed: neutral; dashed: trivial baseline")
    return picture


def _crosses(panel: Panel, x: Curve, y: Curve, colours: np.ndarray, study: Study) -> None:
    """The 95% intervals of both readings as a cross at each setting."""
    x_K, y_K = summaries.iqm(x.values_SxK), summaries.iqm(y.values_SxK)
    (xl_K, xh_K), (yl_K, yh_K) = summaries.interval(x.values_SxK), summaries.interval(y.values_SxK)
    # One collection of lines: an artist an arm would take most of the time where there are hundreds of settings.
    arms = np.asarray([[(xl_K, y_K), (xh_K, y_K)], [(x_K, yl_K), (x_K, yh_K)]])
    arms_Nx2x2 = arms.transpose(0, 3, 1, 2).reshape(-1, 2, 2)
    there_N = np.isfinite(arms_Nx2x2).all(axis=(1, 2))
    colours_Nx4 = np.tile(colours, (2, 1))[there_N]
    arms_drawn = LineCollection(arms_Nx2x2[there_N].tolist(), colors=colours_Nx4.tolist(), linewidths=1, zorder=3)
    arms_drawn.set_capstyle("projecting")
    panel.ax.add_collection(arms_drawn)
    for k in range(len(colours)):
        ends = dict(low=yl_K[k], high=yh_K[k], x_low=xl_K[k], x_high=xh_K[k])
        series = setting_series(study, x.knob_K[k])
        panel.note(series, x=x_K[k], y=y_K[k], **ends)
        panel.hover(x_K[k], y_K[k], f"{series}: {y_K[k]:.4g} at {x_K[k]:.4g}")


def setting_series(study: Study, value: float) -> str:
    """The series of one setting."""
    return f"{study.claim.knob} = {name_of(study, value)}"


def knob_legend(picture: Picture, study: Study, one: Judged | Bounds, colours: np.ndarray, note: str) -> None:
    """A legend of the settings' colours."""
    texts, listed = knob_axis(study, one).labels or rounded(one.ability.knob_K), picked(len(colours))
    handles: list[Any] = [
        Line2D([], [], color=colours[k], marker="o", markersize=5, linestyle="-", label=texts[k]) for k in listed
    ]
    note += f"; {len(listed)} of {len(texts)} settings" if len(listed) < len(texts) else ""
    title = f"{names.knob(study.claim.knob, study)} ({note})"
    picture.figure.legend(
        handles=handles, loc="outside upper left", ncols=min(12, len(handles)), title=title, alignment="left"
    )


def answered(findings: Findings) -> list[Bounds]:
    """The primary abilities that are the exact accuracy of answers after the last step."""
    return [bound for bound in findings.primary if bound.reading is None]


@styled
def log_probabilities(findings: Findings) -> Picture:
    """Exact accuracy, accuracy by token and log-probability: a fall in the first only is the score's doing."""
    study, results, bounds = findings.study, findings.results, answered(findings)
    picture, axes = panels(3, len(bounds), 1.6, sharex="col")
    for column, bound in enumerate(bounds):
        task = study.at(bound.stratum).use(bound.label).task
        axis, floor = knob_axis(study, bound), trivial(task, bound.split)
        by_token = ability_curve(results, bound.stratum, bound.label, bound.split, "token_accuracy")
        curves = {"exact": bound.ability, "token_accuracy": by_token, "logprob": bound.logprob}
        for ax, (reading, values) in zip(axes[:, column], curves.items(), strict=True):
            panel = picture.panel(ax, f"{bound.label}/{bound.split}/{reading}")
            panel.curve(axis, values, seeds=False)
            if reading in floor._fields:
                panel.level(TRIVIAL, getattr(floor, reading), color=GREY, linestyle="--", linewidth=1)
            axis.dress(ax, label=ax is axes[2, column])
        for ax in axes[:2, column]:
            ax.set_ylim(-0.02, 1.05)
        axes[0, column].set_title(wrapped(names.ability(study, bound.label, bound.split)))
    axes[0, 0].set_ylabel("exact accuracy\n(share right)")
    axes[1, 0].set_ylabel("by token\n(share right)")
    axes[2, 0].set_ylabel("log-probability\n(nats an answer token)")
    handles = [
        Line2D([], [], color=BLACK, marker="o", markersize=3.5, label="IQM over seeds, 95% interval"),
        Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="trivial baseline"),
    ]
    picture.figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return picture
