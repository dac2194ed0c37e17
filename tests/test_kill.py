"""A run killed with SIGKILL while training, while saving or while measuring, and rerun, ends byte for byte the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.metrics import METRICS
from lab.checks import kill_test
from lab.checks.kill_test import MOMENTS, finish, killed_at, moments, numbers, start
from lab.engine import Programs
from lab.errors import UserError
from lab.storage import read_store
from lab.study.parse import parse
from tests import tiny_study
from tests.lab.conftest import LAYOUT, carry_out
from tests.lab.engine.stored import assert_same, everything

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "tests" / "tiny_study.py"
RUN = (sys.executable, str(ROOT / "run.py"), f"--config={STUDY}")
COMMAND = ("env", "-u", "XLA_FLAGS", *RUN)
QUICK = ("env", "JAX_DISABLE_MOST_OPTIMIZATIONS=true", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0", *RUN)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, worker_id):
    """The study run to its end: by the worker that comes first, the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "kill"
    try:
        folder.mkdir()
    except FileExistsError:
        while not (folder / "done").exists():
            time.sleep(0.1)
    else:
        try:
            finish(COMMAND, folder / "whole")
        finally:
            (folder / "done").touch()
    return folder / "whole"


def trained_numbers(store, study):
    """Everything in the final checkpoints of a study."""
    return everything(store, [key for recipe in study.recipes() for key in recipe.keys])


@pytest.mark.e2e
def test_killed_while_training_and_run_again_it_ends_in_the_same_bytes(tmp_path):
    """The run that is left alone is trained here, by the programs that the killed one has compiled."""
    command = (*QUICK, "--only=train")
    assert killed_at(command, tmp_path / "killed", "train", 0.0)
    assert any((tmp_path / "killed" / "checkpoints").rglob("*"))
    finish(command, tmp_path / "killed")
    config = tiny_study.get_config()
    study = parse(config, tiny_study.sweep(config), METRICS)
    _, whole, _ = carry_out(study, tmp_path / "whole", Programs(LAYOUT))
    killed, damaged = read_store(tmp_path / "killed", study)
    assert not damaged
    assert_same(trained_numbers(killed, study), trained_numbers(whole, study))


@pytest.mark.e2e
def test_killed_again_and_again_it_ends_in_the_same_bytes(uninterrupted):
    """Each kill comes earlier in the study than the next, so that none finds its moment gone by.

    With a spare checkpoint after every call, so that runs go on from such.
    """
    workdir, command = uninterrupted.parent / "killed", (*COMMAND, "--save_minutes=0")
    for moment in ("start", "train", "save", "chunk", "measure"):
        assert killed_at(command, workdir, moment, 0.2 if moment == "start" else 0.0), moment
    assert not (workdir / "results.csv").exists()
    finish(command, workdir)
    assert numbers(workdir) == numbers(uninterrupted)


@pytest.mark.e2e
def test_a_preempted_run_saves_says_so_and_goes_on_to_the_same_bytes(uninterrupted):
    workdir = uninterrupted.parent / "preempted"
    there = MOMENTS["train"][0](workdir)
    process = start(COMMAND, workdir, subprocess.PIPE)
    try:
        while not there():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == os.EX_TEMPFAIL, out
    assert "Traceback" not in out
    assert "the same command continues" in out
    finish(COMMAND, workdir)
    assert numbers(workdir) == numbers(uninterrupted)


@pytest.mark.e2e
def test_two_hosts_end_as_one_to_the_byte(uninterrupted):
    """Two processes of one job over loopback: each trains a shard, the first judges both."""
    workdir = uninterrupted.parent / "hosts"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job = ("--distributed", f"--coordinator=127.0.0.1:{free.getsockname()[1]}", "--processes=2")
    hosts = [start([*COMMAND, *job, f"--process={process}"], workdir, subprocess.PIPE) for process in (0, 1)]
    first, second = [host.communicate()[0] for host in hosts]
    assert "trains shard 1/2" in first
    assert "trains shard 2/2" in second
    assert "report:" in first
    assert "report:" not in second
    assert numbers(workdir) == numbers(uninterrupted)


