"""Writing a question, its scratchpad and its answer into one padded example.

Parts have a static capacity and a traced count, so one compiled program serves every difficulty.

Shape letters: L tokens of one padded example, K capacity of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.base import PAD, PROCESS
from tasks.draw import in_memory, permutation

SCRATCHPADS = ("absent", "valid", "shuffled", "wrong")


class Part(NamedTuple):
    """A run of tokens.

    Attributes:
      tokens: int32[K]; entries from index `count` on are meaningless.
      count: int32[], how many of them are written, at most K.
    """

    tokens: jax.Array
    count: jax.Array


class Written(NamedTuple):
    """A question and its answer in their places.

    Attributes:
      tokens, targets, weights: as in `Example`, each [L].
      question: int32[], the question's last position: there the first token, of scratchpad or answer, is due.
      answer: int32[], the position where the first answer token is due.
      last: int32[], the position where the last answer token is due.
    """

    tokens: jax.Array
    targets: jax.Array
    weights: jax.Array
    question: jax.Array
    answer: jax.Array
    last: jax.Array


def part(tokens_K: jax.Array, count: jax.Array | int | None = None) -> Part:
    """A part of the first `count` tokens, all of them by default."""
    return Part(tokens_K, jnp.asarray(tokens_K.shape[0] if count is None else count, jnp.int32))


def join(parts: Sequence[Part], length: int) -> jax.Array:
    """The parts one after another, padded to `length` (static): int32[L]."""
    position_L = jnp.arange(length, dtype=jnp.int32)
    # One gather from all parts side by side: what each position reads, at first the PAD before them.
    source_L, start, offset = jnp.zeros((length,), jnp.int32), jnp.int32(0), 1
    for tokens_K, count in parts:
        here_L = position_L - start
        source_L = jnp.where((here_L >= 0) & (here_L < count), offset + here_L, source_L)
        start, offset = start + count, offset + tokens_K.shape[0]
    every = jnp.concatenate([jnp.full((1,), PAD, jnp.int32), *(tokens_K for tokens_K, _ in parts)])
    return in_memory(every)[source_L]


def write(length: int, question: Part, answer: Part, steps: Part | None = None) -> Written:
    """`question, steps, answer` as an autoregressive example whose answer is fed back.

    The question's last token predicts the first step (or the first answer token without steps), and so on; the last
    answer token is a target only and takes no place in the input, so question + steps + answer - 1 positions are used.
    Steps have weight PROCESS: they are trained on and written by the model when it answers, but not judged. Let the
    last step be a token that says 'now the answer', so that the model can tell both modes apart.
    """
    steps = part(jnp.zeros((1,), jnp.int32), 0) if steps is None else steps
    whole = in_memory(join((question, steps, answer), length + 1))
    position_L = jnp.arange(length, dtype=jnp.int32)
    first = question.count - 1
    judged = first + steps.count
    end = judged + answer.count
    supervised_L = (position_L >= first) & (position_L < end)
    return Written(
        tokens=jnp.where(position_L < end, whole[:-1], PAD),
        targets=jnp.where(supervised_L, whole[1:], PAD),
        weights=jnp.where(supervised_L, jnp.where(position_L < judged, PROCESS, 1.0), 0.0).astype(jnp.float32),
        question=first,
        answer=judged,
        last=end - 1,
    )


def scratchpad(kind: str, key: jax.Array, steps: Part, low: int, high: int) -> Part:
    """The steps as a scratchpad of `kind` (static, one of SCRATCHPADS but 'absent') shows them.

    'valid' leaves them, 'shuffled' puts them in random order, 'wrong' replaces each by a token drawn from [low, high).
    A final marker must not be among them: append it afterwards with `then`.
    """
    size = steps.tokens.shape[0]
    if kind == "shuffled":
        return Part(steps.tokens[permutation(jax.random.bits(key, (size,)), steps.count, size) % size], steps.count)
    if kind == "wrong":
        return Part(jax.random.randint(key, (size,), low, high, jnp.int32), steps.count)
    return steps


def then(steps: Part, token: int) -> Part:
    """The steps with one more token after them."""
    return Part(join((steps, part(jnp.full((1,), token, jnp.int32))), steps.tokens.shape[0] + 1), steps.count + 1)


def present(steps: Part, wanted: jax.Array) -> Part:
    """The steps where `wanted` bool[], nothing otherwise."""
    return Part(steps.tokens, jnp.where(wanted, steps.count, 0))
