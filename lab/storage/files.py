"""The one way in which the lab and its analysis write a file that a killed process must not leave half written."""

from __future__ import annotations

from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: to `<name>.partial` next to it, which then replaces it.

    A reader sees the old file or the new one, never a part. A `.partial` that a killed process left is overwritten.

    Args:
      path: the file; its directory must exist.
      content: text is written as UTF-8, with line ends as they are in it (a byte of a path that is no UTF-8 as an
        escape); bytes as they are.

    Raises:
      OSError: if the directory can't be written to or the disk is full; the old file is then unchanged.
    """
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
    partial.replace(path)
