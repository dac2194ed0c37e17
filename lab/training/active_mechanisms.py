"""The mechanisms of a program at one step of one cell, called in their order.

Shape letters: B examples of a batch, L tokens, A answer positions, D width, V vocabulary.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms import EVERY
from lab.mechanisms.base import Context, DataSource, Extra, Knobs, Mechanism, Params, StepView, UpdateRule
from lab.nn import model
from lab.nn.loss import over_answers
from lab.nn.model import Forward, Hook, ModelSpec
from lab.prng import derive_key
from tasks.mixture import Batch


@dataclass(frozen=True)
class ActiveMechanisms:
    """Iterating gives (name, mechanism, its knobs in force at this step).

    Attributes:
      members: (name, knobs in force).
      key: of this step, shared by all mechanisms; each folds its own name in. None during evaluation and measurement.
    """

    members: tuple[tuple[str, Knobs], ...]
    key: jax.Array | None

    @classmethod
    def reading(cls, names: tuple[str, ...], knobs: Knobs, trained: jax.Array) -> ActiveMechanisms:
        """The mechanisms of a model that is evaluated or measured after `trained` steps: as at the last of them."""
        return cls(tuple((n, EVERY[n].at(knobs, trained - 1)) for n in names), None)

    @classmethod
    def of(cls, names: tuple[str, ...], knobs: Knobs, seed: jax.Array, step: jax.Array) -> ActiveMechanisms:
        """The mechanisms of those names at absolute `step`."""
        return cls(tuple((n, EVERY[n].at(knobs, step)) for n in names), derive_key(seed, "mechanism", step))

    def __iter__(self) -> Iterator[tuple[str, Mechanism, Knobs]]:
        return ((name, EVERY[name], now) for name, now in self.members)

    def data_source(self, context: Context, extra: dict[str, Extra], seed: jax.Array, step: jax.Array) -> DataSource:
        """Where the batch of absolute `step` comes from, given what mechanisms keep."""
        itself = replace(self, key=None)
        source = DataSource(context, seed, step, drawn_at=step, hook=itself.hook, shown=itself.shown)
        for name, mechanism, now in self:
            source = mechanism.transform_data(source, extra[name], now, self.key_of(name))
        return source

    def update_rule(self, direction: Params, params: Params, extra: dict[str, Extra], step: jax.Array) -> UpdateRule:
        """How absolute `step` updates the parameters, given the optimizer's direction."""
        rule = UpdateRule(direction, schedule_step=step, rate_scale=jnp.float32(1))
        for name, mechanism, now in self:
            rule = mechanism.transform_update(rule, params, extra[name], now, step)
        return rule

    def hook(self, hook_point: str, layer: int, x: jax.Array) -> jax.Array:
        """The activations at a hook point after all mechanisms, see `lab.nn.model.HOOK_POINTS`."""
        for name, mechanism, now in self:
            if hook_point in mechanism.hook_points and (self.key is not None or mechanism.active_at_inference):
                key = None if self.key is None else _key(self.key, f"{name} {hook_point} {layer}")
                x = mechanism.hook(hook_point, layer, x, now, key)
        return x

    def shown(self, tokens_BxL: jax.Array, fed_BxL: jax.Array) -> jax.Array:
        """The tokens that a model is given during evaluation and measurement, see `Mechanism.shown`."""
        for _, mechanism, now in self:
            tokens_BxL = mechanism.shown(tokens_BxL, fed_BxL, now)
        return tokens_BxL

    def with_extra_gradients(
        self, gradient: Params, params: Params, batch: Batch, spec: ModelSpec, step: jax.Array
    ) -> Params:
        """The gradient with what mechanisms add to it."""
        found = [
            mechanism.extra_gradient(params, self.view(name, batch, spec, step), now) for name, mechanism, now in self
        ]
        extras = [extra for extra in found if extra is not None]
        if not extras:
            return gradient

        def added(_: jax.Array, gradient: Params) -> Params:
            return jax.tree.map(lambda g, *extras: sum(extras, g), gradient, *extras)

        # A loop of one turn, whose length XLA can't see. Without it XLA fuses the sum with the optimizer's arithmetic,
        # which then rounds differently even where nothing is added (on a CPU, XLA drops optimization barriers before it
        # fuses).
        return lax.fori_loop(step, step + 1, added, gradient)

    def penalized(self, loss: jax.Array, forward: Forward, batch: Batch, spec: ModelSpec, step: jax.Array) -> jax.Array:
        """The loss with every penalty added: float32[]."""
        for name, mechanism, now in self:
            penalty = mechanism.penalty(forward, self.view(name, batch, spec, step), now)
            for added in (penalty, _of_answers(mechanism, now, forward.logits, batch)):
                loss = loss if added is None else loss + added
        return loss

    def key_of(self, name: str) -> jax.Array:
        """A mechanism's own key of this step."""
        assert self.key is not None, "nothing is drawn during evaluation and measurement"
        return _key(self.key, name)

    def view(self, name: str, batch: Batch, spec: ModelSpec, step: jax.Array, before: Hook | None = None) -> StepView:
        """This step as a mechanism sees it; further passes have the hook `before`, or the training one's."""

        def forward(params: Params, after: Hook) -> Forward:
            def hook(hook_point: str, layer: int, x: jax.Array) -> jax.Array:
                return after(hook_point, layer, (before or self.hook)(hook_point, layer, x))

            return model.run(params, batch.tokens, spec, batch.answers, hook, batch.question)

        return StepView(batch, self.key_of(name), step, forward)


def at_inference(names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of some mechanisms are part of the model during evaluation and measurement, too."""
    return tuple(name for name in names if EVERY[name].active_at_inference)


def _of_answers(mechanism: Mechanism, now: Knobs, logits_BxAxV: jax.Array, batch: Batch) -> Any:
    """The mean over examples of what a mechanism adds to the loss of their answer tokens, or None."""
    targets_BxA = jnp.take_along_axis(batch.targets, batch.answers, axis=1)
    added_BxA = mechanism.answer_penalty(jax.nn.log_softmax(logits_BxAxV), targets_BxA, now)
    return None if added_BxA is None else jnp.mean(over_answers(added_BxA, batch))


def _key(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
