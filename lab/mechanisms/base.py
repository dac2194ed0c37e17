"""What a mechanism is: its knobs and its pure functions, written for one cell.

The engine calls the functions below at fixed places of the training step and knows nothing else of a mechanism. Each
takes and returns pytrees of one cell; none may mention the grid. A mechanism begins once: its static knobs act from the
stage of its traced ones. At its neutral setting it must leave every number bitwise as it was: a test compares with a
program compiled without it.

Shape letters: B examples of a training batch (of one label where a label is given), L tokens, A answer positions, D
width, M neurons, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lab.nn.model import Forward, Hook, ModelSpec
from tasks.mixture import Batch, Mixture

Params = Any  # a pytree of arrays: one cell's parameters
Extra = Any  # a pytree of arrays: what a mechanism keeps beside the parameters (a mask, say); () if nothing
Knobs = dict[str, Any]  # knob name -> traced scalar (static knobs: the plain value)


@dataclass(frozen=True)
class Knob:
    """One setting of a mechanism.

    Attributes:
      name: `mechanism.setting`.
      low, high: the valid range, both ends included (unused for a knob with choices).
      neutral: the value at which the mechanism does nothing; None where there is no such value.
      stage: 'first' or 'last': the stage from which it acts unless the study's axis says otherwise.
      about: one line for a person.
      source: the paper that defines it.
      choices: its values where they are names. Such a knob is static: it changes the graph, so each of its values is
        compiled in a program of its own; all values of a traced knob share one.
      indexed: whether a knob with choices is traced all the same: mechanisms are given the choice's index.
      default: the base value where it isn't the neutral one.
      integer: whether only whole numbers are valid.
      pinned: whether it always acts from its own stage: an axis can't name another.
      needs: a knob that this one only shapes: where that one is neutral, this one does nothing whatever its value.
      relaxes: whether its mechanism's relax_from and relax_over bring it back to neutral, see `relaxing`.
      sizes: whether the model needs room for it, see `Mechanism.shape`: the room is for the largest value of the
        study's cells, and cells where it is neutral run in a program without it. It acts from the first stage.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    neutral: Any = 0.0
    stage: str = "first"
    about: str = ""
    source: str = ""
    choices: tuple[str, ...] = ()
    indexed: bool = False
    default: Any = None
    integer: bool = False
    pinned: bool = False
    needs: str = ""
    relaxes: bool = False
    sizes: bool = False

    @property
    def base(self) -> Any:
        """The value that a study has where it says nothing."""
        return self.neutral if self.default is None else self.default

    @property
    def traced(self) -> bool:
        """Whether one compiled program serves all values."""
        return not self.choices or self.indexed

    def number(self, value: Any) -> float:
        """What a mechanism is given for a value of a traced knob: the number itself, a choice's index."""
        return float(self.choices.index(value) if self.choices else value)


NEVER = 2**30  # a step that no study reaches; float32 holds it exactly


def relaxing(strength: Knob) -> tuple[Knob, Knob, Knob]:
    """A strength with its schedule: held up to one step, then brought back to neutral in a straight line.

    One step is an abrupt end, more of them an anneal; from step 0 over all steps it is an anneal from the start.
    """
    mechanism = strength.name.split(".")[0]
    whole = Knob(
        name="", low=0, high=NEVER, integer=True, stage=strength.stage, source=strength.source, needs=strength.name
    )
    since = replace(
        whole,
        name=f"{mechanism}.relax_from",
        neutral=NEVER,
        about=f"step from which {strength.name} is relaxed",
    )
    over = replace(
        whole, name=f"{mechanism}.relax_over", low=1, neutral=1, about=f"steps in which {strength.name} goes to neutral"
    )
    return replace(strength, relaxes=True), since, over


@dataclass(frozen=True)
class StepView:
    """One training step as a mechanism sees it.

    Attributes:
      batch: the examples.
      key: of this mechanism and this step.
      step: int32[], absolute.
      forward: a further pass over the batch: (parameters, a touch that comes after the mechanisms') -> Forward.
    """

    batch: Batch
    key: jax.Array
    step: jax.Array
    forward: Callable[[Params, Hook], Forward]


