"""What a cell's model costs: its parameters, and the arithmetic of one pass over one training example.

The count is of the arithmetic that the model needs, not of what the program spends. Weights that are zero cost nothing,
though a masked program multiplies by them, too; experts that a token isn't sent to cost nothing, though all are
computed; a thought costs one more position, as with a cache of keys and values, though here it takes a pass of its own;
each query attends to the positions up to its own, though the program fills the whole square; room that other cells need
isn't counted; a kernel of low rank counts as a product of two, and steps after the end of a cell's budget aren't
trained.

Only products of matrices are counted, a multiplication with its addition as 2 FLOPs: not norms, activations, the
softmax, convolutions over neighbours, rounding or the optimizer. Every token of an example goes through every block,
padding to its own task's length included; padding to other tasks' lengths isn't counted. Memories through which answers
see the question don't make attention cheaper here.

Shape letters: D width, H heads, K dimensions a head, N blocks, E experts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lab.mechanisms import EVERY
from lab.mechanisms.budget import STEPS as BUDGET
from lab.mechanisms.knobs import KNOBS, mechanisms_in_use
from lab.nn import model
from lab.nn.model import ModelSpec
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms, at_inference

BACKWARD = 2  # a backward pass takes two products for each one of the forward pass


class Weights(NamedTuple):
    """One model's weights that aren't zero.

    Attributes:
      nonzero: path, such as 'block_0/mlp_in/kernel' -> how many.
      heads_N: of each block, the heads that gather values which are read.
      factors: path -> the weights of a kernel of low rank as a product of two, where these are fewer.
    """

    nonzero: Mapping[str, int]
    heads_N: tuple[int, ...]
    factors: Mapping[str, int] = MappingProxyType({})

    @property
    def total(self) -> int:
        """All of them, embeddings, norms and unembedding included."""
        return sum(self.nonzero.values())

    def of(self, path: str) -> int:
        """Multiplications that one array takes at a position; 0 where the model has none of that name."""
        return self.factors.get(path, self.nonzero.get(path, 0))


class Sizes(NamedTuple):
    """How large a model is as its mechanisms let it run.

    Attributes:
      turns: passes through the blocks.
      added: positions in addition to the tokens: thoughts, memories, pauses, registers.
      top_k: experts that a token is sent to.
      quantized: at each position, the number of layers whose stream is rounded to the codebook in one turn; empty
        without a codebook.
      queries, values: dimensions a head of queries and keys, and of values.
    """

    turns: int
    added: int
    top_k: float
    quantized: tuple[int, ...]
    queries: int
    values: int


def own_spec(study: Study, cell: Mapping[str, Any]) -> ModelSpec:
    """The sizes of a cell's model without the room that it leaves for other cells of the study."""
    spec = study.bare_spec(cell)
    for name in study.mechanisms([cell]):
        spec = EVERY[name].shape(spec, cell)
    return spec


@functools.cache
def shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Path of each of a model's arrays -> its shape."""
    return {path: leaf.shape for path, leaf in _flat(jax.eval_shape(lambda: model.init(jax.random.key(0), spec)))}


def dense(spec: ModelSpec) -> Weights:
    """The weights of a model none of whose are zero."""
    sizes = {path: int(np.prod(shape)) for path, shape in shapes(spec).items()}
    return Weights(sizes, (spec.heads,) * spec.layers)


def weights_of(params: Any, spec: ModelSpec, low_rank: bool = False) -> Weights:
    """Count one cell's parameters, NumPy arrays that may have room for more than `spec` asks for.

    The room comes behind the weights in use, along every axis. With `low_rank` the ranks of kernels are found, too.
    """
    there, arrays = shapes(spec), dict(_flat(params))
    used = {path: arrays[path][tuple(slice(size) for size in shape)] for path, shape in there.items()}
    heads_N = tuple(_heads(used, f"block_{layer}/attention", spec.heads) for layer in range(spec.layers))
    nonzero = {path: int(np.count_nonzero(array)) for path, array in used.items()}
    kernels = [path for path in used if low_rank and path.startswith("block_") and path.endswith("/kernel")]
    factors = {path: _rank(used[path]) * sum(used[path].shape) for path in kernels}
    return Weights(nonzero, heads_N, {path: n for path, n in factors.items() if n < nonzero[path]})


def _rank(kernel_IxO: np.ndarray) -> int:
    """Full where the kernel isn't finite."""
    return int(np.linalg.matrix_rank(kernel_IxO)) if np.isfinite(kernel_IxO).all() else min(kernel_IxO.shape)


def _heads(arrays: Mapping[str, np.ndarray], path: str, heads: int) -> int:
    """Heads that have values which aren't zero, and output weights to read them which aren't."""
    values_DxHxK = np.split(arrays[f"{path}/qkv/kernel"], 3, axis=1)[2].reshape(arrays["embedding"].shape[1], heads, -1)
    out_HxKxD = arrays[f"{path}/out/kernel"].reshape(heads, -1, values_DxHxK.shape[0])
    return int(np.sum(values_DxHxK.any(axis=(0, 2)) & out_HxKxD.any(axis=(1, 2))))


