"""Maps: what is drawn against the results it is drawn from, and awkward studies."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from analysis.report import heatmaps
from analysis.report.projections import Embedding, Plane, View
from tests.analysis import synthetic_study

rng = np.random.default_rng(0)
TITLES = {
    "128 facts": "facts/iid",
    "products in Z6": "z6/iid",
    "addition mod 31": "addition/iid",
    "path-star": "path_star/iid",
}


def rows(picture):
    return list(csv.DictReader(io.StringIO(picture.to_csv())))


@pytest.fixture(scope="module")
def two_knobs():
    _, findings = synthetic_study.everything(strata=True)
    return findings, heatmaps.phases(findings)


@pytest.mark.slow
def test_a_phase_diagram_holds_the_iqm_of_every_setting(two_knobs):
    findings, picture = two_knobs
    results = findings.results
    panels = {TITLES[ax.get_title(loc="left")]: ax for ax in picture.figure.axes if ax.images}
    assert set(panels) == {*TITLES.values()}
    table, cells = rows(picture), results.study.cells
    for name, ax in panels.items():
        assert [tick.get_text().partition("\n")[0] for tick in ax.get_yticklabels()] == ["global", "layerwise"]
        drawn_RxK = np.asarray(ax.images[0].get_array())
        for row, scope in enumerate(("global", "layerwise")):
            for k, value in enumerate(synthetic_study.SPARSITIES):
                chosen = [
                    i for i, cell in enumerate(cells) if (cell["prune.scope"], cell["prune.sparsity"]) == (scope, value)
                ]
                floor = next(bound.trivial for bound in findings.primary if f"{bound.label}/{bound.split}" == name)
                accuracy = results.columns[f"{name}/exact"][chosen, -1]
                expected = stats.trim_mean(np.where(results.diverged_at[chosen] < 0, accuracy, floor), 0.25)
                assert drawn_RxK[row, k] == pytest.approx(expected)
                (line,) = [
                    line for line in table
                    if (line["panel"], line["series"], line["x"]) == (name, f"prune.scope = {scope}", f"{value:g}")
                ]  # fmt: skip
                assert float(line["y"]) == pytest.approx(expected, rel=1e-6)


def test_the_bounds_are_lines_at_their_settings(two_knobs):
    findings, picture = two_knobs
    knob_K = synthetic_study.SPARSITIES
    count = 0
    for ax in (ax for ax in picture.figure.axes if ax.images):
        mine = [
            bound for bound in findings.primary if f"{bound.label}/{bound.split}" == TITLES[ax.get_title(loc="left")]
        ]
        lines = {line.get_color(): line for line in ax.lines}
        for row, bound in enumerate(mine):
            for colour, value, side in (
                (heatmaps.BLUE, bound.free_until, 1),
                (heatmaps.VERMILLION, bound.harmful_from, -1),
            ):
                at = float(lines[colour].get_xdata()[2 * row])
                if not bound.learned or value is None:
                    assert np.isnan(at)
                    continue
                assert round(at) == knob_K.index(value)
                assert np.sign(at - round(at)) == side
                count += 1
    assert count >= 6
    broken = [one for one in findings.claims if one.verdict.break_at is not None]
    breaks = {
        (f"{one.label}/{one.split}", f"break (prune.scope = {one.stratum['prune.scope']})", f"{value:.7g}")
        for one, value in ((one, one.verdict.break_at) for one in broken)
    }
    assert {(line["panel"], line["series"], line["x"]) for line in rows(picture) if "break" in line["series"]} == breaks
    assert breaks


def embedding(classes=20, nan=False):
    labels_N = rng.integers(0, classes, 1024) ** 2 // classes  # unequal frequencies
    views = []
    for role in ("neutral", "halfway", "farthest"):
        points_Nx2 = rng.normal(size=(1024, 2))
        views.append(View(role, float(len(views)) / 2, 0.9, Plane(points_Nx2, np.asarray([0.6, 0.1]), 2.0)))
    if nan:
        bad = [Plane(np.full((1024, 2), np.nan), np.full(2, np.nan), spread) for spread in (np.nan, 0.0)]
        views = [views[0], *(View("farthest", 1.0, np.nan, plane) for plane in bad)]
    return Embedding({}, "z6", "iid", 0, "state", labels_N, tuple(views))


def test_an_embedding_says_what_it_draws():
    one = embedding()
    picture = heatmaps.embeddings(synthetic_study.study(), [one])
    table = [line for line in rows(picture) if line["panel"] == "z6, prune.sparsity = 0.5"]
    points = [line for line in table if line["series"].startswith("state = ")]
    assert len(points) == heatmaps.POINTS
    printed = sorted(
        (int(line["series"].removeprefix("state = ")), float(line["x"]), float(line["y"])) for line in points
    )
    drawn_Nx2 = one.views[1].plane.points_Nx2[: heatmaps.POINTS]
    expected = sorted((int(c), x, y) for c, (x, y) in zip(one.labels_N, drawn_Nx2, strict=False))
    np.testing.assert_allclose(printed, expected, rtol=1e-6)
    on_paper = sorted((x, y) for line in picture.figure.axes[1].lines for x, y in line.get_xydata())
    np.testing.assert_allclose(on_paper, sorted(map(tuple, drawn_Nx2)))
    assert picture.figure.axes[1].get_xlabel() == "60% of variance"
    legend = picture.figure.axes[2].get_legend()
    counts = np.bincount(one.labels_N)
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == heatmaps.COLOURED + 1
    assert min(counts[int(text)] for text in labels[:-1]) >= max(
        count for label, count in enumerate(counts) if str(label) not in labels
    )
    assert labels[-1] == f"{(counts > 0).sum() - heatmaps.COLOURED} more"


def test_a_point_far_out_does_not_shrink_the_others():
    one = embedding()
    one.views[1].plane.points_Nx2[3] = 400.0
    axes = heatmaps.embeddings(synthetic_study.study(), [one]).figure.axes
    assert 2.0 < axes[0].get_xlim()[1] < 5.0
    assert " beyond the edge" in "".join(text.get_text() for text in axes[1].texts)


def test_cells_that_cannot_be_drawn_say_why():
    picture = heatmaps.embeddings(synthetic_study.study(), [embedding(classes=3, nan=True)])
    said = [text.get_text() for ax in picture.figure.axes for text in ax.texts]
    assert "diverged" in said
    assert "no spread" in said
    assert not [line for line in rows(picture) if line["panel"] == "z6, prune.sparsity = 1"]
