"""Looped depth: the same blocks gone through several times, the embedding put in again before each further turn.

Layers are shared between turns, so a block of two layers looped four times computes as much as eight layers with the
parameters of two. Hidden states are those of the last turn. Mechanisms draw (dropout, noise) once a layer, the same for
every turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax

from lab.mechanisms.base import Knob, Knobs, Mechanism
from lab.nn.model import ModelSpec

SOURCE = "Dehghani et al. 2019, arXiv 1807.03819; Saunshi et al. 2025, arXiv 2502.17416"
TURNS = Knob(
    name="loop.turns",
    low=1,
    high=64,
    neutral=1,
    integer=True,
    pinned=True,
    sizes=True,
    about="how often the stack of blocks is gone through, with the same weights",
    source=SOURCE,
)
INJECTION = Knob(
    name="loop.injection",
    neutral=1.0,
    needs=(TURNS.name,),
    about="how much of the embedding is added to the stream before each further turn",
    source="Yang et al. 2024, arXiv 2311.12424",
)


class Looped(Mechanism):
    """See the module's docstring."""

    name = "loop"
    knobs = (TURNS, INJECTION)
    hook_points = ("turns", "injection")
    active_at_inference = True

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """Room for the turns."""
        return replace(spec, turns=knobs[TURNS.name])

    def hook(self, hook_point: str, layer: int, x: Any, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """How many turns, and how much of the embedding each further one gets."""
        return knobs[f"loop.{hook_point}"]
