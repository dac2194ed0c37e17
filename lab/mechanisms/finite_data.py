"""Finite training data: after some batches the same ones come again.

The lab draws new examples at every step, so that nothing can be learned by heart and every loss is that of unseen
examples. What regularizers, dropout or renaming are usually credited with, a smaller gap between seen and unseen
examples, shows only where examples come again. Draws that aren't of the examples (dropout, noise, which symbols are
renamed) are new at every step all the same.
"""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from lab.mechanisms.base import NEVER, DataSource, Extra, Knob, Knobs, Mechanism, StageSetup

BATCHES = Knob(
    name="data.batches",
    low=1,
    high=NEVER,
    neutral=NEVER,
    integer=True,
    about="batches after which the same ones come again, in their order: the size of the training data",
    source="Nakkiran et al. 2021, arXiv 2010.08127",
)


class FiniteData(Mechanism):
    """See the module's docstring."""

    name = "data"
    knobs = (BATCHES,)

    def objection(self, setup: StageSetup) -> str:
        """Examples that come again at another difficulty are other examples."""
        if setup.knobs["curriculum.order"] == "fixed":
            return ""
        return f"{BATCHES.name}: a curriculum makes other examples of a batch that comes again; set one or the other."

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Draw the examples of the step at which this batch was seen first."""
        return replace(source, drawn_at=source.drawn_at % knobs[BATCHES.name].astype(jnp.int32))
