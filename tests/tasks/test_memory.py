"""Facts and associative recall."""

import itertools
import math
from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, within, world

FACTS = make("facts", facts=20, values=6)
PHRASED = make("facts", facts=20, values=6, templates=4)
RECALL = make("mqar", pairs=4, more_pairs=7, keys=9, values=8)
LEAKY = make("mqar", pairs=3, more_pairs=4, keys=5, values=6, ordered=0.8)


def zipf(exponent, first, last, total):
    weights = [(rank + 1) ** -exponent if first <= rank < last else 0.0 for rank in range(total)]
    return np.array(weights) / sum(weights)


@given(
    exponent=st.floats(0.0, 4.0, width=32),
    ranks=st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(lambda r: r[0] != r[1]),
    seed=st.integers(0, 2**31 - 1),
)
def test_facts_come_from_the_map_at_their_frequencies(exponent, ranks, seed):
    first, last = sorted(ranks)
    facts, count = world(FACTS), 2048
    batch = draw(FACTS, {"exponent": exponent, "first": first, "last": last}, 2, count, seed)
    key = batch.tokens[:, 0] - 1
    value = np.asarray(facts.value_of_key)[key]
    rank = np.argsort(np.asarray(facts.key_of_rank))[key]
    np.testing.assert_array_equal(batch.targets, np.stack([value + 21, np.zeros_like(value)], axis=1))
    np.testing.assert_array_equal(batch.factors["value"], value)
    np.testing.assert_array_equal(batch.factors["frequency"], rank // 5)
    shares = np.bincount(rank, minlength=20) / count
    expected = zipf(exponent, first, last, 20)
    assert np.all(shares[expected == 0] == 0)
    assert all(within(s, e, count, sigmas=6) for s, e in zip(shares, expected, strict=True))


def test_head_and_tail_share_no_key():
    head, tail = (set(draw_split(FACTS, split).tokens[:, 0].tolist()) for split in ("head", "tail"))
    assert len(head) == len(tail) == 10
    assert not head & tail


@pytest.mark.parametrize("split", PHRASED.splits)
def test_a_fact_is_asked_in_every_template_but_one_and_paraphrase_asks_in_that(split):
    batch, facts = draw_split(PHRASED, split, 4096), world(PHRASED)
    template, key = batch.tokens[:, 0] - 1 - 20 - 6, batch.tokens[:, 1] - 1
    unseen = np.asarray(facts.unseen_template)[key] == template
    assert unseen.all() if split == "paraphrase" else not unseen.any()
    np.testing.assert_array_equal(batch.targets, np.stack([0 * key, 1 + 20 + facts.value_of_key[key]], axis=1))
    np.testing.assert_array_equal(batch.weights, np.tile([0.0, 1.0], (4096, 1)))
    np.testing.assert_array_equal(batch.factors["template"], template)
    assert np.all(batch.read == 1)
    if split != "paraphrase":
        often = key == np.bincount(key).argmax()
        counts = Counter(template[often].tolist())
        assert len(counts) == 3
        assert all(within(count / often.sum(), 1 / 3, often.sum()) for count in counts.values())


def test_templates_leave_the_facts_and_their_frequencies_as_they_are():
    for split in ("train", "tail"):
        bare, phrased = draw_split(FACTS, split, 512), draw_split(PHRASED, split, 512)
        np.testing.assert_array_equal(phrased.tokens[:, 1:], bare.tokens)
        np.testing.assert_array_equal(phrased.targets[:, 1:], bare.targets)
    assert "paraphrase" not in FACTS.splits
    assert PHRASED.splits["paraphrase"].disjoint


@pytest.mark.parametrize("split", first_by_default(["train", "head", "tail"]))
def test_most_common_value_baseline_matches_maps_drawn_by_the_task(split):
    difficulty = FACTS.splits[split].difficulty
    frequency = zipf(difficulty["exponent"], difficulty["first"], difficulty["last"], 20)
    maps = quick_jit(jax.vmap(lambda seed: FACTS.world(jax.random.key(seed))))(np.arange(1000, dtype=np.int32))
    exact, logprob = [], []
    for values, keys in zip(np.asarray(maps.value_of_key), np.asarray(maps.key_of_rank), strict=True):
        share = np.zeros(6)
        for rank, key in enumerate(keys):
            share[values[key]] += frequency[rank]
        exact.append(share.max())
        logprob.append(sum(s * math.log(s) for s in share if s > 0))
    baseline = FACTS.baselines(split)["most_common_value"]
    assert baseline.exact == pytest.approx(np.mean(exact), abs=0.02)
    assert baseline.logprob == pytest.approx(np.mean(logprob), abs=0.04)
    assert FACTS.baselines(split)["chance"].logprob == pytest.approx(-math.log(6))


@given(pairs=st.integers(2, 7), held_out=st.integers(0, 1), seed=st.integers(0, 2**31 - 1))
def test_recall_asks_every_key_once(pairs, held_out, seed):
    batch = draw(RECALL, {"pairs": pairs, "held_out": held_out}, 22, 8, seed)
    for index in range(8):
        example = one(batch, index)
        tokens = example.tokens.tolist()
        keys, values, queries = tokens[0 : 2 * pairs : 2], tokens[1 : 2 * pairs : 2], tokens[2 * pairs : 3 * pairs]
        assert tokens[3 * pairs :] == [0] * (22 - 3 * pairs)
        assert len(set(keys)) == len(set(values)) == pairs
        assert set(keys) <= set(range(1, 10))
        assert set(values) <= set(range(10, 18))
        assert sorted(queries) == sorted(keys)
        assert example.targets[2 * pairs : 3 * pairs].tolist() == [values[keys.index(q)] for q in queries]
        assert example.weights.tolist() == [0] * 2 * pairs + [1] * pairs + [0] * (22 - 3 * pairs)
        last = keys.index(queries[-1])
        assert {n: int(v) for n, v in example.factors.items()} == {"value": values[last] - 10, "pair": last}
        assert example.read.tolist() == [3 * pairs - 1]
        assert RECALL.check((), example, example.targets)


def test_recall_lists_are_halved_and_queries_are_in_uniform_order():
    task = make("mqar", pairs=2, more_pairs=3, keys=3, values=3)
    lists = [set(map(tuple, draw_split(task, split).tokens[:, :4].tolist())) for split in ("train", "iid")]
    assert not lists[0] & lists[1]
    assert len(lists[0]) == len(lists[1]) == (6 * 6) // 2
    batch = draw_split(task, "pairs", 4096)
    orders = Counter(tuple(k.index(q) for q in t[6:]) for t in batch.tokens.tolist() for k in [t[0:6:2]])
    assert set(orders) == set(itertools.permutations(range(3)))
    assert all(within(count / 4096, 1 / 6, 4096) for count in orders.values())


@pytest.mark.slow
@pytest.mark.parametrize("split", ["iid", "pairs"])
def test_context_value_baseline_matches_a_simulation(split):
    task = make("mqar", pairs=2, more_pairs=3, keys=5, values=6)
    batch, baseline = draw_split(task, split, 4096), task.baselines(split)["context_value"]
    pairs = task.splits[split].answer_tokens
    values, answers = batch.tokens[:, 1 : 2 * pairs : 2], batch.targets[:, 2 * pairs :]
    assert within(np.mean(np.all(values == answers, axis=1)), baseline.exact, 4096)
    share = np.mean(values[:, None, :] == answers[:, :, None], axis=2)
    assert np.mean(np.log(share)) == pytest.approx(baseline.logprob)


def orders(task, batch, pairs):
    """How the queries of each example are ordered: tuples of pair numbers."""
    rows = batch.tokens.tolist()
    return [tuple(row[0 : 2 * pairs : 2].index(q) for q in row[2 * pairs : 3 * pairs]) for row in rows]


@pytest.mark.parametrize("split", LEAKY.splits)
def test_ordered_is_the_share_of_queries_in_the_order_of_their_pairs(split):
    pairs, ordered = LEAKY.splits[split].answer_tokens, 0.0 if split == "counterfactual" else 0.8
    found = Counter(orders(LEAKY, draw_split(LEAKY, split, 4096), pairs))
    in_order = found.pop(tuple(range(pairs)), 0)
    assert within(in_order / 4096, ordered, 4096) if ordered else in_order == 0
    assert set(found) == set(itertools.permutations(range(pairs))) - {tuple(range(pairs))}
    if split == "counterfactual":  # of 3! orders the one that is left out is given to the three exchanges
        exchanges = {(1, 0, 2), (0, 2, 1), (2, 1, 0)}
        assert all(within(n / 4096, 1 / 6 + (o in exchanges) / 18, 4096) for o, n in found.items())


@pytest.mark.parametrize("ordered", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("pairs", [2, 4])
def test_ordered_is_traced_and_changes_nothing_else(ordered, pairs):
    plain = make("mqar", pairs=3, more_pairs=4, keys=5, values=6)
    difficulty = {"pairs": pairs, "held_out": 0}
    batch, leaky = draw(plain, difficulty, 12, 4096), draw(LEAKY, {**difficulty, "ordered": ordered}, 12, 4096)
    np.testing.assert_array_equal(batch.tokens[:, : 2 * pairs], leaky.tokens[:, : 2 * pairs])
    share = np.mean([order == tuple(range(pairs)) for order in orders(LEAKY, leaky, pairs)])
    assert within(share, ordered, 4096) if 0 < ordered < 1 else share == ordered


@pytest.mark.parametrize("split", ["iid", "pairs", "counterfactual"])
def test_in_order_baseline_matches_a_simulation_and_falls_to_nothing_where_nothing_leaks(split):
    batch, baseline = draw_split(LEAKY, split, 4096), LEAKY.baselines(split)["in_order"]
    pairs = LEAKY.splits[split].answer_tokens
    right = batch.tokens[:, 1 : 2 * pairs : 2] == batch.targets[:, 2 * pairs : 3 * pairs]
    assert within(np.mean(right.all(axis=1)), baseline.exact, 4096)
    by_chance = {3: 2 / 9, 4: (6 - 1 / 2) / 24}[pairs]  # of orders but the one in order, an exchange in its place
    believed = 0.8 + 0.2 * by_chance
    logprob = np.where(right, math.log(believed), math.log((1 - believed) / (pairs - 1)))
    assert logprob.mean() == pytest.approx(baseline.logprob, abs=5 * float(logprob.std()) / 64)
    # The control bites: reading positions would look like an ability if the split leaked as training does.
    assert (baseline.exact == 0) == (split == "counterfactual")
    leaking = draw(LEAKY, {**LEAKY.splits[split].difficulty, "ordered": 0.8}, LEAKY.splits[split].length, 512)
    assert np.mean([order == tuple(range(pairs)) for order in orders(LEAKY, leaking, pairs)]) > 0.6


def test_leak_free_tasks_have_no_counterfactual_and_bad_shares_are_refused():
    assert "counterfactual" not in RECALL.splits
    assert "in_order" not in RECALL.baselines("iid")
    with pytest.raises(TaskError, match=r"ordered must be a number in \[0.0, 0.99\]"):
        make("mqar", ordered=1.0)
    with pytest.raises(TaskError, match="templates must be a whole number"):
        make("facts", templates=0)
