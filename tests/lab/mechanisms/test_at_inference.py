"""What is part of the model is part of it wherever the model runs: evaluated, decoded and measured."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.activations.measure import Measurer, hidden_states, probe_sites
from lab.engine import Programs, evaluate
from lab.mechanisms import MECHANISMS
from lab.nn import model
from lab.nn.model import ModelSpec
from lab.prng import derive_key
from lab.storage import checkpoint
from lab.study import axis, product
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import LAYOUT, carry_out, initial_params, study_of, tiny_config
from tests.lab.engine.test_evaluate import naive_answer
from tests.lab.mechanisms.test_bottlenecks import knobs_of, reading

RNG = np.random.default_rng(0)


def narrow_study(levels=(0, 3)):
    config = tiny_config()
    config.knobs = dict(fsq=dict(coordinates=2))
    config.claim.knob = "fsq.levels"
    grid = product(axis("fsq.levels", levels, stage="prune"), axis("seed", (0, 1)))
    return study_of(config, grid)


def test_what_stays_is_as_at_the_last_step_that_trained():
    """No mechanism acts but those that stay, none of them drawing, each at its knobs of that step."""
    knobs = knobs_of(hidden_noise__sigma=1.0, vib__beta=1.0, vib__layer=1, fsq__levels=3, fsq__layer=1)
    active = ActiveMechanisms.reading(("hidden_noise", "vib", "fsq"), knobs, jnp.int32(7))
    assert active.key is None
    x = jnp.asarray(RNG.normal(size=(2, 3, 16)), jnp.float32)
    np.testing.assert_array_equal(active.hook("onward", 1, x), x)
    alone = MECHANISMS["fsq"].hook("residual", 1, x, knobs, None)
    np.testing.assert_array_equal(active.hook("residual", 1, x), alone)
    assert (alone != x).any()


def test_free_running_answers_are_given_through_the_bottleneck(monkeypatch):
    """Against the Python loop of the evaluation's own test, run through the model with its hook."""
    spec = ModelSpec(vocab_size=9, max_length=10, width=16, layers=1, heads=2, mlp_width=16)
    hook = reading("fsq", fsq__levels=3, fsq__coordinates=6, fsq__layer=0)
    changed = jax.jit(lambda p, t: model.run(p, t, spec, hook=hook)[:2])
    monkeypatch.setattr("tests.lab.engine.test_evaluate.APPLY", lambda params, tokens, _: changed(params, tokens))
    params = jax.tree.map(lambda p: p * 8, initial_params(jax.random.key(0), spec))
    tokens, weights = RNG.integers(0, 9, (6, 10)).astype(np.int32), np.zeros((6, 10), np.float32)
    weights[:, 5:9] = 1
    given = (jnp.asarray(tokens), jnp.asarray(tokens), jnp.asarray(weights))
    answer = jax.jit(evaluate.answer, static_argnums=(1, 5, 6))
    answers, _ = answer(params, spec, *given, 4, hook)
    expected = [naive_answer(params, tokens[i], weights[i], True) for i in range(6)]
    np.testing.assert_array_equal(answers, expected)
    without, _ = answer(params, spec, *given, 4)
    assert (np.asarray(without) != np.asarray(answers)).any()


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    programs = Programs(LAYOUT)
    return *carry_out(narrow_study(), tmp_path_factory.mktemp("fsq"), programs), programs


@pytest.mark.slow
def test_a_study_is_evaluated_with_what_stays(quantized):
    """The recorded log-probabilities, recomputed from the checkpoints; a second one where something acts in it."""
    plan, store, _, programs = quantized
    lengths = len(evaluate.evaluations(plan.study))

    @jax.jit
    def answer(params, tokens, targets, weights, knobs):
        hook = ActiveMechanisms.reading(("fsq",), knobs, jnp.int32(1)).hook
        return evaluate.answer(params, plan.study.spec, tokens, targets, weights, 1, hook)[1]

    assert sum(name.startswith("evaluation") for name in programs.compiled) == 2 * lengths
    for node in plan.program_groups[-1].nodes:
        saved, row = store.final(node.key)
        params = jax.tree.map(lambda leaf, row=row: jnp.asarray(leaf[row]), checkpoint.load(saved, "params"))
        history, found = checkpoint.load(saved, "history"), []
        for evaluation in evaluate.evaluations(plan.study):
            worlds = plan.study.mixture.worlds(derive_key(jnp.int32(node.knobs["seed"]), "world"))
            for label, split in evaluation.splits:
                examples = evaluate.examples_of(evaluation, jnp.int32(node.knobs["seed"]), worlds, label, split)
                at = (examples.tokens, examples.targets, examples.weights)
                found.append(answer(params, *at, knobs_of(fsq__levels=node.knobs["fsq.levels"], fsq__coordinates=2)))
        np.testing.assert_allclose(history["ability"][row, -1, :, 1], found, rtol=1e-5)


@pytest.mark.slow
def test_a_study_is_measured_with_what_stays(quantized, tmp_path):
    """Readings are of the quantized stream; their keys change with the staying knobs and with no others."""
    plan, store, _, _ = quantized
    knobs = {n.key: dict(n.knobs) for b in plan.program_groups for n in b.nodes}
    chunks = {str(store.final(key)[0].path): store.final(key)[0] for key in knobs}
    saved = list(chunks.values())  # of the first stage, of unquantized cells, of quantized ones
    coded = {str(store.final(key)[0].path) for key, values in knobs.items() if values["fsq.levels"]}
    assert 0 < len(coded) < len(saved)
    programs = Programs(LAYOUT)
    measurer = Measurer(plan.study, programs, tmp_path)
    readings = measurer.read(saved, knobs, lambda *_: None)
    assert programs.compiled == ["latent metrics"] * 2
    at = [place.layer for place in probe_sites(plan.study)].index(1)

    @jax.jit
    def states_of(params, seed, knobs):
        return hidden_states(plan.study, seed, params, ActiveMechanisms.reading(("fsq",), knobs, jnp.int32(1)).hook)[0]

    for node in plan.program_groups[-1].nodes:
        one, row = store.final(node.key)
        params = jax.tree.map(lambda leaf, row=row: jnp.asarray(leaf[row]), checkpoint.load(one, "params"))
        settings = knobs_of(fsq__levels=node.knobs["fsq.levels"], fsq__coordinates=2)
        states = np.asarray(states_of(params, jnp.int32(node.knobs["seed"]), settings), np.float64)
        if node.knobs["fsq.levels"]:
            assert len(np.unique(states[at])) <= 3
        centred = states[at] - states[at].mean(0)
        eigenvalues = np.linalg.eigvalsh(centred.T @ centred)
        expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
        assert readings[node.key, one.step]["participation_ratio"][at] == pytest.approx(expected, rel=1e-3)
    files = {f.name for f in (tmp_path / "readings").iterdir()}
    other = {key: values | {"hidden_noise.sigma": 0.5} for key, values in knobs.items()}
    measurer.read(saved, other, lambda *_: None)
    assert {f.name for f in (tmp_path / "readings").iterdir()} == files
    assert len(programs.compiled) == 2
    other = {key: values | ({"fsq.layer": 0} if values["fsq.levels"] else {}) for key, values in knobs.items()}
    measurer.read(saved, other, lambda *_: None)
    assert len({f.name for f in (tmp_path / "readings").iterdir()} - files) == len(coded)
