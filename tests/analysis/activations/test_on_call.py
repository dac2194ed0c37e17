"""Metrics on call: what `study.measure` reads off checkpoints is what the metric's function says of the same arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analysis
from analysis.activations import measure, on_call
from analysis.activations.inference_model import InferenceModel
from analysis.metrics import fracture, neural_collapse, similarity
from analysis.metrics.lidar import lidar
from analysis.metrics.on_call import ARGUMENTS, ON_CALL, find
from analysis.metrics.registry import METRICS
from lab.errors import UserError
from lab.prng import derive_key
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, study_of, tiny_config

CELLS = {"prune.sparsity": 0.5, "seed": (0, 1)}
NEUTRAL = {"prune.sparsity": 0.0}


@pytest.fixture(scope="module")
def opened(recorded):
    return analysis.open_study(recorded[2])


def states_of(opened, where, **options):
    """{cell: (states, labels)}"""
    return {
        cell: (jnp.asarray(block.states_CxNxD[row]), jnp.asarray(block.labels_CxN[row]))
        for block in opened.hidden(where, label="word", **options)
        for row, cell in enumerate(block.cells)
    }


def probe_examples(study, renaming_N=None):
    """Of the second task, in the world of seed 0."""

    def drawn(renaming_N):
        world = study.mixture.worlds(derive_key(jnp.int32(0), "world"))["word"]
        return measure.probe_set(study, study.tasks[1], jnp.int32(0), world, renaming_N)

    return jax.jit(drawn)(renaming_N)


@pytest.fixture(scope="module")
def examples():
    """The probe set of the tiny study's second task."""
    return probe_examples(study_of())


@pytest.mark.slow
def test_a_metric_of_labels(opened):
    found, expected = opened.measure("class_mean_simplex", CELLS, label="word"), states_of(opened, CELLS)
    assert found["cell"].tolist() == sorted(expected) == [3, 4]
    assert found.keys() == {"cell", "norm_spread", "angle_spread", "angle_gap"}
    direct = jax.jit(neural_collapse.class_mean_simplex, static_argnums=2)
    for row, cell in enumerate(found["cell"]):
        for name, value in direct(*expected[cell], 6)._asdict().items():
            np.testing.assert_allclose(found[name][row], value, rtol=1e-4)


@pytest.mark.slow
def test_a_metric_of_the_registry_reads_what_the_study_reads(opened):
    found, results = opened.measure("two_nn", CELLS, label="word"), opened.results
    at = [np.flatnonzero((results["cell"] == cell) & (results["step"] == opened.steps[-1]))[0] for cell in (3, 4)]
    np.testing.assert_allclose(found["two_nn"], results["word/layer1/last/two_nn"][at], rtol=1e-4)


@pytest.mark.slow
def test_two_cells_are_compared_within_their_seed(opened):
    found = opened.measure("linear_cka", CELLS, against=NEUTRAL, label="word")
    mine, others = states_of(opened, CELLS), states_of(opened, NEUTRAL)
    direct = jax.jit(similarity.linear_cka)
    for row, (cell, other) in enumerate(((3, 0), (4, 1))):
        np.testing.assert_allclose(found["linear_cka"][row], direct(mine[cell][0], others[other][0]), rtol=1e-5)
    same = opened.measure("procrustes_distance", 3, against=3, label="word")
    np.testing.assert_allclose(same["procrustes_distance"], 0.0, atol=1e-5)
    with pytest.raises(UserError, match="compares two cells"):
        opened.measure("linear_cka", CELLS, label="word")
    with pytest.raises(UserError, match="leave out against"):
        opened.measure("mdl_probe", CELLS, against=NEUTRAL, label="word")
    with pytest.raises(UserError, match="several cells of seed 0"):
        opened.measure("linear_cka", CELLS, against={"seed": 0}, label="word")
    with pytest.raises(UserError, match="no cell of seed 1"):
        opened.measure("linear_cka", CELLS, against={"seed": 0, "prune.sparsity": 0.0}, label="word")


@pytest.mark.slow
def test_a_second_factor_and_an_earlier_layer(opened, examples):
    found = opened.measure("parallelism_score", 3, label="word", context="last")
    states, labels = states_of(opened, 3)[3]
    direct = jax.jit(fracture.parallelism_score, static_argnums=(3, 4))
    expected = direct(states, labels, examples.factors["last"], 6, 6)
    np.testing.assert_allclose(found["parallelism_score"], expected, rtol=1e-4)
    found = opened.measure("neighbour_stretch", 3, label="word", from_layer=0)
    expected = jax.jit(fracture.neighbour_stretch)(states_of(opened, 3, layer=0)[3][0], states)
    np.testing.assert_allclose(found["median"], expected.median, rtol=1e-4)
    np.testing.assert_allclose(found["largest"], expected.largest, rtol=1e-4)


