"""The spectrum of the unembedding's rows against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.metrics.readout_spectra import unembedding

read = jax.jit(unembedding.function)
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_against_numpy(scale):
    rows_VxD = (RANDOM.normal(size=(15, 8)) * np.geomspace(1, 0.05, 8) + 10).astype(np.float32) * np.float32(scale)
    centred = rows_VxD.astype(float) - rows_VxD.astype(float).mean(axis=0)
    sigma = np.linalg.svd(centred, compute_uv=False)
    share, norms = sigma / sigma.sum(), np.linalg.norm(centred, axis=1)
    found = read(jnp.asarray(rows_VxD))
    np.testing.assert_allclose(found.effective_rank, np.exp(-(share * np.log(share)).sum()), rtol=1e-4)
    np.testing.assert_allclose(found.participation_ratio, (sigma**2).sum() ** 2 / (sigma**4).sum(), rtol=1e-4)
    np.testing.assert_allclose(found.stable_rank, (sigma**2).sum() / sigma.max() ** 2, rtol=1e-4)
    np.testing.assert_allclose(found.norm_spread, norms.std() / norms.mean(), rtol=1e-4)


@pytest.mark.parametrize("rows", [np.ones((15, 8)), np.full((15, 8), np.nan), np.zeros((15, 8))])
def test_rows_without_spread_read_nan(rows):
    assert np.isnan(np.asarray(read(jnp.asarray(rows, jnp.float32)))).all()
