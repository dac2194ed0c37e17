"""The index of a checkpoint: its cells, their stage, what its numbers are called, and a digest of it all.

The checksums of a checkpoint's items are part of its index, and the digest covers the names of its directories, too. So
neither a changed byte nor another chunk's or step's directory in its place is believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.storage.files import DIGEST, digest_of, is_number

ITEMS = ("params", "state", "history")
KEY = re.compile(r"[0-9a-f]{16}")
LAYOUT = {"platform", "devices", "width", "chunk"}
FIELDS = {"cells", "stage", "capacity", "layout", "abilities", "made_with", "spare", "checksums"}


def sealed(meta: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """An index with its digest.

    Args:
      meta: the index.
      path: of the checkpoint, <chunk>/<step>.
    """
    return {**meta, DIGEST: _digest(meta, path)}


def verified(meta: Any, path: Path) -> dict[str, Any]:
    """An index as it was written, without its digest.

    Checkpoints of earlier versions have no digest and stay readable: of those, types, lengths and names are checked.

    Args:
      meta: what was read.
      path: of the checkpoint.

    Raises:
      ValueError: if it is none, was changed after it was written, or is that of another directory.
    """
    if not isinstance(meta, dict):
        raise ValueError("no index of cells")
    index = {name: value for name, value in meta.items() if name != DIGEST}
    if meta[DIGEST] != _digest(index, path) if DIGEST in meta else not _is_index(index, path):
        raise ValueError("not the index that was written here")
    return index


def _digest(meta: Mapping[str, Any], path: Path) -> str:
    return digest_of([path.parent.name, path.name, meta])


def _is_index(meta: dict[str, Any], path: Path) -> bool:
    """Whether an index without a digest has the fields of one, and is of its chunk's cells."""
    cells, abilities, layout, checksums = (meta.get(n) for n in ("cells", "abilities", "layout", "checksums"))
    stage, capacity = meta.get("stage"), meta.get("capacity", 0)
    return (
        meta.keys() <= FIELDS
        and _are_names(cells)
        and all(KEY.fullmatch(key) for key in cells or ())
        and path.parent.name == f"{stage}-{digest_of(cells)}"
        and _are_names(abilities)
        and all("/" in name for name in abilities or ())
        and _is_count(capacity)
        and capacity >= len(cells or ())
        and isinstance(layout, dict)
        and layout.keys() == LAYOUT
        and isinstance(layout["platform"], str)
        and all(_is_count(layout[name]) for name in LAYOUT - {"platform"})
        and isinstance(checksums, dict)
        and checksums.keys() == {*ITEMS}
        and all(isinstance(value, int) and is_number(value) for value in checksums.values())
        and isinstance(meta.get("made_with", {}), dict)
        and meta.get("spare", True) is True
    )


def _are_names(value: Any) -> bool:
    """Whether a JSON value is a list of different texts, at least one."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and 0 < len(value) == len({*value})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and is_number(value) and value > 0
