"""A decoder-only pre-norm transformer behind two pure functions, `init` and `run`, written for one cell.

Shape letters: B batch, L tokens, T tokens with what a mechanism puts between them, D width, V vocabulary, A answer
positions, M neurons, E experts.

Flax Linen lives in this file and in lab/nn/layers.py only, so that a port to another library touches nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from lab.nn.codebook import quantize
from lab.nn.layers import (
    ACTIVATIONS,
    CANON_POINTS,
    COMPUTE,
    HOOK_POINTS,
    MIXERS,
    POSITIONS,
    PRODUCTS,
    TAPS,
    Block,
    Hook,
    Linear,
    ModelSpec,
    Norm,
    View,
    linear,
    no_hook,
)
from lab.nn.thought_tokens import Slots, whole

__all__ = [
    "ACTIVATIONS",
    "CANON_POINTS",
    "COMPUTE",
    "HOOK_POINTS",
    "MIXERS",
    "POSITIONS",
    "PRODUCTS",
    "TAPS",
    "Forward",
    "Hook",
    "ModelSpec",
    "linear",
    "no_hook",
]

Params = dict[str, Any]


class Forward(NamedTuple):
    """The output of a forward pass.

    Attributes:
      logits: float32[B, A or L, V].
      hidden: float32[layers + 1, B, L, D], the residual stream after the embedding and after each block; of the last
        turn where blocks are gone through more than once.
      neurons: float32[layers, B, L, M], the feed-forward layers after their activation.
      routing: float32[layers, B, L, E], probabilities that routers give to experts.
      quantization: float32[B, L], the codebook's cost, zero where nothing is quantized.
      ahead: float32[n, B, A, V], logits of further answer tokens, where there are heads for them.
    """

    logits: jax.Array
    hidden: jax.Array
    neurons: jax.Array
    routing: jax.Array
    quantization: jax.Array
    ahead: jax.Array | None = None


class Inner(NamedTuple):
    """The output of the blocks, see `Forward`; `last` is the input of the final norm."""

    last: jax.Array
    hidden: jax.Array
    neurons: jax.Array
    routing: jax.Array
    quantization: jax.Array


class Transformer(nn.Module):
    """Embedding, blocks, final norm, unembedding."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, tokens_BxL, at_BxA=None, hook=no_hook, question_B=None):
        """See `run`."""
        spec, (batch, length) = self.spec, tokens_BxL.shape
        normal = nn.initializers.normal(spec.width**-0.5)
        embedding = self.param("embedding", normal, (spec.vocab_size, spec.width))
        learned = spec.positions == "learned"
        table = self.param("positions", normal, (spec.max_length + spec.slots, spec.width)) if learned else None
        x_BxTxD, view, slots = embedding[tokens_BxL], View(), None
        if spec.slots or spec.registers:
            if question_B is None:
                question_B = jnp.full((batch,), length - 1, jnp.int32)
            slots = Slots.of(spec, hook, question_B, length)
            view = slots.view()
            x_BxTxD = self._inserted(x_BxTxD, slots)
        if table is not None:
            if view.positions is None:
                x_BxTxD = x_BxTxD + table[None, :length]
            else:
                registers = spec.registers  # they stand nowhere
                x_BxTxD = x_BxTxD.at[:, registers:].add(table[view.positions[:, registers:]])
        x_BxTxD = hook("embedding", 0, x_BxTxD)
        codebook = Vectors(spec.codes, spec.width, name="codebook")() if spec.codes else None
        if self.is_initializing():  # parameters are made where modules are bound; all that follows takes them as given
            for layer in range(spec.layers):
                Block(spec, layer + 1, name=f"block_{layer}")(x_BxTxD, hook, view)
            Norm(spec.layers, name="norm_final")(x_BxTxD, hook)
        params = self.variables["params"]
        through = Blocks(spec, params, codebook, hook, view)

        def final_norm(x):
            return Norm(spec.layers, parent=None).apply({"params": params["norm_final"]}, x, hook)

        if slots is not None and spec.thoughts:
            x_BxTxD = think(x_BxTxD, slots, lambda x: final_norm(through(x).last), hook)
        inner = through(x_BxTxD)
        if slots is not None:
            inner = _read_back(inner, slots.back())
        final = inner.last
        if at_BxA is not None:
            final = jnp.take_along_axis(final, at_BxA[..., None], axis=1)
        precision = spec.precision
        unembedding = Linear(spec.vocab_size, precision, name="unembedding")
        ahead = None
        if spec.ahead:
            heads = [final + Linear(spec.width, precision, name=f"ahead_{i}")(final) for i in range(spec.ahead)]
            ahead = jnp.stack([unembedding(final_norm(each)) for each in heads])
        return Forward(unembedding(final_norm(final)), *inner[1:], ahead)

    def _inserted(self, x_BxLxD, slots):
        """Registers, tokens, and room for what comes between question and answer: [B, T, D]."""
        spec = self.spec

        def learned(name: str, count: int) -> jax.Array:
            return Vectors(count, spec.width, name=name)() if count else jnp.zeros((0, spec.width))

        pause_D = learned("pause", min(spec.pauses, 1)).sum(axis=0)
        x_BxTxD = slots.filled(x_BxLxD, learned("memories", spec.memories), pause_D)
        registers = learned("registers", spec.registers)
        front = jnp.broadcast_to(registers[None], (x_BxTxD.shape[0], *registers.shape))
        return jnp.concatenate([front, x_BxTxD], axis=1)


