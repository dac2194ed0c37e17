"""Mechanisms that narrow the model: each against an independent reference, and wherever the model runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from lab.engine import local_layout, make_plan
from lab.errors import UserError
from lab.mechanisms import MECHANISMS, fsq, vib
from lab.mechanisms.knobs import KNOBS
from lab.mechanisms.quantization import code_entropy
from lab.nn import model
from lab.nn.model import ModelSpec
from lab.prng import derive_key
from lab.training import step as train
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, study_of, tiny_config
from tests.lab.nn.test_model import numpy_forward
from tests.tasks.task_cases import first_by_default

RNG = np.random.default_rng(0)
ZERO = jnp.int32(0)
SPEC = ModelSpec(vocab_size=11, max_length=9, width=16, layers=2, heads=2, mlp_width=24)
TOKENS_BxL = jax.random.randint(jax.random.key(1), (3, 7), 0, 11)


def knobs_of(**changed):
    """Every traced knob at its base value but those named `mechanism__setting`."""
    values = {k.name: k.number(k.base) for k in KNOBS.values() if k.traced and k.name != "seed"}
    return {k: jnp.float32(v) for k, v in (values | {n.replace("__", "."): v for n, v in changed.items()}).items()}


def reading(*names, **changed):
    return ActiveMechanisms.reading(names, knobs_of(**changed), jnp.int32(1)).hook


@pytest.fixture(scope="module")
def program():
    return make_plan(study_of(), local_layout()).program_groups[0].program


def started(program, name, step=0, **changed):
    """The state of a cell in which a mechanism begins at `step`, its program and its knobs."""
    using, knobs = replace(program, mechanisms=(name,), starting=(name,)), knobs_of(**changed)
    state = jax.jit(lambda k: train.begin(using, train.init(using, ZERO), k, ZERO, jnp.int32(step)))(knobs)
    return using, knobs, state


# Finite scalar quantization.


def papers_codes(z, levels):
    """The listing of Mentzer et al. 2023, appendix A.1, for one number of levels in all coordinates."""
    half_l = (levels - 1) * (1 - 1e-3) / 2
    offset = 0.0 if levels % 2 == 1 else 0.5
    shift = np.tan(offset / half_l)
    return np.round(np.tanh(z + shift) * half_l - offset), levels // 2


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 8, 16, 255])
def test_quantization_is_the_papers_listing(levels):
    x = RNG.normal(size=(200, 16))
    theirs, half_width = papers_codes(x * 4, levels)  # the unit is 1/sqrt(16)
    theirs[:, 5:] = 0
    at = (jnp.asarray(x, jnp.float32), jnp.float32(levels), jnp.float32(5))
    np.testing.assert_array_equal(fsq.codes(*at), theirs)
    np.testing.assert_allclose(fsq.quantized(*at), theirs / half_width / 4, rtol=1e-6)
    assert len(np.unique(theirs[:, :5])) == levels or levels > 16


def test_the_rounding_is_passed_straight_through():
    """The gradient is that of the bounded value, by central differences; coordinates without code get none."""
    x = RNG.normal(size=(6, 4)) * 0.3
    weight = RNG.normal(size=(6, 4))
    ours = jax.grad(lambda x: jnp.sum(fsq.quantized(x, jnp.float32(5), jnp.float32(3)) * weight))(jnp.asarray(x))
    bounded = lambda x: np.tanh(2 * x) * (4 * 0.999 / 2) / 2 / 2  # noqa: E731
    slope = (bounded(x + 1e-6) - bounded(x - 1e-6)) / 2e-6 * weight
    slope[:, 3] = 0
    np.testing.assert_allclose(ours, slope, rtol=1e-3, atol=1e-6)


def test_one_level_leaves_nothing_and_none_leaves_everything():
    x = jnp.asarray(RNG.normal(size=(5, 8)), jnp.float32)
    mechanism = MECHANISMS["fsq"]
    changed = [mechanism.hook("residual", 1, x, knobs_of(fsq__levels=n, fsq__coordinates=8), None) for n in (0, 1)]
    np.testing.assert_array_equal(changed[0], x)
    np.testing.assert_array_equal(changed[1], 0 * x)
    elsewhere = mechanism.hook("residual", 2, x, knobs_of(fsq__levels=3), None)
    np.testing.assert_array_equal(elsewhere, x)


def test_the_codes_entropy_is_counted():
    codes = RNG.integers(-1, 2, (500, 6))
    codes[:, 4:] = 0
    counts = np.array(list(Counter(map(tuple, codes)).values()))
    share = counts / counts.sum()
    np.testing.assert_allclose(code_entropy(jnp.asarray(codes, jnp.int32)), -(share * np.log(share)).sum(), rtol=1e-5)
    np.testing.assert_allclose(code_entropy(jnp.zeros((9, 3), jnp.int32)), 0, atol=1e-7)


@pytest.mark.parametrize("layer", first_by_default([1, 0, 2]))
def test_the_code_is_the_only_path(layer):
    """Two inputs with the same codes at the layer are answered bitwise alike, though they differ below it."""
    params = initial_params(jax.random.key(0), SPEC)
    hook = reading("fsq", fsq__levels=3, fsq__coordinates=2, fsq__layer=layer)
    hidden = model.run(params, TOKENS_BxL, SPEC, hook=hook).hidden[layer]
    assert len(np.unique(np.asarray(hidden))) <= 3
    np.testing.assert_array_equal(hidden[..., 2:], 0)

    def nudged(hook_point, at, x):
        x = x * 1.001 if (hook_point, at) == (("residual" if layer else "embedding"), layer) else x
        return hook(hook_point, at, x)

    same = model.run(params, TOKENS_BxL, SPEC, hook=nudged)
    np.testing.assert_array_equal(same.hidden[layer], hidden)
    np.testing.assert_array_equal(same.logits, model.run(params, TOKENS_BxL, SPEC, hook=hook).logits)


# The information bottleneck.


@pytest.mark.parametrize("noise", [0.1, 1.0, 2.5])
def test_the_rate_is_the_divergence_by_quadrature(noise):
    mean = RNG.normal(size=4) * 0.4
    tau, expected = 4**-0.5, 0.0
    for m in mean:
        code, prior = stats.norm(m, noise * tau), stats.norm(0, tau)
        integrand = lambda z, c=code, p=prior: c.pdf(z) * (c.logpdf(z) - p.logpdf(z))  # noqa: E731
        expected += integrate.quad(integrand, m - 12 * noise * tau, m + 12 * noise * tau)[0]
    np.testing.assert_allclose(vib.rate(jnp.asarray(mean, jnp.float32), jnp.float32(noise)), expected, rtol=1e-4)


@pytest.mark.slow
def test_the_bottlenecks_penalty_is_the_mean_rate_of_tokens_that_count(program):
    worlds = program.mixture.worlds(derive_key(ZERO, "world"))
    batch = jax.jit(lambda: program.mixture.batch(jax.random.key(3), worlds, dict(program.counts), program.length))()
    active = ActiveMechanisms.of(("vib",), knobs_of(vib__beta=0.3, vib__noise=0.5, vib__layer=1), ZERO, ZERO)
    forward = model.run(initial_params(jax.random.key(0), program.spec), batch.tokens, program.spec, batch.answers)
    rates = []
    for row in range(len(batch.tokens)):
        last = max(np.asarray(batch.answers[row])[np.asarray(batch.answer_mask[row])])
        for mu in np.asarray(forward.hidden[1, row, : last + 1], np.float64):
            rates.append(0.5 * (16 * mu**2 + 0.25 - 1 - np.log(0.25)).sum())
    np.testing.assert_allclose(
        active.penalized(jnp.float32(0), forward, batch, program.spec, ZERO), 0.3 * np.mean(rates), rtol=1e-5
    )


def test_noise_reaches_the_next_layer_and_the_mean_is_what_is_kept(program):
    """Drawn with σ = noise/√D, at the chosen layer alone; `hidden` there is as without it."""
    active = ActiveMechanisms.of(("vib",), knobs_of(vib__beta=0.1, vib__noise=0.5, vib__layer=1), ZERO, ZERO)
    x = jnp.zeros((300, 16))
    drawn = np.asarray(active.hook("onward", 1, x), np.float64)
    assert stats.kstest(drawn.ravel() / (0.5 / 4), "norm").pvalue > 1e-3
    np.testing.assert_array_equal(active.hook("onward", 0, x), x)
    params = initial_params(jax.random.key(0), SPEC)
    plain, noisy = (model.run(params, TOKENS_BxL, SPEC, hook=t) for t in (model.no_hook, active.hook))
    np.testing.assert_array_equal(plain.hidden[:2], noisy.hidden[:2])
    assert not np.allclose(plain.hidden[2], noisy.hidden[2])
    assert not MECHANISMS["vib"].active_at_inference


# Narrow models.


def narrow_spec(share):
    return replace(SPEC, width=round(SPEC.width * share))


def widened(narrow, spec, share, elsewhere=lambda p: p + 0.3):
    """A narrow model's weights where a wide one has them, anything elsewhere."""
    wide = jax.tree.map(elsewhere, initial_params(jax.random.key(9), spec))
    k, size = round(spec.width * share), spec.width // spec.heads
    stream = np.arange(k)
    head = np.concatenate([h * size + np.arange(round(size * share)) for h in range(spec.heads)])
    ends = {
        "qkv": (stream, np.concatenate([part * spec.width + head for part in range(3)])),
        "out": (head, stream),
        "mlp_in": (stream, slice(None)),
        "mlp_out": (slice(None), stream),
        "unembedding": (stream, slice(None)),
        "gate": (stream, head),
        "step": (stream, slice(None)),
        "taps": (slice(None), np.concatenate([part * spec.width + head for part in range(3)])),
        "canon_b": (slice(None), np.concatenate([part * spec.width + head for part in range(3)])),
        "canon_d": (slice(None), slice(None)),
        **dict.fromkeys(("canon_a", "canon_c"), (slice(None), stream)),
        **dict.fromkeys(("bias", "rate", "skip"), (slice(None), slice(None))),
    }

    def put(path, wide, narrow):
        names = [entry.key for entry in path]
        usual = (slice(None), stream)
        in_norm = any(name.startswith("norm_") for name in names)  # whose bias is as wide as the stream
        rows, columns = usual if in_norm else next((ends[n] for n in names if n in ends), usual)
        if wide.ndim == 1:
            return wide.at[columns].set(narrow)
        if isinstance(rows, np.ndarray) and isinstance(columns, np.ndarray):
            return wide.at[np.ix_(rows, columns)].set(narrow)
        return wide.at[rows, columns].set(narrow)

    return jax.tree_util.tree_map_with_path(put, wide, narrow)


