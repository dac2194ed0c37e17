"""Multi-query recall in its published layout, against an independent reading of the published generator."""

import hashlib
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make, sizes_of
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of
from tests.tasks.task_cases import draw, draw_split, one, within

SMALL = make("mqar", pairs=3, more_pairs=4, field=True, vocabulary=24, tokens=24, more_tokens=32)
COUNT = 4096


def published(pairs, tokens, vocabulary, count, seed=0):
    """Examples of the published generator, one by one; fillers are left 0. Each as (tokens, labels, slots)."""
    random = np.random.default_rng(seed)
    space = (tokens - 2 * pairs) // 2
    law = 0.01 * np.arange(1, space + 1) ** (0.01 - 1)
    found = []
    for _ in range(count):
        keys = random.choice(np.arange(1, vocabulary // 2), pairs, replace=False)
        values = random.choice(np.arange(vocabulary // 2, vocabulary), pairs, replace=False)
        slots = random.choice(space, pairs, replace=False, p=law / law.sum())
        row, labels = np.zeros(tokens, int), np.full(tokens, -100)
        row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2] = keys, values
        row[2 * pairs + 2 * slots], labels[2 * pairs + 2 * slots] = keys, values
        found.append((row, labels, slots))
    return found


def slots_of(batch, pairs):
    """[examples, pairs]: the slot in which each pair is asked about."""
    tokens, asked = batch.tokens, batch.weights > 0
    at = (tokens[:, None, :] == tokens[:, 0 : 2 * pairs : 2, None]) & asked[:, None, :]
    assert np.all(at.sum(axis=2) == 1)
    offset = at.argmax(axis=2) - 2 * pairs
    assert np.all(offset % 2 == 0)
    return offset // 2


@given(
    pairs=st.integers(2, 4), tokens=st.sampled_from([16, 20, 32]), held_out=st.integers(0, 1), seed=st.integers(0, 99)
)
def test_an_example_is_laid_out_as_published(pairs, tokens, held_out, seed):
    for example in drawn(SMALL, {"pairs": pairs, "tokens": tokens, "held_out": held_out}, 32, seed=seed):
        row, asked = example.tokens.tolist(), np.flatnonzero(example.weights).tolist()
        keys, values, rest = row[0 : 2 * pairs : 2], row[1 : 2 * pairs : 2], row[2 * pairs : tokens]
        assert row[tokens:] == [0] * (32 - tokens)
        assert len(set(keys)) == len(set(values)) == len(asked) == pairs
        assert set(keys) <= set(range(1, 12))
        assert set(values) <= set(range(12, 24))
        assert all(place >= 2 * pairs and place % 2 == 0 for place in asked)
        assert sorted(row[place] for place in asked) == sorted(keys)
        assert [example.targets[place] for place in asked] == [values[keys.index(row[place])] for place in asked]
        fillers = [token for place, token in enumerate(rest, 2 * pairs) if place not in asked]
        assert not set(fillers) & {0, *keys}, "a filler is never a key of the context"
        last = keys.index(row[asked[-1]])
        assert factors_of(example) == {"value": values[last] - 12, "pair": last}
        assert example.read.tolist() == asked[-1:]
        assert SMALL.check((), example, example.targets)
        assert not SMALL.check((), example, np.roll(example.targets, 1))


@pytest.mark.parametrize("split", ["iid", "pairs", "longer"])
def test_gaps_follow_the_published_law(split):
    """The first pair's slot in closed form, those of all pairs and the order of the queries against the reading."""
    chosen = SMALL.splits[split]
    pairs, tokens = int(chosen.difficulty["pairs"]), int(chosen.difficulty["tokens"])
    ours = slots_of(draw_split(SMALL, split, COUNT), pairs)
    theirs = np.array([slots for *_, slots in published(pairs, tokens, 24, COUNT)])
    space = (tokens - 2 * pairs) // 2
    law = np.arange(1, space + 1) ** -0.99
    first = np.bincount(ours[:, 0], minlength=space) / COUNT
    assert all(within(share, p, COUNT) for share, p in zip(first, law / law.sum(), strict=True))
    for pair in range(pairs):
        one_, two = (np.bincount(slots[:, pair], minlength=space) / COUNT for slots in (ours, theirs))
        mean = (one_ + two) / 2
        assert np.all(np.abs(one_ - two) <= 5 * np.sqrt(2 * np.maximum(mean * (1 - mean), 1 / COUNT) / COUNT)), pair
    ordered = [np.mean(np.all(np.diff(slots, axis=1) > 0, axis=1)) for slots in (ours, theirs)]
    assert abs(ordered[0] - ordered[1]) <= 5 * np.sqrt(2 * 0.25 / COUNT)


def test_fillers_are_uniform_over_all_tokens_but_padding_and_the_keys_of_the_context():
    batch, pairs = draw_split(SMALL, "iid", COUNT), 3
    filler = (batch.weights == 0) & (np.arange(24) >= 2 * pairs)
    count = np.bincount(batch.tokens[filler], minlength=24)
    share, total = count / count.sum(), count.sum()
    assert count[0] == 0
    expected = np.where(np.arange(24) < 12, (1 - pairs / 11) / (23 - pairs), 1 / (23 - pairs))
    # Fillers of one example share their keys, so that those of 15 places count as one.
    assert all(within(s, e, total / 15) for s, e in zip(share[1:], expected[1:], strict=True))


@cache
def default():
    return make("mqar", field=True)


def test_the_default_is_the_published_size_and_splits_mean_what_they_say():
    task = default()
    assert task.vocab_size == 8192
    assert {name: (s.length, s.answer_tokens, s.decode_steps, s.disjoint) for name, s in task.splits.items()} == {
        "train": (64, 4, 1, False),
        "iid": (64, 4, 1, True),
        "pairs": (64, 8, 1, True),
        "longer": (128, 4, 1, True),
    }
    groups = task.interchangeable
    assert [len(group) for group in groups] == [4095, 4096]


@pytest.mark.slow
def test_at_the_published_size_the_median_gap_is_that_of_the_reading():
    batch = draw_split(default(), "iid", COUNT)
    slots = [slots_of(batch, 4), np.array([slots for *_, slots in published(4, 64, 8192, COUNT)])]
    gaps = [8 + 2 * each - 2 * np.arange(4) for each in slots]
    assert np.median(gaps[0]) == pytest.approx(np.median(gaps[1]), abs=2)
    own = draw_split(make("mqar"), "iid", COUNT)
    places = np.array([[np.flatnonzero(row == key)[-1] for key in row[0:8:2]] for row in own.tokens])
    assert np.max(places - 2 * np.arange(4)) == 11, "the default layout's longest gap, which the docs name"


@pytest.mark.parametrize("split", ["iid", "pairs", "longer"])
def test_what_positions_tell_is_a_declared_baseline(split):
    """Early pairs are asked about early: the i-th value for the i-th query beats a random order."""
    batch, baselines = draw_split(SMALL, split, COUNT), SMALL.baselines(split)
    pairs = SMALL.splits[split].answer_tokens
    order = np.argsort(slots_of(batch, pairs), axis=1)
    believed = np.stack([np.mean(order == pair, axis=0) for pair in range(pairs)])  # [pair, place]
    nats = np.log(believed[order, np.arange(pairs)[None, :]]).mean(axis=1)
    measured = list(zip(np.all(order == np.arange(pairs), axis=1), nats, strict=True))
    assert agrees(measured, baselines["in_order"], COUNT)
    assert baselines["in_order"].exact > baselines["context_value"].exact


def test_the_layout_of_before_is_the_same_to_the_bit():
    task, leaky = make("mqar"), make("mqar", ordered=0.5)
    found = [
        draw(made, made.splits[split].difficulty, 24, 512, exact=True)
        for made, split in ((task, "iid"), (task, "pairs"), (leaky, "train"))
    ]
    digests = [hashlib.sha256(batch.tokens.tobytes() + batch.targets.tobytes()).hexdigest()[:16] for batch in found]
    assert digests == ["5c6747291200e031", "3ceb91a6ced54008", "332df5ffac175e63"]
    assert sizes_of(task) == {"pairs": 4, "more_pairs": 8, "keys": 16, "values": 16, "ordered": 0.0}, "keys stay"
    assert sizes_of(default()) == sizes_of(task) | {"field": True}
    assert one(found[0], 0).tokens.shape == (24,)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"field": 1}, "field must be True or False, not 1"),
        ({"vocabulary": 1024}, "vocabulary has no meaning with field=False; leave it at 8192, not 1024"),
        ({"tokens": 32}, "tokens has no meaning with field=False"),
        ({"field": True, "keys": 64}, "keys has no meaning with field=True; leave it at 16, not 64"),
        ({"field": True, "ordered": 0.5}, "ordered has no meaning with field=True"),
        ({"field": True, "tokens": 30}, r"tokens must be a whole number in \[32, 4094\], not 30"),
        ({"field": True, "tokens": 63}, "tokens must be even"),
        ({"field": True, "more_tokens": 64}, r"more_tokens must be a whole number in \[66, 4096\]"),
        ({"field": True, "vocabulary": 17}, r"vocabulary must be a whole number in \[18, 8192\]"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("mqar", **sizes)
