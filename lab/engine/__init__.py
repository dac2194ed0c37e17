"""The grid engine: plans a study, compiles its programs, trains its cells on all devices.

`lab.engine.trainer` is left out: only what trains imports it, the analysis never does (a contract in pyproject.toml).
"""

from lab.engine.device_grid import Layout, local_layout, memory_budget, use_every_core
from lab.engine.plan import Node, Plan, ProgramGroup, make_plan
from lab.engine.program_cache import Programs

__all__ = [
    "Layout",
    "Node",
    "Plan",
    "ProgramGroup",
    "Programs",
    "local_layout",
    "make_plan",
    "memory_budget",
    "use_every_core",
]
