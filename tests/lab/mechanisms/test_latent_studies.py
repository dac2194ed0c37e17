"""A whole study of latent computation: every cell pauses and loops, some think."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analysis.activations.measure import Measurer, hidden_states, probe_sites
from lab.engine import evaluate
from lab.engine.plan import arguments_of
from lab.prng import derive_key
from lab.storage import checkpoint
from lab.study import axis, product
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import PROGRAMS, carry_out, study_of
from tests.lab.engine.stored import assert_same, cut_off, everything, keys_of
from tests.lab.mechanisms.test_latent_computation import plainly
from tests.lab.mechanisms.test_latent_training import crossentropy, latent_config


def thinking(steps=(0, 1, 2), seeds=2):
    config = latent_config("thoughts.steps", pause={"tokens": 1}, loop={"turns": 2})
    return study_of(config, product(axis("thoughts.steps", steps), axis("seed", range(seeds))))


@pytest.fixture(scope="module")
def thought(tmp_path_factory):
    return carry_out(thinking(), tmp_path_factory.mktemp("thought"))


@pytest.mark.slow
def test_cells_that_do_not_think_are_bitwise_those_of_a_study_without_thoughts(thought, tmp_path):
    plan, store, progress = thought
    assert sum(name.startswith("training") for name in progress.programs) <= len(plan.program_groups) == 2
    plain, alone, _ = carry_out(thinking((0,)), tmp_path)
    (shared,) = {group.program for group in plan.program_groups} & {group.program for group in plain.program_groups}
    assert (shared.spec.thoughts, shared.spec.pauses, shared.spec.turns) == (0, 1, 2)
    assert_same(everything(alone, keys_of(plain, 0)), everything(store, keys_of(plain, 0)))


@pytest.mark.slow
def test_a_thinking_study_cut_off_ends_with_the_same_bytes(thought, tmp_path):
    plan, store, _ = thought
    cut_off(store.workdir, tmp_path / "copy", plan.study.stages[0].saves[0])
    _, again, progress = carry_out(plan.study, tmp_path / "copy")
    assert progress.skipped == len(plan.study.cells) * plan.study.stages[0].saves[0]
    assert_same(everything(again, keys_of(plan, 0)), everything(store, keys_of(plan, 0)))


def node_of(group, **knobs):
    (node,) = (n for n in group.nodes if all(n.knobs[k.replace("__", ".")] == v for k, v in knobs.items()))
    return node


def final(store, node, item):
    """One cell's part of a final checkpoint."""
    saved, row = store.final(node.key)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], checkpoint.rows(checkpoint.load(saved, item), [row]))


def sampled(study, seed):
    """Examples of word/iid as they are evaluated, and some as they are probed."""
    worlds = study.mixture.worlds(derive_key(seed, "world"))
    evaluation = evaluate.evaluations(study)[0]
    asked = evaluate.examples_of(evaluation, seed, worlds, "word", "iid")
    key = derive_key(seed, "probe", zlib.crc32(b"word") & 0x7FFFFFFF)
    probe = study.mixture.sample(key, "word", worlds["word"], "iid", study.probe_examples, length=study.train_length)
    return jax.tree.map(np.asarray, asked), jax.tree.map(lambda x: np.asarray(x)[:16], probe)


def answered(params, spec, node, examples):
    using = {name: node.knobs[name] for name in ("thoughts.steps", "pause.tokens", "loop.turns")}
    return plainly(params, spec, using, examples.tokens, question=(examples.weights > 0).argmax(1))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_abilities_are_those_of_the_reference(thought, steps):
    plan, store, _ = thought
    group = plan.program_groups[steps == 0]
    node = node_of(group, seed=1, thoughts__steps=steps)
    asked, _ = sampled(plan.study, jnp.int32(1))
    losses = []
    found = answered(final(store, node, "params"), group.program.spec, node, asked)
    for one, targets, weights in zip(found, asked.targets, asked.weights, strict=True):
        losses.append(np.mean([crossentropy(one.logits[t], targets[t]) for t in np.flatnonzero(weights)]))
    abilities = final(store, node, "history")["ability"][-1]
    split = evaluate.names(plan.study).index("word/iid")
    assert abilities[split, 1] == pytest.approx(-np.mean(losses), rel=1e-4)


@pytest.mark.slow
def test_latents_are_those_of_the_reference(thought, tmp_path):
    plan, store, _ = thought
    study, group = plan.study, plan.program_groups[0]
    saved = {store.final(node.key)[0].path: store.final(node.key)[0] for node in group.nodes}
    readings = Measurer(study, PROGRAMS, tmp_path).read(
        saved.values(), {node.key: node.knobs for node in group.nodes}, lambda *_: None
    )
    names, spec = group.program.mechanisms, group.program.spec

    @jax.jit
    def states_of(params, knobs):
        hook = ActiveMechanisms.reading(names, knobs, jnp.int32(12)).hook
        return hidden_states(study, jnp.int32(1), params, hook, spec)[0]

    _, probe = sampled(study, jnp.int32(1))
    for node in (node_of(group, seed=1, thoughts__steps=steps) for steps in (1, 2)):
        params = final(store, node, "params")
        knobs = {name: values[0] for name, values in arguments_of(names, [node.knobs]).items()}
        states, expected = np.asarray(states_of(params, knobs), np.float64), answered(params, spec, node, probe)
        for number, place in enumerate(probe_sites(study)):
            column = study.tasks[0].task.read_names.index(place.read)
            mine = [one.hidden[place.layer, at[column]] for one, at in zip(expected, probe.read, strict=True)]
            np.testing.assert_allclose(states[number, :16], mine, rtol=1e-4, atol=1e-5)
            centred = states[number] - states[number].mean(0)
            eigenvalues = np.linalg.eigvalsh(centred.T @ centred)
            dimension = readings[node.key, 12]["participation_ratio"][number]
            assert dimension == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-3)
