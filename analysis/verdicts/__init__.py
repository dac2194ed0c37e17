"""A study's claims, judged; and the rounds of refinement that judging asks for."""

from analysis.verdicts.claims import Bounds, Judged, bounds, bounds_verdict, check, judge

__all__ = ["Bounds", "Judged", "bounds", "bounds_verdict", "check", "judge"]
