"""Hidden states and readings from checkpoints: the right inputs, the right place, nothing from the training process."""

from __future__ import annotations

import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.activations.measure import Measurer, ProbeSite, claim_site, hidden_states, probe_set, probe_sites
from analysis.metrics.registry import METRICS
from lab.nn import model
from lab.prng import derive_key
from lab.storage import checkpoint
from lab.study import gain
from tests.lab.conftest import PROGRAMS, initial_params, study_of, tiny_config


@pytest.fixture(scope="module")
def study():
    return study_of()


def params_of(study, seed):
    return initial_params(derive_key(jnp.int32(seed), "init"), study.spec)


def test_hidden_states_are_the_residual_stream_at_the_read_position(study):
    seed = jnp.int32(2)
    params = params_of(study, 2)
    states, labels, _ = jax.jit(lambda s, p: hidden_states(study, s, p))(seed, params)
    assert states.shape == (len(probe_sites(study)), study.probe_examples, study.spec.width)
    worlds = study.mixture.worlds(derive_key(seed, "world"))
    at = [str(place) for place in probe_sites(study)].index("facts/layer1/answer")
    # In the mixture a fact is [task token, key, PAD…]: the key's position is 1, the label the value of that key.
    probe_token = study.mixture.task_token("facts")
    for row in range(5):
        keys = np.flatnonzero(np.asarray(worlds["facts"].value_of_key) == int(labels[at, row]))
        candidates = []
        for key in keys:
            tokens = jnp.asarray([[probe_token, 1 + key] + [0] * (study.train_length - 2)], jnp.int32)
            candidates.append(np.asarray(model.apply(params, tokens, study.spec)[1])[1, 0, 1])
        distance = min(np.abs(np.asarray(states[at, row]) - c).max() for c in candidates)
        assert distance < 1e-5


def test_all_cells_of_a_seed_see_the_same_inputs(study):
    """Labels depend on the inputs and the world only, so they agree for other parameters of the same seed."""
    run = jax.jit(lambda s, p: hidden_states(study, s, p))
    first, other, another_seed = (run(jnp.int32(s), params_of(study, p)) for s, p in ((0, 0), (0, 1), (1, 0)))
    np.testing.assert_array_equal(first[1], other[1])
    np.testing.assert_array_equal(first[2], other[2])
    assert (np.asarray(first[0]) != np.asarray(other[0])).any()
    assert (np.asarray(first[1]) != np.asarray(another_seed[1])).any()


def test_each_seed_has_probe_inputs_of_its_own(study):
    """So that latents vary over inputs as abilities do; `word` has no world that would tell its seeds apart."""
    use = next(use for use in study.tasks if use.label == "word")
    draw = jax.jit(lambda s: probe_set(study, use, s, study.mixture.worlds(derive_key(s, "world"))["word"]).tokens)
    first, second = (np.asarray(draw(jnp.int32(seed))) for seed in (0, 1))
    assert (first != second).any(axis=1).mean() > 0.9


def test_claims_are_read_where_the_first_answer_is_still_to_be_made(study):
    assert claim_site(study, "word") == ProbeSite("word", study.claim.layer, "last")


def placed_config():
    """Two factors of `word`, and a gain on inputs longer than those of training."""
    config = tiny_config()
    config.tasks.word.factor = ("state", "last")
    config.claim.gains = (gain("participation_ratio", -1), gain("fisher_trace", task="word", split="length"))
    return config


