"""Each mechanism against an independent reference, and the conformance that any registered knob runs through."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import StageSetup, UpdateRule
from lab.mechanisms.counted import Counted
from lab.mechanisms.knob_table import table
from lab.mechanisms.knobs import KNOBS, checked
from lab.mechanisms.narrow import active_of
from lab.mechanisms.pruning_masks import SCOPES, prunable, share_of
from lab.mechanisms.weight_decay import WeightDecay
from lab.nn import model
from lab.nn.optimizers import ADAM
from tests.lab.conftest import initial_params, study_of


def test_weight_decay_is_optax_adamw():
    rate, decay = 1e-2, 0.3
    adamw = optax.adamw(
        rate, b1=0.9, b2=0.98, weight_decay=decay, mask=lambda p: jax.tree.map(lambda x: x.ndim == 2, p)
    )
    params = initial_params(jax.random.key(0), model.ModelSpec(11, 9, 16, 2, 2, 24))
    gradient = jax.tree.map(lambda p: jnp.cos(p * 7), params)
    theirs, their_state = params, adamw.init(params)
    ours, our_state = params, ADAM.init(params)
    for step in jnp.arange(3):
        with jax.numpy_dtype_promotion("standard"):
            updates, their_state = adamw.update(gradient, their_state, theirs)
            theirs = optax.apply_updates(theirs, updates)
            direction, our_state = ADAM.update(gradient, our_state)
        rule, knobs = UpdateRule(direction, step, jnp.float32(1)), {"weight_decay.rate": jnp.float32(decay)}
        rule = WeightDecay().transform_update(rule, ours, (), knobs, step)
        ours = jax.tree.map(lambda p, d: p - jnp.float32(rate) * d, ours, rule.direction)
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


def test_counts_are_rounded_as_on_a_device():
    shares = np.linspace(0, 1, 301, dtype=np.float32)
    for count in (7, 64, 12_288):
        counted = [Counted.of_share("", float(share), count, least=1).counts[0] for share in shares]
        assert counted == [max(1, number) for number in share_of(jnp.asarray(shares), count).tolist()]
        assert counted == [int(number) for number in active_of(jnp.asarray(shares), jnp.float32(count)).tolist()]


def test_pruning_counts_the_weights_that_it_ranks():
    """Exactly round(sparsity·n) of each ranking go (test_pruning.py)."""
    spec, knobs = model.ModelSpec(11, 9, 16, 2, 2, 24), {name: knob.base for name, knob in KNOBS.items()}
    kernels = prunable(initial_params(jax.random.key(0), spec)).values()
    ranked = {
        "global": {sum(kernel.size for kernel in kernels)},
        "layerwise": {kernel.size for kernel in kernels},
        "output": {kernel.shape[0] for kernel in kernels},
    }
    assert {*ranked} == {*SCOPES}
    for scope, sizes in ranked.items():
        setting = knobs | {"prune.sparsity": 0.301, "prune.scope": scope}
        (counted,) = MECHANISMS["prune"].counted(StageSetup(study_of().mixture, spec, setting, {})).values()
        assert {*counted.counts} == {round(0.301 * size) for size in sizes}


@pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)
def test_counts_are_of_a_mechanisms_own_traced_knobs(mechanism):
    knobs = {name: knob.base for name, knob in KNOBS.items()}
    spec = model.ModelSpec(11, 9, 16, 2, 2, 24)
    counted = mechanism.counted(StageSetup(study_of().mixture, spec, knobs, {"facts": 4}, 10))
    assert {*counted} <= {knob.name for knob in mechanism.knobs if knob.traced and not knob.integer}
    assert all(one.what and one.counts for one in counted.values())


def test_the_docs_list_every_knob_as_the_registry_has_it():
    path = Path(__file__).parents[3] / "docs" / "knobs.md"
    assert path.read_text() == table(), "run `python -m lab.mechanisms.knob_table`"


def test_the_how_to_shows_the_mechanism_as_it_is():
    root = Path(__file__).parents[3]
    code = (root / "lab" / "mechanisms" / "gradient_noise.py").read_text()
    assert code in (root / "docs" / "adding_a_mechanism.md").read_text()
