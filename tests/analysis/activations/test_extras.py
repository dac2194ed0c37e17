"""Readings that a study names: measured for it alone, as `study.measure` reads them, and shown as any other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analysis
from analysis import verdicts
from analysis.activations import claimable, extras
from analysis.activations.claimable import READINGS
from analysis.activations.inference_model import InferenceModel
from analysis.activations.measure import Measurer, probe_sites
from analysis.metrics import METRICS, ON_CALL
from lab.engine import make_plan
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.knobs import KNOBS
from lab.study import axis, product
from lab.study.parse import parse
from tests.lab.conftest import LAYOUT, PROGRAMS, initial_params, study_of, tiny_config, tiny_sweep


def naming(*gains, extra=(), grid=None, **fields):
    """The tiny study, its claim about other readings."""
    config = tiny_config()
    config.claim.gains = {name: 1 for name in gains}
    config.probe.extra = extra
    config.claim.abilities = ("word/iid",)
    for name, value in fields.items():
        section, _, field = name.rpartition("__")
        holder = config
        for part in section.split("__"):
            holder = holder[part]
        holder[field] = value
    return parse(config, grid or tiny_sweep(), READINGS)


def test_every_reading_has_one_name_and_is_explained():
    parts = {name for one in ON_CALL.values() if "other" not in one.arguments for name in one.readings}
    own = {f"{one.name}_{each.name}" for one in MECHANISMS.values() for each in one.claimable}
    assert {*METRICS} | parts | own <= READINGS.keys()
    for name, one in READINGS.items():
        assert one.name == name
        assert all((one.title, one.meaning, one.range, one.source, one.trap))
        assert one.gain in (-1, 0, 1)
    assert len({one.title for one in READINGS.values()}) == len(READINGS)
    assert {*claimable.COST} <= {*ON_CALL}
    assert "16 products" in READINGS["hessian_trace"].cost
    assert "pair of seeds" in READINGS["svcca_between_seeds"].cost
    assert not READINGS["two_nn"].cost


@pytest.mark.parametrize("name", [name for name, one in ON_CALL.items() if len(one.readings) > 1])
def test_parts_have_the_names_that_the_metric_gives_them(name):
    metric = ON_CALL[name]
    fields = metric.function.__annotations__["return"]._fields
    assert [*metric.readings.values()] == [*fields]


def test_what_a_study_names_changes_no_key_and_no_reading_of_every_study(tmp_path):
    plain = study_of()
    named = naming("lidar", "mdl_probe_codelength", "two_nn", extra=("gride",))
    assert named.cell_keys == plain.cell_keys
    assert [one.name for one in claimable.extra(named)] == ["gride", "mdl_probe_codelength", "lidar"]
    settings = [Measurer(study, PROGRAMS, tmp_path).settings() for study in (plain, named)]
    assert settings[0] == settings[1]


@pytest.mark.slow
def test_named_readings_are_those_of_study_measure(recorded, tmp_path):
    plan, store, path = recorded
    study = naming("within_class_collapse", extra=("nearest_mean_disagreement", "hessian_trace"))
    knobs, saved = make_plan(study, LAYOUT).knobs, [store.final(plan.nodes_of_cells()[3][-1].key)[0]]
    measurer = extras.ExtraMeasurer(Measurer(study, PROGRAMS, tmp_path))
    found = measurer.read(saved, knobs, lambda done, total: None)
    again = extras.ExtraMeasurer(Measurer(study, PROGRAMS, tmp_path))
    np.testing.assert_equal(again.read(saved, knobs, lambda done, total: None), found)
    assert (measurer.measured, again.measured) == (1, 0)
    opened, sites = analysis.open_study(path), probe_sites(study)
    (cell,) = opened.select({"prune.sparsity": 0.5, "seed": 0})
    row = found[plan.nodes_of_cells()[cell][-1].key, opened.steps[-1]]
    for name, metric, key in (
        ("within_class_collapse", "within_class_collapse", "within_class_collapse"),
        ("nearest_mean_disagreement", "nearest_mean_disagreement", "nearest_mean_disagreement"),
        ("hessian_trace", "hessian_trace", "hessian_trace"),
    ):
        for index, site in enumerate(sites):
            measured = opened.measure(metric, cell, label=site.label, layer=site.layer, read=site.read)[key][0]
            np.testing.assert_allclose(row[name][index], measured, rtol=1e-4)


def read_by(study, mechanisms=(), seed=0):
    """The named readings of a cell of random parameters, and of one that diverged."""
    params = initial_params(jax.random.key(0), study.spec)
    knobs = {name: jnp.float32(knob.number(study.cells[0][name])) for name, knob in KNOBS.items() if knob.traced}
    wanted, inference = claimable.extra(study), InferenceModel(study.spec, mechanisms)
    read = jax.jit(lambda p: extras.measure_cell(study, wanted, inference, jnp.int32(seed), p, knobs, jnp.int32(1)))
    return read(params), read(jax.tree.map(lambda leaf: leaf * jnp.nan, params))


def test_named_readings_of_a_cell_and_of_one_that_diverged():
    """The unembedding is the same everywhere; a mechanism's own is read at its layer; what diverged reads NaN."""
    names = ("unembedding_norm_spread", "vib_active_units")
    grid = product(axis("vib.beta", (0.0, 1.0)), axis("seed", (0,)))
    study = naming("two_nn", extra=names, grid=grid, claim__knob="vib.beta", probe__layers=(0, 1))
    found, lost = read_by(study, ("vib",))
    layers = [site.layer for site in probe_sites(study)]
    np.testing.assert_array_equal(np.isfinite(found["vib_active_units"]), np.asarray(layers) == 1)
    assert len({*found["unembedding_norm_spread"].tolist()}) == 1
    assert all(np.isnan(values).all() for values in lost.values())


