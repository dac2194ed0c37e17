"""`measure` agrees with the single functions, masks what is undefined, and treats cells independently."""

import dataclasses
import importlib
import inspect
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from jax import lax

from analysis import metrics
from analysis.metrics import cluster_indices, geometry, probes, registry, separation, spectra, v_information
from analysis.metrics.latent_metric import metrics_of
from analysis.metrics.registry import BALANCE, CHECKS, METRICS, measure, share
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


def reference_of(metric):
    """`reference_<metric>`, from whichever test file of this folder has it."""
    name = f"reference_{metric}"
    files = [one for one in sorted(Path(__file__).parent.glob("test_*.py")) if name in one.read_text()]
    modules = [importlib.import_module(f"{__package__}.{one.stem}") for one in files]
    found = [vars(module)[name] for module in modules if name in vars(module)]
    assert found, f"write {name}(z, labels) in a test file of tests/analysis/metrics"
    return found[0]


@pytest.mark.parametrize("name", slow_where(lambda name: name == "v_information", METRICS))
def test_every_metric_agrees_with_the_reference_of_its_name(name):
    """An independent implementation in float64, `reference_<metric>(z[, labels[, control]])`."""
    reference = reference_of(name)
    taken = len(inspect.signature(reference).parameters)
    # Half as many points as a metric is made for: a probe's accuracy is a share of 64 of them.
    np.testing.assert_allclose(MEASURE(*cell(1), C)[name], reference(*cell(1)[:taken]), rtol=2e-3, atol=2e-4)


def test_readings_are_those_of_the_single_functions():
    got, expected = MEASURE(*cell(1), C), one_by_one(*cell(1))
    assert {*CHECKS} <= set(expected) <= {*METRICS, *CHECKS}
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


def test_the_example_of_the_docs_is_a_metric_and_agrees_with_its_reference():
    page = Path(__file__).parents[3] / "docs" / "adding_a_metric.md"
    declaration, reference = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    module, test = ModuleType("stable_rank"), ModuleType("test_stable_rank")
    exec(declaration, vars(module))
    exec(reference, vars(test))
    (found,) = metrics_of(module)
    assert found.name == "stable_rank"
    z, labels, control = cell(9)
    got = jax.jit(lambda *given: found.read(share(*given, C)))(z, labels, control)
    np.testing.assert_allclose(got, vars(test)["reference_stable_rank"](z), rtol=1e-4)


def test_a_metric_of_any_file_is_found_and_a_name_is_taken_once(tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "adding_a_metric.md"
    (tmp_path / "stable_rank.py").write_text(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[0])
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    (found,) = registry.declared([str(tmp_path)])
    sys.modules.pop("analysis.metrics.stable_rank")
    assert found.name == "stable_rank"
    with pytest.raises(ValueError, match="two latent metrics are named 'stable_rank'"):
        registry.table(found, dataclasses.replace(found, trap="another"))
