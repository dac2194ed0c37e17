"""Exact halves, uniform draws and sizes that several tasks share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks.asking import append, extent, mate, uniform, unit
from tasks.sequence import part
from tests.tasks.task_cases import quick_jit, within


@pytest.mark.parametrize("size", [2, 3, 5, 45])
def test_mates_are_parted_exactly_and_uniformly(size):
    count = 4096
    bits = jax.random.bits(jax.random.key(0), (count,))

    @quick_jit
    def side(shared, held_out):
        words, valid = jnp.array([7, 1, 2], jnp.int32).at[0].set(shared), jnp.array([True, True, False])
        return jax.vmap(lambda b: mate(words, valid, size, b, held_out))(bits)

    trained_first = []
    for shared in range(12):
        trained, held_out = (np.asarray(side(shared, np.bool_(held_out))) for held_out in (False, True))
        assert set(trained) & set(held_out) == set()
        assert set(trained) | set(held_out) == set(range(size))
        assert len(set(trained)) == (size + 1) // 2
        for drawn in (trained, held_out):
            values, counts = np.unique(drawn, return_counts=True)
            assert all(within(c / count, 1 / len(values), count) for c in counts)
        trained_first.append(0 in trained)
    assert 0 < sum(trained_first) < 12, "which mate is trained on depends on what they share"


def test_mates_do_not_depend_on_what_does_not_count():
    words, bits = jnp.array([3, 4, 5], jnp.int32), jnp.uint32(9)
    valid = jnp.array([True, True, False])
    same = [mate(words.at[2].set(x), valid, 1000, bits, jnp.bool_(False)) for x in (0, 8)]
    assert same[0] == same[1]
    longer = mate(jnp.pad(words, (0, 3)), jnp.pad(valid, (0, 3)), 1000, bits, jnp.bool_(False))
    assert longer == same[0]


def test_uniform_includes_both_ends_and_falls_back_to_the_lower():
    bits = jax.random.bits(jax.random.key(1), (3000,))
    drawn = np.asarray(quick_jit(jax.vmap(lambda b: uniform(b, 2, 4)))(bits))
    assert all(within(np.mean(drawn == value), 1 / 3, 3000) for value in (2, 3, 4))
    assert int(uniform(bits[0], 5, 3)) == 5
    fractions = np.asarray(unit(bits))
    assert fractions.min() >= 0
    assert fractions.max() < 1
    assert unit(jnp.uint32(2**32 - 1)) < 1


def test_extent_counts_the_marker_that_ends_a_scratchpad():
    assert extent(6, 4, 2, 0.0) == {"length": 7, "answer_tokens": 2, "decode_steps": 2}
    assert extent(6, 4, 2, 0.5) == {"length": 12, "answer_tokens": 7, "decode_steps": 7}


def test_append_puts_a_token_after_the_last():
    longer = append(part(jnp.array([5, 6, 7], jnp.int32), 2), 9)
    assert np.asarray(longer.tokens)[: int(longer.count)].tolist() == [5, 6, 9]
