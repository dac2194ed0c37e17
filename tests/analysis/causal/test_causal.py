"""The command on a trained work directory: what it writes, what the study's labels read of it, what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.activations.measure import claim_site
from analysis.causal import effects
from analysis.causal.__main__ import cuts_of, main
from analysis.causal.activation_edits import Cut
from analysis.results import intervention_record, records
from lab.errors import UserError
from tests.lab.conftest import study_of, tiny_config


@pytest.fixture(scope="module")
def workdir(recorded, tmp_path_factory):
    """A copy of the tiny study's work directory, which the command writes to."""
    return Path(shutil.copytree(recorded[2], tmp_path_factory.mktemp("interventions") / "work"))


@pytest.mark.slow
def test_the_command_writes_what_it_found_and_evidence_is_read_back(workdir, tmp_path, capsys):
    assert main([str(workdir), "--label=facts", f"--out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    study = analysis.open_study(workdir).study
    assert "facts/layer1/answer: factor value, 3 of 16 dimensions; settings of prune.sparsity" in printed
    rows = list(csv.DictReader((tmp_path / "interventions.csv").read_text().splitlines()))
    assert [(float(row["prune.sparsity"]), int(row["seed"])) for row in rows] == [
        (cell["prune.sparsity"], cell["seed"]) for cell in study.cells
    ]
    bases = list(csv.DictReader((tmp_path / "interventions_bases.csv").read_text().splitlines()))
    assert {row["prune.sparsity"] for row in bases} == {"0.0"}
    assert len(bases) == 3 * 6
    assert (tmp_path / "interventions.svg").read_text().count("facts/layer1/answer") >= 1
    loaded = intervention_record.load(tmp_path, study)
    exact = np.asarray([float(row["remove/none/exact"]) for row in rows])
    np.testing.assert_allclose(loaded["facts/remove/none/exact"], exact, rtol=1e-5)
    assert not [name for name in loaded if name.startswith("word/")]


def test_evidence_is_kept_by_place_and_taken_for_the_same_checkpoints_only(workdir, tmp_path):
    study = analysis.open_study(workdir).study
    values = {"remove/none/exact": np.arange(6.0)}
    place = claim_site(study, "facts")
    intervention_record.save(tmp_path, study, place, "value", values)
    intervention_record.save(
        tmp_path, study, claim_site(study, "word"), "last", values
    )  # not the factor that is probed
    found = intervention_record.load(tmp_path, study)
    assert list(found) == ["facts/remove/none/exact"]
    np.testing.assert_array_equal(found["facts/remove/none/exact"], np.arange(6.0))
    config = tiny_config()
    config.evaluation.examples = 32
    assert intervention_record.load(tmp_path, study_of(config)) == {}
    for text, damaged in (("{", 1), ("[1]", 1), (json.dumps({"version": -1, "places": {}}), 0)):
        notes = []
        (tmp_path / intervention_record.FILE).write_text(text)
        assert intervention_record.load(tmp_path, study, notes.append) == {}
        assert len(notes) == damaged
        assert all("interventions.json" in note and "analysis.causal" in note for note in notes)


def test_the_records_of_a_study_hold_what_was_kept_of_edited_activations(trained, tmp_path):
    plan, _, _ = trained
    intervention_record.save(
        tmp_path, plan.study, claim_site(plan.study, "facts"), "value", {"dimension": np.arange(6.0)}
    )
    found = records.read(tmp_path, plan.study).activation_edits
    assert list(found) == ["facts/dimension"]
    np.testing.assert_array_equal(found["facts/dimension"], np.arange(6.0))


def test_the_table_says_what_a_planted_difference_is(workdir):
    study = analysis.open_study(workdir).study
    cut = Cut.at(claim_site(study, "facts"), study.tasks[0])
    far = np.asarray([cell["prune.sparsity"] > 0 for cell in study.cells])
    names = [f"remove/{k}/{r}" for k in ("none", "factor", "random", "matched") for r in ("exact", "probe")]
    names += [f"swap/{k}/follows" for k in ("factor", "random", "whole")]
    readings = {name: np.full(6, 0.9) for name in names} | {
        "dimension": np.full(6, 3.0),
        "swap/pairs": np.full(6, 99.0),
    }
    readings["remove/factor/exact"] = np.where(far, 0.9, 0.4)
    one = effects.EditEffects(cut, readings, {})
    np.testing.assert_allclose(one.harm(study, {}).values_SxK, [[0.5, 0.0]] * 3)
    assert effects.paired_p(one.harm(study, {})).tolist() == [0.125, 1.0]
    assert " 0.50 ( 0.50 to  0.50)" in effects.table(study, one)
    without = effects.EditEffects(cut, readings | {"swap/pairs": np.zeros(6)}, {})
    assert "No swaps" in effects.table(study, without)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label=fact"], "label='fact': no such task. Nearest: facts"),
        (["--label=facts", "--layer=5"], "layer=5: layer 5 must lie in [-2, 1]"),
        (["--label=facts", "--read=lst"], "read='lst': no such read position of 'facts'"),
        (["--factor=frequency"], "--factor=frequency: 'word' has no such factor"),
    ],
)
def test_what_the_study_does_not_have_is_one_sentence(options, message, workdir, tmp_path, capsys):
    assert main([str(workdir), f"--out={tmp_path}", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_work_directory_and_one_that_cannot_be_written(workdir, tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "has no study.json" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([str(workdir), "--label=facts", f"--out={tmp_path / 'file'}"]) == 2
    assert "file" in capsys.readouterr().err


def test_models_whose_tokens_pass_a_layer_twice_are_refused():
    class Opened:
        path = "somewhere"
        study = study_of()

    config = tiny_config()
    config.knobs = dict(config.knobs, loop=dict(turns=2))
    Opened.study = study_of(config)
    with pytest.raises(UserError, match="loop over their blocks"):
        cuts_of(Opened(), None, None, None, None)
