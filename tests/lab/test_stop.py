"""A request to stop, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASKED = """
import os, signal
from lab.stop import Stop, Stopped
stop = Stop()
try:
    with stop.listening(), stop.holding():
        for time in range({times}):
            os.kill(os.getpid(), signal.SIGTERM)
            print("asked", time + 1, stop(), flush=True)
except Stopped:
    print("saved")
"""


@pytest.mark.parametrize(("times", "said", "status"), [(1, ["asked 1 True", "saved"], 0), (2, ["asked 1 True"], 75)])
def test_asked_once_it_saves_first_and_asked_twice_it_ends_at_once(times, said, status):
    command = [sys.executable, "-c", ASKED.format(times=times)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == said
    assert done.returncode == status
