"""The training step and loop, for one cell. Nothing here knows that there is a grid.

Every draw has a key of its own, made from the cell's seed, a purpose and the absolute step, never from a carried key.
Cells that differ only in a knob therefore see the same initial weights, worlds and batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms import EVERY
from lab.mechanisms.base import Context, Extra, Knobs, Params, Update
from lab.mechanisms.knobs import LEARNING_RATE
from lab.nn import model
from lab.nn.loss import answer_logprob, task_loss
from lab.nn.optimizers import OPTIMIZERS
from lab.prng import derive_key
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.mixture import Batch, Mixture

SCHEDULES = ("constant", "cosine", "wsd")
DECAY_SHARE = 0.2  # of the total steps, at the end of a 'wsd' schedule


class State(NamedTuple):
    """What one cell carries from step to step.

    Attributes:
      params: the model's parameters.
      moments: optax's state of the optimizer.
      extra: mechanism name -> what the mechanism keeps.
    """

    params: Params
    moments: Any
    extra: dict[str, Extra]


@dataclass(frozen=True)
class Schedule:
    """Learning-rate multiplier as a function of the absolute step.

    Attributes:
      name: 'constant', 'cosine' (down to zero at `total`) or 'wsd' (warm-up, stable, then linearly to zero over the
        last DECAY_SHARE of `total`: arXiv 2404.06395).
      warmup: steps of linear warm-up.
      total: the study's steps over all stages; a constant rate doesn't read it.
      start: the absolute step at which a schedule started again, from which it counts; 0 for the study's own.
    """

    name: str = "constant"
    warmup: int = 100
    total: int = 0
    start: int = 0

    def __call__(self, step: jax.Array) -> jax.Array:
        """float32[] for int32[] step."""
        step = (step - self.start).astype(jnp.float32)
        scale = jnp.minimum(1.0, (step + 1.0) / max(self.warmup, 1))
        left = jnp.clip(1.0 - step / max(self.total, 1), 0.0, 1.0)  # share of all steps still to come
        if self.name == "cosine":
            return scale * 0.5 * (1.0 - jnp.cos(jnp.pi * left))
        if self.name == "wsd":
            return scale * jnp.minimum(1.0, left / DECAY_SHARE)
        return scale


@dataclass(frozen=True)
class Program:
    """Everything static about a compiled training program.

    Attributes:
      spec: the model's sizes.
      mixture: the tasks, and their order in the vocabulary.
      counts: (label, examples a step) for each task.
      length: padded length of a training batch.
      schedule: the learning-rate multiplier.
      mechanisms: names compiled in.
      starting: those of them that start to act at this stage.
      static: (knob, value) of the static knobs.
      call_steps: steps of one call: the length of the inner scan.
      opening: steps of the study's first stage.
      optimizer: one of lab.nn.optimizers.
    """

    spec: model.ModelSpec
    mixture: Mixture
    counts: tuple[tuple[str, int], ...]
    length: int
    schedule: Schedule
    mechanisms: tuple[str, ...] = ()
    starting: tuple[str, ...] = ()
    static: tuple[tuple[str, Any], ...] = ()
    call_steps: int = 50
    opening: int = 0
    optimizer: str = "adamw"

    @property
    def context(self) -> Context:
        """The part of it that mechanisms see."""
        return Context(self.mixture, self.counts, self.opening, self.spec, self.static)


def init(program: Program, seed: jax.Array) -> State:
    """The state of a cell before its first step; `begin` adds what mechanisms keep."""
    params = model.init(derive_key(seed, "init"), program.spec)
    return State(params, OPTIMIZERS[program.optimizer].init(params), {})


def with_room(program: Program, state: State, knobs: Knobs, seed: jax.Array, step: jax.Array) -> State:
    """A cell's state in a model with more room: what the room adds is as it was drawn before the first step.

    The room comes behind what is there, along every axis. Mechanisms act on it as after any update: dimensions that are
    cut away stay so.
    """
    drawn = model.init(derive_key(seed, "init"), program.spec)

    def roomy(params: Params) -> Params:
        there = dict(jax.tree_util.tree_leaves_with_path(params))

        def filled(path: tuple[Any, ...], fresh: jax.Array) -> jax.Array:
            old = there.get(path)
            return fresh if old is None else fresh.at[tuple(slice(size) for size in old.shape)].set(old)

        return jax.tree_util.tree_map_with_path(filled, drawn)

    params, extra = roomy(state.params), dict(state.extra)
    there = tuple(name for name in program.mechanisms if name in extra)
    for name, mechanism, now in ActiveMechanisms.of(there, {**knobs, **dict(program.static)}, seed, step):
        extra[name] = mechanism.widened(extra[name], roomy)
        params = mechanism.project(params, extra[name], now)
    return State(params, state.moments, extra)


def begin(program: Program, state: State, knobs: Knobs, seed: jax.Array, step: jax.Array) -> State:
    """Start a stage at absolute `step`: mechanisms compiled in for the first time set up, those that start here act.

    What they choose, they choose from the parameters as they are and from the batch that `step` will train on, at the
    difficulty of the `train` split.
    """
    knobs = {**knobs, **dict(program.static)}
    params, extra = state.params, dict(state.extra)
    for name in program.mechanisms:
        if name not in extra:
            extra[name] = EVERY[name].init(params, program.context)
    active = ActiveMechanisms.of(program.mechanisms, knobs, seed, step)
    source = replace(active.data_source(program.context, extra, seed, step), levels={})
    batch = source.batch(program.mixture.worlds(derive_key(seed, "world")), program.length)
    starting = ActiveMechanisms.of(program.starting, knobs, seed, step)
    model_itself = ActiveMechanisms.reading(program.mechanisms, knobs, step + 1).hook
    for name, mechanism, now in starting:
        view = starting.view(name, batch, program.spec, step, before=model_itself)
        extra[name] = mechanism.on_stage_start(params, extra[name], now, view)
        params = mechanism.project(params, extra[name], now)
    return State(params, state.moments, extra)


def rewound(program: Program, state: State, early: Params, knobs: Knobs, seed: jax.Array, step: jax.Array) -> State:
    """A cell's state at absolute `step` with early weights in place of its own, and fresh moments.

    What mechanisms keep stays, and acts on the early weights as after any update: masks that were chosen later hold.
    Weight rewinding: Frankle et al. 2020, arXiv 1912.05671; Renda et al. 2020, arXiv 2003.02389. Moments start at zero,
    for early checkpoints keep parameters only.
    """
    params = early
    for name, mechanism, now in ActiveMechanisms.of(program.mechanisms, {**knobs, **dict(program.static)}, seed, step):
        params = mechanism.project(params, state.extra[name], now)
    return State(params, OPTIMIZERS[program.optimizer].init(params), state.extra)


def train_step(
    program: Program, worlds: Any, seed: jax.Array, knobs: Knobs, state: State, step: jax.Array
) -> tuple[State, jax.Array]:
    """One update at absolute `step`, its batch included. Returns the new state and the task's loss float32[]."""
    active = ActiveMechanisms.of(program.mechanisms, knobs, seed, step)
    source = active.data_source(program.context, state.extra, seed, step)
    batch = source.batch(worlds, program.length)

    def objective(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        forward = model.run(params, batch.tokens, program.spec, batch.answers, active.hook, batch.question)
        loss = task_loss(forward.logits, batch)
        return active.penalized(loss, forward, batch, program.spec, step), (loss, forward.logits)

    (_, (loss, logits_BxAxV)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    for _, mechanism, now in active:
        if mechanism.second_gradient:
            # In a loop of one turn, see `ActiveMechanisms.with_extra_gradients`: apart from the pass that follows.
            move = lambda _, p, m=mechanism, g=gradient, k=now: m.perturbed_params(p, g, k)  # noqa: E731
            perturbed = lax.fori_loop(step, step + 1, move, state.params)
            gradient, _ = jax.grad(objective, has_aux=True)(perturbed)
    gradient = active.with_extra_gradients(gradient, state.params, batch, program.spec, step)
    losses = losses_of(program, batch, logits_BxAxV) if source.levels else {}
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power; our own code is strict
        direction, moments = OPTIMIZERS[program.optimizer].update(gradient, state.moments, state.params)
    rule = active.update_rule(direction, state.params, state.extra, step)
    # A schedule that started again is not turned back.
    schedule_step = step if program.schedule.start else rule.schedule_step
    rate = knobs[LEARNING_RATE.name] * program.schedule(schedule_step) * rule.rate_scale
    params, extra = jax.tree.map(lambda p, d: p - rate * d, state.params, rule.direction), dict(state.extra)
    for name, mechanism, now in active:
        update = Update(gradient, active.key_of(name), step, rate, source.levels, losses)
        extra[name] = mechanism.after_update(params, extra[name], now, update)
        params = mechanism.project(params, extra[name], now)
    return State(params, moments, extra), loss


def call_losses(program: Program, start: jax.Array, seed: jax.Array, knobs: Knobs, state: State) -> jax.Array:
    """The task's losses on the batches of `program.call_steps` steps from absolute step `start`; nothing is learned."""
    knobs = {**knobs, **dict(program.static)}
    worlds = program.mixture.worlds(derive_key(seed, "world"))

    def loss(step: jax.Array) -> jax.Array:
        active = ActiveMechanisms.of(program.mechanisms, knobs, seed, step)
        batch = active.data_source(program.context, state.extra, seed, step).batch(worlds, program.length)
        forward = model.run(state.params, batch.tokens, program.spec, batch.answers, active.hook, batch.question)
        return task_loss(forward.logits, batch)

    return lax.map(loss, start + jnp.arange(program.call_steps, dtype=jnp.int32))


def losses_of(program: Program, batch: Batch, logits_BxAxV: jax.Array) -> dict[str, jax.Array]:
    """The loss of each example of a batch: label -> float32[B]."""
    # The barrier keeps the loss itself compiled as it is in programs that need no single examples.
    losses_B = -answer_logprob(lax.optimization_barrier(logits_BxAxV), batch)
    return program.mixture.by_label(losses_B, dict(program.counts))


def train_call(
    program: Program, start: jax.Array, seed: jax.Array, knobs: Knobs, state: State
) -> tuple[State, jax.Array]:
    """`program.call_steps` updates from absolute step `start`: one scan, the data made inside.

    Returns:
      the state after the last step, and the losses float32[call_steps].
    """
    knobs = {**knobs, **dict(program.static)}
    worlds = program.mixture.worlds(derive_key(seed, "world"))
    steps = start + jnp.arange(program.call_steps, dtype=jnp.int32)
    return lax.scan(lambda carry, step: train_step(program, worlds, seed, knobs, carry, step), state, steps)
