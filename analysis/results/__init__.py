"""What was measured of a study, as arrays with a row for each cell and evaluation; and the records of later stages."""

from analysis.results.costs import Costs
from analysis.results.curves import Curve, ability_curve, ability_floor, claimed_floor, curve, reading_curve
from analysis.results.density import Density
from analysis.results.from_csv import from_csv
from analysis.results.places import evaluation_at
from analysis.results.records import NO_RECORDS, Records
from analysis.results.table import Results, collect, shared_evaluations, to_csv

__all__ = [
    "NO_RECORDS",
    "Costs",
    "Curve",
    "Density",
    "Records",
    "Results",
    "ability_curve",
    "ability_floor",
    "claimed_floor",
    "collect",
    "curve",
    "evaluation_at",
    "from_csv",
    "reading_curve",
    "shared_evaluations",
    "to_csv",
]
