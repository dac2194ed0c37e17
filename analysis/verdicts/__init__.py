"""A study's claims, judged; and the rounds of refinement that judging asks for."""

from analysis.verdicts.associated import Associated, associate
from analysis.verdicts.claims import Bounds, Judged, ability_map, bounds, check, gains, judge, judge_curves, with_family

__all__ = [
    "Associated",
    "Bounds",
    "Judged",
    "ability_map",
    "associate",
    "bounds",
    "check",
    "gains",
    "judge",
    "judge_curves",
    "with_family",
]