@pytest.mark.e2e
def test_sigterm_while_nothing_has_to_be_saved_ends_at_once(uninterrupted):
    process = start(COMMAND, uninterrupted, subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()  # the plan: from here on views are made again
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate()
    assert process.returncode == os.EX_TEMPFAIL, out
    assert "Traceback" not in out
    finish(COMMAND, uninterrupted)


@pytest.mark.e2e
def test_views_are_rebuilt_and_nothing_is_trained(uninterrupted):
    before = numbers(uninterrupted)
    checkpoints = sorted(p.stat().st_mtime_ns for p in (uninterrupted / "checkpoints").rglob("*"))
    for view in ("results.csv", "verdicts.json", "report.html", "report.md"):
        (uninterrupted / view).unlink()
    for folder in ("tb", "tb_cells", "figures"):
        shutil.rmtree(uninterrupted / folder)
    out = finish(COMMAND, uninterrupted)
    assert "Everything is trained" in out
    assert numbers(uninterrupted) == before
    assert (uninterrupted / "report.html").exists()
    assert (uninterrupted / "report.md").exists()
    assert any((uninterrupted / "tb" / "figures").iterdir())
    assert sorted(p.stat().st_mtime_ns for p in (uninterrupted / "checkpoints").rglob("*")) == checkpoints


@pytest.mark.e2e
def test_added_seeds_keep_the_old_rows_and_train_the_new_ones_alone(uninterrupted):
    workdir = uninterrupted.parent / "more"
    shutil.copytree(uninterrupted, workdir)
    old = (workdir / "results.csv").read_text().splitlines()
    out = finish([*COMMAND, "--config.seeds=4"], workdir)
    assert "already trained" in out
    new = (workdir / "results.csv").read_text().splitlines()
    assert set(old) < set(new)
    assert len(new) - 1 == 2 * (len(old) - 1)


# Stands for a study: three checkpoints of a number that grows, each saved under another name first.
TOY = """
import pathlib, sys, time
there = pathlib.Path(sys.argv[-1].partition("=")[2])
(there / "readings").mkdir(parents=True, exist_ok=True)
(there / "study.partial").write_text("")
(there / "study.partial").replace(there / "study.json")
chunk = there / "checkpoints" / "chunk"
saved = sorted(chunk.glob("*/params"))
total = int(saved[-1].read_text()) if saved else 0
{mistake}
for step in range(len(saved), 3):
    total += step
    partial = chunk / f"{step}.orbax-checkpoint-tmp"
    partial.mkdir(parents=True, exist_ok=True)
    (partial / "params").write_text(str(total))
    time.sleep(0.02)
    partial.rename(chunk / str(step))
(there / "readings" / "one.json").write_text("")
time.sleep(0.02)
(there / "verdicts.json").write_text("")
(there / "results.csv").write_text(f"total\\n{total}\\n")
"""


def spent(tmp_path, mistake, kills=8):
    """(the differences, the reports) of a loop on the toy."""
    script, reports = tmp_path / "toy.py", []
    tmp_path.mkdir(exist_ok=True)
    script.write_text(TOY.replace("{mistake}", mistake))
    drawn = ((moment, min(later, 0.01)) for moment, later in moments(seed=1))
    return kill_test.loop((sys.executable, "-S", str(script)), tmp_path / "runs", kills, drawn, reports.append), reports


def test_the_loop_spends_its_kills_and_finds_the_same_bytes(tmp_path):
    different, reports = spent(tmp_path, "")
    assert different == []
    assert [line.split(":")[0] for line in reports if line.startswith("kill ")] == [
        f"kill {i} of 8" for i in range(1, 9)
    ]
    assert reports[-1].startswith("8 kills in ")
    assert reports[-1].endswith(": same bytes")


def test_the_loop_finds_a_run_that_continues_differently(tmp_path):
    different, _ = spent(tmp_path, "total += 5 if saved else 0")
    assert len(different) == 1
    assert different[0].startswith("results.csv, line 2: b'3' without kills, b'")


def test_the_loop_says_when_a_run_fails_by_itself(tmp_path):
    with pytest.raises(UserError, match="ended with exit status 1: ValueError: no"):
        spent(tmp_path, "raise ValueError('no')")
    with pytest.raises(UserError, match="exit status 1 by itself"):
        spent(tmp_path / "resumed", "if saved: raise ValueError('no')")


def test_moments_are_drawn_by_seed_and_come_equally_often():
    first, again, other = ([next(drawn) for _ in range(4 * len(MOMENTS))] for drawn in map(moments, (3, 3, 4)))
    assert first == again != other
    assert all(sum(name == moment for name, _ in first) == 4 for moment in MOMENTS)


def test_mistakes_are_one_sentence(tmp_path, capsys):
    for arguments, message in ((["--kills=0"], "--kills=0 must be 1 or more"), ([], "exists; name a directory")):
        assert kill_test.main(["--config=x.py", f"--workdir={tmp_path}", *arguments]) == 2
        assert message in capsys.readouterr().err