@pytest.mark.slow
def test_a_place_that_cannot_have_a_reading_reads_nan():
    """NC3 is of the last layer, and the other readings of a cell with it."""
    names = ("readout_alignment", "nearest_mean_disagreement", "fsq_code_entropy", "dictionary_l0", "parallelism_score")
    study = naming("two_nn", extra=names, probe__layers=(0, 1))
    found, lost = read_by(study, ("fsq",))
    layers = np.asarray([site.layer for site in probe_sites(study)])
    for name in ("readout_alignment", "fsq_code_entropy"):
        np.testing.assert_array_equal(np.isfinite(found[name]), layers == 1)
    assert np.isfinite(found["dictionary_l0"]).all()
    assert all(np.isnan(values).all() for values in lost.values())


@pytest.mark.slow
def test_lidar_where_symbols_may_be_renamed_and_curvature():
    names = ("lidar", "hessian_trace", "hessian_top_eigenvalue", "ball_sharpness")
    study = naming("two_nn", extra=names, tasks__word=dict(task="mqar", examples=4))
    found, lost = read_by(study)
    np.testing.assert_array_equal(np.isfinite(found["lidar"]), [site.label == "word" for site in probe_sites(study)])
    assert found["hessian_top_eigenvalue"][0] > 0 < found["ball_sharpness"][0]
    assert all(np.isnan(values).all() for values in lost.values())


def test_without_quantization_every_distinct_state_is_a_code():
    """The limit of a code as it gets finer, so that a claim can compare with neutral cells; VIB as if it acted."""
    own = [knob for name in ("fsq", "vq", "vib") for knob in MECHANISMS[name].knobs]
    neutral = {knob.name: jnp.float32(knob.number(knob.base)) for knob in own}
    quantized = neutral | {"fsq.levels": jnp.float32(3), "fsq.layer": jnp.float32(1)}
    one_token = quantized | {"fsq.position": jnp.float32(0)}
    rows_NxD = np.repeat(np.random.default_rng(0).normal(size=(8, 4)), 3, axis=0).astype(np.float32)
    silent_NxD = rows_NxD.copy()
    silent_NxD[:, 0] = 0.02 * np.sign(silent_NxD[:, 0])  # variance 4 · 0.02² at most: below a hundredth of the prior's

    @jax.jit
    def read(rows, silent):
        found = {
            f"{name}_{one.name}": one.read(rows, {}, neutral)
            for name in ("fsq", "vq", "vib")
            for one in MECHANISMS[name].claimable
        }
        (entropy,), (_, active) = MECHANISMS["fsq"].claimable, MECHANISMS["vib"].claimable
        layer, acting = jnp.float32(1), neutral | {"vib.beta": jnp.float32(1)}
        found |= {"quantized": entropy.read(rows, {}, quantized), "one token": entropy.read(rows, {}, one_token)}
        found |= {"acting": MECHANISMS["vib"].readings(rows, layer, {}, acting)["rate"]}
        found |= {"as ever": MECHANISMS["fsq"].readings(rows, layer, {}, quantized)["code_entropy"]}
        return found | {"silent": active.read(silent, {}, neutral)}

    found = read(jnp.asarray(rows_NxD), jnp.asarray(silent_NxD))
    np.testing.assert_allclose([found["fsq_code_entropy"], found["vq_code_entropy"]], np.log(8), rtol=1e-5)
    np.testing.assert_allclose(found["vq_codes_used"], 8, rtol=1e-5)
    np.testing.assert_allclose(found["quantized"], found["as ever"])
    assert np.isnan(found["one token"])
    np.testing.assert_allclose(found["vib_rate"], found["acting"])
    assert (found["vib_active_units"], found["silent"]) == (4, 3)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (dict(gains=("lidar",)), r"config\.claim\.gains: lidar needs a task with symbols that may be renamed"),
        (dict(gains=("readout_alignment",), claim__layer=0, probe__layers=(0,)), "needs layer=1"),
        (dict(gains=("vib_rate",), claim__layer=0, probe__layers=(0,)), "vib_rate is read at the layer vib.layer=1"),
        (dict(extra=("lidr",), gains=("two_nn",)), r"config\.probe\.extra: no latent reading 'lidr'\. .*lidar"),
        (dict(extra=("lidar", "lidar"), gains=("two_nn",)), r"config\.probe\.extra=.* each once"),
        (dict(gains=("mdl_probe",)), r"config\.claim\.gains: unknown metric 'mdl_probe'\. .*mdl_probe_co"),
    ],
)
def test_a_reading_that_the_study_cannot_have_is_refused(study, message):
    with pytest.raises(UserError, match=message):
        verdicts.check(naming(*study.pop("gains"), **study))
