"""What a study is judged by: its controls, its interim looks, the values of tuned knobs."""

from analysis.design.categories import (
    combinations_of,
    is_association,
    is_categorical,
    name_of,
    names_of,
    setting_of,
    value_at,
    values_of,
)
from analysis.design.controls import (
    BELOW,
    SIDE,
    cells_in,
    cells_of_other_axes,
    cells_of_strata,
    follows,
    in_stratum,
    matched_controls,
    neutral_value,
    sides,
    strata,
    two_sided,
    without_side,
)
from analysis.design.outlook import undecidable

__all__ = [
    "BELOW",
    "SIDE",
    "cells_in",
    "cells_of_other_axes",
    "cells_of_strata",
    "combinations_of",
    "follows",
    "in_stratum",
    "is_association",
    "is_categorical",
    "matched_controls",
    "name_of",
    "names_of",
    "neutral_value",
    "setting_of",
    "sides",
    "strata",
    "two_sided",
    "undecidable",
    "value_at",
    "values_of",
    "without_side",
]
