"""A study's claims, judged; and the rounds of refinement that judging asks for."""

from analysis.verdicts.claims import Bounds, Judged, ability_map, bounds, check, judge, judge_curves, with_family

__all__ = ["Bounds", "Judged", "ability_map", "bounds", "check", "judge", "judge_curves", "with_family"]
