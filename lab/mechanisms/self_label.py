"""A self-labelled stage: the model's own answers in place of the right ones, with and without a checker.

In a share of a step's examples a teacher answers the question as in an evaluation, feeding its answers back where the
task does so, scratchpad included; what it says is the target, and what stands in the input where answers are fed back.
The teacher is the model itself as it was when the stage started, so a stage is one round of self-training. With
`self_label.generation` it is replaced by the model as it is after so many steps, again and again: at 1 the model labels
for itself at every step.

A checker is an anchor outside the model: only answers that the task's own score calls right are trained on. The loss of
the others is taken out of the step, which then is a mean over fewer examples' losses divided by the number of all: a
teacher that is never right teaches nothing. Other penalties still see them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lab.mechanisms.base import (
    NEVER,
    Context,
    DataSource,
    Knob,
    Knobs,
    Mechanism,
    Params,
    StageSetup,
    StepView,
    Update,
)
from lab.nn.answer import answer
from lab.nn.loss import answer_logprob
from lab.nn.model import Forward
from lab.prng import derive_key
from tasks.base import NO_ANSWER, Example, fed_back
from tasks.mixture import Batch

SHARE = Knob(
    name="self_label.share",
    stage="last",
    about="share of the training examples whose answers are the model's own, not the right ones",
    source="Zelikman et al. 2022, arXiv 2203.14465; Shumailov et al. 2023, arXiv 2305.17493",
)
CHECKER = Knob(
    name="self_label.checker",
    stage="last",
    integer=True,
    needs=(SHARE.name,),
    about="1: of its own answers only the right ones are trained on, by the task's score; 0: all of them",
    source="Zelikman et al. 2022, arXiv 2203.14465",
)
TEMPERATURE = Knob(
    name="self_label.temperature",
    high=10.0,
    stage="last",
    needs=(SHARE.name,),
    about="temperature at which the model's own answers are drawn; 0 takes the most likely token",
    source="Shumailov et al. 2023, arXiv 2305.17493",
)
GENERATION = Knob(
    name="self_label.generation",
    low=1,
    high=NEVER,
    neutral=NEVER,
    stage="last",
    integer=True,
    needs=(SHARE.name,),
    about="steps after which the model that answers is replaced by the model as it is then",
    source="Shumailov et al. 2023, arXiv 2305.17493",
)


class Teacher(NamedTuple):
    """Who answers.

    Attributes:
      params: its parameters.
      since: int32[], the step at which the stage started.
    """

    params: Params
    since: jax.Array


class SelfLabel(Mechanism):
    """See the module's docstring."""

    name = "self_label"
    knobs = (SHARE, CHECKER, TEMPERATURE, GENERATION)

    def objection(self, setup: StageSetup) -> str:
        """The copies of an example must stay copies."""
        if setup.knobs["batch.share"] != 1:
            return f"{SHARE.name}: batch.share repeats examples, which would be answered apart; leave it at 1."
        return ""

    def init(self, params: Params, context: Context) -> Teacher:
        """The model as it is."""
        return Teacher(params, jnp.int32(0))

    def on_stage_start(self, params: Params, extra: Teacher, knobs: Knobs, view: StepView) -> Teacher:
        """The model as the stage starts."""
        return Teacher(params, view.step)

    def widened(self, extra: Teacher, with_room: Callable[[Params], Params]) -> Teacher:
        """The teacher is run in the model's own sizes."""
        return extra._replace(params=with_room(extra.params))

    def after_update(self, params: Params, extra: Teacher, knobs: Knobs, update: Update) -> Teacher:
        """The model as it is, at the end of a generation."""
        trained = update.step + 1 - extra.since
        ends = trained % knobs[GENERATION.name].astype(jnp.int32) == 0
        return extra._replace(params=jax.tree.map(lambda new, old: jnp.where(ends, new, old), params, extra.params))

    def transform_data(self, source: DataSource, extra: Teacher, knobs: Knobs, key: jax.Array) -> DataSource:
        """Answer the examples that chance picks."""

        def answered(batch: Batch) -> Batch:
            picks, draws = jax.random.split(key)
            picked_B = jax.random.uniform(picks, batch.tokens.shape[:1]) < knobs[SHARE.name]
            own_BxL, right_B, fed_BxL = own_answers(source, batch, extra.params, knobs[TEMPERATURE.name], draws)
            asked_BxL = picked_B[:, None] & (batch.weights > 0)
            fed_BxL = picked_B[:, None] & fed_BxL
            wrong_B = picked_B & ~right_B & (knobs[CHECKER.name] > 0)
            return batch._replace(
                tokens=jnp.where(fed_BxL, jnp.roll(own_BxL, 1, axis=1), batch.tokens),
                targets=jnp.where(asked_BxL, own_BxL, batch.targets),
                weights=jnp.where(wrong_B[:, None], 0.0, batch.weights),
            )

        return source.edited(answered)

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array:
        """Takes out the loss of examples that the checker refuses, those without a weight."""
        refused_B = ~jnp.any(view.batch.weights > 0, axis=1)
        return jnp.mean(jnp.where(refused_B, answer_logprob(forward.logits, view.batch), 0.0))


def own_answers(
    source: DataSource, batch: Batch, params: Params, temperature: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A model's answers to a batch.

    Args:
      source: of the batch.
      batch: with the right answers.
      params: the model's.
      temperature: float32[], of the draw.
      key: of the draw.

    Returns:
      int32[B, L] the tokens answered, NO_ANSWER where nothing is asked; bool[B] whether the task calls them right;
      bool[B, L] where a token stands that was the answer one place earlier.
    """
    context, mixture = source.context, source.context.mixture
    rows = mixture.by_label(jnp.arange(batch.tokens.shape[0]), dict(context.counts))
    passes = {label: mixture.task(label).splits["train"].decode_steps for label in rows}
    own_BxL = jnp.full_like(batch.tokens, NO_ANSWER)
    for count in sorted(set(passes.values())):
        row_N = jnp.concatenate([rows[label] for label in rows if passes[label] == count])
        given = (batch.tokens[row_N], batch.targets[row_N], batch.weights[row_N])
        shape = (*given[0].shape, context.spec.vocab_size)
        # The largest of logits plus temperature × Gumbel noise is a draw from the softmax at that temperature.
        noise = temperature * jax.random.gumbel(jax.random.fold_in(key, count), shape)
        pick = lambda logits, noise=noise: jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)  # noqa: E731
        found, _ = answer(params, context.spec, *given, count, source.hook, source.shown, pick)
        own_BxL = own_BxL.at[row_N].set(found)
    worlds = mixture.worlds(derive_key(source.seed, "world"))  # read by tasks that are judged with theirs alone
    right, feeds = [], []
    for label, row_N in rows.items():
        read = jnp.zeros((row_N.shape[0], 1), jnp.int32)  # no task's score looks at what probes read
        example = Example(batch.tokens[row_N], batch.targets[row_N], batch.weights[row_N], {}, read)
        judge = lambda e, a, label=label: mixture.score(label, e, a, worlds[label])  # noqa: E731
        right.append(jax.vmap(judge)(example, own_BxL[row_N]))
        feeds.append(jnp.full(row_N.shape, passes[label] > 1))
    fed_BxL = fed_back(batch.tokens, batch.targets, batch.weights) & jnp.concatenate(feeds)[:, None]
    return own_BxL, jnp.concatenate(right), fed_BxL
