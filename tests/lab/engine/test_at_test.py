"""One trained cell, read at several values of a knob: what is trained once, and what each value's evaluation is."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lab.engine.evaluate import evaluate, evaluations
from lab.storage import checkpoint
from lab.study import axis, product
from tests.lab.conftest import carry_out, study_of
from tests.lab.study.test_testing import at_test_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    config = at_test_config(loop=dict(turns=2))
    grid = product(axis("loop.turns", (2, 4), at="test"), axis("seed", (0,)))
    return carry_out(study_of(config, grid), tmp_path_factory.mktemp("turned"))


def item(store, node, name):
    saved, row = store.final(node.key)
    return checkpoint.rows(checkpoint.load(saved, name), row)


def test_it_is_trained_once_and_its_weights_stay(turned):
    plan, store, progress = turned
    assert (progress.cell_steps, progress.cells) == (12, 2)
    (trained, two), (same, four) = plan.nodes_of_cells()
    assert trained == same
    params = [item(store, node, "params") for node in (trained, two, four)]
    assert jax.tree.all(jax.tree.map(lambda *leaves: all((leaf == leaves[0]).all() for leaf in leaves), *params))


def test_each_value_is_evaluated_as_a_model_of_so_many_turns(turned):
    """Against the evaluation of a model whose spec has the turns, and which no mechanism touches."""
    plan, store, _ = turned
    (trained, two), (_, four) = plan.nodes_of_cells()
    read = {node.key: item(store, node, "history")["ability"][-1] for node in (trained, two, four)}
    np.testing.assert_allclose(read[two.key], read[trained.key], atol=1e-5)
    (evaluation, *_) = evaluations(plan.study)
    for turns, node in ((2, two), (4, four)):
        spec = replace(plan.study.spec, turns=turns)
        hook = {"turns": turns, "injection": 1.0}
        looped = replace(evaluation, spec=spec)
        found = jax.jit(lambda p, e=looped, h=hook: _evaluated(e, h, p))(item(store, node, "params"))
        at = looped.splits.index(("facts", "iid"))
        np.testing.assert_allclose(read[node.key][at], np.stack(found["facts/iid"]), atol=1e-5)


def _evaluated(evaluation, hook, params):
    with pytest.MonkeyPatch.context() as patch:
        given = lambda self, point, layer, x: hook.get(point, x)  # noqa: E731
        patch.setattr("lab.training.active_mechanisms.ActiveMechanisms.hook", given)
        return evaluate(evaluation, np.int32(0), params)
