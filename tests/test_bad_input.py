"""What bad input gets: one sentence with the field and the fix, before anything compiles; no traceback."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import UserError
from lab.study import axis, product
from tests.lab.conftest import study_of, tiny_config, tiny_sweep
from tests.run_commands import commands

ROOT = Path(__file__).parent.parent


def command(*arguments, cwd=ROOT, timeout=60):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def quick_command():
    """`command` without the seconds of a start, for what trains nothing."""
    with commands() as quick:
        yield quick


def assert_one_sentence(done, message):
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def changed(**fields):
    config = tiny_config()
    for path, value in fields.items():
        target, *rest = path.split("__")
        holder = config
        for name in rest:
            holder, target = holder[target], name
        with holder.ignore_type():
            holder[target] = value
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dict(tasks__facts__task="fact"), r"config\.tasks\.facts: unknown task 'fact'.*facts"),
        (dict(tasks__facts__fcts=3), r"config\.tasks\.facts: .*no field 'fcts'.*facts"),
        (dict(tasks__word__group="Z7"), r"config\.tasks\.word: .*group"),
        (dict(tasks__facts__examples=0), r"config\.tasks\.facts\.examples=0 must be a whole number"),
        (dict(tasks__facts__probe="idd"), r"config\.tasks\.facts\.probe: no split 'idd'.*iid"),
        (dict(tasks__word__probe="length"), r"no split 'length' no longer than training"),
        (dict(tasks__facts__factor="valu"), r"config\.tasks\.facts\.factor: unknown factor 'valu'.*value"),
        (
            dict(claim__gains={"participation_ration": -1}),
            r"unknown metric 'participation_ration'.*participation_ratio",
        ),
        (dict(claim__gains={"two_nn": 2}), r"config\.claim\.gains\.two_nn=2 must be 1 .* or -1"),
        (dict(claim__abilities=("facts/idd",)), r"no split 'idd'.*iid"),
        (dict(claim__abilities=("fact/iid",)), r"no task 'fact'.*facts"),
        (dict(claim__abilities=()), r"at least one entry in gains and one in abilities"),
        (dict(claim__knob="prune.sparsty"), r"'prune\.sparsty' is not an axis.*prune\.sparsity"),
        (dict(claim__knob="seed"), r"no order to break along"),
        (dict(claim__alpha=0.0), r"config\.claim\.alpha=0\.0 must lie between"),
        (dict(claim__layer=5), r"config\.claim\.layer: layer 5 must lie in \[-2, 1\]"),
        (dict(claim__layer=0), r"config\.claim\.layer=0 is not measured; add it"),
        (dict(model__heads=3), r"config\.model\.heads=3 must divide config\.model\.width=16"),
        (dict(model__positions="sinus"), r"config\.model\.positions='sinus' must be one of learned"),
        (dict(model__activation="tanh"), r"config\.model\.activation='tanh' must be one of"),
        (dict(model__compute="float16"), r"config\.model\.compute='float16' must be one of float32, bfloat16"),
        (dict(model__products="low"), r"config\.model\.products='low' must be one of highest, high, default"),
        (dict(model__compute="bfloat16", model__products="high"), r"config\.model\.products .* with bfloat16"),
        (dict(steps__train=10), r"config\.steps\.train=10 must be a multiple of config\.call_steps=3"),
        (dict(steps__prun=3), r"config\.steps\.prun: no such stage.*prune"),
        (dict(stages=("train",)), r"config\.steps\.prune: no such stage"),
        (dict(stages=()), r"config\.stages is empty"),
        (dict(stages=("train", "a/b")), r"the name 'a/b' must be made of letters"),
        (dict(schedule__name="cosin"), r"config\.schedule\.name='cosin' must be one of constant, cosine, wsd"),
        (dict(probe__examples=512), r"config\.probe\.examples=512 is too few .* 1024"),
        (dict(evaluation__examples=0), r"config\.evaluation\.examples=0 must be a whole number"),
        (dict(knobs={"weight_decay": {"rat": 0.1}}), r"unknown knob 'weight_decay\.rat'.*weight_decay\.rate"),
        (dict(knobs={"weight_decay": {"rate": -1.0}}), r"out of range; it must lie in \[0, 100\]"),
    ],
)
def test_configs(config, message):
    with pytest.raises(UserError, match=message):
        study_of(changed(**config))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (lambda: product(axis("prune.sparsit", (0.0,))), r"unknown knob 'prune\.sparsit'.*prune\.sparsity"),
        (lambda: product(axis("prune.sparsity", (0.0, 1.5))), r"prune\.sparsity=1\.5 is out of range.*\[0, 1\]"),
        (lambda: product(axis("prune.sparsity", (0.0,), stage=1)), r"stage=1 must be a name"),
        (
            lambda: product(
                axis("prune.sparsity", (0.0, 0.5), stage="prune"),
                axis("prune.scope", ("global", "layerwise"), stage="train"),
            ),
            r"acts from stage 'train', but its mechanism starts at 'prune'",
        ),
        (lambda: product(axis("prune.sparsity", (0.0,), stage="prun")), r"unknown stage 'prun'.*prune"),
        (lambda: product(axis("prune.sparsity", (0.0,)), axis("seed", (0.5,))), r"seed=0\.5 must be a whole number"),
        (
            lambda: product(axis("prune.sparsity", (0.0,)), axis("seed", (0,), stage="prune")),
            r"seed acts from the first",
        ),
    ],
)
def test_grids(grid, message):
    with pytest.raises(UserError, match=message):
        study_of(grid=grid())


def test_a_claim_without_its_neutral_setting_is_refused():
    from analysis.verdicts import check

    with pytest.raises(UserError, match=r"must hold 0, its neutral value"):
        check(study_of(grid=tiny_sweep((0.2, 0.5))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config is missing"),
        (["--config=ablations/prunin.py"], "Nearest: ablations/pruning.py"),
        (["--config=ablations/pruning.py", "--config.steps.trian=5"], "Nearest: config.steps.train"),
        (["--config=ablations/pruning.py", "--config.steps.train=1e3"], "steps.train"),
        (["--config=ablations/pruning.py", "--plam"], "plam"),
        (["--config=ablations/pruning.py:quik"], "unknown variant ':quik'. Nearest: quick"),
        (["--config", "ablations/pruning.py"], "write --config=FILE"),
        (["--config=ablations/pruning.py", "--config.step.train=4"], "Nearest: config.steps.train"),
        (["--config=README.md"], "is not a Python file"),
        (["--config=ablations/pruning.py", "plan"], "unexpected argument 'plan'"),
        (["--list=task"], "tasks"),
        (["--config=ablations/pruning.py", "--shard=3/2"], "write i/n"),
        (["--config=ablations/pruning.py", "--only=analyze"], "there is no study in"),
        (["--config=ablations/pruning.py", "--only=train", "--refine"], "run them without --only=train"),
        (["--config=ablations/pruning.py", "--shard=1/2", "--only=analyze"], "leave --shard out"),
        (["--config=ablations/pruning.py", "--distributed", "--shard=1/2"], "leave --shard, --only"),
        (["--config=ablations/pruning.py", "--process=1"], "add --distributed"),
        (
            ["--config=ablations/pruning.py", "--config.model.layers=100000"],
            "layers=100000 must be a whole number from 1",
        ),
        (
            ["--config=ablations/pruning.py", "--config.probe.examples=10000000000"],
            "probe.examples=10000000000 must be",
        ),
        (["--config=ablations/pruning.py", "--config.tasks.z6.task=GROUP_WORD"], "Nearest: group_word"),
        (["--config=ablations/pruning.py", "--config.seeds=1000000000"], "axis 'seed' has more than"),
        (["--config=ablations/pruning.py", "--steps=100"], "--config.steps.train"),
        (["--config=ablations/pruning.py", "--save_minutes=nan"], "must be a number from 0"),
    ],
)
def test_the_command_line(arguments, message, tmp_path, quick_command):
    # --plan, so that a mistake that slips through trains nothing.
    assert_one_sentence(quick_command(*arguments, "--plan", f"--workdir={tmp_path}"), message)


STUDY = """
from lab.study.grid import axis, study_config
def get_config():
    config = study_config()
    {inside_config}
    return config
