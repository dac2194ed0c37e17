"""Figures are drawn for every awkward study, without global state. (That they repeat: test_write.py.)"""

import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest

from analysis.plots import style
from analysis.plots.style import KnobAxis
from analysis.report import figures, map_figure, training_figures
from analysis.results import shared_evaluations
from tests.analysis import synthetic_study
from tests.tasks.task_cases import first_by_default


@pytest.fixture(scope="module")
def study():
    _, findings = synthetic_study.everything()
    return findings.in_stratum({})


def everything(findings):
    drawn = {
        "map": map_figure.draw(findings),
        "ranges": figures.ranges(findings),
        "abilities": figures.abilities(findings),
        "latents": figures.latents(findings),
        "paths": figures.paths(findings),
        "trajectories": training_figures.trajectories(findings),
        "log_probabilities": figures.log_probabilities(findings),
    }
    return {name: picture.figure for name, picture in drawn.items()}


@pytest.mark.slow
def test_exports_are_whole_and_leave_no_global_state(study):
    before = dict(matplotlib.rcParams)
    for name, figure in everything(study).items():
        image = style.svg(figure, name, "about <it>")
        assert style.png(figure).startswith(b"\x89PNG")
        root = ElementTree.fromstring(image.replace("xlink:href", "href"))
        assert root.attrib["aria-label"] == "about <it>"
        assert "width" not in root.attrib
        assert "metadata" not in image
        assert f'id="{name}-' in image
    assert dict(matplotlib.rcParams) == before


def test_a_users_style_changes_nothing(study):
    plain = style.svg(figures.ranges(study).figure, "a", "")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 10}):
        assert style.svg(figures.ranges(study).figure, "a", "") == plain


def test_every_panel_has_labelled_axes(study):
    drawn = everything(study)
    for name, figure in drawn.items():
        axes = np.asarray([ax for ax in figure.axes if ax.get_visible()])
        assert any(ax.get_xlabel() for ax in axes), name
        if name not in ("map", "ranges"):
            assert any("(" in ax.get_ylabel() or "accuracy" in ax.get_ylabel() for ax in axes), name


def test_ability_panels_show_neutral_bounds_break_and_trivial(study):
    figure = figures.abilities(study).figure
    facts, z6, addition, path_star = figure.axes[:4]
    assert facts.get_title(loc="left") == "128 facts"
    assert path_star.get_title(loc="left") == "path-star (not learned)"
    assert len(facts.patches) == len(z6.patches) == 3, "free, harmful, and the band around neutral"
    assert len(addition.patches) == 2, "what is not shown is not harmful"
    assert len(path_star.patches) == 1, "nothing is shown free where nothing was learned"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", first_by_default([{"seeds": 1, "sparsities": (0.0, 0.5)}, {"seeds": 2, "sparsities": (0.0,)}])
)
def test_tiny_studies_are_drawn(options):
    _, findings = synthetic_study.everything(**options)
    for name, figure in everything(findings.in_stratum({})).items():
        assert style.svg(figure, name, name).startswith("<svg ")


def test_shared_evaluations_end_where_the_knob_acts(study):
    assert shared_evaluations(study.results, {}) == 5
    clock = training_figures._Clock.of(study.results.step, 5)
    assert (np.diff(clock.at_E) > 0).all()
    assert clock.ticks[float(clock.at_E[4])] == "2,000"
    assert clock.ticks[float(clock.at_E[-1])] == "+200"


def test_knob_axis_spans():
    axis = KnobAxis("prune.sparsity", np.asarray([0.0, 0.25, 0.5, 1.0]), 0.0)
    assert axis.free_span(0.5) == (0.0, 0.5)
    assert axis.free_span(0.0) is None
    assert axis.free_span(None) is None
    assert axis.harm_span(0.5) == (0.5, 1.0)
    assert axis.harm_span(1.0)[1] > 1.0
    backwards = KnobAxis("rank", np.asarray([1.0, 2.0, 3.0]), 3.0)
    assert backwards.free_span(2.0) == (2.0, 3.0)
    assert backwards.harm_span(2.0) == (1.0, 2.0)


def test_knob_values_spread_over_scales_are_spaced_evenly():
    axis = KnobAxis("decay", np.asarray([0.0, 1e-4, 1e-2, 1.0]), 0.0)
    assert axis.even
    np.testing.assert_array_equal(axis.at_K, [0, 1, 2, 3])
    assert axis.at(1e-2) == 2
