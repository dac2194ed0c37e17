"""One host's part of a job; two hosts that train are in tests/test_kill.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from lab.errors import UserError
from lab.jobs import hosts
from lab.jobs.hosts import Address

STUB = """
import os, sys
with open({record!r}, "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
sys.exit({status} if "--shard=1/1" in sys.argv else 0)
"""


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Address(f"127.0.0.1:{free.getsockname()[1]}", 1, 0)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("status", "commands"), [(0, ["--x=1 --shard=1/1", "--x=1 --only=analyze"]), (75, ["--x=1 --shard=1/1"])]
)
def test_it_trains_its_shard_and_judges_only_what_is_trained(status, commands, address, tmp_path):
    (tmp_path / "stub.py").write_text(STUB.format(record=str(tmp_path / "record"), status=status))
    assert hosts.run([str(tmp_path / "stub.py"), "--x=1"], address) == status
    assert (tmp_path / "record").read_text().splitlines() == commands


def test_being_asked_to_stop_is_handed_on(tmp_path):
    """The child says with its own status that it has saved."""
    child = "import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75));"
    child += f"pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(60)"
    parent = "import os\nfrom lab.jobs import hosts\nwith hosts._listening():\n    "
    parent += f"raise SystemExit(hosts._child(['-c', {child!r}], dict(os.environ)))"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 75


@pytest.mark.parametrize("half", [("a:1", None, None), ("a:1", 2, None), (None, None, 0), ("a:1", 2, 2)])
def test_half_an_address_is_refused(half):
    with pytest.raises(UserError, match=r"go together|counted from 0"):
        hosts.run([], Address(*half))


def test_where_no_cluster_is_known_it_says_what_to_give(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "TPU_", "KUBERNETES_"))]:
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match=r"no cluster is recognized here .* --coordinator=HOST:PORT"):
        hosts.run([], Address())
