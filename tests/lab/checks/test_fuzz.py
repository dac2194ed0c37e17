"""The fuzz command: what it draws, how it counts, and a short run of each kind, in which nothing may fail."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from lab.checks.fuzz import command_lines, configs, files, small_study
from lab.checks.fuzz.trials import Ended, answered, read_back
from lab.study.parse import parse

ROOT = Path(__file__).resolve().parents[3]
TRACEBACK = f'Traceback (most recent call last):\n  File "{ROOT}/lab/study/parse.py", line 7, in f\nKeyError: 1\n'


def fuzz(*arguments, timeout=120):
    """The command in a process of its own, which compiles as users' processes do: one device, all optimizations."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", "lab.checks.fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.mark.slow
def test_malformed_input_is_answered():
    done = fuzz("--kind=config", "--kind=command", "--trials=40", "--jobs=1")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_damaged_files_are_named_or_change_nothing():
    done = fuzz("--kind=files", "--trials=60", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_many_studies_and_command_lines_are_answered():
    done = fuzz("--kind=config", "--kind=command", "--trials=850", "--seed=1", timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_small_study_is_valid():
    study = parse(small_study.get_config(), small_study.sweep(None), ("participation_ratio",))
    assert len(study.cells) == 9
    assert "nothing" not in configs.VALID  # and its fields are what is replaced
    assert {"model.width", "tasks.facts.facts", "claim.gains.participation_ratio"} <= {*configs.VALID}


@pytest.mark.parametrize("draw", [configs.draw, command_lines.draw])
def test_a_trial_is_drawn_by_its_number_alone(draw):
    first, again, other = ([draw(Random(f"{seed}/{n}"), "").text for n in range(50)] for seed in (0, 0, 1))
    assert first == again != other
    assert len({*first}) > 40


def test_studies_are_text_that_python_reads():
    for number in range(300):
        random = Random(number)
        changes = "\n".join(f"    {random.choice(configs.CHANGES)(random)}" for _ in range(2))
        compile(configs.FILE.format(changes=changes, sweep=configs._grid(random)), "study.py", "exec")


@pytest.mark.parametrize(
    ("status", "out", "err", "outcome"),
    [
        (2, "", "error: config.name is missing.\n", "sentence"),
        (2, "", "error: one\nanother line\n", "unclear"),
        (2, "", "config.name is missing\n", "unclear"),
        (0, "the plan", "", "accepted"),
        (0, "", "RuntimeWarning: overflow", "unclear"),
        (3, "", "", "unclear"),
        (1, "", TRACEBACK, "traceback"),
        (2, "", TRACEBACK + "error: config.name is missing.\n", "traceback"),
        (-signal.SIGSEGV, "", "", "traceback"),
        (-signal.SIGPROF, "", "", "hang"),
        (-signal.SIGALRM, "", TRACEBACK, "hang"),
    ],
)
def test_how_input_is_counted(status, out, err, outcome, tmp_path):
    ended = Ended(status, out, err, tmp_path)
    assert answered(ended, lambda: "why").outcome == outcome
    if outcome == "accepted":
        assert answered(ended, lambda: "").outcome == "unexplained"
    if outcome == "traceback" and status > 0:
        assert "lab/study/parse.py, line 7" in answered(ended, lambda: "").why


@pytest.mark.parametrize(
    ("status", "differs", "named", "outcome"),
    [
        (0, False, False, "same"),
        (0, True, False, "silent change"),
        (0, True, True, "sentence"),
        (2, True, False, "sentence"),
        (-signal.SIGPROF, False, False, "hang"),
    ],
)
def test_how_damage_is_counted(status, differs, named, outcome, tmp_path):
    err = "error: study.json can't be read.\n" if status == 2 else ""
    assert read_back(Ended(status, "", err, tmp_path), differs, named).outcome == outcome


def study_text(*changes, sweep=configs.WHOLE):
    lines = ["    with config.ignore_type(), config.unlocked():", *(f"        {line}" for line in changes)]
    return configs.FILE.format(changes="\n".join(lines) if changes else "    pass", sweep=sweep)


@pytest.mark.parametrize(
    ("change", "harmless"),
    [
        ("pass", True),
        ("config.model.width = 32", True),
        ("config.model.width = np.int64(32)", True),
        ("config.question = '→'", True),
        ("config.probe.layers = (0, -1)", True),
        ("config.knobs = {'weight_decay': {'rate': 0.1}}", True),
        ("config.model.width = True", False),
        ("config.model['depth'] = 4", False),
        ("config.schedule.warmup = 10**30", False),
        ("config.claim.alpha = float('nan')", False),
        ("config.claim.abilities = ('facts/iid', 'facts/iid')", False),
        ("config.question = float('nan')", False),
        ("config.question = '\\0'", False),
        ("del config.claim.abilities", True),
        ("del config.steps.train", False),
    ],
)
def test_why_an_accepted_config_is_harmless(change, harmless):
    assert bool(configs.harmless(study_text(change), "")) == harmless


@pytest.mark.parametrize(
    ("settings", "harmless"),
    [("(0.0, np.float64(0.5))", True), ("(0.0, True)", False), ("(0.0, float('nan'))", False), ("(0.0, 1.5)", False)],
)
def test_why_an_accepted_grid_is_harmless(settings, harmless):
    sweep = f"product(axis('prune.sparsity', {settings}), axis('seed', (0, 1)))"
    assert bool(configs.harmless(study_text(sweep=sweep), "")) == harmless


def test_every_kind_of_a_checkpoints_files_is_found(recorded):
    """Orbax names its files; a pattern that finds none would leave a kind undamaged."""
    kinds = {kind: pattern for kind, pattern in files.KINDS.items() if pattern.startswith("checkpoints")}
    assert len(kinds) == 5
    assert [kind for kind, pattern in kinds.items() if not files._files(recorded[2], pattern)] == []


def test_damage_touches_the_copy_only(tmp_path):
    """A copy's files are links: what is damaged gets a file of its own."""
    whole = tmp_path / "whole"
    for name in (
        "study.json",
        "checkpoints/train-a/5/_CHECKPOINT_METADATA",
        "checkpoints/train-a/5/params/d/array",
    ):
        (whole / name).parent.mkdir(parents=True, exist_ok=True)
        (whole / name).write_text(json.dumps({"a": [1, {"b": 23}], "c": name}))
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    changed = 0
    for number in range(60):
        text, place, damage = files._damage(Random(number), whole)
        copy = tmp_path / f"copy{number}"
        shutil.copytree(whole, copy, copy_function=os.link)
        damage(copy)
        assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before, text
        changed += sorted(p.read_bytes() for p in copy.rglob("*") if p.is_file()) != sorted(before.values())
        assert files._names(f"Damaged: {copy / place} is\n ignored", place) or place.parts[0] not in ("checkpoints",)
    assert changed > 40


TOY = """
import sys, time
from lab.checks.fuzz import trials as settings
from lab.checks.fuzz.trials import Trial, answered, run
settings.PATIENCE = 6
def loop():
    while True: pass
acts = dict(says=lambda: print('error: no', file=sys.stderr) or 2, fails=lambda: 1 / 0, loops=loop, takes=lambda: 0,
            waits=lambda: time.sleep(60), leaves=lambda: sys.exit(2), eats=lambda: len(bytearray(2**37)))
trials = [Trial(name, '', act, lambda ended: answered(ended, lambda: 'fine')) for name, act in acts.items()]
print(sorted((trial.name, judged.outcome) for trial, judged in run(trials, 3, 0.1)))
"""


def test_every_trial_ends_and_is_counted():
    done = subprocess.run([sys.executable, "-c", TOY], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    outcomes = dict(ast.literal_eval(done.stdout))
    assert outcomes == {
        **dict(says="sentence", fails="traceback", loops="hang", takes="accepted"),
        **dict(waits="hang", leaves="unclear", eats="traceback"),
    }
