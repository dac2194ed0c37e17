"""What a study is judged by: its controls, its interim looks, the values of tuned knobs."""

from analysis.design.controls import (
    cells_in,
    cells_of_strata,
    follows,
    in_stratum,
    matched_controls,
    neutral_value,
    strata,
)
from analysis.design.outlook import undecidable

__all__ = [
    "cells_in",
    "cells_of_strata",
    "follows",
    "in_stratum",
    "matched_controls",
    "neutral_value",
    "strata",
    "undecidable",
]
