"""A figure together with the numbers in it: what a panel draws it also writes down, and that becomes the figure's CSV.

So the file and the picture cannot disagree: there is no second computation. Positions are in the reader's
units (a knob's values, training steps), also where an axis spaces them evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.plots.style import BLACK, MOST_SHOWN, SEED_ALPHA, STYLE, WIDTH, KnobAxis
from analysis.results import Curve
from analysis.stats import summaries
from lab.values import exact


class Point(NamedTuple):
    """A row of a figure's CSV; None is written as an empty field.

    Attributes:
      panel: the panel's name, unique in its figure.
      series: what is drawn; points of one series are joined in their order where the figure joins them.
      x, y: its place in the units of the axes.
      low, high: ends of the interval of y.
      x_low, x_high: ends of the interval of x, or of a range along it.
    """

    panel: str
    series: str
    x: Any = None
    y: Any = None
    low: Any = None
    high: Any = None
    x_low: Any = None
    x_high: Any = None


class Hover(NamedTuple):
    """What a pointer near a place of the figure shows; x and y as drawn."""

    ax: Axes
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A figure being drawn, and what was drawn so far."""

    figure: Figure
    points: list[Point] = field(default_factory=list)
    hovers: list[Hover] = field(default_factory=list)

    def panel(self, ax: Axes, name: str) -> Panel:
        """Axes of the figure whose drawing is written down under `name`."""
        return Panel(ax, name, self.points, self.hovers)

    def placed(self) -> list[tuple[float, float, str]]:
        """(x, y, text) of what a pointer shows, in the units of the SVG's viewBox."""
        found, height = [], 72 * self.figure.get_figheight()
        scale = 72 / self.figure.dpi
        for ax in dict.fromkeys(one.ax for one in self.hovers):
            mine = [one for one in self.hovers if one.ax is ax]
            at_Nx2 = scale * ax.transData.transform([(one.x, one.y) for one in mine])
            for one, (x, y) in zip(mine, at_Nx2, strict=True):
                if np.isfinite((x, y)).all():
                    found.append((round(float(x), 1), round(float(height - y), 1), one.text))
        return found

    def to_csv(self, settings: Collection[float] = ()) -> str:
        """A row for each point in drawing order; an empty field where a number is missing or not finite.

        Args:
          settings: numbers that are written exactly; all others to seven digits.
        """
        frame = pd.DataFrame(self.points, columns=list(Point._fields))
        numbers = frame.columns[2:]
        frame[numbers] = frame[numbers].astype(float).replace([np.inf, -np.inf], np.nan)
        inexact = [value for value in settings if float(f"{value:.7g}") != value]
        for name in numbers if inexact else ():
            frame[name] = [exact(v) if v in inexact else "" if np.isnan(v) else f"{v:.7g}" for v in frame[name]]
        return frame.to_csv(index=False, lineterminator="\n", float_format="%.7g")


@dataclass(frozen=True)
class Panel:
    """Axes that write down what they draw."""

    ax: Axes
    name: str
    points: list[Point]
    hovers: list[Hover] = field(default_factory=list)

    def hover(self, x: float, y: float, text: str) -> None:
        """Show a text where a pointer comes near a place, given as it is drawn."""
        self.hovers.append(Hover(self.ax, x, y, text))

    def note(self, series: str, **numbers: Any) -> None:
        """Write down one point (fields of `Point`) that the caller draws."""
        self.points.append(Point(self.name, series, **numbers))

    def notes(self, series: str, **columns: Sequence[Any] | np.ndarray) -> None:
        """Write down a point for each entry of some columns of equal length (fields of `Point`)."""
        for values in zip(*columns.values(), strict=True):
            self.note(series, **dict(zip(columns, values, strict=True)))

    def line(
        self, series: str, x: np.ndarray, y: np.ndarray, at: np.ndarray | None = None, hover: bool = True, **style: Any
    ) -> None:
        """A line through points, drawn at `at` where the axis doesn't have x to scale."""
        at = x if at is None else at
        self.ax.plot(at, y, **style)
        self.notes(series, x=x, y=y)
        for place, x_value, y_value in zip(at, x, y, strict=True) if hover else ():
            self.hover(place, y_value, f"{series}: {y_value:.4g} at {_place(x_value)}")

    def level(self, series: str, y: float, **style: Any) -> None:
        """A horizontal line across the panel."""
        self.ax.axhline(y, **style)
        self.note(series, y=y)

    def curve(self, axis: KnobAxis, curve: Curve, colour: str = BLACK, seeds: bool = True, unit: str = "seed") -> None:
        """IQM over seeds with its 95% interval along the knob, and a thin line a seed; `unit` is what else they are."""
        at_K = np.interp(curve.knob_K, axis.value_K, axis.at_K)
        iqm_K, (low_K, high_K) = summaries.iqm(curve.values_SxK), summaries.interval(curve.values_SxK)
        if axis.labels:
            self.ax.vlines(at_K, low_K, high_K, color=colour, linewidth=1.4, zorder=3)
        else:
            self.ax.fill_between(at_K, low_K, high_K, color=colour, alpha=0.22, linewidth=0, zorder=3)
        joined = "none" if axis.labels else "-"
        self.ax.plot(at_K, iqm_K, color=colour, marker="o", markersize=3.5, linestyle=joined, zorder=4)
        self.notes(f"IQM over {unit}s", x=curve.knob_K, y=iqm_K, low=low_K, high=high_K)
        places = axis.labels or [_place(x) for x in curve.knob_K]
        for at, place, y, low, high in zip(at_K, places, iqm_K, low_K, high_K, strict=True):
            between = f" [{low:.4g}, {high:.4g}]" if np.isfinite(low) else ""
            self.hover(at, y, f"IQM over {unit}s: {y:.4g}{between} at {place}")
        if seeds:
            for seed, values_K in zip(curve.seed_S, curve.values_SxK, strict=True):
                style: dict[str, Any] = dict(color=colour, alpha=SEED_ALPHA, linewidth=0.8, zorder=2)
                self.line(f"{unit} {seed}", curve.knob_K, values_K, at_K, hover=len(at_K) <= MOST_SHOWN, **style)


def _place(value: float) -> str:
    """A place along an axis for a reader: '0.4', '2,200', '1.3e+12'."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e7 else f"{value:.4g}"


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Picture, np.ndarray]:
    """A picture of page width with a grid of axes; `height` in inches a row."""
    figure = Figure(figsize=(WIDTH, height * rows + 0.55), layout="constrained")
    FigureCanvasAgg(figure)
    return Picture(figure), figure.subplots(rows, columns, squeeze=False, **options)


def styled(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Decorator: draw under `STYLE`, whatever the user's matplotlibrc says."""

    def wrapper(*args: Any, **kwargs: Any) -> Picture:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            picture = draw(*args, **kwargs)
            # Lay out once and keep the positions: every export would do it again. None is no engine: with "none", which
            # holds a place for one, every export would draw twice.
            layout = picture.figure.get_layout_engine()
            assert layout is not None, "every figure has one until here"
            layout.execute(picture.figure)
            picture.figure.set_layout_engine(None)
            return picture

    wrapper.__doc__, wrapper.__name__ = draw.__doc__, draw.__name__
    return wrapper
