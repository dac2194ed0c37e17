"""Structured pruning against a NumPy model, and smaller ones, with the units cut out."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import local_layout, make_plan
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import Context
from lab.nn import model
from lab.training import step
from tests.lab.conftest import initial_params, initial_state, study_of
from tests.lab.mechanisms.test_regularizers import knobs_of
from tests.lab.nn import numpy_model
from tests.tasks.task_cases import first_by_default

SPEC = model.ModelSpec(vocab_size=11, max_length=9, width=16, layers=3, heads=4, mlp_width=24)
PARAMS = initial_params(jax.random.key(0), SPEC)
TOKENS = jax.random.randint(jax.random.key(1), (5, 9), 0, 11)
WIDE = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
MECHANISM = MECHANISMS["structured"]


def pruned(**shares):
    """(parameters, what is kept) after entry."""
    knobs = knobs_of(**{f"structured__{unit}": share for unit, share in shares.items()})
    program = make_plan(study_of(), local_layout()).program_groups[0].program
    extra = MECHANISM.init(PARAMS, Context(program.mixture, program.counts, 0, SPEC))
    extra = MECHANISM.on_stage_start(PARAMS, extra, knobs, None)
    return MECHANISM.project(PARAMS, extra, knobs), jax.tree.map(np.asarray, extra)


def weight_of_head(block, h):
    qkv, out = block["attention"]["qkv"]["kernel"], block["attention"]["out"]["kernel"]
    return sum((qkv[:, part * 16 + 4 * h + c] ** 2).sum() for part in range(3) for c in range(4)) + sum(
        (out[4 * h + c] ** 2).sum() for c in range(4)
    )


def weight_of_neuron(block, m):
    return (block["mlp_in"]["kernel"][:, m] ** 2).sum() + (block["mlp_out"]["kernel"][m] ** 2).sum()


def strongest(weights, share):
    """Indices of what stays when round(share·n) of the weakest go."""
    gone = np.argsort(weights, kind="stable")[: int(np.round(np.float32(share) * np.float32(len(weights))))]
    return sorted(set(range(len(weights))) - set(gone.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heads", "neurons", "layers"),
    first_by_default(
        [(0.5, 0.5, 0.67), (0, 0, 1), (0.25, 0, 0), (0.5, 0.3, 0), (0, 0.77, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0.34)]
    ),
)
def test_the_pruned_model_is_one_with_the_weakest_units_cut_out(heads, neurons, layers):
    params, extra = pruned(heads=heads, neurons=neurons, layers=layers)
    blocks = [WIDE[f"block_{i}"] for i in range(3)]
    kept = [
        (
            strongest([weight_of_head(b, h) for h in range(4)], heads),
            strongest([weight_of_neuron(b, m) for m in range(24)], neurons),
        )
        for b in blocks
    ]
    whole = [sum((leaf**2).sum() for leaf in jax.tree.leaves(b) if leaf.ndim == 2) for b in blocks]
    stay = strongest(whole, layers)
    assert extra["layers"].sum() == len(stay)
    assert (extra["heads"].sum(1) == len(kept[0][0])).all()
    assert (extra["neurons"].sum(1) == len(kept[0][1])).all()
    theirs, _ = numpy_model.forward(WIDE, np.asarray(TOKENS), 4, [k if i in stay else None for i, k in enumerate(kept)])
    np.testing.assert_allclose(model.apply(params, TOKENS, SPEC)[0], theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.slow
def test_pruned_neurons_and_layers_make_a_smaller_model():
    params, extra = pruned(neurons=0.5, layers=0.34)
    stay = np.flatnonzero(extra["layers"])
    small = {name: leaf for name, leaf in PARAMS.items() if not name.startswith("block_")}
    for index, layer in enumerate(stay):
        block, on = PARAMS[f"block_{layer}"], np.flatnonzero(extra["neurons"][layer])
        small[f"block_{index}"] = {
            **block,
            "mlp_in": {"kernel": block["mlp_in"]["kernel"][:, on]},
            "mlp_out": {"kernel": block["mlp_out"]["kernel"][on]},
        }
    spec = replace(SPEC, layers=len(stay), mlp_width=12)
    assert len(stay) == 2
    np.testing.assert_allclose(
        model.apply(params, TOKENS, SPEC)[0], model.apply(small, TOKENS, spec)[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_a_removed_block_writes_nothing():
    params, extra = pruned(layers=0.67)
    hidden = np.asarray(model.apply(params, TOKENS, SPEC)[1])
    for layer in range(3):
        assert np.array_equal(hidden[layer], hidden[layer + 1]) == (not extra["layers"][layer])


@pytest.mark.slow
def test_removed_units_stay_exactly_zero_while_fine_tuning():
    program = make_plan(study_of(), local_layout()).program_groups[0].program
    using = replace(program, mechanisms=("structured",), starting=("structured",), call_steps=6)
    knobs, zero = knobs_of(structured__heads=0.5, structured__neurons=0.4), jnp.int32(0)
    state = step.begin(using, initial_state(using, zero), knobs, zero, zero)
    after, _ = jax.jit(lambda s: step.train_call(using, zero, zero, knobs, s))(state)
    jax.tree.map(np.testing.assert_array_equal, state.extra, after.extra)
    zeros = [jax.tree.map(lambda leaf: np.asarray(leaf) == 0, s.params["block_0"]) for s in (state, after)]
    for before, now in zip(*map(jax.tree.leaves, zeros), strict=True):
        if before.ndim == 2:
            np.testing.assert_array_equal(before, now)
            assert before.any()
    assert zeros[1]["mlp_in"]["kernel"].all(0).sum() == round(0.4 * 32)
    assert zeros[1]["attention"]["out"]["kernel"].all(1).sum() == 8