def sweep(config):
    {inside_sweep}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "study.py, line 1: SyntaxError"),
        ("x = 1", "has no get_config()"),
        ("def f():\n    return 1 +* 2", "study.py, line 2: SyntaxError: invalid syntax: return 1 +* 2"),
        ("import sys\nsys.exit(0)", "study.py, line 2: SystemExit: 0"),
        ("import json\njson.loads('\\n[')", "study.py, line 2: JSONDecodeError"),
        (
            STUDY.format(inside_config="config.evaluation.exampels = 64", inside_sweep="pass"),
            "study.py: config.evaluation.exampels=64: no such field. Nearest: config.evaluation.examples",
        ),
        (
            STUDY.format(
                inside_config="config.model.width = 2.5; config.tasks.facts = {}",
                inside_sweep="return axis('seed', (0,))",
            ),
            "config.model.width=2.5 must be a whole number from 1",
        ),
        (
            STUDY.format(inside_config="1 / 0", inside_sweep="return axis('seed', (0,))"),
            "study.py, line 5: ZeroDivision",
        ),
        (STUDY.format(inside_config="config.task.facts = 1", inside_sweep="pass"), "study.py, line 5: AttributeError"),
        (STUDY.format(inside_config="pass", inside_sweep="return [0]"), "sweep() must return a grid"),
        (STUDY.format(inside_config="return", inside_sweep="pass"), "get_config() must return the config"),
        (STUDY.format(inside_config="pass", inside_sweep="return axis('seed', ())"), "axis 'seed' has no values"),
        (STUDY.format(inside_config="pass", inside_sweep="return axis('seed', (0,))"), "config.tasks is empty"),
        (
            STUDY.format(inside_config="config.tasks.facts = 'facts'", inside_sweep="return axis('seed', (0,))"),
            "config.tasks.facts='facts' must be a section",
        ),
    ],
)
def test_a_broken_study_file(text, message, tmp_path, quick_command):
    (tmp_path / "study.py").write_text(text)
    done = quick_command("--config=study.py", "--plan", f"--workdir={tmp_path}", cwd=tmp_path)
    assert_one_sentence(done, message)


