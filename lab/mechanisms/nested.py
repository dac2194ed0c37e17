"""Nested widths trained jointly: each step's loss is taken at a narrower width of the model, too.

A width is the first dimensions of the stream and of every head (see lab/mechanisms/narrow.py), with the weights of the
whole model. In each step one of the halves, quarters and so on is drawn, and its loss comes on top of the whole model's
(MatFormer draws one width a step, Matryoshka sums over all). One trained cell can then be read at each of these widths:
cut it by `width.active` in a later stage, in which nothing is added any more: a model that `width.active` or
`head_dim.active` cuts is trained as it is. Where the knob is neutral, a cut finds a model that was never narrow.

A step takes two passes, forward and backward, in place of one.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Knob, Knobs, Mechanism, Params, StageSetup, StepView, relaxing
from lab.mechanisms.narrow import HEAD, WIDTH, Heads, Width, no_turning
from lab.nn.loss import task_loss

SOURCE = "Kusupati et al. 2022, arXiv 2205.13147; Devvrit et al. 2023, arXiv 2310.07707"
RATE = Knob(
    name="nested.rate",
    high=100.0,
    about="weight of the loss at a narrower width, with the same weights, next to that of the whole model",
    source=SOURCE,
)
HALVINGS = Knob(
    name="nested.halvings",
    low=1,
    high=8,
    neutral=1,
    integer=True,
    needs=(RATE.name,),
    about="narrower widths, each half of the one before: 2 are a half and a quarter; a step draws one of them",
    source=SOURCE,
)


class Nested(Mechanism):
    """See the module's docstring."""

    name = "nested"
    knobs = (*relaxing(RATE), HALVINGS)

    def objection(self, setup: StageSetup) -> str:
        """Every width must be a whole number of dimensions a head."""
        spec, halvings = setup.spec, setup.knobs[HALVINGS.name]
        a_head = spec.width // spec.heads
        if a_head % 2**halvings:
            return (
                f"{HALVINGS.name}={halvings}: the {a_head} dimensions of each head of config.model.width={spec.width}"
                f" can't be halved so often; {HALVINGS.name} may be at most {(a_head & -a_head).bit_length() - 1}."
            )
        return no_turning(RATE.name, spec)

    def extra_gradient(self, params: Params, view: StepView, knobs: Knobs) -> Params:
        """The gradient of rate × the loss at the width that this step draws."""
        halvings = jax.random.randint(view.key, (), 1, knobs[HALVINGS.name].astype(jnp.int32) + 1)
        share = {WIDTH.name: jnp.exp2(-halvings.astype(jnp.float32))}
        kept, narrow = Heads(jnp.float32(_heads(params, view)), jnp.float32(1)), Width()

        def hook(hook_point: str, layer: int, x: Any) -> Any:
            return narrow.hook(hook_point, layer, x, share, None) if hook_point in narrow.hook_points else x

        def loss(params: Params) -> jax.Array:
            return task_loss(view.forward(narrow.project(params, kept, share), hook).logits, view.batch)

        is_whole = (knobs[WIDTH.name] >= 1) & (knobs[HEAD.name] >= 1)
        rate = jnp.where(is_whole, knobs[RATE.name], 0.0)
        return jax.tree.map(lambda g: rate * g, jax.grad(loss)(params))


def _heads(params: Params, view: StepView) -> int:
    """How many heads attention has."""
    found = []

    def note(hook_point: str, layer: int, x: Any) -> Any:
        if hook_point == "qkv":
            found.append(x.shape[3])
        return x

    jax.eval_shape(lambda p: view.forward(p, note).logits, params)
    return found[0]
