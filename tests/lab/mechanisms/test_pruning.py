"""Pruning against independent references: NumPy sorts, a NumPy model and its differences, the published formulas."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.engine import local_layout, make_plan
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import DataSource, Update
from lab.mechanisms.pruning import MASK_EVERY, REGROW_EVERY
from lab.mechanisms.pruning_masks import SCOPES, erk_counts, kept, lowest, masks_of, prunable, regrown
from lab.mechanisms.pruning_scores import input_norms, magnitude, scores_at_start
from lab.nn import model
from lab.prng import derive_key
from lab.training import step as train
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, initial_state, study_of
from tests.lab.mechanisms.test_regularizers import knobs_of
from tests.lab.nn import numpy_model
from tests.tasks.task_cases import first_by_default

PARAMS = initial_params(jax.random.key(0), model.ModelSpec(11, 9, 16, 2, 2, 24))
KERNELS = prunable(PARAMS)
SIZE = sum(kernel.size for kernel in KERNELS.values())
MECHANISM = MECHANISMS["prune"]
MASKS, KEPT, LOWEST = jax.jit(masks_of, static_argnames="scope"), jax.jit(kept), jax.jit(lowest)
ZERO, ONE = jnp.int32(0), jnp.float32(1)
SHARES = [0.0, 0.1, 0.37, 0.5, 0.999, 1.0]


def removed_of(share, count):
    return int(np.round(np.float32(share) * np.float32(count)))


def gone(masks):
    return {path: int((~np.asarray(mask)).sum()) for path, mask in masks.items()}


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=7, max_size=9), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_masks_remove_exactly_the_smallest(weights, sparsity):
    mask, weights = np.asarray(KEPT(jnp.asarray(weights, jnp.float32), jnp.float32(sparsity))), np.asarray(weights)
    assert (~mask).sum() == removed_of(sparsity, len(weights))
    if mask.any() and not mask.all():
        assert weights[~mask].max() <= weights[mask].min()


FLOATS = [-np.inf, -2.5, -1.0, -1e-38, -0.0, 0.0, 1e-38, 0.5, 1.0, 1.0000001, 3e38, np.inf, np.nan]


@given(st.lists(st.sampled_from(FLOATS), min_size=20, max_size=20), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_lowest_are_those_of_a_stable_sort(scores, share):
    scores, count = np.asarray(scores, np.float32), round(share * len(scores))
    scores_N = np.where(np.isnan(scores), np.inf, scores)
    expected = np.zeros(len(scores), bool)
    expected[np.argsort(scores_N, kind="stable")[:count]] = True
    np.testing.assert_array_equal(LOWEST(jnp.asarray(scores), jnp.int32(count)), expected)


def test_the_lowest_are_scipys_lowest_ranks():
    from scipy.stats import rankdata

    scores = np.float32(np.abs(np.random.default_rng(0).normal(size=5000)).round(2))
    found = [np.asarray(LOWEST(jnp.asarray(scores), jnp.int32(count))) for count in (0, 1, 2500, 4999, 5000)]
    for mask, count in zip(found, (0, 1, 2500, 4999, 5000), strict=True):
        np.testing.assert_array_equal(mask, rankdata(scores, method="ordinal") <= count)


@pytest.mark.parametrize("sparsity", SHARES)
def test_density_is_exact_over_all_in_every_layer_and_in_every_unit(sparsity):
    masks = {scope: MASKS(magnitude(KERNELS), jnp.float32(sparsity), scope) for scope in SCOPES}
    assert sum(gone(masks["global"]).values()) == removed_of(sparsity, SIZE)
    for path, kernel in KERNELS.items():
        assert gone(masks["layerwise"])[path] == removed_of(sparsity, kernel.size)
        assert set((~np.asarray(masks["output"][path])).sum(0)) == {removed_of(sparsity, len(kernel))}


def published_erk(shapes, sparsity):
    """The densities of Evci et al. 2020 in NumPy: one factor for all layers, at most 1 each."""
    size = np.array([i * o for i, o in shapes])
    raw = np.array([(i + o) / (i * o) for i, o in shapes])
    dense = np.zeros(len(shapes), bool)
    while True:
        left = (1 - sparsity) * size.sum() - size[dense].sum()
        density = np.where(dense, 1.0, left / max((raw * size)[~dense].sum(), 1e-9) * raw)
        if (density <= 1).all():
            return density
        dense |= density > 1


@pytest.mark.parametrize("sparsity", [0.0, 0.05, 0.1, 0.37, 0.5, 0.9, 0.99, 1.0])
def test_erk_densities_are_the_published_ones_and_exact_in_all(sparsity):
    shapes = {"a": (64, 192), "b": (64, 64), "c": (64, 256), "d": (256, 64), "e": (7, 9), "f": (3, 200)}
    counts = jax.jit(lambda s: erk_counts(shapes, s))(jnp.float32(sparsity))
    size = np.array([i * o for i, o in shapes.values()])
    assert sum(map(int, counts.values())) == size.sum() - removed_of(sparsity, size.sum())
    expected = published_erk(list(shapes.values()), sparsity) * size
    np.testing.assert_allclose([int(counts[path]) for path in shapes], expected, atol=1)


def test_erk_masks_keep_the_largest_of_each_layer():
    masks = jax.jit(lambda k: masks_of(magnitude(k), jnp.float32(0.8), "layerwise", "erk"))(KERNELS)
    assert sum(gone(masks).values()) == removed_of(0.8, SIZE)
    densities = published_erk([kernel.shape for kernel in KERNELS.values()], 0.8)
    for density, (path, kernel) in zip(densities, KERNELS.items(), strict=True):
        mask, weights = np.asarray(masks[path]), np.abs(kernel)
        assert abs(mask.sum() - density * kernel.size) <= 1
        assert weights[~mask].max() <= weights[mask].min()
    assert len({float(mask.mean()) for mask in masks.values()}) > 1


def test_masks_of_each_scope_are_numpys():
    masks = {scope: MASKS(magnitude(KERNELS), jnp.float32(0.5), scope) for scope in ("global", "output")}
    threshold = np.quantile(np.concatenate([np.abs(k).ravel() for k in KERNELS.values()]), 0.5)
    for path, kernel in KERNELS.items():
        np.testing.assert_array_equal(masks["global"][path], np.abs(kernel) > threshold)
        np.testing.assert_array_equal(masks["output"][path], np.abs(kernel) > np.median(np.abs(kernel), axis=0))


@pytest.fixture(scope="module")
def program():
    plain = make_plan(study_of(), local_layout()).program_groups[0].program
    return replace(plain, spec=replace(plain.spec, layers=2), mechanisms=("prune",), starting=("prune",))


@pytest.fixture(scope="module")
def at_start(program):
    """The model's start, what a mechanism sees there, and both as float64 NumPy."""
    seed = jnp.int32(1)
    params = jax.jit(lambda: initial_state(program, seed).params)()
    worlds = program.mixture.worlds(derive_key(seed, "world"))
    batch = jax.jit(lambda: DataSource(program.context, seed, ZERO, ZERO).batch(worlds, program.length))()
    here = ActiveMechanisms.of(("prune",), knobs_of(), seed, ZERO).view(
        "prune", batch, program.spec, ZERO, before=model.no_hook
    )
    return params, here, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params), jax.tree.map(np.array, batch)