class Vectors(nn.Module):
    """Learned vectors. A module, so that their name decides their draw, not which others the model has."""

    count: int
    width: int

    @nn.compact
    def __call__(self):
        """[count, D]."""
        return self.param("vectors", nn.initializers.normal(self.width**-0.5), (self.count, self.width))


class Blocks(NamedTuple):
    """The stack of blocks with its parameters: a function of the residual stream."""

    spec: ModelSpec
    params: Any
    codebook: jax.Array | None
    hook: Hook
    view: View

    def __call__(self, x_BxTxD: jax.Array) -> Inner:
        """Once through, and as often again as there are further turns."""
        inner = self.turn(x_BxTxD)
        if self.spec.turns == 1:
            return inner
        turns, injection = self.hook("turns", 0, 1), self.hook("injection", 0, 1.0)

        def further(inner: Inner, turn: jax.Array) -> tuple[Inner, None]:
            def another_turn(inner: Inner) -> Inner:
                again = self.turn(inner.last + injection * x_BxTxD)
                cost = inner.quantization + again.quantization
                return again._replace(hidden=again.hidden.at[0].set(x_BxTxD), quantization=cost)

            return lax.cond(turn < whole(turns), another_turn, lambda inner: inner, inner), None

        return lax.scan(further, inner, jnp.arange(1, self.spec.turns))[0]

    def turn(self, x_BxTxD: jax.Array) -> Inner:
        """Once through the blocks."""
        spec, hook = self.spec, self.hook
        hidden, neurons, routing = [x_BxTxD], [], []
        quantization = jnp.zeros(x_BxTxD.shape[:2])
        for layer in range(spec.layers + 1):
            onward = hook("onward", layer, hidden[-1])
            if self.codebook is not None:
                quantized, cost_BxT = quantize(onward, self.codebook, hook("codes", layer, spec.codes))
                here_T = hook("quantized", layer, jnp.zeros(x_BxTxD.shape[1])) > 0
                onward = jnp.where(here_T[None, :, None], quantized, onward)
                quantization = quantization + jnp.where(here_T[None], cost_BxT, 0.0)
            if layer == spec.layers:
                break
            block = Block(spec, layer + 1, parent=None)
            output: Any = block.apply({"params": self.params[f"block_{layer}"]}, onward, hook, self.view)
            for found, one in zip((hidden, neurons, routing), output, strict=True):
                found.append(one)
        return Inner(onward, jnp.stack(hidden), jnp.stack(neurons), jnp.stack(routing), quantization)


