"""Parts of a study: whole trees, evenly divided, in one directory, with the numbers of the whole study."""

from __future__ import annotations

import itertools
import os
import shutil

import pytest

from lab.engine import make_plan
from lab.engine.trainer import Trainer
from lab.errors import UserError
from lab.jobs import shards
from lab.jobs.shards import Shard
from lab.jobs.workdir import Workdir
from lab.stop import Stopped
from lab.storage import Store, open_store
from lab.study import axis, chain, product
from tests.lab.conftest import LAYOUT, PROGRAMS, Silent, study_of, tiny_config
from tests.lab.engine.stored import assert_same, cut_off, everything, keys_of


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2", "01/2", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UserError, match="write i/n"):
        shards.parse(text)
    assert shards.parse("2/13") == Shard(2, 13)


def uneven():
    """Six seeds, so six trees: 12 steps, and 6 for every sparsity of which seeds 0, 1 and 2 have 5, 3 and 2."""
    counts = {0: 5, 1: 3, 2: 2, 3: 1, 4: 1, 5: 1}
    parts = [
        product(axis("prune.sparsity", tuple(i / 10 for i in range(n)), stage="prune"), axis("seed", (seed,)))
        for seed, n in counts.items()
    ]
    grid = parts[0]
    for more in parts[1:]:
        grid = chain(grid, more)
    return make_plan(study_of(grid=grid), LAYOUT), [12 + 6 * n for n in counts.values()]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_every_tree_is_whole_and_in_one_shard(count):
    plan, _ = uneven()
    keys = shards.split(plan, count)
    assert sorted(itertools.chain(*keys)) == sorted(plan.knobs)
    for row in plan.nodes_of_cells():
        assert sum(any(node.key in part for node in row) for part in keys) == 1
    parts = [shards.part(plan, Shard(index + 1, count)) for index in range(count)]
    assert [sorted(n.key for b in p.program_groups for n in b.nodes) for p in parts] == [sorted(k) for k in keys]
    assert sum(p.steps_shared() for p in parts) == plan.steps_shared()
    assert sum(p.cells_trained() for p in parts) == len(plan.study.cells)
    programs = {group.stage: group.program for group in plan.program_groups}
    assert all(group.program == programs[group.stage] for p in parts for group in p.program_groups)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_longest_shard_is_near_the_best_division(count):
    """Against every division there is: the longest part of LPT is at most 4/3 - 1/3n of the best."""
    plan, costs = uneven()
    assert sum(costs) == plan.steps_shared()
    best = min(
        max(sum(c for c, who in zip(costs, owners, strict=True) if who == part) for part in range(count))
        for owners in itertools.product(range(count), repeat=len(costs))
    )
    longest = max(shards.part(plan, Shard(index, count)).steps_shared() for index in range(1, count + 1))
    assert best <= longest <= (4 / 3 - 1 / (3 * count)) * best


def test_more_shards_than_trees_are_divided_as_fast():
    plan, _ = uneven()
    trees = len([key for key in shards.split(plan, 64) if key])
    many = shards.split(plan, 999_999)
    assert len(many) == 999_999
    assert [keys for keys in many if keys] == shards.split(plan, trees)


def workdir_of(path, plan):
    return Workdir(path, plan.study, tiny_config(), plan.layout)


def train(path, plan, shard):
    """Train a shard as `run.py --shard` does. Returns the trainer's progress."""
    progress, keys = Silent(), shards.split(plan, shard.count)[shard.index - 1]
    with workdir_of(path, plan).shared(shard, shards.division(plan, shard.count)):
        store = open_store(path, plan.study, progress.note, keys)
        Trainer(shards.part(plan, shard), store, progress, PROGRAMS).run()
    return progress


@pytest.mark.slow
def test_shards_in_any_order_one_of_them_cut_off_are_the_whole(trained, tmp_path):
    plan, store, _ = trained
    path = tmp_path / "work"
    first = train(path, plan, Shard(2, 2))
    assert first.cell_steps == shards.part(plan, Shard(2, 2)).steps_shared()
    cut_off(path, tmp_path / "copy", plan.study.stages[0].saves[0])  # the whole shard goes back into its first stage
    shutil.rmtree(path)
    shutil.copytree(tmp_path / "copy", path)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("checkpoints/*/*/params/*")}
    other = train(path, plan, Shard(1, 2))
    assert other.skipped == 0
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())  # other shards' files are left alone
    with pytest.raises(UserError, match=r"shard 2/2 lacks 2 of its 2 cells\. Run --shard=2/2 again"):
        shards.check_trained(plan, open_store(path, plan.study, print).nodes, path)
    again = train(path, plan, Shard(2, 2))
    assert again.skipped == plan.study.stages[0].saves[0]
    assert again.cell_steps + again.skipped == first.cell_steps
    third = train(path, plan, Shard(3, 3))  # divided differently, with everything trained
    assert third.cell_steps == 0
    assert shards.recorded(path) == 3
    merged = open_store(path, plan.study, print)
    shards.check_trained(plan, merged.nodes, path)
    keys = keys_of(plan, 0) + keys_of(plan, 1)
    assert_same(everything(merged, keys), everything(store, keys))


