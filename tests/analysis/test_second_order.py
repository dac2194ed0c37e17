"""The odds of both answers of a cell, against one example and one first value at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from analysis.activations.inference_model import InferenceModel
from analysis.second_order import odds_of, second_order
from lab.engine.evaluate import Evaluation, examples_of
from lab.errors import UserError
from lab.nn import model
from lab.prng import derive_key
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, study_of, tiny_config

SEED = jnp.int32(4)


@pytest.fixture(scope="module")
def study():
    config = tiny_config()
    config.tasks.pairs = dict(task="iid_pairs", firsts=4, seconds=3, values=3, examples=4)
    return study_of(config)


@pytest.mark.slow
def test_the_readings_are_those_of_one_first_value_at_a_time(study):
    use = next(use for use in study.tasks if use.label == "pairs")
    params = jax.tree.map(lambda p: p * 3, initial_params(jax.random.key(0), study.spec))
    inference, active = InferenceModel(study.spec), ActiveMechanisms.reading((), {}, jnp.int32(0))
    found = jax.jit(lambda s, p: odds_of(study, use, "tail")(inference, active, s, p))(SEED, params)

    world = jax.jit(lambda: study.mixture.worlds(derive_key(SEED, "world"))["pairs"])()
    evaluation = Evaluation(study.spec, study.mixture, study.eval_examples, (), study.mixture.length({"pairs": "tail"}))
    examples = jax.jit(lambda: examples_of(evaluation, SEED, {"pairs": world}, "pairs", "tail"))()
    read = jax.jit(lambda tokens: model.apply(params, tokens, study.spec)[0])
    values = [1 + 4 + 3 + v for v in range(3)]
    claimed, actual = [], []
    for tokens in np.asarray(examples.tokens):  # task token, two parts of a key, a value
        odds = np.asarray(world.odds_KxV)[(tokens[1] - 1) * 3 + tokens[2] - 1 - 4]
        rows = np.stack([np.concatenate([tokens[:3], [value]]) for value in values])
        logits = np.asarray(read(jnp.asarray(rows)), np.float64)
        first = np.exp(log_softmax(logits[0, 2, values]))
        again = [np.exp(log_softmax(logits[v, 3, values]))[v] for v in range(3)]
        claimed.append(sum(first[v] * again[v] - first[v] ** 2 for v in range(3)))
        actual.append(((odds - first) ** 2).sum())
    np.testing.assert_allclose(found.claimed, np.mean(claimed), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.actual, np.mean(actual), rtol=1e-4)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(label="facts"), "label='facts': second-order calibration needs random answers asked for twice: pairs"),
        (dict(split="length"), "split='length': 'pairs' has no such split"),
    ],
)
def test_what_has_no_pairs_is_refused(study, asked, message):
    with pytest.raises(UserError, match=message):
        second_order(cast(Any, SimpleNamespace(study=study)), **asked)


def test_where_there_is_no_such_task_one_is_named():
    with pytest.raises(UserError, match="none; add one such as iid_pairs"):
        second_order(cast(Any, SimpleNamespace(study=study_of())))
