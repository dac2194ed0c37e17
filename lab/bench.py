"""How fast the engine is on this machine, `python -m lab.bench`, and what mechanisms cost, with `--mechanisms`.

The first prints, at the two reference shapes (2 layers, 4 heads, float32): cell-steps a second, the share of this
machine's matrix-product ceiling measured in the same run, the generators' share of a step, compile seconds, and, where
PyTorch is installed, the ratio to an eager PyTorch loop of the same model (the better of one process with all threads
and one process a core). Contenders are timed in turns and the best of each is taken, so a ratio survives a noisy
machine better than a time does. The second prints, for every mechanism at a value at which it acts, its milliseconds a
cell-step as a ratio to the same program without it, the two timed in turns, and its compile seconds.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lab import population, train
from lab.errors import UserError
from lab.knobs import KNOBS
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import Knob
from lab.model import ModelSpec
from lab.plan import traced_arguments
from lab.population import Layout, cores, local_layout, use_every_core
from lab.programs import Programs
from lab.randomness import address
from lab.train import Program, Schedule
from tasks import make
from tasks.mixture import Mixture

SHAPES = ((64, 32, 64), (32, 16, 32))  # width, tokens, batch
STEPS = 20
ROUNDS = 4
MATRIX = 1024
# Values at which mechanisms are timed, where `typical` would give one that does little or is out of proportion.
TYPICAL = {
    "batch.share": 0.5,
    "curriculum.order": "progress",
    "fsq.levels": 8,
    "vq.codes": 64,
    "loop.turns": 2,
    "experts.top_k": 2,
    "multi_token.ahead": 2,
    "width.active": 0.5,
    "head_dim.active": 0.5,
    "prune.scope": "global",
    "spectral_cap.norm": 1.0,
}


def reference(width: int, tokens: int, batch: int) -> Program:
    """The training program of a reference shape: the word problem in Z6, answered at every token."""
    mixture = Mixture((("word", make("group_word", group="Z6", length=tokens, longer=tokens + 1)),))
    spec = ModelSpec(mixture.vocab_size, tokens, width, layers=2, heads=4, mlp_width=4 * width)
    return Program(spec, mixture, (("word", batch),), tokens, Schedule(), call_steps=STEPS)


def copying(width: int, tokens: int, batch: int) -> Program:
    """The same for copying: symbols that may be renamed, and an answer that is fed back."""
    half = (tokens - 1) // 2
    mixture = Mixture((("copy", make("copy", length=half, longer=half + 1)),))
    spec = ModelSpec(mixture.vocab_size, tokens, width, layers=2, heads=4, mlp_width=4 * width)
    length = mixture.length({"copy": "train"})
    return Program(spec, mixture, (("copy", batch),), length, Schedule(), call_steps=STEPS)


def flops(program: Program) -> float:
    """Floating-point operations of a step in matrix products, attention's included: three times the forward pass."""
    spec, (_, batch) = program.spec, program.counts[0]
    weights = spec.layers * (4 * spec.width**2 + 2 * spec.width * spec.mlp_width) + spec.width * spec.vocab_size
    attention = spec.layers * 2 * program.length * spec.width
    return 3 * 2.0 * batch * program.length * (weights + attention)


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of one call, waiting for its result."""
    begun = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begun


def matrix_product(layout: Layout) -> tuple[Callable[[], Any], float]:
    """A call that multiplies matrices on every device at once, and its floating-point operations."""
    repeats = 10
    x = population.place(np.ones((layout.devices, MATRIX, MATRIX), np.float32), layout)

    def many(a: jax.Array) -> jax.Array:
        return lax.fori_loop(0, repeats, lambda _, y: jnp.dot(a, y) * jnp.float32(1e-3), a)

    programs = Programs(Layout(layout.platform, layout.devices, 1, 1))
    call = programs.get("matrix products", (), many, (x,))
    return lambda: call(x), 2.0 * MATRIX**3 * repeats * layout.devices


def training(program: Program, programs: Programs) -> tuple[Callable[[], Any], int]:
    """A call that trains a full chunk a device for STEPS steps, and the number of cells."""
    layout = programs.layout
    cells = layout.devices * layout.chunk
    seeds = population.place(np.arange(cells, dtype=np.int32), layout)
    _, knobs = traced_arguments([])
    knobs = population.place({name: np.full(cells, 1e-3, np.float32) for name in knobs}, layout)
    state = programs.get("initialisation", program, lambda s: train.init(program, s), (seeds,))(seeds)
    arguments = (jnp.int32(0), seeds, knobs, state)
    call = programs.get(
        "training", program, lambda t, s, k, x: train.train_call(program, t, s, k, x), arguments, shared=1
    )
    return lambda: call(*arguments), cells


def generation(program: Program, programs: Programs) -> Callable[[], Any]:
    """A call that only makes the batches of the same cells and steps."""
    layout, (label, _) = programs.layout, program.counts[0]
    seeds = population.place(np.arange(layout.devices * layout.chunk, dtype=np.int32), layout)

    def batches(seed: jax.Array) -> jax.Array:
        worlds = program.mixture.worlds(address(seed, "world"))

        def one(total: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
            key = address(seed, "batch", step)
            batch = program.mixture.batch(key, worlds, dict(program.counts), program.length)
            return total + sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in batch), None

        return lax.scan(one, jnp.float32(0), jnp.arange(STEPS, dtype=jnp.int32))[0]

    call = programs.get(f"generation of {label}", program, batches, (seeds,))
    return lambda: call(seeds)


def torch_rates(program: Program) -> dict[str, float]:
    """Cell-steps a second of eager PyTorch: one process with all threads, and one process a core."""
    spec, (_, batch) = program.spec, program.counts[0]
    sizes = [str(x) for x in (spec.vocab_size, program.length, batch, spec.width, spec.layers, spec.heads)]

    def together(processes: int, threads: int) -> float:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "lab.bench_torch", *sizes, str(threads)]
        running = [
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(processes)
        ]
        return sum(float(process.communicate()[0]) for process in running)

    if jax.default_backend() != "cpu":
        return {"one process": together(1, cores())}
    return {"one process, all threads": together(1, cores()), "one process a core": together(cores(), 1)}


def measure(width: int, tokens: int, batch: int, layout: Layout) -> list[str]:
    """The lines for one reference shape."""
    program, programs = reference(width, tokens, batch), Programs(layout)
    step, cells = training(program, programs)
    compile_seconds = programs.seconds
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
    lines = [
        f"d={width} T={tokens} B={batch}",
        f"  cell-steps/s           {rate:,.1f}  ({1e3 / rate:.2f} ms a cell-step, {cells} cells in a call)",
        f"  matrix products        {achieved / 1e9:,.1f} GFLOP/s, {achieved / ceiling:.0%} of the measured ceiling"
        f" ({ceiling / 1e9:,.0f} GFLOP/s)",
        f"  generators             {best['data'] / best['step']:.1%} of a step",
        f"  compile                {compile_seconds:.1f} s (initialisation and training)",
    ]
    if importlib.util.find_spec("torch"):
        rates = torch_rates(program)
        fastest = max(rates.values())
        told = ", ".join(f"{name} {value:,.1f}" for name, value in rates.items())
        lines.append(f"  eager PyTorch          {told} cell-steps/s: ratio {rate / fastest:.2f}")
    else:
        lines.append("  eager PyTorch          not installed: pip install -e '.[bench]'")
    return lines


def typical(knob: Knob) -> Any:
    """A value at which a knob does something: the last choice, 4, or halfway to the end of its range, 1 at most."""
    if knob.name in TYPICAL:
        return TYPICAL[knob.name]
    if knob.choices:
        return knob.choices[-1]
    if knob.neutral is None:
        return knob.base
    if knob.integer:
        return int(np.clip(4, knob.low, knob.high))
    end = max((knob.low, knob.high), key=lambda end: abs(end - knob.neutral))
    return knob.neutral + float(np.clip((end - knob.neutral) / 2, -1, 1))


def settings(mechanism: str) -> dict[str, Any]:
    """Every knob's value in a program with one mechanism at work: what shapes its strengths is at its default."""
    values = {name: knob.base for name, knob in KNOBS.items()} | {"seed": 0}
    for knob in MECHANISMS[mechanism].knobs if mechanism else ():
        if not knob.needs or knob.name in TYPICAL:
            values[knob.name] = typical(knob)
    return values


