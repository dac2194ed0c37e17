"""Draws without repetition, random mixtures and the exact split, against enumeration."""

import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.memory._runs import different, runs, runs_of, spelled
from tasks.memory._shared import arrangement, chance, choose_side, expected_log, hedged, shuffled, slots
from tasks.sequence import part
from tests.tasks.task_cases import quick_jit, within

DRAWS = 6000


def many(function, bits):
    """`function` of rows of random bits, as a list of tuples."""
    rows = jax.random.bits(jax.random.key(0), (DRAWS, bits))
    made = np.asarray(quick_jit(jax.vmap(function))(rows))
    return [tuple(row) for row in made.tolist()]


def assert_uniform(found, expected):
    counted = Counter(found)
    assert set(counted) == set(expected)
    assert all(within(counted[e] / len(found), 1 / len(expected), len(found)) for e in expected)


@pytest.mark.parametrize(("count", "total"), [(0, 3), (1, 3), (2, 4), (3, 3)])
def test_arrangements_are_equally_likely(count, total):
    found = many(lambda bits: arrangement(bits, jnp.int32(count), total), 8)
    assert_uniform([row[:count] for row in found], list(itertools.permutations(range(total), count)))


@pytest.mark.parametrize(("kept", "others"), [(1, 0), (2, 2), (3, 1), (1, 4)])
def test_mixtures_are_equally_likely(kept, others):
    found = many(lambda bits: slots(bits, jnp.int32(kept), jnp.int32(others), 3), 6)
    assert_uniform([row[:kept] for row in found], list(itertools.combinations(range(kept + others), kept)))
    assert all(0 <= slot < 6 for row in found for slot in row)


def test_chance_is_never_at_nought_and_always_at_one():
    bits = jnp.asarray([0, 1, 2**31, 2**32 - 1], jnp.uint32)
    assert not np.any(chance(bits, jnp.float32(0)))
    assert np.all(chance(bits, jnp.float32(1)))
    assert np.asarray(chance(bits, jnp.float32(0.5))).tolist() == [True, True, False, False]


@pytest.mark.parametrize("pivot", [0, 2])
@pytest.mark.parametrize("count", [3, 4])
def test_every_context_is_on_one_side_and_its_mate_on_the_other(pivot, count):
    contexts = np.array(list(itertools.product(range(5), repeat=3)), np.int32)
    contexts = contexts[contexts[:, pivot] < 4]  # an odd symbol out, like a marker or noise, is never the pivot
    padded = np.pad(contexts, ((0, 0), (0, 1)), constant_values=4)

    def side(context, held_out):
        return choose_side(part(context, count), pivot, held_out)

    sides = [
        [tuple(r[:count]) for r in np.asarray(quick_jit(jax.vmap(lambda c, h=h: side(c, h)))(padded)).tolist()]
        for h in (jnp.int32(0), jnp.int32(1))
    ]
    assert not set(sides[0]) & set(sides[1])
    assert len(set(sides[0])) == len(set(sides[1])) == len(contexts) // 2
    for context, kept, other in zip(padded[:, :count].tolist(), *sides, strict=True):
        assert tuple(context) in (kept, other)
        low = context[pivot] // 2 * 2
        renamed = [{low: low + 1, low + 1: low}.get(s, s) for s in kept]
        assert tuple(renamed) == other, "the couple is exchanged throughout"


def test_runs_are_numbered_one_by_one():
    for tokens, size in ((3, 1), (4, 3), (3, 3)):
        numbers = np.arange(runs(tokens, size), dtype=np.int32)
        made = np.asarray(spelled(jnp.asarray(numbers), tokens, 3))[:, :size]
        assert {tuple(row) for row in made.tolist()} == set(itertools.permutations(range(tokens), size))
    assert np.asarray(runs_of(5, jnp.arange(4))).tolist() == [1, 5, 20, 60]


def test_different_runs_of_one_size_form_every_set():
    sizes = jnp.asarray([1, 2, 1, 1, 2], jnp.int32)
    found = many(lambda bits: different(bits, sizes, jnp.int32(4), 3), 5)
    assert_uniform([tuple(sorted((r[0], r[2], r[3]))) for r in found], [(0, 1, 2)])
    assert_uniform([(r[1],) for r in found], [(n,) for n in range(6)])
    pairs = many(lambda bits: different(bits, jnp.full((2,), 1, jnp.int32), jnp.int32(2), 4), 2)
    assert_uniform([tuple(sorted(p)) for p in pairs], list(itertools.combinations(range(4), 2)))


@pytest.mark.slow
def test_formulas_of_the_baselines():
    strings = list(itertools.product(range(3), repeat=4))
    exact = np.mean([np.mean([p == s for p in itertools.permutations(s)]) for s in strings])
    nats = np.mean([np.mean([math.log(s.count(t) / 4) for t in s]) for s in strings])
    assert shuffled(4, 3).exact == pytest.approx(exact)
    assert shuffled(4, 3).logprob == pytest.approx(nats)
    assert expected_log(2, 0.25, 4) == pytest.approx(
        9 / 16 * math.log(1 / 4) + 6 / 16 * math.log(2 / 4) + 1 / 16 * math.log(3 / 4)
    )
    assert expected_log(3000, 0.5, 3001) == pytest.approx(-math.log(2), abs=1e-3), "no overflow"
    assert hedged(0.25, 4) == pytest.approx(-math.log(4))
    assert hedged(1.0, 4) == 0
    assert hedged(0.0, 4) == pytest.approx(-math.log(3))
