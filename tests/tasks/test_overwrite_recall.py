"""Overwrite recall: the last write wins, singles and their counterfactual, the halved lists, baselines."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, first_by_default, one, within

TASK = make("overwrite_recall", pairs=3, updates=2, more_updates=3, keys=5, values=12, single=0.5)


def history(example):
    """({key: its values in the order written}, queried keys, answers)."""
    tokens, asked, answer = read_and_answered(example)
    written = {}
    for key, value in zip(tokens[: asked[0] : 2], tokens[1 : asked[0] : 2], strict=True):
        assert value <= 12 < key
        written.setdefault(key, []).append(value)
    return written, tokens[asked[0] :], answer


@given(
    pairs=st.integers(2, 3),
    updates=st.integers(0, 3),
    single=st.sampled_from([0.0, 0.5, 1.0]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_last_write_wins(pairs, updates, single, held_out, seed):
    difficulty = dict(pairs=pairs, updates=updates, single=single, held_out=held_out)
    for example in drawn(TASK, difficulty, 28, seed=seed):
        written, queries, answer = history(example)
        allowed = {0.0: {1 + updates}, 1.0: {1}}.get(single, {1, 1 + updates})
        assert {len(values) for values in written.values()} <= allowed
        values = [value for of_key in written.values() for value in of_key]
        assert len(set(values)) == len(values)
        assert len(written) == pairs
        assert sorted(queries) == sorted(written)
        assert answer == [written[query][-1] for query in queries]
        first = written[queries[0]]
        assert factors_of(example) == {"value": first[-1] - 1, "first_value": first[0] - 1, "writes": len(first) - 1}
        asked = np.flatnonzero(example.weights)
        assert example.read.tolist() == [asked[0], asked[-1]]
        assert TASK.check((), example, example.targets)


def test_writes_come_in_every_order():
    task = make("overwrite_recall", pairs=2, updates=1, more_updates=2, keys=2, values=6)
    batch = draw_split(task, "iid", 4096)
    same_key_last = np.mean(batch.tokens[:, 4] == batch.tokens[:, 6])
    assert within(same_key_last, 1 / 3, 4096)
    assert within(np.mean(batch.tokens[:, 0] == batch.tokens[:, 2]), 1 / 3, 4096)


def test_train_and_iid_halve_the_lists_whatever_is_asked():
    task = make("overwrite_recall", pairs=2, updates=1, more_updates=2, keys=2, values=6)
    difficulty = {"pairs": 2, "updates": 0, "single": 0.0}
    train, iid = halves(task, difficulty, 14, lambda e: tuple(read_and_answered(e)[0][:4]))
    assert not train & iid
    assert len(train) == len(iid) == 2 * (6 * 5) // 2


def share_first(task, difficulty):
    """The shortcut at work: answer every key with its first value. Share of right tokens."""
    examples = drawn(task, difficulty, task.splits["updates"].length, 1024)
    right = []
    for written, queries, answer in map(history, examples):
        right += [written[query][0] == said for query, said in zip(queries, answer, strict=True)]
    return np.mean(right)


@pytest.mark.slow
def test_single_writes_are_a_shortcut_that_the_counterfactual_exposes():
    task = make("overwrite_recall", pairs=3, updates=2, more_updates=3, keys=5, values=12, single=0.9)
    iid, exposed = (task.splits[split].difficulty for split in ("iid", "counterfactual"))
    assert within(share_first(task, iid), 0.9, 3 * 1024)
    assert share_first(task, exposed) == 0
    assert share_first(task, {**exposed, "single": 0.9}) > 0.85, "a counterfactual that kept singles would be seen"


@pytest.mark.parametrize("split", first_by_default(["iid", "updates", "counterfactual"]))
def test_baselines_match_a_simulation(split):
    generator, batch = np.random.default_rng(0), draw_split(TASK, split, 4096)
    measured = {"context": [], "any": [], "first": []}
    single = TASK.splits[split].difficulty["single"]
    for index in range(4096):
        written, queries, answer = history(one(batch, index))
        context = [value for values in written.values() for value in values]
        guesses = generator.choice(context, len(queries), replace=False).tolist()
        measured["context"].append((guesses == answer, -math.log(len(context))))
        guesses = [generator.choice(written[query]) for query in queries]
        measured["any"].append((guesses == answer, -np.mean([math.log(len(written[q])) for q in queries])))
        firsts = [written[query][0] == right for query, right in zip(queries, answer, strict=True)]
        nats = [math.log(single if first else (1 - single) / 11) for first in firsts]
        measured["first"].append((all(firsts), np.mean(nats)))
    assert agrees(measured["context"], TASK.baselines(split)["context_value"], 4096)
    assert agrees(measured["any"], TASK.baselines(split)["any_write"], 4096)
    assert agrees(measured["first"], TASK.baselines(split)["first_write"], 4096)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"values": 13}, "even"),
        ({"values": 10}, r"values must be a whole number in \[12"),
        ({"more_updates": 1}, "more_updates must be"),
        ({"single": -0.1}, "single must be"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("overwrite_recall", **sizes)
