"""Runs that are cut off, stopped, damaged or moved end with the numbers of the run that was left alone."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from lab.engine import Programs
from lab.engine.trainer import Trainer
from lab.errors import UserError
from lab.stop import Stopped
from lab.storage import checkpoint, open_store, read_store
from tests.lab.conftest import LAYOUT, PROGRAMS, Silent, carry_out, study_of, tiny_config, tiny_sweep
from tests.lab.engine.stored import assert_same, cut_off, everything, keys_of


@pytest.mark.parametrize(
    "chunks",
    [slice(None), pytest.param(slice(1), marks=pytest.mark.slow)],
    ids=["between saves", "between two chunks of one save"],
)
def test_a_run_cut_off_while_training_ends_with_the_same_numbers(trained, tmp_path, chunks):
    plan, store, _ = trained
    first = plan.study.stages[0].saves[0]
    cut_off(store.workdir, tmp_path / "copy", first, chunks)
    programs = Programs(LAYOUT)
    _, again, progress = carry_out(plan.study, tmp_path / "copy", programs)
    assert progress.skipped > 0
    assert progress.cell_steps + progress.skipped >= plan.steps_shared() - 2 * 12  # the finished chunk isn't retrained
    assert sum(name.startswith("training") for name in programs.compiled) == len(plan.program_groups)
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))


def spares_in(workdir):
    found, damaged = checkpoint.scan(workdir)
    assert not damaged
    return [saved for saves in found.values() for saved in saves if saved.spare]


def stopped_after_two_calls(plan, workdir):
    # Asked after the first call, after its save, which the study keeps, and after the second call.
    asked = itertools.chain([False, False], itertools.repeat(True))
    store = open_store(workdir, plan.study, pytest.fail)
    with pytest.raises(Stopped):
        Trainer(plan, store, Silent(), PROGRAMS, lambda: next(asked)).run()


@pytest.mark.slow
def test_a_stop_between_two_saves_loses_nothing(trained, tmp_path):
    """Asked to stop after the second call (saves are after the first and the fourth), then run again."""
    plan, store, _ = trained
    stopped_after_two_calls(plan, tmp_path)
    spares = spares_in(tmp_path)
    assert {saved.step for saved in spares} == {6}
    _, again, progress = carry_out(plan.study, tmp_path)
    assert progress.skipped == 6 * sum(len(saved.meta["cells"]) for saved in spares) > 0
    assert progress.cell_steps + progress.skipped == plan.steps_shared()
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))
    assert not spares_in(tmp_path)


@pytest.mark.slow
def test_spare_checkpoints_change_nothing_and_go(trained, tmp_path):
    """A checkpoint after every call, each of which goes with the next; readers see only those that the study keeps."""
    plan, store, _ = trained
    again = open_store(tmp_path, plan.study, pytest.fail)
    Trainer(plan, again, Silent(), PROGRAMS, spare_seconds=0).run()
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))
    assert not spares_in(tmp_path)
    names = {path.relative_to(tmp_path) for path in tmp_path.glob("checkpoints/*/*")}
    assert names == {path.relative_to(store.workdir) for path in store.workdir.glob("checkpoints/*/*")}


def test_readers_do_not_see_spare_checkpoints(trained, tmp_path):
    plan, _, _ = trained
    stopped_after_two_calls(plan, tmp_path)
    seen, damaged = read_store(tmp_path, plan.study)
    assert not damaged
    assert [[saved.step for saved in chunk] for chunk in seen.unfinished] == [[3]] * len(seen.unfinished)
    assert seen.unfinished


def test_a_save_that_fails_in_the_background_ends_training(trained, tmp_path, monkeypatch):
    plan, _, _ = trained
    full = UserError("could not save: No space left on device")
    monkeypatch.setattr(checkpoint, "save", lambda *rest: (_ for _ in ()).throw(full))
    with pytest.raises(UserError, match="No space left"):
        Trainer(plan, open_store(tmp_path, plan.study, pytest.fail), Silent(), PROGRAMS).run()


def test_a_stop_whose_last_save_failed_is_reported_as_a_failure(trained, tmp_path, monkeypatch):
    plan, _, _ = trained
    full = UserError("could not save: No space left on device")
    monkeypatch.setattr(checkpoint, "save", lambda *rest: (_ for _ in ()).throw(full))
    with pytest.raises(UserError, match="No space left"):
        Trainer(plan, open_store(tmp_path, plan.study, pytest.fail), Silent(), PROGRAMS, lambda: True).run()


@pytest.mark.slow
def test_a_spare_checkpoint_that_is_damaged_costs_nothing_that_came_after(trained, tmp_path):
    """The damage is reported, and the stage that was finished later stays finished."""
    plan, _, _ = trained
    stopped_after_two_calls(plan, tmp_path)
    for spare in spares_in(tmp_path):
        shutil.copytree(spare.path, spare.path.with_name(f"{spare.path.name}.kept"))
    carry_out(plan.study, tmp_path)
    for kept in tmp_path.glob("checkpoints/*/*.kept"):
        for file in (kept / "params").rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
        kept.rename(kept.with_suffix(""))
    notes = []
    store = open_store(tmp_path, plan.study, notes.append)
    assert len(notes) == len(spares_in(tmp_path)) > 0
    assert all("Damaged" in note for note in notes)
    assert plan.steps_shared(store.nodes) == 0


@pytest.mark.slow
def test_spares_that_no_chunk_goes_on_from_go(trained, tmp_path):
    """One chunk's spare is lost: all step back to the save that they share, and the other spares are of no use."""
    plan, store, _ = trained
    stopped_after_two_calls(plan, tmp_path)
    first, *others = spares_in(tmp_path)
    assert others
    checkpoint.drop(first)
    _, again, _ = carry_out(plan.study, tmp_path)
    assert not spares_in(tmp_path)
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """One seed with four saves in the first stage, so that there is a middle to damage."""
    config = tiny_config()
    config.saves.train = 4
    return carry_out(study_of(config, tiny_sweep((0.0,), 1)), tmp_path_factory.mktemp("long"))


