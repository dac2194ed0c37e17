"""n-back: every answer stood n steps earlier, the prefix tells n, the halved sequences, baselines."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, first_by_default, one, within

TASK = make("n_back", n=3, larger_n=4, length=6, longer=8, symbols=4)


@given(
    sizes=st.sampled_from([(low, n, count) for n in range(1, 8) for low in (1, n) for count in range(n + 1, 9)]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_answer_stood_n_steps_earlier(sizes, held_out, seed):
    least, most, count = sizes
    for example in drawn(TASK, dict(n=most, least_n=least, length=count, held_out=held_out), 15, seed=seed):
        tokens, asked, answer = read_and_answered(example)
        back = len(tokens) - count
        assert least <= back <= most
        assert tokens[:back] == [5] * back
        cards = tokens[back:]
        assert all(1 <= card <= 4 for card in cards)
        assert asked == list(range(2 * back, back + count))
        assert answer == cards[: count - back]
        due, following = cards[count - 1 - back], cards[count - back]
        assert factors_of(example) == {"due": due - 1, "next": following - 1, "sight": cards[-1] - 1}
        assert example.read.tolist() == [back + count - 1]
        assert TASK.check((), example, example.targets)


def test_n_is_uniform():
    batch = draw_split(TASK, "iid", 4096)
    backs = np.sum(batch.tokens == 5, axis=1)
    assert all(within(np.mean(backs == back), 1 / 3, 4096) for back in (1, 2, 3))


def test_train_and_iid_halve_the_cards_whatever_n_is():
    task = make("n_back", n=2, larger_n=3, length=4, longer=5, symbols=4)
    difficulty = dict(n=2, least_n=1, length=3)
    train, iid = halves(task, difficulty, 6, lambda e: tuple(t for t in read_and_answered(e)[0] if t < 5))
    assert not train & iid
    assert train | iid == set(itertools.product(range(1, 5), repeat=3))
    assert len(train) == len(iid)


@pytest.mark.parametrize("split", first_by_default(["iid", "n", "length"]))
def test_seen_baseline_matches_a_simulation(split):
    batch, generator, measured = draw_split(TASK, split, 4096), np.random.default_rng(0), []
    for index in range(4096):
        tokens, asked, answer = read_and_answered(one(batch, index))
        cards = [[t for t in tokens[: position + 1] if t < 5] for position in asked]
        right = all(generator.choice(seen) == due for seen, due in zip(cards, answer, strict=True))
        nats = [np.log(seen.count(due) / len(seen)) for seen, due in zip(cards, answer, strict=True)]
        measured.append((right, np.mean(nats)))
    assert agrees(measured, TASK.baselines(split)["seen"], 4096)
    assert TASK.baselines("n")["chance"].exact == pytest.approx(4.0**-2)


@pytest.mark.parametrize("split", first_by_default(["iid", "n", "length"]))
def test_fixed_lag_baseline_matches_a_simulation(split):
    """Always two back where training asks for 1, 2 or 3."""
    batch, generator, measured = draw_split(TASK, split, 4096), np.random.default_rng(0), []
    for index in range(4096):
        tokens, asked, answer = read_and_answered(one(batch, index))
        cards = [t for t in tokens if t < 5]
        back = len(tokens) - len(cards)
        said = [cards[p - back - 2] if p - back >= 2 else None for p in asked]
        drawn = [1 + generator.integers(4) if s is None else s for s in said]
        nats = [
            np.log(1 / 4 if s is None else 1 / 6 + (s == right) * 1 / 3) for s, right in zip(said, answer, strict=True)
        ]
        measured.append((drawn == answer, np.mean(nats)))
    assert agrees(measured, TASK.baselines(split)["fixed_lag"], 4096)
    assert make("n_back").baselines("iid")["fixed_lag"].exact == pytest.approx(1 / 3, abs=0.001)
    assert make("n_back").baselines("n")["fixed_lag"].exact < 0.001, "a split that asks for another n is immune"
    assert "fixed_lag" not in make("n_back", least_n=3).baselines("iid"), "with one n it is the task"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [({"symbols": 3}, "even"), ({"larger_n": 3}, "larger_n must be"), ({"length": 5}, "length must be")],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("n_back", **sizes)
