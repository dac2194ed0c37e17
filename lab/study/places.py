"""Where the readings of a claim are taken: `gain(…)` and `ability(…)` of a study's config. Loads no JAX.

A plain name means what it always meant: a gain is read on the ability's own task, on its probe split, at its first read
position, at config.claim.layer, after the last step; an ability is the exact accuracy after the last step. What is left
out of a place keeps that meaning.

Checked places (`lab.study.claim`) have their defaults as None, layers as the study counts them and their step in place
of a stage (with it where a stage of 0 steps ends with the same step), so that equal places are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.study.kinds import MAP

MEASURES = ("exact", "token_accuracy", "logprob")  # of an ability that is answered; the first is the default
# What may be named as `probe` of an ability -> the latent metric: larger is better, and what knows nothing has a floor.
PROBES = {
    "linear": "probe_accuracy",
    "probe_accuracy": "probe_accuracy",
    "probe_selectivity": "probe_selectivity",
    "v_information": "v_information",
}


@dataclass(frozen=True)
class Gain:
    """A latent metric that a claim says moves, and where it is read.

    Attributes:
      metric: its name.
      sign: +1 if it is claimed to rise as the knob leaves its neutral value, -1 if it is claimed to fall.
      task: the label of the task whose inputs it is read on; the ability's own by default.
      split: whose inputs; the task's probe split by default.
      factor: one of the task's factors that are read (config.tasks.<label>.factor); the first by default.
      layer: one of config.probe.layers; config.claim.layer by default.
      position: the name of a read position of the task; the first by default.
      stage: read at the end of this stage.
      step: read after this step, at which a checkpoint is saved; the last by default.
    """

    metric: str
    sign: int = 1
    task: str | None = None
    split: str | None = None
    factor: str | None = None
    layer: int | None = None
    position: str | None = None
    stage: str | None = None
    step: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is read where a plain name is."""
        return self == Gain(self.metric, self.sign)

    @property
    def key(self) -> str:
        """Its name in files: 'participation_ratio', 'participation_ratio[task=add, step=600]'."""
        return _named(self.metric, self, ("metric", "sign"))


@dataclass(frozen=True)
class Ability:
    """An ability that a gain should become: answers of a task, or what a probe reads off its states.

    Attributes:
      task: the task's label.
      split: which examples; `iid` by default, of a probe the task's probe split.
      measure: one of `MEASURES`, by which answers are judged: 'exact' by default.
      probe: one of `PROBES`, in place of a measure.
      factor, layer, position: where a probe reads, as in `Gain`.
      stage, step: when it is read, as in `Gain`.
    """

    task: str
    split: str | None = None
    measure: str | None = None
    probe: str | None = None
    factor: str | None = None
    layer: int | None = None
    position: str | None = None
    stage: str | None = None
    step: int | None = None

    @property
    def key(self) -> str:
        """What names it next to its task, of a checked place: 'iid', 'iid/logprob@600', 'layer1/last/v_information'."""
        return self._body + ("" if self.step is None else f"@{self.stage or self.step}")

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return (self.probe or self.measure) in ("exact", "token_accuracy", "probe_accuracy")

    @property
    def _body(self) -> str:
        if self.probe is None:
            return f"{self.split}/{self.measure}" if self.measure != MEASURES[0] else f"{self.split}"
        return f"{self.site.removeprefix(f'{self.task}/')}/{self.probe}"

    @property
    def site(self) -> str:
        """Where a probe reads, as columns of the results name it."""
        if self.layer is None or self.position is None:
            raise ValueError("only a checked place of a probe has a site")
        return site(self.task, self.layer, self.position, self.split or "", self.factor or "")

    def column(self, measure: str = "") -> str:
        """The results' column of its reading, or of another measure of the same answers."""
        if self.probe is not None:
            return f"{self.site}/{self.probe}"
        return f"{self.task}/{self.split}/{measure or self.measure}"


def site(label: str, layer: int, read: str, split: str = "", factor: str = "") -> str:
    """A place of hidden states as columns name it; the task's own probe split and its first factor go without saying.

    'add/layer2/last', 'add/layer2/last/on=longer/factor=carry'.
    """
    return f"{label}/layer{layer}/{read}" + (f"/on={split}" if split else "") + (f"/factor={factor}" if factor else "")


@dataclass(frozen=True)
class Claim:
    """The primary hypotheses: every gain with every ability.

    Attributes:
      knob: the axis along which the gain is claimed.
      gains: (latent metric, +1 or -1): whether it is claimed to rise or to fall as the knob leaves its neutral value;
        those that are read at the ability's task, where that says nothing else.
      abilities: (label, split); of one that is not the exact accuracy at the end, `Ability.key` in place of the split.
      layer: index into the residual stream, 0 after the embedding, negative from the end.
      alpha: significance level.
      delta: share of (neutral - trivial) within which an ability counts as unchanged.
      placed_gains: the gains that are read at places of their own.
      placed_abilities: those of `abilities` that are not the exact accuracy at the end.
      below: what the gains' signs are multiplied by below a neutral value inside the axis: 1, or -1 along the axis.
      kind: one of `lab.study.kinds`. As every field with a default, it is hashed only where it has another value.
      knobs: of an ASSOCIATION, the axes over whose cells it is taken; it has no `knob`.
      control: of a CATEGORICAL claim, the knob's value that the others are compared with.
    """

    knob: str
    gains: tuple[tuple[str, int], ...]
    abilities: tuple[tuple[str, str], ...]
    layer: int
    alpha: float
    delta: float
    placed_gains: tuple[Gain, ...] = ()
    placed_abilities: tuple[Ability, ...] = ()
    below: int = 1
    kind: str = MAP
    control: Any = None
    knobs: tuple[str, ...] = ()

    @property
    def every_gain(self) -> tuple[Gain, ...]:
        """All gains, those with plain names first."""
        return (*(Gain(metric, sign) for metric, sign in self.gains), *self.placed_gains)

    def splits_of(self, label: str) -> tuple[str, ...]:
        """The splits of a task that latents are read on because a place names them."""
        named = [one.split for one in self.placed_abilities if one.probe is not None and one.task == label]
        abilities = {task for task, _ in self.abilities}
        for one in self.placed_gains:
            named += [one.split] if one.task == label or (one.task is None and label in abilities) else []
        return tuple(sorted({split for split in named if split is not None}))

    def place(self, label: str, key: str) -> Ability | None:
        """The ability of that task and key; None for the exact accuracy of a split at the end."""
        return next((one for one in self.placed_abilities if (one.task, one.key) == (label, key)), None)


gain, ability = Gain, Ability  # as a study's file calls them


def _named(name: str, one: Any, apart: tuple[str, ...]) -> str:
    """A name and the fields that are set: 'fisher_trace[task=add, layer=1]'."""
    fields = {f.name: getattr(one, f.name) for f in dataclasses.fields(one) if f.name not in apart}
    given = ", ".join(f"{field}={value}" for field, value in fields.items() if value is not None)
    return f"{name}[{given}]" if given else name


def fields_of(one: Any) -> dict[str, Any]:
    """The fields of a place that are set, from a place or from a section as study.json keeps one."""
    given = one if isinstance(one, Mapping) or hasattr(one, "items") else dataclasses.asdict(one)
    return {name: value for name, value in given.items() if value is not None}
