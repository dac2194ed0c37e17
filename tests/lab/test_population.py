"""Cells are independent: no collectives, a NaN cell harms nobody, neutral knobs are baseline."""

from __future__ import annotations

import functools
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab import knobs as registry
from lab import population, train
from lab.mechanisms.pruning_masks import prunable
from lab.plan import make_plan, traced_arguments
from lab.population import Layout, local_layout
from tests.lab.conftest import study_of, tiny_config

COLLECTIVES = re.compile(r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast")


@pytest.fixture(scope="module")
def plan():
    return make_plan(study_of(), local_layout())


def lifted(program, layout):
    call = lambda start, seed, knobs, state: train.train_call(program, start, seed, knobs, state)  # noqa: E731
    return population.over_cells(call, layout, shared=1, own=3)


def arguments(plan, program, cells=4, **changed):
    nodes = population.padded(list(plan.buckets[-1].nodes), cells)[:cells]
    seeds, knobs = traced_arguments(nodes)
    for name, values in changed.items():
        knobs[name] = jnp.asarray(values, jnp.float32)
    begin = population.over_cells(lambda s, k, x: train.begin(program, x, k, s, jnp.int32(0)), plan.layout, own=3)
    plain = replace(program, mechanisms=(), entering=(), static=())
    return jnp.int32(0), seeds, knobs, begin(seeds, knobs, fresh(plain, plan.layout)(seeds))


@functools.cache
def fresh(program, layout):
    """The initial states of a program's cells, compiled once for all tests."""
    return population.over_cells(lambda s: train.init(program, s), layout, own=1)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_no_collectives_in_the_compiled_training_program(plan):
    program = plan.buckets[-1].program
    args = arguments(plan, program)
    text = lifted(program, plan.layout).lower(*args).compile().as_text()
    assert "while" in text  # the scan is there, so the text is of the training program
    assert not COLLECTIVES.search(text)


def test_one_nan_cell_leaves_its_neighbours_unchanged(plan):
    program = plan.buckets[-1].program
    call = lifted(program, plan.layout)
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


CELLS = 16
EVERY = tuple(registry.MECHANISMS)


def resting(knob):
    """The value of a knob that does nothing, or has nothing to shape."""
    return knob.number(knob.base if knob.needs else knob.neutral)


def spread(knobs):
    """{knob: CELLS values}: all at rest in the first cell, then each over its whole range, out of step."""
    found = {}
    for turn, knob in enumerate(knobs):
        values = np.roll(np.linspace(knob.low, knob.high, CELLS - 1), turn)
        found[knob.name] = [resting(knob), *(np.round(values) if knob.integer or knob.choices else values)]
    return found


def pairs(knobs):
    """{knob: CELLS values}: all at rest in the first cell, then two of the strengths a cell, at some value."""
    random = np.random.default_rng(0)
    found = {knob.name: [resting(knob)] * CELLS for knob in knobs}
    strengths = [knob for knob in knobs if not knob.needs]
    for cell in range(1, CELLS):
        for knob in random.choice(np.array(strengths, object), 2, replace=False):
            value = knob.low + random.uniform(0.05, 0.5) * (knob.high - knob.low)
            found[knob.name][cell] = np.round(value) if knob.integer or knob.choices else value
    return found


@functools.cache
def trained(mechanisms, width):
    """(state, losses) of CELLS cells, with some mechanisms compiled in, and the knobs' values.

    The first cell is neutral. The others turn every knob of a mechanism that is alone, or a pair out of many.
    """
    config = tiny_config()
    del config.tasks.facts  # one task compiles faster
    config.claim.abilities = ("word/iid",)
    layout, plan = Layout("cpu", 1, width, CELLS), make_plan(study_of(config), local_layout())
    knobs = [knob for name in mechanisms for knob in registry.MECHANISMS[name].knobs]
    static = tuple((k.name, k.neutral) for k in knobs if not k.traced)
    program = replace(plan.buckets[0].program, mechanisms=mechanisms, entering=mechanisms, static=static)
    values = (pairs if len(mechanisms) > 1 else spread)([k for k in knobs if k.traced])
    given = arguments(replace(plan, layout=layout), program, CELLS, **values)
    return *lifted(program, layout)(*given), values


@pytest.mark.parametrize(
    ("mechanisms", "width"),
    [pytest.param((name,), 1, id=name) for name in EVERY]
    + [pytest.param(EVERY, width, id=f"all-{width}") for width in (1, 4)],
)
def test_a_neutral_knob_is_bitwise_the_program_without_its_mechanism(mechanisms, width):
    """And one compiled program serves sixteen values over the whole range of every traced knob, or pairs of them."""
    without, loss_without, _ = trained((), width)
    with_it, loss_with, values = trained(mechanisms, width)
    # Where a curriculum makes the number of answers a variable, XLA rounds the vmapped mean of the losses otherwise:
    # the record of the loss may differ in its last bit, nothing that is trained does.
    slack = 3e-7 if "curriculum" in mechanisms and width > 1 else 0
    np.testing.assert_allclose(loss_without[0], loss_with[0], rtol=slack, atol=0)
    first = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[0], tree)  # noqa: E731
    assert_trees_equal(first(without.params), first(with_it.params))
    assert_trees_equal(first(without.moments), first(with_it.moments))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(with_it.params))
    for cell, sparsity in enumerate(values.get("prune.sparsity", ())):  # whatever else pulls at the weights
        cut = [name for name in values if name.startswith(("structured.", "width.", "head_dim."))]
        if any(values[name][cell] != values[name][0] for name in cut):
            continue  # these set weights to zero as well
        sparsity = sparsity if values["prune.over"][cell] == 1 else 0.0  # it grows after these few steps
        kernels = [np.asarray(kernel)[cell] for kernel in prunable(with_it.params).values()]
        size = sum(kernel.size for kernel in kernels)
        assert sum((kernel == 0).sum() for kernel in kernels) == np.round(np.float32(sparsity) * np.float32(size))


def test_cells_rerun_alone_are_bitwise_the_same(plan):
    program = plan.buckets[-1].program
    start, seeds, knobs, state = arguments(plan, program)
    call = lifted(program, plan.layout)
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
    assert population.chunk_for(cells, layout) == chunk
    assert chunk % layout.width == 0
