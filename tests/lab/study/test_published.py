"""Studies on published benchmarks: named on the command line, keyed by content, evaluated on every item of the test."""

import dataclasses
import re
import shutil
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.metrics.registry import METRICS
from lab.engine import evaluate
from lab.errors import UserError
from lab.study import axis, loader, product, study_config, tuned
from lab.study.fields import override
from lab.study.parse import parse
from lab.study.published import files_of
from tests import tiny_study
from tests.tasks.text.made_up import LETTERED, STORY, put, write_babi, write_scan

STUDIES = [path for path in loader.studies(loader.ABLATIONS) if path.name != "pretrained.py"]
PRUNING = f"{loader.ABLATIONS / 'pruning.py'}:babi"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_babi(tmp_path_factory.mktemp("files"))


def study_on(folder, grid=None, stages=None, **fields):
    """The tests' tiny study with bAbI next to its own tasks."""
    config = tiny_study.get_config()
    config.tasks.babi = dict(task="babi", data_dir=str(folder), examples=stages or 4, **fields)
    config.claim.abilities = ("babi/iid",)
    return parse(
        config, grid or product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("seed", range(2))), METRICS
    )


def sentence(path):
    """What a study says to a benchmark in place of its tasks; '' if it takes it."""
    try:
        config = loader.get_config(f"{path}:babi")
    except UserError as error:
        return str(error)
    assert list(config.tasks) == ["babi"]
    assert config.claim.abilities == ("babi/iid",)
    assert config.name.endswith("_babi")
    return ""


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_can_be_asked_of_a_benchmark_or_says_why_not(path):
    assert re.fullmatch(r"|.*:babi: its .* own tasks, so that 'babi' can't .* in config.tasks\.", sentence(path))


def test_most_studies_can():
    assert sum(not sentence(path) for path in STUDIES) > len(STUDIES) / 2


def test_named_on_the_command_line(folder):
    config = loader.get_config(PRUNING)
    override(config, "data_dir", str(folder))
    override(config, "tasks.babi.part", "1")
    study = parse(config, loader.load(loader.ABLATIONS / "pruning.py").sweep(config), METRICS)
    assert [use.task.name for use in study.tasks] == ["babi"]
    assert study.notes[1:3] == (
        "config.tasks.babi: questions of 'test' that train has, too: 1.",
        "config.tasks.babi: 'iid' has 5 items for config.probe.examples=1,024, so that latents are read on some of them"
        " more than once.",
    )


def test_a_variant_that_is_no_benchmark_is_still_unknown():
    with pytest.raises(UserError, match=r"unknown variant ':bab'"):
        loader.get_config(f"{loader.ABLATIONS / 'pruning.py'}:bab")


def test_without_a_folder_the_sentence_names_the_field():
    config = loader.get_config(PRUNING)
    with pytest.raises(
        UserError, match=r"config.tasks.babi: babi: no folder of its files; give it as --config.data_dir"
    ):
        parse(config, loader.load(loader.ABLATIONS / "pruning.py").sweep(config), METRICS)


@pytest.mark.parametrize(
    ("study", "what"),
    [
        ("transfer.py", "its claim names places of its own tasks"),
        ("gallery/composition_after_skills.py", "its knobs are fields of its own tasks"),
        ("shortcut.py", "its axes are fields of its own tasks"),
        ("gallery/too_hard_samples.py", "its axes are fields of its own tasks"),
        ("pretrained.py", "this study trains on no tasks"),
    ],
)
def test_a_study_that_is_about_its_own_tasks_says_so(study, what):
    with pytest.raises(UserError, match=rf"{study}:babi: {what}, so that 'babi' can't take their place"):
        loader.get_config(f"{loader.ABLATIONS / study}:babi")


def test_the_question_is_about_the_benchmark():
    config = loader.get_config(f"{loader.ABLATIONS / 'gallery' / 'facts_or_context.py'}:babi")
    assert config.question == (
        "What does prune.sparsity do to latents and ability on bAbI: short stories with questions in between, 20 parts?"
    )


