"""Second-order calibration against what a Bayesian of known groups must reach, and against a loop."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from analysis.stats.second_order import BINS, second_order

RNG = np.random.default_rng(0)
GROUPS, EACH, V = 8, 40, 3


def grouped():
    """(first, second, true): a model that can't tell the keys of a group apart, and knows the group."""
    true_GxExV = RNG.dirichlet(np.ones(V), (GROUPS, EACH)) * np.linspace(0.2, 1, GROUPS)[:, None, None]
    true_GxExV[..., 0] += 1 - true_GxExV.sum(-1)  # groups differ in how much there is to know
    first_GxV = true_GxExV.mean(1)
    joint_GxVxV = np.einsum("gev,gew->gvw", true_GxExV, true_GxExV) / EACH
    second_GxVxV = joint_GxVxV / first_GxV[..., None]
    repeated = [np.repeat(x, EACH, axis=0) for x in (first_GxV, second_GxVxV)]
    return *repeated, true_GxExV.reshape(-1, V)


def test_who_knows_the_group_claims_just_the_error_that_there_is():
    """The theorem of Johnson et al. 2024: in each group, here each bin, the covariance is the squared error."""
    found = second_order(*(jnp.asarray(x, jnp.float32) for x in grouped()))
    assert GROUPS == BINS
    assert float(found.claimed) > 0.02
    np.testing.assert_allclose(found.claimed, found.actual, rtol=1e-4)
    assert float(found.error) < 1e-5


def test_who_makes_nothing_of_the_first_answer_claims_no_error():
    first_NxV, _, true_NxV = grouped()
    alone_NxVxV = np.repeat(first_NxV[:, None], V, axis=1)
    found = second_order(*(jnp.asarray(x, jnp.float32) for x in (first_NxV, alone_NxVxV, true_NxV)))
    np.testing.assert_allclose(found.claimed, 0, atol=1e-6)
    np.testing.assert_allclose(found.error, found.actual, rtol=1e-4)


def test_readings_are_those_of_a_loop():
    first_NxV, second_NxVxV = RNG.dirichlet(np.ones(V), 48), RNG.dirichlet(np.ones(V), (48, V))
    true_NxV = RNG.dirichlet(np.ones(V), 48)
    claimed, actual, nats = [], [], []
    for first_V, second_VxV, true_V in zip(first_NxV, second_NxVxV, true_NxV, strict=True):
        claimed.append(sum(first_V[v] * second_VxV[v, v] - first_V[v] ** 2 for v in range(V)))
        actual.append(sum((true_V[v] - first_V[v]) ** 2 for v in range(V)))
        nats.append(sum(true_V[v] * np.log(true_V[v] / first_V[v]) for v in range(V)))
    gaps = (np.array(claimed) - actual)[np.argsort(claimed)].reshape(BINS, -1)
    found = second_order(*(jnp.asarray(x, jnp.float32) for x in (first_NxV, second_NxVxV, true_NxV)))
    expected = (np.mean(claimed), np.mean(actual), np.abs(gaps.mean(1)).mean(), np.mean(nats))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
