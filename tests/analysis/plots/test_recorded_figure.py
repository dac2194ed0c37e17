"""A figure's CSV holds what the figure draws: against its artists, and against the results by another way."""

import csv
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.plots import style
from analysis.plots.recorded_figure import Point, panels
from analysis.report import figure_list, figures, training_figures
from tests.analysis import synthetic_study

DOCUMENT = Path(__file__).parents[3] / "docs" / "figures.md"


def rows(picture):
    return list(csv.DictReader(io.StringIO(picture.to_csv())))


def series(table, panel, name):
    return [line for line in table if (line["panel"], line["series"]) == (panel, name)]


@pytest.fixture(scope="module")
def study():
    _, findings = synthetic_study.everything()
    return findings


def test_abilities_are_those_of_the_results(study):
    results, judged, primary = study.results, study.claims, study.primary
    picture = figures.abilities(study)
    table, cells = rows(picture), results.study.cells
    z6 = next(bound for bound in primary if bound.label == "z6")
    for line in series(table, "z6/iid", "IQM over seeds"):
        chosen = [i for i, cell in enumerate(cells) if cell["prune.sparsity"] == float(line["x"])]
        values = np.where(results.diverged_at[chosen] < 0, results.columns["z6/iid/exact"][chosen, -1], z6.trivial)
        assert float(line["y"]) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-6)
        assert float(line["low"]) <= float(line["y"]) <= float(line["high"])
    (seed_3,) = [line for line in series(table, "z6/iid", "seed 3") if line["x"] == "0.2"]
    (cell,) = [i for i, one in enumerate(cells) if (one["seed"], one["prune.sparsity"]) == (3, 0.2)]
    assert float(seed_3["y"]) == pytest.approx(results.columns["z6/iid/exact"][cell, -1], rel=1e-6)
    assert len(series(table, "z6/iid", "seed 3")) == 9
    (free,) = series(table, "z6/iid", "shown free")
    assert (float(free["x_low"]), float(free["x_high"])) == (0.0, z6.free_until)
    (harm,) = series(table, "z6/iid", "shown harmful")
    assert (float(harm["x_low"]), float(harm["x_high"])) == (z6.harmful_from, 0.8)
    assert not series(table, "path_star/iid", "shown free"), "not learned"
    place = next(j.verdict for j in judged if j.label == "z6" and j.verdict.break_at is not None)
    (line,) = series(table, "z6/iid", "break")
    assert (float(line["x_low"]), float(line["x_high"])) == place.break_between
    assert float(line["x"]) == pytest.approx(place.break_at)


def test_joined_lines_are_the_ones_on_paper(study):
    """Every drawn line of training but its position on the clock is in the file, and the other way round."""
    picture = training_figures.trajectories(study)
    drawn = {
        tuple(np.round(line.get_ydata(), 9)) for ax in picture.figure.axes for line in ax.lines
        if len(line.get_ydata()) > 2 and np.isfinite(line.get_ydata()).all()
    }  # fmt: skip
    noted: dict[tuple[str, str], list[float]] = {}
    for point in picture.points:
        if point.x is not None:
            noted.setdefault((point.panel, point.series), []).append(float(np.round(point.y, 9)))
    assert {values for values in map(tuple, noted.values()) if len(values) > 2 and np.isfinite(values).all()} == drawn


def test_numbers_are_written_plainly():
    picture, axes = panels(1, 1, 1.0)
    panel = picture.panel(axes[0, 0], "a, b")
    panel.line("n", np.asarray([1e-9, 2]), np.asarray([np.nan, 1 / 3]))
    panel.level("level", np.float64(np.inf))
    text = picture.to_csv()
    assert text.splitlines() == [
        ",".join(Point._fields),
        '"a, b",n,1e-09,,,,,',
        '"a, b",n,2,0.3333333,,,,',
        '"a, b",level,,,,,,',
    ]


def test_a_file_is_the_element_with_a_size(study):
    element = style.svg(figures.ranges(study).figure, "ranges-0", "a < b")
    root = ElementTree.fromstring(style.svg_file(element))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    width, height = (float(root.attrib[side].removesuffix("pt")) for side in ("width", "height"))
    assert root.attrib["viewBox"] == f"0 0 {width:g} {height:g}"
    assert width == style.WIDTH * 72


def test_every_figure_and_column_is_documented():
    text = DOCUMENT.read_text()
    named = set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))
    assert named == {*figure_list.FIGURES, "embeddings", "repairs", "compute", "phases", *Point._fields}
