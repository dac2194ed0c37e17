"""The lock of a work directory: one process writes, or the shards of one division."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lab.errors import UserError, refusal

LOCKLESS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}  # a file system without locks


class NoLocks(Exception):
    """The file system has no locks. The message is its own word for that."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[list[str]]:
    """Hold the directory for this process alone.

    Yields:
      a note where its file system has no locks: only the person who starts processes can then keep them apart.

    Raises:
      UserError: if another process holds it, or a part of it, or it can't be made.
    """
    with lock(path, ".lock") as file:
        notes = []
        try:
            free = held(file, fcntl.LOCK_EX)
        except NoLocks as error:
            free = True
            notes = [f"The file system of {path} has no locks ({error}): start no second command on it."]
        if not free:
            raise in_use(path, "another process")
        yield notes


@contextlib.contextmanager
def lock(path: Path, name: str) -> Iterator[IO[str]]:
    """A file to lock, made where there is none."""
    check_place(path)
    try:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        file = (path / name).open("a+")  # NFS asks for both, to lock for one or for all
    except OSError as error:
        raise UserError(f"--workdir={path} can't be used: {refusal(error)}.") from None
    with file:
        yield file


def check_place(path: Path) -> None:
    """Refuse what is there and no directory.

    Raises:
      UserError: in one sentence.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise UserError(
            f"--workdir={path} can't be used: it is no directory, but a file, a device or a link that leads"
            " nowhere; name another."
        )


def shares(path: Path, file: IO[str]) -> bool:
    """Whether a directory's lock is held together with other shards'.

    Raises:
      UserError: if the file system has no locks.
    """
    try:
        return held(file, fcntl.LOCK_SH)
    except NoLocks as error:
        raise UserError(
            f"--workdir={path} is on a file system without locks ({error}), where parts can't be trained side"
            " by side; name a directory on another one, or train all of it with one command."
        ) from None


def in_use(path: Path, whom: str) -> UserError:
    """What is said where someone else holds the directory."""
    return UserError(f"--workdir={path} is in use by {whom}; wait for it or name another directory.")


def held(file: IO[str], kind: int) -> bool:
    """Take a lock of that kind; False where another process holds a lock that excludes it.

    Raises:
      NoLocks: if the file system has none.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        raise NoLocks(error.strerror) from None
    return True