def with_mechanism(plain: Program, mechanism: str, values: dict[str, Any]) -> Program:
    """The program with one mechanism compiled in, which acts from its first step."""
    static = tuple((k.name, values[k.name]) for k in MECHANISMS[mechanism].knobs if not k.traced)
    spec = MECHANISMS[mechanism].shape(plain.spec, values)
    return replace(plain, spec=spec, mechanisms=(mechanism,), entering=(mechanism,), static=static)


def stepping(program: Program, values: dict[str, Any], programs: Programs) -> tuple[Callable[[], Any], float]:
    """A call that trains one cell a device for STEPS steps from the first on, and the seconds its compilation took."""
    cells = programs.layout.devices
    placed = lambda tree: population.place(tree, programs.layout)  # noqa: E731
    seeds = placed(np.arange(cells, dtype=np.int32))
    traced = [name for name, knob in KNOBS.items() if knob.traced and name != "seed"]
    knobs = placed({name: np.full(cells, KNOBS[name].number(values[name]), np.float32) for name in traced})

    def begun(seed: jax.Array, knobs: dict[str, jax.Array]) -> train.State:
        return train.begin(program, train.init(program, seed), knobs, seed, jnp.int32(0))

    state = programs.get("beginning", program, begun, (seeds, knobs))(seeds, knobs)
    before, arguments = programs.seconds, (jnp.int32(0), seeds, knobs, state)
    call = programs.get(
        "training", program, lambda t, s, k, x: train.train_call(program, t, s, k, x), arguments, shared=1
    )
    return lambda: call(*arguments), programs.seconds - before