def pieces(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "positions", "mixer"),
    [
        (0.5, "learned", "softmax"),
        (0.25, "none", "softmax"),
        (0.25, "learned", "softmax"),
        (0.75, "learned", "softmax"),
        (0.5, "none", "softmax"),
        (0.75, "none", "softmax"),
        (0.5, "learned", "selective"),
        (0.5, "none", "canon"),
    ],
)
def test_a_cut_model_is_the_narrow_one(program, share, positions, mixer):
    """Logits, hidden states and gradients; with the narrow model's weights in the wide one."""
    kind = dict(canon=4) if mixer == "canon" else dict(mixer=mixer)
    spec, thin = (replace(s, positions=positions, **kind) for s in (SPEC, narrow_spec(share)))
    narrow = jax.tree.map(lambda p: p + 0.05 * jnp.sin(37 * p), initial_params(jax.random.key(2), thin))
    mechanism, knobs = MECHANISMS["width"], knobs_of(width__active=share)
    kept = mechanism.init(narrow, replace(program, spec=spec).context)
    wide = mechanism.project(widened(narrow, spec, share), kept, knobs)
    hook, weight = reading("width", width__active=share), jax.random.normal(jax.random.key(5), (3, 7, 11))

    def of(params, spec, hook):
        forward = model.run(params, TOKENS_BxL, spec, hook=hook)
        return jnp.sum(forward.logits * weight), forward

    run = jax.jit(jax.value_and_grad(of, has_aux=True), static_argnums=(1, 2))
    (_, theirs), their_slope = run(narrow, thin, model.no_hook)
    (_, ours), our_slope = run(wide, spec, hook)
    np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.hidden[..., : thin.width], theirs.hidden, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ours.hidden[..., thin.width :], 0)
    placed = widened(their_slope, spec, share, jnp.zeros_like)  # what isn't there gets no gradient
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), our_slope, placed)