HARMS = ("truncated", "flipped byte", "no index", "another index", "another step", "lost", "half a state")
FAST_HARMS = [("truncated", -1), ("half a state", 0)]
SLOW_HARMS = [(harm, which) for harm in HARMS for which in (0, 1, -2, -1) if (harm, which) not in FAST_HARMS]


# Orbax leaves reads of its own behind when a load fails, which complain of a closed event loop when they end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("harm", "which"), [*FAST_HARMS, *(pytest.param(*h, marks=pytest.mark.slow) for h in SLOW_HARMS)]
)
def test_a_damaged_checkpoint_is_passed_over(long_run, tmp_path, harm, which):
    """Whatever is damaged, at whichever step, the study ends with the same numbers, and can be read as a whole."""
    plan, store, _ = long_run
    copy = tmp_path / "copy"
    shutil.copytree(store.workdir, copy)
    steps = plan.study.stages[0].saves
    (path,) = (copy / "checkpoints").glob(f"train-*/{steps[which]:08d}")
    if harm == "half a state" and not (path / "state").is_dir():
        (path / "state").mkdir()  # as a kill left it in the middle of deleting
    damage(path, harm)
    _, again, progress = carry_out(plan.study, copy)
    if harm != "lost":
        assert any(path.name in note and "damaged" in note.lower() for note in progress.notes)
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(again, keys), everything(store, keys))
    chunk, _ = again.nodes[keys_of(plan, 0)[0]]
    assert [saved.step for saved in chunk] == list(steps)
    if which == -1:  # the last whole one is used
        assert progress.skipped == steps[-2]
    if harm == "half a state" and which in (0, 1):  # parameters and history are there: nothing is lost
        assert progress.cell_steps == 0


