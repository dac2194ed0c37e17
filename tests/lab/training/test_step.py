"""The schedule, the addresses of randomness, the loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.engine import make_plan
from lab.engine.branch import branch
from lab.nn import model
from lab.nn.loss import answer_logprob, task_loss
from lab.prng import PURPOSES, derive_key
from lab.training import step as train
from lab.training.step import Schedule
from tests.lab.conftest import LAYOUT, initial_params, initial_state, study_of, tiny_config


@pytest.fixture(scope="module")
def program():
    return make_plan(study_of(), LAYOUT).program_groups[0].program


def test_schedules():
    at = lambda schedule, step: float(schedule(jnp.int32(step)))  # noqa: E731
    assert at(Schedule("constant", 10), 0) == pytest.approx(0.1)
    assert at(Schedule("constant", 10), 4) == pytest.approx(0.5)
    assert at(Schedule("constant", 10), 10_000) == 1.0
    cosine = optax.cosine_decay_schedule(1.0, 1000)
    for step in (10, 300, 999):
        assert at(Schedule("cosine", 1, 1000), step) == pytest.approx(float(cosine(step)), abs=1e-6)
    wsd = [at(Schedule("wsd", 1, 1000), step) for step in (500, 799, 850, 900, 999, 1000)]
    assert wsd == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.005, 0.0], abs=1e-6)


def test_randomness_is_addressed_by_seed_purpose_and_step():
    keys = {
        (seed, purpose, step): tuple(np.asarray(jax.random.key_data(derive_key(jnp.int32(seed), purpose, step))))
        for seed in (0, 1)
        for purpose in PURPOSES
        for step in (0, 1)
    }
    assert len(set(keys.values())) == len(keys)


@pytest.mark.slow
def test_the_loss_weighs_examples_alike_however_long_their_answers(program):
    params = initial_params(derive_key(jnp.int32(0), "init"), program.spec)
    worlds = program.mixture.worlds(derive_key(jnp.int32(0), "world"))
    batch = program.mixture.batch(jax.random.key(0), worlds, dict(program.counts), program.length)
    logits = np.asarray(model.apply(params, batch.tokens, program.spec)[0], np.float64)
    logprob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows = []
    for b, targets in enumerate(np.asarray(batch.targets)):
        at = np.flatnonzero(np.asarray(batch.weights)[b])
        rows.append(np.mean([logprob[b, t, targets[t]] for t in at]))
    assert {int((np.asarray(batch.weights)[b] > 0).sum()) for b in range(len(rows))} == {1, 3}  # facts 1, words 3
    logits_BxAxV, _ = model.apply(params, batch.tokens, program.spec, batch.answers)
    np.testing.assert_allclose(task_loss(logits_BxAxV, batch), -np.mean(rows), rtol=1e-5)
    np.testing.assert_allclose(answer_logprob(logits_BxAxV, batch), rows, rtol=1e-5)


def test_cells_that_differ_only_in_a_knob_see_the_same_weights_and_batches(program):
    """The first loss is computed before any update: equal for any knobs, different for another seed."""
    state = initial_state(program, jnp.int32(5))
    knobs = {"optimizer.learning_rate": jnp.float32(1e-3), "weight_decay.rate": jnp.float32(0.0)}
    other = {name: value + jnp.float32(0.5) for name, value in knobs.items()}
    run = jax.jit(lambda seed, knobs, state: train.train_call(program, jnp.int32(7), seed, knobs, state)[1][0])
    assert run(jnp.int32(5), knobs, state) == run(jnp.int32(5), other, state)
    assert run(jnp.int32(5), knobs, state) != run(jnp.int32(6), knobs, state)


def test_a_restarted_schedule_has_the_key_that_kept_checkpoints_have():
    config = tiny_config()
    config.schedule.name = "cosine"
    study = study_of(config)
    continued = branch(study, [(0, {})], steps=6)
    (cell,) = continued.cells
    assert continued.schedule_at(2).start == 18
    own = continued.content(cell, 2)["stages"][-1]["schedule"]
    assert own == {"name": "cosine", "warmup": 1, "total": 6, "begun": 18}
    assert continued.content(cell, 2)["schedule"] == {"name": "cosine", "warmup": 4, "total": 18}
    assert continued.key(cell, 2) == "db44a83a3decfd12"
