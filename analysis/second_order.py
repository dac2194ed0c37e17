"""Do cells know what they don't know? Readings of a task whose answer is random and asked for twice.

    opened = analysis.open_study("runs/pairs")
    second_order(opened, {"prune.sparsity": 0.8}, split="tail")
    {"cell": …, "claimed": …, "actual": …, "error": …, "first_order": …}

`claimed` is the covariance of a cell's two answers, `actual` the squared error of its odds; where a cell is calibrated
on pairs they agree (`analysis.stats.second_order`). A cell that knows every distribution has 0 in both.

Shape letters: N examples, L tokens, V values.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analysis.activations.inference_model import InferenceModel, study_of
from analysis.stats.second_order import SecondOrder
from analysis.stats.second_order import second_order as compare
from analysis.study import OpenStudy, Where
from lab.engine.evaluate import Evaluation, examples_of
from lab.errors import UserError, nearest
from lab.nn import model
from lab.prng import derive_key
from lab.study.parts import TaskUse
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.base import Random


def second_order(
    opened: OpenStudy, where: Where = None, *, label: str | None = None, split: str = "iid", step: int | None = None
) -> dict[str, np.ndarray]:
    """The readings of `SecondOrder` for chosen cells, on the examples that abilities are read on.

    Args:
      opened: a study that was opened to be read.
      where, step: which cells and when, as `OpenStudy.hidden`.
      label: the task; may be left out where one task only has random answers.
      split: of the task.

    Returns:
      {'cell': int64[C], reading: float64[C]}, cells in ascending order.

    Raises:
      UserError: where no task, or not this one, answers twice by independent draws; an unknown split; as
        `OpenStudy.hidden`.
    """
    use = _task(opened.study, label)
    if split not in use.splits:
        raise UserError(f"split={split!r}: '{use.label}' has no such split. {nearest(split, use.splits)}")
    rows: dict[int, list[float]] = {}
    read = odds_of(opened.study, use, split)
    for cells, found in opened.each("second order", (use.label, split), read, where, step):
        for row, cell in enumerate(cells):
            rows[cell] = [float(values[row]) for values in found]
    order = sorted(rows)
    columns = np.asarray([rows[cell] for cell in order]).T
    return {"cell": np.asarray(order)} | dict(zip(SecondOrder._fields, columns, strict=True))


def odds_of(study: Study, use: TaskUse, split: str) -> Any:
    """Of one cell: (the inference model, the mechanisms in it, seed, parameters) -> SecondOrder."""

    def of_cell(inference: InferenceModel, active: ActiveMechanisms, seed: Any, params: Any) -> SecondOrder:
        mine = study_of(study, inference)
        task, mixture = mine.use(use.label).task, mine.mixture
        assert isinstance(task, Random)
        evaluation = Evaluation(mine.spec, mixture, study.eval_examples, (), mixture.length({use.label: split}))
        worlds = mixture.worlds(derive_key(seed, "world"))
        examples = examples_of(evaluation, seed, worlds, use.label, split)
        tokens_NxV, true_NxV = jax.vmap(lambda e: task.odds(worlds[use.label], mixture.bare(use.label, e)))(examples)
        at_N = jnp.argmax(examples.weights > 0, axis=1).astype(jnp.int32)  # of the first answer; the second comes next
        rows_N = jnp.arange(at_N.size)

        def given(value: jax.Array) -> tuple[jax.Array, jax.Array]:
            """The odds of both answers where the first is this value: [N, V] each."""
            tokens_NxL = examples.tokens.at[rows_N, at_N + 1].set(tokens_NxV[:, value])
            shown_NxL = active.shown(tokens_NxL, jnp.zeros_like(tokens_NxL, bool))
            forward = model.run(params, shown_NxL, inference.spec, None, active.hook, at_N)
            both = (forward.logits[rows_N, at_N + later] for later in (0, 1))
            one, two = (jax.nn.softmax(jnp.take_along_axis(logits, tokens_NxV, axis=1)) for logits in both)
            return one, two

        first_VxNxV, second_VxNxV = jax.lax.map(given, jnp.arange(tokens_NxV.shape[1], dtype=jnp.int32))
        return compare(first_VxNxV[0], jnp.moveaxis(second_VxNxV, 0, 1), true_NxV)

    return of_cell


def _task(study: Study, label: str | None) -> TaskUse:
    """The task that answers twice.

    Raises:
      UserError: see `second_order`.
    """
    twice = {use.label: use for use in study.tasks if isinstance(use.task, Random)}
    if label is None and len(twice) == 1:
        return next(iter(twice.values()))
    if label not in twice:
        known = ", ".join(twice) or "none; add one such as iid_pairs"
        raise UserError(f"label={label!r}: second-order calibration needs random answers asked for twice: {known}.")
    return twice[label]
