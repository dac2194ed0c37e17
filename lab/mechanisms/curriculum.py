"""Curricula: how hard the examples of each training step are.

An example's level lies in [0, 1]: 0 is its task's `easiest` difficulty, 1 exactly that of the `train` split. An order
acts from step `begins`, 0 by default, over `share` of the first stage's steps. Before and after all levels are 1, so
that every order ends where training without a curriculum is all along. Evaluation knows nothing of levels.

    fixed     level 1 from the first step
    ramp      one level a step, growing evenly from `floor` to 1
    anti      the ramp's levels backwards
    random    a level for each example, uniform over [floor, 1]
    progress  a level for each example, where the loss has been changing fastest

Ramp, anti and random show all levels equally often and differ in nothing but the order, so a comparison is about the
order (the control of Wu et al. 2021, arXiv 2012.03107). Hence a ramp doesn't draw from all levels up to its present
one: it would show easy examples more often than its reverse does. What such draws are good for is a knob of its own:
`mix` of the examples have a uniform level, whatever the order. In a ramp that is rehearsal (the 'combined' strategy of
Zaremba & Sutskever 2014, arXiv 1410.4615), in `progress` exploration.

`progress` keeps, per label, the loss in BINS equal bins of [floor, 1]: an exponential average `fast` of the examples'
losses and an average `slow` of `fast`. Bins are drawn in proportion to |fast - slow|, the smoothed slope of their
learning curves: the progress that teacher-student curricula look for (Matiisen et al. 2017, arXiv 1707.00183; see also
Graves et al. 2017, arXiv 1704.03003), absolute, so that what is being forgotten is practised too. Labels keep their
shares of the batch. Losses that aren't finite are passed over, so a diverged cell still draws valid examples.

Shape letters: B examples of one label in a batch, K bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, DataSource, Extra, Knob, Knobs, Mechanism, Params, StageSetup, Update
from lab.mechanisms.counted import Counted
from lab.prng import derive_key
from tasks.base import movable
from tasks.mixture import at_label

ORDERS = ("fixed", "ramp", "anti", "random", "progress")
BINS = 8
EVEN = 1e-6  # nats: slopes far below it count as equal

ORDER = Knob(
    name="curriculum.order",
    high=len(ORDERS) - 1,
    neutral="fixed",
    choices=ORDERS,
    indexed=True,
    pinned=True,
    about="how hard training examples are: as in `train`, easy to hard, hard to easy, mixed, or by learning progress",
    source="Bengio et al. 2009; Wu et al. 2021, arXiv 2012.03107; Matiisen et al. 2017, arXiv 1707.00183",
)
SHARE = Knob(
    name="curriculum.share",
    neutral=0.0,
    default=0.5,
    pinned=True,
    needs=(ORDER.name,),
    about="share of the first stage's steps over which the order acts; then all examples are as hard as in `train`",
    source="Wu et al. 2021, arXiv 2012.03107",
)
BEGINS = Knob(
    name="curriculum.begins",
    high=2**31 - 1,
    neutral=0,
    integer=True,
    pinned=True,
    needs=(ORDER.name,),
    about="absolute step from which the order acts; before it all examples are as hard as in `train`",
    source="—",
)
FLOOR = Knob(
    name="curriculum.floor",
    neutral=1.0,
    default=0.0,
    pinned=True,
    needs=(ORDER.name,),
    about="the lowest level: 0 is a task's easiest difficulty, 1 that of `train`",
    source="Bengio et al. 2009",
)
MIX = Knob(
    name="curriculum.mix",
    neutral=None,
    default=0.1,
    pinned=True,
    needs=(ORDER.name,),
    about="share of examples whose level is uniform whatever the order: rehearsal, or exploration in `progress`",
    source="Zaremba & Sutskever 2014, arXiv 1410.4615; Matiisen et al. 2017, arXiv 1707.00183",
)
RATE = Knob(
    name="curriculum.rate",
    neutral=None,
    default=0.005,
    pinned=True,
    needs=(ORDER.name,),
    about="weight of one example in the running losses of `progress`: 0.005 remembers about 200 examples a level",
    source="Matiisen et al. 2017, arXiv 1707.00183",
)


def ramp(step: jax.Array, opening: int, share: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How far the ramp is `step` steps after it began, float32[] in (0, 1), and whether the curriculum is over, bool[].

    Over n = round(share·opening) steps step i is at (i + ½)/n, so that the same levels backwards are its mirror image.
    """
    steps = jnp.round(share * opening)
    step = step.astype(jnp.float32)
    return jnp.clip((step + 0.5) / jnp.maximum(steps, 1.0), 0.0, 1.0), step >= steps


def bin_odds(running: Mapping[str, jax.Array]) -> jax.Array:
    """How likely `progress` draws each bin: float32[K], in proportion to |fast - slow|, evenly where nothing moves.

    A bin not seen yet counts as much as the fastest.
    """
    seen_K = running["seen"]
    slope_K = jnp.where(seen_K, jnp.abs(running["fast"] - running["slow"]), 0.0)
    weight_K = jnp.where(seen_K, slope_K, jnp.max(slope_K)) + EVEN
    return weight_K / jnp.sum(weight_K)


