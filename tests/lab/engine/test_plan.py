"""The planner: keys, program groups, repeated cells, and how its work grows with the grid."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from analysis.metrics.registry import METRICS
from lab.engine import Layout, device_grid, flops, make_plan
from lab.engine.branch import branch
from lab.engine.plan import parameters
from lab.errors import UserError
from lab.mechanisms import knobs as registry
from lab.study import axis, chain, product
from lab.study import spec as configs
from lab.study.parse import parse
from tests.lab.conftest import LAYOUT, study_of, tiny_config


def wide_grid():
    """Static and traced knobs, one that needs another, and a knob that acts late."""
    return product(
        axis("prune.scope", ("global", "layerwise"), stage="prune"),
        axis("prune.sparsity", (0.0, 0.5), stage="prune"),
        axis("label_smoothing.rate", (0.0, 0.1)),
        axis("label_smoothing.relax_from", (4, 8)),
        axis("mixer.kind", ("softmax", "linear")),
        axis("seed", (3, 4)),
    )


def test_courses_are_the_keys_that_content_says():
    study = study_of(grid=wide_grid())
    study = branch(study, [(0, {}), (5, {"label_smoothing.rate": 0.0}), (7, {"label_smoothing.rate": 0.2})], 6)
    for one in (study, study_of(grid=wide_grid())):
        for cell, course in zip(one.cells, one.recipes(), strict=True):
            trained = one.spec_of(cell, at_test=False)
            assert course.specs == (*[trained] * (len(one.stages) - 1), one.spec_of(cell))
            assert course.keys == tuple(configs.digest(one.content(cell, stage)) for stage in range(len(one.stages)))


def test_what_does_nothing_makes_no_cell_of_its_own():
    """Where nothing is smoothed it is all one from when on."""
    plan = make_plan(study_of(grid=wide_grid()), LAYOUT)
    cells = [len(b.nodes) for b in plan.program_groups if b.stage == 1]
    assert sum(cells) == 2 * 2 * 4 * 3  # mixers, seeds, (sparsity, scope), (smoothing, from)


@pytest.mark.slow
def test_ten_thousand_cells_are_planned_with_one_hash_a_node(monkeypatch):
    calls = []
    monkeypatch.setattr(configs, "digest", lambda content, real=configs.digest: calls.append(1) or real(content))
    sparsities = tuple(float(value) for value in np.linspace(0.0, 0.99, 100))
    study = study_of(grid=product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", range(100))))
    calls.clear()
    plan = make_plan(study, LAYOUT)
    assert len(study.cells) == 10_000
    assert [len(group.nodes) for group in plan.program_groups] == [100, 10_000]
    assert len(calls) == 100 + 10_000


def test_two_thousand_cells_are_asked_about_once_a_setting_and_counted_once_a_model(monkeypatch):
    """Whether a mechanism objects does not depend on the seed, nor what a model costs on what acts in training only."""
    asked, counted = [], []
    objection, example_flops = registry.objection, flops.example_flops
    monkeypatch.setattr(registry, "objection", lambda setup: asked.append(1) or objection(setup))
    monkeypatch.setattr(flops, "example_flops", lambda *model: counted.append(1) or example_flops(*model))
    sparsities = tuple(float(value) for value in np.linspace(0.0, 0.99, 200))
    study = study_of(grid=product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", range(10))))
    assert len(study.cells) == len(flops.planned(study)) == 2000
    assert len(asked) == 1 + 200
    assert len(counted) == 1


def test_the_keys_by_which_files_name_cells_are_those_of_the_last_stage():
    study = study_of(grid=wide_grid())
    assert study.cell_keys == tuple(study.key(cell, len(study.stages) - 1) for cell in study.cells)


def test_a_cell_named_twice_is_trained_once_and_said():
    twice = chain(axis("prune.sparsity", (0.0, 0.5)), axis("prune.sparsity", (0.5, 0.9)))
    study = parse(tiny_config(), product(twice, axis("seed", (0, 1))), METRICS)
    assert [cell["prune.sparsity"] for cell in study.cells] == [0.0, 0.0, 0.5, 0.5, 0.9, 0.9]
    assert study.notes == ("sweep(): 2 of 8 cells repeat another one of the grid; every cell is trained once.",)
    assert study_of().notes == ()


def test_programs_are_counted_by_the_static_axis_that_makes_them():
    plan = make_plan(study_of(grid=wide_grid()), LAYOUT)
    assert len(plan.program_groups) == 2 + 2 * 2  # by mixer; then by mixer and scope
    assert plan.compiles_of_axes() == {"mixer.kind": 3, "prune.scope": 2}


def test_the_costliest_program_of_a_stage_comes_first():
    grid = product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("experts.count", (1, 4)), axis("seed", (0,)))
    first, second = [b for b in make_plan(study_of(grid=grid), LAYOUT).program_groups if b.stage == 0]
    assert parameters(first.program.spec) > parameters(second.program.spec)


def at(plan, chunk, width):
    return replace(plan, layout=replace(plan.layout, chunk=chunk, width=width))


@pytest.mark.parametrize("layout", [Layout("gpu", 2, 32, 32), Layout("cpu", 2, 1, 4)])
def test_the_chunk_is_lowered_until_it_fits(layout):
    plan = make_plan(study_of(), layout)
    assert plan.within(0) is plan.within(plan.memory_bytes()) is plan
    widest = plan.layout.width
    for chunk in (32, 16, 8, 4, 2, 1):
        if chunk <= layout.chunk:
            there = at(plan, chunk, min(chunk, widest))
            assert plan.within(there.memory_bytes()).layout == there.layout
            more = make_plan(plan.study, layout).within(there.memory_bytes() + 1)
            assert more.layout == there.layout  # the same budget, the same layout
    with pytest.raises(UserError, match=r"one cell takes about .* pass --chunk=1"):
        plan.within(at(plan, 1, 1).memory_bytes() - 1)


def test_the_memory_estimate_counts_the_probes():
    config = tiny_config()
    few = make_plan(study_of(config), LAYOUT)
    config.probe.examples = 2**16
    many = make_plan(study_of(config), LAYOUT)
    assert many.memory_bytes() > 4 * 2**32 > few.memory_bytes()  # all distances between the examples, in float32
    with pytest.raises(UserError, match=r"config\.probe\.examples"):
        many.within(2**30)


def test_memory_is_what_the_allocator_or_half_the_machine_has(monkeypatch):
    class Device:
        def __init__(self, stats):
            self.memory_stats = lambda: stats

    monkeypatch.setattr(jax, "local_devices", lambda: [Device({"bytes_limit": 7}), Device({"bytes_limit": 5})])
    assert device_grid.memory_budget(Layout("gpu", 2, 32, 32)) == 5
    monkeypatch.setattr(jax, "local_devices", lambda: [Device(None), Device(None)])
    assert device_grid.memory_budget(Layout("tpu", 2, 32, 32)) == 0
    monkeypatch.setattr(device_grid, "memory_bytes", lambda: 4000)
    assert device_grid.memory_budget(Layout("cpu", 4, 1, 4)) == 500
    monkeypatch.undo()
    assert 2**28 < device_grid.memory_budget(Layout("cpu", 1, 1, 4)) < 2**50