def scores_of(method, params, here):
    return jax.jit(lambda p: scores_at_start(method, p, here))(params)


def test_snip_is_the_weight_times_the_slope_of_the_loss(program, at_start):
    """By central differences of a float64 NumPy model, for some weights of every kernel."""
    params, here, wide, batch = at_start
    scores, rng = scores_of("snip", params, here), np.random.default_rng(0)
    for path, kernel in prunable(wide).items():
        slopes, places = [], [tuple(rng.integers(kernel.shape)) for _ in range(12)]
        for place in places:
            weight, losses = kernel[place], []
            for kernel[place] in (weight + 1e-5, weight - 1e-5):
                losses.append(numpy_model.loss(wide, batch, program.spec.heads))
            kernel[place] = weight
            slopes.append(abs(weight * (losses[0] - losses[1]) / 2e-5))
        np.testing.assert_allclose([scores[path][place] for place in places], slopes, rtol=2e-3, atol=1e-7)


def test_wanda_is_as_published(program, at_start):
    """Sun et al. 2023, algorithm 1 in NumPy (their kernels are O×I), on the inputs of a NumPy model."""
    params, here, wide, batch = at_start
    _, read = numpy_model.forward(wide, batch.tokens, program.spec.heads)
    norms = jax.jit(lambda p: input_norms(p, here))(params)
    masks = MASKS(scores_of("wanda", params, here), jnp.float32(0.5), "output")
    for path, kernel in prunable(wide).items():
        x_TxI = read[path].reshape(-1, len(kernel))
        np.testing.assert_allclose(norms[path], np.linalg.norm(x_TxI, axis=0), rtol=1e-4)
        metric_OxI = np.abs(kernel.T) * np.linalg.norm(x_TxI, axis=0)
        order_OxI = np.argsort(metric_OxI, axis=1)
        expected_OxI = np.ones(metric_OxI.shape, bool)
        np.put_along_axis(expected_OxI, order_OxI[:, : len(kernel) // 2], False, axis=1)
        assert (np.asarray(masks[path]) == expected_OxI.T).mean() > 0.999  # float32 may order two equals differently


def test_random_masks_are_exact_and_look_at_nothing(at_start):
    params, here, _, _ = at_start
    masks = [
        MASKS(scores_of("random", params, replace(here, key=jax.random.key(key))), jnp.float32(0.3), "global")
        for key in (0, 0, 1)
    ]
    flat = [np.concatenate([np.ravel(m) for m in mask.values()]) for mask in masks]
    assert {(~mask).sum() for mask in flat} == {removed_of(0.3, flat[0].size)}
    np.testing.assert_array_equal(flat[0], flat[1])
    assert abs((flat[0] & flat[2]).mean() - 0.49) < 0.02
    weights = np.concatenate([np.abs(k).ravel() for k in prunable(params).values()])
    assert abs(weights[flat[0]].mean() / weights.mean() - 1) < 0.02


def names_of(**static):
    """The static knobs of pruning, neutral but for those named."""
    neutral = dict(scope="global", spread="even", method="magnitude", regrow="none")
    return {f"prune.{name}": value for name, value in (neutral | static).items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "scope", "since", "over", "sparsity"),
    first_by_default(
        [("magnitude", "global", 0, 60, 0.8), ("snip", "layerwise", 27, 45, 0.5), ("random", "output", 10, 7, 0.9)]
    ),
)
def test_gradual_sparsity_is_the_published_cubic(program, at_start, method, scope, since, over, sparsity):
    """s_t = s_f + (s_i - s_f)(1 - (t - t_0)/(n Δt))³ at every choice, nothing else in between, what is gone stays."""
    params, here, _, _ = at_start
    static = names_of(method=method, scope=scope)
    knobs = knobs_of(prune__sparsity=sparsity, prune__over=over)
    extra = MECHANISM.init(params, replace(program, static=tuple(static.items())).context)
    extra = MECHANISM.on_stage_start(params, extra, knobs | static, replace(here, step=jnp.int32(since)))
    follow = jax.jit(lambda p, extra, update: MECHANISM.after_update(p, extra, knobs | static, update))
    kernels, expected = prunable(params), 0.0
    for step in range(since, since + over + 2 * MASK_EVERY):
        before = {path: np.asarray(extra[path]) for path in kernels}
        moved = jax.tree.map(lambda leaf, step=step: leaf * (1 + 0.3 * jnp.sin(leaf * 99 + step)), params)
        extra = follow(moved, extra, Update(moved, jax.random.key(step), jnp.int32(step), ONE))
        if (step + 1) % MASK_EVERY == 0:
            t = min(step + 1 - since, over)
            expected = sparsity + (0 - sparsity) * (1 - t / over) ** 3
        for path, kernel in kernels.items():
            mask = np.asarray(extra[path])
            assert not (mask & ~before[path]).any()
            if scope != "global":
                count = mask.size if scope == "layerwise" else len(kernel)
                lost = (~mask).sum() if scope == "layerwise" else (~mask).sum(0)
                assert (np.abs(lost - expected * count) <= 0.5 + 1e-3).all()
        if scope == "global":
            total = sum(mask.size for mask in before.values())
            assert abs(sum(gone({p: extra[p] for p in kernels}).values()) - expected * total) <= 0.5 + 1e-2
    assert expected == sparsity


@pytest.mark.slow
def test_the_choice_of_masks_stays_a_branch_where_cells_run_together(program):
    """Else every cell would rank its weights at every step."""
    static = names_of()
    extra = MECHANISM.init(PARAMS, program.context)

    def follow(extra, over, step):
        knobs = knobs_of(prune__sparsity=0.5) | static | {"prune.over": over}
        return MECHANISM.after_update(PARAMS, extra, knobs, Update(PARAMS, jax.random.key(0), step, ONE))

    extras = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), extra)
    jaxpr = jax.make_jaxpr(jax.vmap(follow, (0, 0, None)))(extras, jnp.asarray([1.0, 20.0, 50.0]), ZERO)
    (branch,) = [equation for equation in jaxpr.eqns if "branches" in equation.params]
    outside = [str(equation) for equation in jaxpr.eqns if equation is not branch]
    assert "cumsum" in str(branch)
    assert "cumsum" not in " ".join(outside)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("density", [0.1, 0.5, 0.9, 1.0])
