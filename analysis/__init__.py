"""What was learned, read from the checkpoints alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.library import OpenStudy

__all__ = ["open_study"]


def open_study(path: str | Path) -> OpenStudy:
    """Open a work directory to read it: results, verdicts and hidden states; see `analysis.library`."""
    from analysis import library  # here, so that importing one small module of this room doesn't import jax

    return library.open_study(path)