def pick(odds_K: jax.Array, uniform_B: jax.Array) -> jax.Array:
    """The bins that uniform numbers in [0, 1) fall into: int32[B] in [0, K)."""
    edges_K = jnp.cumsum(odds_K)[:-1]
    return jnp.sum(uniform_B[:, None] >= edges_K[None, :], axis=1, dtype=jnp.int32)


def updated(
    running: Mapping[str, jax.Array], bin_B: jax.Array, loss_B: jax.Array, rate: jax.Array
) -> dict[str, jax.Array]:
    """The running losses after a batch. Every finite loss weighs `rate`; a bin's first ones start both averages."""
    counts_B = jnp.isfinite(loss_B)
    inside_BxK = jax.nn.one_hot(bin_B, BINS, dtype=bool) & counts_B[:, None]
    count_K = jnp.sum(inside_BxK, axis=0, dtype=jnp.float32)
    mean_K = jnp.sum(jnp.where(inside_BxK, loss_B[:, None], 0.0), axis=0) / jnp.maximum(count_K, 1.0)
    weight_K = 1.0 - (1.0 - rate) ** count_K
    before_fast_K, before_slow_K = (jnp.where(running["seen"], running[name], mean_K) for name in ("fast", "slow"))
    fast_K = before_fast_K + weight_K * (mean_K - before_fast_K)
    slow_K = before_slow_K + weight_K * (fast_K - before_slow_K)
    return {"fast": fast_K, "slow": slow_K, "seen": running["seen"] | (count_K > 0)}


class Curriculum(Mechanism):
    """See the module's docstring."""

    name = "curriculum"
    knobs = (ORDER, SHARE, BEGINS, FLOOR, MIX, RATE)

    def objection(self, setup: StageSetup) -> str:
        """Somewhere there must be something easier than training."""
        if any(movable(task) for _, task in setup.mixture.tasks):
            return ""
        return (
            f"{ORDER.name}: training has but one difficulty in every task ({setup.labels}); add a task that has an"
            f" easier one, such as group_word with length 2 or more, or leave it at '{ORDER.neutral}'."
        )

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Steps over which the order acts."""
        return {SHARE.name: Counted.of_share("steps", setup.knobs[SHARE.name], setup.opening)}

    def init(self, params: Params, context: Context) -> Extra:
        """The running losses of each label that a curriculum moves: none seen yet."""
        nothing_K = jnp.zeros(BINS, jnp.float32)
        return {
            label: {"fast": nothing_K, "slow": nothing_K, "seen": jnp.zeros(BINS, bool)}
            for label, _ in context.counts
            if movable(context.mixture.task(label))
        }

    def transform_data(self, source: DataSource, extra: Extra, knobs: Knobs, key: jax.Array) -> DataSource:
        """A level for each example of the labels that a curriculum moves."""
        return replace(source, levels=levels_at(extra, knobs, source.context, source.seed, source.step))

    def after_update(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """Take up the batch's losses."""
        return learned(extra, knobs, update.levels, update.losses)


def levels_at(extra: Extra, knobs: Knobs, context: Context, seed: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
    """The levels of a step's examples: label -> float32[B].

    Every order takes the same three uniform numbers an example, so cells that differ in the order are paired.
    """
    key, counts = derive_key(seed, "curriculum", step), dict(context.counts)
    order, floor = knobs[ORDER.name], knobs[FLOOR.name]
    since = step - knobs[BEGINS.name].astype(jnp.int32)
    up, over = ramp(since, context.opening, knobs[SHARE.name])
    over = over | (since < 0) | (order == ORDERS.index("fixed"))
    levels = {}
    for label, running in extra.items():
        if not counts[label]:  # not trained on in this stage
            continue
        anywhere_B, mix_B, bin_B = jax.random.uniform(at_label(key, label), (3, counts[label]))
        within_B = (pick(bin_odds(running), bin_B).astype(jnp.float32) + anywhere_B) / BINS
        placed = {"ramp": jnp.full_like(mix_B, up), "anti": jnp.full_like(mix_B, 1 - up), "progress": within_B}
        chosen = [order == ORDERS.index(name) for name in placed]
        place_B = jnp.select(chosen, list(placed.values()), anywhere_B)
        place_B = jnp.where(mix_B < knobs[MIX.name], anywhere_B, place_B)
        levels[label] = jnp.where(over, 1.0, floor + (1 - floor) * place_B)
    return levels


def learned(
    extra: Extra, knobs: Knobs, levels: Mapping[str, jax.Array], losses: Mapping[str, jax.Array]
) -> dict[str, dict[str, jax.Array]]:
    """The running losses after a batch with those levels and losses, in `progress` only: other orders keep nothing."""
    learning, floor = knobs[ORDER.name] == ORDERS.index("progress"), knobs[FLOOR.name]

    def after(label: str, running: dict[str, jax.Array]) -> dict[str, jax.Array]:
        place_B = (levels[label] - floor) / jnp.maximum(1 - floor, EVEN)
        bin_B = jnp.clip((place_B * BINS).astype(jnp.int32), 0, BINS - 1)
        grown = updated(running, bin_B, losses[label], knobs[RATE.name])
        return jax.tree.map(lambda new, old: jnp.where(learning, new, old), grown, running)

    return {label: after(label, running) if label in levels else running for label, running in extra.items()}