def test_an_exchange_keeps_the_density_and_takes_the_smallest_for_the_most_wanted(density, share):
    rng = np.random.default_rng(3)
    mask, kernel, wanted = rng.random((8, 15)) < density, rng.normal(size=(8, 15)), rng.random((8, 15))
    arguments = jnp.asarray(mask), jnp.float32(kernel), jnp.float32(wanted), jnp.float32(share)
    new, born = map(np.asarray, jax.jit(regrown)(*arguments))
    count = min(removed_of(share, mask.sum()), (~mask).sum())
    smallest = sorted(zip(*np.nonzero(mask), strict=True), key=lambda at: abs(kernel[at]))[:count]
    best = sorted(zip(*np.nonzero(~mask), strict=True), key=lambda at: -wanted[at])[:count]
    assert set(zip(*np.nonzero(mask & ~new), strict=True)) == set(smallest)
    assert set(zip(*np.nonzero(born), strict=True)) == set(zip(*np.nonzero(new & ~mask), strict=True)) == set(best)
    assert new.sum() == mask.sum()


@pytest.mark.parametrize(
    ("regrow", "scope"),
    [
        pytest.param("rigl", "global", marks=pytest.mark.slow),
        pytest.param("set", "layerwise", marks=pytest.mark.slow),
        pytest.param("set", "global", marks=pytest.mark.slow),
        pytest.param("rigl", "layerwise", marks=pytest.mark.slow),
    ],
)
def test_regrowth_keeps_every_layers_density_and_starts_at_zero(program, regrow, scope):
    """Through training: exchanges at their steps and at no other, new weights 0 before their first update."""
    using = replace(program, static=tuple(names_of(regrow=regrow, scope=scope).items()))
    knobs, seed = knobs_of(prune__sparsity=0.7, prune__regrow_share=0.3), jnp.int32(4)
    state = train.begin(using, initial_state(using, seed), knobs, seed, ZERO)
    worlds = using.mixture.worlds(derive_key(seed, "world"))
    step_once = jax.jit(lambda s, step: train.train_step(using, worlds, seed, knobs | dict(using.static), s, step)[0])
    active = {path: int(state.extra["prune"][path].sum()) for path in prunable(state.params)}
    for step in range(2 * REGROW_EVERY + 3):
        before, state = state, step_once(state, jnp.int32(step))
        new = state.extra["prune"]
        for path, kernel in prunable(state.params).items():
            mask, old, kernel = (np.asarray(a) for a in (new[path], before.extra["prune"][path], kernel))
            born = mask & ~old
            assert mask.sum() == active[path]
            assert not kernel[~mask].any()
            due = (step + 1) % REGROW_EVERY == 0
            assert born.sum() == (min(removed_of(0.3, active[path]), (~old).sum()) if due else 0)
            assert not kernel[born].any()
            if step % REGROW_EVERY == 0 and step:
                grown = np.asarray(before.extra["prune"]["born"][path])
                assert kernel[grown & mask].any()  # and then they learn, but for those of units without a gradient


