"""Selective copying: data in order, noise anywhere, the halved mixtures, baselines."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, first_by_default, one, within

TASK = make("selective_copy", length=3, longer=5, noise=4, more_noise=7, symbols=6, noise_symbols=2)


@given(
    sizes=st.sampled_from([(n, m) for n in range(1, 6) for m in range(8) if n + m <= 10]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_data_come_back_without_the_noise(sizes, held_out, seed):
    count, noise = sizes
    for example in drawn(TASK, {"length": count, "noise": noise, "held_out": held_out}, 16, seed=seed):
        tokens, asked, answer = read_and_answered(example)
        read, slots = tokens[: count + noise], tokens[count + noise :]
        data = [t for t in read if 1 <= t <= 6]
        assert set(read) - set(data) <= {7, 8}
        assert (len(data), slots) == (count, [9] * count)
        assert asked == list(range(count + noise, 2 * count + noise))
        assert answer == data
        assert factors_of(example) == {"first": data[0] - 1, "place": read.index(data[0]), "last": data[-1] - 1}
        assert example.read.tolist() == [asked[0], asked[-1]]
        assert TASK.check((), example, example.targets)


def test_noise_is_spread_evenly():
    batch = draw_split(TASK, "iid", 4096)
    assert all(within(share, 3 / 7, 4096) for share in np.mean(batch.tokens[:, :7] <= 6, axis=0))
    noise = batch.tokens[:, :7][batch.tokens[:, :7] > 6]
    assert within(np.mean(noise == 7), 1 / 2, noise.size)


def test_train_and_iid_halve_the_mixtures():
    task = make("selective_copy", length=2, longer=3, noise=2, more_noise=3, symbols=4)
    train, iid = halves(task, {"length": 2, "noise": 2}, 8, lambda e: tuple(read_and_answered(e)[0]))
    assert not train & iid
    assert len(train) == len(iid) == math.comb(4, 2) * 4**2 // 2


@pytest.mark.parametrize("split", first_by_default(["iid", "length"]))
def test_shuffled_baseline_matches_a_simulation(split):
    batch, generator, measured = draw_split(TASK, split, 4096), np.random.default_rng(0), []
    for index in range(4096):
        *_, answer = read_and_answered(one(batch, index))
        share = [answer.count(token) / len(answer) for token in answer]
        measured.append((np.array_equal(generator.permutation(answer), answer), np.log(share).mean()))
    assert agrees(measured, TASK.baselines(split)["shuffled"], 4096)
    assert TASK.baselines("length")["chance"].exact == pytest.approx(6.0**-5)


@pytest.mark.parametrize("split", first_by_default(["length", "iid"]))
def test_ends_baseline_matches_a_simulation(split):
    task = make("selective_copy", length=4, longer=5, noise=4, more_noise=7, symbols=6)
    batch, generator, measured = draw_split(task, split, 4096), np.random.default_rng(0), []
    for index in range(4096):
        *_, answer = read_and_answered(one(batch, index))
        middle = answer[1:-1]
        nats = sum(np.log(middle.count(token) / len(middle)) for token in middle) / len(answer)
        measured.append((np.array_equal(generator.permutation(middle), middle), nats))
    assert agrees(measured, task.baselines(split)["ends"], 4096)
    assert make("selective_copy").baselines("iid")["ends"].exact == pytest.approx(0.53125)
    assert "ends" not in TASK.baselines("iid"), "three tokens have one middle"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [({"symbols": 3}, "even"), ({"more_noise": 8}, "more_noise must be"), ({"longer": 4}, "longer must be")],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("selective_copy", **sizes)
