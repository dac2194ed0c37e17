"""Writing parts of traced lengths into one example, against Python lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base import PROCESS
from tasks.sequence import Part, join, part, present, scratchpad, then, write
from tests.tasks.task_cases import quick_jit

Q, S, A, L = 5, 4, 3, 13
QUESTION, STEPS, ANSWER = (
    np.arange(1, 6, dtype=np.int32),
    np.arange(11, 15, dtype=np.int32),
    np.arange(21, 24, dtype=np.int32),
)


@quick_jit
def written(question, steps, answer):
    parts = (Part(QUESTION + 0 * question, question), Part(ANSWER + 0 * answer, answer), Part(STEPS + 0 * steps, steps))
    return write(L, parts[0], parts[1], parts[2])


@given(question=st.integers(1, Q), steps=st.integers(0, S), answer=st.integers(1, A))
def test_question_steps_and_answer_stand_in_their_places(question, steps, answer):
    made = jax.tree.map(np.asarray, written(np.int32(question), np.int32(steps), np.int32(answer)))
    whole = [*QUESTION[:question].tolist(), *STEPS[:steps].tolist(), *ANSWER[:answer].tolist()]
    used = len(whole) - 1
    assert made.tokens.tolist() == whole[:-1] + [0] * (L - used)
    assert made.targets.tolist() == [0] * (question - 1) + whole[question:] + [0] * (L - used)
    weights = [0.0] * (question - 1) + [PROCESS] * steps + [1.0] * answer
    assert made.weights.tolist() == weights + [0.0] * (L - used)
    assert (made.question, made.answer, made.last) == (question - 1, question - 1 + steps, used - 1)


def test_scratchpads_are_valid_shuffled_or_wrong():
    steps = part(jnp.arange(30, 50, dtype=jnp.int32), 15)
    keys = jax.random.split(jax.random.key(0), 100)

    def of(kind):
        made = jax.vmap(lambda key: scratchpad(kind, key, steps, 30, 60))(keys)
        assert np.all(made.count == 15)
        return np.asarray(made.tokens)[:, :15]

    right = np.arange(30, 45)
    assert np.all(of("valid") == right)
    shuffled = of("shuffled")
    assert np.all(np.sort(shuffled, axis=1) == right)
    assert np.mean(shuffled == right) == pytest.approx(1 / 15, abs=0.03)
    wrong = of("wrong")
    assert wrong.min() == 30
    assert wrong.max() == 59
    assert np.mean(wrong == right) == pytest.approx(1 / 30, abs=0.02)


def test_then_appends_and_present_removes():
    steps = then(part(np.array([5, 6, 7], np.int32), 2), 9)
    assert np.asarray(join((steps,), 5)).tolist() == [5, 6, 9, 0, 0]
    assert int(present(steps, np.bool_(True)).count) == 3
    assert int(present(steps, np.bool_(False)).count) == 0
