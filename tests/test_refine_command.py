"""`run.py --refine` from start to end: a study grows, is read back with what it spent, and isn't refined by hand."""

import json

import pytest

import analysis
from tests.run_commands import commands
from tests.test_bad_input import ROOT, assert_one_sentence, command

STUDY = """
from lab.study.grid import axis, product
from tests import tiny_study


def get_config():
    config = tiny_study.get_config()
    config.steps, config.saves, config.seeds = dict(train=100, prune=10), dict(train=1, prune=1), 6
    return config


def sweep(config):
    sparsities = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.95)
    return product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", range(config.seeds)))
"""


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    """The work directory and what the first run printed."""
    root = tmp_path_factory.mktemp("refined")
    (root / "study.py").write_text(STUDY)
    done = run(root, "--refine", "--looks=2", "--precision=0.2")
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def run(root, *arguments):
    return command(f"--config={root / 'study.py'}", f"--workdir={root / 'work'}", *arguments, timeout=400)


@pytest.mark.e2e
def test_a_study_grows_by_what_is_open(refined):
    root, printed = refined
    looks = json.loads((root / "work" / "looks.json").read_text())
    assert looks["seeds"] == [[*range(6)], [*range(9)]]
    assert looks["shares"] == pytest.approx([6 / 9, 3 / 9])
    assert "refining: adding 3 seeds" in printed
    assert "refined: 2 of 2 looks, 9 seeds" in printed
    assert "54/81 cells" in printed  # the first look's are not trained again
    study = analysis.open_study(root / "work")
    assert len(study.cells) == 9 * (9 + len(looks["added"]))
    assert study.verdicts["refinement"]["seeds"] == [6, 9]


@pytest.mark.e2e
def test_without_the_flag_a_refined_study_is_only_shown_again(refined):
    root, _ = refined
    before = (root / "work" / "verdicts.json").read_bytes()
    (root / "work" / "verdicts.json").unlink()
    done = run(root)
    assert done.returncode == 0, done.stderr
    assert "Everything is trained" in done.stdout
    assert (root / "work" / "verdicts.json").read_bytes() == before
    assert "Refined: looked at 2 of at most 2 times, at 6, 9 seeds" in (root / "work" / "report.md").read_text()


@pytest.mark.e2e
def test_what_was_fixed_before_the_first_look_stays(refined):
    root, _ = refined
    assert_one_sentence(run(root, "--refine", "--looks=3"), "--looks=3: 2 were planned before the first")
    assert_one_sentence(run(root, "--config.seeds=7"), "let --refine add to them")


def test_options_without_refine(tmp_path):
    study = f"--config={ROOT / 'tests' / 'tiny_study.py'}"
    with commands() as quick:
        assert_one_sentence(quick(study, "--looks=3"), "add --refine")
        assert_one_sentence(quick(study, "--refine", f"--workdir={tmp_path}"), "with 2 seeds p can't fall below 0.25")
        assert_one_sentence(quick(study, "--refine", "--looks=1"), "--looks")
