"""Shortcuts planted in any task: a spurious cue that tells the answer too often, and wrong labels in training.

Shape letters: L tokens of one padded example.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import (
    LATER,
    PAD,
    ROW,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    Task,
    TaskError,
    World,
    interchangeable,
    problem,
    require_range,
    scored,
    title,
)
from tasks.fields import KnobField, knob_fields, share

SIMULATED = 4096  # examples behind the baseline of a cue
SHORTCUTS = {
    "spurious": "correlation ρ of a cue token, put in front, with the first answer token",
    "label_noise": "share of training examples with the answer of another example",
    "cue": "whether the cue is there even where ρ is 0, for a study that turns ρ",
    "noise": "whether wrong labels are drawn even where their share is 0, for a study that turns it",
}
DIFFICULTIES = ("spurious", "label_noise")
SPLITS = ("uncued", "cued")  # further ones, drawn as `iid`


@dataclass(frozen=True)
class Planted:
    """A task with a shortcut: what a study's config asks for with `spurious=…` or `label_noise=…` besides its sizes.

    With spurious > 0 a cue leads every example. With probability ρ it names the example's own first answer token, else
    that of another example drawn from the same split, so cues have one marginal distribution whatever ρ is. All splits
    of the task keep the ρ of training; `uncued` is `iid` with ρ = 0: a model that reads the cue in place of the
    question falls there, one that doesn't keeps its accuracy.

    With label_noise > 0 that share of the *training* examples carries the answer of another training example, at the
    positions that both answer. It is drawn again at every visit, so it softens targets and can't be memorized. Training
    targets are then not the right answers, which `check` still knows; evaluations leave `train` out.

    A study turns either for training alone by its knob `task.<label>.spurious` or `task.<label>.label_noise`. Where the
    neutral value is 0, `cue=True` or `noise=True` keeps it in the program; with `cue=True` there is the split `cued`,
    too: `iid` with ρ = 1.

    Tokens: those of the task, then one cue for each of them.

    Attributes:
      task: the task.
      spurious: ρ in [0, 1]. Traced in `sample`; static only in whether it is 0.
      label_noise: share in [0, 1]. Traced in `sample`; static only in whether it is 0.
      cue: whether a cue leads every example whatever ρ is.
      noise: whether wrong labels can be drawn whatever their share is.
    """

    task: Task
    spurious: float = 0.0
    label_noise: float = 0.0
    cue: bool = dataclasses.field(default=False, metadata=LATER)
    noise: bool = dataclasses.field(default=False, metadata=LATER)

    def __post_init__(self):
        for field in DIFFICULTIES:
            require_range(cast(Task, self), field, 0.0, 1.0)
        for field in ("cue", "noise"):
            if not isinstance(getattr(self, field), bool):
                raise TaskError(f"{self.name}: {field} must be True or False, not {getattr(self, field)!r}.")

    @property
    def name(self) -> str:
        """Of the task."""
        return self.task.name

    @property
    def family(self) -> str:
        """Of the task."""
        return self.task.family

    @property
    def source(self) -> str:
        """Of the task."""
        return self.task.source

    @property
    def known(self) -> str:
        """Of the task."""
        return self.task.known

    @property
    def small(self) -> tuple[Mapping[str, object], ...]:
        """Of the task."""
        return self.task.small

    @property
    def cards(self) -> tuple[Card, ...]:
        """None: the task's own are for the task without a shortcut."""
        return ()

    @property
    def title(self) -> str:
        """Of the task."""
        return title(self.task)

    @property
    def cued(self) -> bool:
        """Whether a cue leads every example."""
        return self.spurious > 0 or self.cue

    @property
    def noisy(self) -> bool:
        """Whether wrong labels can be drawn."""
        return self.label_noise > 0 or self.noise

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self.task.vocab_size * (1 + self.cued)

    @property
    def splits(self) -> Mapping[str, Split]:
        """The task's splits and, with a cue, `uncued`: `iid` with a cue that tells nothing; with `cue=True`, `cued`."""

        def split(inner: Split, spurious: float, noise: float, about: str) -> Split:
            difficulty = {**inner.difficulty, "spurious": spurious, "label_noise": noise}
            return dataclasses.replace(inner, difficulty=difficulty, length=inner.length + self.cued, about=about)

        splits = {
            name: split(inner, self.spurious, self.label_noise if name == "train" else 0.0, inner.about)
            for name, inner in self.task.splits.items()
        }
        if self.cued:
            splits["uncued"] = split(self.task.splits["iid"], 0.0, 0.0, "iid, with a cue that tells nothing")
        if self.cue:
            splits["cued"] = split(self.task.splits["iid"], 1.0, 0.0, "iid, with a cue that is always right")
        return splits

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """Of the task: a cue is given the name that the answer has."""
        return interchangeable(self.task)

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Of the task."""
        return self.task.easiest

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """The task's, ρ with a cue, and the share of wrong labels where they can be drawn."""
        return {
            **knob_fields(self.task),
            "spurious": share("reliability ρ of the cue", "arXiv 2006.00995") if self.cued else None,
            "label_noise": share("share of wrong labels", "arXiv 1611.03530") if self.noisy else None,
        }

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The task's factors and, with a cue, `cue_agrees`: whether it names the first answer token."""
        return {**self.task.factor_sizes, **({"cue_agrees": 2} if self.cued else {})}

    @property
    def read_names(self) -> tuple[str, ...]:
        """Of the task."""
        return self.task.read_names

    def world(self, key: jax.Array) -> World:
        """Of the task."""
        return self.task.world(key)

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One example. Difficulty: the task's, and `spurious` and `label_noise` in [0, 1]."""
        inner = {k: v for k, v in difficulty.items() if k not in DIFFICULTIES}
        # The task's own example has the task's own key: planting a shortcut changes no question.
        example = self.task.sample(key, world, inner, length - self.cued)
        planted, right = example, _first_answer(example)
        keys = jax.random.split(jax.random.fold_in(key, 1), 3)
        inner |= {name: -1 for name in inner if name == ROW}  # another example, not the same one again
        chance_2 = jax.random.uniform(keys[0], (2,))
        if self.noisy:
            other = self.task.sample(keys[1], world, inner, length - self.cued)
            fed_back = any(split.decode_steps > 1 for split in self.task.splits.values())
            planted = _with_answer_of(example, other, chance_2[0] < difficulty["label_noise"], fed_back)
        if not self.cued:
            return planted
        other = self.task.sample(keys[2], world, inner, length - self.cued)
        cue = jnp.where(chance_2[1] < difficulty["spurious"], _first_answer(planted), _first_answer(other))
        tokens, targets, weights = (
            jnp.pad(x, (1, 0), constant_values=PAD) for x in (planted.tokens, planted.targets, planted.weights)
        )
        return Example(
            tokens=tokens.at[0].set(self.task.vocab_size + cue),
            targets=targets,
            weights=weights,
            factors={**planted.factors, "cue_agrees": (cue == right).astype(jnp.int32)},
            read=planted.read + 1,
        )

    def bare(self, example: Example) -> Example:
        """The example as the task made it: without the cue."""
        if not self.cued:
            return example
        factors = {k: v for k, v in example.factors.items() if k != "cue_agrees"}
        return Example(example.tokens[1:], example.targets[1:], example.weights[1:], factors, example.read - 1)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return self.task.score(self.bare(example), answer[int(self.cued) :])

    def score_in(self, world: World, example: Example, answer: jax.Array) -> jax.Array:
        """See `JudgedInWorld`: as the task is judged."""
        return scored(self.task, world, self.bare(example), answer[int(self.cued) :])

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """See `Task`: the task's own checker on the question without its cue."""
        return self.task.check(world, self.bare(example), np.asarray(answer)[int(self.cued) :])

    def problem(self, example: Example) -> Hashable:
        """The task's own problem: a cue makes no other one."""
        return problem(self.task, self.bare(example))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """The task's, and `cue`: believe the cue.

        How often cue and first answer token agree is ρ, and by accident the chance that two examples have the same one,
        simulated. For a one-token answer that is its exact accuracy. A longer answer that is fed back may follow from
        its first token (the arm of a star does), so there it is a bound from above; where every position is asked for
        itself, the others are left to the task's best baseline.
        """
        bare, chosen = self.task.baselines(inner_split(split)), self.splits[split]
        if not self.cued:
            return bare
        rho, by_accident = float(chosen.difficulty["spurious"]), _same_first_answer(self.task, split)
        agrees = rho + (1 - rho) * by_accident
        rest = 1.0 if chosen.answer_tokens == 1 or chosen.decode_steps > 1 else max(b.exact for b in bare.values())
        # Of the first token: its cue with probability `agrees`, else any other token evenly.
        other = (1 - agrees) / (self.task.vocab_size - 1)
        first = (agrees * math.log(agrees) if agrees else 0.0) + ((1 - agrees) * math.log(other) if other else 0.0)
        following = max(b.logprob for b in bare.values()) * (chosen.answer_tokens - 1)
        logprob = min((first + following) / chosen.answer_tokens, -1e-6)
        return {**bare, "cue": Baseline(min(agrees * rest, 1 - 1e-6), logprob)}

    def render(self, example: Example) -> str:
        """`[cue 5] ` and the task's own."""
        cue = f"[cue {int(example.tokens[0]) - self.task.vocab_size}] " if self.cued else ""
        return cue + self.task.render(self.bare(example))


