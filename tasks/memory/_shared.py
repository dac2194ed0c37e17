"""What the memory tasks share: how an example is split, drawn, asked and guessed at.

Symbols count from 0; a symbol's token is one more, since 0 is PAD.

Shape letters: K entries of a context, N things drawn, S slots, Q questions, L positions of a padded example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tasks.base import PAD, Baseline, Difficulty, Example, TaskError, World, exact_match, require_range
from tasks.draw import digest, hash_bit, permutation
from tasks.sequence import Part


class InContext:
    """All that an answer needs stands in its example, and one answer is right."""

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)


def require_couples(task: Any, field: str, least: int, most: int) -> None:
    """Raise TaskError unless the field is an even number in [least, most]: `choose_side` takes symbols in couples."""
    require_range(task, field, least, most)
    if getattr(task, field) % 2:
        raise TaskError(
            f"{task.name}: {field} must be even, for its tokens are split in couples, not {getattr(task, field)}."
        )


def whole(difficulty: Difficulty, *names: str) -> tuple[jax.Array, ...]:
    """The named difficulties as int32[]."""
    return tuple(jnp.asarray(difficulty[name], jnp.int32) for name in names)


def below(bits: jax.Array, count: jax.Array | int) -> jax.Array:
    """Uniform in [0, count) from uniform bits (uneven by 2^-32 · count): int32 of the shape of `bits`."""
    return (bits % jnp.asarray(count).astype(jnp.uint32)).astype(jnp.int32)


def chance(bits: jax.Array, probability: jax.Array) -> jax.Array:
    """True with `probability` float32 in [0, 1], exactly never at 0 and always at 1: bool of the shape of `bits`."""
    return (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2.0**-24) < probability


def distinct(bits_N: jax.Array, low_N: jax.Array, high_N: jax.Array) -> jax.Array:
    """Draw one after another without repetition (Floyd's sampling): int32[N], entry i in [low[i], high[i]].

    Draws that compete share `low`, and their `high` grows by one from each to the next; the last of m among c values
    has high = low + c - 1. All sets are then equally likely, but not all orders: shuffle whatever order matters.
    """
    index_N = jnp.arange(bits_N.shape[0], dtype=jnp.int32)
    drawn_N = low_N + below(bits_N, jnp.maximum(high_N - low_N + 1, 1))

    def draw(i: jax.Array, chosen_N: jax.Array) -> jax.Array:
        taken = jnp.any((chosen_N == drawn_N[i]) & (index_N < i))
        return jnp.where((index_N == i) & taken, high_N[i], chosen_N)

    return lax.fori_loop(1, bits_N.shape[0], draw, drawn_N)


def arrangement(bits_2xN: jax.Array, count: jax.Array, total: int) -> jax.Array:
    """`count` different values of 0 … total - 1 in random order: int32[N]; entries from `count` on are meaningless.

    Args:
      bits_2xN: uint32[2N], with count ≤ N.
      count: traced, at most `total`.
      total: static.
    """
    size = bits_2xN.shape[0] // 2
    high_N = total - count + jnp.arange(size, dtype=jnp.int32)
    chosen_N = distinct(bits_2xN[:size], jnp.zeros((size,), jnp.int32), high_N)
    return chosen_N[permutation(bits_2xN[size:], count, size) % size]


def slots(bits_S: jax.Array, kept: jax.Array, others: jax.Array, take: int) -> jax.Array:
    """Mix `kept` things and `others` in a row, keeping the order of each: int32[take], the slots of the kept things.

    All arrangements are equally likely. Entries from `kept` on are meaningless but lie in [0, S).
    """
    size = bits_S.shape[0]
    seen_S = jnp.cumsum(permutation(bits_S, kept + others, size) < kept, dtype=jnp.int32)
    slot_K = jnp.sum(seen_S[None, :] <= jnp.arange(take)[:, None], axis=1, dtype=jnp.int32)
    return jnp.minimum(slot_K, size - 1)


def choose_side(symbols: Part, pivot: jax.Array | int, held_out: jax.Array) -> jax.Array:
    """Rename two symbols so that a string lies on the wanted side of the hash, which minds their order: int32[K].

    The mate of a string is that of `_rename` for the symbol of entry `pivot`.
    """
    symbol_K, valid_K = symbols.tokens, jnp.arange(symbols.tokens.shape[0]) < symbols.count
    return _rename(symbol_K, symbol_K[pivot], lambda shared_K: hash_bit(shared_K, valid_K), held_out)


def choose_side_of_pairs(name_N: jax.Array, value_NxT: jax.Array, valid_NxT: jax.Array, held_out: jax.Array):
    """Rename two symbols of the values so that a *set* of pairs lies on the wanted side of the hash: int32[N, T].

    The order of the pairs doesn't matter. The mate of a set is that of `_rename` for the first symbol of the value
    under the smallest name.

    Args:
      name_N: a word for what a pair has apart from its value (its key); no two pairs share one. In [0, 2^32 - 1).
      value_NxT: symbols; of a value of one symbol T is 1.
      valid_NxT: which of them there are. A pair without a first symbol doesn't count.
      held_out: 0 (train's half) or 1.
    """
    name_N = name_N.astype(jnp.uint32)
    pivot = jnp.argmin(jnp.where(valid_NxT[:, 0], name_N, jnp.uint32(0xFFFFFFFF)))
    valid_NxW = jnp.pad(valid_NxT, ((0, 0), (1, 0)), constant_values=True)

    def side(shared_NxT: jax.Array) -> jax.Array:
        words_NxW = jnp.concatenate([name_N[:, None], shared_NxT.astype(jnp.uint32)], axis=1)
        return hash_bit(jax.vmap(digest)(words_NxW, valid_NxW), valid_NxT[:, 0], ordered=False)

    return _rename(value_NxT, value_NxT[pivot, 0], side, held_out)


def _rename(symbol_K: jax.Array, pivotal: jax.Array, side: Callable[[jax.Array], jax.Array], held_out: jax.Array):
    """The symbols, or those of the mate: whichever lies on the wanted side. Of any shape.

    Symbols come in couples (0, 1), (2, 3), …. Exchanging the `pivotal` one with its partner throughout gives the mate.
    This undoes itself, has no fixed point and keeps which entries are equal. `side`, a hash of what mates share, says
    which of them is trained on (held_out 0); the other one is held out.
    """
    mate_K = jnp.where(symbol_K // 2 == pivotal // 2, symbol_K ^ 1, symbol_K)
    odd = pivotal % 2 == 1
    shared_K = jnp.where(odd, mate_K, symbol_K)
    return jnp.where(side(shared_K) ^ (held_out > 0) ^ odd, mate_K, symbol_K)


def ask(context: Part, asked: Part, place_Q: jax.Array, length: int, factors: dict[str, jax.Array]) -> Example:
    """The context, then the questions, each answered at its own position by the context's entry at `place_Q`.

    Nothing is fed back. Read positions are the first and the last question.

    Args:
      context: symbols.
      asked: symbols, one a question.
      place_Q: int32[Q].
      length: padded length, static.
      factors: as in `Example`.
    """
    symbol_K = context.tokens
    position_L = jnp.arange(length, dtype=jnp.int32)
    query_L = jnp.clip(position_L - context.count, 0, place_Q.shape[0] - 1)
    inside_L = position_L < context.count
    asked_L = ~inside_L & (position_L < context.count + asked.count)
    written_L = jnp.where(inside_L, symbol_K[jnp.minimum(position_L, symbol_K.shape[0] - 1)], asked.tokens[query_L])
    return Example(
        tokens=jnp.where(inside_L | asked_L, 1 + written_L, PAD),
        targets=jnp.where(asked_L, 1 + symbol_K[place_Q][query_L], PAD),
        weights=asked_L.astype(jnp.float32),
        factors=factors,
        read=jnp.stack([context.count, context.count + asked.count - 1]),
    )


def average(baselines: Iterable[Baseline]) -> Baseline:
    """The mean over equally likely cases."""
    every = list(baselines)
    return Baseline(sum(b.exact for b in every) / len(every), sum(b.logprob for b in every) / len(every))


def uniform(answers: int, choices: int) -> Baseline:
    """Every one of `answers` tokens guessed among `choices`."""
    return Baseline(float(choices) ** -answers, -math.log(choices))


def expected_log(draws: int, share: float, total: int) -> float:
    """E log((1 + c) / total), where c is how many of `draws` others equal the answer, each with probability `share`."""
    nats = 0.0
    for c in range(draws + 1):
        ways = math.lgamma(draws + 1) - math.lgamma(c + 1) - math.lgamma(draws - c + 1)
        nats += math.exp(ways + c * math.log(share) + (draws - c) * math.log1p(-share)) * math.log((1 + c) / total)
    return nats


def hedged(share: float, choices: int) -> float:
    """Best mean log-probability of a guess that is right with probability `share`, when all other choices are alike."""
    parts = ((share, 1), (1 - share, choices - 1))
    return sum(part * math.log(part / among) for part, among in parts if part > 0)


def shuffled(count: int, symbols: int) -> Baseline:
    """Knowing which tokens are to be written but not in which order, for `count` uniform symbols.

    Exact: a random order of them is right for (product of the symbols' counts, factorials) of count! orders; over all
    strings that averages to the number of multisets over the number of strings. The log-probability is that of one
    token drawn from the string.
    """
    exact = math.comb(count + symbols - 1, count) / symbols**count
    return Baseline(exact, expected_log(count - 1, 1 / symbols, count))


def ends(count: int, symbols: int) -> Baseline:
    """Both ends right, what stands between them as in `shuffled`: of up to three tokens that is the whole answer."""
    between = count - 2
    if between < 2:
        return Baseline(1.0, 0.0)
    exact, nats = shuffled(between, symbols)
    return Baseline(exact, nats * between / count)