def test_the_readout_and_its_decisions(opened, examples):
    """Against the model's own logits: the states behind the last norm times the readout's rows."""
    study, params = opened.study, initial_params(jax.random.key(1), opened.study.spec)
    place = opened.place("word", None, None)
    inference = InferenceModel(study.spec)
    active = ActiveMechanisms.reading((), {}, 0)
    cell = jax.jit(
        lambda params: on_call.arguments_of(study, on_call.request(study, place, "readout_alignment", {}))(
            inference, active, jnp.int32(0), params
        )
    )(params)
    logits = jax.jit(lambda p: measure.forward(study.tasks[1], examples, p, study.spec).logits[:, 0])(params)
    answer_N = np.asarray(jnp.take_along_axis(examples.targets, examples.read[:, :1], axis=1)[:, 0])
    token_C = np.asarray([answer_N[np.flatnonzero(cell["labels"] == c)[0]] for c in range(6)])
    expected = np.asarray(logits)[:, token_C]
    np.testing.assert_allclose(cell["states"] @ cell["readout"].T, expected, atol=1e-4)
    np.testing.assert_array_equal(cell["decisions"], expected.argmax(axis=1))
    np.testing.assert_array_equal(cell["labels"], examples.factors["state"])
    found = opened.measure("nearest_mean_disagreement", 3, label="word")["nearest_mean_disagreement"]
    assert 0 <= found[0] <= 1
    with pytest.raises(UserError, match="layer=1"):
        opened.measure("readout_alignment", 3, label="word", layer=0)


def test_a_label_that_does_not_decide_the_answer_reads_nan(examples):
    """Of two factors of the same examples, one decides the answers."""
    assert on_call._answers(examples, 0, examples.factors["state"], 6)[1]
    assert not on_call._answers(examples, 0, examples.factors["last"], 6)[1]
    outside = jnp.full(1024, -1, jnp.int32)
    states = jax.random.normal(jax.random.key(0), (1024, 4))
    assert np.isnan(jax.jit(neural_collapse.nearest_mean_disagreement, static_argnums=3)(states, outside, outside, 6))


@pytest.mark.slow
def test_views_are_the_same_inputs_renamed():
    config = tiny_config()
    config.tasks.word = dict(task="mqar", examples=4)
    study = study_of(config)
    place = measure.ProbeSite("word", 1, study.tasks[1].task.read_names[0])
    request = on_call.request(study, place, "lidar", {"views": 3})
    params = initial_params(jax.random.key(2), study.spec)
    inference, active = InferenceModel(study.spec), ActiveMechanisms.reading((), {}, 0)
    of_cell = jax.jit(lambda params: on_call.arguments_of(study, request)(inference, active, jnp.int32(0), params))
    views = np.asarray(of_cell(params)["views"])
    assert views.shape == (1024, 3, 16)
    plain, renamed = probe_examples(study), probe_examples(study, jnp.arange(1, 1025, dtype=jnp.uint32))
    assert (plain.tokens != renamed.tokens).any(axis=1).mean() > 0.9
    np.testing.assert_array_equal(plain.read, renamed.read)
    np.testing.assert_array_equal(plain.weights, renamed.weights)
    assert np.abs(views[:, 0] - views[:, 1]).max() > 1e-3
    found = on_call.read(study, request, [((0,), {"views": views[None]})])
    np.testing.assert_allclose(found["lidar"], jax.jit(lidar)(jnp.asarray(views)), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lidr", {}, "Did you mean|nearest|lidar"),
        ("lidar", {}, "symbols that may be renamed"),
        ("mdl_probe", {"k": 3}, "no option 'k'; it takes none"),
        ("svcca", {"share": -1}, "share=-1 must be a number above 0"),
        ("gride", {"k": 2.5}, "k=2.5 must be a whole number"),
        ("parallelism_score", {}, "context=<a second factor"),
        ("parallelism_score", {"context": "state"}, "there are: previous_state, last"),
        ("neighbour_stretch", {"from_layer": 2}, r"from_layer=2 must lie in \[0, 1\]"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(name, options, message):
    study = study_of()
    with pytest.raises(UserError, match=message):
        on_call.request(study, measure.ProbeSite("word", 1, "last"), name, options)


def test_a_number_that_the_metric_refuses_is_a_users_mistake(opened):
    with pytest.raises(UserError, match="share=2"):
        opened.measure("svcca", 3, against=0, label="word", share=2)


def test_every_metric_on_call_is_described_and_apart_from_the_registry():
    assert not {*ON_CALL} & {*METRICS}
    for name, metric in ON_CALL.items():
        assert metric.name == name
        assert {*metric.arguments} <= {*ARGUMENTS}
        assert {*metric.settings} <= {*metric.arguments}
        assert all((metric.meaning, metric.range, metric.source, metric.trap))
    assert find("no such metric") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, metric in ON_CALL.items() if "views" not in metric.arguments])
def test_every_metric_on_call_reads_the_tiny_study(name, opened):
    options = {"context": "last"} if "contexts" in ON_CALL[name].arguments else {}
    pair = {"against": 0} if "other" in ON_CALL[name].arguments else {}
    found = opened.measure(name, 3, label="word", **pair, **options)
    assert found.pop("cell").tolist() == [3]
    assert all(np.isfinite(column).all() for column in found.values())
