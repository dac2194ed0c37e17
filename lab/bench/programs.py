"""The programs that the benchmarks time: the reference training program, its batches alone, matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lab.engine import Layout, Programs, device_grid
from lab.engine.plan import traced_arguments
from lab.nn.model import ModelSpec
from lab.prng import derive_key
from lab.training import step as train
from lab.training.step import Program, Schedule
from tasks import make
from tasks.mixture import Mixture

SHAPES = ((64, 32, 64), (32, 16, 32))  # width, tokens, batch
STEPS = 20
ROUNDS = 4
MATRIX = 1024


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
    started = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - started


def matrix_product(layout: Layout) -> tuple[Callable[[], Any], float]:
    """A call that multiplies matrices on every device at once, and its floating-point operations."""
    repeats = 10
    x = device_grid.to_devices(np.ones((layout.devices, MATRIX, MATRIX), np.float32), layout)

    def many(a: jax.Array) -> jax.Array:
        return lax.fori_loop(0, repeats, lambda _, y: jnp.dot(a, y) * jnp.float32(1e-3), a)

    programs = Programs(Layout(layout.platform, layout.devices, 1, 1))
    call = programs.get("matrix products", (), many, (x,))
    return lambda: call(x), 2.0 * MATRIX**3 * repeats * layout.devices


def training(program: Program, programs: Programs) -> tuple[Callable[[], Any], int]:
    """A call that trains a full chunk a device for STEPS steps, and the number of cells."""
    layout = programs.layout
    cells = layout.devices * layout.chunk
    seeds = device_grid.to_devices(np.arange(cells, dtype=np.int32), layout)
    _, knobs = traced_arguments([])
    knobs = device_grid.to_devices({name: np.full(cells, 1e-3, np.float32) for name in knobs}, layout)
    state = programs.get("initialisation", program, lambda s: train.init(program, s), (seeds,))(seeds)
    arguments = (jnp.int32(0), seeds, knobs, state)
    call = programs.get(
        "training", program, lambda t, s, k, x: train.train_call(program, t, s, k, x), arguments, shared=1
    )
    return lambda: call(*arguments), cells


def generation(program: Program, programs: Programs) -> Callable[[], Any]:
    """A call that only makes the batches of the same cells and steps."""
    layout, (label, _) = programs.layout, program.counts[0]
    seeds = device_grid.to_devices(np.arange(layout.devices * layout.chunk, dtype=np.int32), layout)

    def batches(seed: jax.Array) -> jax.Array:
        worlds = program.mixture.worlds(derive_key(seed, "world"))

        def one(total: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
            key = derive_key(seed, "batch", step)
            batch = program.mixture.batch(key, worlds, dict(program.counts), program.length)
            return total + sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in batch), None

        return lax.scan(one, jnp.float32(0), jnp.arange(STEPS, dtype=jnp.int32))[0]

    call = programs.get(f"generation of {label}", program, batches, (seeds,))
    return lambda: call(seeds)
