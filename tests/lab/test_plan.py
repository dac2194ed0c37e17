"""The planner: keys, buckets, repeated cells, and how its work grows with the grid."""

import numpy as np

from analysis.metrics import METRICS
from lab import config as configs
from lab.branch import branch
from lab.grid import axis, chain, product
from lab.parse import parse
from lab.plan import make_plan, parameters
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
        for cell, course in zip(one.cells, one.courses(), strict=True):
            assert course.spec == one.spec_of(cell)
            assert course.keys == tuple(configs.digest(one.content(cell, stage)) for stage in range(len(one.stages)))


def test_what_does_nothing_makes_no_cell_of_its_own():
    """Where nothing is smoothed it is all one from when on."""
    plan = make_plan(study_of(grid=wide_grid()), LAYOUT)
    cells = [len(b.nodes) for b in plan.buckets if b.stage == 1]
    assert sum(cells) == 2 * 2 * 4 * 3  # mixers, seeds, (sparsity, scope), (smoothing, from)


def test_ten_thousand_cells_are_planned_with_one_hash_a_node(monkeypatch):
    calls = []
    monkeypatch.setattr(configs, "digest", lambda content, real=configs.digest: calls.append(1) or real(content))
    sparsities = tuple(float(value) for value in np.linspace(0.0, 0.99, 100))
    study = study_of(grid=product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", range(100))))
    calls.clear()
    plan = make_plan(study, LAYOUT)
    assert len(study.cells) == 10_000
    assert [len(bucket.nodes) for bucket in plan.buckets] == [100, 10_000]
    assert len(calls) == 100 + 10_000


def test_a_cell_named_twice_is_trained_once_and_said():
    twice = chain(axis("prune.sparsity", (0.0, 0.5)), axis("prune.sparsity", (0.5, 0.9)))
    study = parse(tiny_config(), product(twice, axis("seed", (0, 1))), METRICS)
    assert [cell["prune.sparsity"] for cell in study.cells] == [0.0, 0.0, 0.5, 0.5, 0.9, 0.9]
    assert study.notes == ("sweep(): 2 of 8 cells repeat another one of the grid; every cell is trained once.",)
    assert study_of().notes == ()


def test_programs_are_told_by_the_static_axis_that_makes_them():
    plan = make_plan(study_of(grid=wide_grid()), LAYOUT)
    assert len(plan.buckets) == 2 + 2 * 2  # by mixer; then by mixer and scope
    assert plan.compiles_of_axes() == {"mixer.kind": 3, "prune.scope": 2}


def test_the_costliest_program_of_a_stage_comes_first():
    grid = product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("experts.count", (1, 4)), axis("seed", (0,)))
    first, second = [b for b in make_plan(study_of(grid=grid), LAYOUT).buckets if b.stage == 0]
    assert parameters(first.program.spec) > parameters(second.program.spec)