def _flat(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [("/".join(str(entry.key) for entry in path), leaf) for path, leaf in leaves]


def sizes_of(spec: ModelSpec, knobs: Mapping[str, Any], trained: int) -> Sizes:
    """Ask the mechanisms active at inference, at their hook points, after `trained` steps of a stage."""
    names = at_inference(mechanisms_in_use([knobs]))
    settings = tuple((knob.name, knobs[knob.name]) for name in names for knob in EVERY[name].knobs)
    return _sizes(spec, names, settings, trained if names else 0)


@functools.lru_cache(maxsize=4096)
def _sizes(spec: ModelSpec, names: tuple[str, ...], settings: tuple[tuple[str, Any], ...], trained: int) -> Sizes:
    """`sizes_of` for the settings of those mechanisms: most cells of a grid differ in others only."""
    given = {name: jnp.float32(KNOBS[name].number(v)) if KNOBS[name].traced else v for name, v in settings}
    hook: Any = ActiveMechanisms.reading(names, given, jnp.int32(trained)).hook

    def number(hook_point: str, room: int, without: int = 0) -> int:
        return round(float(hook(hook_point, 0, without))) if room else 0

    added = number("thought_steps", spec.thoughts) + number("memories", spec.memories)
    added += number("pauses", spec.pauses) + number("registers", spec.registers)
    places, quantized = spec.max_length + spec.slots + spec.registers, ()
    if spec.codes:
        asked = [hook("quantized", layer, jnp.zeros(places)) for layer in range(spec.layers + 1)]
        quantized = tuple(np.sum(np.asarray(asked) > 0, axis=0).tolist())
    # A one comes through as a one where the head has that dimension.
    there = np.asarray(hook("qkv", 1, jnp.ones((1, 1, 3, spec.heads, spec.width // spec.heads))))[0, 0, :, 0]
    queries, _, values = (int(np.count_nonzero(part)) for part in there)
    top_k = number("top_k", spec.experts, spec.experts)
    return Sizes(number("turns", spec.turns, 1), added, top_k, quantized, queries, values)


def flops(spec: ModelSpec, weights: Weights, sizes: Sizes, length: int, answers: int) -> float:
    """FLOPs of one forward pass over one training example.

    Args:
      spec: the cell's own sizes.
      weights: those that aren't zero.
      sizes: of the model as its mechanisms let it run.
      length: tokens of the example.
      answers: the number of answer positions: the stream is unembedded only there. Heads that predict further tokens
        run there, too, though only while training.
    """
    places = length + sizes.added
    block = sum(
        _kernels(spec, weights, sizes, layer) * places + _attention(spec, weights.heads_N[layer], sizes, places)
        for layer in range(spec.layers)
    )
    codes = 2 * weights.of("codebook/vectors") * sum(sizes.quantized[:places])  # the distance to every code
    unembedding = weights.of("unembedding/kernel")
    heads = sum(weights.of(f"ahead_{number}/kernel") + unembedding for number in range(spec.ahead))
    return float(sizes.turns * (block + codes) + 2 * answers * (unembedding + heads))


def _kernels(spec: ModelSpec, weights: Weights, sizes: Sizes, layer: int) -> float:
    """FLOPs of a block's linear layers at one position."""
    block = f"block_{layer}"
    kernels = ("attention/qkv", "attention/selection/gate", "attention/out", "mlp_in", "mlp_out")
    found = sum(weights.of(f"{block}/{name}/kernel") for name in kernels)
    found += weights.of(f"{block}/attention/selection/step")
    if spec.experts:
        experts = sum(weights.of(f"{block}/mixture/experts_{end}") for end in ("in", "out"))
        found += weights.of(f"{block}/mixture/router/kernel") + experts * sizes.top_k / spec.experts
    return 2.0 * found


def _attention(spec: ModelSpec, heads: int, sizes: Sizes, places: int) -> float:
    """FLOPs of mixing the positions in one block: scores and sums over the causal half, its diagonal included.

    A linear mixer is counted as a recurrence: at each position the state, K·K numbers a head and K for the divisor, is
    added to and read; a selective one likewise, without the divisor.
    """
    if spec.mixer != "softmax":
        return 2.0 * heads * places * 2 * sizes.queries * (sizes.values + (spec.mixer == "linear"))
    pairs = places * (places + 1) / 2
    return 2.0 * heads * pairs * (sizes.queries + sizes.values)


def example_flops(study: Study, stage: int, spec: ModelSpec, weights: Weights, sizes: Sizes) -> float:
    """`flops` of a training example, the mean over the tasks as a stage mixes them."""
    counts = [use.examples[stage] for use in study.tasks]
    each = []
    for use in study.tasks:
        split = use.task.splits["train"]
        each.append(flops(spec, weights, sizes, split.length + study.mixture.prefix, split.answer_tokens))
    return float(np.average(each, weights=counts))


def gradients(knobs: Mapping[str, Any]) -> int:
    """How often a training step takes the gradient: once more for each mechanism with a second gradient.

    Passes that penalties take of their own (Jacobians) aren't counted.
    """
    return 1 + sum(EVERY[name].second_gradient for name in mechanisms_in_use([knobs]))


def training_flops(
    study: Study, stage: int, knobs: Mapping[str, Any], per_example: float, start: int, end: int
) -> float:
    """FLOPs of training from one step to another of a stage: forward and backward over every example."""
    steps = max(0, min(end, knobs[BUDGET.name]) - start)
    return (1 + BACKWARD) * gradients(knobs) * study.examples[stage] * per_example * steps


def planned(study: Study) -> list[tuple[int, float]]:
    """(parameters, FLOPs a training example) of each of a study's cells, before anything is pruned or cut to zero."""
    found: dict[Any, tuple[int, float]] = {}
    of_model: dict[Any, tuple[int, float]] = {}
    cells = []
    for cell in study.cells:
        last = len(study.stages) - 1
        knobs = study.knobs_at(cell, last)
        setting = tuple((name, value) for name, value in study.active(knobs).items() if name != "seed")
        if setting not in found:
            spec = own_spec(study, cell)
            mine = study.at(cell)
            model = mine.tasks, spec, sizes_of(spec, knobs, study.stages[-1].end)
            if model not in of_model:
                weights = dense(spec)
                of_model[model] = weights.total, example_flops(mine, last, spec, weights, model[2])
            found[setting] = of_model[model]
        cells.append(found[setting])
    return cells
