"""`run.py --config=ablations/pruning.py:babi` from files to report: trained, read back, found after a move."""

import csv
import json
import shutil

import pytest

import analysis
from analysis.gallery.kept import Run, keep
from lab.errors import UserError
from lab.storage import read_document, write_document
from tests.tasks.text.made_up import write_babi
from tests.test_bad_input import assert_one_sentence, command

SMALL = (
    *("--config.steps.train=50", "--config.steps.prune=50", "--config.saves.train=1"),
    *("--config.model.width=16", "--config.model.layers=1", "--config.model.heads=2", "--config.model.mlp_width=16"),
    *("--config.seeds=2", "--config.sparsities=(0.0, 0.5)", "--config.tasks.babi.examples=4"),
    *("--config.evaluation.examples=5", "--config.probe.examples=1024"),
)


def run(root, *arguments, data="babi"):
    options = ("--config=ablations/pruning.py:babi", f"--config.data_dir={root / data}", f"--workdir={root / 'work'}")
    return command(*options, *SMALL, *arguments, timeout=400)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The files (babi), the same elsewhere (moved/babi), others (changed), and a finished study on the first (work)."""
    root = tmp_path_factory.mktemp("published")
    write_babi(root / "babi")
    shutil.copytree(root / "babi", root / "moved" / "babi")
    shutil.copytree(root / "babi", root / "changed")
    file = root / "changed" / "en" / "qa1_made-up_test.txt"
    file.write_text(file.read_text().replace("quay", "pier").replace("barn", "den"))
    done = run(root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.e2e
def test_the_report_says_what_was_asked(root):
    report = (root / "work" / "report.md").read_text()
    assert "published 'test', 5 items" in report
    assert "questions of 'test' that train has, too: 1" in report
    rows = [*csv.DictReader((root / "work" / "results.csv").read_text().splitlines())]
    assert {round(5 * float(row["babi/iid/exact"]), 4) for row in rows} <= {0, 1, 2, 3, 4, 5}


@pytest.mark.e2e
def test_the_files_may_move_but_not_change(root):
    done = run(root, data="moved")
    assert done.returncode == 0, done.stderr
    assert "Everything is trained" in done.stdout
    assert_one_sentence(run(root, data="changed"), "are not the ones that it trained on")
    assert run(root).returncode == 0  # and back


@pytest.mark.e2e
def test_a_study_is_read_back_while_its_files_are_there(root):
    study = analysis.open_study(root / "work")
    assert [use.task.name for use in study.study.tasks] == ["babi"]


@pytest.mark.e2e
def test_a_study_is_not_read_back_with_other_files_or_none(root, tmp_path):
    record = read_document(root / "work" / "study.json")
    assert str(root) not in json.dumps(record["config"])
    record["files"]["babi"]["data_dir"] = str(tmp_path / "gone")
    shutil.copytree(root / "work", tmp_path / "work")
    shutil.copytree(root / "babi", tmp_path / "gone")
    write_document(tmp_path / "work" / "study.json", record)
    assert analysis.open_study(tmp_path / "work").study.tasks
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(UserError, match=r"can't be read back by this version: config.tasks.babi: .*gone"):
        analysis.open_study(tmp_path / "work")
    shutil.copytree(root / "changed", tmp_path / "gone")
    with pytest.raises(UserError, match=r"study.json: the files of config.tasks.babi in .* restore them"):
        analysis.open_study(tmp_path / "work")


@pytest.mark.e2e
def test_the_report_names_the_benchmark_as_it_is(root):
    report = (root / "work" / "report.md").read_text()
    assert "4 small transformers on published benchmarks, each of which learns one task" in report
    assert "*bAbI*: Short stories with questions in between, 20 parts." in report
    assert "synthetic" not in report


@pytest.mark.e2e
def test_the_gallery_keeps_no_study_whose_files_it_would_not_have(root, tmp_path):
    run = Run("pruning.py:babi", "0" * 40, "2026-12-01", 1.0, "none")
    with pytest.raises(UserError, match=r"trained on the files of babi, which are not kept with it"):
        keep(root / "work", tmp_path / "kept", run)
    assert not (tmp_path / "kept").exists()
