"""A budget of steps: what is trained with it is bitwise the checkpoint of that step."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import local_layout, make_plan
from lab.prng import derive_key
from lab.training import step as train
from tests.lab.conftest import study_of
from tests.lab.mechanisms.test_regularizers import knobs_of
from tests.tasks.task_cases import first_by_default

SEED, STEPS = jnp.int32(3), 7


@pytest.fixture(scope="module")
def run():
    """budget -> parameters after every step, adapters in the model and weights decaying."""
    names = ("weight_decay", "budget", "tune")
    program = replace(make_plan(study_of(), local_layout()).program_groups[0].program, mechanisms=names, starting=names)
    worlds = program.mixture.worlds(derive_key(SEED, "world"))
    begin = jax.jit(lambda k: train.begin(program, train.init(program, SEED), k, SEED, jnp.int32(0)))
    step_once = jax.jit(lambda k, s, t: train.train_step(program, worlds, SEED, k, s, t)[0])

    def states(only, steps):
        knobs = knobs_of(budget__steps=steps, tune__only=only, weight_decay__rate=1.0)
        found = [begin(knobs)]
        for step in range(STEPS):
            found.append(step_once(knobs, found[-1], jnp.int32(step)))
        return [state.params for state in found]

    return states


@pytest.mark.slow
@pytest.mark.parametrize("only", [0, 3], ids=["all", "adapters"])
@pytest.mark.parametrize("steps", first_by_default([1, 0, 5]))
def test_nothing_moves_once_the_budget_is_spent(run, only, steps):
    plain, spent = run(only, 2**30), run(only, steps)
    for step in range(STEPS + 1):
        jax.tree.map(np.testing.assert_array_equal, spent[step], plain[min(step, steps)])
    kernels = [params["block_0"]["mlp_in"]["kernel"] for params in plain]
    assert all(np.any(a != b) for a, b in itertools.pairwise(kernels))  # it would have moved
