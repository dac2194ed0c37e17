"""Teacherless training: the answer that is fed back is hidden, so that the whole of it is predicted at once.

With the right answer so far as input, a model may learn to continue it without ever finding where it leads (the Clever
Hans cheat of Bachmann & Nagarajan 2024, arXiv 2403.06963). Here, in a share of the examples, PAD stands in place of
every token that is fed back; no other model sees PAD before an answer. Scratchpads are part of the answer.

The teacher of the other examples is what a free-running answer needs: with a share below 1 both ways of reading can be
learned. `teacherless.answer` says which is evaluated: 0 feeds the model's own answers back, 1 hides them, so that both
the exact accuracy and the log-probability are those of one pass, every token the most likely one at its place.

The task path_star has `teacherless` among its own sizes: there nothing is fed back, in any example, whatever is done
here; it has a mask token of its own, and its baselines know of it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import DataSource, Extra, Knob, Knobs, Mechanism, StageSetup
from tasks.base import PAD, Task, fed_back
from tasks.mixture import Batch

SHARE = Knob(
    name="teacherless.share",
    about="share of training examples in which the answer tokens that would be fed back are hidden",
    source="Bachmann & Nagarajan 2024, arXiv 2403.06963",
)
ANSWER = Knob(
    name="teacherless.answer",
    integer=True,
    needs=(SHARE.name,),
    about="whether answers are evaluated in one pass, what would be fed back hidden (1), or feeding them back (0)",
    source=SHARE.source,
)


class Teacherless(Mechanism):
    """See the module's docstring."""

    name = "teacherless"
    knobs = (SHARE, ANSWER)
    active_at_inference = True

    def objection(self, setup: StageSetup) -> str:
        """Somewhere an answer must be fed back."""
        if any(feeds_back(task) for _, task in setup.mixture.tasks):
            return ""
        return (
            f"{SHARE.name}: no task ({setup.labels}) feeds answers back; add one that does, such as copy or path_star,"
            f" or leave it at {SHARE.neutral:g}."
        )

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Hide what is fed back, in the examples that chance picks."""

        def hide(batch: Batch) -> Batch:
            mixture, counts = source.context.mixture, dict(source.context.counts)
            rows = mixture.by_label(jnp.arange(batch.tokens.shape[0]), counts)
            feeds_B = jnp.concatenate([jnp.full(row.shape, feeds_back(mixture.task(n))) for n, row in rows.items()])
            picked_B = feeds_B & (jax.random.uniform(key, feeds_B.shape) < knobs[SHARE.name])
            fed_BxL = fed_back(batch.tokens, batch.targets, batch.weights)
            return batch._replace(tokens=hidden(batch.tokens, fed_BxL & picked_B[:, None]))

        return source.edited(hide)

    def shown(self, tokens_BxL: jax.Array, fed_BxL: jax.Array, knobs: Knobs) -> jax.Array:
        """Hide what is fed back in every example, where the knob asks for that evaluation."""
        return hidden(tokens_BxL, fed_BxL & (knobs[ANSWER.name] > 0) & (knobs[SHARE.name] > 0))


def feeds_back(task: Task) -> bool:
    """Whether a task's answers have several tokens of which each is the input after the one before."""
    return task.splits["train"].decode_steps > 1


def hidden(tokens_BxL: jax.Array, where_BxL: jax.Array) -> jax.Array:
    """The tokens, PAD where they are hidden."""
    return jnp.where(where_BxL, PAD, tokens_BxL)
