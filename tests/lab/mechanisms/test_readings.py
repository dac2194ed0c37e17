"""What mechanisms read off hidden vectors, and studies whose mixture of tasks changes from stage to stage."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from analysis.activations.inference_model import InferenceModel
from analysis.activations.measure import measure_cell, probe_sites
from analysis.design import neutral_value, two_sided
from analysis.verdicts import check
from lab.engine import make_plan
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import DataSource
from lab.mechanisms.fsq import quantized
from lab.mechanisms.knobs import KNOBS
from lab.study import axis, product
from lab.training import step as train
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import LAYOUT, initial_params, initial_state, study_of, tiny_config

RANDOM = np.random.default_rng(0)
X_NxD = RANDOM.normal(size=(256, 8)).astype(np.float32) * 8**-0.5


def knobs_of(**settings):
    given = {knob.name: knob.number(knob.base) for m in MECHANISMS.values() for knob in m.knobs if knob.traced}
    given |= {name.replace("__", "."): value for name, value in settings.items()}
    return {name: jnp.float32(value) for name, value in given.items()}


def entropy(rows):
    return stats.entropy(np.unique(np.asarray(rows), axis=0, return_counts=True)[1])


@pytest.mark.parametrize(("levels", "coordinates"), [(2, 3), (3, 2), (8, 1), (5, 4)])
def test_fsq_reads_the_entropy_of_the_vectors_that_it_left(levels, coordinates):
    hidden = quantized(jnp.asarray(X_NxD), jnp.float32(levels), jnp.float32(coordinates))
    knobs = knobs_of(fsq__levels=levels, fsq__coordinates=coordinates, fsq__layer=1)
    read = MECHANISMS["fsq"].readings(hidden, jnp.float32(1), {}, knobs)
    assert 0 < entropy(hidden) <= coordinates * np.log(levels)
    np.testing.assert_allclose(read["code_entropy"], entropy(hidden), rtol=1e-5)
    assert np.isnan(MECHANISMS["fsq"].readings(hidden, jnp.float32(2), {}, knobs)["code_entropy"])
    one = knobs | {"fsq.position": jnp.float32(0)}
    assert np.isnan(MECHANISMS["fsq"].readings(hidden, jnp.float32(1), {}, one)["code_entropy"])


def test_vq_reads_the_entropy_of_the_nearest_codes_and_how_many_there_are():
    codebook_CxD = RANDOM.normal(size=(16, 8)).astype(np.float32) * 8**-0.5
    knobs = knobs_of(vq__codes=5, vq__layer=2)
    params = {"codebook": {"vectors": jnp.asarray(codebook_CxD)}}
    read = MECHANISMS["vq"].readings(jnp.asarray(X_NxD), jnp.float32(2), params, knobs)
    nearest_N = np.linalg.norm(X_NxD[:, None] - codebook_CxD[None, :5], axis=-1).argmin(1)
    np.testing.assert_allclose(read["code_entropy"], entropy(nearest_N[:, None]), rtol=1e-5)
    assert read["codes_used"] == len(np.unique(nearest_N))


def test_vib_reads_its_rate_in_nats():
    knobs = knobs_of(vib__beta=0.1, vib__noise=0.5, vib__layer=1)
    read = MECHANISMS["vib"].readings(jnp.asarray(X_NxD), jnp.float32(1), {}, knobs)
    tau = 8**-0.5  # the prior's standard deviation; the noise is half of it
    sigma = 0.5 * tau
    kl = np.log(tau / sigma) + (sigma**2 + X_NxD.astype(float) ** 2) / (2 * tau**2) - 0.5
    np.testing.assert_allclose(read["rate"], kl.sum(axis=1).mean(), rtol=1e-5)


def test_readings_are_measured_at_every_place_of_a_cell():
    config = tiny_config()
    config.probe.layers = (0, 1)
    config.claim.knob = "fsq.levels"
    study = study_of(config, product(axis("fsq.levels", (0, 3)), axis("seed", range(2))))
    cell = study.cells[-1]
    params = initial_params(jax.random.key(0), study.spec)
    knobs = {name: jnp.float32(knob.number(cell[name])) for name, knob in KNOBS.items() if knob.traced}
    active_at_inference = InferenceModel(study.spec, ("fsq",))
    read = jax.jit(lambda p: measure_cell(study, active_at_inference, jnp.int32(0), p, knobs, 10))(params)
    here = [place.layer == cell["fsq.layer"] for place in probe_sites(study)]
    assert any(here)
    np.testing.assert_array_equal(np.isfinite(read["fsq_code_entropy"]), here)


@pytest.mark.parametrize("position", [-1, 0, 3])
def test_quantization_of_one_token_leaves_the_others(position):
    knobs = knobs_of(fsq__levels=3, fsq__layer=1, fsq__position=position)
    x_BxLxD = jnp.asarray(X_NxD[:10].reshape(2, 5, 8))
    active = ActiveMechanisms((("fsq", knobs),), None)
    after, slope = jax.vjp(lambda x: active.hook("residual", 1, x), x_BxLxD)
    code = quantized(x_BxLxD, jnp.float32(3), knobs["fsq.coordinates"])
    chosen_L = np.arange(5) == position if position >= 0 else np.ones(5, bool)
    np.testing.assert_array_equal(after, np.where(chosen_L[None, :, None], code, x_BxLxD))
    (gradient,) = slope(jnp.ones_like(x_BxLxD))
    assert (np.asarray(gradient)[:, ~chosen_L] == 1).all()
    assert (np.asarray(gradient)[:, chosen_L] != 1).any()


def staged(label="facts", config=None, **examples):
    config = config or tiny_config()
    config.tasks[label] = dict(config.tasks[label], examples=examples)
    return config


def test_a_stage_trains_on_its_own_mixture():
    study = study_of(staged(train=4, prune=0))
    plan = make_plan(study, LAYOUT)
    counts = {b.stage: dict(b.program.counts)["facts"] for b in plan.program_groups}
    assert counts == {0: 4, 1: 0}
    sizes = {b.stage: sum(n for _, n in b.program.counts) for b in plan.program_groups}
    assert study.examples == (sizes[0], sizes[1])
    program = next(b.program for b in plan.program_groups if b.stage == 1)
    worlds = study.mixture.worlds(jax.random.key(0))
    batch = DataSource(program.context, *[jnp.int32(0)] * 3).batch(worlds, program.length)
    assert batch.tokens.shape[0] == sizes[1]


def test_what_a_later_stage_trains_on_changes_no_earlier_key():
    one, other = study_of(staged(train=4, prune=0)), study_of(staged(train=4, prune=8))
    assert one.key(one.cells[0], 0) == other.key(other.cells[0], 0)
    assert one.key(one.cells[0], 1) != other.key(other.cells[0], 1)
    plain = study_of(staged(train=4, prune=4))
    config = tiny_config()
    config.tasks.facts.examples = 4
    assert plain.key(plain.cells[0], 1) == study_of(config).key(plain.cells[0], 1)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (dict(train=4), "config.tasks.facts.examples.prune is missing"),
        (dict(train=4, prune=0, end=3), "config.tasks.facts.examples.end: no such stage"),
        (dict(train=4, prune=-1), "config.tasks.facts.examples.prune=-1 must be a whole number"),
    ],
)
def test_examples_by_stage_are_checked(examples, message):
    with pytest.raises(UserError, match=message):
        study_of(staged(**examples))


def test_a_stage_without_any_examples_is_refused():
    config = staged("word", staged(train=4, prune=0), train=4, prune=0)
    with pytest.raises(UserError, match="no task has examples in stage 'prune'"):
        study_of(config)


def claimed(knob, values, **knobs):
    config = tiny_config()
    config.claim.knob, config.knobs = knob, knobs
    return study_of(config, product(axis(knob, values), axis("seed", range(2))))


def test_a_claim_begins_at_the_neutral_value_or_else_at_the_studys_own():
    assert neutral_value(claimed("pause.tokens", (0, 1, 2))) == 0
    memories = claimed("memory.tokens", (3, 2, 1), memory=dict(tokens=3))  # the neutral 0 isn't among them
    assert neutral_value(memories) == 3
    check(memories)
    coordinates = claimed("fsq.coordinates", (6, 4, 2), fsq=dict(levels=2, coordinates=6))  # 4 would be in the midst
    assert neutral_value(coordinates) == 6
    check(coordinates)
    shares = claimed("curriculum.share", (0.0, 0.5, 1.0), curriculum=dict(order="ramp"))  # the base, .5, is nobody's
    assert neutral_value(shares) == 0
    inside = dataclasses.replace(coordinates, base={**coordinates.base, "fsq.coordinates": 4})
    check(inside)  # a claim on either side
    assert two_sided(inside)
    assert not two_sided(coordinates)
    with pytest.raises(UserError, match="must hold 5"):
        check(dataclasses.replace(coordinates, base={**coordinates.base, "fsq.coordinates": 5}))


def test_a_curriculum_leaves_out_what_a_stage_does_not_train_on():
    config = staged("word", staged(train=4, prune=4), train=4, prune=0)
    config.claim.knob, config.knobs = "curriculum.share", dict(curriculum=dict(order="progress"))
    study = study_of(config, product(axis("curriculum.share", (0.0, 1.0)), axis("seed", range(2))))
    program = next(b.program for b in make_plan(study, LAYOUT).program_groups if b.stage == 1)
    knobs = {name: jnp.float32(knob.number(study.cells[-1][name])) for name, knob in KNOBS.items() if knob.traced}
    extra = {"curriculum": MECHANISMS["curriculum"].init({}, program.context)}
    state = initial_state(program, jnp.int32(0))._replace(extra=extra)
    worlds = study.mixture.worlds(jax.random.key(0))
    step = jax.eval_shape(lambda: train.train_step(program, worlds, jnp.int32(0), knobs, state, jnp.int32(0)))
    assert set(step[0].extra["curriculum"]) == set(extra["curriculum"])


@pytest.mark.parametrize(("mechanism", "on"), [("fsq", dict(levels=2)), ("vq", dict(codes=4))])
def test_one_quantized_token_must_be_there_and_stay_in_its_place(mechanism, on):
    config = tiny_config()
    config.knobs = {mechanism: dict(on, position=99)}
    with pytest.raises(UserError, match=rf"{mechanism}.position=99 must be below"):
        study_of(config)
    config = tiny_config()
    config.knobs = {mechanism: dict(on, position=1), "pause": dict(tokens=1)}
    with pytest.raises(UserError, match=rf"{mechanism}.position counts tokens from the start, where pause.tokens"):
        study_of(config)


def test_thoughts_under_control_choose_no_masks():
    config = tiny_config()
    config.knobs = dict(thoughts=dict(steps=1, control="swapped"), prune=dict(method="snip"))
    with pytest.raises(UserError, match=r"thoughts.control is not for training, but prune.method='snip'"):
        study_of(config)