class Update(NamedTuple):
    """What an update was made with, as a mechanism sees it.

    Attributes:
      gradient: the one that the optimizer was given, with all that mechanisms added.
      key: of this mechanism and this step.
      step: int32[], absolute.
      rate: float32[], what the optimizer's direction was scaled with: learning rate times schedule.
    """

    gradient: Params
    key: jax.Array
    step: jax.Array
    rate: jax.Array


@dataclass(frozen=True)
class Context:
    """What a mechanism may know of the program that it is compiled into. All of it is static.

    Attributes:
      mixture: the tasks.
      counts: (label, examples a step) for each task.
      opening: steps of the first stage.
      spec: the model's sizes.
      static: (knob, value) of the static knobs.
    """

    mixture: Mixture
    counts: tuple[tuple[str, int], ...]
    opening: int
    spec: ModelSpec
    static: tuple[tuple[str, Any], ...] = ()


class Mechanism:
    """Does nothing; a mechanism overrides the places where it acts.

    Attributes:
      name: the prefix of its knobs' names.
      knobs: the knobs that it owns.
      sites: the places of the model, see `lab.nn.model.HOOK_POINTS`, at which `hook` acts.
      stays: whether `hook` is part of the model: it then acts while evaluating and measuring, too, as a function of
        the parameters and the knobs alone.
      looks_ahead: whether the gradient is taken once more, at the parameters that `perturbed_params` gives.
    """

    name: str = ""
    knobs: tuple[Knob, ...] = ()
    hook_points: tuple[str, ...] = ()
    active_at_inference: bool = False
    second_gradient: bool = False

    def objection(self, mixture: Mixture, spec: ModelSpec, knobs: Mapping[str, Any]) -> str:
        """Why a cell's knobs can't act on these tasks or this model, in a sentence for the user; empty if they can."""
        del mixture, spec, knobs
        return ""

    def uneven(self, counts: Mapping[str, int], knobs: Mapping[str, Any]) -> str:
        """As `objection`, for numbers of training examples that don't fit: label -> examples a step of one stage."""
        del counts, knobs
        return ""

    @property
    def sized(self) -> bool:
        """Whether it needs room in the model: where it does nothing, it isn't compiled in."""
        return type(self).shape is not Mechanism.shape

    @property
    def has_stage_start(self) -> bool:
        """Whether it chooses something as it enters a stage."""
        return type(self).on_stage_start is not Mechanism.on_stage_start

    @property
    def reads(self) -> bool:
        """Whether it has readings of its own."""
        return type(self).readings is not Mechanism.readings

    @property
    def deciding(self) -> tuple[Knob, ...]:
        """The knobs that decide whether it is compiled in: the traced ones, where it has any."""
        return tuple(k for k in self.knobs if k.traced) or self.knobs

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """The model's sizes where it is compiled in.

        Knobs that have `sizes` are at the largest value of the study's cells, others as the cell has them.
        """
        del knobs
        return spec

    def at(self, knobs: Knobs, step: jax.Array) -> Knobs:
        """The knobs in force at an absolute step: relaxing strengths on their way back to neutral."""
        found = dict(knobs)
        for knob in (k for k in self.knobs if k.relaxes):
            since, over = (knobs[f"{self.name}.relax_{end}"] for end in ("from", "over"))
            gone = jnp.clip((step.astype(jnp.float32) - since + 1) / over, 0.0, 1.0)
            eased = knob.neutral + (knobs[knob.name] - knob.neutral) * (1 - gone)
            found[knob.name] = jnp.where(gone > 0, eased, knobs[knob.name])
        return found

    def init(self, params: Params, context: Context) -> Extra:
        """What is kept beside the parameters before the mechanism acts."""
        del params, context
        return ()

    def on_stage_start(self, params: Params, extra: Extra, knobs: Knobs, view: StepView) -> Extra:
        """Called once, before the first step of the stage from which the mechanism acts."""
        del params, knobs, view
        return extra

    def levels(
        self, extra: Extra, knobs: Knobs, context: Context, seed: jax.Array, step: jax.Array
    ) -> Mapping[str, jax.Array]:
        """How hard the batch of absolute `step` is: label -> float32[B], see `tasks.base.at_level`.

        Draws are addressed by the cell's seed, a purpose and the step. Labels left out train as their `train` split.
        """
        del extra, knobs, context, seed, step
        return {}

    def drawn_at(self, step: jax.Array, knobs: Knobs) -> jax.Array:
        """The absolute step whose examples are trained on at `step`."""
        del knobs
        return step

    def difficulty(self, knobs: Knobs, context: Context, key: jax.Array) -> Mapping[str, Mapping[str, jax.Array]]:
        """What the difficulty of a batch's examples has beside that of its level: label -> name -> an array [B]."""
        del knobs, context, key
        return {}

    def batch(self, batch: Batch, knobs: Knobs, key: jax.Array, context: Context) -> Batch:
        """What is trained on in place of the batch that was made, of the same shapes."""
        del knobs, key, context
        return batch

    def shown(self, tokens_BxL: jax.Array, fed_BxL: jax.Array, knobs: Knobs) -> jax.Array:
        """What a model is given in place of `tokens` where it is only read; of mechanisms that stay.

        `fed` says where its own answers are fed back, or stand in teacher-forced tokens: bool[B, L].
        """
        del fed_BxL, knobs
        return tokens_BxL

    def learn(
        self, extra: Extra, knobs: Knobs, levels: Mapping[str, jax.Array], losses: Mapping[str, jax.Array]
    ) -> Extra:
        """Called after a step whose batch has levels, with those and the loss float32[B] of each label's examples."""
        del knobs, levels, losses
        return extra

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """Change the activations at one of `hook_points`.

        While training, `key` is of this site, layer and step. It is None where the model is only read: while
        evaluating and measuring, where none but mechanisms that stay are called.
        """
        del hook_point, layer, knobs, key
        return x

    def readings(self, hidden_NxD: jax.Array, layer: jax.Array, params: Params, knobs: Knobs) -> dict[str, jax.Array]:
        """What it reads off N hidden vectors of a layer, beside the latent metrics: name -> float32[].

        NaN where there is nothing to read. Asked for in cells that use the mechanism.
        """
        del hidden_NxD, layer, params, knobs
        return {}

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array | None:
        """What is added to the loss, given the forward pass (logits at answers only): float32[] or None for nothing."""
        del forward, view, knobs
        return None

    def answer_penalty(self, logprob_BxAxV: jax.Array, targets_BxA: jax.Array, knobs: Knobs) -> jax.Array | None:
        """What is added to the loss of each answer token, float32[B, A]; None where there is nothing."""
        del logprob_BxAxV, targets_BxA, knobs
        return None

    def perturbed_params(self, params: Params, gradient: Params, knobs: Knobs) -> Params:
        """Where a mechanism that looks ahead takes the gradient that is followed, given the one at `params`."""
        del gradient, knobs
        return params

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params | None:
        """What is added to the loss's gradient, before the optimizer sees it; None where there is nothing.

        For a penalty of the weights, or one that needs passes of its own.
        """
        del params, view, knobs
        return None

    def clock(self, step: jax.Array, extra: Extra, knobs: Knobs) -> jax.Array:
        """The step that the learning rate's schedule is given at absolute `step`: int32[]."""
        del extra, knobs
        return step

    def rate(self, rate: jax.Array, knobs: Knobs, step: jax.Array) -> jax.Array:
        """What the direction of absolute `step` is scaled with, given learning rate times schedule: float32[]."""
        del knobs, step
        return rate

    def after_update(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """What is kept, after an update and before `project`; `params` are as mechanisms further up left them."""
        del params, knobs, update
        return extra

    def direction(self, direction: Params, params: Params, knobs: Knobs) -> Params:
        """Change the optimizer's direction, before the learning rate scales it."""
        del params, knobs
        return direction

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Put the parameters back where the mechanism wants them, on entry and after every update."""
        del extra, knobs
        return params
