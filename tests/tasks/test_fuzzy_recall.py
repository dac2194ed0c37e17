"""Fuzzy recall: runs of key and value tokens, confusable keys, the halved contexts, baselines."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, one, within

KEYS, VALUES = 5, 6
TASK = make("fuzzy_recall", pairs=3, more_pairs=4, keys=KEYS, values=VALUES, value_length=2)


def parse(example):
    """([(key, value), …], query, answer): a new pair begins where a key token follows a value token."""
    tokens, asked, answer = read_and_answered(example)
    ask = tokens.index(1 + VALUES + KEYS)
    pairs = []
    for index, token in enumerate(tokens[:ask]):
        if token > VALUES and (index == 0 or tokens[index - 1] <= VALUES):
            pairs.append(([], []))
        pairs[-1][token <= VALUES].append(token)
    return [(tuple(key), value) for key, value in pairs], tuple(tokens[ask + 1 : asked[0] + 1]), answer


@given(
    pairs=st.integers(2, 4),
    sizes=st.sampled_from([(1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3)]),
    confusable=st.sampled_from([0.0, 0.5, 1.0]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_value_of_the_queried_key_is_written(pairs, sizes, confusable, held_out, seed):
    shortest, longest = sizes
    confusable = confusable if longest > 1 else 0.0
    difficulty = dict(pairs=pairs, key_length=longest, shortest_key=shortest, confusable=confusable, held_out=held_out)
    for example in drawn(TASK, difficulty, 25, seed=seed):
        context, query, answer = parse(example)
        keys = [key for key, _ in context]
        assert len(set(keys)) == len(keys) == pairs
        for key, value in context:
            assert shortest <= len(key) <= longest
            assert 1 <= len(value) <= 2
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
        if confusable == 1:
            assert len({key[-1] for key in keys}) == 1
        assert answer == dict(context)[query]
        tokens, asked, _ = read_and_answered(example)
        assert tokens[asked[0] + 1 :] == answer[:-1]
        pair, ending = keys.index(query), query[-1] - 1 - VALUES
        assert factors_of(example) == {"first": answer[0] - 1, "pair": pair, "ending": ending}
        assert example.read.tolist() == [asked[0], asked[-1]]
        assert TASK.check((), example, example.targets)


def test_a_check_does_not_take_a_key_for_the_one_that_it_begins():
    """`a:1 a b:2`: the first key is a part of the second."""
    batch = draw_split(TASK, "iid", 2048)
    found = 0
    for index in range(2048):
        example = one(batch, index)
        context, query, answer = parse(example)
        others = [value for key, value in context if key != query and key[: len(query)] == query]
        if others and len(others[0]) == len(answer) and others[0] != answer:
            found += 1
            wrong = np.where(example.weights > 0, 0, 0)
            wrong[np.flatnonzero(example.weights)] = others[0]
            assert not TASK.check((), example, wrong)
    assert found > 20


def test_sizes_keys_and_queries_are_uniform():
    batch = draw_split(TASK, "iid", 4096)
    parsed = [parse(one(batch, index)) for index in range(4096)]
    first = [context[0] for context, *_ in parsed]
    assert within(np.mean([len(key) == 1 for key, _ in first]), 1 / 2, 4096)
    assert within(np.mean([len(value) == 1 for _, value in first]), 1 / 2, 4096)
    runs = list(itertools.permutations(range(1 + VALUES, 1 + VALUES + KEYS), 2))
    long_keys = [key for key, _ in first if len(key) == 2]
    assert all(within(np.mean([key == run for key in long_keys]), 1 / len(runs), len(long_keys)) for run in runs)
    asked = [[key for key, _ in context].index(query) for context, query, _ in parsed]
    assert all(within(np.mean(np.array(asked) == place), 1 / 3, 4096) for place in range(3))


def test_train_and_iid_halve_the_contexts_whatever_is_asked():
    task = make("fuzzy_recall", pairs=2, more_pairs=3, keys=3, values=2, value_length=1, key_length=2)
    difficulty = {"pairs": 2, "key_length": 1, "shortest_key": 1, "confusable": 0.0}
    train, iid = halves(task, difficulty, 8, lambda e: tuple(read_and_answered(e)[0][:4]), 1024)
    assert not train & iid
    assert len(train) == len(iid) == (3 * 2) * 2**2 // 2


def by_last_token(context, query, answer):
    """Share of the keys that end like the query whose value is right, as far as is asked."""
    return np.mean([value[: len(answer)] == answer for key, value in context if key[-1] == query[-1]])


def test_confusable_keys_expose_a_lookup_of_the_last_token():
    shares = {}
    for split in ("iid", "confusable"):
        batch = draw_split(TASK, split, 1024)
        shares[split] = np.mean([by_last_token(*parse(one(batch, index))) for index in range(1024)])
    assert shares["iid"] > 0.8
    assert shares["confusable"] < 0.5
    broken = drawn(TASK, {**TASK.splits["confusable"].difficulty, "confusable": 0.0}, 20, 1024)
    assert np.mean([by_last_token(*parse(example)) for example in broken]) > 0.8, "a split without them would be seen"


@pytest.mark.slow
@pytest.mark.parametrize("split", ["iid", "longest", "confusable", "key_length", "pairs"])
def test_simulated_baselines_match_the_task(split):
    task = make("fuzzy_recall", pairs=3, more_pairs=4, keys=KEYS, values=VALUES, value_length=2, confusable=0.3)
    batch, generator, any_pair, last_token = draw_split(task, split, 4096), np.random.default_rng(0), [], []
    for index in range(4096):
        context, query, answer = parse(one(batch, index))
        right = [value[: len(answer)] == answer for _, value in context]
        any_pair.append((generator.choice(right), math.log(np.mean(right)) / len(answer)))
        share = by_last_token(context, query, answer)
        last_token.append((share, math.log(share) / len(answer)))
    assert agrees(any_pair, task.baselines(split)["any_pair"], 4096)
    assert agrees(last_token, task.baselines(split)["last_token"], 4096)
    assert task.baselines(split)["chance"].exact == pytest.approx((1 / 6 + 1 / 36) / 2)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"values": 7}, "even"),
        ({"keys": 4}, "too few different keys of 1 tokens for 5 pairs"),
        ({"keys": 5, "confusable": 0.5}, "or for 5 that end alike"),
        ({"keys": 4096}, "makes more than"),
        ({"key_length": 1}, "key_length must be"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("fuzzy_recall", **sizes)
