"""What a study is: named axes and their grid, the study's file, its checked form.

A study's file needs nothing else of the lab: `from lab.study import axis, product, study_config`. `lab.study.parse`,
`lab.study.schema` and `lab.study.spec` are left out: they load JAX, and a mistake in a command line is answered before
that.
"""

from lab.study.frozen import frozen_config
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
from lab.study.places import ability, gain

__all__ = [
    "Axis",
    "Grid",
    "ability",
    "axis",
    "chain",
    "conditional",
    "frozen_config",
    "gain",
    "grown",
    "loguniform",
    "product",
    "study_config",
    "subsample",
    "tuned",
    "uniform",
    "zipped",
]
