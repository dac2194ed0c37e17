"""Each regularizer against an independent reference: optax, a NumPy formula, a brute-force Jacobian."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.engine import local_layout, make_plan
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms import geometry_penalties as geometry
from lab.mechanisms.base import StepView
from lab.mechanisms.knobs import KNOBS
from lab.nn import model
from lab.nn.loss import task_loss
from lab.prng import derive_key
from lab.training import step as train
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, initial_state, study_of, tiny_config

RNG = np.random.default_rng(0)
ZERO = jnp.int32(0)


@pytest.fixture(scope="module")
def program():
    return make_plan(study_of(), local_layout()).program_groups[0].program


@pytest.fixture(scope="module")
def batch(program):
    @jax.jit
    def drawn():
        worlds = program.mixture.worlds(derive_key(jnp.int32(0), "world"))
        return program.mixture.batch(jax.random.key(3), worlds, dict(program.counts), program.length)

    return drawn()


@pytest.fixture(scope="module")
def params(program):
    return initial_params(jax.random.key(0), program.spec)


def knobs_of(**changed):
    """Every traced knob at its base value but those named `mechanism__setting`."""
    values = {k.name: k.number(k.base) for k in KNOBS.values() if k.traced and k.name != "seed"}
    return {k: jnp.float32(v) for k, v in (values | {n.replace("__", "."): v for n, v in changed.items()}).items()}


def active_of(name, step=0, **changed):
    return ActiveMechanisms.of((name,), knobs_of(**changed), jnp.int32(0), jnp.int32(step))


def extra_gradient_of(name, params, batch, spec, **changed):
    """What a mechanism adds to a gradient of zeros."""
    nothing = jax.tree.map(jnp.zeros_like, params)
    return active_of(name, **changed).with_extra_gradients(nothing, params, batch, spec, ZERO)


def test_l2_and_l1_are_the_gradients_of_their_norms(program, batch, params):
    """By central differences of the NumPy norm in float64."""
    l2 = extra_gradient_of("l2", params, batch, program.spec, l2__rate=0.3)
    l1 = extra_gradient_of("l1", params, batch, program.spec, l1__rate=0.2)

    def expect(leaf, two, one):
        w, width = np.asarray(leaf, np.float64), 1e-6
        if w.ndim != 2:
            assert not np.any(two)
            assert not np.any(one)
            return
        slope_two = ((0.15 * (w + width) ** 2) - (0.15 * (w - width) ** 2)) / (2 * width)
        np.testing.assert_allclose(two, slope_two, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(one, (0.2 * abs(w + width) - 0.2 * abs(w - width)) / (2 * width), rtol=1e-4)

    jax.tree.map(expect, params, l2, l1)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthogonality_pulls_along_the_gradient_of_the_distance(shape):
    from lab.mechanisms.weight_penalties import pull_to_orthogonal

    kernel = RNG.normal(size=shape)
    small = kernel if shape[1] <= shape[0] else kernel.T
    distance = lambda w: np.sum((w.T @ w - np.eye(small.shape[1])) ** 2)  # noqa: E731
    slopes = np.zeros_like(small)
    for index in np.ndindex(*small.shape):
        move = np.zeros_like(small)
        move[index] = 1e-6
        slopes[index] = (distance(small + move) - distance(small - move)) / 2e-6
    ours = np.asarray(pull_to_orthogonal(jnp.asarray(kernel, jnp.float32)))
    np.testing.assert_allclose(ours if shape[1] <= shape[0] else ours.T, slopes, rtol=1e-4, atol=1e-4)
    orthogonal = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(pull_to_orthogonal(jnp.asarray(orthogonal, jnp.float32)), 0, atol=1e-5)


def test_activation_l1_is_the_mean_magnitude(program, batch, params):
    forward = model.run(params, batch.tokens, program.spec, batch.answers)
    assert forward.neurons.shape == (1, *batch.tokens.shape, program.spec.mlp_width)
    added = active_of("activation_l1", activation_l1__rate=2.5).penalized(0.0, forward, batch, program.spec, ZERO)
    np.testing.assert_allclose(added, 2.5 * np.abs(np.asarray(forward.neurons, np.float64)).mean(), rtol=1e-5)


def test_label_smoothing_and_the_confidence_penalty_are_optaxs_and_numpys(program, batch, params):
    forward = model.run(params, batch.tokens, program.spec, batch.answers)
    targets_BxA = jnp.take_along_axis(batch.targets, batch.answers, axis=1)
    smooth = optax.smooth_labels(jax.nn.one_hot(targets_BxA, program.spec.vocab_size), 0.3)
    mask = np.asarray(batch.answer_mask, np.float64)
    theirs = (np.asarray(optax.softmax_cross_entropy(forward.logits, smooth)) * mask).sum(1) / mask.sum(1)
    plain = task_loss(forward.logits, batch)
    ours = active_of("label_smoothing", label_smoothing__rate=0.3).penalized(plain, forward, batch, program.spec, ZERO)
    np.testing.assert_allclose(ours, theirs.mean(), rtol=1e-5)

    p = np.exp(np.asarray(jax.nn.log_softmax(forward.logits), np.float64))
    entropy = (-(p * np.log(p)).sum(-1) * mask).sum(1) / mask.sum(1)
    ours = active_of("confidence_penalty", confidence_penalty__rate=0.7).penalized(
        0.0, forward, batch, program.spec, ZERO
    )
    np.testing.assert_allclose(ours, -0.7 * entropy.mean(), rtol=1e-5)


def test_geometry_penalties_are_their_formulas():
    z = RNG.normal(size=(40, 6)) * np.array([3, 2, 1, 0.5, 0.2, 0.1]) + 5
    cloud, covariance = jnp.asarray(z, jnp.float32), np.cov(z, rowvar=False)
    short = np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean()
    np.testing.assert_allclose(geometry.missing_spread(cloud), short, rtol=1e-5)
    off = covariance - np.diag(np.diag(covariance))
    np.testing.assert_allclose(geometry.correlation_left(cloud), (off**2).sum() / 6, rtol=1e-4)


@pytest.mark.parametrize("scales", [(1, 1, 1, 1), (3, 2, 1, 0.1), (5, 0, 0, 0)])
def test_isotropy_is_isoscore_as_published(scales):
    """Steps 3 to 7 of Rudman et al. 2022 (arXiv 2108.07344), on the covariance's eigenvalues."""
    n = len(scales)
    basis = np.linalg.qr(RNG.normal(size=(50, n)))[0]
    centred = np.linalg.qr(basis - basis.mean(0))[0] * np.asarray(scales) * 7  # orthogonal columns of mean 0
    eigenvalues = np.linalg.eigvalsh(np.cov(centred, rowvar=False))
    normal = np.sqrt(n) * eigenvalues / np.linalg.norm(eigenvalues)
    defect = np.linalg.norm(normal - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    dimensions = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    score = (n * dimensions - 1) / (n - 1)
    np.testing.assert_allclose(geometry.anisotropy(jnp.asarray(centred + 3, jnp.float32)), 1 - score, atol=2e-4)


@pytest.mark.parametrize("layer", [-2, -1, 0, 1])
def test_geometry_penalties_read_the_chosen_layer_where_the_first_answer_is_predicted(program, batch, params, layer):
    forward = model.run(params, batch.tokens, program.spec, batch.answers)
    at = np.asarray(batch.answers)[:, 0]
    z = np.asarray(forward.hidden, np.float64)[layer][np.arange(len(at)), at]
    short = np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean()
    active = active_of("variance", variance__rate=2.0, variance__layer=layer)
    np.testing.assert_allclose(active.penalized(0.0, forward, batch, program.spec, ZERO), 2 * short, rtol=1e-4)


def test_a_layer_that_the_model_lacks_is_refused():
    config = tiny_config()
    config.knobs = dict(variance=dict(rate=1.0, layer=4))
    with pytest.raises(UserError, match=r"variance.layer=4 must lie in \[-2, 1\]"):
        study_of(config)


@pytest.mark.slow
def test_the_jacobian_penalty_is_half_the_squared_norm_of_a_random_pull(program, batch, params):
    """Jᵀv by a brute-force Jacobian, and its slope along a direction in weight space by central differences."""
    two, key = jax.tree.map(lambda leaf: leaf[jnp.asarray([0, 5])], batch), jax.random.key(1)
    width = program.spec.width

    def forward(params, hook):
        return model.run(params, two.tokens, program.spec, two.answers, hook)

    @jax.jit
    def jacobian(params):
        def logits(shift):
            return forward(params, lambda hook_point, layer, x: x + shift if hook_point == "embedding" else x).logits

        return jax.jacrev(lambda s: jax.vmap(jnp.ravel)(logits(s)))(jnp.zeros((*two.tokens.shape, width)))

    there = np.asarray(two.answer_mask)[..., None] * np.ones(program.spec.vocab_size)
    v_BxO = np.asarray(jax.random.normal(key, there.shape), np.float64).reshape(2, -1) * there.reshape(2, -1)

    def penalty(params):
        j_BxOxBxLxD = np.asarray(jacobian(params), np.float64)
        return 0.5 * np.mean([np.sum(np.tensordot(v_BxO[b], j_BxOxBxLxD[b, :, b], 1) ** 2) for b in (0, 1)])

    extra_gradient = jax.jit(
        lambda p: MECHANISMS["jacobian"].extra_gradient(
            p, StepView(two, key, ZERO, forward), knobs_of(jacobian__rate=1.0)
        )
    )
    along = jax.tree.map(lambda p: jnp.cos(9 * p) / 30, params)
    move = lambda size: jax.tree.map(lambda p, d: p + size * d, params, along)  # noqa: E731
    slope = (penalty(move(3e-3)) - penalty(move(-3e-3))) / 6e-3
    ours = sum(
        float(jnp.vdot(g, d)) for g, d in zip(*map(jax.tree.leaves, (extra_gradient(params), along)), strict=True)
    )
    np.testing.assert_allclose(ours, slope, rtol=2e-2)


def test_sam_looks_uphill_by_rho(params):
    gradient = jax.tree.map(lambda p: jnp.cos(3 * p), params)
    moved = MECHANISMS["sam"].perturbed_params(params, gradient, knobs_of(sam__rho=0.25))
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)  # noqa: E731
    step, slope = flat(moved) - flat(params), flat(gradient)
    np.testing.assert_allclose(np.linalg.norm(step), 0.25, rtol=1e-4)
    np.testing.assert_allclose(step @ slope, 0.25 * np.linalg.norm(slope), rtol=1e-4)


