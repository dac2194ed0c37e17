"""Greedy free-running answers against a plain Python loop, and the log-probability against NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import evaluate
from lab.nn import model
from lab.prng import derive_key
from lab.storage.history import READINGS
from tasks.base import NO_ANSWER
from tests.lab.conftest import initial_params, study_of, tiny_config

APPLY = jax.jit(model.apply, static_argnums=2)
ANSWER = jax.jit(evaluate.answer, static_argnums=(1, 5))
EVALUATE = jax.jit(evaluate.evaluate, static_argnums=0)
SPEC = model.ModelSpec(vocab_size=9, max_length=10, width=16, layers=1, heads=2, mlp_width=16)


def naive_answer(params, tokens, weights, fed_back):
    """Answer positions one after the other; each prediction replaces the teacher's token where answers are fed back."""
    tokens, answer = list(map(int, tokens)), np.full(len(tokens), NO_ANSWER)
    for position in np.flatnonzero(weights):
        logits, _ = APPLY(params, jnp.asarray([tokens], jnp.int32), SPEC)  # causal: later tokens don't matter
        answer[position] = int(np.argmax(logits[0, position]))
        if fed_back and position + 1 < len(tokens):
            tokens[position + 1] = int(answer[position])
    return answer


@pytest.mark.parametrize("fed_back", [True, False])
def test_free_running_answers_are_those_of_a_python_loop(fed_back):
    params = jax.tree.map(lambda p: p * 8, initial_params(jax.random.key(0), SPEC))  # confident, so that tokens matter
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 9, (6, 10)).astype(np.int32)
    weights = np.zeros((6, 10), np.float32)
    weights[:, 5:9] = 1
    weights[3, 7:9] = 0  # a shorter answer
    answers, _ = ANSWER(
        params, SPEC, jnp.asarray(tokens), jnp.asarray(tokens), jnp.asarray(weights), 4 if fed_back else 1
    )
    expected = [naive_answer(params, tokens[i], weights[i], fed_back) for i in range(6)]
    np.testing.assert_array_equal(answers, expected)
    if fed_back:  # and feeding back did change some answer, or the test shows nothing
        forced = [naive_answer(params, tokens[i], weights[i], False) for i in range(6)]
        assert (np.asarray(expected) != np.asarray(forced)).any()


def test_logprob_is_the_mean_over_examples_of_the_mean_over_answer_tokens():
    params = initial_params(jax.random.key(0), SPEC)
    rng = np.random.default_rng(1)
    tokens = jnp.asarray(rng.integers(0, 9, (4, 6)), jnp.int32)
    targets = jnp.asarray(rng.integers(0, 9, (4, 6)), jnp.int32)
    weights = np.zeros((4, 6), np.float32)
    weights[:, 3:] = 1
    weights[0, 4:] = 0
    _, logprob = evaluate.answer(params, SPEC, tokens, targets, jnp.asarray(weights), 1)
    logits = np.asarray(model.apply(params, tokens, SPEC)[0], np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows = [np.mean([logprobs[i, t, targets[i, t]] for t in np.flatnonzero(weights[i])]) for i in range(4)]
    np.testing.assert_allclose(logprob, np.mean(rows), rtol=1e-5)


def test_token_accuracy_is_the_share_of_right_tokens_of_each_answer():
    targets = jnp.asarray([[7, 1, 2, 3], [7, 1, 2, 3], [7, 1, 2, 3], [7, 1, 0, 0]], jnp.int32)
    answers = jnp.asarray([[8, 1, 2, 3], [8, 1, 0, 3], [8, 3, 2, 1], [8, 0, 0, 0]], jnp.int32)
    weights = jnp.asarray([[0.5, 1, 1, 1], [0.5, 1, 1, 1], [0.5, 1, 1, 1], [0.5, 1, 0, 0]], jnp.float32)
    right = jnp.asarray([True, False, True, False])  # the third is another right answer than the targets' one
    found = evaluate.token_accuracy(right, answers, targets, weights)  # the first column is a scratchpad
    assert float(found) == pytest.approx(np.mean([1, 2 / 3, 1, 0]))


def test_the_history_records_every_reading_of_an_ability():
    assert evaluate.Ability._fields == READINGS


@pytest.fixture(scope="module")
def study():
    config = tiny_config()
    config.tasks.star = dict(task="path_star", direction="reverse", examples=4)
    return study_of(config)


def test_longer_splits_have_a_program_of_their_own(study):
    short, long = evaluate.evaluations(study)
    assert short.length == study.train_length < long.length
    pairs = set(short.splits) | set(long.splits)
    assert pairs == {(use.label, name) for use in study.tasks for name in use.splits}
    assert evaluate.names(study) == [f"{label}/{split}" for e in (short, long) for label, split in e.splits]


@pytest.mark.slow
def test_scores_agree_with_the_tasks_own_checkers(study):
    """The engine's exact accuracy, recomputed example by example with the independent NumPy checkers."""
    seed = jnp.int32(3)
    params = jax.tree.map(lambda p: p * 4, initial_params(derive_key(seed, "init"), study.spec))
    worlds = study.mixture.worlds(derive_key(seed, "world"))
    for evaluation in evaluate.evaluations(study):
        found = EVALUATE(evaluation, seed, params)
        for label, split in evaluation.splits:
            examples = jax.jit(lambda s, w, pair=(label, split), e=evaluation: evaluate.examples_of(e, s, w, *pair))(
                seed, worlds
            )
            steps = study.mixture.task(label).splits[split].decode_steps
            answers, _ = ANSWER(params, study.spec, examples.tokens, examples.targets, examples.weights, steps)
            host = jax.tree.map(np.asarray, examples)
            world = jax.tree.map(np.asarray, worlds[label])
            right = [
                study.mixture.check(label, world, jax.tree.map(lambda x, i=i: x[i], host), np.asarray(answers[i]))
                for i in range(study.eval_examples)
            ]
            assert float(found[f"{label}/{split}"].exact) == pytest.approx(np.mean(right))
            judged, hits = host.weights >= 1, np.asarray(answers) == host.targets
            shares = [1.0 if ok else hits[i][judged[i]].mean() for i, ok in enumerate(right)]
            assert float(found[f"{label}/{split}"].token_accuracy) == pytest.approx(np.mean(shares))


@pytest.mark.slow
def test_a_diverged_model_has_no_ability(study):
    params = jax.tree.map(lambda p: p * jnp.nan, initial_params(jax.random.key(0), study.spec))
    abilities = EVALUATE(evaluate.evaluations(study)[0], jnp.int32(0), params)
    assert all(np.isnan(reading) for ability in abilities.values() for reading in ability)


def test_examples_depend_on_the_seed_and_not_on_the_parameters(study):
    evaluation = evaluate.evaluations(study)[0]
    label, split = evaluation.splits[0]
    worlds = study.mixture.worlds(derive_key(jnp.int32(0), "world"))
    first = evaluate.examples_of(evaluation, jnp.int32(0), worlds, label, split)
    again = evaluate.examples_of(evaluation, jnp.int32(0), worlds, label, split)
    other = evaluate.examples_of(evaluation, jnp.int32(1), worlds, label, split)
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert (np.asarray(first.tokens) != np.asarray(other.tokens)).any()