@pytest.mark.slow
def test_fresh_weights_have_the_narrow_models_variance_and_stay_cut(program):
    wide = replace(program, spec=replace(program.spec, width=128, heads=4, mlp_width=64))
    using, knobs, state = started(wide, "width", width__active=0.25)
    thin = initial_params(jax.random.key(4), replace(wide.spec, width=32))
    full = pieces(jax.jit(lambda: train.init(wide, ZERO).params)())
    for path, leaf in pieces(state.params).items():
        there = np.asarray(leaf) != 0
        if leaf.ndim == 2:
            assert there.sum() == pieces(thin)[path].size
            scale = 1 if "mlp_out" in path else 2
            np.testing.assert_allclose(np.asarray(leaf)[there], scale * np.asarray(full[path])[there], rtol=1e-6)
            np.testing.assert_allclose(np.asarray(leaf)[there].std(), np.std(pieces(thin)[path]), rtol=0.15)
    after, _ = jax.jit(lambda s: train.train_call(using, ZERO, ZERO, knobs, s))(state)
    trained = pieces(after.params)
    for path, leaf in pieces(state.params).items():
        if leaf.ndim == 2:
            np.testing.assert_array_equal(np.asarray(trained[path]) != 0, np.asarray(leaf) != 0)
            assert abs(np.asarray(trained[path])).max() < 1.5 * abs(np.asarray(leaf)).max()  # rescaled once only
    later = started(wide, "width", step=12, width__active=0.25)[2]  # what is cut after training keeps its weights
    leaf = pieces(later.params)["['embedding']"]
    np.testing.assert_array_equal(leaf[:, :32], full["['embedding']"][:, :32])


