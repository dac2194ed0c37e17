"""How every figure looks: one style, the knob's axis, and export to SVG and PNG.

Figures are matplotlib `Figure` objects drawn without pyplot, so nothing global is kept between them.
"""

from __future__ import annotations

import colorsys
import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN
from matplotlib.patches import Patch

from lab.values import rounded

# Okabe & Ito's colours, distinct with any colour vision; every use also has a hatch, a label or a line style.
BLUE, VERMILLION, GREY, BLACK = "#0072B2", "#D55E00", "#6b6b6b", "#1a1a1a"
FREE_TINT, HARM_TINT, BAND_TINT = "#cfe6f5", "#fbdcc8", "#e4e4e4"
BLUE_TINT, STRONG, WHITE = "#8cc4e8", "#b84a00", "#ffffff"  # of a map's cells
ON_DARK, ON_BRIGHT = "#fefefe", "#010101"  # texts on a colour that dark mode keeps
ON_STRONG = ON_DARK
SEED_ALPHA = 0.5  # of the line of one seed
# Light → dark: what stands on the page changes sides; other colours have their lightness mirrored.
DARK = {
    WHITE: "#15181c",
    BLACK: "#e6e8ea",
    GREY: "#a0a7af",
    BLUE.lower(): "#56b4e9",
    VERMILLION.lower(): "#ff8c42",
    FREE_TINT: "#123f5c",
    HARM_TINT: "#5c2c0e",
    BAND_TINT: "#343a42",
    BLUE_TINT: "#1f6fa3",
    STRONG: "#cf5500",
    ON_DARK: ON_DARK,
    ON_BRIGHT: ON_BRIGHT,
}
WIDTH = 10.0  # inches; a page column of about 1,000 CSS pixels
PAGE_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
TICK_LENGTH, TICK_WIDTH = 3.5, 0.8  # points
MOST_SHOWN = 40  # settings that have a tick, a line over training and a line of the legend each; of more, some have
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so the layout is the same everywhere
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.dpi": 100,
    "xtick.major.size": TICK_LENGTH,
    "xtick.major.width": TICK_WIDTH,
    "svg.fonttype": "none",
    "text.usetex": False,
}


