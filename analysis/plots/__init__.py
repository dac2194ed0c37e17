"""The style of every figure, and figures that keep their numbers."""

from analysis.plots.recorded_figure import Panel, Picture, Point, panels, styled
from analysis.plots.style import BAND_TINT, BLACK, BLUE, GREY, VERMILLION, KnobAxis, knob_colours

__all__ = [
    "BAND_TINT",
    "BLACK",
    "BLUE",
    "GREY",
    "VERMILLION",
    "KnobAxis",
    "Panel",
    "Picture",
    "Point",
    "knob_colours",
    "panels",
    "styled",
]
