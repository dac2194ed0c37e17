"""Count recall: the tally, the deck, higher counts, the halved sequences, baselines."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, first_by_default, one, within

KINDS, COPIES = 4, 3
TASK = make("count_recall", length=6, longer=9, kinds=KINDS, fewer_kinds=2, copies=COPIES)


def parse(example):
    """(cards dealt, cards asked for, counts answered), kinds and counts from 0."""
    tokens, asked, answer = read_and_answered(example)
    assert asked == list(range(1, len(tokens), 2))
    assert all(KINDS < token <= 2 * KINDS for token in tokens[1::2])
    counts = [count - 1 - 2 * KINDS for count in answer]
    return [t - 1 for t in tokens[::2]], [t - 1 - KINDS for t in tokens[1::2]], counts


@given(
    sizes=st.sampled_from([(n, k) for k in range(1, KINDS + 1) for n in range(1, 10) if n <= k * COPIES]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_counts_are_those_of_the_cards_dealt_so_far(sizes, held_out, seed):
    steps, in_deck = sizes
    for example in drawn(TASK, dict(length=steps, kinds=in_deck, held_out=held_out), 18, seed=seed):
        dealt, asked, counts = parse(example)
        assert len(dealt) == len(asked) == steps
        assert set(dealt) | set(asked) <= set(range(KINDS))
        assert max(Counter(dealt).values()) <= COPIES
        assert len(set(dealt)) <= in_deck
        assert counts == [Counter(dealt[: t + 1])[asked[t]] for t in range(steps)]
        assert factors_of(example) == {"count": counts[-1], "asked": asked[-1], "dealt": dealt[-1]}
        assert example.read.tolist() == [2 * steps - 1]
        assert TASK.check((), example, example.targets)


def test_cards_come_from_a_shuffled_deck_and_queries_are_uniform():
    parsed = [parse(one(draw_split(TASK, "iid", 4096), i)) for i in range(4096)]
    dealt, asked = (np.array([p[part] for p in parsed]) for part in (0, 1))
    assert all(within(np.mean(dealt[:, 5] == kind), 1 / 4, 4096) for kind in range(KINDS))
    again = np.mean(dealt[:, 1:] == dealt[:, :1], axis=0)
    assert all(within(share, (COPIES - 1) / (4 * COPIES - 1), 4096) for share in again)
    assert all(within(np.mean(asked[:, 3] == kind), 1 / 4, 4096) for kind in range(KINDS))
    fewer = [parse(one(draw_split(TASK, "counts", 4096), i)) for i in range(4096)]
    assert np.mean([p[2] for p in fewer]) == pytest.approx(np.mean([p[2] for p in parsed]), rel=0.05)
    top = [np.mean([max(p[2]) == COPIES for p in side]) for side in (parsed, fewer)]
    assert top[1] > 2 * top[0], "the highest counts are commoner"


def test_train_and_iid_halve_the_sequences():
    task = make("count_recall", length=2, longer=3, kinds=4, fewer_kinds=1, copies=2)
    train, iid = halves(task, dict(length=2, kinds=4), 6, lambda e: tuple(read_and_answered(e)[0]))
    assert not train & iid
    assert len(train) == len(iid) == 4**4 // 2


@pytest.mark.parametrize("split", first_by_default(["iid", "length", "counts"]))
def test_step_baseline_matches_a_simulation(split):
    """The likeliest count at each step, found from other examples of the split, and how surprising the right one is."""
    counts = [parse(one(draw_split(TASK, split, 4096, seed), i))[2] for seed in (0, 1) for i in range(4096)]
    fitted, tried = np.array(counts[:4096]), np.array(counts[4096:])
    share = np.stack([np.mean(fitted == count, axis=0) for count in range(COPIES + 1)])
    nats = np.log(np.maximum(share, 1e-9))[tried, np.arange(tried.shape[1])].mean(axis=1)
    measured = list(zip(np.all(tried == share.argmax(axis=0), axis=1), nats, strict=True))
    assert agrees(measured, TASK.baselines(split)["step"], 4096)
    assert TASK.baselines("length")["chance"].exact == pytest.approx(4.0**-9)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [({"kinds": 5}, "even"), ({"copies": 2}, "copies must be at least 4"), ({"fewer_kinds": 4}, "fewer_kinds must be")],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("count_recall", **sizes)
