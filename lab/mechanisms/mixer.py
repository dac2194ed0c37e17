"""What mixes tokens: softmax attention, or a recurrence with a state of fixed size, linear or selective.

The state of a linear head holds K·K numbers and K for its divisor, K being the dimensions of its queries and keys:
`head_dim.active` cuts them, and so is the knob of the state's size. That of a selective head holds K·K numbers. It is a
state space whose decay depends on the token, with Mamba's short convolution, skip and gate: the block of Mamba-2 at the
model's own width, in place of attention alone; the feed-forward layer stays. Sequences are short here, so both are
computed for all pairs of tokens at once, which is the same function as the recurrence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lab.mechanisms.base import Knob, Mechanism, StageSetup
from lab.nn.model import MIXERS, ModelSpec

KIND = Knob(
    name="mixer.kind",
    neutral="softmax",
    choices=MIXERS,
    pinned=True,
    about="softmax attention; the linear kind with features elu + 1; or a selective state space as in Mamba-2;"
    " head_dim.active sizes the state of both",
    source="Katharopoulos et al. 2020, arXiv 2006.16236; state size: Arora et al. 2024, arXiv 2402.18668;"
    " selective: Gu & Dao 2023, arXiv 2312.00752; Dao & Gu 2024, arXiv 2405.21060",
)


class Mixer(Mechanism):
    """See the module's docstring."""

    name = "mixer"
    knobs = (KIND,)
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """Nothing may look past the memories."""
        if setup.knobs[KIND.name] == "selective" and setup.knobs["memory.tokens"] and setup.knobs["memory.compress"]:
            return (
                f"{KIND.name}='selective' sees the question past the memories by its convolution, which"
                " memory.compress=1 forbids; leave that at 0."
            )
        return ""

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """The kind is part of the model's sizes."""
        return replace(spec, mixer=knobs[KIND.name])
