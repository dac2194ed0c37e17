"""What repairs a broken ability: arms that are trained from a study's checkpoints."""

from analysis.repair.arms import ARMS
from analysis.repair.branch_study import (
    NOTHING,
    RepairPlan,
    carry_out,
    check,
    plan_repair,
    suspected_shortcuts,
    targets,
)

__all__ = ["ARMS", "NOTHING", "RepairPlan", "carry_out", "check", "plan_repair", "suspected_shortcuts", "targets"]
