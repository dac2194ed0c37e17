"""Compression: the sequence comes back at its markers, the halved sequences, baselines."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, one, within

TASK = make("compression", length=4, longer=7, symbols=6)


@given(count=st.integers(1, 7), held_out=st.integers(0, 1), seed=st.integers(0, 2**31 - 1))
def test_the_sequence_comes_back_at_its_markers(count, held_out, seed):
    for example in drawn(TASK, {"length": count, "held_out": held_out}, 15, seed=seed):
        tokens, asked, answer = read_and_answered(example)
        sequence = tokens[:count]
        assert all(1 <= token <= 6 for token in sequence)
        assert tokens[count:] == [7] + [8] * (count - 1)
        assert asked == list(range(count, 2 * count))
        assert answer == sequence
        middle = sequence[count // 2]
        assert factors_of(example) == {"first": sequence[0] - 1, "middle": middle - 1, "last": sequence[-1] - 1}
        assert example.read.tolist() == [count, 2 * count - 1]
        assert tokens[example.read[0]] == 7, "a bottleneck is put at the first read position"
        assert TASK.check((), example, example.targets)


def test_train_and_iid_halve_the_sequences():
    task = make("compression", length=3, longer=4, symbols=4)
    train, iid = halves(task, {"length": 3}, 6, lambda e: tuple(read_and_answered(e)[2]))
    assert not train & iid
    assert train | iid == set(itertools.product(range(1, 5), repeat=3))
    assert len(train) == len(iid)


def test_shuffled_baseline_matches_a_simulation():
    batch, generator, measured = draw_split(TASK, "iid", 4096), np.random.default_rng(0), []
    for index in range(4096):
        sequence = read_and_answered(one(batch, index))[2]
        share = [sequence.count(token) / len(sequence) for token in sequence]
        measured.append((np.array_equal(generator.permutation(sequence), sequence), np.log(share).mean()))
    assert agrees(measured, TASK.baselines("iid")["shuffled"], 4096)
    assert TASK.baselines("length")["chance"].exact == pytest.approx(6.0**-7)


def test_ends_baseline_matches_a_simulation():
    batch, generator, right = draw_split(TASK, "length", 4096), np.random.default_rng(0), 0
    for index in range(4096):
        middle = read_and_answered(one(batch, index))[2][1:-1]
        right += np.array_equal(generator.permutation(middle), middle)
    assert within(right / 4096, TASK.baselines("length")["ends"].exact, 4096)


@pytest.mark.parametrize(("sizes", "said"), [({"symbols": 7}, "even"), ({"longer": 8}, "longer must be")])
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("compression", **sizes)
