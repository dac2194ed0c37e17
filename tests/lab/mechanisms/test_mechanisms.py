"""Each mechanism against an independent reference, and the conformance that any registered knob runs through."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.errors import UserError
from lab.mechanisms.base import UpdateRule
from lab.mechanisms.knob_table import table
from lab.mechanisms.knobs import KNOBS, checked
from lab.mechanisms.weight_decay import WeightDecay
from lab.nn import model
from lab.nn.optimizers import ADAM
from tests.lab.conftest import initial_params


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


def test_the_docs_list_every_knob_as_the_registry_has_it():
    path = Path(__file__).parents[3] / "docs" / "knobs.md"
    assert path.read_text() == table(), "run `python -m lab.mechanisms.knob_table`"


def test_the_how_to_shows_the_mechanism_as_it_is():
    root = Path(__file__).parents[3]
    code = (root / "lab" / "mechanisms" / "gradient_noise.py").read_text()
    assert code in (root / "docs" / "adding_a_mechanism.md").read_text()