def test_a_folder_in_the_home_directory_is_recorded_as_what_it_is(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    study = study_on(f"~/{folder.name}")
    assert files_of(study.tasks)["babi"]["data_dir"] == str(folder)
    assert study.cell_keys == study_on(folder).cell_keys


def test_keys_name_the_content_and_no_folder(folder, tmp_path):
    moved, changed = tmp_path / "moved", tmp_path / "changed"
    shutil.copytree(folder, moved)
    shutil.copytree(folder, changed)
    file = changed / "en" / "qa1_made-up_test.txt"
    file.write_text(file.read_text().replace("quay", "pier"))
    keys = [study_on(place).cell_keys for place in (folder, moved, changed)]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
    assert not set(keys[0]) & set(study_on(folder, limit=40).cell_keys)


def test_an_evaluation_asks_the_whole_test_once(folder):
    study = study_on(folder)
    evaluation = next(e for e in evaluate.evaluations(study) if ("babi", "iid") in e.splits)
    evaluation = dataclasses.replace(evaluation, examples=5)
    for seed in (0, 1):
        worlds = study.mixture.worlds(jax.random.key(seed))
        examples = evaluate.examples_of(evaluation, jnp.int32(seed), worlds, "babi", "iid")
        assert Counter(map(bytes, np.asarray(examples.tokens))).most_common(1)[0][1] == 1


def test_a_stage_of_its_own(folder):
    """Synthetic first, then the benchmark: two stages of one claim."""
    study = study_on(folder, stages=dict(train=0, prune=8))
    assert study.use("babi").examples == (0, 8)


def test_sizes_of_a_benchmark_are_axes(folder):
    grid = product(
        axis("task.babi.limit", (0, 60)), axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("seed", range(2))
    )
    study = study_on(folder, grid)
    assert len(study.task_settings) == 2


def test_no_setting_is_chosen_on_a_published_test(folder, tmp_path):
    grid = product(
        axis("prune.sparsity", (0.0, 0.5), stage="prune"),
        tuned(axis("optimizer.learning_rate", (1e-3, 3e-3), stage="prune")),
        axis("seed", range(2)),
    )
    with pytest.raises(UserError, match=r"'optimizer.learning_rate' is tuned away, and bAbI has no validation split"):
        study_on(folder, grid)
    for split in ("train", "dev", "test"):
        put(tmp_path, f"{split}.json", LETTERED)
    config = tiny_study.get_config()
    config.tasks.proofs = dict(task="proofwriter", data_dir=str(tmp_path), examples=4)
    study = parse(config, grid, METRICS)
    assert "proofs/tuning" in evaluate.names(study)


def test_two_benchmarks_lie_in_folders_of_their_names(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "babi")
    (tmp_path / "scan").mkdir()
    write_scan(tmp_path / "scan")
    config = loader.get_config(PRUNING)
    config.tasks.scan = dict(task="scan", examples=4)
    override(config, "data_dir", str(tmp_path))
    study = parse(config, loader.load(loader.ABLATIONS / "pruning.py").sweep(config), METRICS)
    assert [use.label for use in study.tasks] == ["babi", "scan"]


def test_the_example_of_the_page_is_two_stages(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "text.md").read_text()
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    names = {"study_config": study_config}
    exec(code, names)
    config = names["config"]
    put(tmp_path, "babi/en-10k/qa2_made-up_train.txt", STORY * 2)
    put(tmp_path, "babi/en-10k/qa2_made-up_test.txt", STORY)
    config.stages, config.steps, config.saves = ("train", "tune"), dict(train=50, tune=50), dict(train=1, tune=1)
    config.question, config.claim.knob, config.data_dir = "?", "weight_decay.rate", str(tmp_path)
    config.claim.gains, config.claim.abilities = dict(participation_ratio=-1), ("babi/iid",)
    study = parse(config, product(axis("weight_decay.rate", (0.0, 0.1)), axis("seed", range(2))), METRICS)
    assert {use.label: use.examples for use in study.tasks} == {"recall": (32, 0), "babi": (0, 32)}
