"""What mixes tokens: softmax attention, or linear attention, which is a recurrence with a state of fixed size.

The state of a linear head holds K·K numbers and K for its divisor, K being the dimensions of its queries and keys:
`head_dim.active` cuts them, and so is the knob of the state's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lab.mechanisms.base import Knob, Mechanism
from lab.nn.model import MIXERS, ModelSpec

KIND = Knob(
    name="mixer.kind",
    neutral="softmax",
    choices=MIXERS,
    pinned=True,
    about="softmax attention, or the linear kind with features elu + 1, whose state head_dim.active sizes",
    source="Katharopoulos et al. 2020, arXiv 2006.16236; state size: Arora et al. 2024, arXiv 2402.18668",
)


class Mixer(Mechanism):
    """See the module's docstring."""

    name = "mixer"
    knobs = (KIND,)
    active_at_inference = True

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """The kind is part of the model's sizes."""
        return replace(spec, mixer=knobs[KIND.name])
