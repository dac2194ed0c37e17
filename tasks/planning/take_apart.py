"""Countdown problems, made backwards from the target so that each has a solution; and a random player.

Shape letters: N operands at most, T tries.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.draw import hash_bit, mix

TRIES = 16  # of the last decomposition, to find a problem on the wanted side


class Rules(NamedTuple):
    """The largest value, how many of + - * / may be used, and the most operands; all static."""

    largest: int
    operations: int
    operands: int


class Problem(NamedTuple):
    """One problem and one of its solutions; entries beyond those there are mean nothing.

    Attributes:
      target: int32[].
      postfix: int32[2N - 1], the solution: numbers, and operations as -1 - code.
      steps: int32[N - 1, 4], how the target was taken apart, from itself on: a, operation's code, b, result.
    """

    target: jax.Array
    postfix: jax.Array
    steps: jax.Array


def words(rules: Rules) -> int:
    """Random words that a problem takes."""
    return 2 * (rules.operands - 1) + TRIES


def make_problem(
    rules: Rules, bits: jax.Array, target: jax.Array, count: jax.Array, held_out: jax.Array, either: jax.Array
) -> tuple[Problem, jax.Array]:
    """A problem of `count` numbers, and whether it lies on the wanted side of the hash (`either`: both will do).

    Count - 1 times, a random one of the numbers there are is taken apart. The last time it is tried TRIES times over.
    """
    size = 2 * rules.operands - 1
    leaf_words, split_words, tries = jnp.split(bits, [rules.operands - 1, 2 * rules.operands - 2])

    def take_apart(postfix: jax.Array, x: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        index, leaf_word, split_word = x
        where, value = _pick(postfix, leaf_word)
        a, operation, b = _split(rules, value, split_word)
        grown = _grow(postfix, where, a, operation, b)
        return jnp.where(index < count - 2, grown, postfix), jnp.stack([a, operation, b, value])

    start = jnp.where(jnp.arange(size) == 0, target, 0)
    indices = jnp.arange(rules.operands - 1, dtype=jnp.int32)
    postfix, steps = lax.scan(take_apart, start, (indices, leaf_words, split_words))

    def last(word: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        where, value = _pick(postfix, mix(word))
        a, operation, b = _split(rules, value, word)
        kept = (postfix > 0) & (jnp.arange(size) != where)
        instance = jnp.append(postfix, jnp.stack([a, b, rules.largest + target]))
        side = hash_bit(instance, jnp.append(kept, jnp.ones((3,), bool)), ordered=False)
        return where, jnp.stack([a, operation, b, value]), (side == held_out) | either

    where_T, step_Tx4, right_T = jax.vmap(last)(tries)
    chosen = jnp.argmax(right_T)
    where, step = where_T[chosen], step_Tx4[chosen]
    steps = jnp.where((indices == count - 2)[:, None], step[None, :], steps)
    return Problem(target, _grow(postfix, where, step[0], step[1], step[2]), steps), jnp.any(right_T)


def _pick(postfix: jax.Array, word: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where a random number of an expression stands, and the number."""
    so_far = jnp.cumsum(postfix > 0, dtype=jnp.int32)
    rank = (word % jnp.maximum(so_far[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
    where = jnp.argmax(so_far > rank).astype(jnp.int32)
    return where, postfix[where]


def _split(rules: Rules, value: jax.Array, word: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A random a, operation and b that give the value; neither factors nor divisors are 1."""
    number, table = (jnp.asarray(x) for x in _divisors(rules.largest))
    choices = [value - 1, rules.largest - value, number[value], rules.largest // jnp.maximum(value, 1) - 1]
    count_O = jnp.stack(choices[: rules.operations])
    so_far_O = jnp.cumsum(count_O > 0, dtype=jnp.int32)
    rank = (word % jnp.maximum(so_far_O[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
    operation = jnp.argmax(so_far_O > rank).astype(jnp.int32)
    which = ((word >> jnp.uint32(8)) % jnp.maximum(count_O[operation], 1).astype(jnp.uint32)).astype(jnp.int32)
    factor = table[value, jnp.minimum(which, table.shape[1] - 1)]
    is_it = [operation == code for code in range(4)]
    a = jnp.select(is_it, [1 + which, value + 1 + which, factor, value * (2 + which)])
    b = jnp.select(is_it, [value - 1 - which, 1 + which, value // factor, 2 + which])
    return a, operation, b


def _grow(postfix: jax.Array, where: jax.Array, a: jax.Array, operation: jax.Array, b: jax.Array) -> jax.Array:
    """The expression with `a b operation` in the place of one number."""
    index = jnp.arange(postfix.shape[0], dtype=jnp.int32)
    moved = postfix[jnp.maximum(jnp.where(index < where, index, index - 2), 0)]
    here = [index == where, index == where + 1, index == where + 2]
    return jnp.select(here, [jnp.broadcast_to(x, index.shape) for x in (a, b, -1 - operation)], moved)


@lru_cache
def _divisors(largest: int) -> tuple[np.ndarray, np.ndarray]:
    """Of 0 … largest: how many divisors there are apart from 1 and the number, int32[·], and which, int32[·, ·]."""
    found = [[d for d in range(2, n) if n % d == 0] for n in range(largest + 1)]
    width = max(1, *(len(d) for d in found))
    return np.array([len(d) for d in found], np.int32), np.array([d + [1] * (width - len(d)) for d in found], np.int32)


def results(rules: Rules, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What two numbers can be combined to, int[·, 4], and whether that is legal: +, * and, larger first, - and /."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    found = np.stack([a + b, high - low, a * b, high // np.maximum(low, 1)], axis=-1)
    legal = (found > 0) & (found <= rules.largest) & (np.arange(4) < rules.operations)
    legal[..., 3] &= high % np.maximum(low, 1) == 0
    return found, legal


def random_play(rules: Rules, numbers: np.ndarray, seed: int = 0, leave: int = 1) -> np.ndarray:
    """What numbers int[·, n] come to when random pairs give way to one of their legal results: int[·, leave].

    After a dead end a number is 0.
    """
    generator, left = np.random.default_rng(seed), numbers.copy()
    for size in range(numbers.shape[1], leave, -1):
        order = np.argsort(generator.random((len(left), size)), axis=1)
        left = np.take_along_axis(left[:, :size], order, axis=1)
        found, legal = results(rules, left[:, 0], left[:, 1])
        pick = np.argmax(generator.random(legal.shape) * legal, axis=1)
        rows = np.arange(len(left))
        value = np.where(legal[rows, pick] & (left[:, 0] > 0) & (left[:, 1] > 0), found[rows, pick], 0)
        left = np.column_stack([left[:, 2:], value])
    return left


def surprise(rules: Rules, numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """-log p of written steps int[·, n - 1, 4] (a, operation, b, result) under random play from int[·, n]: float[·].

    In which order the operands of + and * are written is a fair choice too.
    """
    left, nats = numbers.copy(), np.zeros(len(numbers))
    rows = np.arange(len(numbers))
    for index in range(steps.shape[1]):
        a, operation, b, value = steps[:, index].T
        first, second = left[:, :, None], left[:, None, :]
        a_, b_ = a[:, None, None], b[:, None, None]
        pairs = np.sum(((first == a_) & (second == b_) | (first == b_) & (second == a_)), axis=(1, 2))
        same = np.sum(left == a[:, None], axis=1)
        pairs = np.where(a == b, same * (same - 1), pairs)
        size = left.shape[1]
        legal = results(rules, a, b)[1].sum(axis=1)
        orders = np.where((operation % 2 == 0) & (a != b), 2, 1)
        nats += np.log(size * (size - 1) / pairs) + np.log(legal) + np.log(orders)
        kept = np.ones(left.shape, bool)
        for gone in (a, b):
            kept[rows, np.argmax((left == gone[:, None]) & kept, axis=1)] = False
        left = np.column_stack([left[kept].reshape(len(left), size - 2), value])
    return nats
