"""Does a grid's size matter? `python -m lab.bench --cells` trains 8, 64 and 512 cells of one tiny model as a study is.

Each grid is trained by a process of its own, evaluation and checkpoints included, so that its peak of memory is its
own. Every process trains 512 cells in all, a smaller grid so many times over, and sizes take turns.

python -m lab.bench.grid_size CELLS    one of these processes; prints its measurements as JSON
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lab.bench.baseline import Figure, Measured
from lab.engine import Programs, local_layout, make_plan, use_every_core
from lab.engine.progress import Quiet
from lab.engine.trainer import Trainer
from lab.errors import Parser, UserError, command
from lab.storage import open_store
from lab.study import axis, product, study_config
from lab.study.parse import parse
from lab.study.spec import Study

CELLS = (8, 64, 512)
ROUNDS = 2
STEPS = 400


class Grid(NamedTuple):
    """The costs of training one grid.

    Attributes:
      seconds: on the clock, of a cell-step, compilation left out.
      cpu_seconds: of all threads, the same.
      peak: most bytes of the whole process.
    """

    seconds: float
    cpu_seconds: float
    peak: int


def study_of(cells: int) -> Study:
    """One small task, one stage, that many seeds."""
    config = study_config()
    config.tasks.word = dict(task="group_word", group="Z6", length=8, examples=16)
    config.model.update(dict(width=16, layers=1, heads=2, mlp_width=64))
    config.steps, config.saves, config.evaluation.examples = dict(train=STEPS), dict(train=1), 64
    config.claim.knob, config.claim.gains = "weight_decay.rate", dict(participation_ratio=1)
    config.claim.abilities = ("word/iid",)
    return parse(config, product(axis("weight_decay.rate", (0.0,)), axis("seed", range(cells))), config.claim.gains)


def train(cells: int) -> Grid:
    """Train a grid in this process: first a small one, so that programs are compiled, then the whole."""
    layout = local_layout()
    programs, study = Programs(layout), study_of(cells)

    def once(study: Study) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            store, plan = open_store(Path(folder), study, print), make_plan(study, layout)
            started, cpu = time.perf_counter(), time.process_time()
            Trainer(plan, store, Quiet(), programs).run()
            return time.perf_counter() - started, time.process_time() - cpu

    once(study_of(min(cells, layout.devices * layout.chunk)))
    times = [once(study) for _ in range(max(1, CELLS[-1] // cells))]
    seconds, cpu_seconds = (sum(column) / (len(times) * cells * STEPS) for column in zip(*times, strict=True))
    unit = 1 if sys.platform == "darwin" else 1024
    return Grid(seconds, cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measure() -> Measured:
    """The table, and each size's figures as ratios to the smallest grid's."""
    found: dict[int, list[Grid]] = {cells: [] for cells in CELLS}
    for _ in range(ROUNDS):
        for cells, grids in found.items():
            one_grid = [sys.executable, "-m", "lab.bench.grid_size", str(cells)]
            grids.append(Grid(**json.loads(subprocess.run(one_grid, stdout=subprocess.PIPE, check=True).stdout)))
    best = {cells: Grid(*(min(column) for column in zip(*grids, strict=True))) for cells, grids in found.items()}
    lines = [
        "| cells | ms a cell-step | ratio to the fewest | CPU ms a cell-step | ratio to the fewest | MiB at most |"
    ]
    lines.append("|---|---|---|---|---|---|")
    figures, fewest = [], best[CELLS[0]]
    for cells, grid in best.items():
        wall, cpu = grid.seconds / fewest.seconds, grid.cpu_seconds / fewest.cpu_seconds
        lines.append(
            f"| {cells} | {1e3 * grid.seconds:.4f} | {wall:.2f} | {1e3 * grid.cpu_seconds:.4f} | {cpu:.2f}"
            f" | {grid.peak / 2**20:,.0f} |"
        )
        figures.append(Figure(f"{cells} cells: time", 1e3 * grid.seconds, "ms a cell-step"))
        if cells != CELLS[0]:
            figures.append(Figure(f"{cells} cells: CPU time", cpu, f"of {CELLS[0]} cells'", judged=True))
            memory = grid.peak / fewest.peak
            figures.append(Figure(f"{cells} cells: memory", memory, f"of {CELLS[0]} cells'", judged=True))
    return Measured(lines, figures)


def _parser() -> Parser:
    parser = Parser("lab.bench.grid_size", __doc__)
    parser.add_argument("cells", type=int, metavar="CELLS", help="how many cells the grid has")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Train one grid and print its costs as JSON: the fields of `Grid`."""
    cells = _parser().read(arguments).cells
    if cells < 1:
        raise UserError(f"CELLS={cells} must be 1 or more.")
    use_every_core()
    print(json.dumps(train(cells)._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
