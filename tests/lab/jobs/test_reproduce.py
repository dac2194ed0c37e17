"""One cell trained again alone: the same bits, and what is said where they are not."""

import json
import shutil

import numpy as np
import pytest

from lab.engine.trainer import Trainer
from lab.errors import UserError
from lab.jobs import reproduce
from lab.storage import Store, checkpoint, open_store
from tests.lab.conftest import PROGRAMS, Silent, study_of, tiny_sweep


@pytest.fixture(scope="module")
def again(trained, tmp_path_factory):
    """The fourth cell (a pruned one) of the tiny study, alone: (its plan, its store)."""
    plan, _, _ = trained
    alone = reproduce.alone(plan, 4)
    store = Store(tmp_path_factory.mktemp("alone"))
    Trainer(alone, store, Silent(), PROGRAMS).run()
    return alone, store


def test_a_cell_is_named_by_key_or_settings(trained):
    study = trained[0].study
    for index, cell in enumerate(study.cells):
        assert reproduce.find(study, study.key(cell, 1)) == index
        assert reproduce.find(study, f"prune.sparsity={cell['prune.sparsity']}, seed={cell['seed']}") == index


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zzzz", "no cells match"),
        ("", "no cells match"),
        ("seed=1", r"2 cells match.*prune\.sparsity=0\.0,seed=0"),
        ("width=3", r"'width' is not an axis.*prune\.sparsity, seed"),
        ("seed=x", "no cells match"),
    ],
)
def test_a_cell_that_is_not_one_is_refused(trained, name, message):
    with pytest.raises(UserError, match=message):
        reproduce.find(trained[0].study, name)


def test_a_cell_is_named_by_what_a_person_types():
    """As many digits as tables printed before settings were exact are enough where they can mean one setting only."""
    sparsities = (*np.linspace(0.0, 0.9, 10).tolist(), 1 / 3, 1 / 3 + 1e-9, 0.3001)
    study = study_of(grid=tiny_sweep(sparsities, 1))
    for text, index in (("0.3", 3), ("0.30000000000000004", 3), ("0.3001", 12), ("6e-1", 6), ("0.333333333", 10)):
        assert reproduce.find(study, f"prune.sparsity={text},seed=0") == index
    with pytest.raises(
        UserError, match=r"sparsity=0\.333333 may be 0\.3333333333333333 or 0\.33333333433333334; write"
    ):
        reproduce.find(study, "prune.sparsity=0.333333")
    with pytest.raises(UserError, match="no cells match"):
        reproduce.find(study, "prune.sparsity=0.33")


@pytest.mark.slow
def test_only_its_own_stages_are_trained(again):
    plan, _ = again
    assert [len(group.nodes) for group in plan.program_groups] == [1, 1]
    assert [4 in node.cells for node in reproduce.nodes_of(plan)] == [True, True]


def test_it_ends_in_the_same_bits(trained, again):
    plan, store = again
    compared = reproduce.compare(plan, trained[1], store)
    assert [(one.stage, one.step) for one in compared] == [("train", 3), ("train", 12), ("prune", 18)]
    assert all(one.compared > 1000 and not one.differ and not one.conditions for one in compared)
    assert all(line.endswith("the same to the bit") for line in reproduce.report(compared))


def changed(store, workdir, key, change):
    """The study's checkpoints with another number in a cell's last parameters, and other conditions."""
    shutil.copytree(store.workdir, workdir)
    saved, row = store.final(key)
    path = workdir / saved.path.relative_to(store.workdir)
    items = {name: checkpoint.load(saved, name) for name in checkpoint.ITEMS}
    items["params"]["norm_final"]["scale"][row, 0] += np.float32(change)
    meta = json.loads(json.dumps(saved.meta))
    meta["made_with"]["jaxlib"] = "0.0.1"
    shutil.rmtree(path)
    checkpoint.save(path, items, meta)


def test_another_bit_is_found_and_the_condition_that_differs_is_named(trained, again, tmp_path):
    plan, store = again
    changed(trained[1], tmp_path / "work", reproduce.nodes_of(plan)[1].key, 0.25)
    other = open_store(tmp_path / "work", trained[0].study, pytest.fail)
    *same, last = reproduce.compare(plan, other, store)
    assert not any(one.differ for one in same)
    ((name, count, apart),) = last.differ
    assert "norm_final" in name
    assert count == 1
    assert apart == pytest.approx(0.25, abs=1e-6)
    lines = reproduce.report([*same, last])
    assert "1 of" in lines[-2]
    assert lines[-1].startswith("not the same here: jaxlib was 0.0.1, is ")


def test_bits_are_compared_and_not_numbers():
    apart = reproduce._distance(np.float32([0.0, 1.0, np.inf]), np.float32([-0.0, 1.0, np.inf]))
    assert apart == (1, 0.0)
    assert reproduce._distance(np.float32([np.nan, 2.0]), np.float32([np.nan, 2.5])) == (1, 0.5)


def test_steps_that_the_study_lacks_are_named(trained, again, tmp_path):
    plan, store = again
    shutil.copytree(trained[1].workdir, tmp_path / "work")
    saved, _ = trained[1].final(reproduce.nodes_of(plan)[1].key)
    shutil.rmtree(tmp_path / "work" / saved.path.relative_to(trained[1].workdir))
    other = open_store(tmp_path / "work", trained[0].study, pytest.fail)
    compared = reproduce.compare(plan, other, store)
    assert reproduce.missing(plan, compared) == ["prune 18: not among the study's checkpoints"]
    assert not reproduce.missing(plan, reproduce.compare(plan, trained[1], store))


def test_conditions_that_were_not_recorded_are_reported_only_where_bits_differ():
    conditions = (("jax", reproduce.NOT_RECORDED, "0.10.2"),)
    same = reproduce.Compared("train", 3, 10, (), conditions)
    assert reproduce.report([same]) == ["train 3: 10 numbers, the same to the bit"]
    other = reproduce.Compared("train", 3, 10, (("params['x']", 2, 0.5),), conditions)
    assert reproduce.report([other])[1:] == ["not recorded then: jax"]


def test_a_difference_that_nothing_explains_is_not_explained_away(again):
    one = reproduce.Compared("train", 3, 10, (("params['x']", 2, 0.5),), ())
    assert reproduce.report([one]) == [
        "train 3: 2 of 10 numbers differ, by at most 0.5 in params['x'] (2 there)",
        "Every recorded condition is the same: nothing known explains the difference.",
    ]
