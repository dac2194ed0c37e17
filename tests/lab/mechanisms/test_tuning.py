"""Fine-tuning of few parameters against autodiff through an explicit A·B or U·diag(s)·Vᵀ, and optax's Adam."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.engine import local_layout, make_plan
from lab.errors import UserError
from lab.mechanisms.base import DataSource
from lab.mechanisms.pruning_masks import prunable
from lab.mechanisms.tuning import ADAPTERS, CHOICES, NORMS, READOUT, VALUES
from lab.nn import model
from lab.nn.loss import task_loss
from lab.prng import derive_key
from lab.study import axis, product
from lab.training import step as train
from tests.lab.conftest import initial_state, study_of, tiny_config
from tests.lab.mechanisms.test_regularizers import knobs_of

SEED, START, STEPS, RATE = jnp.int32(3), 12, 4, 3e-3
ADAM = optax.adam(RATE, b1=0.9, b2=0.98)


@pytest.fixture(scope="module")
def program():
    plain = make_plan(study_of(), local_layout()).program_groups[-1].program
    return replace(plain, mechanisms=("prune", "tune"), starting=("prune", "tune"))


@functools.cache
def compiled(program):
    """(a step of training without mechanisms, the entry to the stage, a step of it), each given the traced knobs."""
    worlds = program.mixture.worlds(derive_key(SEED, "world"))
    plain = replace(program, mechanisms=(), starting=(), static=())

    def stepper(program):
        static = dict(program.static)
        return jax.jit(lambda k, s, t: train.train_step(program, worlds, SEED, k | static, s, t)[0])

    begin = jax.jit(lambda k, s: train.begin(program, s, k, SEED, jnp.int32(START)))
    return stepper(plain), begin, stepper(program)


def tuned(program, only, rank=4, sparsity=0.0, before=0):
    """The states from entry on, after `before` steps of plain training."""
    knobs = knobs_of(tune__only=only, tune__rank=rank, prune__sparsity=sparsity, optimizer__learning_rate=RATE)
    plain_step, begin, step_once = compiled(program)
    state = initial_state(program, SEED)
    for step in range(START - before, START):
        state = plain_step(knobs, state, jnp.int32(step))
    states = [begin(knobs, state)]
    for step in range(START, START + STEPS):
        states.append(step_once(knobs, states[-1], jnp.int32(step)))
    return states


def loss_at(program, params, step):
    worlds = program.mixture.worlds(derive_key(SEED, "world"))
    batch = DataSource(program.context, SEED, jnp.int32(step), jnp.int32(step)).batch(worlds, program.length)
    return task_loss(model.run(params, batch.tokens, program.spec, batch.answers).logits, batch)


def with_kernels(params, kernels):
    put = lambda path, leaf: kernels.get(jax.tree_util.keystr(path), leaf)  # noqa: E731
    return jax.tree_util.tree_map_with_path(put, params)


def by_autodiff(program, entry, free, effective):
    """The kernels after STEPS of Adam on `free`, through `effective`(free) -> kernels."""

    @jax.jit
    def step_once(free, moments, step):
        slope = jax.grad(lambda free: loss_at(program, with_kernels(entry, effective(free)), step))(free)
        updates, moments = ADAM.update(slope, moments)
        return optax.apply_updates(free, updates), moments

    moments = ADAM.init(free)
    with jax.numpy_dtype_promotion("standard"):
        for step in range(START, START + STEPS):
            free, moments = step_once(free, moments, step)
    return effective(free)


@pytest.mark.slow
@pytest.mark.parametrize("sparsity", [0.6, 0.0])
def test_adapters_are_autodiffs_through_the_product(program, sparsity):
    states = tuned(program, ADAPTERS, rank=3, sparsity=sparsity)
    entry, kept = states[0].params, states[0].extra["tune"]
    masks = {path: states[0].extra["prune"][path] for path in kept.moving}
    free = {path: (now.down[:, :3], now.up[:3]) for path, now in kept.moving.items()}
    assert all(not np.any(b) for _, b in free.values())
    drawn = np.concatenate([np.ravel(a) * len(a) ** 0.5 for a, _ in free.values()])
    assert abs(drawn.mean()) < 0.15
    assert abs(drawn.std() - 1) < 0.15

    def effective(free):
        return {p: jnp.where(masks[p], kernel + free[p][0] @ free[p][1], 0) for p, kernel in prunable(entry).items()}

    compare(program, states, effective, free)


@pytest.mark.slow
@pytest.mark.parametrize("sparsity", [0.0, 0.6])
def test_singular_values_are_autodiffs_through_the_decomposition(program, sparsity):
    states = tuned(program, VALUES, sparsity=sparsity)
    entry = states[0].params
    masks = {path: states[0].extra["prune"][path] for path in states[0].extra["tune"].moving}
    parts = {path: np.linalg.svd(kernel, full_matrices=False) for path, kernel in prunable(entry).items()}

    def effective(free):
        return {p: jnp.where(masks[p], parts[p][0] @ jnp.diag(free[p]) @ parts[p][2], 0) for p in free}

    compare(program, states, effective, {path: jnp.asarray(s) for path, (_, s, _) in parts.items()})
    if not sparsity:
        for path, kernel in prunable(states[-1].params).items():
            core = parts[path][0].T @ np.asarray(kernel) @ parts[path][2].T
            np.testing.assert_allclose(core - np.diag(np.diag(core)), 0, atol=2e-6)


def compare(program, states, effective, free):
    """Kernels as by autodiff, zero where masked, everything else as on entry."""
    entry, last = states[0].params, states[-1].params
    for path, kernel in by_autodiff(program, entry, free, effective).items():
        ours, moved = prunable(last)[path], np.abs(prunable(last)[path] - prunable(entry)[path])
        assert moved.max() > RATE / 2
        np.testing.assert_allclose(ours, kernel, rtol=1e-5, atol=2e-3 * moved.max())
        np.testing.assert_array_equal(np.asarray(ours) == 0, np.asarray(kernel) == 0)
    rest = with_kernels(last, prunable(entry))
    jax.tree.map(np.testing.assert_array_equal, rest, entry)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "parts"),
    [(READOUT, ("unembedding", "norm_final")), (NORMS, ("norm_attention", "norm_mlp", "norm_final"))],
    ids=["readout", "norms"],
)
def test_what_is_tuned_moves_as_in_plain_training_of_a_frozen_rest(program, only, parts):
    """With the moments that it had: optax's Adam over all gradients, its updates thrown away where nothing may move."""
    states = tuned(program, only, before=3)
    moves = lambda path: any(f"['{part}']" in jax.tree_util.keystr(path) for part in parts)  # noqa: E731

    @jax.jit
    def step_once(params, moments, step):
        updates, moments = ADAM.update(jax.grad(lambda p: loss_at(program, p, step))(params), moments)
        frozen = step >= START
        updates = jax.tree_util.tree_map_with_path(
            lambda path, u: u if moves(path) else jnp.where(frozen, 0, u), updates
        )
        return optax.apply_updates(params, updates), moments

    params = initial_state(program, SEED).params
    moments = ADAM.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for step in range(START - 3, START + STEPS):
            params, moments = step_once(params, moments, jnp.int32(step))

    def check(path, ours, entry, theirs):
        if moves(path):
            assert np.any(ours != entry)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
        else:
            np.testing.assert_array_equal(ours, entry)

    jax.tree_util.tree_map_with_path(check, states[-1].params, states[0].params, params)