@pytest.mark.slow
def test_a_stage_that_was_cut_off_across_shards_starts_again_and_says_so(trained, tmp_path):
    plan, store, _ = trained
    cut_off(store.workdir, tmp_path / "copy", step := plan.study.stages[0].saves[0])
    split = shards.split(plan, 3)
    said = [shards.cut_across(open_store(tmp_path / "copy", plan.study, print, k).unfinished, k) for k in split]
    assert len([note for notes in said for note in notes]) == 2  # a device held two of the three seeds, the other one
    assert all(f"the furthest at step {step}" in note for notes in said for note in notes)
    index = next(index for index, notes in enumerate(said, start=1) if notes)
    whole = shards.split(plan, 1)[0]
    assert shards.cut_across(open_store(tmp_path / "copy", plan.study, print).unfinished, whole) == []
    shard, progress = Shard(index, 3), Silent()
    mine = open_store(tmp_path / "copy", plan.study, print, split[index - 1])
    with pytest.raises(Stopped):
        Trainer(shards.part(plan, shard), mine, progress, PROGRAMS, stop=lambda: progress.cell_steps > 0).run()
    assert progress.skipped == 0
    mine = open_store(tmp_path / "copy", plan.study, print, split[index - 1])
    assert shards.cut_across(mine.unfinished, split[index - 1]) == []  # this time it continues


def test_a_shard_holds_its_own_part_only(tmp_path):
    plan = make_plan(study_of(), LAYOUT)
    workdir, of_two, of_three = workdir_of(tmp_path, plan), shards.division(plan, 2), shards.division(plan, 3)
    with workdir.shared(Shard(1, 2), of_two):
        with workdir.shared(Shard(2, 2), of_two):
            pass
        with (
            pytest.raises(UserError, match="another process that trains shard 1/2"),
            workdir.shared(Shard(1, 2), of_two),
        ):
            pass
        with pytest.raises(UserError, match="divide the study differently"), workdir.shared(Shard(1, 3), of_three):
            pass
        with pytest.raises(UserError, match="in use by another process"), workdir.locked():
            pass
    with workdir.locked(), pytest.raises(UserError, match="isn't a shard"), workdir.shared(Shard(1, 3), of_three):
        pass
    assert shards.recorded(tmp_path) == 2  # the refused ones have left nothing
    with workdir.shared(Shard(1, 3), of_three):
        pass
    assert shards.recorded(tmp_path) == 3
    assert (tmp_path / "study.json").exists()


def test_added_seeds_are_another_division():
    few, more = [make_plan(study_of(grid=tiny), LAYOUT) for tiny in (grid_of(3), grid_of(4))]
    assert shards.division(few, 2) != shards.division(more, 2)
    assert shards.division(few, 2) == shards.division(make_plan(study_of(grid=grid_of(3)), LAYOUT), 2)


def grid_of(seeds):
    return product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("seed", range(seeds)))


def test_what_is_missing_is_said(tmp_path):
    plan = make_plan(study_of(grid=grid_of(4)), LAYOUT)
    with pytest.raises(UserError, match=r"8 of 8 cells in .* are not trained; run the same command without"):
        shards.check_trained(plan, (), tmp_path)
    (tmp_path / "shards").mkdir()
    for stray in ("notes-of-a-meeting", "1-of-x-y", "1-of-2-abc"):
        (tmp_path / "shards" / stray).touch()
    assert shards.recorded(tmp_path) == 1
    for order, count in enumerate((5, 2)):
        file = tmp_path / Shard(1, count).file(shards.division(plan, count))
        file.touch()
        os.utime(file, (order, order))
    done = shards.split(plan, 2)[0]
    assert [str(lack.shard) for lack in shards.lacking(plan, 2, done)] == ["2/2"]
    with pytest.raises(UserError, match=r": shard 2/2 lacks 4 of its 4 cells\. Run --shard=2/2 again"):
        shards.check_trained(plan, done, tmp_path)
    with pytest.raises(UserError, match=r"shard 1/2 lacks 4 .*, shard 2/2 lacks 4 .* Run --shard=1/2 and so on again"):
        shards.check_trained(plan, (), tmp_path)
    assert "Still to come, or under way: shard 2/2 lacks 4" in shards.outlook(plan, Shard(1, 2), done)
    assert "all 8 cells" in shards.outlook(plan, Shard(1, 2), plan.knobs)


def test_a_shard_without_a_tree_has_nothing_to_do(tmp_path):
    plan = make_plan(study_of(), LAYOUT)
    nothing = shards.part(plan, Shard(4, 4))
    assert nothing.program_groups == ()
    assert "0 of 6 cells in 0 prefix trees" in shards.summary(plan, nothing, Shard(4, 4), ())
    Trainer(nothing, Store(tmp_path), Silent(), PROGRAMS).run()