@pytest.mark.slow
def test_sam_follows_the_gradient_taken_there(program):
    """One step of training against the same step written out."""
    using = replace(program, mechanisms=("sam",), starting=("sam",))
    seed, knobs = jnp.int32(2), knobs_of(sam__rho=0.5)
    worlds = program.mixture.worlds(derive_key(seed, "world"))
    state = train.begin(using, initial_state(using, seed), knobs, seed, ZERO)
    after, _ = jax.jit(lambda s: train.train_step(using, worlds, seed, knobs, s, jnp.int32(0)))(state)
    batch = program.mixture.batch(derive_key(seed, "batch", 0), worlds, dict(program.counts), program.length)
    slope = jax.jit(jax.grad(lambda p: task_loss(model.apply(p, batch.tokens, program.spec, batch.answers)[0], batch)))
    first = slope(state.params)
    length = np.sqrt(sum(float(jnp.sum(jnp.square(g))) for g in jax.tree.leaves(first)))
    second = slope(jax.tree.map(lambda p, g: p + jnp.float32(0.5 / length) * g, state.params, first))
    jax.tree.map(lambda m, g: np.testing.assert_allclose(m, 0.1 * g, rtol=1e-3, atol=1e-7), after.moments.mu, second)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("name", ["embedding_dropout", "attention_dropout", "residual_dropout"])
