"""Noisy recall: pairs stay whole, noise anywhere between them, the halved contexts, baselines."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, one, within

TASK = make("noisy_recall", pairs=3, more_pairs=5, noise=4, more_noise=7, keys=6, values=8, noise_symbols=3)


def kinds(tokens):
    """v, k or n for each token."""
    return "".join("v" if t <= 8 else "k" if t <= 14 else "n" for t in tokens)


@given(
    sizes=st.sampled_from([(n, m) for n in range(2, 6) for m in range(8) if 2 * n + m <= 14]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_key_is_asked_once_and_pairs_stay_whole(sizes, held_out, seed):
    pairs, noise = sizes
    for example in drawn(TASK, {"pairs": pairs, "noise": noise, "held_out": held_out}, 20, seed=seed):
        tokens, asked, answer = read_and_answered(example)
        context, queries = tokens[: 2 * pairs + noise], tokens[2 * pairs + noise :]
        assert asked == list(range(2 * pairs + noise, 3 * pairs + noise))
        assert sorted(kinds(context).replace("kv", "p")) == ["n"] * noise + ["p"] * pairs
        places = [i for i, kind in enumerate(kinds(context)) if kind == "k"]
        keys, values = [context[i] for i in places], [context[i + 1] for i in places]
        assert len(set(keys)) == len(set(values)) == pairs
        assert sorted(queries) == sorted(keys)
        assert answer == [values[keys.index(query)] for query in queries]
        first = keys.index(queries[0])
        assert factors_of(example) == {"value": values[first] - 1, "pair": first, "place": places[first]}
        assert example.read.tolist() == [asked[0], asked[-1]]
        assert TASK.check((), example, example.targets)


def test_pairs_and_noise_come_in_every_order_and_queries_too():
    batch = draw_split(TASK, "iid", 4096)
    orders, queries = Counter(), Counter()
    for index in range(4096):
        tokens, asked, _ = read_and_answered(one(batch, index))
        orders[kinds(tokens[: asked[0]]).replace("kv", "p")] += 1
        keys = [t for t in tokens[: asked[0]] if 8 < t <= 14]
        queries[tuple(keys.index(q) for q in tokens[asked[0] :])] += 1
    assert len(orders) == math.comb(7, 3)
    assert set(queries) == set(itertools.permutations(range(3)))
    for counted in (orders, queries):
        assert all(within(count / 4096, 1 / len(counted), 4096) for count in counted.values())


def test_train_and_iid_halve_the_contexts_whatever_is_asked():
    task = make("noisy_recall", pairs=2, more_pairs=3, noise=1, more_noise=2, keys=3, values=4, noise_symbols=1)
    train, iid = halves(task, {"pairs": 2, "noise": 1}, 8, lambda e: tuple(read_and_answered(e)[0][:5]))
    assert not train & iid
    assert len(train) == len(iid) == 3 * (3 * 2) * (4 * 3) // 2


def test_context_value_baseline_matches_a_simulation():
    batch, baseline = draw_split(TASK, "iid", 4096), TASK.baselines("iid")["context_value"]
    right = 0
    for index in range(4096):
        tokens, asked, answer = read_and_answered(one(batch, index))
        right += [t for t in tokens[: asked[0]] if t <= 8] == answer
    assert within(right / 4096, baseline.exact, 4096)
    assert baseline.logprob == pytest.approx(np.log(1 / 3))
    assert TASK.baselines("pairs")["chance"].exact == pytest.approx(8.0**-5)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"values": 7}, "even"),
        ({"keys": 5}, r"keys must be a whole number in \[6"),
        ({"values": 4}, "values must be"),
        ({"more_noise": 6}, "more_noise must be"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("noisy_recall", **sizes)
