"""What a study is: named axes and their grid, the study's file, its checked form.

A study's file needs nothing else of the lab: `from lab.study import axis, product, study_config`.
"""

from lab.study.grid import (
    Axis,
    Grid,
    axis,
    chain,
    conditional,
    grown,
    loguniform,
    product,
    study_config,
    subsample,
    tuned,
    uniform,
    zipped,
)
from lab.study.parse import parse
from lab.study.spec import Claim, Stage, Study, TaskUse, digest

__all__ = [
    "Axis",
    "Claim",
    "Grid",
    "Stage",
    "Study",
    "TaskUse",
    "axis",
    "chain",
    "conditional",
    "digest",
    "grown",
    "loguniform",
    "parse",
    "product",
    "study_config",
    "subsample",
    "tuned",
    "uniform",
    "zipped",
]
