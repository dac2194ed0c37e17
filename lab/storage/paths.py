"""Paths as the libraries take them, and what stands at one deleted."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.errors import UserError, refusal

# Orbax finds the parts of a checkpoint by patterns that begin with its path (`epath.glob`, orbax 0.12.8): a character
# of a pattern in it finds nothing, which a save only logs. A path below /gs/ or the like is a bucket's address to it.
PLAIN = re.compile(r"(?!/(gs|s3|az|hf)(/|$))[\w ./+,=@-]*")


@contextlib.contextmanager
def plain(path: Path) -> Iterator[str]:
    """An absolute path to the same place, and to what is next to it, that is no pattern: through a link where needed.

    Args:
      path: of what is read or written; its directory must exist.

    Raises:
      UserError: if no link can be made.
    """
    absolute = path.resolve()
    if PLAIN.fullmatch(str(absolute)):
        yield str(absolute)
        return
    link, made = Path(), contextlib.ExitStack()
    with made:
        try:
            folder = made.enter_context(tempfile.TemporaryDirectory(prefix="mismatch_lab-"))
            link = Path(folder).resolve() / "here"
            link.symlink_to(absolute.parent)
            problem = "" if PLAIN.fullmatch(str(link / absolute.name)) else f"{link} has such characters, too"
        except OSError as error:
            problem = refusal(error)
        if problem:
            raise UserError(
                f"{absolute} has characters that the checkpoint library takes for a pattern, and no link can be made to"
                f" it ({problem}); name a --workdir of letters and digits."
            )
        yield str(link / absolute.name)


def remove(path: Path) -> None:
    """Delete what has that name: a file, a directory with all in it, or a symbolic link, not what it points to.

    Raises:
      OSError: if it can't be deleted; where nothing has that name, nothing happens.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        if os.path.lexists(path):  # another process deletes it, too, and has taken a part
            raise
