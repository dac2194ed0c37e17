"""Process supervision: how many training examples show their steps, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.repair.arms import ARMS
from lab.errors import UserError
from lab.nn import model
from lab.prng import derive_key
from lab.study import axis, product
from lab.training import step as train
from lab.training.active_mechanisms import ActiveMechanisms
from tasks import make
from tasks.base import PROCESS
from tasks.mixture import Mixture
from tests.lab.conftest import study_of, tiny_config
from tests.lab.mechanisms.test_training_data import knobs_of

SHARE = 0.3
WORD = dict(group="Z6", length=4, longer=6, ask="last", scratchpad="valid")
MIXTURE = Mixture((("word", make("group_word", **WORD, scratchpad_share=SHARE)), ("recall", make("mqar"))))
COUNTS = {"word": 64, "recall": 8}
LENGTH = MIXTURE.length(dict.fromkeys(COUNTS, "train"))
PROGRAM = train.Program(
    model.ModelSpec(MIXTURE.vocab_size, LENGTH, 16, 1, 2, 16),
    MIXTURE,
    tuple(COUNTS.items()),
    LENGTH,
    train.Schedule("constant", 1),
    call_steps=4,
)
SEED = jnp.int32(2)
WORLDS = MIXTURE.worlds(derive_key(SEED, "world"))


@jax.jit
def batch_of_all(knobs, step):
    names = ("rename", "process")
    active = ActiveMechanisms.of(names, knobs, SEED, step)
    return active.data_source(PROGRAM.context, dict.fromkeys(names, ()), SEED, step).batch(WORLDS, LENGTH)


def batch_of(step=0, **changed):
    return jax.tree.map(np.asarray, batch_of_all(knobs_of(**changed), jnp.int32(step)))


def rows_of(label):
    return MIXTURE.by_label(np.arange(sum(COUNTS.values())), COUNTS)[label]


def shows_steps(batch):
    return (batch.weights[rows_of("word")] == PROCESS).any(axis=1)


@pytest.mark.parametrize("extra", [0.0, 0.5, 1.0])
def test_the_share_of_examples_that_show_their_steps(extra):
    shown = np.concatenate([shows_steps(batch_of(step, process__extra=extra)) for step in range(20)])
    expected = SHARE + (1 - SHARE) * extra
    assert abs(shown.mean() - expected) <= 4 * np.sqrt(expected * (1 - expected) / shown.size)


def test_an_example_that_showed_its_steps_goes_on_to_and_other_tasks_dont_change():
    before, after = batch_of(3), batch_of(3, process__extra=0.5)
    assert np.all(shows_steps(after)[shows_steps(before)])
    kept = rows_of("word")[shows_steps(before)]
    for one, other in zip(before[:3], after[:3], strict=True):
        np.testing.assert_array_equal(one[rows_of("recall")], other[rows_of("recall")])
        np.testing.assert_array_equal(one[kept], other[kept])


def test_two_mechanisms_may_change_the_same_tasks_difficulty():
    both = batch_of(3, process__extra=1.0, rename__share=1.0)
    assert shows_steps(both).all()
    assert not np.array_equal(both.tokens[rows_of("recall")], batch_of(3).tokens[rows_of("recall")])


def study(**word):
    config = tiny_config()
    config.tasks.word = dict(task="group_word", examples=4, **(WORD | word))
    return study_of(config, product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis("seed", range(3))))


def test_it_is_an_arm_where_some_examples_show_their_steps():
    assert ARMS["process_supervision"].fits(study(scratchpad_share=0.5))
    assert ARMS["process_supervision"].knobs(study(scratchpad_share=0.5), 18, 6) == {"process.extra": 1.0}
    assert not ARMS["process_supervision"].fits(study(scratchpad_share=1.0))  # all do
    assert not ARMS["process_supervision"].fits(study_of())


def test_a_study_without_steps_is_refused():
    config = tiny_config()
    config.claim.knob = "process.extra"
    with pytest.raises(UserError, match=r"process\.extra: in no task \(facts, word\) .* scratchpad_share=0\.5"):
        study_of(config, product(axis("process.extra", (0.0, 0.5)), axis("seed", range(3))))