def test_the_exchanged_share_goes_along_half_a_cosine(program, at_start):
    """α/2·(1 + cos(tπ/T)) of the active weights at t < T, then none (Evci et al. 2020)."""
    params, here, _, _ = at_start
    static, since, over = names_of(regrow="rigl"), 20, 4 * REGROW_EVERY
    knobs = knobs_of(prune__sparsity=0.6, prune__regrow_share=0.4, prune__regrow_over=over)
    extra = MECHANISM.init(params, replace(program, static=tuple(static.items())).context)
    extra = MECHANISM.on_stage_start(params, extra, knobs | static, replace(here, step=jnp.int32(since)))
    follow = jax.jit(lambda extra, update: MECHANISM.after_update(params, extra, knobs | static, update))
    found, wanted = [], []
    for step in range(REGROW_EVERY - 1, 6 * REGROW_EVERY, REGROW_EVERY):
        extra = follow(extra, Update(params, jax.random.key(step), jnp.int32(step), ONE))
        t = step + 1 - since
        share = 0.2 * (1 + np.cos(np.pi * t / over)) if t < over else 0
        for path in prunable(params):
            found.append(int(extra["born"][path].sum()))
            wanted.append(share * int(extra[path].sum()))
    np.testing.assert_allclose(found, wanted, atol=0.5 + 1e-3)
    assert found[-1] == 0


