"""Self-labelled examples: the answers of a Python loop, judged by the tasks' own solvers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tasks
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import StepView, Update
from lab.mechanisms.self_label import Teacher, own_answers
from lab.nn import model
from lab.nn.loss import answer_logprob, task_loss
from lab.nn.model import Forward
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.base import NO_ANSWER, Example
from tests.lab.conftest import initial_params, study_of, tiny_config
from tests.lab.mechanisms.test_training_data import (
    COUNTS,
    LENGTH,
    MIXTURE,
    PLAIN,
    SEED,
    SPEC,
    WORLDS,
    knobs_of,
    rows_of,
)

STEP = jnp.int32(3)
FED = ("copy",)  # the labels whose answers are fed back


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda p: p * 3, initial_params(jax.random.key(0), SPEC))  # confident, so that tokens matter


@jax.jit
def labelled(params, knobs, step):
    """The batch of a step, answered by a teacher; and as its task made it."""
    active = ActiveMechanisms.of(("self_label",), knobs, SEED, step)
    source = active.data_source(PLAIN.context, {"self_label": Teacher(params, jnp.int32(0))}, SEED, step)
    plain = ActiveMechanisms.of((), {}, SEED, step).data_source(PLAIN.context, {}, SEED, step)
    return source.batch(WORLDS, LENGTH), plain.batch(WORLDS, LENGTH)


def batches(params, **changed):
    return jax.tree.map(np.asarray, labelled(params, knobs_of(**changed), STEP))


@pytest.fixture(scope="module")
def looped(params):
    """(tokens, targets) of the batch with the model's answers, one place after the other."""
    read = jax.jit(lambda tokens: model.apply(params, tokens, SPEC)[0])
    _, batch = batches(params)
    tokens, targets = batch.tokens.copy(), batch.targets.copy()
    fed_B = np.isin(np.arange(len(tokens)), np.concatenate([rows_of(label) for label in FED]))
    for place in range(tokens.shape[1]):
        said_B = np.argmax(np.asarray(read(jnp.asarray(tokens)))[:, place], axis=-1)
        asked_B = batch.weights[:, place] > 0
        targets[asked_B, place] = said_B[asked_B]
        if place + 1 < tokens.shape[1]:  # behind the last answer there is nothing
            fed = asked_B & fed_B & (batch.weights[:, place + 1] > 0)
            tokens[fed, place + 1] = said_B[fed]
    return tokens, targets


def judged(batch, targets):
    """Whether the tasks' independent solvers call each row's answer right."""
    found, worlds = [], jax.tree.map(np.asarray, WORLDS)
    for label in COUNTS:
        for row in rows_of(label):
            read = np.zeros(1, np.int32)
            example = Example(batch.tokens[row], batch.targets[row], batch.weights[row], {}, read)
            answer = np.where(batch.weights[row] > 0, targets[row], NO_ANSWER)
            found.append(MIXTURE.check(label, worlds[label], example, answer))
    return np.asarray(found)


def test_the_targets_are_the_models_own_answers(params, looped):
    found, plain = batches(params, self_label__share=1.0)
    np.testing.assert_array_equal(found.targets, looped[1])
    asked = plain.weights > 0
    before = np.roll(asked, 1, axis=1) & asked  # what is fed back into an answer of several tokens
    np.testing.assert_array_equal(found.tokens[before], looped[0][before])
    assert (found.tokens != plain.tokens).any()
    np.testing.assert_array_equal(found.weights, plain.weights)
    unchanged = [row for label in ("recall", "word") for row in rows_of(label)]
    np.testing.assert_array_equal(found.tokens[unchanged], plain.tokens[unchanged])


def test_a_share_of_the_rows_is_answered_and_none_at_neutral(params, looped):
    found, plain = batches(params)
    jax.tree.map(np.testing.assert_array_equal, found, plain)
    found, _ = batches(params, self_label__share=0.5)
    own_B, kept_B = (found.targets == looped[1]).all(1), (found.targets == plain.targets).all(1)
    assert (own_B | kept_B).all()
    assert 0 < own_B.sum() < len(own_B)


