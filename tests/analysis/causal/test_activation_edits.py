"""Interventions on a model made by hand, of which it is known what is decodable and what is used."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.activations.inference_model import InferenceModel
from analysis.activations.measure import ProbeSite
from analysis.causal import activation_edits
from analysis.causal.activation_edits import Cut, edit_effects, rebased, reparametrize
from analysis.causal.subspaces import Basis
from lab.nn import model
from lab.prng import derive_key
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, study_of, tiny_config

FACTS, VALUES = 256, 4
NOTHING_ACTS = ActiveMechanisms((), None)


@pytest.fixture(scope="module")
def study():
    """256 facts of four values; their rarity is a factor that no answer depends on."""
    config = tiny_config()
    config.tasks.facts = dict(task="facts", facts=FACTS, values=VALUES, examples=4, exponent=0.0, probe="uniform")
    del config.tasks["word"]
    return study_of(config)


@pytest.fixture(scope="module")
def by_hand(study):
    """Embedding: value in columns 0 to 3, rarity in 4 to 7, noise in 8 to 15. Blocks add nothing; 0 to 3 are read."""
    world = study.mixture.worlds(derive_key(jnp.int32(0), "world"))["facts"]
    value, rank = np.asarray(world.value_of_key), np.argsort(np.asarray(world.key_of_rank))
    rows = 0.3 * np.random.default_rng(0).normal(size=(study.spec.vocab_size, 16))
    rows[1 : 1 + FACTS, 0:8] *= 0.67  # no code without noise: what is left of one, however small, is a probe's again
    rows[1 : 1 + FACTS, 0:4] += np.eye(VALUES)[value]
    rows[1 : 1 + FACTS, 4:8] += np.eye(4)[rank * 4 // FACTS]
    params = jax.tree.map(jnp.zeros_like, initial_params(jax.random.key(0), study.spec))
    params["norm_final"]["scale"] = jnp.ones(16)
    unembedding = np.zeros((16, study.spec.vocab_size), np.float32)
    unembedding[np.arange(4), 1 + FACTS + np.arange(4)] = 8.0
    params["embedding"] = jnp.asarray(rows, jnp.float32)
    params["unembedding"]["kernel"] = jnp.asarray(unembedding)
    return params


def cut_of(study, factor="value"):
    return Cut.at(ProbeSite("facts", 1, "answer"), replace(study.tasks[0], factor=factor))


@pytest.fixture(scope="module")
def effects_of(study):
    """The effects of edits, by parameters, factor and kind; one program for each factor and kind."""
    programs = {}

    def run(params, factor="value", what=edit_effects):
        cut, inference = cut_of(study, factor), InferenceModel(study.spec)
        program = programs.setdefault((factor, what), jax.jit(partial(what, study, cut, inference, NOTHING_ACTS)))
        with jax.default_matmul_precision("highest"):
            return jax.tree.map(float, program(jnp.int32(0), params))

    return run


def test_a_factor_that_is_used(effects_of, by_hand):
    found = effects_of(by_hand)
    assert found["dimension"] == VALUES - 1
    assert found["remove/none/exact"] > 0.98
    assert found["remove/none/probe"] > 0.95
    assert found["remove/factor/exact"] < 0.4
    assert found["remove/factor/probe"] < 0.65  # not .25: 256 keys come again in both halves
    assert found["remove/factor/logprob"] < found["remove/random/logprob"] - 0.5
    assert found["remove/random/exact"] > 0.95
    assert found["remove/matched/variance"] == pytest.approx(found["remove/factor/variance"], abs=5e-3)
    assert found["swap/pairs"] > 300
    assert found["swap/factor/follows"] > 0.99
    assert found["swap/random/stays"] > 0.75
    assert found["swap/whole/follows"] > 0.999


@pytest.mark.slow
def test_a_factor_that_is_decodable_and_not_used(effects_of, by_hand):
    found = effects_of(by_hand, "frequency")
    assert found["remove/none/probe"] > 0.95
    assert found["remove/factor/probe"] < 0.65  # not .25: 256 keys come again in both halves
    assert found["remove/factor/exact"] > found["remove/random/exact"] - 0.02
    assert found["remove/factor/exact"] > 0.95
    # a value doesn't follow from the rarity, so that no swap has an answer that it should follow
    assert found["swap/pairs"] == 0
    assert np.isnan(found["swap/factor/follows"])


def test_a_copy_that_is_decodable_and_not_used_stays_so(effects_of, by_hand):
    """Both copies of the value are one subspace to a probe; the one that is not read changes no answer."""
    params = by_hand | {"embedding": by_hand["embedding"].at[:, 12:16].set(by_hand["embedding"][:, 0:4])}
    assert effects_of(params)["remove/factor/exact"] < 0.4
    unread = by_hand | {"embedding": by_hand["embedding"].at[:, 0:4].set(0.0).at[:, 12:16].set(
        by_hand["embedding"][:, 0:4])}  # fmt: skip
    found = effects_of(unread)
    assert found["remove/none/probe"] > 0.95
    assert abs(found["remove/factor/exact"] - found["remove/none/exact"]) < 0.1


def test_edits_against_numpy(study, by_hand):
    """What a head of its own reads off the edited states, one example at a time in float64."""
    cut = cut_of(study)
    world = study.mixture.worlds(derive_key(jnp.int32(0), "world"))["facts"]
    examples = jax.jit(lambda world: activation_edits.probe_set(study, cut.use, jnp.int32(0), world))(world)
    rng = np.random.default_rng(1)
    change, towards = rng.normal(size=(16, 16)).astype(np.float32) / 4, rng.normal(size=(1024, 16)).astype(np.float32)
    hook = activation_edits.edited(model.no_hook, 1, examples.read[:, 0], jnp.asarray(change), jnp.asarray(towards))
    with jax.default_matmul_precision("highest"):
        forward = jax.jit(lambda params: model.run(params, examples.tokens, study.spec, hook=hook))(by_hand)
    x = np.asarray(by_hand["embedding"], np.float64)[np.asarray(examples.tokens)[:, 0]]
    x = x + (towards - x) @ change
    np.testing.assert_allclose(np.asarray(forward.hidden[1])[:, 0], x, atol=1e-5)
    normal = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6)
    logits = normal @ np.asarray(by_hand["unembedding"]["kernel"], np.float64)
    np.testing.assert_allclose(np.asarray(forward.logits)[:, 0], logits, atol=1e-4)


def test_only_what_comes_at_and_after_the_position_is_changed():
    study = study_of()
    params = initial_params(jax.random.key(0), study.spec)
    tokens = jnp.asarray([[3, 4, 5, 6]] * 2, jnp.int32)[:, : study.train_length]
    at, eye = jnp.asarray([1, 2]), jnp.eye(study.spec.width)
    hook = activation_edits.edited(model.no_hook, 0, at, eye, jnp.zeros((2, study.spec.width)))
    plain, other = (jax.jit(partial(model.run, spec=study.spec, hook=t))(params, tokens) for t in (model.no_hook, hook))
    for row, position in enumerate(at.tolist()):
        np.testing.assert_array_equal(other.logits[row, :position], plain.logits[row, :position])
        assert np.abs(np.asarray(other.logits - plain.logits))[row, position:].max(axis=1).min() > 1e-3
        assert not np.asarray(other.hidden[0])[row, position].any()


@pytest.mark.parametrize("layer", [0, 1])
def test_another_basis_changes_no_output(layer):
    study = study_of()
    params, basis = initial_params(jax.random.key(5), study.spec), np.random.default_rng(0).normal(size=(16, 16))
    there_and_back = Basis(jnp.asarray(basis, jnp.float32), jnp.asarray(np.linalg.inv(basis), jnp.float32))
    tokens = jnp.asarray([[3, 4, 5, 6]], jnp.int32)[:, : study.train_length]
    run = jax.jit(lambda basis: model.run(params, tokens, study.spec, hook=rebased(model.no_hook, layer, basis)))
    with jax.default_matmul_precision("highest"):
        plain, other = run(Basis(jnp.eye(16), jnp.eye(16))), run(there_and_back)
    np.testing.assert_allclose(other.logits, plain.logits, atol=1e-4)
    np.testing.assert_allclose(other.hidden[layer], np.asarray(plain.hidden[layer]) @ basis, atol=1e-4)
    np.testing.assert_allclose(other.hidden[1 - layer], plain.hidden[1 - layer], atol=1e-4)


@pytest.mark.slow
def test_another_basis_moves_some_metrics_and_not_others(effects_of, by_hand):
    found = effects_of(by_hand, what=reparametrize)
    assert set(found) == {"none", "rotated", "whitened", "sharpened", "factor up", "factor down"}
    assert max(one["output"] for one in found.values()) < 1e-3
    ranks = {name: one["participation_ratio"] for name, one in found.items()}
    assert 1.1 * ranks["sharpened"] < ranks["none"] < 0.9 * ranks["whitened"]
    assert ranks["rotated"] == pytest.approx(ranks["none"], rel=1e-3)
    assert found["factor up"]["silhouette"] > found["factor down"]["silhouette"] + 0.3
    for one in found.values():
        for neutral in ("v_information", "probe_accuracy", "fisher_trace"):
            assert one[neutral] == pytest.approx(found["none"][neutral], rel=0.03, abs=0.01)


def test_a_cell_that_diverged_reads_nan(effects_of, by_hand):
    params = by_hand | {"embedding": by_hand["embedding"].at[5, 5].set(jnp.nan)}
    assert all(np.isnan(value) for value in effects_of(params).values())
    bases = effects_of(params, what=reparametrize)
    assert all(np.isnan(value) for one in bases.values() for value in one.values())
