"""Knobs that differ at test: one training for all values, with the keys of a study without the axis."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.design import matched_controls, neutral_value
from analysis.repair import branch_study
from lab.engine import make_plan
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.narrow import Heads
from lab.mechanisms.self_label import Teacher
from lab.nn import model
from lab.study import axis, product
from lab.training.step import Program, State, with_room
from tests.lab.conftest import LAYOUT, study_of, tiny_config
from tests.lab.mechanisms.test_bottlenecks import knobs_of

KEY = jax.random.key(0)


def at_test_config(knob="loop.turns", **knobs):
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    config.claim.knob = knob
    config.knobs = knobs
    return config


def swept(knob, values, *others):
    return product(axis(knob, values, at="test"), *others, axis("seed", range(2)))


def trained_alone(**knobs):
    config = at_test_config("weight_decay.rate", **knobs)
    return study_of(config, product(axis("weight_decay.rate", (0.0,)), axis("seed", range(2))))


@pytest.mark.parametrize("turns", [1, 2])
def test_one_training_with_the_keys_of_a_study_without_the_axis(turns):
    study = study_of(at_test_config(loop=dict(turns=turns)), swept("loop.turns", (1, 2, 8)))
    alone = trained_alone(loop=dict(turns=turns))
    assert [study.key(cell, 0) for cell in study.cells] == [alone.cell_keys[cell["seed"]] for cell in study.cells]
    assert len({*study.cell_keys}) == 6
    assert study.cell_keys == tuple(study.key(cell, 1) for cell in study.cells)
    assert [study.knobs_at(cell, 0)["loop.turns"] for cell in study.cells] == [turns] * 6
    assert [study.knobs_at(cell, 1)["loop.turns"] for cell in study.cells] == [1, 1, 2, 2, 8, 8]
    plan = make_plan(study, LAYOUT)
    training, *test = plan.program_groups
    assert (len(training.nodes), training.program.spec.turns) == (2, turns)
    assert training.program == make_plan(alone, LAYOUT).program_groups[0].program
    assert sum(len(group.nodes) for group in test) == 6
    assert plan.steps_shared() == 2 * 12
    rooms = {node.knobs["loop.turns"]: group.program.spec.turns for group in test for node in group.nodes}
    assert rooms == ({1: 1, 2: 8, 8: 8} if turns == 1 else {1: 8, 2: 8, 8: 8})


def test_neutral_is_what_was_trained():
    study = study_of(at_test_config(loop=dict(turns=4)), swept("loop.turns", (1, 2, 4)))
    assert neutral_value(study) == 4
    assert matched_controls(study) == [4, 5, 4, 5, None, None]
    assert study.stages[-1].name == "test"
    assert (study.stages[-1].steps, study.stages[-1].saves) == (0, (12,))


def test_knobs_of_the_last_stage_act_from_the_last_that_trains():
    config = tiny_config()
    config.knobs = dict(prune=dict(sparsity=0.5))
    config.claim.knob = "disturb.noise"
    study = study_of(config, swept("disturb.noise", (0.0, 1.0)))
    assert [study.knobs_at(study.cells[0], stage)["prune.sparsity"] for stage in range(3)] == [0.0, 0.5, 0.5]
    assert study.starting(study.cells[0], 1) == study_of(config, swept("disturb.noise", (0.0, 1.0))).starting({}, 1)
    assert study.acts_from["prune.sparsity"] == 1


@pytest.mark.parametrize(
    ("knob", "values", "message"),
    [
        ("weight_decay.rate", (0.0, 0.1), r"can't have at='test': it acts on training alone\.$"),
        ("hidden_noise.sigma", (0.0, 0.1), r"training alone\. disturb\.noise is noise at test"),
        ("mixer.kind", ("softmax", "linear"), r"its value is part of the trained model"),
        ("width.active", (1.0, 0.5), r"it changes the trained weights; name a stage of 0 steps"),
        ("experts.count", (1, 2), r"experts are trained; experts\.top_k"),
        ("model.layers", (1, 2), r"its value is part of the trained model"),
        ("optimizer.learning_rate", (0.1, 0.2), r"it acts on training alone"),
        ("seed", (0, 1), r"can't have at='test'"),
    ],
)
def test_what_cannot_differ_at_test_is_refused(knob, values, message):
    grid = axis(knob, values, at="test")
    with pytest.raises(UserError, match=message):
        study_of(at_test_config(knob), grid if knob == "seed" else product(grid, axis("seed", range(2))))


def test_other_mistakes():
    with pytest.raises(UserError, match=r"axis 'loop\.turns': at='tset' must be 'train' or 'test'"):
        axis("loop.turns", (1, 2), at="tset")
    with pytest.raises(UserError, match=r"at='test' has no stage="):
        axis("loop.turns", (1, 2), stage="train", at="test")
    config = at_test_config()
    config.stages, config.steps, config.saves = ("test",), dict(test=12), dict(test=2)
    with pytest.raises(UserError, match=r"config\.stages: 'test' is the stage of axes with at='test'"):
        study_of(config, swept("loop.turns", (1, 2)))
    with pytest.raises(UserError, match=r"--repair: loop\.turns differs at test alone"):
        branch_study.check(study_of(at_test_config(), swept("loop.turns", (1, 2))), "", 3)
    with pytest.raises(UserError, match=r"disturb\.layer=2 must lie in \[0, 1\]"):
        study_of(at_test_config("disturb.noise", disturb=dict(layer=2)), swept("disturb.noise", (0.0, 1.0)))


def test_the_block_that_is_disturbed_at_test_changes_nothing_of_training():
    """It shapes noise and swap, and does nothing while both are neutral."""
    base, alone = dict(disturb=dict(layer=1)), trained_alone()
    study = study_of(at_test_config("disturb.noise", **base), swept("disturb.noise", (0.0, 1.0)))
    assert [study.key(cell, 0) for cell in study.cells] == [alone.cell_keys[cell["seed"]] for cell in study.cells]
    assert "disturb" not in make_plan(study, LAYOUT).program_groups[0].program.mechanisms
    first = study_of(at_test_config("disturb.noise"), swept("disturb.noise", (0.0, 1.0)))
    assert [one == other for one, other in zip(study.cell_keys, first.cell_keys, strict=True)] == [True] * 2 + [
        False
    ] * 2
    by_swap = swept("disturb.swap", (0.0, 1.0), axis("disturb.layer", (0, 1)))
    study_of(at_test_config("disturb.swap"), by_swap)  # either of the two is enough
    with pytest.raises(UserError, match=r"does nothing while disturb\.noise is 0\.0 and disturb\.swap is 0\.0; set"):
        study_of(at_test_config("weight_decay.rate"), product(axis("disturb.layer", (0, 1)), axis("seed", range(2))))


def test_disturbances_act_where_a_model_is_read_and_nowhere_else():
    x = np.random.default_rng(0).normal(size=(64, 5, 16)).astype(np.float32)
    hook = MECHANISMS["disturb"].hook
    noisy = knobs_of(disturb__noise=0.5)
    np.testing.assert_array_equal(hook("residual", 1, jnp.asarray(x), noisy, jax.random.key(3)), x)
    np.testing.assert_array_equal(hook("residual", 1, jnp.asarray(x), knobs_of(), None), x)
    added = np.asarray(hook("residual", 1, jnp.asarray(x), noisy, None)) - x
    in_units = added / np.sqrt((x**2).mean(axis=-1, keepdims=True))
    assert abs(in_units.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * x.size)
    swapped = hook("residual", 1, jnp.asarray(x), knobs_of(disturb__swap=1.0, disturb__layer=1), None)
    np.testing.assert_allclose(swapped, np.concatenate([x[1:], x[:1]]), atol=1e-6)
    elsewhere = hook("residual", 2, jnp.asarray(x), knobs_of(disturb__swap=1.0, disturb__layer=1), None)
    np.testing.assert_array_equal(elsewhere, x)


def test_what_room_adds_is_as_it_was_drawn_and_what_was_trained_stays(monkeypatch):
    small = model.ModelSpec(vocab_size=9, max_length=6, width=8, layers=1, heads=2, mlp_width=8)
    large = replace(small, pauses=2)

    def full(spec, value):
        shapes = jax.eval_shape(partial(model.init, KEY, spec))
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, value, jnp.float32), shapes)

    trained, drawn = full(small, 7.0), full(large, 3.0)
    monkeypatch.setattr("lab.training.step.model.init", lambda key, spec: drawn)
    program = Program(large, study_of().mixture, (), 4, study_of().schedule, ("width", "self_label"))
    teacher = Teacher(trained, jnp.int32(0))
    state = State(trained, (), {"width": Heads(jnp.float32(2), jnp.float32(1)), "self_label": teacher})

    def widened(width):
        knobs = knobs_of(width__active=width)
        return jax.tree.map(np.asarray, with_room(program, state, knobs, jnp.int32(3), jnp.int32(0)))

    found = widened(1.0).params
    np.testing.assert_array_equal(found["positions"], [[7] * 8] * 6 + [[3] * 8] * 2)
    np.testing.assert_array_equal(found["pause"]["vectors"], [[3] * 8])
    assert (found["block_0"]["mlp_in"]["kernel"] == 7).all()
    # A teacher is run in the model's own sizes, and dimensions that are cut away are so in what the room adds.
    np.testing.assert_array_equal(widened(1.0).extra["self_label"].params["positions"], found["positions"])
    np.testing.assert_array_equal(widened(0.5).params["positions"][6:], [[3] * 4 + [0] * 4] * 2)


def test_a_stage_may_be_called_test_where_no_knob_differs_there():
    config = at_test_config("l2.rate")
    config.stages, config.steps, config.saves = ("train", "test"), dict(train=6, test=6), dict(train=1, test=1)
    study = study_of(config, product(axis("l2.rate", (0.0, 0.1), stage="test"), axis("seed", (0,))))
    assert study.acts_from["l2.rate"] == 1
    with pytest.raises(UserError, match="unknown stage 'test'"):
        study_of(at_test_config(), product(axis("loop.turns", (1, 2), stage="test"), axis("seed", (0,))))
