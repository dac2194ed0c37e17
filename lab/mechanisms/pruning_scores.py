"""How much each prunable weight is worth: the lowest scores are pruned first. All are at least 0.

Shape letters: I inputs and O outputs of a kernel, B examples, L tokens.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lab.mechanisms.base import Params, StepView
from lab.mechanisms.pruning_masks import Kernels, prunable
from lab.nn.loss import task_loss
from lab.nn.model import no_hook

METHODS = ("magnitude", "random", "snip", "wanda")
# hook point -> the kernels that read what stands there, by their paths inside the block
READERS = {
    "attention_in": ("['attention']['qkv']['kernel']", "['attention']['selection']['gate']['kernel']"),
    "mixed": ("['attention']['out']['kernel']",),
    "mlp_in": ("['mlp_in']['kernel']",),
    "neurons": ("['mlp_out']['kernel']",),
}


def scores_at_start(method: str, params: Params, view: StepView) -> Kernels:
    """Scores from the parameters and the batch at which pruning starts."""
    kernels = prunable(params)
    if method == "snip":

        def loss(params: Params) -> jax.Array:
            return task_loss(view.forward(params, no_hook).logits, view.batch)

        return saliency(kernels, prunable(jax.grad(loss)(params)))
    if method == "wanda":
        norms = input_norms(params, view)
        return {path: jnp.abs(kernel) * norms[path][:, None] for path, kernel in kernels.items()}
    return uniform(kernels, view.key) if method == "random" else magnitude(kernels)


def scores_later(method: str, params: Params, gradient: Params, key: jax.Array) -> Kernels:
    """Scores after an update; snip's are of the gradient that was followed, penalties included."""
    kernels = prunable(params)
    if method == "snip":
        return saliency(kernels, prunable(gradient))
    return uniform(kernels, key) if method == "random" else magnitude(kernels)


def magnitude(kernels: Kernels) -> Kernels:
    """|w| (Han et al. 2015)."""
    return {path: jnp.abs(kernel) for path, kernel in kernels.items()}


def uniform(kernels: Kernels, key: jax.Array) -> Kernels:
    """A draw from [0, 1) for each weight."""
    keys = jax.random.split(key, len(kernels))
    return {path: jax.random.uniform(k, kernels[path].shape) for path, k in zip(kernels, keys, strict=True)}


def saliency(kernels: Kernels, slopes: Kernels) -> Kernels:
    """|w · ∂loss/∂w|: SNIP's connection sensitivity, whose normalisation changes no rank (Lee et al. 2019)."""
    return {path: jnp.abs(kernel * slopes[path]) for path, kernel in kernels.items()}


def input_norms(params: Params, view: StepView) -> dict[str, jax.Array]:
    """The L2 norm of what each kernel reads, over all tokens of the batch, padding included: path -> float32[I]."""
    found = {}

    def record(hook_point: str, layer: int, x: jax.Array) -> jax.Array:
        for reader in READERS.get(hook_point, ()):
            found[f"['block_{layer - 1}']{reader}"] = jnp.sqrt(jnp.sum(jnp.square(x), axis=(0, 1)))
        return x

    view.forward(params, record)
    return found
