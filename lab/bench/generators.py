"""What the generators cost: `python -m lab.bench.generators [TASK …]`.

For each task at its default sizes: its share of a training step at d=64 (2 layers, 4 heads, 64 examples, float32), and
the examples a second that it makes on its own, compiled alone, 1,024 together. Where reasoning-gym is installed (the
`bench` extra), its nearest generators are timed at matched sizes, one Python process on one core, and ours are counted
per core as well. Contenders are timed in turns and the best of each is taken.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lab.bench.programs import ROUNDS, STEPS, generation, seconds_of, training
from lab.engine import Layout, Programs, device_grid, local_layout, use_every_core
from lab.errors import Parser, UserError, command, nearest
from lab.nn.model import ModelSpec
from lab.training.step import Program, Schedule
from tasks import TASKS, make
from tasks.base import Task
from tasks.mixture import Mixture

WIDTH, BATCH = 64, 64
ALONE, ALONE_BATCH = 16384, 1024  # examples of one call, and made together, when a generator runs on its own
BUDGET, SEARCH_BUDGET = 0.05, 0.15  # of a step; where making an example takes a search
SEARCH = ("maze", "sudoku4", "graph_search", "countdown")


@dataclass(frozen=True)
class Rival:
    """A generator of reasoning-gym and the sizes at which ours makes the same kind of example.

    Attributes:
      dataset: its name there.
      theirs: its settings.
      ours: the fields of our task.
    """

    dataset: str
    theirs: dict[str, Any]
    ours: dict[str, Any]


RIVALS = {
    "path_star": Rival(
        "path_star",
        {"degree": 2, "node_range": 16, "min_path_length": 4, "max_path_length": 4},  # theirs counts edges
        {"degree": 2, "length": 5, "nodes": 16},
    ),
    "maze": Rival(
        "maze",
        {"min_grid_size": 5, "max_grid_size": 5, "min_dist": 1, "max_dist": 8},  # theirs counts the outer walls
        {"side": 3, "larger": 4, "farthest": 4, "farther": 6},
    ),
    "hanoi": Rival(
        "tower_of_hanoi",
        {"min_disks": 3, "max_disks": 3, "min_pegs": 3, "max_pegs": 3},
        {"disks": 3, "answer": "plan"},
    ),
    "sudoku4": Rival("mini_sudoku", {"min_empty": 8, "max_empty": 8}, {"clues": 8}),
    "countdown": Rival(
        "countdown",
        {"min_numbers": 3, "max_numbers": 3, "min_value": 1, "max_value": 29, "min_target": 1, "max_target": 29},
        {"operands": 3},
    ),
}


def program_of(task: Task) -> Program:
    """Training of one task alone at the reference width."""
    mixture, length = Mixture((("it", task),)), task.splits["train"].length
    spec = ModelSpec(mixture.vocab_size, length, WIDTH, layers=2, heads=4, mlp_width=4 * WIDTH)
    return Program(spec, mixture, (("it", BATCH),), length, Schedule(), call_steps=STEPS)


def share_of_step(task: Task, layout: Layout) -> tuple[float, float]:
    """(milliseconds of a cell-step, the generator's share of it)."""
    program, programs = program_of(task), Programs(layout)
    step, cells = training(program, programs)
    make_data = generation(program, programs)
    times = [(seconds_of(step), seconds_of(make_data)) for _ in range(ROUNDS)]
    best_step, best_data = (min(column) for column in zip(*times, strict=True))
    return 1e3 * best_step / (cells * STEPS), best_data / best_step


def alone(task: Task, layout: Layout) -> Callable[[], Any]:
    """A call that makes ALONE examples on every device and adds them up, so that none can be left out."""
    split = task.splits["train"]

    def many(seed: jax.Array) -> jax.Array:
        world = task.world(jax.random.key(seed))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), ALONE // ALONE_BATCH)

        def batch(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            draw = jax.vmap(lambda k: task.sample(k, world, dict(split.difficulty), split.length))
            leaves = jax.tree.leaves(draw(jax.random.split(key, ALONE_BATCH)))
            return total + sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in leaves), None

        return lax.scan(batch, jnp.float32(0), keys)[0]

    programs = Programs(Layout(layout.platform, layout.devices, 1, 1))
    seeds = device_grid.to_devices(jnp.arange(layout.devices, dtype=jnp.int32), layout)
    call = programs.get("examples alone", task, many, (seeds,))
    return lambda: call(seeds)


def rates(task: Task, rival: Rival, layout: Layout) -> tuple[float, float]:
    """Examples a second on one core: (ours, reasoning-gym's)."""
    reasoning_gym = importlib.import_module("reasoning_gym")  # of the bench extra
    ours, theirs, count = alone(make(task.name, **rival.ours), layout), [], 100
    times = []
    for seed in range(ROUNDS):
        dataset = reasoning_gym.create_dataset(rival.dataset, size=count, seed=seed, **rival.theirs)
        started = time.perf_counter()
        for index in range(count):
            dataset[index]
        theirs.append(count / (time.perf_counter() - started))
        times.append(seconds_of(ours))
    return ALONE / min(times), max(theirs)


def _parser() -> Parser:
    parser = Parser("lab.bench.generators", __doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="a task's name (every task)")
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Print the table, for all tasks by default."""
    names = _parser().read(arguments).tasks
    for name in names:
        if name not in TASKS:
            raise UserError(f"unknown task '{name}'. {nearest(name, TASKS)}")
    use_every_core()
    layout = local_layout()
    device = jax.local_devices()[0].device_kind
    print(f"{layout.devices} × {device}, jax {jax.__version__}; d={WIDTH}, {BATCH} examples a step\n")
    print("| task | tokens | ms a cell-step | generator's share | examples/s, a device |")
    print("|---|---|---|---|---|")
    for name in names or TASKS:
        task = make(name)
        step, share = share_of_step(task, layout)
        call = alone(task, layout)
        rate = ALONE / min(seconds_of(call) for _ in range(ROUNDS))
        mark = "" if share < (SEARCH_BUDGET if name in SEARCH else BUDGET) else " (over)"
        print(f"| {name} | {task.splits['train'].length} | {step:.2f} | {share:.1%}{mark} | {rate:,.0f} |", flush=True)
    rivals = {name: rival for name, rival in RIVALS.items() if not names or name in names}
    if rivals and not importlib.util.find_spec("reasoning_gym"):
        print("\nreasoning-gym is not installed: pip install -e '.[bench]'")
        return 0
    print("\n| task | sizes | examples/s, a device | reasoning-gym, a core | ratio |\n|---|---|---|---|---|")
    for name, rival in rivals.items():
        mine, theirs = rates(make(name), rival, layout)
        sizes = ", ".join(f"{field} {value}" for field, value in rival.ours.items())
        print(f"| {name} | {sizes} | {mine:,.0f} | {theirs:,.0f} | {mine / theirs:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
