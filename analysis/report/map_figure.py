"""The map of a study's claims: a row a claim, a column a setting, each cell one of five plain states.

Figure, terminal and tables take the state of a cell from the same function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from analysis.design import SIDE, is_categorical
from analysis.diagnosis import Findings
from analysis.plots.recorded_figure import Panel, Picture, panels, styled
from analysis.plots.style import BAND_TINT, BLACK, BLUE_TINT, GREY, HARM_TINT, ON_STRONG, STRONG, WHITE, picked
from analysis.report import names, wording
from analysis.stats import FINDS_NOTHING, MapVerdict, SettingMap
from analysis.verdicts import Judged
from lab.study.places import Gain
from lab.study.spec import Study

BREAK = "┃"
NEUTRAL = "○"


@dataclass(frozen=True)
class State:
    """How a cell of the map looks.

    Attributes:
      mark: in the cell, for a reader who sees no colours.
      words: in the legend and in the figure's CSV.
      colour, ink: of the cell and of its mark.
      style: of the mark in a terminal.
    """

    mark: str
    words: str
    colour: str
    ink: str
    style: str


STATES = {
    "gain": State("▲", "gain, ability kept", BLUE_TINT, BLACK, "bold blue"),
    "mismatch": State("▲✗", "gain, ability lost", STRONG, ON_STRONG, "bold white on red"),
    "lost": State("✗", "ability lost, no gain", HARM_TINT, BLACK, "red"),
    "kept": State("·", "ability kept, no gain", BAND_TINT, BLACK, ""),
    "open": State("?", "not decided", WHITE, GREY, "dim"),
}
BETTER, AGAINST = "+", "▽"
ABOUT = (
    "A row is a claim: a latent metric (↑ claimed to rise, ↓ claimed to fall) under the ability that it is claimed for."
    " A column is a setting of {knob}, compared seed by seed with neutral, where the knob does nothing. Gain: the"
    " metric is shown to move as claimed. Kept: the ability is shown to lose less than δ; lost: shown to lose more. A"
    " cell with two marks says both. The frame in a row is where its break lies. On the right, the verdict."
)


ABOUT_VALUES = (
    "A row is a claim: a latent metric (↑ claimed to be higher than at the control, ↓ lower) under the ability that it"
    " is claimed for. A column is a value of {knob}, compared seed by seed with the control, {control}; columns have no"
    " order. Gain: the metric is shown to differ as claimed. Kept: the ability is shown to be less than δ lower; lost:"
    " shown to be lower by more. On the right, the verdict."
)


def state(found: SettingMap, k: int) -> str:
    """The state of one setting, a key of `STATES`: 'open' where the ability is shown neither kept nor lost."""
    gain, harmed = bool(found.shown("gain")[k]), bool(found.shown("harmed")[k])
    if harmed:
        return "mismatch" if gain else "lost"
    if found.shown("free")[k] or found.shown("better")[k]:
        return "gain" if gain else "kept"
    return "open"


def mark(found: SettingMap, k: int) -> str:
    """What stands in the cell of one setting: the mark of its state, and what is shown besides."""
    if k == 0:
        return NEUTRAL
    name, extra = state(found, k), ""
    if name == "open" and found.shown("gain")[k]:
        return "▲?"
    if found.shown("better")[k]:
        extra += BETTER
    if found.shown("against")[k]:
        extra += AGAINST
    return STATES[name].mark + extra


def settings_of(claims: Sequence[Judged]) -> np.ndarray:
    """The settings of some claims of one stratum, from neutral outwards."""
    longest = max((one.map.knob_K for one in claims), key=len)
    every = set().union(*(one.map.knob_K.tolist() for one in claims))
    return np.asarray(sorted(every, key=lambda value: abs(value - float(longest[0]))))


def of_ability(claims: Sequence[Judged]) -> list[list[Judged]]:
    """Claims grouped by ability, in their order."""
    groups: dict[tuple[str, str], list[Judged]] = {}
    for one in claims:
        groups.setdefault((one.label, one.split), []).append(one)
    return list(groups.values())


@styled
def draw(findings: Findings) -> Picture:
    """The map of one stratum: settings as columns, claims as rows under their ability."""
    rows = [[[one] for one in group] for group in of_ability(findings.claims)]
    return _map(findings, rows, settings_of(findings.claims))


@styled
def both_sides(findings: Findings) -> Picture:
    """Both sides of neutral in one row: settings in the knob's order as columns, neutral among them.

    Args:
      findings: of both sides, in one setting of the grid's other axes.
    """
    rows = []
    for group in of_ability(findings.claims):
        of_gain: dict[Gain, list[Judged]] = {}
        for one in group:
            of_gain.setdefault(one.claimed, []).append(one)
        rows.append(list(of_gain.values()))
    return _map(findings, rows, np.unique(np.concatenate([one.map.knob_K for one in findings.claims])))


def _map(findings: Findings, groups: Sequence[Sequence[Sequence[Judged]]], knob_K: np.ndarray) -> Picture:
    """A map.

    Args:
      findings: of the study.
      groups: for each ability its rows, and in each row its claims: one, or one on either side of neutral.
      knob_K: the settings.
    """
    study, short = findings.study, wording.phrase(findings.study).short
    knob_K = knob_K[picked(len(knob_K))]
    height = sum(len(group) + HEADER for group in groups)
    brief = study.claim.placed_gains  # their places take the room
    called = names.short_gains(study) if brief else {one: names.gain(study, one) for one in study.claim.every_gain}
    picture, axes = panels(1, 1, 0.235 * height + 0.5)
    ax, row, ticks = axes[0, 0], 0.0, {}
    for group in groups:
        first = group[0][0]
        header, style = _header(findings, first), _BOLD
        # A long one ends where the cells do, and begins over the names of the rows.
        long = first.reading is not None and len(header) > LONG_HEADER
        ax.text(len(knob_K) - 0.5 if long else -0.5, row + 0.5 * HEADER + 0.1, header, ha=ENDS[long], **style)
        row += HEADER
        for claims in group:
            one = claims[-1]
            panel = picture.panel(ax, f"{one.label}/{one.split}, {one.claimed.key}")
            for index, each in enumerate(claims):
                draw_claim(panel, each, knob_K, row, short, with_neutral=index == 0)
            ticks[row + 0.5] = f"{called[one.claimed]} {'↑' if one.sign > 0 else '↓'}"
            text = " | ".join(_verdict(each) for each in claims)
            ax.text(len(knob_K) - 0.5 + GAP, row + 0.5, text, va="center", fontsize=8, color=BLACK)
            row += 1
    ax.set_xlim(-0.5, len(knob_K) - 0.5)
    ax.set_ylim(row, 0)
    ax.set_yticks(list(ticks), list(ticks.values()))
    columns = range(0, len(knob_K), -(-len(knob_K) // 13))
    neutral = float(groups[0][0][0].map.knob_K[0])
    heads = [f"{base_name(study)}\n" if value == neutral else "" for value in knob_K]
    ax.set_xticks(columns, [heads[k] + short(float(knob_K[k])) for k in columns])
    ax.xaxis.set_ticks_position("top")
    ax.set_xlabel(names.knob(study.claim.knob, study))
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    picture.figure.legend(
        handles=legend_handles([one for group in groups for row in group for one in row]),
        loc="outside lower left",
        **LEGEND,
    )
    return picture


_BOLD: dict[str, Any] = dict(fontweight="bold", va="center", color=BLACK)
LONG_HEADER = 65  # characters of an ability's line that surely fit above the cells
ENDS = {False: "left", True: "right"}


def base_name(study: Study) -> str:
    """What settings are compared with, in a word."""
    return "control" if is_categorical(study) else "neutral"


HEADER, GAP = 0.95, 0.12  # height of an ability's line in rows; between cells and verdict in columns
LEGEND: dict[str, Any] = dict(ncols=7, fontsize=7.8, columnspacing=1.1, handletextpad=0.4, handlelength=1.3)


def _header(findings: Findings, one: Judged) -> str:
    """The ability's name, and where neutral stands."""
    name, found = names.ability(findings.study, one.label, one.split), one.map
    neutral = wording.number(found.neutral_ability, ".2f")
    base, trivial = base_name(findings.study), wording.number(found.trivial, ".2f")
    accuracy = "accuracy " if one.reading is None else ""
    return f"{name}  ({accuracy}at {base} {neutral}, trivial {trivial})"