def test_a_full_disk_while_writing_the_record_is_said(tmp_path, quick_command):
    """A work directory on a file system that is full: /dev/full refuses every write."""
    (tmp_path / "study.json.partial").symlink_to("/dev/full")
    done = quick_command(f"--config={ROOT / 'tests' / 'tiny_study.py'}", f"--workdir={tmp_path}")
    assert_one_sentence(done, "No space left on device")


def test_an_unwritable_work_directory_is_said(tmp_path, quick_command):
    (tmp_path / "file").write_text("")
    done = quick_command("--config=ablations/pruning.py", f"--workdir={tmp_path / 'file'}")
    assert_one_sentence(done, "can't be used")


def test_a_locked_directory_is_said_by_the_command(tmp_path, quick_command):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = quick_command("--config=ablations/pruning.py", f"--workdir={tmp_path}")
    assert_one_sentence(done, "in use by another process")


def test_plan_trains_nothing(tmp_path, quick_command):
    done = quick_command("--config=ablations/pruning.py", "--plan", f"--workdir={tmp_path / 'w'}")
    assert done.returncode == 0, done.stderr
    assert "72 cells" in done.stdout
    assert "8 seeds × 9 settings show a fall of the ability beyond prune.sparsity = 0.48" in done.stdout
    assert not (tmp_path / "w").exists()
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_a_knob_that_the_study_does_not_set_can_be_overridden(tmp_path, quick_command):
    done = quick_command(
        "--config=tests/tiny_study.py", "--config.knobs.optimizer.learning_rate=0.01", "--plan", f"--workdir={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    assert "2 seeds can never reject at alpha=0.05" in done.stdout
    assert "3 settings of prune.sparsity leave a break somewhere" in done.stdout


TINY = ROOT / "tests" / "tiny_study.py"


@pytest.mark.parametrize(
    ("workdir", "said"),
    [
        ("/dev/null", "--workdir=/dev/null can't be used: it is no directory, but a file, a device or a link"),
        ("/dev/null/w", "Not a directory; a file or a device stands where a directory belongs"),
        ("n" * 300, "File name too long; name a directory with a shorter path"),
        ("loop/w", "symbolic links"),
    ],
)
def test_a_work_directory_that_can_not_be_one(workdir, said, tmp_path, quick_command):
    (tmp_path / "loop").symlink_to("loop")
    done = quick_command(f"--config={TINY}", f"--workdir={workdir}", cwd=tmp_path)
    assert_one_sentence(done, said)
    assert "the same command" not in done.stderr


def test_a_colon_in_the_path_of_a_study_and_brackets_in_its_question(tmp_path, quick_command):
    folder = tmp_path / "a:b [c]\\d"
    folder.mkdir()
    study = TINY.read_text().replace("get_config():", "get_config(variant):")
    (folder / "tiny.py").write_text(study)
    question = "as in [arXiv 1506.02626], [/nested] and :key: δ"
    config = f"--config={folder}/tiny.py:quick"
    done = quick_command(config, f"--config.question={question}", "--plan", f"--workdir={folder}/[w]")
    assert done.returncode == 0, done.stderr
    assert "[arXiv 1506.02626], [/nested] and :key: δ" in done.stdout
    assert f"workdir     {folder}/[w]" in done.stdout.replace("\n", "")
