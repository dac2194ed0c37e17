"""Why an ability breaks and what moves first; with the verdicts that is a study's `Findings`."""

from analysis.diagnosis.broken_ability import Diagnosis
from analysis.diagnosis.diagnose import CAUSES, STATUSES
from analysis.diagnosis.findings import Findings, find
from analysis.diagnosis.lead_lag import Trajectory

__all__ = ["CAUSES", "STATUSES", "Diagnosis", "Findings", "Trajectory", "find"]
