"""The engine's promises: compiles counted, prefixes shared, runs resumed, cells independent."""

from __future__ import annotations

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

from lab import checkpoint
from lab.grid import axis, product
from lab.programs import Programs
from lab.store import open_store
from lab.study import Trainer
from tests.lab.conftest import LAYOUT, Silent, carry_out, study_of, tiny_config, tiny_sweep


def everything(store, keys):
    """{(key, item): tree of that node's row} of the final checkpoints."""
    found = {}
    for key in keys:
        saved, row = store.final(key)
        for item in checkpoint.ITEMS:
            found[key, item] = checkpoint.rows(checkpoint.load(saved, item), [row])
    return found


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        jax.tree.map(np.testing.assert_array_equal, a[key], b[key])


def keys_of(plan, stage):
    return [n.key for b in plan.buckets if b.stage == stage for n in b.nodes]


def test_compile_count_equals_the_plans(tmp_path):
    """Training programs compiled: one a (bucket, stage) pair, whatever the number of cells and waves."""
    grid = product(
        axis("prune.sparsity", (0.0, 0.3, 0.5), stage="prune"),
        axis("prune.scope", ("global", "layerwise"), stage="prune"),
        axis("seed", range(4)),
    )
    programs = Programs(LAYOUT)
    plan, _, progress = carry_out(study_of(grid=grid), tmp_path, programs)
    assert [(b.stage, len(b.nodes)) for b in plan.buckets] == [(0, 4), (1, 12), (1, 12)]
    assert sum(name.startswith("training") for name in programs.compiled) == len(plan.buckets) == 3
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
        keys = [n.key for b in alone.buckets for n in b.nodes]
        assert alone.steps_alone() == alone.steps_shared()
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


def cut_off(store_dir, copy, after_stage, step, chunks=None):
    """A copy of a finished work directory as it was when it was killed after `step` of a stage."""
    shutil.copytree(store_dir, copy)
    for directory in (copy / "checkpoints").iterdir():
        stage, _, chunk = directory.name.split("-")
        for path in directory.iterdir():
            later = int(path.name) > step and (chunks is None or chunk in chunks)
            if (stage == after_stage and later) or (after_stage == "train" and stage == "prune"):
                shutil.rmtree(path)


@pytest.mark.parametrize("chunks", [None, ["001"]], ids=["between saves", "between two chunks of one save"])
def test_a_run_cut_off_while_training_ends_with_the_same_numbers(trained, tmp_path, chunks):
    plan, store, _ = trained
    first = plan.study.stages[0].saves[0]
    cut_off(store.workdir, tmp_path / "copy", "train", first, chunks)
    _, again, progress = carry_out(plan.study, tmp_path / "copy")
    assert progress.skipped == 3 * first
    assert progress.cell_steps == plan.steps_shared() - progress.skipped
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))


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


@pytest.mark.parametrize("harm", ["truncated", "flipped byte", "no index"])
def test_a_damaged_checkpoint_is_named_and_the_last_whole_one_used(trained, tmp_path, harm):
    plan, store, _ = trained
    copy = tmp_path / "copy"
    cut_off(store.workdir, copy, "train", 12)
    (last,) = (copy / "checkpoints").glob("train-*-000/00000012")
    if harm == "no index":
        for file in last.glob("*METADATA*"):
            file.unlink()
    else:
        data = max((last / "params").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
        content = bytearray(data.read_bytes())
        if harm == "truncated":
            content = content[: len(content) // 2]
        else:
            content[len(content) // 2] ^= 0xFF
        data.write_bytes(bytes(content))
    _, again, progress = carry_out(plan.study, copy)
    assert any(last.parent.name in note and "damaged" in note.lower() for note in progress.notes)
    assert progress.skipped == 3 * plan.study.stages[0].saves[0]
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))


def test_what_is_kept(trained):
    """Parameters at every save; the full state at the latest two steps of a stage."""
    plan, store, _ = trained
    chunk, _ = store.nodes[keys_of(plan, 0)[0]]
    assert [saved.step for saved in chunk] == list(plan.study.stages[0].saves)
    assert all((saved.path / "params").is_dir() for saved in chunk)
    assert chunk[-1].resumable


def test_thinning_keeps_the_latest_two_full_states(tmp_path):
    config = tiny_config()
    config.saves.train = 4
    plan, store, _ = carry_out(study_of(config, tiny_sweep((0.0,), 1)), tmp_path)
    chunk, _ = store.nodes[keys_of(plan, 0)[0]]
    assert len(chunk) >= 3
    assert [saved.resumable for saved in chunk] == [False] * (len(chunk) - 2) + [True, True]


def test_a_full_disk_is_said_and_nothing_saved_is_lost(trained, tmp_path, monkeypatch):
    from lab.errors import UserError

    plan, store, _ = trained
    copy = tmp_path / "copy"
    cut_off(store.workdir, copy, "train", plan.study.stages[0].saves[0])

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.ocp, "save_checkpointables", full)
        with pytest.raises(UserError, match="No space left on device"):
            carry_out(plan.study, copy)
    progress = Silent()
    assert open_store(copy, plan.study, progress.note).unfinished
    _, again, progress = carry_out(plan.study, copy)
    assert progress.skipped > 0
    assert_same(everything(again, keys_of(plan, 1)), everything(store, keys_of(plan, 1)))


def test_a_wave_cut_off_on_another_layout_starts_its_stage_anew(trained, tmp_path):
    plan, store, _ = trained
    copy = tmp_path / "copy"
    cut_off(store.workdir, copy, "train", plan.study.stages[0].saves[0])
    other = replace(plan, layout=replace(plan.layout, chunk=2))
    progress = Silent()
    reopened = open_store(copy, plan.study, progress.note)
    Trainer(other, reopened, progress, Programs(other.layout)).run()
    assert any("another device layout" in note for note in progress.notes)
    assert progress.skipped == 0
    # On a CPU cells run one by one, so the chunk changes no number.
    assert_same(everything(reopened, keys_of(plan, 1)), everything(store, keys_of(plan, 1)))