def unplanted(task: Task) -> Task:
    """The task without planted cue and wrong labels."""
    return task.task if isinstance(task, Planted) else task


def inner_split(split: str) -> str:
    """The task's split that a split is drawn from."""
    return "iid" if split in SPLITS else split


@lru_cache
def _same_first_answer(task: Task, split: str) -> float:
    """The chance that two examples of a split begin their answers alike, from SIMULATED of them in one world."""
    chosen = task.splits[inner_split(split)]
    keys = jax.random.split(jax.random.key(1), SIMULATED)
    world = task.world(jax.random.key(0))
    draw = jax.jit(jax.vmap(lambda k: _first_answer(task.sample(k, world, dict(chosen.difficulty), chosen.length))))
    count = np.bincount(np.asarray(draw(keys)))
    return float(np.sum(count * (count - 1)) / (SIMULATED * (SIMULATED - 1)))


def _first_answer(example: Example) -> jax.Array:
    return example.targets[jnp.argmax(example.weights >= 1)]


def _with_answer_of(example: Example, other: Example, wanted: jax.Array, fed_back: bool) -> Example:
    """Where `wanted`, the k-th answer token becomes that of `other`, also where it is fed back as the next input."""
    mine_L, others_L = example.weights >= 1, other.weights >= 1
    rank_L, others_rank_L = (jnp.cumsum(m, dtype=jnp.int32) for m in (mine_L, others_L))
    same_LxL = (rank_L[:, None] == others_rank_L[None, :]) & others_L[None, :]
    found_L = wanted & mine_L & jnp.any(same_LxL, axis=1)
    targets_L = jnp.where(found_L, jnp.sum(jnp.where(same_LxL, other.targets[None, :], 0), axis=1), example.targets)
    if not fed_back:
        return example._replace(targets=targets_L)
    inputs_L = jnp.where(found_L[:-1] & mine_L[1:], targets_L[:-1], example.tokens[1:])
    return example._replace(tokens=jnp.concatenate([example.tokens[:1], inputs_L]), targets=targets_L)
