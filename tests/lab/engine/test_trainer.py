"""The engine's promises: compiles counted, prefixes shared, finished work left alone."""

from __future__ import annotations

import shutil

import jax
import numpy as np
import pytest

from lab.engine import Programs
from lab.storage import checkpoint
from lab.study import axis, product
from tests.lab.conftest import LAYOUT, carry_out, study_of, tiny_config, tiny_sweep
from tests.lab.engine.stored import assert_same, everything, keys_of


@pytest.mark.slow
def test_compile_count_equals_the_plans(tmp_path):
    """Training programs compiled: one a (program group, stage) pair, whatever the number of cells and device rounds."""
    grid = product(
        axis("prune.sparsity", (0.0, 0.3, 0.5), stage="prune"),
        axis("prune.scope", ("global", "layerwise"), stage="prune"),
        axis("seed", range(4)),
    )
    programs = Programs(LAYOUT)
    plan, _, progress = carry_out(study_of(grid=grid), tmp_path, programs)
    assert [(b.stage, len(b.nodes)) for b in plan.program_groups] == [(0, 4), (1, 12), (1, 12)]
    assert sum(name.startswith("training") for name in programs.compiled) == len(plan.program_groups) == 3
    assert progress.programs == programs.compiled


def test_every_cell_step_of_the_plan_is_trained_once(trained):
    plan, _, progress = trained
    assert progress.cell_steps == plan.steps_shared() == 3 * 12 + 6 * 6
    assert progress.cells == len(plan.study.cells)


def test_prefix_sharing_equals_training_each_cell_alone(trained, tmp_path):
    plan, store, _ = trained
    for index, cell in enumerate(plan.study.cells[-2:]):
        grid = product(axis("prune.sparsity", (cell["prune.sparsity"],), stage="prune"), axis("seed", (cell["seed"],)))
        alone, alone_store, _ = carry_out(study_of(grid=grid), tmp_path / str(index))
        keys = [n.key for b in alone.program_groups for n in b.nodes]
        assert alone.steps_alone() == alone.steps_shared()
        assert_same(everything(alone_store, keys), everything(store, keys))


@pytest.mark.slow
def test_prefixes_are_shared_over_any_number_of_stages(tmp_path):
    """Trained once, pruned twice, smoothed on from each: a tree of 1, 2 and 4 nodes a seed."""
    config = tiny_config()
    config.stages, config.steps, config.saves = (
        ("train", "prune", "tune"),
        dict(train=6, prune=3, tune=3),
        dict(train=2, prune=1, tune=1),
    )

    def grid(sparsities, rates):
        return product(
            axis("prune.sparsity", sparsities, stage="prune"),
            axis("label_smoothing.rate", rates, stage="tune"),
            axis("seed", (0,)),
        )

    plan, store, progress = carry_out(study_of(config, grid((0.3, 0.5), (0.1, 0.2))), tmp_path / "all")
    assert [len(group.nodes) for group in plan.program_groups] == [1, 2, 4]
    assert progress.cell_steps == plan.steps_shared() == 6 + 2 * 3 + 4 * 3
    assert plan.steps_alone() == 4 * 12
    alone, alone_store, _ = carry_out(study_of(config, grid((0.5,), (0.2,))), tmp_path / "alone")
    keys = [n.key for b in alone.program_groups for n in b.nodes]
    assert len(keys) == 3
    assert_same(everything(alone_store, keys), everything(store, keys))


def test_a_cell_alone_in_one_stage_ends_as_it_does_after_a_shared_prefix(trained, tmp_path):
    """Sparsity 0 acts from a second stage in the tiny study; without that stage the dense weights must be the same."""
    plan, store, _ = trained
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    grid = product(axis("prune.sparsity", (0.0,)), axis("seed", (1,)))
    dense, dense_store, _ = carry_out(study_of(config, grid), tmp_path)
    mine = checkpoint.gather([dense_store.final(keys_of(dense, 0)[0])], "params")
    shared = checkpoint.gather([store.final(keys_of(plan, 0)[1])], "params")
    jax.tree.map(np.testing.assert_array_equal, mine, shared)


def test_a_knob_that_a_later_version_brings_changes_no_key(monkeypatch):
    from lab.mechanisms import knobs
    from lab.mechanisms.base import Knob

    before = [study_of().key(cell, 1) for cell in study_of().cells]
    new = Knob("new.knob", about="new", source="new")
    monkeypatch.setitem(knobs.KNOBS, "new.knob", new)
    monkeypatch.setitem(knobs.NEUTRAL, "new.knob", new.neutral)
    later = study_of()
    assert [later.key(cell, 1) for cell in later.cells] == before
    assert len(set(before)) == len(before)
    used = study_of(grid=product(tiny_sweep(), axis("new.knob", (0.0, 0.5))))
    assert {used.key(cell, 1) for cell in used.cells} > set(before)


def test_a_finished_study_trains_nothing(trained):
    plan, store, _ = trained
    programs = Programs(LAYOUT)
    _, _, progress = carry_out(plan.study, store.workdir, programs)
    assert progress.cell_steps == 0
    assert not programs.compiled


def test_added_seeds_train_alone(trained, tmp_path):
    plan, store, _ = trained
    shutil.copytree(store.workdir, tmp_path / "copy")
    more = study_of(grid=tiny_sweep(seeds=5))
    larger, again, progress = carry_out(more, tmp_path / "copy")
    assert progress.cell_steps == 2 * 12 + 4 * 6
    old = keys_of(plan, 1)
    assert set(old) < set(keys_of(larger, 1))
    assert_same(everything(again, old), everything(store, old))
