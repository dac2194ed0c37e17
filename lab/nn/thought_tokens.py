"""Vectors between question and answer: where they stand, and what may look at what.

A model may think before it answers: hidden vectors fed back as inputs, learned memories, pauses. They are put behind
the token that the first answer is read at, so that answer is read at the last of them. How many there are is traced;
room is kept for the most, at the end of the sequence, where nothing can look at what isn't used. Learned registers
stand in front of all tokens; those not used are hidden from attention.

Shape letters: B batch, L tokens, T places of the long sequence (registers, tokens, slots), S slots, D width.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lab.nn.layers import Hook, ModelSpec, View


def whole(number: Any) -> jax.Array:
    """A number as mechanisms are given it, float32 where it is traced, as int32[]."""
    return jnp.asarray(number, jnp.float32).astype(jnp.int32)


class Slots(NamedTuple):
    """A sequence with room for vectors, for one batch.

    Attributes:
      question: int32[B], the token at which the first answer is read.
      counts: (thoughts, memories, pauses, registers), numbers that may be traced.
      compressed: number, whether the question is seen through the memories alone by what comes after them.
      spec: the sizes.
      length: L.
    """

    question: jax.Array
    counts: tuple[Any, Any, Any, Any]
    compressed: Any
    spec: ModelSpec
    length: int

    @classmethod
    def of(cls, spec: ModelSpec, hook: Hook, question_B: jax.Array, length: int) -> Slots:
        """The sequence as the hooks of mechanisms have it; vectors without room are left out."""

        def count(hook_point: str, room: int) -> Any:
            return whole(hook(hook_point, 0, 0)) if room else 0

        thoughts, memories = count("thought_steps", spec.thoughts), count("memories", spec.memories)
        counts = (thoughts, memories, count("pauses", spec.pauses), count("registers", spec.registers))
        return cls(question_B, counts, count("compressed", spec.memories), spec, length)

    @property
    def used(self) -> Any:
        """Slots that are there."""
        return self.counts[0] + self.counts[1] + self.counts[2]

    def behind(self) -> tuple[jax.Array, jax.Array]:
        """int32[1, L + S] the places behind the registers, and int32[B, L + S] how far each is behind the question."""
        place_1xT = jnp.arange(self.length + self.spec.slots, dtype=jnp.int32)[None]
        return place_1xT, place_1xT - self.question[:, None] - 1

    def filled(self, tokens_BxLxD: jax.Array, memories_SxD: jax.Array, pause_D: jax.Array) -> jax.Array:
        """float32[B, L + S, D]: tokens and learned vectors in their places, zero where thoughts come."""
        place_1xT, behind_BxT = self.behind()
        thoughts, memories, _, _ = self.counts
        slot_BxT = (behind_BxT >= 0) & (behind_BxT < self.used)
        token_BxT = jnp.clip(jnp.where(behind_BxT < 0, place_1xT, place_1xT - self.used), 0, self.length - 1)
        table = jnp.concatenate([memories_SxD, pause_D[None], jnp.zeros_like(pause_D)[None]])
        most = memories_SxD.shape[0]
        memory_BxT = jnp.where(behind_BxT < thoughts + memories, jnp.clip(behind_BxT - thoughts, 0, most), most)
        entry_BxT = jnp.where(behind_BxT < thoughts, most + 1, memory_BxT)
        inserted = table[jnp.where(slot_BxT, entry_BxT, most + 1)]
        moved = jnp.take_along_axis(tokens_BxLxD, token_BxT[..., None], axis=1)
        return jnp.where(slot_BxT[..., None], inserted, moved)

    def thought_places(self) -> jax.Array:
        """int32[B, thoughts]: where thoughts stand in the long sequence, registers counted."""
        return self.spec.registers + self.question[:, None] + 1 + jnp.arange(self.spec.thoughts, dtype=jnp.int32)[None]

    def view(self) -> View:
        """Positions and what may look at what; registers have position 0 each and take none from the tokens."""
        spec = self.spec
        place_1xT, behind_BxT = self.behind()
        positions_BxT = jnp.broadcast_to(place_1xT, behind_BxT.shape)
        positions_BxT = jnp.pad(positions_BxT, ((0, 0), (spec.registers, 0)))
        total = positions_BxT.shape[1]
        causal_TxT = jnp.tril(jnp.ones((total, total), bool))
        number_T = jnp.arange(total)
        there_T = (number_T >= spec.registers) | (number_T < self.counts[3])
        # Every register sees itself, so that none is left without anything to look at.
        allowed = (causal_TxT & there_T[None, :]) | jnp.eye(total, dtype=bool)
        thoughts, memories, _, _ = self.counts
        behind_BxT = jnp.pad(behind_BxT, ((0, 0), (spec.registers, 0)), constant_values=-(2**30))
        question_BxT = (behind_BxT < thoughts) & (number_T >= spec.registers)[None]
        after_BxT = behind_BxT >= thoughts + memories
        hidden_BxTxT = after_BxT[:, :, None] & question_BxT[:, None, :] & (jnp.asarray(self.compressed, jnp.int32) > 0)
        return View(positions_BxT, (allowed[None] & ~hidden_BxTxT)[:, None])

    def back(self) -> jax.Array:
        """int32[B, L]: where each token is read in the long sequence; the question's last token at the last slot."""
        token_1xL = jnp.arange(self.length, dtype=jnp.int32)[None]
        moved = jnp.where(token_1xL >= self.question[:, None], token_1xL + self.used, token_1xL)
        return self.spec.registers + moved
