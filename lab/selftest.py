"""Known results, reproduced: `python -m lab.selftest [names]` trains each, and prints measured beside expected.

Two of them are failures that theory predicts. Every case runs through the same engine as a study, two seeds side by
side; on two CPU cores the whole takes some minutes. Exit status 1 if a measured value lies outside what is expected.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab import checkpoint
from lab.config import parse
from lab.errors import UserError, nearest
from lab.grid import axis, product, study_config
from lab.plan import make_plan
from lab.population import local_layout, use_every_core
from lab.programs import Programs
from lab.store import open_store
from lab.study import Trainer
from tasks.base import trivial

SEEDS = 2
Curves = dict[str, np.ndarray]  # split -> exact accuracy [seeds, evaluations]; 'step' -> [evaluations]


@dataclass(frozen=True)
class Case:
    """One known result.

    Attributes:
      expected: for a person.
      source: where it is known from.
      task: name and sizes, as in a study's config.
      steps, batch, layers, rate, decay: the training setting.
      measure: from curves and the trivial accuracy to (what to print, whether it is as expected).
    """

    expected: str
    source: str
    task: dict[str, Any]
    steps: int
    measure: Callable[[Curves, float], tuple[str, bool]]
    batch: int = 64
    layers: int = 2
    rate: float = 1e-3
    decay: float = 0.0


def _between(low: float, high: float) -> Callable[[Curves, float], tuple[str, bool]]:
    def measure(curves: Curves, floor: float) -> tuple[str, bool]:
        last = curves["iid"][:, -1]
        told = f"exact {', '.join(f'{x:.3f}' for x in last)} at step {curves['step'][-1]} (trivial {floor:.3f})"
        return told, bool(np.all((low <= last) & (last <= high)))

    return measure


def _groks(curves: Curves, floor: float) -> tuple[str, bool]:
    """Memorized first, generalized later: the training pairs are known well before the held-out ones."""
    del floor
    first = {name: _first_above(curves, name, 0.95) for name in ("seen", "iid")}
    told = f"training pairs ≥ .95 at step {first['seen']}, held-out pairs at step {first['iid']}"
    both = all(step is not None for step in first.values())
    return told, both and first["iid"] >= 2 * first["seen"]


def _first_above(curves: Curves, split: str, level: float) -> Any:
    above = np.flatnonzero((curves[split] >= level).all(axis=0))
    return int(curves["step"][above[0]]) if above.size else None


def _leaves_plateau(curves: Curves, floor: float) -> tuple[str, bool]:
    """Some evaluation sits at the trivial level, and the last is far above it."""
    mean = curves["iid"].mean(axis=0)
    on_it = np.flatnonzero(np.abs(mean - floor) < 0.5 * floor + 0.02)
    plateau = f"near {floor:.3f} until step {curves['step'][on_it[-1]]}" if on_it.size else "never on the plateau"
    return f"{plateau}, {mean[-1]:.3f} at step {curves['step'][-1]}", bool(on_it.size and mean[-1] > 0.9)


STAR = dict(task="path_star", degree=2, length=4, nodes=16)
CASES = {
    "path_star_forward": Case(
        "near 1/degree = .5: the first hop is a guess",
        "Bachmann & Nagarajan 2024, arXiv 2403.06963",
        dict(STAR, direction="forward"),
        3500,
        _between(0.35, 0.65),
    ),
    "path_star_reverse": Case(
        "solved (≥ .95)",
        "Bachmann & Nagarajan 2024, arXiv 2403.06963",
        dict(STAR, direction="reverse"),
        3500,
        _between(0.95, 1.0),
    ),
    "z6": Case(
        "solved (≥ .95)",
        "Liu et al. 2023, arXiv 2210.10749",
        dict(task="group_word", group="Z6", length=6),
        4500,
        _between(0.95, 1.0),
    ),
    "a5": Case(
        "not solved (≤ .2): a fixed depth can't follow a non-solvable group",
        "Merrill & Sabharwal 2023, arXiv 2207.00729; Liu et al. 2023, arXiv 2210.10749",
        dict(task="group_word", group="A5", length=6),
        4500,
        _between(0.0, 0.2),
    ),
    "modular_31": Case(
        "groks: memorized first, held-out pairs ≥ .95 at least twice as late",
        "Power et al. 2022, arXiv 2201.02177",
        dict(task="modular", p=31, operation="add", fraction=0.6),
        6000,
        _groks,
        layers=1,
        rate=3e-3,
        decay=0.3,
    ),
    "mqar_4": Case(
        "leaves its 1/K plateau and is solved (≥ .9)",
        "Arora et al. 2024, arXiv 2312.04927",
        dict(task="mqar", pairs=4),
        6000,
        _leaves_plateau,
    ),
}


def study_for(case: Case) -> Any:
    """The case as a study of one task, one stage, two seeds."""
    config = study_config()
    config.tasks.it = dict(case.task, examples=case.batch)
    config.model.layers = case.layers
    config.steps, config.saves = dict(train=case.steps), dict(train=14)
    config.claim.knob, config.claim.gains = "weight_decay.rate", dict(participation_ratio=1)
    config.claim.abilities = ("it/iid",)
    config.knobs = dict(optimizer=dict(learning_rate=case.rate))
    grid = product(axis("weight_decay.rate", (case.decay,)), axis("seed", range(SEEDS)))
    return parse(config, grid, ("participation_ratio",))


def run_case(case: Case) -> tuple[Curves, float]:
    """Train a case; its curves and the trivial accuracy of its iid split."""
    study = study_for(case)
    plan = make_plan(study, local_layout())
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder), study, print)
        Trainer(plan, store, _Quiet(), Programs(plan.layout)).run()
        found = [store.final(node.key) for node in plan.buckets[-1].nodes]
        histories = [checkpoint.rows(checkpoint.load(saved, "history"), [row]) for saved, row in found]
        names = found[0][0].meta["abilities"]
    curves = {
        name.split("/")[1]: np.concatenate([h["ability"][:, :, index, 0] for h in histories])
        for index, name in enumerate(names)
    }
    return curves | {"step": histories[0]["step"][0]}, trivial(study.tasks[0].task, "iid").exact


class _Quiet:
    def compiled(self, what: str, seconds: float) -> None: ...
    def note(self, text: str) -> None: ...
    def resumed(self, cell_steps: int) -> None: ...
    def advanced(self, cell_steps: int, cells: int) -> None: ...


def main(names: list[str]) -> int:
    """Run the named cases, all of them by default; the number that failed decides the exit status."""
    use_every_core()
    for name in names:
        if name not in CASES:
            raise UserError(f"unknown case '{name}'. {nearest(name, CASES)}")
    failed = 0
    for name in names or CASES:
        begun = time.perf_counter()
        told, as_expected = CASES[name].measure(*run_case(CASES[name]))
        failed += not as_expected
        print(f"{name}: {'as expected' if as_expected else 'NOT AS EXPECTED'} ({time.perf_counter() - begun:.0f} s)")
        print(f"  expected  {CASES[name].expected} [{CASES[name].source}]")
        print(f"  measured  {told}", flush=True)
    print(f"{len(names or CASES) - failed} of {len(names or CASES)} as expected")
    return int(failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
