"""A study small enough to train in seconds, shared by the engine's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from analysis.metrics.registry import METRICS
from lab.engine import Plan, Programs, local_layout, make_plan
from lab.engine.trainer import Trainer
from lab.nn import model
from lab.storage import Store, open_store
from lab.study import Grid, axis, product
from lab.study.parse import parse
from lab.study.spec import Study
from lab.training import step as train
from tests import tiny_study


def tiny_config() -> Any:
    config = tiny_study.get_config()
    config.steps = dict(train=12, prune=6)
    config.saves = dict(train=2, prune=1)
    config.call_steps = 3
    config.schedule.warmup = 4
    config.evaluation.examples = 16
    return config


def tiny_sweep(sparsities: tuple[float, ...] = (0.0, 0.5), seeds: int = 3) -> Grid:
    return product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", range(seeds)))


class Silent:
    """A Progress that keeps all events."""

    def __init__(self) -> None:
        self.cell_steps = self.cells = self.skipped = 0
        self.programs: list[str] = []
        self.notes: list[str] = []

    def compiled(self, what: str, seconds: float) -> None:
        self.programs.append(what)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def resumed(self, cell_steps: int) -> None:
        self.skipped += cell_steps

    def advanced(self, cell_steps: int, cells: int) -> None:
        self.cell_steps += cell_steps
        self.cells += cells


def study_of(config: Any = None, grid: Grid | None = None) -> Study:
    return parse(config or tiny_config(), grid or tiny_sweep(), METRICS)


LAYOUT = local_layout()
PROGRAMS = Programs(LAYOUT)  # compiled programs are reused by all tests of a process
# One compiled program each: operation by operation the first call of a process takes seconds.
initial_params = jax.jit(model.init, static_argnums=1)
initial_state = jax.jit(train.init, static_argnums=0)


def carry_out(study: Study, workdir: Path, programs: Programs = PROGRAMS) -> tuple[Plan, Store, Silent]:
    plan = make_plan(study, LAYOUT)
    progress = Silent()
    store = open_store(workdir, study, progress.note)
    Trainer(plan, store, progress, programs).run()
    return plan, store, progress
