"""The optimizers as optax has them, and that a study can put them on an axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lab.nn import model
from lab.nn.optimizers import ADAM, OPTIMIZERS
from lab.study import axis, product
from tests.lab.conftest import carry_out, initial_params, study_of, tiny_config

PARAMS = initial_params(jax.random.key(0), model.ModelSpec(11, 9, 16, 2, 2, 24))


def after(transformation, steps=3, rate=None):
    """Parameters after some steps along a gradient that changes with them."""
    params, state = PARAMS, transformation.init(PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(steps):
            gradient = jax.tree.map(lambda p: jnp.cos(p * 7), params)
            updates, state = transformation.update(gradient, state, params)
            params = jax.tree.map(lambda p, u: p - rate * u if rate else p + u, params, updates)
    return params


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("adamw", optax.adam(1e-2, b1=0.9, b2=0.98)),
        ("sgd", optax.sgd(1e-2, momentum=0.9)),
        ("lion", optax.lion(1e-2, b1=0.9, b2=0.99, weight_decay=0.0)),
    ],
)
def test_directions_are_optaxs(name, theirs):
    ours = after(OPTIMIZERS[name], rate=1e-2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), ours, after(theirs))


def test_muon_orthogonalizes_kernels_and_leaves_the_rest_to_adam():
    gradient = jax.tree.map(lambda p: jnp.cos(p * 7), PARAMS)
    with jax.numpy_dtype_promotion("standard"):
        muon = OPTIMIZERS["muon"].update(gradient, OPTIMIZERS["muon"].init(PARAMS), PARAMS)[0]
        adam = ADAM.update(gradient, ADAM.init(PARAMS), PARAMS)[0]
    for (path, direction), other in zip(jax.tree_util.tree_leaves_with_path(muon), jax.tree.leaves(adam), strict=True):
        if model.is_linear_kernel(path):
            singular = np.linalg.svd(np.asarray(direction, np.float64), compute_uv=False)
            assert singular.max() < 1.3  # five Newton-Schulz steps take singular values to about 0.7 to 1.2
            assert np.median(singular) > 0.5
        else:
            np.testing.assert_array_equal(direction, other)


@pytest.mark.slow
def test_an_axis_of_optimizers_trains_one_program_each(tmp_path):
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=6), dict(train=1)
    config.claim.knob = "optimizer.learning_rate"
    grid = product(axis("optimizer.name", ("adamw", "muon")), axis("optimizer.learning_rate", (1e-3, 2e-3)))
    plan, store, _ = carry_out(study_of(config, grid), tmp_path)
    assert [b.program.optimizer for b in plan.program_groups] == ["adamw", "muon"]
    ends = [store.final(group.nodes[0].key)[0] for group in plan.program_groups]
    assert len({end.meta["checksums"]["params"] for end in ends}) == 2