def mechanism_row(mechanism: str, plain: Program, without: Callable[[], Any], programs: Programs) -> str:
    """A line of the table: the mechanism, its knobs' values, the ratio, milliseconds, compile seconds.

    Where it can't act on the plain program's task, beside a program that copies.
    """
    values = settings(mechanism)
    moved = [k for k in MECHANISMS[mechanism].knobs if values[k.name] != k.base]
    told = ", ".join(f"{k.name} {values[k.name]}" for k in moved)
    objects = MECHANISMS[mechanism].objection
    if objects(plain.mixture, plain.spec, values):
        plain = copying(*SHAPES[0])
        if objection := objects(plain.mixture, plain.spec, values):
            return f"| {mechanism} | {told} | — | — | — | {objection} |"
        told = f"{told}; copying"
        without, _ = stepping(plain, settings(""), programs)
        seconds_of(without)
    call, compile_seconds = stepping(with_mechanism(plain, mechanism, values), values, programs)
    times = {"with": [], "without": []}
    for _ in range(ROUNDS):
        times["with"].append(seconds_of(call))
        times["without"].append(seconds_of(without))
    best = {name: min(seconds) for name, seconds in times.items()}
    milliseconds = 1e3 * best["with"] / (STEPS * programs.layout.devices)
    ratio = best["with"] / best["without"]
    return f"| {mechanism} | {told} | {ratio:.2f} | {milliseconds:.2f} | {compile_seconds:.1f} |"


def measure_mechanisms(layout: Layout) -> None:
    """Print the table of mechanisms at the first reference shape, a line as soon as it is measured."""
    programs = Programs(replace(layout, chunk=layout.width))
    plain = reference(*SHAPES[0])
    without, compile_seconds = stepping(plain, settings(""), programs)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    print(f"load {load}; the plain program compiles in {compile_seconds:.1f} s\n")
    print("| mechanism | at | ratio to plain | ms a cell-step | compile, s |\n|---|---|---|---|---|")
    seconds_of(without)
    for mechanism in MECHANISMS:
        print(mechanism_row(mechanism, plain, without, programs), flush=True)


def main(arguments: list[str]) -> int:
    """Print the benchmark of this machine."""
    if arguments not in ([], ["--mechanisms"]):
        raise UserError(f"unknown arguments '{' '.join(arguments)}': `python -m lab.bench` takes --mechanisms or none.")
    use_every_core()
    layout = local_layout()
    device = jax.local_devices()[0].device_kind
    print(f"{layout.devices} × {device}, jax {jax.__version__}, width {layout.width}, chunk {layout.chunk}")
    if arguments:
        measure_mechanisms(layout)
        return 0
    for shape in SHAPES:
        print("\n".join(measure(*shape, layout)), flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
