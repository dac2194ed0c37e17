"""A stage without steps: the model after it is the one before it, changed by what starts there and nothing else."""

import jax
import numpy as np
import pytest

from analysis.activations import extract
from lab.engine.branch import branch
from lab.engine.evaluate import evaluate, evaluations
from lab.mechanisms.pruning_masks import prunable
from lab.storage import checkpoint, open_store
from tests.lab.conftest import carry_out, study_of, tiny_config, tiny_sweep
from tests.lab.engine.test_branch import carry_on

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    config = tiny_config()
    config.steps = dict(train=12, prune=0)
    return carry_out(study_of(config, tiny_sweep(seeds=2)), tmp_path_factory.mktemp("cut"))


def item(store, node, name):
    saved, row = store.final(node.key)
    return checkpoint.rows(checkpoint.load(saved, name), row)


def test_weights_are_cut_and_nothing_else_moves(cut):
    plan, store, progress = cut
    assert (progress.cells, progress.cell_steps) == (4, 2 * 12)
    assert not any(name.startswith("training, stage prune") for name in progress.programs)
    for cell, (before, after) in zip(plan.study.cells, plan.nodes_of_cells(), strict=True):
        old, new = prunable(item(store, before, "params")), prunable(item(store, after, "params"))
        total = sum(kernel.size for kernel in old.values())
        level = np.sort(np.concatenate([np.abs(k).ravel() for k in old.values()]))[
            round(cell["prune.sparsity"] * total)
        ]
        for path, kernel in old.items():
            np.testing.assert_array_equal(new[path], np.where(np.abs(kernel) >= level, kernel, 0.0))
        kept, moments = (
            {k: v for k, v in item(store, node, "state").items() if k.startswith("moments")} for node in (before, after)
        )
        assert jax.tree.all(jax.tree.map(np.array_equal, kept, moments))


def test_it_is_evaluated_and_its_loss_is_that_of_the_last_batches(cut):
    plan, store, _ = cut
    dense, sparse = (row for row, cell in zip(plan.nodes_of_cells(), plan.study.cells, strict=True) if not cell["seed"])
    before, same, less = (item(store, node, "history") for node in (dense[0], dense[1], sparse[1]))
    assert [same["step"].tolist(), same["call_end"].tolist()] == [[12], [12]]
    np.testing.assert_array_equal(same["ability"][0], before["ability"][-1])
    assert abs(same["loss"][0] - before["loss"][-1]) < 0.2  # the same batches; there the weights moved in between
    assert less["loss"][0] != same["loss"][0]
    program = plan.program_groups[-1].program
    (evaluation,) = [e for e in evaluations(plan.study) if e.length == plan.study.train_length]
    read = jax.jit(lambda p: evaluate(evaluation, np.int32(0), p))(item(store, sparse[1], "params"))
    at = evaluation.splits.index(("facts", "iid"))
    np.testing.assert_allclose(less["ability"][0, at], np.stack(read["facts/iid"]), atol=1e-5)
    assert program.starting == ("prune",)


def test_a_rerun_finds_it_and_readers_take_the_model_after_it(cut):
    plan, store, _ = cut
    again = open_store(store.workdir, plan.study, lambda text: pytest.fail(text))
    assert again.nodes.keys() == store.nodes.keys()
    (members,) = extract.find(plan.study, store, [3], 12).values()
    assert members[0][1].meta["stage"] == "prune"


def test_an_arm_that_starts_from_it_learns(cut, tmp_path):
    plan, store, _ = cut
    sparse = next(i for i, cell in enumerate(plan.study.cells) if cell["prune.sparsity"])
    arm, arms, progress = carry_on(branch(plan.study, [(sparse, {})], 6), store, tmp_path)
    assert progress.cell_steps == 6
    rows = arm.nodes_of_cells()[0]
    before, after = (prunable(item(arms, node, "params")) for node in rows[-2:])
    assert all((np.asarray(before[path]) != np.asarray(after[path])).any() for path in before)
    assert all((np.asarray(after[path])[np.asarray(before[path]) == 0] == 0).all() for path in before)
