"""Starts of `run.py` in milliseconds: a process that has imported the program forks a child for every command."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SECONDS = 120  # what a command may take
# Nothing runs on a device before the fork: JAX's threads would be missing in the child.
SERVER = """
import gc, json, os, sys, traceback, warnings
sys.path.insert(0, os.getcwd())
import run
import analysis.report.write, lab.engine.trainer  # what run.py imports when it needs it
warnings.filterwarnings("ignore", "os.fork")  # JAX warns of its threads
gc.freeze()
for line in sys.stdin:
    arguments, directory, *outputs = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(directory)
        for descriptor, path in enumerate(outputs, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
        sys.argv = ["run.py", *arguments]
        try:
            status = run.main(sys.argv)
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status or 0)  # taking the interpreter down costs more than all the rest
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def commands() -> Iterator[Any]:
    """A function that runs `run.py` with some arguments, as `subprocess.run` would, without XLA_FLAGS."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", SERVER], cwd=ROOT, env=environment, **pipes) as server,
    ):

        def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
            outputs = [Path(folder) / name for name in ("out", "err")]
            for file in outputs:
                file.write_text("")
            server.stdin.write(json.dumps([arguments, str(cwd), *map(str, outputs)]) + "\n")
            server.stdin.flush()
            answered, _, _ = select.select([server.stdout], [], [], SECONDS)
            if not answered:
                os.killpg(server.pid, signal.SIGKILL)  # the child with it
                raise TimeoutError(f"run.py {' '.join(arguments)} took longer than {SECONDS} s")
            status = int(server.stdout.readline())
            return subprocess.CompletedProcess(arguments, status, *(file.read_text() for file in outputs))

        yield command
        server.stdin.close()