def test_dropout_drops_its_share_and_keeps_the_mean(name, rate):
    mechanism = MECHANISMS[name]
    changed = mechanism.hook("", 0, jnp.full((40, 50, 20), 2.0), knobs_of(**{f"{name}__rate": rate}), jax.random.key(0))
    changed = np.asarray(changed, np.float64)
    assert set(np.unique(changed)) <= {0.0, np.float32(2 * (np.float32(1) / (np.float32(1) - np.float32(rate))))}
    assert abs((changed == 0).mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / changed.size) + 1e-12
    assert abs(changed.mean() - 2) < 4 * 2 * np.sqrt(rate / (1 - rate) / changed.size) + 1e-6


def test_hidden_noise_is_normal_in_units_of_the_root_mean_square():
    from scipy.stats import kstest

    x = jnp.asarray(RNG.normal(size=(500, 8)) * 4 + 1, jnp.float32)
    changed = MECHANISMS["hidden_noise"].hook("residual", 1, x, knobs_of(hidden_noise__sigma=0.5), jax.random.key(1))
    rms = np.sqrt((np.asarray(x, np.float64) ** 2).mean(1, keepdims=True))
    drawn = (np.asarray(changed, np.float64) - np.asarray(x)) / (0.5 * rms)
    assert kstest(drawn.ravel(), "norm").pvalue > 1e-3


