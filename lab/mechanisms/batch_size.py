"""A smaller batch, in the shapes of the whole one: the first examples of each label, repeated until it is full.

Whatever is a mean over examples (the loss, penalties, their gradients) is then that of the small batch, up to rounding,
and its gradient noise is the small batch's. A step costs what it cost. The examples are the first of those that the
whole batch has: cells that differ in the share are paired. Only what mechanisms draw for each example (dropout, noise)
differs between the copies of one.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lab.mechanisms.base import DataSource, Extra, Knob, Knobs, Mechanism, StageSetup
from lab.mechanisms.counted import Counted
from lab.values import exact
from tasks.mixture import Batch

SHARE = Knob(
    name="batch.share",
    low=2.0**-12,
    neutral=1.0,
    about="share of each label's examples that a step trains on; they are repeated to fill the batch, whose cost stays",
    source="McCandlish et al. 2018, arXiv 1812.06162",
)
WHOLE = 1e-6  # how far from a whole number share × examples may be, per example: room for shares such as 1/3


class BatchSize(Mechanism):
    """See the module's docstring."""

    name = "batch"
    knobs = (SHARE,)

    def objection(self, setup: StageSetup) -> str:
        """Every example kept must be there equally often, and a curriculum that learns needs them all.

        It would take the copies' losses for those of the examples they replaced.
        """
        share = setup.knobs[SHARE.name]
        if setup.knobs["curriculum.order"] == "progress":
            return f"{SHARE.name}: curriculum.order='progress' needs the loss of every example; leave the share at 1."
        for label, count in setup.examples.items():
            size = round(share * count)
            if size < 1 or count % size or abs(share * count - size) > WHOLE * count:
                valid = ", ".join(f"{n}/{count}" for n in range(1, count + 1) if count % n == 0)
                return (
                    f"{SHARE.name}={exact(share)}: of the {count} examples of '{label}' this must leave a whole number"
                    f" that divides {count}; valid are {valid}."
                )
        return ""

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Examples of each label that are kept."""
        return {SHARE.name: Counted.of_share("examples", setup.knobs[SHARE.name], *setup.examples.values(), least=1)}

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Put in place of example i of a label its example i modulo the number kept."""

        def kept(row_B: jax.Array) -> jax.Array:
            count = row_B.shape[0]
            size = jnp.maximum(jnp.round(knobs[SHARE.name] * count).astype(jnp.int32), 1)
            return row_B[jnp.arange(count, dtype=jnp.int32) % size]

        def repeated(batch: Batch) -> Batch:
            rows = source.context.mixture.by_label(jnp.arange(batch.tokens.shape[0]), dict(source.context.counts))
            from_B = jnp.concatenate([kept(row_B) for row_B in rows.values()])
            return Batch(*(leaf[from_B] for leaf in batch))

        return source.edited(repeated)
