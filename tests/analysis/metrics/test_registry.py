"""`measure` agrees with the single functions, masks what is undefined, and treats cells independently."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import lax

from analysis.metrics import cluster_indices, geometry, probes, separation, spectra, v_information
from analysis.metrics.registry import BALANCE, CHECKS, METRICS, measure
from tests.analysis.conftest import slow_where

C = 6
MEASURE = jax.jit(measure, static_argnums=3)
LABELLED = {name for name, metric in METRICS.items() if metric.needs_labels} | {"probe_control_accuracy"}


def cell(seed, n=128, width=12):
    rng = np.random.default_rng(seed)
    labels, control = rng.integers(0, C, size=(2, n)).astype(np.int32)
    z = rng.normal(size=(C, width))[labels] + rng.normal(size=(n, width))
    return z.astype(np.float32), labels, control


def over_cells(*arguments):
    return lax.map(lambda one: measure(*one, n_classes=C), arguments)


ACROSS = {"map": jax.jit(over_cells), "vmap": jax.jit(jax.vmap(partial(measure, n_classes=C)))}


def cells(*seeds):
    return tuple(np.stack(part) for part in zip(*map(cell, seeds), strict=True))


def test_registry_is_complete():
    readings = MEASURE(*cell(0), C)
    assert set(readings) == {*METRICS, *CHECKS, *BALANCE}
    assert len(readings) == len(METRICS) + len(CHECKS) + len(BALANCE)
    for name, value in readings.items():
        assert value.shape == (), name
        assert value.dtype == np.float32, name
        assert np.isfinite(value), name
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.group in ("distances", "spectrum", "halves", "means")
        assert all((metric.meaning, metric.range, metric.source, metric.trap))


@jax.jit
def one_by_one(z, labels, control):
    """The same readings from the public functions, nothing shared."""
    half = z[: z.shape[0] // 2]
    probe = probes.probe(z, labels, control, C)
    return {
        "two_nn": geometry.two_nn(z).dimension,
        "two_nn_kept": geometry.two_nn(z).kept,
        "two_nn_half": geometry.two_nn(half).dimension,
        "two_nn_half_kept": geometry.two_nn(half).kept,
        "participation_ratio": geometry.participation_ratio(z),
        "participation_ratio_half": geometry.participation_ratio(half),
        "rank_me": geometry.rank_me(z),
        "rank_me_half": geometry.rank_me(half),
        "von_neumann_entropy": spectra.von_neumann_entropy(z),
        "von_neumann_entropy_half": spectra.von_neumann_entropy(half),
        "alpha_req": spectra.alpha_req(z),
        "silhouette": separation.silhouette(z, labels, C),
        "davies_bouldin": cluster_indices.davies_bouldin(z, labels, C),
        "calinski_harabasz": cluster_indices.calinski_harabasz(z, labels, C),
        "class_separation": cluster_indices.class_separation(z, labels, C),
        "fisher_trace": separation.fisher_trace(z, labels, C),
        "probe_accuracy": probe.accuracy,
        "probe_control_accuracy": probe.control_accuracy,
        "probe_selectivity": probe.selectivity,
        "v_information": v_information.v_information(z, labels, C),
    }


def test_readings_are_those_of_the_single_functions():
    got, expected = MEASURE(*cell(1), C), one_by_one(*cell(1))
    assert set(expected) == {*METRICS, *CHECKS}
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("over", slow_where(lambda over: over == "vmap", ["map", "vmap"]))
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_bad_cell_reads_nan_and_spares_its_neighbours(over, bad):
    z, labels, control = cells(2, 3, 4)
    z[1, 7, 2] = bad
    got = ACROSS[over](z, labels, control)
    for name, values in got.items():
        assert np.isnan(values[1]) == (name not in BALANCE), name
        for index in (0, 2):
            alone = MEASURE(z[index], labels[index], control[index], C)[name]
            np.testing.assert_allclose(values[index], alone, rtol=2e-5, atol=1e-6, err_msg=name)


def test_a_neighbour_is_the_same_bit_for_bit_whether_or_not_a_cell_diverged():
    z, labels, control = cells(2, 3, 4)
    healthy = ACROSS["map"](z, labels, control)
    z[1] = np.nan
    sick = ACROSS["map"](z, labels, control)
    for name, values in sick.items():
        np.testing.assert_array_equal(values[np.array([0, 2])], healthy[name][np.array([0, 2])], err_msg=name)


def test_one_class_leaves_the_geometry():
    z, labels, control = cell(5)
    got = MEASURE(z, np.full_like(labels, 3), control, C)
    for name, value in got.items():
        assert np.isnan(value) == (name in LABELLED - {"probe_control_accuracy"}), name
    assert got["classes_present"] == 1


def test_collapsed_cell_is_nan():
    z, labels, control = cell(6)
    got = MEASURE(np.full_like(z, 1000.3), labels, control, C)
    assert all(np.isnan(value) == (name not in BALANCE) for name, value in got.items())


@pytest.mark.slow
def test_width_mask_columns_change_nothing():
    z, labels, control = cell(7)
    padded = np.concatenate([z, np.zeros_like(z)], axis=1)
    got, expected = MEASURE(padded, labels, control, C), MEASURE(z, labels, control, C)
    for name, value in got.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_facts_inputs():
    """128 samples of 48 inputs: the duplicates are seen, and labels the inputs determine are read alike from both."""
    rng = np.random.default_rng(8)
    facts, values, control = rng.normal(size=(48, 12)), rng.integers(0, C, 48), rng.integers(0, C, 48)
    drawn = rng.permutation(np.arange(128) % 48)
    got = MEASURE(facts[drawn].astype(np.float32), values[drawn].astype(np.int32), control[drawn].astype(np.int32), C)
    assert all(np.isfinite(value) for value in got.values())
    np.testing.assert_allclose(got["two_nn_kept"], 48 / 128)
    assert abs(got["probe_selectivity"]) < 0.35
