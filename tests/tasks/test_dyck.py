"""Dyck-(k, D): words by cancellation, uniformity over brute-force lists, the exact halves, depth, baselines."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tasks.reasoning.dyck import opening_chance
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, within

TASK = make("dyck", types=6, pairs=6, depth=3, deeper=5, longer=9)
SMALL = make("dyck", types=2, pairs=4, depth=2, deeper=4, longer=5)
LENGTH = 17


def word(example):
    """The word as bracket numbers, its last closing bracket from the targets."""
    tokens = [t for t in example.tokens.tolist() if t]
    return [*tokens, int(example.targets[len(tokens) - 1])]


def cancel(word, types):
    """opening position -> closing position, by striking out neighbours that match until nothing is left."""
    left, match = list(enumerate(word)), {}
    while left:
        for (i, a), (j, b) in itertools.pairwise(left):
            if a <= types and b == a + types:
                match[i] = j
                left.remove((i, a))
                left.remove((j, b))
                break
        else:
            raise AssertionError(f"not well nested: {word}")
    return match


def depths(word, types):
    return np.cumsum([1 if token <= types else -1 for token in word]).tolist()


@given(
    types=st.integers(2, 6),
    pairs=st.integers(1, 9),
    depth=st.integers(1, 5),
    reach=st.integers(0, 5),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_words_are_nested_and_the_answers_close_them(types, pairs, depth, reach, held_out, seed):
    reach = min(reach, depth, pairs)
    difficulty = dict(types=types, pairs=pairs, reach=reach, depth=depth, held_out=held_out)
    batch = draw(TASK, difficulty, LENGTH, 8, seed)
    for index in range(8):
        example = one(batch, index)
        brackets = word(example)
        closing = [i for i, token in enumerate(brackets) if token > 6]
        match, levels = cancel(brackets, 6), depths(brackets, 6)
        assert len(brackets) == 2 * pairs
        assert reach <= max(levels) <= depth
        assert max(token for token in brackets if token <= 6) <= types
        asked = np.flatnonzero(example.weights).tolist()
        assert asked == [i - 1 for i in closing]
        assert example.targets[asked].tolist() == [brackets[i] for i in closing]
        far = [i for i in asked if i in closing]
        read = far[0] if far else asked[-1]
        assert example.read.tolist() == [read]
        (opened,) = [i for i, j in match.items() if j == read + 1]
        factors = dict(top=brackets[opened] - 1, depth=levels[read], enclosed=(read - opened) // 2)
        assert {name: int(value) for name, value in example.factors.items()} == factors
        assert TASK.check((), example, example.targets)


def everything(types, pairs, reach, depth):
    """All words with the given sizes, as tuples."""
    words = set()
    for shape in itertools.product((1, -1), repeat=2 * pairs):
        levels = np.cumsum(shape)
        if levels.min() < 0 or levels[-1] or not reach <= levels.max() <= depth:
            continue
        for kinds in itertools.product(range(1, types + 1), repeat=pairs):
            stack, kind, found = [], iter(kinds), []
            for step in shape:
                if step > 0:
                    stack.append(next(kind))
                found.append(stack[-1] if step > 0 else types + stack.pop())
            words.add(tuple(found))
    return words


@pytest.mark.parametrize(("reach", "depth"), [(0, 2), (0, 4), (3, 4), (2, 2)])
def test_words_are_uniform_and_halved_exactly(reach, depth):
    halves = []
    for held_out in (0, 1):
        difficulty = dict(types=2, pairs=4, reach=reach, depth=depth, held_out=held_out)
        batches = [draw(SMALL, difficulty, 7, 4096, seed) for seed in range(2)]
        last = [np.take_along_axis(b.targets, np.full((4096, 1), 6), axis=1) for b in batches]
        rows = np.concatenate([np.hstack([b.tokens, e]) for b, e in zip(batches, last, strict=True)])
        halves.append(Counter(map(tuple, rows.tolist())))
    words = everything(2, 4, reach, depth)
    assert set(halves[0]) | set(halves[1]) == words
    assert not set(halves[0]) & set(halves[1])
    assert len(halves[0]) == len(halves[1])
    for half in halves:
        assert all(within(count / 8192, 1 / len(half), 8192) for count in half.values())


def test_splits_go_as_deep_and_as_long_as_they_say():
    levels = {s: [max(depths(word(one(draw_split(TASK, s, 512), i)), 6)) for i in range(512)] for s in TASK.splits}
    assert {split: max(found) for split, found in levels.items()} == {"train": 3, "iid": 3, "depth": 5, "length": 3}
    assert min(levels["depth"]) == 4
    assert min(levels["train"]) < 3


@pytest.mark.parametrize("split", first_by_default(["iid", "depth", "length"]))
def test_adjacent_baseline_matches_a_simulation(split):
    batch, generator = draw_split(TASK, split, 4096), np.random.default_rng(0)
    pairs = TASK.splits[split].answer_tokens
    asked = batch.weights > 0
    far = asked & (batch.tokens > 6)
    guesses = np.where(far, 7 + generator.integers(6, size=far.shape), batch.tokens + 6)
    exact = np.mean(np.all((guesses == batch.targets) | ~asked, axis=1))
    baseline = TASK.baselines(split)["adjacent"]
    assert within(exact, baseline.exact, 4096)
    share = far.sum(axis=1) / pairs
    assert -np.mean(share) * math.log(6) == pytest.approx(baseline.logprob, abs=5 * math.log(6) * share.std() / 64)


def test_the_largest_words_are_counted_without_over_or_underflow():
    chance = opening_chance(12, 256)
    assert np.all((chance >= 0) & (chance <= 1))
    assert np.all(chance[0, 1:, 2::2, 0] == 1), "at depth 0 a word can only go on by opening"
    assert chance[0, 1, 200, 1] == 0, "at the greatest depth it can only close"
    for owed in range(2, 13):
        assert chance[owed, 12, 2 * owed, 0] == chance[owed, 12, 2 * owed - 1, 1] == 1, "just enough steps to get there"
    # Far from the end a word of depth 12 opens as a bounded walk does that is conditioned to stay: h_(+1) / (2 cos h).
    angle = math.pi / 14
    stay = [math.sin((h + 2) * angle) / (2 * math.cos(angle) * math.sin((h + 1) * angle)) for h in range(13)]
    np.testing.assert_allclose(chance[0, 12, 256, 0:13:2], stay[0::2], atol=2e-3)


def latest_type(read, types, but_pairs=False):
    """No stack: of the types of which more are opened than closed, the one opened last; or opened and not closed at
    once.
    """
    still = [t for t in range(1, types + 1) if read.count(t) > read.count(types + t)]
    kept = [(t, u) for t, u in zip(read, [*read[1:], 0], strict=True) if not (but_pairs and u == t + types)]
    places = {t: max((i for i, (token, _) in enumerate(kept) if token == t), default=-1) for t in still}
    return max(places, key=places.get)


@pytest.mark.parametrize(
    ("name", "split"),
    first_by_default([("unpaired", "depth"), ("latest", "iid"), ("latest", "depth")]),
)
def test_stackless_baselines_match_their_rules_on_words_of_the_task(name, split):
    count, hits, guesses = 1024, 0, []
    batch = draw_split(TASK, split, 4096)
    for index in range(count):
        right, tokens = True, batch.tokens[index].tolist()
        for place in np.flatnonzero(batch.weights[index]):
            read = tokens[: place + 1]
            if read[-1] > 6:
                guesses.append(6 + latest_type(read, 6, name == "unpaired") == batch.targets[index, place])
                right = right and guesses[-1]
        hits += right
    baseline, share = TASK.baselines(split)[name], np.mean(guesses)
    assert within(hits / count, baseline.exact, count)
    nats = share * math.log(share) + (1 - share) * math.log((1 - share) / 5)
    assert baseline.logprob == pytest.approx(nats * len(guesses) / count / TASK.splits[split].answer_tokens, abs=0.02)


def test_latest_is_no_baseline_where_it_is_the_task():
    """Two deep, one bracket at most is left open by the time that an older one is closed; three deep, one unpaired."""
    assert "unpaired" not in TASK.baselines("iid")
    assert "latest" not in make("dyck", depth=2, deeper=3).baselines("iid")
    found = make("dyck").baselines("iid")
    assert found["latest"].exact == pytest.approx(0.51, abs=0.03)
    assert found["unpaired"].exact > 0.83, "what a logistic regression of counts and last tokens reaches"


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"types": 3}, "types must be even"),
        ({"pairs": 5, "deeper": 6}, "deeper must be at most pairs = 5"),
        ({"depth": 6}, r"deeper must be a whole number in \[7, 12\]"),
        ({"longer": 10}, "longer must be"),
    ],
)
def test_bad_sizes_are_refused_in_a_sentence(sizes, says):
    with pytest.raises(TaskError, match=says):
        make("dyck", **sizes)
