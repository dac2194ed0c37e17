"""A run killed with SIGKILL while training, while saving or while measuring, and rerun, ends byte for byte the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "tests" / "tiny_study.py"


def start(workdir, *arguments):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, str(ROOT / "run.py"), f"--config={STUDY}", f"--workdir={workdir}", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def numbers(workdir):
    files = (workdir / "results.csv", workdir / "verdicts.json", *(workdir / "figures").iterdir())
    return {file.name: file.read_bytes() for file in files}


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
            finish(start(folder / "whole"))
        finally:
            (folder / "done").touch()
    return folder / "whole"


def seen(pattern):
    """Whether a path of that pattern exists in the work directory."""
    return lambda workdir: any(workdir.glob(pattern))


MOMENTS = {
    # after the first checkpoint of the first stage, so in the middle of training
    "training": seen("checkpoints/train-*/*/params"),
    # Orbax writes to a directory of another name and renames it when it is whole
    "saving": seen("checkpoints/*/*orbax-checkpoint-tmp*"),
    "the second stage": seen("checkpoints/prune-*"),
    "measuring": seen("readings/*.json"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_rerun_is_the_same_to_the_byte(uninterrupted, moment, tmp_path):
    workdir = uninterrupted.parent / moment.replace(" ", "-")
    process = start(workdir)
    try:
        while not MOMENTS[moment](workdir):
            assert process.poll() is None, f"ended before {moment}: {process.communicate()[0]}"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not (workdir / "results.csv").exists()
    finish(start(workdir))
    assert numbers(workdir) == numbers(uninterrupted)


def test_a_preempted_run_saves_says_so_and_goes_on_to_the_same_bytes(uninterrupted):
    workdir = uninterrupted.parent / "preempted"
    process = start(workdir)
    try:
        while not MOMENTS["training"](workdir):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert process.returncode == os.EX_TEMPFAIL, out
    assert "Traceback" not in out
    assert "the same command goes on" in out
    finish(start(workdir))
    assert numbers(workdir) == numbers(uninterrupted)


def test_views_are_rebuilt_and_nothing_is_trained(uninterrupted):
    before = numbers(uninterrupted)
    checkpoints = sorted(p.stat().st_mtime_ns for p in (uninterrupted / "checkpoints").rglob("*"))
    for view in ("results.csv", "verdicts.json", "report.html", "report.md"):
        (uninterrupted / view).unlink()
    for folder in ("tb", "figures"):
        shutil.rmtree(uninterrupted / folder)
    out = finish(start(uninterrupted))
    assert "Everything is trained" in out
    assert numbers(uninterrupted) == before
    assert (uninterrupted / "report.html").exists()
    assert (uninterrupted / "report.md").exists()
    assert any((uninterrupted / "tb" / "sweep").iterdir())
    assert sorted(p.stat().st_mtime_ns for p in (uninterrupted / "checkpoints").rglob("*")) == checkpoints


def test_added_seeds_keep_the_old_rows_and_train_the_new_ones_alone(uninterrupted):
    workdir = uninterrupted.parent / "more"
    shutil.copytree(uninterrupted, workdir)
    old = (workdir / "results.csv").read_text().splitlines()
    out = finish(start(workdir, "--config.seeds=4"))
    assert "already trained" in out
    new = (workdir / "results.csv").read_text().splitlines()
    assert set(old) < set(new)
    assert len(new) - 1 == 2 * (len(old) - 1)
