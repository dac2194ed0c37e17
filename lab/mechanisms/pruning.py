"""Pruning: weights of the blocks' linear layers are set to zero and stay there, or others grow in their place.

In one shot as a stage starts, or along a cubic schedule; with regrowth, sparse from there on at a fixed density. Counts
are exact, see `lab.mechanisms.pruning_masks`. The mask is kept next to the parameters and applied after every update,
so a pruned weight is exactly zero at every step of fine-tuning. Adam's moments are left alone: they follow the dense
gradient all along, so a weight that grows back has moments from when it was pruned.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import (
    NEVER,
    Context,
    Extra,
    Knob,
    Knobs,
    Mechanism,
    Params,
    StageSetup,
    StepView,
    Update,
)
from lab.mechanisms.counted import Counted
from lab.mechanisms.looped import TURNS
from lab.mechanisms.pruning_masks import SCOPES, SPREADS, annealed, cubic, masked, masks_of, prunable, regrown
from lab.mechanisms.pruning_scores import METHODS, scores_at_start, scores_later, uniform
from lab.nn import model

MASK_EVERY = 10  # steps from one choice of the masks to the next while sparsity grows
REGROW_EVERY = 5 * MASK_EVERY  # steps from one exchange to the next: a new weight needs time to become large

SPARSITY = Knob(
    name="prune.sparsity",
    low=0.0,
    high=1.0,
    neutral=0.0,
    stage="last",
    about="share of the blocks' linear weights that is removed",
    source="Han et al. 2015, arXiv 1506.02626",
)
SCOPE = Knob(
    name="prune.scope",
    neutral="global",
    stage="last",
    choices=SCOPES,
    about="rank the weights of all layers together, each layer's on its own, or each output unit's on its own",
    source="Blalock et al. 2020, arXiv 2003.03033; output: Sun et al. 2023, arXiv 2306.11695",
)
SPREAD = Knob(
    name="prune.spread",
    neutral="even",
    stage="last",
    choices=SPREADS,
    needs=(SPARSITY.name,),
    about="where each layer is ranked on its own: all equally dense, or small kernels denser (ERK)",
    source="Evci et al. 2020, arXiv 1911.11134; Mocanu et al. 2018, arXiv 1707.04780",
)
METHOD = Knob(
    name="prune.method",
    neutral="magnitude",
    stage="last",
    choices=METHODS,
    needs=(SPARSITY.name,),
    about="what goes first: the smallest weights, any, the smallest |w·∂loss/∂w|, or the smallest |w|·‖its inputs‖",
    source="Han et al. 2015; snip: Lee et al. 2019, arXiv 1810.02340; wanda: Sun et al. 2023, arXiv 2306.11695",
)
OVER = Knob(
    name="prune.over",
    low=1,
    high=NEVER,
    neutral=1,
    stage="last",
    integer=True,
    needs=(SPARSITY.name,),
    over_steps=True,
    about=f"steps in which sparsity grows from 0 along a cubic, every {MASK_EVERY}th step; 1 is one shot",
    source="Zhu & Gupta 2017, arXiv 1710.01878",
)
REGROW = Knob(
    name="prune.regrow",
    neutral="none",
    stage="last",
    over_steps=True,
    choices=("none", "set", "rigl"),
    needs=(SPARSITY.name,),
    about=f"what grows every {REGROW_EVERY}th step where small weights go: nothing, any, or the steepest weights",
    source="set: Mocanu et al. 2018, arXiv 1707.04780; rigl: Evci et al. 2020, arXiv 1911.11134",
)
REGROW_SHARE = Knob(
    name="prune.regrow_share",
    neutral=0.0,
    default=0.3,
    stage="last",
    needs=(REGROW.name,),
    about="share of a layer's active weights that is exchanged each time",
    source="Mocanu et al. 2018, arXiv 1707.04780",
)
REGROW_OVER = Knob(
    name="prune.regrow_over",
    low=1,
    high=NEVER,
    neutral=NEVER,
    stage="last",
    integer=True,
    needs=(REGROW.name,),
    about="steps in which prune.regrow_share goes to 0 along half a cosine, as in rigl's paper; never is constant",
    source="Evci et al. 2020, arXiv 1911.11134",
)
SINCE, BORN = "since", "born"


class Pruning(Mechanism):
    """See the module's docstring."""

    name = "prune"
    knobs = (SPARSITY, SCOPE, SPREAD, METHOD, OVER, REGROW, REGROW_SHARE, REGROW_OVER)

    def objection(self, setup: StageSetup) -> str:
        """Settings that contradict each other."""
        knobs = setup.knobs
        gradual = knobs[SPARSITY.name] and knobs[OVER.name] > 1
        if gradual and knobs[METHOD.name] == "wanda":
            return "prune.method='wanda' reads its inputs once, in one shot; set prune.over=1 or another method."
        if knobs[SPARSITY.name] and knobs[METHOD.name] == "wanda" and knobs[TURNS.name] > 1:
            return f"prune.method='wanda' reads inputs that are not read twice; set {TURNS.name}=1 or another method."
        if knobs[SPARSITY.name] and knobs[SPREAD.name] != "even" and knobs[SCOPE.name] != "layerwise":
            return f"prune.spread='{knobs[SPREAD.name]}' gives each layer a density; set prune.scope='layerwise'."
        if knobs[REGROW.name] == "none":
            return ""
        if gradual:
            return "prune.regrow keeps the density, so sparsity can't also grow; set prune.over=1."
        if knobs[SCOPE.name] == "output":
            return "prune.regrow keeps each layer's density, not each unit's; set prune.scope to another than 'output'."
        return ""

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Weights that go: of all kernels, of each kernel, or of each output unit."""
        scope, spread, shapes = setup.knobs[SCOPE.name], setup.knobs[SPREAD.name], kernel_shapes(setup.spec)
        sizes = {"layerwise": [i * o for i, o in shapes], "output": [i for i, _ in shapes]}
        together = scope not in sizes or spread != "even"
        of = {sum(i * o for i, o in shapes)} if together else {*sizes[scope]}
        return {SPARSITY.name: Counted.of_share("pruned weights", setup.knobs[SPARSITY.name], *sorted(of))}

    def init(self, params: Params, context: Context) -> Extra:
        """A mask for each prunable kernel, by its path, all True; when pruning started; which weights just grew."""
        masks = {path: jnp.ones(kernel.shape, bool) for path, kernel in prunable(params).items()}
        extra = {**masks, SINCE: jnp.int32(0)}
        if dict(context.static).get(REGROW.name, "none") != "none":
            extra[BORN] = _none(masks)
        return extra

    def on_stage_start(self, params: Params, extra: Extra, knobs: Knobs, view: StepView) -> Extra:
        """Choose the masks from the parameters and the batch as they are now."""
        scores = scores_at_start(knobs[METHOD.name], params, view)
        sparsity = cubic(knobs[SPARSITY.name], jnp.int32(0), knobs[OVER.name])
        return {**extra, **masks_of(scores, sparsity, knobs[SCOPE.name], knobs[SPREAD.name]), SINCE: view.step}

    def after_update(self, params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
        """Choose new masks where it is time to; the outer conditions see the step only, so they stay branches."""
        following, regrows = update.step + 1, knobs[REGROW.name] != "none"
        if regrows:
            rested = {**extra, BORN: _none(extra[BORN])}
            due = following % REGROW_EVERY == 0
            return lax.cond(due, lambda: exchanged(params, extra, knobs, update), lambda: rested)
        elapsed, over = following - extra[SINCE], knobs[OVER.name]
        # The first choice after `over` steps is the last one. Cells in one shot skip the ranking where they run alone.
        growing = (over > 1) & (elapsed.astype(jnp.float32) < over + MASK_EVERY)

        def chosen() -> Extra:
            scores = scores_later(knobs[METHOD.name], params, update.gradient, update.key)
            scores = {path: jnp.where(extra[path], s, -1.0) for path, s in scores.items()}  # what is pruned stays so
            sparsity = cubic(knobs[SPARSITY.name], elapsed, over)
            return {**extra, **masks_of(scores, sparsity, knobs[SCOPE.name], knobs[SPREAD.name])}

        due = following % MASK_EVERY == 0
        return lax.cond(due, lambda: lax.cond(growing, chosen, lambda: extra), lambda: extra)

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Set pruned weights to exactly zero, and those that grew in this step, which start there."""
        masks = {path: mask for path, mask in extra.items() if path not in (SINCE, BORN)}
        if knobs[REGROW.name] != "none":
            masks = {path: mask & ~extra[BORN][path] for path, mask in masks.items()}
        return masked(params, masks)


@functools.cache
def kernel_shapes(spec: model.ModelSpec) -> tuple[tuple[int, int], ...]:
    """The shapes of the kernels that pruning acts on."""
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), spec))
    return tuple((kernel.shape[0], kernel.shape[1]) for kernel in prunable(params).values())


def exchanged(params: Params, extra: Extra, knobs: Knobs, update: Update) -> Extra:
    """What is kept after one exchange in every layer; rigl's gradient is the followed one, penalties included."""
    kernels, slopes = prunable(params), prunable(update.gradient)
    wanted = uniform(kernels, update.key) if knobs[REGROW.name] == "set" else {p: jnp.abs(s) for p, s in slopes.items()}
    share, over = knobs[REGROW_SHARE.name], knobs[REGROW_OVER.name]
    share = jnp.where(over < NEVER, annealed(share, update.step + 1 - extra[SINCE], over), share)
    pairs = {p: regrown(extra[p], kernels[p], wanted[p], share) for p in kernels}
    grown = {path: mask for path, (mask, _) in pairs.items()}
    return {**extra, **grown, BORN: {path: born for path, (_, born) in pairs.items()}}


def _none(masks: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {path: jnp.zeros_like(mask) for path, mask in masks.items()}