@pytest.mark.parametrize("rank", [1, 5, 9])
def test_adapters_have_their_rank(program, rank):
    states = tuned(program, ADAPTERS, rank=rank)
    for path, kernel in prunable(states[-1].params).items():
        values = np.linalg.svd(np.asarray(kernel) - np.asarray(prunable(states[0].params)[path]), compute_uv=False)
        assert (values > 1e-5 * values[0]).sum() == rank


def test_every_choice_shares_one_program_and_the_stage_before():
    sparsities = axis("prune.sparsity", (0.0, 0.5), stage="prune")
    study = study_of(grid=product(axis("tune.only", CHOICES), sparsities, axis("seed", (0,))))
    first, last = make_plan(study, local_layout()).program_groups
    assert (len(first.nodes), len(last.nodes)) == (1, 2 * len(CHOICES))
    assert first.program.mechanisms == ()
    assert last.program.starting == ("prune", "tune")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (dict(tune=dict(only="adapters", rank=12)), "more than the rank of the blocks' kernels, 8"),
        (dict(tune=dict(only="readout"), rewind=dict(to=3)), "puts back what rewind.to"),
        (dict(tune=dict(only="adapters"), spectral_cap=dict(norm=1.0)), "puts back what spectral_cap.norm"),
        (dict(tune=dict(only="singular_values"), low_rank=dict(rank=0.5)), "puts back what low_rank.rank"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(knobs, message):
    config = tiny_config()
    config.model.width = 8
    config.knobs = knobs
    with pytest.raises(UserError, match=message):
        study_of(config)
