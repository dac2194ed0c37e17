"""Learned vectors next to the tokens: pauses before the answer, memories of the question, registers in front.

Pauses and memories are put behind the token that the first answer is read at, so that it is read at the last of them:
each is a further place to compute in. Pauses are copies of one vector, memories have one each. With `memory.compress`
what comes after the memories can't look at the question but through them, and a pause is put behind them for the answer
to be read at: with one memory the question passes through one token. Registers stand in front of everything and see
nothing of it: places that attention may rest on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism
from lab.nn.model import ModelSpec

WHOLE = Knob(name="", high=256, integer=True, pinned=True, sizes=True)
PAUSES = replace(
    WHOLE,
    name="pause.tokens",
    about="copies of one learned vector between question and answer",
    source="Goyal et al. 2023, arXiv 2310.02226; filler tokens: Pfau et al. 2024, arXiv 2404.15758",
)
MEMORIES = replace(
    WHOLE,
    name="memory.tokens",
    about="learned vectors, each its own, between question and answer",
    source="Burtsev et al. 2020, arXiv 2006.11527",
)
COMPRESS = Knob(
    name="memory.compress",
    integer=True,
    pinned=True,
    needs=(MEMORIES.name,),
    about="1: answers see the question through the memory tokens alone, and are read at a pause behind them",
    source="gist tokens: Mu et al. 2023, arXiv 2304.08467",
)
REGISTERS = replace(
    WHOLE,
    name="registers.tokens",
    about="learned vectors in front of all tokens",
    source="Darcet et al. 2023, arXiv 2309.16588; attention sinks: Xiao et al. 2023, arXiv 2309.17453",
)


class Pause(Mechanism):
    """Copies of one vector."""

    name = "pause"
    knobs = (PAUSES,)
    hook_points = ("pauses",)
    active_at_inference = True

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the pauses."""
        return replace(spec, pauses=spec.pauses + knobs[PAUSES.name])

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """More pauses, as many as the knob says."""
        return x + knobs[PAUSES.name]


class Memory(Mechanism):
    """Vectors, each its own, which may be all that answers see of the question."""

    name = "memory"
    knobs = (MEMORIES, COMPRESS)
    hook_points = ("memories", "compressed", "pauses")
    active_at_inference = True

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the memories, and for the pause at which the answer is read where it sees nothing but memories."""
        return replace(spec, memories=knobs[MEMORIES.name], pauses=spec.pauses + int(knobs[COMPRESS.name] > 0))

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """The number of memories, whether answers see nothing else, and the pause that then comes after them."""
        compress = jnp.where(knobs[MEMORIES.name] > 0, knobs[COMPRESS.name], 0.0)
        return {"memories": knobs[MEMORIES.name], "compressed": compress, "pauses": x + compress}[hook_point]


class Registers(Mechanism):
    """Vectors in front."""

    name = "registers"
    knobs = (REGISTERS,)
    hook_points = ("registers",)
    active_at_inference = True

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the registers."""
        return replace(spec, registers=knobs[REGISTERS.name])

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """The number of registers."""
        return knobs[REGISTERS.name]
