"""The batch scripts, run without a cluster: with programs of the same names that write down how they were called."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from lab.jobs.options import options_help

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))
DOCUMENTS = [*SCRIPTS, *(ROOT / "scripts").glob("*.yaml"), ROOT / "docs" / "batch_jobs.md"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_are_bash(path):
    subprocess.run(["bash", "-n", path], check=True)
    assert os.access(path, os.X_OK)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", path], check=True)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_every_option_named_is_one_of_the_commands(path):
    known = set(re.findall(r"^--(\w+)", options_help(), re.MULTILINE))
    text = path.read_text().replace("\\\n", " ").replace("\n#       ", " ")
    text = re.sub(r"\n\s+--shard", " --shard", text)  # YAML folds lines
    named = {name for command in re.findall(r"run\.py [^`\n]*", text) for name in re.findall(r"--(\w+)", command)}
    assert named <= known
    assert "shard" in named


def stub(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def slurm(tmp_path, python, **environment):
    """slurm_array.sh as task 3 of 8, under way."""
    stub(tmp_path, "scontrol", f'echo "$@" >> {tmp_path}/requeued')
    names = dict(SLURM_ARRAY_JOB_ID="17", SLURM_ARRAY_TASK_ID="3", SLURM_ARRAY_TASK_COUNT="8", PYTHON=python)
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["bash", str(ROOT / "scripts" / "slurm_array.sh"), "study.py", "runs/study"]
    return subprocess.Popen(command, env=os.environ | names | environment | {"PATH": path})


@pytest.mark.parametrize(("environment", "shard"), [({}, "3/8"), ({"SHARDS": "12"}, "3/12")])
def test_a_slurm_task_is_a_shard(environment, shard, tmp_path):
    python = stub(tmp_path, "python", f'echo "$@" > {tmp_path}/called')
    assert slurm(tmp_path, python, **environment).wait() == 0
    called = (tmp_path / "called").read_text().split()
    assert called == ["run.py", "--config=study.py", "--workdir=runs/study", f"--shard={shard}"]
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(("status", "requeued"), [(75, True), (2, False)])
def test_a_slurm_task_that_is_preempted_hands_it_on_and_is_queued_again(status, requeued, tmp_path):
    text = f"trap 'sleep 0.2; exit {status}' TERM; touch {tmp_path}/up; while true; do sleep 0.05; done"
    process = slurm(tmp_path, stub(tmp_path, "python", text))
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == status
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 17_3\n"


def test_a_pod_is_a_shard(tmp_path):
    job = yaml.safe_load((ROOT / "scripts" / "kubernetes_job.yaml").read_text())["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy needs it
    assert [75] in [rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    (container,) = job["template"]["spec"]["containers"]
    stub(tmp_path, "python", 'echo "$@"')
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "7"}
    done = subprocess.run(container["command"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == f"--shard={job['completions']}/{job['completions']}"


GCLOUD = """
echo "$@" >> {folder}/calls
case "$*" in
*describe*) cat {folder}/state 2>/dev/null ;;
*" create "*) echo READY > {folder}/state ;;
*" delete "*) rm -f {folder}/state ;;
*" ssh "*)
    for last; do :; done
    echo "${{last#--command=}}" > {folder}/on_host
    if [ ! -e {folder}/preempted ]; then touch {folder}/preempted; echo {after} > {folder}/state; exit 1; fi ;;
esac
"""


def tpu(tmp_path, after):
    """tpu_vm.sh on a slice that is lost once: what it was after that."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    stub(tmp_path, "gcloud", GCLOUD.format(folder=tmp_path, after=after))
    stub(tmp_path, "sleep", ":")
    python = stub(tmp_path, "python", f'echo "$@" > {tmp_path}/judged')
    names = dict(BUCKET="gs://b/x", ZONE="z", REPOSITORY="https://r", PYTHON=python)
    environment = os.environ | names | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "scripts/tpu_vm.sh", "ablations/a.py"], env=environment, cwd=tmp_path, timeout=60)
    verbs = [line.split()[3] for line in (tmp_path / "calls").read_text().splitlines() if "tpu-vm" in line]
    return done.returncode, verbs


def test_a_preempted_slice_is_made_again_and_the_study_judged_here(tmp_path):
    status, verbs = tpu(tmp_path, after="PREEMPTED")
    assert status == 0
    once = ["describe", "delete", "create", "ssh"]
    assert verbs == [*once, "describe", *once, "delete"]
    assert "--only=analyze" in (tmp_path / "judged").read_text()


def test_a_study_that_fails_on_a_healthy_slice_is_not_started_again(tmp_path):
    status, verbs = tpu(tmp_path, after="READY")
    assert status == 1
    assert verbs.count("create") == 1
    assert not (tmp_path / "judged").exists()


def test_what_a_tpu_host_does(tmp_path):
    """The third of four hosts trains shard 3/4 and ends by copying what it has to the bucket."""
    tpu(tmp_path, after="PREEMPTED")
    host = tmp_path / "host"
    (host / "lab" / ".venv" / "bin").mkdir(parents=True)
    stub(host, "curl", 'case "$*" in *number) echo 2 ;; *) echo "a:1,b:2,c:3,d:4" ;; esac')
    stub(host, "gcloud", f'echo "$@" >> {host}/calls')
    stub(host, "sleep", "exec /bin/sleep 3")
    stub(host / "lab" / ".venv" / "bin", "python", f'echo "$TPU_PROCESS_BOUNDS $@" > {host}/trained')
    environment = os.environ | {"PATH": f"{host}:{os.environ['PATH']}"}
    subprocess.run(["bash", tmp_path / "on_host"], env=environment, cwd=host, check=True, timeout=60)
    assert shlex.split((host / "trained").read_text())[-1] == "--shard=3/4"
    assert (host / "trained").read_text().startswith("1,1,1 run.py --config=ablations/a.py")
    calls = (host / "calls").read_text().splitlines()
    assert calls[0].endswith("gs://b/x runs/a")
    assert calls[-1].endswith("runs/a gs://b/x")