@pytest.mark.slow
def test_further_factors_and_splits_are_read_after_all_others_and_change_none_of_them(study):
    """States are compared bit for bit: keys, padding and order of what was read before are those of before."""
    placed = study_of(placed_config())
    assert [str(one) for one in probe_sites(placed)] == [
        "facts/layer1/answer",
        "word/layer1/last",
        "word/layer1/last/factor=last",
        "word/layer1/last/on=length",
        "word/layer1/last/on=length/factor=last",
    ]
    seed, params = jnp.int32(0), params_of(study, 0)
    before, after = (jax.jit(lambda s, p, one=one: hidden_states(one, s, p))(seed, params) for one in (study, placed))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new[:2])
    states, labels, _ = map(np.asarray, after)
    np.testing.assert_array_equal(states[1], states[2])  # another factor of the same inputs
    assert (labels[1] != labels[2]).mean() > 0.5
    np.testing.assert_array_equal(states[3], states[4])
    # Independently: the longer inputs, drawn by hand, through the model's own application.
    use = placed.tasks[1]
    key = derive_key(seed, "probe", zlib.crc32(b"word/length") & 0x7FFFFFFF)
    world = placed.mixture.worlds(derive_key(seed, "world"))["word"]
    length = placed.mixture.length({"word": "length"})
    assert length > placed.train_length
    examples = placed.mixture.sample(key, "word", world, "length", placed.probe_examples, length=length)
    np.testing.assert_array_equal(labels[3], examples.factors["state"])
    tokens_NxL = np.asarray(examples.tokens)
    symbols_NxL = tokens_NxL[:, 1:] - 1  # after the task's token; Z6 adds what is written
    np.testing.assert_array_equal(labels[3], symbols_NxL.sum(axis=1) % 6)
    hidden = jax.jit(lambda p, t: model.apply(p, t, placed.spec)[1])(params, examples.tokens[:64])
    np.testing.assert_allclose(states[3][:64], np.asarray(hidden)[1, :, -1], atol=1e-5)
    assert use.task.splits["length"].length + 1 == length


def test_settings_of_readings_are_those_of_before_where_nothing_further_is_read(study):
    placed = study_of(placed_config())
    old, new = (Measurer(one, PROGRAMS, Path()).settings() for one in (study, placed))
    assert new[: len(old)] == old
    assert new[len(old) :] == (("word", "iid", "last"), ("word", "length", "state"), ("word", "length", "last"))


def test_readings_are_kept_and_reread(trained, tmp_path):
    plan, store, _ = trained
    node = plan.program_groups[-1].nodes[0]
    saved, row = store.final(node.key)
    knobs = {n.key: n.knobs for b in plan.program_groups for n in b.nodes}
    calls = []
    measurer = Measurer(plan.study, PROGRAMS, tmp_path)
    first = measurer.read([saved], knobs, lambda done, total: calls.append((done, total)))
    again = measurer.read([saved], knobs, lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, len(saved.meta["cells"]))
    assert calls[-1] == (0, 0)  # nothing was left to measure
    for key in first:
        for name in METRICS:
            np.testing.assert_array_equal(first[key][name], again[key][name])
    # and they are those of the checkpoint's parameters
    params = checkpoint.rows(checkpoint.load(saved, "params"), [row])
    one = jax.tree.map(lambda leaf: leaf[0], params)
    states, _, _ = jax.jit(lambda s, p: hidden_states(plan.study, s, p))(jnp.int32(node.knobs["seed"]), one)
    centred = np.asarray(states[0], np.float64) - np.asarray(states[0], np.float64).mean(0)
    eigenvalues = np.linalg.eigvalsh(centred.T @ centred)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert first[node.key, saved.step]["participation_ratio"][0] == pytest.approx(expected, rel=1e-4)


def test_a_damaged_file_of_readings_is_measured_again(trained, tmp_path):
    plan, store, _ = trained
    saved, _ = store.final(plan.program_groups[-1].nodes[0].key)
    knobs = {n.key: n.knobs for b in plan.program_groups for n in b.nodes}
    measurer = Measurer(plan.study, PROGRAMS, tmp_path)
    first = measurer.read([saved], knobs, lambda *_: None)
    (file,) = (tmp_path / "readings").iterdir()
    file.write_text(file.read_text()[:100])
    with pytest.warns(UserWarning, match=rf"{file.name} can't be read .*: measured again\."):
        again = measurer.read([saved], knobs, lambda *_: None)
    assert all(np.array_equal(first[k][n], again[k][n], equal_nan=True) for k in first for n in first[k])
