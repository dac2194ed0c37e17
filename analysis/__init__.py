"""What a study found, read from its checkpoints alone.

`open_study` and `judge_arrays` are the library; they import what they need when they are called, so that importing one
small module of this package doesn't import JAX.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.external.judge import Arrays
    from analysis.study import OpenStudy

__all__ = ["judge_arrays", "open_study"]


def open_study(path: str | Path) -> OpenStudy:
    """Open a work directory to read it: results, findings and hidden states; see `analysis.study`."""
    from analysis import study

    return study.open_study(path)


def judge_arrays(arrays: Mapping[str, Any]) -> Arrays:
    """Judge hidden states, or metrics, and abilities from elsewhere as a study's own; see docs/npz.md."""
    from analysis.external import judge

    return judge.judge_arrays(arrays)
