"""What a mechanism is: its knobs and its hooks, pure functions written for one cell.

The engine calls the hooks of `Mechanism` at fixed places of the training step and knows nothing else of a mechanism.
Each takes and returns pytrees of one cell; none may mention the grid. A mechanism starts once: its static knobs act
from the stage of its traced ones. At its neutral setting it must leave every number bitwise as it was: a test compares
with a program compiled without it.

Shape letters: B examples of a training batch (of one label where a label is given), L tokens, A answer positions, D
width, N hidden vectors, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lab.mechanisms.counted import Counted
from lab.mechanisms.data_source import Context, DataSource
from lab.mechanisms.own_reading import OwnReading
from lab.nn.model import Forward, Hook, ModelSpec
from tasks.mixture import Batch, Mixture

Params = Any  # a pytree of arrays: one cell's parameters
Extra = Any  # a pytree of arrays: what a mechanism keeps next to the parameters (a mask, say); () if nothing
Knobs = dict[str, Any]  # knob name -> traced scalar (static knobs: the plain value)


@dataclass(frozen=True)
class Knob:
    """One setting of a mechanism.

    Attributes:
      name: `mechanism.setting`.
      low, high: the valid range, both ends included (unused for a knob with choices).
      neutral: the value at which the mechanism does nothing; None where there is no such value.
      stage: 'first' or 'last': the stage from which it acts unless the study's axis names another.
      about: one line for a person.
      source: the paper that defines it.
      choices: its values where they are names. Such a knob is static: it changes the graph, so each of its values is
        compiled in a program of its own; all values of a traced knob share one.
      indexed: whether a knob with choices is traced all the same: mechanisms are given the choice's index.
      static: whether each value of a knob with numbers has a program of its own, too.
      default: the base value where it isn't the neutral one.
      integer: whether only whole numbers are valid.
      pinned: whether it always acts from its own stage: an axis can't name another.
      needs: knobs that this one only shapes: where all of them are neutral, this one does nothing whatever its value.
      relaxes: whether its mechanism's relax_from and relax_over bring it back to neutral, see `relaxing`.
      sizes: whether the model needs room for it, see `Mechanism.shape`: the room is for the largest value of the
        study's cells, and cells where it is neutral run in a program without it. It acts from the first stage.
      over_steps: whether it does nothing before a further training step, though its mechanism acts as its stage starts.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    neutral: Any = 0.0
    stage: str = "first"
    about: str = ""
    source: str = ""
    choices: tuple[str | bool, ...] = ()
    indexed: bool = False
    static: bool = False
    default: Any = None
    integer: bool = False
    pinned: bool = False
    needs: tuple[str, ...] = ()
    relaxes: bool = False
    sizes: bool = False
    over_steps: bool = False

    @property
    def base(self) -> Any:
        """The value that a study has unless it sets another."""
        return self.neutral if self.default is None else self.default

    @property
    def traced(self) -> bool:
        """Whether one compiled program serves all values."""
        return not self.static and (not self.choices or self.indexed)

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
        name="",
        low=0,
        high=NEVER,
        integer=True,
        stage=strength.stage,
        source=strength.source,
        needs=(strength.name,),
        over_steps=True,
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


class StageSetup(NamedTuple):
    """A stage of one cell before anything compiles, for `Mechanism.objection`.

    Attributes:
      mixture: the tasks.
      spec: the model's sizes, without the room that mechanisms need.
      knobs: knob -> its value in this stage, choices by name.
      examples: label -> examples of a training step, of the labels that this stage trains on.
      opening: steps of the first stage.
      own: the study's own knobs, by name, see `Study.own_knobs`.
    """

    mixture: Mixture
    spec: ModelSpec
    knobs: Mapping[str, Any]
    examples: Mapping[str, int]
    opening: int = 0
    own: Mapping[str, Knob] = {}

    @property
    def labels(self) -> str:
        """The labels of all tasks, for a message."""
        return ", ".join(label for label, _ in self.mixture.tasks)


@dataclass(frozen=True)
class StepView:
    """One training step as a mechanism sees it.

    Attributes:
      batch: the examples.
      key: of this mechanism and this step.
      step: int32[], absolute.
      forward: a further pass over the batch: (parameters, a hook that comes after the mechanisms') -> Forward.
    """

    batch: Batch
    key: jax.Array
    step: jax.Array
    forward: Callable[[Params, Hook], Forward]


class UpdateRule(NamedTuple):
    """How a step updates the parameters: by -(learning rate × schedule(`schedule_step`) × `rate_scale`) × `direction`.

    Attributes:
      direction: the optimizer's, of the parameters' shapes.
      schedule_step: int32[], the step at which the learning rate's schedule is read. A schedule that started again in
        a branch doesn't ask for it.
      rate_scale: float32[].
    """

    direction: Params
    schedule_step: jax.Array
    rate_scale: jax.Array


class Update(NamedTuple):
    """An update that was made, as a mechanism sees it.

    Attributes:
      gradient: the one that the optimizer was given, with all that mechanisms added.
      key: of this mechanism and this step.
      step: int32[], absolute.
      rate: float32[], what the optimizer's direction was scaled with.
      levels: those of the batch, see `DataSource`.
      losses: label -> float32[B], the loss of each example; empty where the batch has no levels.
    """

    gradient: Params
    key: jax.Array
    step: jax.Array
    rate: jax.Array
    levels: Mapping[str, jax.Array] = {}
    losses: Mapping[str, jax.Array] = {}


