"""The one way to write a file that another process may read, or that a kill may interrupt."""

from __future__ import annotations

from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: into `<name>.partial` next to it, which then takes its place.

    Text is UTF-8 with its line ends as they are.

    Raises:
      OSError: if the directory can't be written to, or is full; the file is then as it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
