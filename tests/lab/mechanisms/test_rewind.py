"""Rewinding against the weights that an undisturbed run had, its masks, and the schedule's formula."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import local_layout, make_plan
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import NEVER, Mechanism
from lab.mechanisms.pruning_masks import prunable
from lab.prng import derive_key
from lab.training import step as train
from tests.lab.conftest import initial_state, study_of
from tests.lab.mechanisms.test_regularizers import knobs_of
from tests.tasks.task_cases import first_by_default

OPENING, SEED = 12, jnp.int32(3)


@pytest.fixture(scope="module")
def run():
    """(mechanisms, knobs) -> parameters at the start of every step, through two stages of which pruning enters one."""
    program = make_plan(study_of(), local_layout()).program_groups[-1].program
    assert program.opening == OPENING
    worlds = program.mixture.worlds(derive_key(SEED, "world"))

    def states(first, **changed):
        knobs = {**knobs_of(**changed), **dict(program.static)}
        state, found = initial_state(program, SEED), []
        for start, end, names, starting in ((0, OPENING, first, first), (OPENING, 18, (*first, "prune"), ("prune",))):
            using = replace(program, mechanisms=names, starting=starting)
            state = jax.jit(lambda s, p=using, t=start: train.begin(p, s, knobs, SEED, jnp.int32(t)))(state)
            step_once = jax.jit(lambda s, t, p=using: train.train_step(p, worlds, SEED, knobs, s, t)[0])
            for step in range(start, end):
                found.append(state)
                state = step_once(state, jnp.int32(step))
        return [*found, state]

    return states


@pytest.mark.slow
@pytest.mark.parametrize("to", [5, 0, 12])
def test_the_weights_of_that_step_come_back_under_the_masks_of_the_trained_ones(run, to):
    plain, back = run((), prune__sparsity=0.6), run(("rewind",), prune__sparsity=0.6, rewind__to=to)
    masks = plain[OPENING].extra["prune"]
    jax.tree.map(np.testing.assert_array_equal, masks, back[OPENING].extra["prune"])
    # Before the second stage begins its weights are masked already, so those of its first step are taken from before.
    early = run((), prune__sparsity=0.0)[to].params
    came = back[OPENING + 1].params
    for path, kernel in prunable(early).items():
        np.testing.assert_array_equal(prunable(came)[path], np.where(masks[path], kernel, 0))
    np.testing.assert_array_equal(came["embedding"], early["embedding"])
    for one, other in zip(plain[: OPENING + 1], back[: OPENING + 1], strict=True):  # nothing before
        jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    moved = np.asarray(back[-1].params["embedding"]) != np.asarray(early["embedding"])
    assert moved.mean() > 0.5  # and training continues from there


@pytest.mark.slow
def test_a_step_that_the_first_stage_does_not_reach_is_never(run):
    plain, back = run((), prune__sparsity=0.6), run(("rewind",), prune__sparsity=0.6, rewind__to=13)
    jax.tree.map(np.testing.assert_array_equal, plain[-1].params, back[-1].params)


class Recorder(Mechanism):
    """Keeps the rate of the last update."""

    name = "recorder"

    def init(self, params, context):
        return jnp.float32(0)

    def after_update(self, params, extra, knobs, update):
        return update.rate


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
@pytest.mark.parametrize("schedule", first_by_default(["cosine", "constant"]))
def test_the_schedule_goes_back_as_the_last_stage_begins_and_on_from_there(monkeypatch, schedule, early):
    """Three stages, of which the last begins at step 15; that an earlier one had the mechanism changes nothing."""
    program = make_plan(study_of(), local_layout()).program_groups[0].program
    monkeypatch.setitem(MECHANISMS, "recorder", Recorder())
    program = replace(program, schedule=train.Schedule(schedule, warmup=8, total=30), static=())
    worlds, last, to = program.mixture.worlds(derive_key(SEED, "world")), 15, 3
    state, rates = initial_state(program, SEED), []
    for start, end in ((0, OPENING), (OPENING, last), (last, 20)):
        names = ("rewind", "recorder") if early or start == last else ("recorder",)
        using = replace(program, mechanisms=names, starting=names if start == 0 else ())
        knobs = knobs_of(rewind__rate_to=to if start == last else NEVER, optimizer__learning_rate=0.01)
        state = train.begin(using, state, knobs, SEED, jnp.int32(start))
        step_once = jax.jit(lambda s, t, p=using, k=knobs: train.train_step(p, worlds, SEED, k, s, t)[0])
        for step in range(start, end):
            state = step_once(state, jnp.int32(step))
            rates.append(float(state.extra["recorder"]))
    times = np.array([*range(last), *range(to, to + 20 - last)])
    expected = 0.01 * np.minimum(1, (times + 1) / 8)
    if schedule == "cosine":
        expected *= 0.5 * (1 + np.cos(np.pi * times / 30))
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
