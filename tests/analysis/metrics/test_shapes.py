"""Shapes of the metrics and statistics are checked in every test's calls: jaxtyping's annotations, by beartype."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from analysis.metrics.geometry import participation_ratio
from analysis.metrics.separation import silhouette
from analysis.stats.sign_flip import Contrasts, seed_slopes, sign_flip_p


@pytest.mark.parametrize(
    "call",
    [
        lambda: participation_ratio(jnp.zeros(16)),
        lambda: participation_ratio(jnp.zeros((16, 3), jnp.int32)),
        lambda: jax.jit(silhouette, static_argnums=2)(jnp.zeros((16, 3)), jnp.zeros(15, jnp.int32), 2),
        lambda: jax.vmap(participation_ratio)(jnp.zeros((16, 3))),
        lambda: sign_flip_p(np.zeros(8)),
        lambda: seed_slopes(np.zeros(9), np.zeros((8, 8)), np.ones((1, 9), bool)),
        lambda: Contrasts((), *[np.zeros(0)], *[np.zeros((8, 0))] * 6, np.zeros((8, 2))),
    ],
    ids=["rank", "dtype", "lengths apart, under jit", "rank under vmap", "NumPy rank", "NumPy lengths", "a field"],
)
def test_a_wrong_shape_is_caught(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


def test_unchecked_calls_get_the_functions_own_message(unchecked):
    with pytest.raises(ValueError, match="hidden states must be float32"):
        participation_ratio(jnp.zeros(16))
