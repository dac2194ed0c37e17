"""Being asked to stop, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOLD = """
import os, signal
from lab.errors import Stopped
from lab.saving import Stop
stop = Stop()
try:
    with stop.listening(), stop.holding():
        for told in range({times}):
            os.kill(os.getpid(), signal.SIGTERM)
            print("told", told + 1, stop(), flush=True)
except Stopped:
    print("saved")
"""


@pytest.mark.parametrize(("times", "said", "status"), [(1, ["told 1 True", "saved"], 0), (2, ["told 1 True"], 75)])
def test_told_once_it_saves_first_and_told_twice_it_ends_at_once(times, said, status):
    command = [sys.executable, "-c", TOLD.format(times=times)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == said
    assert done.returncode == status