def _verdict(one: Judged) -> str:
    """The verdict, and where there are two sides of neutral the side."""
    text = one.verdict.kind + ("" if one.stands or one.verdict.kind in FINDS_NOTHING else " (does not stand)")
    return f"{one.stratum[SIDE]}: {text}" if SIDE in one.stratum else text


class Mapped(Protocol):
    """A claim with its map: one of a study, or of arrays from elsewhere."""

    @property
    def metric(self) -> str:
        """The latent metric."""
        ...

    @property
    def sign(self) -> int:
        """+1 if larger is the claimed gain, else −1."""
        ...

    @property
    def map(self) -> SettingMap:
        """What is shown at each setting."""
        ...

    @property
    def verdict(self) -> MapVerdict:
        """What the map says."""
        ...


def draw_claim(
    panel: Panel,
    one: Mapped,
    knob_K: np.ndarray,
    row: float,
    short: Any,
    with_neutral: bool = True,
    units: str = "seeds",
) -> None:
    """The cells of one claim; draws and writes down what is shown at each setting.

    Args:
      panel: where.
      one: the claim.
      knob_K: the settings of the columns.
      row: the upper end of the cells.
      short: a setting in a word.
      with_neutral: whether the neutral setting is drawn, too.
      units: what is compared with itself.
    """
    ax, found, size = panel.ax, one.map, min(9.0, 300 / len(knob_K))
    cells, colours = [], []
    for column, value in enumerate(knob_K):
        (at,) = np.flatnonzero(found.knob_K == value)[:1] if (found.knob_K == value).any() else (None,)
        if at is None or (at == 0 and not with_neutral):
            continue
        k, neutral = int(at), at == 0
        look = STATES["open"] if neutral else STATES[state(found, k)]
        cells.append(Rectangle((column - 0.47, row + 0.05), 0.94, 0.9))
        colours.append(WHITE if neutral else look.colour)
        if len(knob_K) <= MARKED:
            ax.text(column, row + 0.52, mark(found, k), color=look.ink, fontsize=size, ha="center", va="center")
        _note(panel, one, k)
        panel.hover(column, row + 0.5, _hover(one, k, short, units))
    ax.add_collection(PatchCollection(cells, facecolors=colours, edgecolors=GREY, linewidths=0.4, zorder=1))
    if one.verdict.break_between is not None:
        between = one.verdict.break_between
        _draw_break(ax, sorted(float(np.interp(v, *_ordered(knob_K))) for v in between), row)
        low, high = sorted(between)
        panel.note("break", x_low=low, x_high=high)


