"""Structured pruning: whole heads, neurons or blocks are set to zero as a stage starts, and stay there.

Ranked by the L2 norm of all weights of the unit, in one shot. In each layer round(share·n) heads and neurons go, and of
the model's blocks round(share·layers), which from then on write nothing to the residual stream. The model computes what
one without those units would.

Shape letters: D width, H heads, M neurons, N blocks.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Context, Extra, Knob, Knobs, Mechanism, Params, StageSetup, StepView
from lab.mechanisms.counted import Counted
from lab.mechanisms.pruning_masks import kept, masked

HEADS = Knob(
    name="structured.heads",
    stage="last",
    about="share of each layer's attention heads that is removed, those of the smallest weights",
    source="Michel et al. 2019, arXiv 1905.10650; by norm: Li et al. 2017, arXiv 1608.08710",
)
NEURONS = Knob(
    name="structured.neurons",
    stage="last",
    about="share of each layer's neurons that is removed, those of the smallest weights",
    source="Li et al. 2017, arXiv 1608.08710",
)
LAYERS = Knob(
    name="structured.layers",
    stage="last",
    about="share of the blocks that is removed, those of the smallest weights",
    source="Sajjad et al. 2023, arXiv 2004.03844; by norm: Li et al. 2017, arXiv 1608.08710",
)


class StructuredPruning(Mechanism):
    """See the module's docstring."""

    name = "structured"
    knobs = (HEADS, NEURONS, LAYERS)

    def counted(self, setup: StageSetup) -> Mapping[str, Counted]:
        """Units that go: heads and neurons of each layer, and layers."""
        spec = setup.spec
        units = {HEADS: ("heads", spec.heads), NEURONS: ("neurons", spec.mlp_width), LAYERS: ("layers", spec.layers)}
        return {k.name: Counted.of_share(f"pruned {what}", setup.knobs[k.name], n) for k, (what, n) in units.items()}

    def init(self, params: Params, context: Context) -> Extra:
        """Which units stay, all of them: heads bool[N, H], neurons bool[N, M] and layers bool[N]."""
        spec = context.spec
        shapes = {
            "heads": (spec.layers, spec.heads),
            "neurons": (spec.layers, spec.mlp_width),
            "layers": (spec.layers,),
        }
        return {unit: jnp.ones(shape, bool) for unit, shape in shapes.items()}

    def on_stage_start(self, params: Params, extra: Extra, knobs: Knobs, view: StepView) -> Extra:
        """Choose the units from the parameters as they are now."""
        blocks = [params[f"block_{layer}"] for layer in range(len(extra["layers"]))]
        heads_NxH = jnp.stack([head_weights(block, extra["heads"].shape[1]) for block in blocks])
        neurons_NxM = jnp.stack([neuron_weights(block) for block in blocks])
        layers_N = jnp.sum(heads_NxH, axis=1) + jnp.sum(neurons_NxM, axis=1)
        each = jax.vmap(kept, in_axes=(0, None))
        return {
            "heads": each(heads_NxH, knobs[HEADS.name]),
            "neurons": each(neurons_NxM, knobs[NEURONS.name]),
            "layers": kept(layers_N, knobs[LAYERS.name]),
        }

    def project(self, params: Params, extra: Extra, knobs: Knobs) -> Params:
        """Set every weight of a removed unit to exactly zero."""
        masks = {}
        for layer in range(len(extra["layers"])):
            width = params[f"block_{layer}"]["attention"]["out"]["kernel"].shape[0]
            heads_H, neurons_M = (extra[unit][layer] & extra["layers"][layer] for unit in ("heads", "neurons"))
            mixed_D = jnp.repeat(heads_H, width // heads_H.size)  # a head's channels are neighbours
            masks |= {
                f"['block_{layer}']['attention']['qkv']['kernel']": jnp.tile(mixed_D, 3)[None, :],
                f"['block_{layer}']['attention']['out']['kernel']": mixed_D[:, None],
                f"['block_{layer}']['attention']['selection']['gate']['kernel']": mixed_D[None, :],
                f"['block_{layer}']['attention']['selection']['taps']": jnp.tile(mixed_D, 3)[None, :],
                f"['block_{layer}']['attention']['canon_b']['taps']": jnp.tile(mixed_D, 3)[None, :],
                f"['block_{layer}']['canon_d']['taps']": neurons_M[None, :],
                f"['block_{layer}']['mlp_in']['kernel']": neurons_M[None, :],
                f"['block_{layer}']['mlp_out']['kernel']": neurons_M[:, None],
                f"['block_{layer}']['mixture']['experts_in']": neurons_M[None, None, :],
                f"['block_{layer}']['mixture']['experts_out']": neurons_M[None, :, None],
            }
        return masked(params, masks)


def head_weights(block: Params, heads: int) -> jax.Array:
    """The squared L2 norm of each head's queries, keys, values and output weights: float32[H]."""
    attention = block["attention"]
    qkv_Dx3xHxK = attention["qkv"]["kernel"].reshape(-1, 3, heads, attention["out"]["kernel"].shape[0] // heads)
    out_HxKxD = attention["out"]["kernel"].reshape(heads, -1, attention["out"]["kernel"].shape[1])
    return jnp.sum(jnp.square(qkv_Dx3xHxK), axis=(0, 1, 3)) + jnp.sum(jnp.square(out_HxKxD), axis=(1, 2))


def neuron_weights(block: Params) -> jax.Array:
    """The squared L2 norm of the weights into and out of each neuron, over all experts if there are: float32[M]."""
    if "mixture" in block:
        into_ExDxM, out_ExMxD = (block["mixture"][name] for name in ("experts_in", "experts_out"))
        return jnp.sum(jnp.square(into_ExDxM), axis=(0, 1)) + jnp.sum(jnp.square(out_ExMxD), axis=(0, 2))
    into, out_of = block["mlp_in"]["kernel"], block["mlp_out"]["kernel"]
    return jnp.sum(jnp.square(into), axis=0) + jnp.sum(jnp.square(out_of), axis=1)
