"""Small pieces that several generators share: random words, permutations without a sort, and an instance hash.

Shape letters: N items, K items taken.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import RENAMED, Difficulty


def permutation(bits_N: jax.Array, count: jax.Array | int, take: int) -> jax.Array:
    """The first `take` entries of a uniform permutation of 0 … count-1: int32[take].

    Entry i is the rank of bits[i] among the first `count` bits (ties go to the earlier one). Comparing all pairs beats
    a sort for the few dozen items that a task has, and `count` may be traced.

    Args:
      bits_N: uint32[N], uniform random bits.
      count: how many items are permuted, at most N. Entries from index `count` on are meaningless.
      take: how many entries are wanted, at most N; static.
    """
    index_N = jnp.arange(bits_N.shape[0], dtype=jnp.int32)
    mine_K, index_K = bits_N[:take, None], index_N[:take, None]
    before_KxN = (bits_N[None, :] < mine_K) | ((bits_N[None, :] == mine_K) & (index_N[None, :] < index_K))
    return jnp.sum(before_KxN & (index_N[None, :] < count), axis=1, dtype=jnp.int32)


def renamed(symbols: jax.Array, difficulty: Difficulty, count: int, group: int = 0) -> jax.Array:
    """`symbols` under the renaming that a difficulty asks for, see `tasks.base.RENAMED`.

    Args:
      symbols: int32 of any shape. Those in [0, count) are renamed, by a uniform permutation, others stay as they are.
      difficulty: of the example.
      count: how many symbols there are, static.
      group: which group of symbols of the task it is: each has a permutation of its own.
    """
    if RENAMED not in difficulty:
        return symbols
    number = jnp.asarray(difficulty[RENAMED], jnp.uint32)
    bits = jax.random.bits(jax.random.fold_in(jax.random.key(number), group), (count,))
    name_of = permutation(bits, count, count)
    changes = (number > 0) & (symbols >= 0) & (symbols < count)
    return jnp.where(changes, name_of[jnp.clip(symbols, 0, count - 1)], symbols)


def in_memory(x: jax.Array) -> jax.Array:
    """`x`, a number array, written down.

    XLA on a CPU fuses whatever it can into the gathers that read it, so that all that `x` came from is computed again
    for each element read, and drops optimization barriers. The result of a reduction is always written down.
    """
    return jnp.sum(jnp.stack([x, jnp.zeros_like(x)]), axis=0, dtype=x.dtype)


def mix(word: jax.Array) -> jax.Array:
    """A bijection of uint32 in which every input bit reaches every output bit (the constants are 'lowbias32')."""
    word = (word ^ (word >> jnp.uint32(16))) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> jnp.uint32(15))) * jnp.uint32(0x846CA68B)
    return word ^ (word >> jnp.uint32(16))


def pick(wanted_N: jax.Array, bits: jax.Array) -> jax.Array:
    """The index of a uniformly drawn True entry of bool[N], of which there is one at least: int32[]."""
    so_far_N = jnp.cumsum(wanted_N, dtype=jnp.int32)
    return jnp.sum(so_far_N <= (bits % so_far_N[-1].astype(jnp.uint32)).astype(jnp.int32), dtype=jnp.int32)


def counters(bits_2: jax.Array, count: int) -> jax.Array:
    """A hash of the numbers below `count` (static) under two random words: uint32[count], no two alike."""
    return mix(mix(jnp.arange(count, dtype=jnp.uint32) ^ bits_2[0]) + bits_2[1])


def words(key: jax.Array, count: int) -> jax.Array:
    """Random words of one example, whose key is a random number already: uint32[count], no two alike.

    A fifth of what `jax.random.bits` costs. For ranks and choices within an example; keys come from `jax.random`.
    """
    return counters(jax.random.key_data(key), count)


def digest(words_N: jax.Array, valid_N: jax.Array, ordered: bool = True) -> jax.Array:
    """A hash of an instance: uint32[], as uniform as a random number.

    Args:
      words_N: int32[N], the instance's parts.
      valid_N: bool[N], which of them count.
      ordered: whether the order of the parts matters; if not, permuting them leaves the hash as it is.
    """
    size = words_N.shape[0]
    salt_N = (np.arange(size) if ordered else np.zeros(size, np.int64)) * 0x9E3779B1 + 0x85EBCA6B
    salt_N = jnp.asarray((salt_N & 0xFFFFFFFF).astype(np.uint32))
    mixed_N = jnp.where(valid_N, mix(words_N.astype(jnp.uint32) ^ salt_N), jnp.uint32(0))
    return mix(jnp.sum(mixed_N, dtype=jnp.uint32))


def hash_bit(words_N: jax.Array, valid_N: jax.Array, ordered: bool = True) -> jax.Array:
    """One hash bit of an instance, for arguments as in `digest`: bool[]."""
    return digest(words_N, valid_N, ordered) >= jnp.uint32(1 << 31)