def test_gradient_noise_is_normal_and_new_at_every_step_and_leaf(program, batch, params):
    from scipy.stats import kstest

    active = [active_of("gradient_noise", step, gradient_noise__sigma=0.5) for step in (0, 1)]
    nothing = jax.tree.map(jnp.zeros_like, params)
    drawn = [a.with_extra_gradients(nothing, params, batch, program.spec, ZERO) for a in active]
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in drawn]
    assert kstest(flat[0] / 0.5, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(*flat)[0, 1]) < 0.1
    alike = [leaf for leaf in jax.tree.leaves(drawn[0]) if leaf.shape == (program.spec.width,)]
    assert len({np.asarray(leaf).tobytes() for leaf in alike}) == len(alike) > 1


def test_hook_points_differ_between_layers_and_steps(program, batch, params):
    def forward(step):
        active = active_of("residual_dropout", step, residual_dropout__rate=0.5)
        return model.run(params, batch.tokens, program.spec, batch.answers, active.hook)

    key = lambda active, hook_point, layer: active.hook(hook_point, layer, jnp.ones((4, 64)))  # noqa: E731
    one = active_of("residual_dropout", 0, residual_dropout__rate=0.5)
    draws = [key(one, "mlp_out", 1), key(one, "mlp_out", 2), key(one, "attention_out", 1)]
    assert len({np.asarray(d).tobytes() for d in draws}) == 3
    assert not np.array_equal(forward(0).logits, forward(1).logits)
    assert np.array_equal(forward(1).logits, forward(1).logits)
    kept = one.hook("residual", 1, jnp.ones(3))
    np.testing.assert_array_equal(kept, np.ones(3))


@pytest.mark.slow
def test_kernels_stay_under_the_spectral_cap(program):
    using = replace(program, mechanisms=("spectral_cap",), starting=("spectral_cap",), call_steps=20)
    knobs = knobs_of(spectral_cap__norm=0.8)
    state = train.begin(using, initial_state(using, ZERO), knobs, ZERO, ZERO)
    after, _ = jax.jit(lambda s: train.train_call(using, jnp.int32(0), jnp.int32(0), knobs, s))(state)
    for tree in (state.params, after.params):
        kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if model.is_linear_kernel(path)]
        norms = [np.linalg.norm(np.asarray(kernel, np.float64), 2) for kernel in kernels]
        assert max(norms) < 0.8 * 1.02
        assert max(norms) > 0.8 * 0.98  # the cap binds, and takes no more than it must


@pytest.mark.parametrize(
    ("since", "over", "expected"),
    [(2**30, 1, [3, 3, 3, 3, 3, 3]), (2, 1, [3, 3, 0, 0, 0, 0]), (1, 4, [3, 2.25, 1.5, 0.75, 0, 0])],
)
def test_strengths_are_relaxed_when_and_as_fast_as_asked(since, over, expected):
    found = [
        float(active_of("l2", step, l2__rate=3.0, l2__relax_from=since, l2__relax_over=over).members[0][1]["l2.rate"])
        for step in range(6)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
