"""Cells are independent: no collectives, a NaN cell harms nobody, alone or together they end in the same bits."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lab.engine import Layout, device_grid, local_layout, make_plan
from lab.engine.plan import traced_arguments
from lab.training import step
from tests.lab.conftest import study_of

ROOT = Path(__file__).parents[3]
COLLECTIVES = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast")


@pytest.fixture(scope="module")
def plan():
    return make_plan(study_of(), local_layout())


@pytest.fixture(scope="module")
def training(plan):
    """(a program of the plan, its call on all cells), compiled once for all tests: as shipped."""
    program = plan.program_groups[-1].program
    return program, lifted(program, plan.layout)


def lifted(program, layout):
    call = lambda start, seed, knobs, state: step.train_call(program, start, seed, knobs, state)  # noqa: E731
    return device_grid.over_cells(call, layout, shared=1, own=3)


def arguments(plan, program, cells=4, **changed):
    nodes = device_grid.padded(list(plan.program_groups[-1].nodes), cells)[:cells]
    seeds, knobs = traced_arguments(nodes)
    for name, values in changed.items():
        knobs[name] = jnp.asarray(values, jnp.float32)
    begin = device_grid.over_cells(lambda s, k, x: step.begin(program, x, k, s, jnp.int32(0)), plan.layout, own=3)
    plain = replace(program, mechanisms=(), starting=(), static=())
    return jnp.int32(0), seeds, knobs, begin(seeds, knobs, fresh(plain, plan.layout)(seeds))


@functools.cache
def fresh(program, layout):
    """The initial states of a program's cells, compiled once for all tests."""
    return device_grid.over_cells(lambda s: step.init(program, s), layout, own=1)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
@pytest.mark.as_shipped
def test_no_collectives_in_the_compiled_training_program(plan, training):
    program, call = training
    args = arguments(plan, program)
    text = call.lower(*args).compile().as_text()
    assert "while" in text  # the scan is there, so the text is of the training program
    assert not COLLECTIVES.search(text)


TRAINED = """
import hashlib, sys, jax, numpy as np
from dataclasses import replace
from lab.bench import programs as bench
from lab.engine.device_grid import Layout
from lab.engine.program_cache import Programs
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
program = replace(bench.reference(64, 32, 64), call_steps=2)
step, _ = bench.training(program, Programs(Layout("cpu", int(sys.argv[1]), 1, 1)))
state = jax.device_get(step())
print(hashlib.sha256(b"".join(np.asarray(leaf)[0].tobytes() for leaf in jax.tree.leaves(state))).hexdigest())
"""


READ = """
import hashlib, sys, jax, numpy as np
from analysis.metrics.geometry import over_points
from lab.engine.device_grid import Layout, to_devices
from lab.engine.program_cache import Programs
jax.config.update("jax_num_cpu_devices", devices := int(sys.argv[1]))
layout = Layout("cpu", devices, 1, 1)
points = np.random.default_rng(0).standard_normal((1, 4096, 64), np.float32)
points = to_devices(np.repeat(points, devices, axis=0), layout)
read = Programs(layout).get("read", (), lambda z: over_points(z, z), (points,))
print(hashlib.sha256(np.asarray(read(points))[0].tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [TRAINED, READ], ids=["trained", "read"])
def test_a_cell_is_the_same_to_the_bit_on_2_cpu_devices_and_on_5(program):
    # At a size where XLA would split a product over the threads that devices bring along.
    def on(devices):
        command, environment = [sys.executable, "-c", program, devices], os.environ | {"XLA_FLAGS": ""}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    assert on("2") == on("5")


def test_programs_are_compiled_with_their_platforms_options(monkeypatch):
    seen = []
    monkeypatch.setattr(jax, "jit", lambda function, **options: seen.append(options["compiler_options"]))
    for platform in ("cpu", "gpu"):
        device_grid.over_cells(jnp.sin, Layout(platform, 1, 1, 1))
    assert seen == [{"xla_cpu_multi_thread_eigen": False}, None]


@pytest.mark.slow
@pytest.mark.as_shipped
def test_one_nan_cell_leaves_its_neighbours_unchanged(plan, training):
    program, call = training
    rate = [2e-3] * 4
    well, well_loss = call(*arguments(plan, program, **{"optimizer.learning_rate": rate}))
    rate[1] = float("nan")
    ill, ill_loss = call(*arguments(plan, program, **{"optimizer.learning_rate": rate}))
    assert np.isnan(np.asarray(ill_loss)[1, -1])
    others = np.asarray([0, 2, 3])
    assert_trees_equal(np.asarray(well_loss)[others], np.asarray(ill_loss)[others])
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a)[others], np.asarray(b)[others]),
        well.params,
        ill.params,
    )


@pytest.mark.slow
@pytest.mark.as_shipped
def test_cells_rerun_alone_are_bitwise_the_same(plan, training):
    program, call = training
    start, seeds, knobs, state = arguments(plan, program)
    together, _ = call(start, seeds, knobs, state)
    pick = np.asarray([3, 0])
    rows = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[pick]), (seeds, knobs, state))
    alone, _ = call(start, *rows)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a)[pick], np.asarray(b)), together.params, alone.params
    )


@pytest.mark.parametrize(
    ("cells", "layout", "chunk"),
    [
        (72, Layout("cpu", 2, 1, 4), 4),
        (18, Layout("cpu", 2, 1, 4), 3),
        (1, Layout("cpu", 2, 1, 4), 1),
        (8, Layout("gpu", 1, 32, 32), 32),
        (33, Layout("gpu", 1, 32, 32), 32),
        (200, Layout("tpu", 8, 32, 32), 32),
    ],
)
def test_chunks_fill_calls_with_the_least_padding(cells, layout, chunk):
    assert device_grid.chunk_for(cells, layout) == chunk
    assert chunk % layout.width == 0


def test_lapack_stays_on_the_thread_of_its_device():
    def blas_threads():
        return {one["filepath"]: one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with device_grid.lapack_on_one_thread():  # loads what JAX calls
        pass
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with device_grid.lapack_on_one_thread():
            assert set(blas_threads().values()) <= {1}
        assert blas_threads() == before  # a notebook's own threads are given back
        device_grid.use_every_core()
        assert set(blas_threads().values()) <= {1}


@pytest.mark.parametrize(
    ("platform", "devices", "flags", "cores", "asked"),
    [("cpu", 8, "", 4, [4]), ("cpu", 2, "", 1, [2]), ("cpu", 1, "", 4, [1]), ("gpu", 1, "", 4, []),
     ("cpu", 8, "--xla_force_host_platform_device_count=3", 4, [])],
)  # fmt: skip
def test_a_reader_gets_devices_that_round_as_the_studys(platform, devices, flags, cores, asked, monkeypatch):
    found = []
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(device_grid, "cores", lambda: cores)
    monkeypatch.setattr(jax.config, "update", lambda name, value: found.append(value))
    device_grid.round_as(Layout(platform, devices, 1, 4))
    assert found == asked


def test_a_reader_leaves_devices_that_are_in_use(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    count = jax.device_count()
    device_grid.round_as(Layout("cpu", 1, 1, 4))
    assert jax.device_count() == count