MARKED = 26  # columns up to which a cell has room for its mark


def _ordered(knob_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Settings ascending and their columns, as `np.interp` wants them."""
    order = np.argsort(knob_K)
    return knob_K[order], order.astype(float)


def _draw_break(ax: Axes, columns: Sequence[float], row: float) -> None:
    """A thick line between two settings; where others lie between them, a frame around these."""
    left, right = columns[0] + 0.5, columns[1] - 0.5
    style: dict[str, Any] = dict(color=BLACK, linewidth=3, solid_capstyle="butt", zorder=5)
    for x in {left, right}:
        ax.plot((x, x), (row, row + 1), **style)
    if right > left:
        for y in (row + 0.03, row + 0.97):
            ax.plot((left, right), (y, y), color=BLACK, linewidth=1.2, zorder=5)


def _note(panel: Panel, one: Mapped, k: int) -> None:
    """Write down one cell: its state, and the mean changes from neutral."""
    found, value = one.map, float(one.map.knob_K[k])
    if k == 0:
        panel.note("neutral", x=value, y=found.neutral_ability)
        return
    panel.note(STATES[state(found, k)].words, x=value)
    panel.note("change of the metric", x=value, y=one.sign * found.metric_change_K[k])
    panel.note("change of the ability", x=value, y=found.ability_change_K[k])
    for series, statement in (("ability better", "better"), ("against the claim", "against")):
        if found.shown(statement)[k]:
            panel.note(series, x=value)


def _hover(one: Mapped, k: int, short: Any, units: str) -> str:
    """What a pointer over a cell shows."""
    found, at = one.map, short(float(one.map.knob_K[k]))
    if k == 0:
        return f"{at}: {'neutral' if found.ordered else 'the control'}, which all other settings are compared with"
    said = STATES[state(found, k)].words
    said += "; the ability is shown better" * bool(found.shown("better")[k])
    said += "; the metric moves against the claim" * bool(found.shown("against")[k])
    changes = (
        f"{names.metric(one.metric)} {wording.number(one.sign * found.metric_change_K[k], '+.3g')}",
        f"ability {wording.number(found.ability_change_K[k], '+.3f')}",
        f"{found.lost_K[k]} of {found.counted_K[k]} {units} lost more than δ",
    )
    diverged = f", {found.diverged_K[k]} diverged" if found.diverged_K[k] else ""
    return f"{at}: {said} ({', '.join(changes)}{diverged})"


def legend_handles(claims: Sequence[Mapped]) -> list[Any]:
    """The legend: the five states, what is marked besides, and the break where there is one."""
    handles: list[Any] = [
        Patch(facecolor=look.colour, edgecolor=GREY, linewidth=0.5, label=f"{look.mark} {look.words}")
        for look in STATES.values()
    ]
    shown = {name for one in claims for name in ("better", "against") if one.map.shown(name).any()}
    if "better" in shown:
        handles.append(Line2D([], [], linestyle="none", label=f"{BETTER} ability better"))
    if "against" in shown:
        handles.append(Line2D([], [], linestyle="none", label=f"{AGAINST} against the claim"))
    if any(state(one.map, k) == "open" for one in claims for k in np.flatnonzero(one.map.shown("gain")).tolist()):
        handles.append(Line2D([], [], linestyle="none", label="▲? gain, ability not decided"))
    if any(one.verdict.break_between is not None for one in claims):
        handles.append(Line2D([], [], color=BLACK, linewidth=3, label="break"))
    return handles