@dataclass(frozen=True)
class KnobAxis:
    """Where knob values go on an axis.

    Values that are spread over scales (weight decay 0, 1e-4 … 1) are drawn at even distances, as the label then says.

    Attributes:
      knob: the knob's name.
      value_K: its values, ascending.
      neutral: its neutral value, one of the ends.
      labels: names of values that have no order, so that no line joins them; empty for a knob with numbers.
    """

    knob: str
    value_K: np.ndarray
    neutral: float
    labels: tuple[str, ...] = ()

    @property
    def even(self) -> bool:
        """Whether settings are drawn at even distances instead of to scale."""
        gaps = np.diff(self.value_K)
        return len(gaps) > 1 and float(gaps.max() / gaps.min()) > 10

    @property
    def at_K(self) -> np.ndarray:
        """Positions of the settings."""
        return np.arange(len(self.value_K), dtype=float) if self.even else self.value_K

    def at(self, value: float) -> float:
        """Position of any value within the range."""
        return float(np.interp(value, self.value_K, self.at_K))

    @property
    def limits(self) -> tuple[float, float]:
        """Axis limits: the range and a margin."""
        low, high = float(self.at_K[0]), float(self.at_K[-1])
        margin = 0.045 * (high - low) or 0.5
        return low - margin, high + margin

    def free_span(self, until: float | None) -> tuple[float, float] | None:
        """From neutral to `until`; None where nothing but neutral is shown free."""
        if until is None or until == self.neutral:
            return None
        ends = sorted((self.at(self.neutral), self.at(until)))
        return ends[0], ends[1]

    def harm_span(self, since: float | None) -> tuple[float, float] | None:
        """From `since` to the last setting; into the margin where `since` is the last one."""
        if since is None:
            return None
        rises, at = since > self.neutral, self.at(since)
        end = float(self.at_K[-1 if rises else 0])
        if at == end:
            end = self.limits[1 if rises else 0]
        return min(at, end), max(at, end)

    def dress(self, ax: Axes, label: bool = True) -> None:
        """Ticks at the settings, at most about seven labelled; beyond `MOST_SHOWN` settings only these have one."""
        ax.set_xlim(*self.limits)
        every, texts = max(1, -(-len(self.value_K) // 6)), self.labels or rounded(self.value_K)
        ax.set_xticks(self.at_K[::every], texts[::every])
        if every > 1 and len(self.value_K) <= MOST_SHOWN:
            _draw_marks(ax, np.delete(self.at_K, np.s_[::every]))
        if label:
            ax.set_xlabel(f"{self.knob}{' (even spacing)' if self.even else ''}")


def _draw_marks(ax: Axes, at_N: np.ndarray) -> None:
    """What looks like ticks without labels: one line with markers. A tick is five artists, which take far longer."""
    marks = Line2D(at_N, np.zeros(len(at_N)), color="black", linestyle="none", clip_on=False)
    marks.set(marker=TICKDOWN, markersize=TICK_LENGTH, markeredgewidth=TICK_WIDTH, label="_marks")
    marks.set_transform(ax.get_xaxis_transform())
    ax.add_artist(marks)


def picked(count: int, most: int = MOST_SHOWN) -> list[int]:
    """Indices of the settings that are shown one by one: all, or `most` at even distances with both ends."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def draw_unknown(ax: Axes, y: float, span: tuple[float, float], why: str = "") -> None:
    """A dotted line where nothing is known, with the reason on it where there is one."""
    ax.plot(span, (y, y), color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    if why:
        middle = (span[0] + span[1]) / 2
        ax.text(middle, y, why, va="center", ha="center", color=GREY, backgroundcolor="white", fontsize=7.5)


def draw_ranges(ax: Axes, y: float, free: tuple[float, float] | None, harm: tuple[float, float] | None) -> None:
    """A bar of what is shown free and what is shown harmful, each from and to."""
    if free:
        ax.barh(y, free[1] - free[0], left=free[0], height=0.62, color=BLUE, zorder=2)
    if harm:
        ax.barh(y, harm[1] - harm[0], left=harm[0], height=0.62, color=VERMILLION, hatch="////",
                edgecolor="white", linewidth=0, zorder=2)  # fmt: skip


def range_handles() -> list[Artist]:
    """The legend of `draw_ranges` and `draw_unknown`."""
    return [
        Patch(color=BLUE, label="shown kept"),
        Line2D([], [], color=GREY, linestyle=(0, (1, 2)), label="not known"),
        Patch(facecolor=VERMILLION, edgecolor="white", hatch="////", label="shown lost"),
    ]


def knob_colours(axis: KnobAxis) -> np.ndarray:
    """One colour a setting, dark to light and never too light for white paper: float64[K, 4]."""
    share_K = np.linspace(0.0, 0.86, len(axis.value_K))
    return np.asarray(matplotlib.colormaps["viridis"](share_K))


def svg(figure: Figure, name: str, about: str) -> str:
    """The figure as an <svg> element to put into a page: the same bytes for the same figure.

    Args:
      figure: the figure.
      name: unique in the page; it prefixes every id.
      about: what is seen, for a screen reader.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = text.replace("'DejaVu Sans'", PAGE_FONT.replace('"', "'"))
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*" ([^>]*?)width="[^"]*"', r"<svg \1\2", text, count=1)
    escaped = about.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escaped}" ', 1)


COLOUR = re.compile(r"\b(fill|stroke): (#[0-9a-f]{6})")


def inline(element: str, hovers: Iterable[tuple[float, float, str]] = ()) -> str:
    """An element of `svg` as a page has it: colours as CSS variables (`dark_rules`), and what a pointer shows.

    Args:
      element: the element.
      hovers: (x, y, text) in the units of its viewBox; they become its attribute `data-hover`, JSON for a script.
    """
    element = re.sub(r' fill="(#[0-9a-f]{6})"', r' style="fill: \1"', element)  # of a hatch
    element = COLOUR.sub(lambda found: f"{found[1]}: var(--c{found[2][1:]}, {found[2]})", element)
    shown = json.dumps(list(hovers), ensure_ascii=False, separators=(",", ":"))
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return element.replace("<svg ", f'<svg data-hover="{escaped}" ', 1)


def dark_rules(elements: Iterable[str]) -> str:
    """CSS declarations of every colour that elements of `inline` use, as it is in dark mode."""
    used = sorted({found for element in elements for found in re.findall(r"var\(--c([0-9a-f]{6}),", element)})
    return " ".join(f"--c{name}: {dark(f'#{name}')};" for name in used)


def dark(colour: str) -> str:
    """A colour '#rrggbb' in dark mode: that of `DARK`, else of mirrored lightness, never too dark to see."""
    if colour in DARK:
        return DARK[colour]
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    mirrored = colorsys.hls_to_rgb(hue, max(0.4, 1 - light) if light < 0.9 else 1 - light, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in mirrored)


def svg_file(element: str) -> str:
    """An element of `svg` as the text of a file of its own: with a size, which in the page is the column's."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', element)
    assert box, "every figure is exported with a viewBox"
    size = f'<svg width="{box[1]}pt" height="{box[2]}pt" '
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{element.replace("<svg ", size, 1)}'


def plain_svg(figure: Figure) -> bytes:
    """The figure as matplotlib's own SVG file: with a size, in DejaVu Sans, its ids drawn at random."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file: the same bytes for the same figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None})
    return out.getvalue()