def think(x_BxTxD: jax.Array, slots: Slots, last: Any, hook: Hook) -> jax.Array:
    """Continuous thoughts (Hao et al. 2024, arXiv 2412.06769): each slot's input is what was computed just before it.

    Args:
      x_BxTxD: the inputs, nothing where thoughts come.
      slots: where that is, and how many there are.
      last: inputs [B, T, D] -> the normalised vectors after the last block; each thought takes a pass.
      hook: sees all thoughts at once at the hook point "thoughts", after the last was computed.

    Returns:
      The inputs with the thoughts in their places. A thought is scaled to the size of an embedding, D^-1/2 a
      coordinate: at the final norm's size it would outweigh all that later layers write.
    """
    places_BxS, scale = slots.thought_places(), hook("norm_size", slots.spec.layers, x_BxTxD.shape[-1]) ** -0.5
    there_S = jnp.arange(slots.spec.thoughts) < slots.counts[0]
    batch_Bx1 = jnp.arange(x_BxTxD.shape[0])[:, None]
    nothing_BxSxD = x_BxTxD[batch_Bx1, places_BxS]  # positions, where they are learned

    def step(x: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        def another_thought(x: jax.Array) -> jax.Array:
            at_Bx1 = lax.dynamic_slice_in_dim(places_BxS, number, 1, axis=1)
            thought = jnp.take_along_axis(last(x), at_Bx1[..., None] - 1, axis=1) * scale
            return x.at[batch_Bx1, at_Bx1].add(thought)

        return lax.cond(number < slots.counts[0], another_thought, lambda x: x, x), None

    x_BxTxD, _ = lax.scan(step, x_BxTxD, jnp.arange(slots.spec.thoughts, dtype=jnp.int32))
    thoughts_BxSxD = x_BxTxD[batch_Bx1, places_BxS] - nothing_BxSxD
    changed_BxSxD = jnp.where(there_S[:, None], hook("thoughts", 0, thoughts_BxSxD) - thoughts_BxSxD, 0.0)
    return x_BxTxD.at[batch_Bx1, places_BxS].add(changed_BxSxD)


def _read_back(inner: Inner, back_BxL: jax.Array) -> Inner:
    """What stands at the places where the tokens are read."""
    over = lambda x, at: jnp.take_along_axis(x, at, axis=-2)  # noqa: E731
    stacked = lambda x_ExBxTxD: over(x_ExBxTxD, back_BxL[None, ..., None])  # noqa: E731
    quantization = jnp.take_along_axis(inner.quantization, back_BxL, axis=1)
    return Inner(
        over(inner.last, back_BxL[..., None]),
        stacked(inner.hidden),
        stacked(inner.neurons),
        stacked(inner.routing),
        quantization,
    )


def init(key: jax.Array, spec: ModelSpec) -> Params:
    """Fresh parameters of one cell."""
    return dict(Transformer(spec).init(key, jnp.zeros((1, 2), jnp.int32))["params"])


def run(
    params: Params,
    tokens_BxL: jax.Array,
    spec: ModelSpec,
    at_BxA: jax.Array | None = None,
    hook: Hook = no_hook,
    question_B: jax.Array | None = None,
) -> Forward:
    """Run one cell's model.

    Args:
      params: from `init`.
      tokens_BxL: int32 token ids; L ≤ spec.max_length.
      spec: the sizes `params` were made with.
      at_BxA: positions whose logits are wanted (all of them when None): projecting to the vocabulary only where
        something is to be answered saves the rest.
      hook: called with the activations at each of HOOK_POINTS; gives those that take their place.
      question_B: int32, where the first answer is read: what a model thinks before it answers comes after that token.
        The last token when None.
    """
    output: Any = Transformer(spec).apply({"params": params}, tokens_BxL, at_BxA, hook, question_B)
    return output


def apply(
    params: Params, tokens_BxL: jax.Array, spec: ModelSpec, at_BxA: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Logits and hidden states of `run` without mechanisms."""
    return run(params, tokens_BxL, spec, at_BxA)[:2]


def final_norm(params: Params, onward_BxLxD: jax.Array, spec: ModelSpec, hook: Hook = no_hook) -> jax.Array:
    """The input of the unembedding, float32[B, L, D], from the stream as it leaves the last block ("onward")."""
    output: Any = Norm(spec.layers, parent=None).apply({"params": params["norm_final"]}, onward_BxLxD, hook)
    return output


def is_linear_kernel(path: tuple[Any, ...]) -> bool:
    """Whether a parameter (by its tree path) is the kernel of a linear layer inside a block.

    These are the weights that pruning and per-layer mechanisms act on; embeddings, norms, the unembedding, experts and
    their routers are not.
    """
    names = [str(getattr(entry, "key", entry)) for entry in path]
    return names[-1] == "kernel" and names[0].startswith("block_") and "router" not in names