@pytest.mark.slow
def test_rigl_grows_the_steepest_and_set_any(program, at_start):
    params, here, _, _ = at_start
    at, rng = jnp.int32(REGROW_EVERY - 1), np.random.default_rng(5)
    gradient = jax.tree.map(lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), params)
    slopes, found = prunable(gradient), {}
    for regrow in ("rigl", "set"):
        static, knobs = names_of(regrow=regrow), knobs_of(prune__sparsity=0.5, prune__regrow_share=0.2)
        extra = MECHANISM.init(params, replace(program, static=tuple(static.items())).context)
        extra = MECHANISM.on_stage_start(params, extra, knobs | static, here)
        update = Update(gradient, jax.random.key(0), at, ONE)
        found[regrow] = MECHANISM.after_update(params, extra, knobs | static, update)
    for path, slope in slopes.items():
        pruned = ~np.asarray(extra[path])
        born = {regrow: np.asarray(found[regrow]["born"][path]) for regrow in found}
        assert np.abs(slope)[born["rigl"]].min() > np.abs(slope)[pruned & ~born["rigl"]].max()
        assert born["set"].sum() == born["rigl"].sum() > 0
        chance = born["rigl"].sum() / pruned.sum()
        assert (born["set"] & born["rigl"]).sum() / born["set"].sum() < chance + 0.2


@pytest.mark.slow
def test_regrowth_does_nothing_to_a_dense_model(program):
    """So that cells at sparsity 0 may share a program with the others."""
    seed, losses = jnp.int32(0), []
    for static in (names_of(), names_of(regrow="rigl")):
        using = replace(program, static=tuple(static.items()), call_steps=REGROW_EVERY + 2)
        knobs = knobs_of(prune__regrow_share=0.5)
        state = train.begin(using, initial_state(using, seed), knobs, seed, ZERO)
        losses.append(jax.jit(lambda s, p=using, k=knobs: train.train_call(p, ZERO, seed, k, s))(state)[1])
    np.testing.assert_array_equal(*losses)