class Mechanism:
    """Does nothing; a mechanism overrides the hooks where it acts.

    Attributes:
      name: the prefix of its knobs' names.
      knobs: the knobs that it owns.
      hook_points: the places in the model, see `lab.nn.model.HOOK_POINTS`, at which `hook` acts.
      active_at_inference: whether `hook` is part of the model: it then acts during evaluation and measurement, too, as
        a function of the parameters and the knobs alone.
      claimable: what a claim may name of its own, measured in the studies that name it.
    """

    name: str = ""
    knobs: tuple[Knob, ...] = ()
    claimable: tuple[OwnReading, ...] = ()
    hook_points: tuple[str, ...] = ()
    active_at_inference: bool = False

    # What the study and the plan ask before anything compiles.

    @property
    def sized(self) -> bool:
        """Whether it needs room in the model: where it does nothing, it isn't compiled in."""
        return self._overrides("shape")

    @property
    def has_stage_start(self) -> bool:
        """Whether it chooses something as its stage starts."""
        return self._overrides("on_stage_start")

    @property
    def acts_without_training(self) -> bool:
        """Whether it changes a model that takes no further step: as its stage starts, or as a part of the model."""
        return self.active_at_inference or self.has_stage_start or self.projects

    @property
    def projects(self) -> bool:
        """Whether it puts parameters back where it wants them."""
        return self._overrides("project")

    @property
    def second_gradient(self) -> bool:
        """Whether the gradient is taken a second time, at `perturbed_params`."""
        return self._overrides("perturbed_params")

    @property
    def reads(self) -> bool:
        """Whether it has readings of its own."""
        return self._overrides("readings")

    @property
    def deciding(self) -> tuple[Knob, ...]:
        """The knobs that decide whether it is compiled in: the traced ones, where it has any."""
        return tuple(k for k in self.knobs if k.traced) or self.knobs

    def objection(self, setup: StageSetup) -> str:
        """Why the knobs of a stage can't act there, in a sentence for the user; empty if they can."""
        return ""

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """What the values of its traced knobs come to, of those whose effect is a count: knob -> counts."""
        return {}

    def shape(self, spec: ModelSpec, knobs: Mapping[str, Any]) -> ModelSpec:
        """The model's sizes where it is compiled in: with room for what a traced knob can't change.

        Knobs that have `sizes` are at the largest value of the study's cells, others as the cell has them. How much of
        the room a cell uses is traced: `hook` gives it at a hook point of its own, which a loop may call, so `hook` may
        not keep what it was given. Cells at neutral run without the room; a larger one may round differently, and
        changes the keys of all other cells. Room must not move other parameters' draws: learned vectors are a
        `Vectors` module each, and a table's first rows are the same whatever its length.
        """
        return spec

    # What it keeps next to the parameters, and its knobs over time.

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
        """What is kept next to the parameters before the mechanism acts."""
        return ()

    def on_stage_start(self, params: Params, extra: Extra, knobs: Knobs, view: StepView) -> Extra:
        """Called once, before the first step of the stage from which the mechanism acts."""
        return extra

    def widened(self, extra: Extra, with_room: Callable[[Params], Params]) -> Extra:
        """What is kept, for a model with more room: parameters of a whole model need it, too."""
        return extra

    # One training step, in this order.

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Change where the batch comes from; `key` is of this mechanism and this step."""
        return source

    def hook(self, hook_point: str, layer: int, x: jax.Array, knobs: Knobs, key: jax.Array | None) -> jax.Array:
        """Change the activations at one of `hook_points`.

        In training, `key` is of this hook point, layer and step. It is None during evaluation and measurement, where
        only mechanisms that are `active_at_inference` are called.
        """
        return x

    def penalty(self, forward: Forward, view: StepView, knobs: Knobs) -> jax.Array | None:
        """What is added to the loss, given the forward pass (logits at answers only): float32[] or None for nothing."""
        return None

    def answer_penalty(self, logprob_BxAxV: jax.Array, targets_BxA: jax.Array, knobs: Knobs) -> jax.Array | None:
        """What is added to the loss of each answer token, float32[B, A]; None for nothing."""
        return None

    def perturbed_params(self, params: Params, gradient: Params, knobs: Knobs) -> Params:
        """Where the gradient is taken a second time, given the one at `params`; the second one is followed."""
        return params

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params | None:
        """What is added to the loss's gradient, before the optimizer sees it; None for nothing.

        For a penalty on the weights, or one that needs passes of its own.
        """
        return None

    def transform_update(
        self, rule: UpdateRule, params: Params, extra: Extra, knobs: Knobs, step: jax.Array
    ) -> UpdateRule:
        """Change how absolute `step` updates the parameters, given what the optimizer made of the gradient."""
        return rule

    def after_update(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """What is kept, after an update and before `project`; `params` are as mechanisms further up left them."""
        return extra

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Put the parameters back where the mechanism wants them, at its stage's start and after every update."""
        return params

    # A trained model.

    def shown(self, tokens_BxL: jax.Array, fed_BxL: jax.Array, knobs: Knobs) -> jax.Array:
        """The tokens that a model is given during evaluation and measurement; asked where `active_at_inference`.

        `fed` says where the model's own answers are fed back, or stand in teacher-forced tokens: bool[B, L].
        """
        return tokens_BxL

    def readings(self, hidden_NxD: jax.Array, layer: jax.Array, params: Params, knobs: Knobs) -> dict[str, jax.Array]:
        """What it reads off N hidden vectors of a layer, next to the latent metrics: name -> float32[].

        NaN where there is nothing to read. Asked for in cells that use the mechanism.
        """
        return {}

    def _overrides(self, hook: str) -> bool:
        return getattr(type(self), hook) is not getattr(Mechanism, hook)
