"""The loss that a cell was trained on is that of its own stage's tasks."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from analysis.activations.inference_model import InferenceModel, kept_under, model_of
from analysis.activations.training_loss import BATCH, EXAMPLES, training_loss
from lab.nn import model
from lab.nn.loss import task_loss
from lab.prng import derive_key
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, study_of
from tests.tiny_study import get_config


def of_stages(word, facts):
    """The tiny study with those numbers of examples a stage."""
    config = get_config()
    config.tasks.word.examples, config.tasks.facts.examples = word, facts
    return study_of(config)


def model_in(study, stage):
    saved = SimpleNamespace(meta={"cells": ["a"], "stage": stage})
    knobs = dict(study.cells[0])
    return model_of(study, saved, {"a": {name: knobs[name] for name in study.knobs}})


def test_a_mixture_that_stays_leaves_the_text_that_readings_are_kept_under():
    study = of_stages(4, 4)
    assert {model_in(study, stage.name).learned for stage in study.stages} == {-1}
    assert ", learned=" not in kept_under(model_in(study, "train"))


@pytest.mark.slow
def test_the_loss_is_of_the_tasks_learned_last():
    both = of_stages(dict(train=0, prune=4), 4)
    first = model_in(both, "train")
    assert first.learned == 0
    assert model_in(both, "prune").learned == -1
    assert kept_under(first) != kept_under(model_in(both, "prune"))
    params, still = initial_params(jax.random.key(0), both.spec), ActiveMechanisms.reading((), {}, 0)

    def loss(inference):
        return float(jax.jit(training_loss(both, inference, still, jnp.int32(0)))(params))

    def drawn(counts):  # by hand: a batch of those tasks, the mean of the tasks' losses
        worlds = both.mixture.worlds(derive_key(jnp.int32(0), "world"))
        batch = both.mixture.batch(derive_key(jnp.int32(0), "probe", BATCH), worlds, counts, both.train_length)
        logits = model.run(params, batch.tokens, both.spec, batch.answers, question_B=batch.question).logits
        return float(task_loss(logits, batch))

    assert loss(first) == pytest.approx(drawn({"facts": EXAMPLES, "word": 0}), rel=1e-5)
    assert loss(InferenceModel(both.spec)) == pytest.approx(
        drawn({"facts": EXAMPLES // 2, "word": EXAMPLES // 2}), rel=1e-5
    )
    assert loss(first) != pytest.approx(loss(InferenceModel(both.spec)), rel=1e-3)
