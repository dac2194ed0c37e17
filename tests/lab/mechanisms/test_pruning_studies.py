"""Studies that prune: masks hold while fine-tuning, regrowth resumes, contradictions are refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import local_layout, make_plan
from lab.errors import UserError
from lab.mechanisms.pruning_masks import prunable
from lab.storage import checkpoint
from lab.study import axis, product
from lab.training import step as train
from tests.lab.conftest import carry_out, study_of, tiny_config
from tests.lab.mechanisms.test_pruning import ZERO, removed_of
from tests.lab.mechanisms.test_regularizers import knobs_of


@pytest.mark.slow
def test_pruned_weights_stay_exactly_zero_while_fine_tuning():
    program = make_plan(study_of(), local_layout()).program_groups[-1].program
    knobs = knobs_of(prune__sparsity=0.6)
    state = jax.jit(lambda: train.begin(program, train.init(program, ZERO), knobs, ZERO, jnp.int32(12)))()
    train_on = jax.jit(lambda start, state: train.train_call(program, start, ZERO, knobs, state))
    masks = state.extra["prune"]
    for start in (0, 3):
        before = state.params
        state, _ = train_on(jnp.int32(start), state)
        for path, kernel in prunable(state.params).items():
            assert not np.asarray(kernel)[~np.asarray(masks[path])].any()
            kept = np.asarray(masks[path])
            assert (np.asarray(kernel) != np.asarray(prunable(before)[path]))[kept].mean() > 0.5  # the rest does learn
    jax.tree.map(np.testing.assert_array_equal, masks, state.extra["prune"])


@pytest.mark.slow
def test_sparse_from_the_start_with_regrowth_is_a_study_like_any_other(tmp_path):
    """The shaping knobs act as soon as sparsity does, and what is kept survives the change of stage."""
    config = tiny_config()
    config.steps = dict(train=54, prune=6)
    config.knobs = dict(prune=dict(regrow="rigl", method="random"))
    study = study_of(config, product(axis("prune.sparsity", (0.0, 0.8), stage="train"), axis("seed", (0,))))
    assert study.knobs_at(study.cells[1], 0)["prune.regrow_share"] == 0.3
    plan, store, _ = carry_out(study, tmp_path)
    for node in (row[-1] for row in plan.nodes_of_cells()):
        saved, row = store.final(node.key)
        params = checkpoint.load(saved, "params")
        kernels = [np.asarray(kernel)[row] for kernel in prunable(params).values()]
        zeros, total = sum((k == 0).sum() for k in kernels), sum(k.size for k in kernels)
        assert zeros == removed_of(node.knobs["prune.sparsity"], total)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (dict(method="wanda", over=100), "set prune.over=1"),
        (dict(regrow="set", over=100), "can't also grow"),
        (dict(regrow="rigl", scope="output"), "another than 'output'"),
        (dict(spread="erk"), "prune.spread='erk' gives each layer"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(knobs, message):
    config = tiny_config()
    config.knobs = dict(prune=knobs)
    with pytest.raises(UserError, match=message):
        study_of(config)


def test_settings_that_only_shape_pruning_share_the_dense_cell():
    config = tiny_config()
    methods, sparsities = ("magnitude", "snip", "wanda", "random"), (0.0, 0.5)
    grid = product(axis("prune.method", methods), axis("prune.sparsity", sparsities, stage="prune"), axis("seed", (0,)))
    study = study_of(config, grid)
    assert len({study.key(cell, 1) for cell in study.cells}) == 5
    plain = study_of(config, product(axis("prune.sparsity", sparsities, stage="prune"), axis("seed", (0,))))
    assert {plain.key(cell, 1) for cell in plain.cells} < {study.key(cell, 1) for cell in study.cells}
