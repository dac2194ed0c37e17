"""Each mechanism against an independent reference, and the conformance that any registered knob runs through."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import model, train
from lab.errors import UserError
from lab.knob_table import table
from lab.knobs import KNOBS, checked
from lab.mechanisms.pruning import magnitude_masks, prunable, ranks
from lab.mechanisms.weight_decay import WeightDecay
from lab.optimizers import ADAM
from lab.plan import make_plan
from lab.population import local_layout
from tests.lab.conftest import study_of

PARAMS = model.init(jax.random.key(0), model.ModelSpec(11, 9, 16, 2, 2, 24))


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=12), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_masks_remove_exactly_the_smallest(weights, sparsity):
    (mask,) = magnitude_masks([jnp.asarray(weights, jnp.float32)], jnp.float32(sparsity), "global")
    mask, weights = np.asarray(mask), np.asarray(weights)
    removed = int(np.round(np.float32(sparsity) * np.float32(len(weights))))
    assert (~mask).sum() == removed
    if 0 < removed < len(weights):
        assert weights[~mask].max() <= weights[mask].min()


def test_ranks_are_scipys():
    from scipy.stats import rankdata

    scores = np.random.default_rng(0).integers(0, 5, 40).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(ranks(jnp.asarray(scores))), rankdata(scores, method="ordinal") - 1)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.37, 0.999, 1.0])
def test_layerwise_density_is_exact_in_every_layer_and_global_over_all(sparsity):
    kernels = list(prunable(PARAMS).values())
    for mask in magnitude_masks(kernels, jnp.float32(sparsity), "layerwise"):
        assert int((~mask).sum()) == int(np.round(np.float32(sparsity) * np.float32(mask.size)))
    masks = magnitude_masks(kernels, jnp.float32(sparsity), "global")
    total = sum(mask.size for mask in masks)
    assert sum(int((~mask).sum()) for mask in masks) == int(np.round(np.float32(sparsity) * np.float32(total)))


def test_global_masks_agree_with_a_numpy_threshold():
    kernels = [np.asarray(k) for k in prunable(PARAMS).values()]
    masks = magnitude_masks([jnp.asarray(k) for k in kernels], jnp.float32(0.5), "global")
    threshold = np.quantile(np.concatenate([np.abs(k).ravel() for k in kernels]), 0.5)
    for kernel, mask in zip(kernels, masks, strict=True):
        np.testing.assert_array_equal(np.asarray(mask), np.abs(kernel) > threshold)


def test_pruned_weights_stay_exactly_zero_while_fine_tuning():
    plan = make_plan(study_of(), local_layout())
    program = plan.buckets[-1].program
    knobs = {k.name: jnp.float32(k.number(k.base)) for k in KNOBS.values() if k.traced and k.name != "seed"}
    knobs["prune.sparsity"] = jnp.float32(0.6)
    state = train.begin(program, train.init(program, jnp.int32(0)), knobs, jnp.int32(0), jnp.int32(12))
    masks = state.extra["prune"]
    for start in (0, 3):
        before = state.params
        state, _ = train.train_call(program, jnp.int32(start), jnp.int32(0), knobs, state)
        for path, kernel in prunable(state.params).items():
            assert not np.asarray(kernel)[~np.asarray(masks[path])].any()
            kept = np.asarray(masks[path])
            assert (np.asarray(kernel) != np.asarray(prunable(before)[path]))[kept].mean() > 0.5  # the rest does learn
    jax.tree.map(np.testing.assert_array_equal, masks, state.extra["prune"])


def test_weight_decay_is_optax_adamw():
    rate, decay = 1e-2, 0.3
    adamw = optax.adamw(
        rate, b1=0.9, b2=0.98, weight_decay=decay, mask=lambda p: jax.tree.map(lambda x: x.ndim == 2, p)
    )
    gradient = jax.tree.map(lambda p: jnp.cos(p * 7), PARAMS)
    theirs, their_state = PARAMS, adamw.init(PARAMS)
    ours, our_state = PARAMS, ADAM.init(PARAMS)
    for _ in range(3):
        with jax.numpy_dtype_promotion("standard"):
            updates, their_state = adamw.update(gradient, their_state, theirs)
            theirs = optax.apply_updates(theirs, updates)
            direction, our_state = ADAM.update(gradient, our_state)
        direction = WeightDecay().direction(direction, ours, {"weight_decay.rate": jnp.float32(decay)})
        ours = jax.tree.map(lambda p, d: p - jnp.float32(rate) * d, ours, direction)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), ours, theirs)


@pytest.mark.parametrize("name", sorted(KNOBS))
def test_every_knob_is_described_and_guards_its_range(name):
    knob = KNOBS[name]
    assert knob.about
    assert knob.source
    assert knob.stage in ("first", "last")
    if knob.choices:
        assert knob.neutral in knob.choices
        with pytest.raises(UserError, match="must be one of"):
            checked(name, "no such choice", "here")
        return
    assert knob.neutral is None or knob.low <= knob.neutral <= knob.high
    for value in (knob.low - 1, knob.high * 2 + 2, float("nan")):
        with pytest.raises(UserError, match=r"must (lie in|be a whole number)"):
            checked(name, value, "here")
    with pytest.raises(UserError, match="must be a number"):
        checked(name, "0.5", "here")


def test_the_docs_list_every_knob_as_the_registry_has_it():
    path = Path(__file__).parents[2] / "docs" / "knobs.md"
    assert path.read_text() == table(), "run `python -m lab.knob_table`"


def test_the_how_to_shows_the_mechanism_as_it_is():
    root = Path(__file__).parents[2]
    code = (root / "lab" / "mechanisms" / "gradient_noise.py").read_text()
    assert code in (root / "docs" / "adding_a_mechanism.md").read_text()