@pytest.mark.parametrize("active", first_by_default([3, 1, 8]))
def test_cut_queries_and_keys_are_those_of_smaller_heads(program, active):
    """Against the naive float64 transformer, whose scores are taken over the first dimensions and scaled by those."""
    params = initial_params(jax.random.key(3), SPEC)
    hook = reading("head_dim", head_dim__active=active / 8)
    logits = model.run(params, TOKENS_BxL, SPEC, hook=hook).logits
    # The reference scales by 8^-1/2, so its queries are zeroed beyond `active` and scaled up by (8/active)^1/2.
    theirs = jax.tree.map(np.array, params)
    for layer in range(SPEC.layers):
        kernel = theirs[f"block_{layer}"]["attention"]["qkv"]["kernel"].reshape(16, 3, 2, 8)
        kernel[:, :2, :, active:] = 0
        kernel[:, 0] *= np.sqrt(8 / active)
    for example in range(3):
        expected, _ = numpy_forward(theirs, np.asarray(TOKENS_BxL[example]), SPEC)
        np.testing.assert_allclose(logits[example], expected, rtol=1e-4, atol=1e-5)
    state = started(replace(program, spec=SPEC), "head_dim", head_dim__active=active / 8)[2]
    kernel = np.asarray(state.params["block_0"]["attention"]["qkv"]["kernel"]).reshape(16, 3, 2, 8)
    assert not kernel[:, :2, :, active:].any()
    assert (kernel[:, :2, :, :active] != 0).all()
    assert (kernel[:, 2] != 0).all()


@pytest.mark.parametrize(
    ("knobs", "positions", "message"),
    [
        (dict(width=dict(active=0.3)), "learned", "whole number of dimensions for each of 2 heads"),
        (dict(width=dict(active=0.5)), "rotary", "rotary"),
        (dict(head_dim=dict(active=0.5)), "rotary", "rotary"),
        (dict(width=dict(active=0.5), head_dim=dict(active=0.5)), "learned", "cuts the heads, too"),
        (dict(fsq=dict(levels=3, layer=2)), "learned", r"fsq.layer=2 must lie in \[0, 1\]"),
        (dict(fsq=dict(levels=3, coordinates=17)), "learned", "more than config.model.width=16"),
        (dict(vib=dict(beta=1.0, layer=5)), "learned", r"vib.layer=5 must lie in \[0, 1\]"),
    ],
)
def test_what_the_model_lacks_is_refused(knobs, positions, message):
    config = tiny_config()
    config.knobs, config.model.positions = knobs, positions
    with pytest.raises(UserError, match=message):
        study_of(config)
