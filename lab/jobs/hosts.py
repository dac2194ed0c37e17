"""One job on many hosts: each trains one shard on its own devices, the first judges what all have trained.

The processes find each other by `jax.distributed`, which needs no arguments on Cloud TPU and under Slurm. They need
each other for two things only: to learn their numbers, and to wait for the last. A second process next to the one that
trains (`rendezvous`) does that, for two reasons. Orbax (0.12.8) lets a program that is one of several write together
with all the others or not at all, but shards have nothing to write together and shouldn't wait for each other. And
`jax.distributed` aborts every process within minutes of losing one, while the shards of the others are worth
finishing.

The host's devices are for the process that trains; rendezvous stays on the CPU.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import UserError
from lab.jobs.shards import Shard
from lab.stop import Stopped

FOUND = "found"  # starts the line in which rendezvous prints its process number and the number of processes
START_SECONDS = 600  # the last host must start this soon after the first
FOREVER = 10**7  # seconds: the slowest shard may take as long as it likes
# On a slice of several hosts a TPU waits for all of them to run one program. Here each host is a machine of its own.
ALONE = {"TPU_PROCESS_BOUNDS": "1,1,1", "TPU_HOST_BOUNDS": "1,1,1"}


@dataclass(frozen=True)
class Address:
    """The address at which the processes meet; without a coordinator jax.distributed asks the cluster."""

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None

    def check(self) -> None:
        """Refuse half an address."""
        given = [self.coordinator, self.processes, self.process]
        if any(one is None for one in given) and any(one is not None for one in given):
            raise UserError("--coordinator=HOST:PORT, --processes=N and --process=I (from 0) go together.")
        if self.processes is not None and self.process is not None and not self.process < self.processes:
            raise UserError(f"--process={self.process}: counted from 0, so below --processes={self.processes}.")


def run(command: Sequence[str], address: Address) -> int:
    """Carry out this host's part of a job.

    Args:
      command: the study's command line without the options that divide it.
      address: at which the processes meet.

    Returns:
      the exit status of the shard; in the first process that of judging, once its shard is done.

    Raises:
      UserError: if the processes don't find each other.
      Stopped: on request, while nothing was training.
    """
    address.check()
    with _listening(), _meeting(address) as (shard, meeting):
        print(f"host {shard.index} of {shard.count}: trains shard {shard}", flush=True)
        environment = os.environ | (ALONE if shard.count > 1 else {})
        status = _child([*command, f"--shard={shard}"], environment)
        if status == 0 and not _last_of_all(meeting):
            print(f"host {shard.index} of {shard.count}: another process was lost.", file=sys.stderr, flush=True)
        if status == 0 and shard.index == 1:
            status = _child([*command, "--only=analyze"], environment)  # names what is missing, if something is
        return status


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """SIGTERM ends what this process waits for."""

    def stop(*_: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _meeting(address: Address) -> Iterator[tuple[Shard, subprocess.Popen[str]]]:
    """The process that found the others, and this one's shard."""
    given = [] if address.coordinator is None else map(str, (address.coordinator, address.processes, address.process))
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    with (
        # jax.distributed writes pages about lost processes.
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "lab.jobs.rendezvous", *given],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        ) as meeting,
    ):
        assert meeting.stdout is not None, "rendezvous was started with a pipe"
        try:
            found = next((line for line in meeting.stdout if line.startswith(FOUND)), None)
            if found is None:
                errors.seek(0)
                raise UserError(_unmet(errors.read(), address))
            _, index, count = found.split()
            yield Shard(int(index) + 1, int(count)), meeting
        finally:
            meeting.kill()


def _unmet(errors: str, address: Address) -> str:
    """Why the processes didn't find each other."""
    if "coordinator_address should be defined" in errors:
        return (
            "--distributed: no cluster is recognized here (Cloud TPU and Slurm are); give"
            " --coordinator=HOST:PORT --processes=N --process=I."
        )
    where = f" at {address.coordinator}" if address.coordinator else ""
    return f"--distributed: the processes didn't find each other{where} within {START_SECONDS} s; are all running?"


def _last_of_all(meeting: subprocess.Popen[str]) -> bool:
    """Wait until every process is done. False where that can't be known because a process was lost."""
    meeting.communicate("done\n")
    return meeting.returncode == 0


def _child(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command to its end, passing on requests to stop. Its exit status, as a shell gives it."""
    child = subprocess.Popen([sys.executable, *command], env=environment)
    while True:
        try:
            status = child.wait()
            return status if status >= 0 else 128 - status
        except Stopped:
            child.terminate()
        except KeyboardInterrupt:  # the terminal interrupts the child, too
            continue