def test_the_checker_keeps_what_the_task_calls_right(params, looped):
    found, plain = batches(params, self_label__share=1.0, self_label__checker=1)
    right_B = judged(plain, looped[1])
    np.testing.assert_array_equal((found.weights > 0).any(1), right_B)
    assert judged(plain, plain.targets).all()


def test_what_the_checker_refuses_is_not_learned(params):
    plain = batches(params)[1]
    refused_B = np.arange(len(plain.tokens)) % 3 == 0
    batch = plain._replace(weights=np.where(refused_B[:, None], 0, plain.weights))
    random = np.random.default_rng(0)
    logits = jnp.asarray(random.normal(size=(*batch.answers.shape, SPEC.vocab_size)), jnp.float32)
    view = StepView(batch, jax.random.key(0), STEP, lambda *_: None)  # pyright: ignore[reportArgumentType]

    def loss(logits):
        forward = Forward(logits, *[jnp.zeros(())] * 4)
        return task_loss(logits, batch) + MECHANISMS["self_label"].penalty(forward, view, knobs_of())

    each_B = -np.asarray(answer_logprob(logits, batch), np.float64)
    value, slope = jax.value_and_grad(loss)(logits)
    assert float(value) == pytest.approx(each_B[~refused_B].sum() / len(each_B), rel=1e-5)
    assert not np.asarray(slope)[refused_B].any()
    assert np.asarray(slope)[~refused_B].any(axis=(1, 2)).all()


@pytest.mark.slow
def test_draws_are_from_the_softmax_at_the_temperature(params):
    source = ActiveMechanisms.of((), {}, SEED, STEP).data_source(PLAIN.context, {}, SEED, STEP)
    _, plain = batches(params)
    batch, temperature = jax.tree.map(jnp.asarray, plain), 2.0

    @jax.jit
    def drawn(keys):
        return jax.lax.map(lambda key: own_answers(source, batch, params, jnp.float32(temperature), key)[0], keys)

    answers = np.asarray(drawn(jax.random.split(jax.random.key(5), 200)))
    row = rows_of("word")[0]
    place = int(np.argmax(plain.weights[row] > 0))
    logits = np.asarray(model.apply(params, batch.tokens[row][None], SPEC)[0], np.float64)[0, place] / temperature
    odds = np.exp(logits - logits.max())
    odds /= odds.sum()
    shares = np.bincount(answers[:, row, place], minlength=len(odds)) / 200
    assert (np.abs(shares - odds) <= 4.5 * np.sqrt(odds * (1 - odds) / 200) + 1e-3).all()


def test_a_generation_ends_after_so_many_steps():
    mechanism, kept = MECHANISMS["self_label"], Teacher({"w": jnp.float32(0)}, jnp.int32(10))
    teachers = []
    for step in range(10, 17):
        update = Update({}, jax.random.key(0), jnp.int32(step), jnp.float32(1))
        kept = mechanism.after_update({"w": jnp.float32(step)}, kept, knobs_of(self_label__generation=3), update)
        teachers.append(int(kept.params["w"]))
    assert teachers == [0, 0, 12, 12, 12, 15, 15]
    started = mechanism.on_stage_start({"w": jnp.float32(7)}, kept, {}, StepView(None, None, STEP, None))  # pyright: ignore
    assert (int(started.params["w"]), int(started.since)) == (7, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(tasks.TASKS))
def test_scores_ask_for_no_more_than_tokens(name):
    """A batch keeps tokens, targets and weights; a checker has no factors and read positions to give."""
    task = tasks.make(name, **dict(tasks.TASKS[name].small[0]))
    split = task.splits["train"]
    world = jax.eval_shape(task.world, jax.random.key(0))
    example = jax.eval_shape(lambda w: task.sample(jax.random.key(0), w, split.difficulty, split.length), world)
    bare = example._replace(factors={}, read=jax.ShapeDtypeStruct((1,), jnp.int32))
    assert jax.eval_shape(task.score, bare, example.targets).shape == ()


def test_copies_of_an_example_are_refused():
    config = tiny_config()
    config.knobs = dict(self_label=dict(share=0.5), batch=dict(share=0.5))
    with pytest.raises(UserError, match=r"batch\.share repeats examples"):
        study_of(config)
