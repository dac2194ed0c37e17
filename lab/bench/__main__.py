"""How fast the engine is on this machine, `python -m lab.bench`, and what mechanisms cost, with `--mechanisms`.

The engine's benchmark prints, at the two reference shapes (2 layers, 4 heads, float32): cell-steps a second, the share
of this machine's matrix-product ceiling measured in the same run, the generators' share of a step, compile seconds,
and, where PyTorch is installed, the ratio to the best of PyTorch's arrangements of the same model: eager, with AdamW
fused and compiled, each as one process with all threads and as one process a core. Contenders are timed in turns and
the best of each is taken, so a ratio survives a noisy machine better than a time does. `--mechanisms` prints, for every
mechanism at a value at which it acts, its milliseconds a cell-step as a ratio to the same program without it, the two
timed in turns, and its compile seconds.
`--cells` trains grids of 8 to 512 cells as studies are: milliseconds a cell-step, and memory.

`--save=FILE` keeps the figures; `--compare=FILE` names those that got worse since, with exit status 1.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp

from lab.bench import baseline, grid_size, mechanisms
from lab.bench.baseline import TOLERANCE, Figure, Measured
from lab.bench.programs import ROUNDS, SHAPES, STEPS, flops, generation, matrix_product, reference, seconds_of, training
from lab.engine import Layout, Programs, local_layout, use_every_core
from lab.engine.device_grid import cores
from lab.errors import Parser, UserError, command
from lab.training.step import Program

TORCH_ARRANGEMENTS = ("eager", "fused", "compiled")  # see lab.bench.torch_reference


def torch_rates(program: Program) -> dict[str, float]:
    """Cell-steps a second of PyTorch by arrangement: each as one process with all threads and as one process a core.

    An arrangement that can't run here (`torch.compile` needs a C++ compiler) is left out.
    """
    spec, (_, batch) = program.spec, program.counts[0]
    sizes = [str(x) for x in (spec.vocab_size, program.length, batch, spec.width, spec.layers, spec.heads)]

    def together(arrangement: str, processes: int, threads: int) -> float | None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        reference = [sys.executable, "-m", "lab.bench.torch_reference", *sizes, str(threads), arrangement]
        running = [
            subprocess.Popen(
                reference, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment
            )
            for _ in range(processes)
        ]
        printed = [process.communicate()[0] for process in running]
        return None if any(process.returncode for process in running) else sum(map(float, printed))

    layouts = {"all threads": (1, cores())}
    if jax.default_backend() == "cpu":
        layouts["a process a core"] = (cores(), 1)
    found = {
        f"{arrangement}, {name}": together(arrangement, *layout)
        for arrangement in TORCH_ARRANGEMENTS
        for name, layout in layouts.items()
    }
    return {name: rate for name, rate in found.items() if rate is not None}


def yardstick() -> float:
    """CPU seconds of compiling a program that has nothing to do with the lab: the gradient of 16 dense layers."""

    def loss(kernels: jax.Array, x: jax.Array) -> jax.Array:
        for kernel in kernels:
            x = jnp.tanh(x @ kernel)
        return jnp.sum(x)

    started = time.process_time()
    jax.jit(jax.grad(loss)).lower(jnp.ones((16, 32, 32)), jnp.ones((8, 32))).compile()
    return time.process_time() - started


def measure(width: int, tokens: int, batch: int, layout: Layout) -> Measured:
    """The lines and figures of one reference shape."""
    shape = f"d={width} T={tokens} B={batch}"
    program, programs = reference(width, tokens, batch), Programs(layout)
    started = time.process_time()
    step, cells = training(program, programs)
    compiling, compile_seconds = time.process_time() - started, programs.seconds
    compiling /= min(yardstick() for _ in range(3))
    make_data = generation(program, programs)
    product, product_flops = matrix_product(layout)
    times = {"step": [], "data": [], "product": []}
    for _ in range(ROUNDS):  # in turns, so that a noisy neighbour hits all of them
        for name, call in (("step", step), ("data", make_data), ("product", product)):
            times[name].append(seconds_of(call))
    best = {name: min(seconds) for name, seconds in times.items()}
    rate = cells * STEPS / best["step"]
    ceiling = product_flops / best["product"]
    achieved = flops(program) * rate
    figures = [
        Figure(f"{shape}: rate", rate, "cell-steps/s", more=True),
        Figure(f"{shape}: share of the ceiling", achieved / ceiling, more=True, judged=True),
        Figure(f"{shape}: ceiling", ceiling / 1e9, "GFLOP/s", more=True),
        Figure(f"{shape}: generators", best["data"] / best["step"], "of a step"),
        Figure(f"{shape}: compile", compile_seconds, "s"),
        Figure(f"{shape}: compile, beside 16 dense layers", compiling, "times as many CPU seconds", judged=True),
    ]
    lines = [
        shape,
        f"  cell-steps/s           {rate:,.1f}  ({1e3 / rate:.2f} ms a cell-step, {cells} cells in a call)",
        f"  matrix products        {achieved / 1e9:,.1f} GFLOP/s, {achieved / ceiling:.0%} of the measured ceiling"
        f" ({ceiling / 1e9:,.0f} GFLOP/s)",
        f"  generators             {best['data'] / best['step']:.1%} of a step",
        f"  compile                {compile_seconds:.1f} s (initialisation and training)",
    ]
    rates = torch_rates(program) if importlib.util.find_spec("torch") else {}
    if rates:
        fastest = max(rates, key=lambda name: rates[name])
        lines += [f"  PyTorch                {name:<26} {value:,.1f} cell-steps/s" for name, value in rates.items()]
        lines.append(f"  ratio to the best      {rate / rates[fastest]:.2f} ({fastest})")
        figures.append(Figure(f"{shape}: ratio to the best PyTorch", rate / rates[fastest], more=True, judged=True))
    else:
        lines.append("  PyTorch                not installed: pip install -e '.[bench]'")
    return Measured(lines, figures)


def measures(kind: str, layout: Layout) -> Mapping[str, Callable[[], Measured]]:
    """The measurements of a benchmark by name, each a function of its own."""
    if kind == "mechanisms":
        return mechanisms.measures(layout)
    if kind == "cells":
        return {"cells": grid_size.measure}
    return {str(shape): lambda shape=shape: measure(*shape, layout) for shape in SHAPES}


def _parser() -> Parser:
    parser = Parser("lab.bench", __doc__)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--mechanisms", action="store_const", const="mechanisms", dest="kind", help="cost of each mechanism"
    )
    kinds.add_argument("--cells", action="store_const", const="cells", dest="kind", help="grids of 8 to 512 cells")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="name the figures that got worse since")
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help="the share by which a figure may get worse (%(default)s)"
    )
    return parser


@command
def main(arguments: Sequence[str]) -> int:
    """Print the benchmark of this machine. Exit status: 0, or 1 where something got slower than in a saved run."""
    args = _parser().read(arguments)
    if args.tolerance <= 0:
        raise UserError(f"--tolerance={args.tolerance:g} must be above 0: no two runs give quite the same figures.")
    if args.save and not args.save.parent.is_dir():
        raise UserError(f"--save={args.save} can't be written: there is no such directory.")
    use_every_core()
    layout = local_layout()
    run = baseline.start(args.kind or "shapes", layout)
    before = baseline.read(args.compare) if args.compare else None
    if before and (note := baseline.check_comparable(before, run, args.compare)):
        print(note)
    print(
        f"{layout.devices} × {run.machine['device']}, jax {jax.__version__}, width {layout.width},"
        f" chunk {layout.chunk}, load {run.load}"
    )
    figures: list[Figure] = []
    for measuring in measures(run.kind, layout).values():
        measured = baseline.measured_twice(measuring, before, args.tolerance)
        print("\n".join(measured.lines), flush=True)
        figures += measured.figures
    run = replace(run, figures={figure.name: figure for figure in figures})
    if args.save:
        baseline.save(run, args.save)
    if before is None:
        return 0
    print(*baseline.comparison(before, run, args.tolerance), sep="\n")
    return 1 if baseline.slower(before, figures, args.tolerance) else 0


if __name__ == "__main__":
    sys.exit(main())
