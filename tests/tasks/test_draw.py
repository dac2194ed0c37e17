"""Permutations without a sort, and the instance hash."""

import itertools
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.draw import hash_bit, in_memory, mix, permutation, pick, words
from tests.tasks.task_cases import within

permute = jax.jit(partial(permutation, take=6))


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6), st.integers(1, 6))
def test_permutes_the_first_items_even_with_ties(bits, count):
    found = permute(jnp.array(bits, jnp.uint32), count).tolist()[:count]
    assert sorted(found) == list(range(count))
    expected = np.argsort(np.argsort(bits[:count], kind="stable"), kind="stable")
    assert found == expected.tolist()


def test_permutations_are_uniform():
    bits = jax.random.bits(jax.random.key(0), (6000, 3))
    rows = jax.jit(jax.vmap(lambda b: permutation(b, 3, 3)))(bits)
    counts = Counter(map(tuple, np.asarray(rows).tolist()))
    assert set(counts) == set(itertools.permutations(range(3)))
    assert all(within(count / 6000, 1 / 6, 6000) for count in counts.values())


def test_mix_is_a_bijection_on_a_sample():
    words = jnp.arange(1 << 16, dtype=jnp.uint32)
    assert len(np.unique(np.asarray(mix(words)))) == 1 << 16


@pytest.mark.parametrize("ordered", [True, False])
def test_hash_bit_is_balanced_and_sees_the_order_only_if_asked(ordered):
    words = jax.random.randint(jax.random.key(0), (4096, 5), 0, 1000, jnp.int32)
    bit = jax.jit(jax.vmap(lambda w: hash_bit(w, jnp.arange(5) < 4, ordered)))
    bits, swapped = bit(words), bit(words[:, jnp.array([1, 0, 2, 3, 4])])
    assert within(float(jnp.mean(bits)), 0.5, 4096)
    assert bool(jnp.all(bits == swapped)) != ordered
    assert jnp.all(bits == bit(words.at[:, 4].set(3))), "what isn't valid doesn't count"


def test_pick_draws_each_wanted_entry_equally_often():
    wanted = jnp.array([False, True, False, True, True, False])
    drawn = jax.vmap(partial(pick, wanted))(jnp.arange(9, dtype=jnp.uint32))
    assert Counter(drawn.tolist()) == {1: 3, 3: 3, 4: 3}


def test_words_of_an_example_differ_and_their_bits_are_balanced():
    drawn = np.asarray(jax.vmap(lambda key: words(key, 32))(jax.random.split(jax.random.key(0), 512)))
    assert all(len(set(row)) == 32 for row in drawn.tolist())
    bits = drawn[:, :, None] >> np.arange(32, dtype=np.uint32) & 1
    assert all(within(share, 0.5, 512 * 32) for share in bits.mean(axis=(0, 1)))
    assert all(within(share, 0.5, 512 * 32) for share in bits.mean(axis=(0, 2)))
    alike = (bits[:, :-1] == bits[:, 1:]).mean(axis=(0, 2))  # neighbouring words
    assert all(within(share, 0.5, 512 * 32) for share in alike)


def test_what_is_written_down_stays_the_same():
    values = jnp.array([[3, -7], [0, 2**31 - 1]], jnp.int32)
    assert in_memory(values).dtype == values.dtype
    assert jnp.array_equal(in_memory(values), values)
