"""A large grid's views leave out what can't be looked at, from a stated size on, and say so."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.plots.style import MOST_SHOWN, KnobAxis, picked
from analysis.report import figure_list, large_grid, tensorboard, write
from analysis.stats import MapVerdict
from lab.study.kinds import MAP
from tests.analysis import synthetic_study


@pytest.fixture(scope="module")
def small():
    """(plan, findings) of few settings and seeds."""
    return synthetic_study.everything(seeds=2, sparsities=(0.0, 0.4, 0.8))


def page(plan, findings, template):
    content = write._content(findings, plan, synthetic_study.FACTS)
    return write._render(template, content | {"whole": [], "figures": {0: []}}, escape=template.endswith("html"))


@pytest.mark.parametrize("template", ["report.html", "report.md"])
def test_beyond_a_stated_size_no_cell_has_a_run_and_the_report_says_so(small, template, monkeypatch):
    plan, findings = small
    cells = len(plan.study.cells)
    monkeypatch.setattr(large_grid, "MOST_CELLS", cells)
    assert len(tensorboard.cells(findings)) == cells
    assert "tb_cells/" in page(plan, findings, template)
    monkeypatch.setattr(large_grid, "MOST_CELLS", cells - 1)
    assert tensorboard.cells(findings) == []
    text = page(plan, findings, template)
    assert "row for each cell" not in text
    assert f"{cells} cells are more than {cells - 1}: no cell has a run of its own" in text
    assert len(tensorboard.cells(findings, whole=True)) == cells
    assert large_grid.notes(findings, whole=True) == []


def test_the_threshold_is_that_of_the_readme():
    assert large_grid.MOST_CELLS == 200
    assert large_grid.MOST_STRATA == 12
    assert large_grid.MOST_WHOLE == 3
    assert large_grid.MOST_SETTINGS == 20


def test_beyond_a_stated_number_strata_with_a_break_have_figures_first(small, monkeypatch):
    _, findings = small
    strata = [{"weight_decay.rate": float(rate)} for rate in range(5)]
    broken = MapVerdict("gain, then loss", 0.01, (0.3, 0.5))
    claims = [replace(findings.claims[0], stratum=stratum) for stratum in strata]
    claims[3] = replace(claims[3], verdict=broken)
    monkeypatch.setattr(type(findings), "strata", property(lambda self: strata))
    findings = replace(findings, claims=tuple(claims))
    assert large_grid.strata_with_figures(findings) == [0, 1, 2, 3, 4]
    assert large_grid.strata_with_all_figures(findings) == [3]
    assert large_grid.strata_with_all_figures(findings, whole=True) == [0, 1, 2, 3, 4]
    assert "has all figures, the others have only the first ones" in large_grid.notes(findings)[-1]
    assert large_grid.notes(findings, whole=True) == []
    monkeypatch.setattr(large_grid, "MOST_STRATA", 2)
    assert large_grid.strata_with_figures(findings) == [0, 3]
    assert "5 settings of the other axes are more than 3: one" in large_grid.notes(findings)[-1]
    entire = []
    monkeypatch.setattr(
        figure_list, "_of_stratum", lambda *args: [entire.append(args[-1]), ("ranges", ("", ""), None)][1:]
    )
    monkeypatch.setattr(figure_list.heatmaps, "phases", lambda findings: None)
    assert [one.stratum for one in figure_list.shown(findings)] == [None, 0, 3]
    assert entire == [False, True]
    monkeypatch.setattr(large_grid, "MOST_WHOLE", 5)
    assert large_grid.strata_with_all_figures(findings) == [0, 1, 2, 3, 4]
    assert [one.stratum for one in figure_list.shown(findings, whole=True)] == [None, 0, 1, 2, 3, 4]


class Grid:
    """What `settings_with_runs` asks of findings: strata, of which some break, with so many settings each."""

    def __init__(self, strata, settings, broken=()):
        self.strata = [{"rate": index} for index in range(strata)]
        self.study = SimpleNamespace(cells=[], claim=SimpleNamespace(kind=MAP))
        self.claims = [SimpleNamespace(stratum=self.strata[i], verdict=SimpleNamespace(break_at=1)) for i in broken]
        self.results = SimpleNamespace(places=lambda stratum: SimpleNamespace(knob_K=np.arange(settings)))


@pytest.mark.parametrize(
    ("grid", "strata", "settings"),
    [
        (Grid(1, 20), [0], 20),
        (Grid(2, 10), [0, 1], 10),
        (Grid(5, 9, broken=(3,)), [0, 3], 9),
        (Grid(2, 11, broken=(1,)), [1], 11),
        (Grid(3, 50), [0], 20),
    ],
)
def test_at_most_twenty_settings_have_a_run_for_tensorboard(grid, strata, settings):
    shown = large_grid.settings_with_runs(grid)
    assert [stratum["rate"] for stratum, _ in shown] == strata
    assert {len(picked) for _, picked in shown} == {settings}
    ends = (0, len(grid.results.places({}).knob_K) - 1)
    assert all((picked[0], picked[-1]) == ends for _, picked in shown)
    in_all = len(grid.strata) * (ends[1] + 1)
    note = f"TensorBoard shows {len(strata) * settings} of {in_all} settings"
    assert (note in " ".join(large_grid.notes(grid))) == (len(strata) * settings < in_all)


def test_hundreds_of_settings_have_few_ticks_and_both_ends():
    assert picked(MOST_SHOWN) == list(range(MOST_SHOWN))
    assert picked(1) == [0]
    assert len(picked(2000)) == MOST_SHOWN
    assert (picked(2000)[0], picked(2000)[-1]) == (0, 1999)
    for count, ticks in ((MOST_SHOWN, MOST_SHOWN), (200, 6)):
        ax = Figure().subplots()
        KnobAxis("prune.sparsity", np.linspace(0, 1, count), 0.0).dress(ax)
        marks = [np.asarray(line.get_xdata(), float) for line in ax.get_lines() if line.get_label() == "_marks"]
        shown = np.concatenate([ax.get_xticks(), *marks])
        assert len(np.unique(shown)) == ticks
        assert len(shown) == ticks
