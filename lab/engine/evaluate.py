"""Abilities: per task and split, accuracy of the free-running answer, whole and by token, and its log-probability.

Every cell of a seed has the same examples: their key is derived from the seed and the split, never from a knob. Splits
no longer than training run in one compiled program, all longer ones in a second, so training never pays for padding.

Shape letters: S splits, N examples, L tokens.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Knobs
from lab.nn import model
from lab.nn.answer import answer
from lab.prng import derive_key
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.base import Example, Task, tuning_split
from tasks.mixture import Mixture

TUNING = "tuning"  # examples of `tuning_split` apart from those of abilities: tuned knobs are chosen on them


class Ability(NamedTuple):
    """The readings of one split.

    Attributes:
      exact: share of the free-running answers that are right as a whole, 0 to 1.
      logprob: teacher-forced log-probability of an answer token, in nats: mean over examples of the mean over tokens.
      token_accuracy: share of the tokens of the free-running answers that are right; see `token_accuracy`.
    """

    exact: jax.Array
    logprob: jax.Array
    token_accuracy: jax.Array


@dataclass(frozen=True)
class Evaluation:
    """The splits that one compiled program evaluates.

    Attributes:
      spec, mixture: the model's sizes and the tasks.
      examples: N, examples a split.
      splits: (label, split) pairs.
      length: their common padded length.
      at_inference: names of the mechanisms that are part of the model, see `Mechanism.active_at_inference`.
      static: (knob, value) of their static knobs.
    """

    spec: model.ModelSpec
    mixture: Mixture
    examples: int
    splits: tuple[tuple[str, str], ...]
    length: int
    at_inference: tuple[str, ...] = ()
    static: tuple[tuple[str, Any], ...] = ()


def evaluations(study: Study) -> tuple[Evaluation, ...]:
    """One evaluation at the training length, and one for all longer splits if there are any."""
    mixture, longest = study.mixture, study.train_length
    more = (TUNING,) if study.tuned else ()
    lengths = {
        (use.label, name): mixture.length({use.label: _drawn_as(use.task, name)})
        for use in study.tasks
        for name in (*use.splits, *more)
    }
    short = tuple(pair for pair, length in lengths.items() if length <= longest)
    long = tuple(pair for pair, length in lengths.items() if length > longest)
    found = []
    for pairs, length in ((short, longest), (long, max(lengths.values()))):
        if pairs:
            found.append(Evaluation(study.spec, mixture, study.eval_examples, pairs, length))
    return tuple(found)


def _drawn_as(task: Task, split: str) -> str:
    return tuning_split(task) if split == TUNING else split


def names(study: Study) -> list[str]:
    """'label/split', in the order of the evaluations."""
    return [f"{label}/{split}" for e in evaluations(study) for label, split in e.splits]


def examples_of(evaluation: Evaluation, seed: jax.Array, worlds: Any, label: str, split: str) -> Example:
    """The examples of one split for a seed, leaves [N, …]; their key is derived, so every evaluation has the same."""
    key = derive_key(seed, "evaluation", zlib.crc32(f"{label}/{split}".encode()) & 0x7FFFFFFF)
    mixture = evaluation.mixture
    drawn = mixture.each_once(key, label, _drawn_as(mixture.task(label), split), evaluation.examples)
    return mixture.sample(key, label, worlds[label], drawn, evaluation.examples, evaluation.length)


def evaluate(
    evaluation: Evaluation, seed: jax.Array, params: Any, knobs: Knobs | None = None, trained: Any = 0
) -> dict[str, Ability]:
    """The abilities of one cell: {'label/split': Ability of float32[]}.

    Args:
      evaluation: the splits.
      seed, params: the cell's.
      knobs, trained: the cell's knobs and the steps that it was trained, for mechanisms that are active at inference.
    """
    mixture = evaluation.mixture
    reading = ActiveMechanisms.reading(evaluation.at_inference, {**(knobs or {}), **dict(evaluation.static)}, trained)
    worlds = mixture.worlds(derive_key(seed, "world"))
    examples = {
        (label, split): examples_of(evaluation, seed, worlds, label, split) for label, split in evaluation.splits
    }
    results = {}
    tasks = {label: mixture.task(label) for label, _ in evaluation.splits}
    steps_of = {
        (label, s): tasks[label].splits[_drawn_as(tasks[label], s)].decode_steps for label, s in evaluation.splits
    }
    for steps in sorted(set(steps_of.values())):
        pairs = [pair for pair in evaluation.splits if steps_of[pair] == steps]
        fields = [(examples[p].tokens, examples[p].targets, examples[p].weights) for p in pairs]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields)
        answers, logprobs = lax.map(
            lambda s, n=steps: answer(params, evaluation.spec, s[0], s[1], s[2], n, reading.hook, reading.shown),
            stacked,
        )
        for index, (label, split) in enumerate(pairs):
            right = jax.vmap(lambda e, a, label=label: mixture.score(label, e, a, worlds[label]))(
                examples[label, split], answers[index]
            )
            exact = jnp.mean(right.astype(jnp.float32))
            tokens = token_accuracy(right, answers[index], stacked[1][index], stacked[2][index])
            # A diverged model predicts token 0 everywhere, which some split may call right: it has no ability.
            finite = jnp.isfinite(logprobs[index])
            exact, tokens = (jnp.where(finite, share, jnp.nan) for share in (exact, tokens))
            results[f"{label}/{split}"] = Ability(exact, logprobs[index], tokens)
    return results


def token_accuracy(
    right_N: jax.Array, answers_NxL: jax.Array, targets_NxL: jax.Array, weights_NxL: jax.Array
) -> jax.Array:
    """Mean over examples of the share of answer tokens that are right: float32[], 0 to 1, never below exact accuracy.

    The score that an all-or-nothing one is compared with (Schaeffer et al. 2023, arXiv 2304.15004). Of an answer that
    is right as a whole all tokens are, also where `targets` is another right answer; of an answer of one token the two
    readings are the same.

    Args:
      right_N: bool, whether the whole answer is right.
      answers_NxL: int32, as of `answer`.
      targets_NxL, weights_NxL: of the examples; a scratchpad is not judged.
    """
    judged_NxL = weights_NxL >= 1
    hits_N = jnp.sum((answers_NxL == targets_NxL) & judged_NxL, axis=1).astype(jnp.float32)
    share_N = hits_N / jnp.sum(judged_NxL, axis=1).astype(jnp.float32)
    return jnp.mean(jnp.where(right_N, jnp.float32(1), share_N))
