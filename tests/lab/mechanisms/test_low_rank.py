"""Kernels of low rank against NumPy's truncated singular value decomposition."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import local_layout, make_plan
from lab.mechanisms import MECHANISMS
from lab.mechanisms.low_rank import truncated
from lab.mechanisms.pruning_masks import prunable
from lab.training import step
from tests.lab.conftest import initial_state, study_of
from tests.lab.mechanisms.test_regularizers import knobs_of
from tests.tasks.task_cases import first_by_default

ZERO = jnp.int32(0)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_truncation_is_numpys(shape, rank):
    kernel = np.random.default_rng(rank).normal(size=shape)
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    found = np.asarray(jax.jit(truncated)(jnp.float32(kernel), jnp.float32(rank)))
    np.testing.assert_allclose(found, best, atol=2e-5)
    error = np.linalg.norm(found - kernel)
    np.testing.assert_allclose(error, np.sqrt((values[rank:] ** 2).sum()), rtol=1e-5)  # Eckart & Young


@pytest.fixture(scope="module")
def run():
    """knobs -> the states before training, on entry and after three steps."""
    program = make_plan(study_of(), local_layout()).program_groups[0].program
    program = replace(program, mechanisms=("low_rank",), starting=("low_rank",))

    def states(knobs):
        fresh = initial_state(program, ZERO)
        state = step.begin(program, fresh, knobs, ZERO, ZERO)
        return fresh, state, step.train_call(program, ZERO, ZERO, knobs, state)[0]

    return jax.jit(states)


@pytest.mark.slow
@pytest.mark.parametrize("share", first_by_default([0.3, 0.01, 0.75, 0.999]))
def test_kernels_keep_their_rank_while_they_learn(run, share):
    """Each kernel its own; what isn't a block's kernel has the rank that it has."""
    fresh, state, after = run(knobs_of(low_rank__rank=share))
    for before, now in zip(prunable(state.params).values(), prunable(after.params).values(), strict=True):
        assert np.mean(np.asarray(now) != np.asarray(before)) > 0.5
        for kernel in (before, now):
            values = np.linalg.svd(kernel, compute_uv=False)
            assert (values > 1e-5 * values[0]).sum() == max(1, round(share * len(values)))
    np.testing.assert_array_equal(state.params["unembedding"]["kernel"], fresh.params["unembedding"]["kernel"])


def test_full_rank_leaves_everything_bitwise():
    params = {"block_0": {"mlp_in": {"kernel": jax.random.normal(jax.random.key(0), (16, 24))}}}
    for share in (1.0, 0.99):  # round(0.99·16) is all of it, too
        found = MECHANISMS["low_rank"].project(params, (), knobs_of(low_rank__rank=share))
        jax.tree.map(np.testing.assert_array_equal, found, params)