def damage(path, harm):
    if harm == "lost":
        shutil.rmtree(path)
    elif harm == "another index":  # one bit of it: a capital letter
        (file,) = [file for file in path.glob("*METADATA*") if "facts/iid" in file.read_text()]
        file.write_text(file.read_text().replace("facts/iid", "fActs/iid"))
    elif harm == "another step":
        (other, *_) = (each for each in sorted(path.parent.iterdir()) if each != path)
        shutil.rmtree(path)
        shutil.copytree(other, path)
    elif harm == "no index":
        for file in path.glob("*METADATA*"):
            file.unlink()
    elif harm == "half a state":
        for file in [f for f in (path / "state").rglob("*") if f.is_file()][::2]:
            file.unlink()
    else:
        # All data files: which of them hold arrays and which a superseded index is TensorStore's business.
        files = [f for f in (path / "params").rglob("*") if f.is_file() and f.parent.name == "d"]
        assert files
        for data in files:
            content = bytearray(data.read_bytes())
            if harm == "truncated":
                content = content[: len(content) // 2]
            else:
                content[len(content) // 2] ^= 0xFF
            data.write_bytes(bytes(content))


def test_leftovers_of_killed_runs_are_swept_up(long_run, tmp_path):
    plan, store, _ = long_run
    copy = tmp_path / "copy"
    shutil.copytree(store.workdir, copy)
    chunk = next((copy / "checkpoints").glob("train-*"))
    (chunk / f"00000003{checkpoint.WASTE}").mkdir()
    (chunk / "00000003.orbax-checkpoint-tmp-1").mkdir()
    (copy / "checkpoints" / ".DS_Store").write_text("")
    (chunk / "notes.txt").write_text("")
    before = {p.name for p in chunk.iterdir()}
    checkpoint.sweep_up(copy)
    assert before - {p.name for p in chunk.iterdir()} == {
        f"00000003{checkpoint.WASTE}",
        "00000003.orbax-checkpoint-tmp-1",
    }
    _, _, progress = carry_out(plan.study, copy)
    assert progress.cell_steps == 0


@pytest.mark.slow
def test_a_stage_cut_off_continues_when_added_values_bring_a_mechanism_in(tmp_path):
    """Sparsity 0 alone compiles no pruning; adding 0.5 does, and the cut-off cells of sparsity 0 have no mask yet."""
    config = tiny_config()
    config.saves.prune = 2
    _, store, _ = carry_out(study_of(config, tiny_sweep((0.0,), 2)), tmp_path / "dense")
    whole = study_of(config, tiny_sweep((0.0, 0.5), 2))
    plan, expected, _ = carry_out(whole, tmp_path / "whole")
    for directory in (store.workdir / "checkpoints").glob("prune-*"):
        shutil.rmtree(directory / f"{whole.stages[1].saves[-1]:08d}")
    _, again, progress = carry_out(whole, store.workdir)
    assert progress.skipped == 2 * (whole.stages[1].saves[0] - 12)
    assert_same(
        {k: v for k, v in everything(again, keys_of(plan, 1)).items() if k[1] != "state"},
        {k: v for k, v in everything(expected, keys_of(plan, 1)).items() if k[1] != "state"},
    )


def test_what_is_kept(long_run):
    """Parameters at every save; the full state at the latest two steps of a stage."""
    plan, store, _ = long_run
    chunk, _ = store.nodes[keys_of(plan, 0)[0]]
    assert [saved.step for saved in chunk] == list(plan.study.stages[0].saves)
    assert len(chunk) == 4
    assert all((saved.path / "params").is_dir() for saved in chunk)
    assert [saved.resumable for saved in chunk] == [False, False, True, True]
    assert [(saved.path / "state").is_dir() for saved in chunk] == [False, False, True, True]


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_saved_is_lost(trained, tmp_path, monkeypatch):
    from lab.errors import UserError

    plan, store, _ = trained
    copy = tmp_path / "copy"
    cut_off(store.workdir, copy, plan.study.stages[0].saves[0])

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


def test_a_run_whose_first_checkpoint_can_not_be_read_back_ends_before_it_trains_on(trained, tmp_path, monkeypatch):
    plan, _, _ = trained
    progress, store = Silent(), open_store(tmp_path, plan.study, str)

    def unreadable(*_args, **_kwargs):
        raise ValueError("an array is missing")

    monkeypatch.setattr(checkpoint.ocp, "load", unreadable)
    with pytest.raises(UserError, match=r"can't be read: an array is missing, right after it was saved: nothing"):
        Trainer(plan, store, progress, PROGRAMS).run()
    assert progress.cell_steps <= 3 * plan.study.stages[0].saves[0]


def test_a_study_is_found_in_a_directory_of_any_name(trained, tmp_path):
    plan, store, _ = trained
    root = tmp_path / "w [16,16] \\ * ?"
    shutil.copytree(store.workdir, root)
    again = open_store(root, plan.study, pytest.fail)
    assert_same(everything(again, keys_of(plan, 1)), everything(store, keys_of(plan, 1)))


def cut_off_and_moved(trained, copy, **layout):
    """What becomes of a run that is cut off in its first stage and continues on another layout."""
    plan, store, _ = trained
    cut_off(store.workdir, copy, plan.study.stages[0].saves[0])
    other = replace(plan, layout=replace(plan.layout, **layout))
    progress = Silent()
    reopened = open_store(copy, plan.study, progress.note)
    Trainer(other, reopened, progress, Programs(other.layout)).run()
    return everything(reopened, keys_of(plan, 1)), progress


@pytest.mark.slow
def test_a_round_cut_off_continues_with_another_chunk_to_the_same_bits(trained, tmp_path):
    plan, store, _ = trained
    moved, progress = cut_off_and_moved(trained, tmp_path / "copy", chunk=1)
    assert progress.skipped == 3 * plan.study.stages[0].saves[0]
    assert not progress.notes
    assert_same(moved, everything(store, keys_of(plan, 1)))


@pytest.mark.slow
def test_a_round_cut_off_on_two_devices_continues_on_one(trained, tmp_path):
    """XLA fuses a single device's program in another way, so the last bits differ; test_kill.py goes from 5 to 2."""
    plan, store, _ = trained
    moved, progress = cut_off_and_moved(trained, tmp_path / "copy", devices=1)
    assert progress.skipped == 3 * plan.study.stages[0].saves[0]
    assert progress.skipped + progress.cell_steps == plan.steps_shared()
    stayed = everything(store, keys_of(plan, 1))
    params = [key for key in stayed if key[1] == "params"]
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), *([x[key] for key in params] for x in (moved, stayed)))


@pytest.mark.slow
def test_a_round_cut_off_at_another_width_starts_its_stage_again(trained, tmp_path):
    _, progress = cut_off_and_moved(trained, tmp_path / "copy", width=2)
    assert progress.skipped == 0
    assert any("another platform or width" in note for note in progress.notes)
