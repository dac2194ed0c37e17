"""What questions with one answer at their end share: markers, an optional scratchpad, exact halves of small spaces.

Shape letters: L tokens of one padded example, K capacity of a part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tasks.base import require_choice, require_range
from tasks.draw import digest
from tasks.sequence import SCRATCHPADS, Part, Written, present, scratchpad, write

READ_NAMES = ("answer", "question")  # where the first answer token is due; the question's last position


class Markers(NamedTuple):
    """Token ids that end a question (`think`: a scratchpad follows; `answer`: none does) or a scratchpad (`answer`)."""

    think: int
    answer: int


def extent(question: int, steps: int, answer: int, share: float) -> dict[str, Any]:
    """`length`, `answer_tokens` and `decode_steps` of a split whose examples have a scratchpad with chance `share`.

    Args:
      question: the largest number of its tokens, marker included.
      steps: of a scratchpad's, marker excluded.
      answer: of the answer's.
      share: 0 if nothing is to be padded for scratchpads.
    """
    written = answer + (steps + 1 if share > 0 else 0)
    return {"length": question + written - 1, "answer_tokens": written, "decode_steps": written}


def ask(
    length: int,
    kind: str,
    key: jax.Array,
    question: Part,
    steps: Part,
    answer: Part,
    wanted: jax.Array,
    markers: Markers,
    step_ids: tuple[int, int],
) -> Written:
    """`question marker [steps marker] answer`, as `tasks.sequence.write` does.

    Args:
      length: padded length, static.
      kind: one of SCRATCHPADS, static. 'absent' costs nothing.
      key: for a scratchpad that is shuffled or wrong.
      question, steps, answer: without markers.
      wanted: bool[], whether this example has its scratchpad.
      markers: their token ids.
      step_ids: the first token id that a wrong step may have, and the one after the last.
    """
    if kind == "absent":
        return write(length, append(question, markers.answer), answer)
    shown = append(scratchpad(kind, key, steps, *step_ids), markers.answer)
    marker = jnp.where(wanted, markers.think, markers.answer).astype(jnp.int32)
    return write(length, append(question, marker), answer, present(shown, wanted))


def append(part: Part, token: jax.Array | int) -> Part:
    """The part with one more token, which may be traced, after it."""
    tokens = jnp.pad(part.tokens, (0, 1))
    index = jnp.arange(tokens.shape[0], dtype=jnp.int32)
    return Part(jnp.where(index == part.count, jnp.asarray(token, jnp.int32), tokens), part.count + 1)


def require_scratchpad(task: Any) -> None:
    """Check the fields `scratchpad` and `scratchpad_share`."""
    require_choice(task, "scratchpad", SCRATCHPADS)
    require_range(task, "scratchpad_share", 0.0, 1.0)


def uniform(bits: jax.Array, low: jax.Array | int, high: jax.Array | int) -> jax.Array:
    """A uniform int32[] in low … high, both included and traced, from uint32[] bits. `low` if `high` is below it."""
    low, high = jnp.asarray(low, jnp.int32), jnp.asarray(high, jnp.int32)
    count = jnp.maximum(high - low + 1, 1).astype(jnp.uint32)
    return low + (bits % count).astype(jnp.int32)


def unit(bits: jax.Array) -> jax.Array:
    """float32 in [0, 1) from uint32 bits of any shape."""
    return (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


def on_side(shared: jax.Array, mate_N: jax.Array, size: jax.Array, held_out: jax.Array) -> jax.Array:
    """Which mates, as in `mate`, are on the wanted side of the partition: bool[N].

    Args:
      shared: uint32[], the hash of what the mates share.
      mate_N: int32[N], in [0, size); several may be the same.
      size: int32[].
      held_out: bool[].
    """
    size = size.astype(jnp.uint32)
    rank_N = (mate_N.astype(jnp.uint32) + size - shared % size) % size
    return (rank_N < (size + jnp.uint32(1)) // jnp.uint32(2)) ^ held_out


def mate(
    words_N: jax.Array, valid_N: jax.Array, size: jax.Array | int, bits: jax.Array, held_out: jax.Array
) -> jax.Array:
    """Which of `size` mates (at least two) an example is: int32[] in [0, size), uniform on its side of the partition.

    Instances are mates if they share everything but one symbol, which has `size` values. A hash of what they share
    rotates the values; the first half of them (rounded up) is trained on, the others are held out: exact for spaces of
    any size, and without rejection.

    Args:
      words_N: int32[N], what the mates share. Their order matters.
      valid_N: bool[N], which of them count.
      size: may be traced.
      bits: uint32[], uniform.
      held_out: bool[], whether the example is of the part that training never sees.
    """
    size = jnp.asarray(size, jnp.uint32)
    trained = (size + jnp.uint32(1)) // jnp.uint32(2)
    rank = jnp.where(held_out, trained + bits % (size - trained), bits % trained)
    return ((digest(words_N, valid_N) % size + rank) % size).astype(jnp.int32)
