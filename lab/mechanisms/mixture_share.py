"""The share of a task in every batch as a knob of the study: `mixture.<label>`.

The batch keeps its size, so a step costs what it cost and the loss is the mean over as many examples. The label gets
round(share · size) of them, the other labels the rest in their own proportions. Its first examples are those that it
has at neutral, and further ones are drawn where it needs more: cells that differ in the share are paired. Neutral is
the share that `config.tasks` gives the label in the stages in which the knob acts; one share is set at a time.

Shape letters: B examples of a batch, K labels that a stage trains on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from lab.mechanisms.base import DataSource, Extra, Knob, Knobs, Mechanism, StageSetup
from lab.mechanisms.counted import Counted
from lab.mechanisms.data_source import Remix
from lab.values import exact
from tasks.base import Task, title
from tasks.mixture import Batch

NAME = "mixture"
MOST = 2**14  # examples of a batch: their products are int32
# What decides something for each example of the usual batch, and its neutral value.
OTHERS = {
    "curriculum.order": "fixed",
    "rename.share": 0.0,
    "process.extra": 0.0,
    "teacherless.share": 0.0,
    "self_label.share": 0.0,
    "batch.share": 1.0,
}


def knob_name(label: str) -> str:
    """`mixture.<label>`."""
    return f"{NAME}.{label}"


def share_knob(label: str, task: Task, neutral: float) -> Knob:
    """The knob of a label whose share is `neutral` where nothing turns it."""
    return Knob(
        name=knob_name(label),
        neutral=neutral,
        about=f"share of {title(task)} in a training batch",
        source="Xie et al. 2023, arXiv 2305.10429",
    )


def numbers(counts: Mapping[str, int], shares: Mapping[str, jax.Array]) -> jax.Array:
    """Examples of each label: int32[K], in the order of `counts`.

    Args:
      counts: label -> examples at neutral, none of them 0.
      shares: label -> its share, float32[]; at most one of them is off neutral.
    """
    labels, total = list(counts), sum(counts.values())
    found_K = jnp.asarray(list(counts.values()), jnp.int32)
    for label, share in shares.items():
        wanted, rest = jnp.round(share * total).astype(jnp.int32), total - counts[label]
        before_K = np.cumsum([0 if other == label else counts[other] for other in labels]).astype(np.int32)
        ends_K = (2 * before_K * (total - wanted) + rest) // (2 * rest)  # rounded so that they add up
        given_K = jnp.diff(ends_K, prepend=0).at[labels.index(label)].set(wanted)
        found_K = jnp.where(share == jnp.float32(counts[label] / total), found_K, given_K)
    return found_K


def room_for(counts: Mapping[str, int], labels: tuple[str, ...]) -> dict[str, int]:
    """Examples that each label may need beyond its own, whatever the share of one of `labels`: at least 1."""
    total = sum(counts.values())

    def most(label: str, turned: str) -> int:
        return total if label == turned else -(-counts[label] * total // (total - counts[turned]))

    return {label: max(1, *(most(label, turned) - counts[label] for turned in labels)) for label in counts}


def rows(counts: Mapping[str, int], room: Mapping[str, int], numbers_K: jax.Array) -> jax.Array:
    """Which rows of the batch and of what follows it, the further examples, make up the mixture: int32[B]."""
    own_K, room_K = (np.asarray(list(each.values()), np.int32) for each in (counts, room))
    total, ends_K = int(own_K.sum()), jnp.cumsum(numbers_K, dtype=jnp.int32)
    slot_B = jnp.arange(total, dtype=jnp.int32)
    label_B = jnp.sum(slot_B[:, None] >= ends_K[None, :], axis=1, dtype=jnp.int32)
    within_B = slot_B - (ends_K - numbers_K)[label_B]
    own_from_K, room_from_K = (jnp.asarray(np.cumsum(each) - each, jnp.int32) for each in (own_K, room_K))
    beyond_B = within_B - jnp.asarray(own_K)[label_B]
    return jnp.where(beyond_B < 0, own_from_K[label_B] + within_B, total + room_from_K[label_B] + beyond_B)


class MixtureShare(Mechanism):
    """See the module's docstring."""

    name = NAME

    def objection(self, setup: StageSetup) -> str:
        """One share at a time, and nothing next to it that decides about single examples."""
        turned = [
            name
            for label in setup.examples
            if (name := knob_name(label)) in setup.own and setup.knobs[name] != setup.own[name].neutral
        ]
        if not turned or len(setup.examples) < 2:
            return ""
        name, total = turned[0], sum(setup.examples.values())
        if len(turned) > 1:
            return (
                f"{name} and {turned[1]} are both off neutral in one cell: set one share, the other tasks keep their"
                " proportions in what is left."
            )
        if total > MOST:
            return f"{name}: a share is of at most {MOST:,} examples a step, not {total:,}; lower those of a task."
        for other, neutral in OTHERS.items():
            if setup.knobs[other] != neutral:
                return (
                    f"{name}={exact(setup.knobs[name])}: {other} decides about single examples, and a share brings"
                    f" others; leave {other} at {exact(neutral)}, or the share at neutral."
                )
        return ""

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Examples of each label whose share is turned."""
        total = sum(setup.examples.values())
        return {
            name: Counted.of_share("examples", setup.knobs[name], total)
            for label in setup.examples
            if (name := knob_name(label)) in setup.own
        }

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """Mix the labels as the shares say."""
        counts = {label: count for label, count in source.context.counts if count}
        shares = {label: knobs[knob_name(label)] for label in counts if knob_name(label) in knobs and len(counts) > 1}
        if not shares:
            return source
        room = room_for(counts, tuple(shares))
        from_B = rows(counts, room, numbers(counts, shares))

        def chosen(batch: Batch, spare: Batch) -> Batch:
            return Batch(*(jnp.concatenate(both)[from_B] for both in zip(batch, spare, strict=True)))

        return replace(source, remix=Remix(room, chosen))
