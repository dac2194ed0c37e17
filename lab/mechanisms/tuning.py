"""Fine-tuning of few parameters: what the last stage may move; everything else stays as it was at the stage's start.

    all              every parameter
    readout          the unembedding and the final norm: the same vectors are read out in another way
    norms            scales and biases of all norms
    adapters         a product A·B next to every kernel inside the blocks: kernel + A·B, of rank `tune.rank`
    singular_values  those of every kernel inside the blocks; its singular vectors stay

The model's parameters stay the effective weights, so all that reads a model reads a tuned one. Readout and norms move
as they do where everything moves: by the study's optimizer, whose moments carry over, weight decay included. What
adapters and singular values move by is kept here, with an Adam of their own that starts with the stage and has the
study's rate. Their slopes are those of the chain rule through the effective kernel, of the gradient with all its
penalties. Decoupled decay doesn't reach them: it acts on what is then put back.

A starts Gaussian with variance 1/I and B zero, so at first nothing has moved; no further scale is applied to A·B, which
is the paper's α equal to the rank.

What is exactly zero when the masks of other mechanisms have acted is masked: it stays zero and has no slope. Hence
fine-tuning starts from the pruned kernels, and keeps them pruned.

Shape letters: I inputs and O outputs of a kernel, R the largest rank of adapters, K = min(I, O) singular values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lab.mechanisms.base import Context, Knob, Knobs, Mechanism, Params, StageSetup, StepView, Update
from lab.mechanisms.low_rank import RANK as LOW_RANK
from lab.mechanisms.pruning_masks import prunable
from lab.mechanisms.rewind import TO as REWIND
from lab.mechanisms.spectral_cap import CAP
from lab.nn.model import is_linear_kernel
from lab.nn.optimizers import ADAM

CHOICES = ("all", "readout", "norms", "adapters", "singular_values")
READOUT, NORMS, ADAPTERS, VALUES = range(1, len(CHOICES))
DEEP = 16  # the largest rank of adapters: their arrays have it, whatever the rank

ONLY = Knob(
    name="tune.only",
    high=len(CHOICES) - 1,
    neutral="all",
    stage="last",
    choices=CHOICES,
    indexed=True,
    pinned=True,
    over_steps=True,
    about="what the last stage moves: all, readout, norms, low-rank adapters or singular values of the blocks' kernels",
    source="adapters: Hu et al. 2021, arXiv 2106.09685; singular_values: Sun et al. 2022, arXiv 2206.06122;"
    " readout: Kumar et al. 2022, arXiv 2202.10054; norms: Frankle et al. 2021, arXiv 2003.00152",
)
RANK = Knob(
    name="tune.rank",
    low=1,
    high=DEEP,
    neutral=4,
    stage="last",
    integer=True,
    pinned=True,
    needs=(ONLY.name,),
    about="rank of the adapters, where those are tuned",
    source="Hu et al. 2021, arXiv 2106.09685",
)


class Moving(NamedTuple):
    """What moves of one kernel.

    Attributes:
      down: float32[I, R], A; zero in its columns beyond the rank, where its slope is zero, too.
      up: float32[R, O], B.
      values: float32[K], what the singular values have gained.
    """

    down: jax.Array
    up: jax.Array
    values: jax.Array


class Kept(NamedTuple):
    """What is kept next to the parameters.

    Attributes:
      entry: the parameters at the stage's start.
      bases: tree path -> the left and right singular vectors of a kernel at the stage's start, [I, K] and [K, O].
      moving: tree path -> Moving.
      moments: Adam's, of `moving`.
    """

    entry: Params
    bases: dict[str, tuple[jax.Array, jax.Array]]
    moving: dict[str, Moving]
    moments: Any


class Tuning(Mechanism):
    """See the module's docstring."""

    name = "tune"
    knobs = (ONLY, RANK)

    def objection(self, setup: StageSetup) -> str:
        """Ranks that kernels don't have, and mechanisms that would move what must stay."""
        only, least = setup.knobs[ONLY.name], min(setup.spec.width, setup.spec.mlp_width)
        if only == "adapters" and setup.knobs[RANK.name] > least:
            return f"{RANK.name}={setup.knobs[RANK.name]} is more than the rank of the blocks' kernels, {least}."
        apart = [REWIND] if only in ("readout", "norms") else [REWIND, CAP, LOW_RANK]
        for knob in apart:
            if setup.knobs[knob.name] != knob.neutral:
                return f"{ONLY.name}='{only}' puts back what {knob.name} would change; leave it at {knob.neutral:g}."
        return ""

    def init(self, params: Params, context: Context) -> Kept:
        """Nothing has moved."""
        bases, moving = {}, {}
        for path, kernel in prunable(params).items():
            inputs, outputs = kernel.shape
            least = min(inputs, outputs)
            bases[path] = (jnp.zeros((inputs, least)), jnp.zeros((least, outputs)))
            moving[path] = Moving(jnp.zeros((inputs, DEEP)), jnp.zeros((DEEP, outputs)), jnp.zeros(least))
        return Kept(params, bases, moving, ADAM.init(moving))

    def on_stage_start(self, params: Params, extra: Kept, knobs: Knobs, view: StepView) -> Kept:
        """Keep the parameters, draw A, find the singular vectors."""
        kernels = prunable(params)
        keys = jax.random.split(view.key, len(kernels))
        there_1xR = (jnp.arange(DEEP, dtype=jnp.float32) < knobs[RANK.name])[None]
        bases, moving = {}, {}
        for key, (path, kernel) in zip(keys, kernels.items(), strict=True):
            left, _, right = jnp.linalg.svd(kernel, full_matrices=False)
            drawn = jax.random.normal(key, (len(kernel), DEEP)) * len(kernel) ** -0.5
            bases[path] = (left, right)
            moving[path] = extra.moving[path]._replace(down=jnp.where(there_1xR, drawn, 0.0))
        return extra._replace(entry=params, bases=bases, moving=moving)

    def after_update(self, params: Params, extra: Kept, knobs: Knobs, update: Update) -> Kept:
        """One step of Adam for adapters and singular values, where those are tuned."""
        only, kernels, gradients = knobs[ONLY.name], prunable(params), prunable(update.gradient)

        def moved() -> Kept:
            slopes = {
                path: slopes_of(jnp.where(kernels[path] == 0, 0.0, gradients[path]), now, *extra.bases[path])
                for path, now in extra.moving.items()
            }
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
                direction, moments = ADAM.update(slopes, extra.moments)
            moving = jax.tree.map(lambda now, d: now - update.rate * d, extra.moving, direction)
            return extra._replace(moving=moving, moments=moments)

        return lax.cond(only >= ADAPTERS, moved, lambda: extra)

    def project(self, params: Params, extra: Kept, knobs: Knobs) -> Params:
        """Put tuned parameters where they have moved, all others back to the stage's start."""
        only = knobs[ONLY.name]

        def put(path: tuple[Any, ...], leaf: jax.Array, entry: jax.Array) -> jax.Array:
            names = [part.key for part in path]
            moves = only == CHOICES.index("all")
            moves = moves | ((only == READOUT) & (names[0] in ("unembedding", "norm_final")))
            moves = moves | ((only == NORMS) & any(name.startswith("norm_") for name in names))
            found = entry
            if is_linear_kernel(path):
                name = jax.tree_util.keystr(path)
                now, (left, right) = extra.moving[name], extra.bases[name]
                gain = jnp.where(only == ADAPTERS, now.down @ now.up, left @ (now.values[:, None] * right))
                found = jnp.where(leaf == 0, 0.0, jnp.where(only >= ADAPTERS, entry + gain, entry))
            return jnp.where(moves, leaf, found)

        return jax.tree_util.tree_map_with_path(put, params, extra.entry)


def slopes_of(slope_IxO: jax.Array, now: Moving, left_IxK: jax.Array, right_KxO: jax.Array) -> Moving:
    """The gradients of A, of B and of the singular values, given the effective kernel's."""
    return Moving(slope_IxO @ now.up.T, now.down.T @ slope_IxO, jnp.sum((left_IxK.T @ slope_IxO) * right_KxO, axis=1))
