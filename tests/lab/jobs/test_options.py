"""The command line's own parts; what it refuses is in tests/test_bad_input.py."""

from pathlib import Path

import pytest

from lab.errors import UserError
from lab.jobs.options import parse, standard_workdir, without_job
from lab.study import parse as study
from tests import tiny_study

STUDY = ["--config=a.py", "--workdir=b", "--save_minutes", "3"]


@pytest.mark.parametrize(
    "job",
    [
        ["--distributed"],
        ["--distributed", "--coordinator=a:1", "--processes=2", "--process=0"],
        ["--distributed=true", "--coordinator", "a:1", "--processes", "2", "-process", "0"],
    ],
)
def test_a_part_of_a_job_runs_the_study_without_the_jobs_options(job):
    assert without_job([*job, *STUDY]) == STUDY
    assert without_job([*STUDY, *job]) == STUDY


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--repair_steps=3000000000", "must be a whole number from 0 to 1,073,741,823"),
        ("--repair_steps=nan", "must be a whole number"),
        ("--save_minutes=nan", "must be a number from 0 to 10,080"),
        ("--save_minutes=inf", "must be a number from 0 to 10,080"),
        ("--save_minutes=", "must be a number"),
        ("--chunk=1000000000000", "must be a whole number from 0 to 65,536"),
        ("--chunk=-1", "must be a whole number"),
        ("--chunk=2.5", "must be a whole number"),
        ("--looks=nan", "must be a whole number from 2 to 9"),
        ("--precision=nan", r"must be a number from 0\.001 to 1"),
        ("--processes=99999999", "must be a whole number from 1 to 65,536"),
        ("--only=both", "only"),
        ("--plan=perhaps", "plan"),
        ("--workdir=", "--workdir is empty"),
        ("--steps=100", r"unknown option '--steps'; .* --config\.steps\.train"),
        ("--seed=3", r"unknown option '--seed'"),
        ("--chunks=3", r"Nearest: --chunk"),
        ("--config.steps.train", r"write --config\.steps\.train=VALUE"),
        ("--config.model.layers=100000", None),
    ],
)
def test_an_option_that_is_wrong_is_one_sentence(argument, message):
    arguments = ["run.py", "--config=tests/tiny_study.py", argument]
    if message is None:  # the schema says so, once sweep() has run
        assert parse(arguments).config.model.layers == 100_000
        return
    with pytest.raises(UserError, match=message) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)
    assert argument.strip("-").partition("=")[0].split(".")[0] in str(caught.value)


def test_overrides_reach_the_config_and_the_last_one_counts():
    options = parse(
        ["run.py", "--config.steps.train=60", "--config=tests/tiny_study.py", "--config.steps.train=70", "--chunk=3"]
    )
    assert (options.config.steps.train, options.chunk) == (70, 3)
    assert options.config.is_locked
    assert parse(["run.py", "--config=tests/tiny_study.py"]).chunk == 0  # nothing stays of an earlier command line


@pytest.mark.parametrize("coordinator", ["host0", "host0:", ":12", "host 0:12", "host0:123456"])
def test_a_coordinator_is_a_host_and_a_port(coordinator):
    with pytest.raises(UserError, match="HOST:PORT"):
        parse(["run.py", "--config=tests/tiny_study.py", "--distributed", f"--coordinator={coordinator}"])


def test_a_study_lives_below_runs_whatever_its_variant_is_called():
    file = Path("ablations/pruning.py")
    assert standard_workdir(file, "") == Path("runs/pruning")
    assert standard_workdir(file, "quick") == Path("runs/pruning-quick")
    for variant in ("../../x", "/etc", "a\0", "v" * 300):
        found = standard_workdir(file, variant)
        assert found.parts[:-1] == ("runs",)
        assert found.name.startswith("pruning-")
        assert len(found.name) <= 200


def test_the_views_of_a_large_grid_are_whole_where_asked():
    assert not parse(["run.py", "--config=tests/tiny_study.py"]).full_views
    assert parse(["run.py", "--config=tests/tiny_study.py", "--full_views"]).full_views


@pytest.mark.parametrize("name", ["None", "np.array([])", "np.array(['a', 'b'])", "b''", "0"])
def test_a_name_that_is_no_text_is_refused_with_the_fields(tmp_path, name):
    file = tmp_path / "odd.py"
    lines = (
        "import numpy as np",
        "from lab.study.loader import load",
        f"tiny = load(__import__('pathlib').Path({str(Path(tiny_study.__file__))!r}))",
        "sweep = tiny.sweep",
        "def get_config():",
        "    config = tiny.get_config()",
        "    with config.ignore_type():",
        f"        config.name = {name}",
        "    return config",
    )
    file.write_text("\n".join(lines))
    options = parse(["run.py", f"--config={file}"])
    with pytest.raises(UserError, match=r"config\.name"):
        study.parse(options.config, options.grid(), ())
