"""TensorBoard's runs of planted results: a run a setting, in the knob's order, with what the claim is about."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.report import figure_list, tensorboard, write
from tests.analysis import synthetic_study


def opened(directory):
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def test_tensorboard_has_a_run_a_setting_in_the_order_of_the_knob(views):
    workdir, results = views[0], views[2].results
    names = sorted(path.name for path in (workdir / "tb").iterdir())
    settings = [f"{index:02d} prune.sparsity={value:g}" for index, value in enumerate(synthetic_study.SPARSITIES)]
    assert names == [*settings, "figures"]
    run = opened(workdir / "tb" / settings[5])  # at which a cell diverged: it has the trivial ability
    points = {p.step: p.value for p in run.Scalars("facts/accuracy iid")}
    assert {*results.step[4:].tolist()} < points.keys()  # the settings part at 2,000 steps
    mine = [i for i, cell in enumerate(results.study.cells) if cell["prune.sparsity"] == 0.5]
    floor = next(one.trivial for one in views[2].primary if one.label == "facts")
    values = np.where(results.diverged_at >= 0, floor, results.columns["facts/iid/exact"][:, -1])[mine]
    assert floor in values
    values = np.sort(values)
    assert points[2200] == pytest.approx(values[2:-2].mean())
    assert run.Scalars("quartiles/facts accuracy iid q25")[-1].value == pytest.approx(np.quantile(values, 0.25))
    groups = {tag.split("/")[0] for tag in run.Tags()["scalars"]}
    assert groups == {"addition", "facts", "path_star", "z6", "quartiles", "training"}
    assert len(run.Tags()["scalars"]) <= tensorboard.MAX_TAGS


def test_what_settings_share_is_in_the_neutral_run_alone(views):
    step, (neutral, *others) = views[2].results.step, tensorboard.settings(views[2], {}, {})[:-1]
    shared = {one.tag: one for one in neutral.series if one.tag.startswith("shared training/")}
    assert {*step[:5].tolist()} < {*shared["shared training/facts accuracy iid"].steps}
    assert "shared training/training loss" in shared
    assert not [one.tag for run in others for one in run.series if one.tag.startswith("shared")]
    assert {min(one.steps) for run in others for one in run.series} == {step[4]}


def test_tensorboard_has_the_pictures_in_the_reports_order(views):
    run = opened(views[0] / "tb" / "figures")
    assert run.Tags()["scalars"] == []
    names = [*figure_list.FIGURES, "repairs"]
    assert run.Tags()["images"] == [f"figures/{index:02d} {name}" for index, name in enumerate(names)]
    assert "answer and verdicts/text_summary" in run.Tags()["tensors"]


def test_hparams_have_a_row_a_setting_and_what_the_claim_is_about(views):
    runs = tensorboard.settings(views[2], {}, {})
    assert [run.hparams for run in runs[:-1]] == [{"prune.sparsity": value} for value in synthetic_study.SPARSITIES]
    assert not runs[-1].hparams
    columns = tensorboard.metrics(views[1].study)
    assert len(columns) == 4 + 12
    assert {*columns} < {series.tag for series in runs[0].series}


def test_a_line_between_two_points_is_straight_and_has_points_in_it():
    step_P, values_PxK = tensorboard.dense_line(np.asarray([10, 12, 112]), np.asarray([[0.0], [np.nan], [1.0]]))
    assert (step_P[0], step_P[-1], len(step_P)) == (10, 112, tensorboard.POINTS + 1)
    assert {10, 11, 12, 112} < {*step_P.tolist()}
    assert {*step_P[np.isfinite(values_PxK[:, 0])].tolist()} == {10, 112}
    step_P, values_PxK = tensorboard.dense_line(np.asarray([0, 100]), np.asarray([[0.0, 1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(values_PxK, np.stack([step_P / 100, np.ones(len(step_P))], axis=1))
    step_P, values_PxK = tensorboard.dense_line(np.asarray([7]), np.asarray([[0.5]]))
    assert (step_P.tolist(), values_PxK.tolist()) == ([7], [[0.5]])


@pytest.mark.parametrize("step", [(0, 100, 200), (0, 1, 2), (0, 10, 20, 40, 80, 160, 320, 640, 1000)])
def test_the_smoothing_that_tensorboard_begins_with_bends_no_curve(step):
    """Debiased, as in TensorBoard's frontend (`classicSmoothing`), of a fall from 1 to 0 in the last interval."""
    given = np.asarray([1.0] * (len(step) - 1) + [0.0])[:, None]
    _, values_PxK = tensorboard.dense_line(np.asarray(step), given)
    smooth, last = [], 0.0
    for count, value in enumerate(values_PxK[:, 0], start=1):
        last = 0.6 * last + 0.4 * value
        smooth.append(last / (1 - 0.6**count))
    assert smooth[-1] < 0.1


def test_too_many_readings_drop_the_unclaimed_first(views, monkeypatch):
    monkeypatch.setattr(tensorboard, "MAX_TAGS", 70)
    run = tensorboard.settings(views[2], {}, {})[1]
    assert 0 < len(run.series) <= 70
    assert all(("accuracy iid" in s.tag or "latent" in s.tag) for s in run.series[:48])


def test_the_report_prints_the_command_of_this_run(views):
    facts = write.run_facts({}, ["run.py"], [], Path("runs/ab"))
    assert facts["tensorboard"].endswith("tensorboard --logdir runs/ab/tb")
    content = write._content(views[2], views[1], facts) | {"whole": [], "figures": {0: []}}
    for page in ("report.html", "report.md"):
        assert "tensorboard --logdir tb" in (views[0] / page).read_text()
        assert facts["tensorboard"] in write._render(page, content, escape=page.endswith("html"))


@pytest.mark.parametrize("on_path", [True, False])
def test_the_command_is_that_of_this_environment(on_path, monkeypatch, tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "tensorboard"):
        (tmp_path / ".venv" / "bin" / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tensorboard.sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr(tensorboard.shutil, "which", lambda name: name if on_path else None)
    program = "tensorboard" if on_path else ".venv/bin/tensorboard"
    assert tensorboard.command(Path("runs/x/tb")) == f"{program} --logdir runs/x/tb"
