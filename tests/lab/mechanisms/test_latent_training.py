"""Training with latent computation: losses, gradients, plans and a whole study, against loops in NumPy."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lab.engine import make_plan
from lab.errors import UserError
from lab.mechanisms import knobs as registry
from lab.mechanisms.pruning_masks import prunable
from lab.mechanisms.pruning_scores import input_norms
from lab.mechanisms.quantization import code_entropy
from lab.nn import codebook, model
from lab.nn.loss import task_loss
from lab.study import axis, product
from lab.training.active_mechanisms import ActiveMechanisms
from tasks.mixture import Batch
from tests.lab.conftest import LAYOUT, study_of, tiny_config
from tests.lab.mechanisms.test_latent_computation import SPEC, TOKENS_BxL, all_knobs, drawn, plainly, spec_with, traced
from tests.lab.nn.numpy_model import normal
from tests.tasks.task_cases import first_by_default

RNG = np.random.default_rng(1)
ANSWERS = [[2, 3, 4], [3, 4], [0], [4, 5, 6]]
TARGETS_BxL = RNG.integers(0, 11, TOKENS_BxL.shape).astype(np.int32)
BATCH = Batch(
    tokens=jnp.asarray(TOKENS_BxL),
    targets=jnp.asarray(TARGETS_BxL),
    weights=jnp.zeros(TOKENS_BxL.shape),
    answers=jnp.asarray([row + [0] * (3 - len(row)) for row in ANSWERS], jnp.int32),
    answer_mask=jnp.asarray([[number < len(row) for number in range(3)] for row in ANSWERS]),
)


# The codebook.

X_NxD, CODES_CxD = RNG.normal(size=(40, 5)).astype(np.float32), RNG.normal(size=(7, 5)).astype(np.float32)


@pytest.mark.parametrize("active", [1, 4, 7])
def test_the_nearest_code_is_brute_forces(active):
    found = codebook.nearest(jnp.asarray(X_NxD), jnp.asarray(CODES_CxD), jnp.float32(active))
    distance_NxC = np.linalg.norm(X_NxD[:, None].astype(float) - CODES_CxD[None, :active], axis=-1)
    np.testing.assert_array_equal(found, distance_NxC.argmin(1))
    assert len(np.unique(found)) == active  # each is somebody's nearest, so each could have been missed
    expected = stats.entropy(np.bincount(distance_NxC.argmin(1)))
    np.testing.assert_allclose(code_entropy(found[:, None]), expected, rtol=1e-5, atol=1e-7)


def test_quantization_is_straight_through_and_each_part_of_its_cost_pulls_one_side():
    weight_NxD = RNG.normal(size=X_NxD.shape).astype(np.float32)
    both = (jnp.asarray(X_NxD), jnp.asarray(CODES_CxD))
    passed = jax.grad(lambda x, c: jnp.sum(weight_NxD * codebook.quantize(x, c, 5.0)[0]), (0, 1))(*both)
    np.testing.assert_array_equal(passed[0], weight_NxD)
    assert not passed[1].any()
    nearest = ((X_NxD[:, None].astype(float) - CODES_CxD[None, :5]) ** 2).sum(-1).argmin(1)
    away_NxD = X_NxD - CODES_CxD[nearest].astype(float)
    values, cost = codebook.quantize(*both, 5.0)
    np.testing.assert_array_equal(values, CODES_CxD[nearest])
    np.testing.assert_allclose(cost, 1.25 * (away_NxD**2).sum(1), rtol=1e-5)
    # |sg[x] - c|² pulls codes alone, a quarter of |x - sg[c]|² vectors alone.
    pulled = jax.grad(lambda x, c: jnp.sum(codebook.quantize(x, c, 5.0)[1]), (0, 1))(*both)
    np.testing.assert_allclose(pulled[0], 0.25 * 2 * away_NxD, rtol=1e-4, atol=1e-5)
    codes_CxD = np.zeros(CODES_CxD.shape)
    for away, code in zip(away_NxD, nearest, strict=True):
        codes_CxD[code] -= 2 * away
    np.testing.assert_allclose(pulled[1], codes_CxD, rtol=1e-4, atol=1e-5)


# Losses and gradients of one cell, in a program with room for more than it uses.

FULL = {
    "pause.tokens": 2,
    "memory.tokens": 3,
    "memory.compress": 1,
    "registers.tokens": 2,
    "thoughts.steps": 2,
    "loop.turns": 2,
    "experts.count": 4,
    "experts.top_k": 2,
    "experts.balance": 0.3,
    "vq.codes": 6,
    "vq.rate": 0.5,
    "multi_token.rate": 0.7,
    "multi_token.ahead": 2,
}
LESS = FULL | {
    "pause.tokens": 1,
    "memory.tokens": 2,
    "registers.tokens": 1,
    "thoughts.steps": 1,
    "experts.count": 3,
    "vq.codes": 4,
    "multi_token.ahead": 1,
}
SPEC_OF_ALL = spec_with(FULL)


@functools.cache
def objective():
    """(parameters, knobs) -> ((loss, its parts), gradient), as a training step computes it."""
    names, step = registry.mechanisms_in_use([all_knobs(FULL)]), jnp.int32(3)

    def loss(params, knobs):
        active = ActiveMechanisms.of(names, knobs, jnp.int32(0), step)
        forward = model.run(params, BATCH.tokens, SPEC_OF_ALL, BATCH.answers, active.hook, BATCH.question)
        parts = {"task": task_loss(forward.logits, BATCH)}
        for name, mechanism, now in active:
            penalty = mechanism.penalty(forward, active.view(name, BATCH, SPEC_OF_ALL, step), now)
            parts |= {} if penalty is None else {name: penalty}
        return active.penalized(parts["task"], forward, BATCH, SPEC_OF_ALL, step), parts

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def lossy(params, asked):
    return objective()(params, traced(all_knobs(asked)))


def crossentropy(logits, target):
    return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target]


def parts_of(params, asked):
    """The loss's parts, example by example, token by token."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    found = plainly(params, SPEC_OF_ALL, asked, question=[row[0] for row in ANSWERS])
    task, ahead = [], [[] for _ in range(asked["multi_token.ahead"])]
    loads = np.zeros((2, SPEC.layers, asked["experts.count"]))
    tokens, cost = 0, 0.0
    for one, places_, targets in zip(found, ANSWERS, TARGETS_BxL, strict=True):
        task.append(np.mean([crossentropy(one.logits[place], targets[place]) for place in places_]))
        for number, losses in enumerate(ahead):
            mine = []
            for place, later in zip(places_, places_[number + 1 :], strict=False):
                stream = one.hidden[-1, place]
                stream = stream + stream @ params[f"ahead_{number}"]["kernel"]
                logits = normal(stream, params["norm_final"]) @ params["unembedding"]["kernel"]
                mine.append(crossentropy(logits, targets[later]))
            losses.append(np.mean(mine) if mine else 0.0)
        for place in range(places_[-1] + 1):  # what answers can hear
            tokens, cost = tokens + 1, cost + one.cost[place]
            for layer in range(SPEC.layers):
                odds = one.routing[layer, place]
                loads[0, layer] += odds
                for expert in sorted(range(len(odds)), key=lambda e, p=odds: -p[e])[: asked["experts.top_k"]]:
                    loads[1, layer, expert] += 1 / asked["experts.top_k"]
    balance = asked["experts.count"] * np.mean((loads[0] * loads[1]).sum(-1)) / tokens**2
    return {
        "task": np.mean(task),
        "multi_token": asked["multi_token.rate"] * sum(np.mean(losses) for losses in ahead),
        "experts": asked["experts.balance"] * balance,
        "vq": asked["vq.rate"] * cost / tokens,
    }


STEP = 1e-8  # small enough to cross no neuron's kink
WITHOUT_CODES = [
    FULL | {"vq.codes": 0},
    LESS | {"vq.codes": 0},
    LESS | {"vq.codes": 0, "memory.compress": 0, "loop.turns": 1, "experts.top_k": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked", first_by_default([LESS | {"vq.layer": 0}, *WITHOUT_CODES]), ids=["codes", "all", "less", "few"]
)
def test_losses_are_those_of_loops_over_tokens(asked):
    params = drawn(SPEC_OF_ALL)
    (total, parts), _ = lossy(params, asked)
    expected = parts_of(params, asked)
    assert parts.keys() == expected.keys()
    for name, value in parts.items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-5, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(total, sum(expected.values()), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("asked", first_by_default(WITHOUT_CODES[::-1]), ids=["few", "less", "all"])
def test_gradients_are_the_slopes_of_the_references_loss(asked):
    """Through thoughts, turns, gates and memories, along some directions (no code is crossed: codes have no slope)."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), drawn(SPEC_OF_ALL))
    _, gradient = lossy(jax.tree.map(np.float32, params), asked)
    for number in range(3):
        random = np.random.default_rng(number)
        along = jax.tree.map(lambda p, random=random: random.normal(size=p.shape), params)
        ends = [
            sum(parts_of(jax.tree.map(lambda p, d, h=h: p + h * d, params, along), asked).values())
            for h in (STEP, -STEP)
        ]
        ours = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(along), strict=True))
        np.testing.assert_allclose(ours, (ends[0] - ends[1]) / (2 * STEP), rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_gradients_reach_what_is_there_and_nothing_else():
    _, gradient = lossy(drawn(SPEC_OF_ALL), LESS)
    gradient = jax.tree.map(np.asarray, gradient)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    reached = lambda leaf, axis=0: np.abs(leaf).sum(tuple(i for i in range(leaf.ndim) if i != axis)) > 0  # noqa: E731
    tables = {"memories": 2, "registers": 1, "pause": 1}
    for name, count in tables.items():
        vectors = gradient[name]["vectors"]
        np.testing.assert_array_equal(reached(vectors), np.arange(len(vectors)) < count)
    length = TOKENS_BxL.shape[1] + 1 + 2 + 2  # a thought, memories, a pause and the one that compression adds
    assert not reached(gradient["positions"])[length:].any()
    for block in ("block_0", "block_1"):
        mixture = gradient[block]["mixture"]
        for leaf, axis_ in ((mixture["experts_in"], 0), (mixture["experts_out"], 0), (mixture["router"]["kernel"], 1)):
            np.testing.assert_array_equal(reached(leaf, axis_), [True, True, True, False])
    assert reached(gradient["codebook"]["vectors"])[:4].any()
    assert not reached(gradient["codebook"]["vectors"])[4:].any()
    assert gradient["ahead_0"]["kernel"].any()
    assert not gradient["ahead_1"]["kernel"].any()


@pytest.mark.slow
def test_wanda_ranks_what_is_left_to_prune_beside_experts():
    spec, step = spec_with({"experts.count": 2}), jnp.int32(0)
    params, read = jax.tree.map(jnp.asarray, drawn(spec)), {}

    def record(hook_point, layer, x):
        read.update({(hook_point, layer): np.asarray(x)})
        return x

    norms = input_norms(params, ActiveMechanisms((), jax.random.key(0)).view("prune", BATCH, spec, step, before=record))
    for layer in (1, 2):
        inputs = read["attention_in", layer].reshape(-1, 16)
        found = norms[f"['block_{layer - 1}']['attention']['qkv']['kernel']"]
        np.testing.assert_allclose(found, np.linalg.norm(inputs, axis=0), rtol=1e-5)
    assert prunable(params).keys() <= norms.keys()
    assert not any("mixture" in path for path in prunable(params))


def test_wanda_is_refused_where_kernels_read_twice():
    config = latent_config("loop.turns", prune={"method": "wanda", "sparsity": 0.5})
    with pytest.raises(UserError, match=r"set loop\.turns=1 or another method"):
        study_of(config, product(axis("loop.turns", (1, 2)), axis("seed", (0,))))


# Plans.


def latent_config(claim, **base):
    config = tiny_config()
    del config.tasks.facts  # one task compiles faster
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    config.claim.knob, config.claim.abilities = claim, ("word/iid",)
    config.knobs = base
    return config


def planned(knob, values, seeds=2):
    return make_plan(study_of(latent_config(knob), product(axis(knob, values), axis("seed", range(seeds)))), LAYOUT)


def keys_by_value(knob, values):
    study = planned(knob, values).study
    return {cell[knob]: study.key(cell, 0) for cell in study.cells if cell["seed"] == 0}


SIZED = {
    "loop.turns": "turns",
    "pause.tokens": "pauses",
    "memory.tokens": "memories",
    "registers.tokens": "registers",
    "thoughts.steps": "thoughts",
    "experts.count": "experts",
    "vq.codes": "codes",
}


@pytest.mark.parametrize("knob", SIZED)
def test_a_program_without_it_and_one_with_room_for_the_most(knob):
    neutral = registry.KNOBS[knob].neutral
    plan = planned(knob, (neutral, neutral + 1, 4))
    roomy, plain = (group.program for group in plan.program_groups)
    assert [len(group.nodes) for group in plan.program_groups] == [4, 2]
    assert plain.spec == plan.study.spec
    assert getattr(roomy.spec, SIZED[knob]) == 4
    mechanism = knob.split(".")[0]
    assert set(roomy.mechanisms) - set(plain.mechanisms) == {mechanism}
    other = keys_by_value("weight_decay.rate", (0.0,))
    keys = keys_by_value(knob, (neutral, 4))
    assert keys[neutral] == other[0.0]
    more = keys_by_value(knob, (neutral, neutral + 1, neutral + 2, 4))
    assert {value: more[value] for value in keys} == keys
    assert len(set(more.values())) == 4
    larger = keys_by_value(knob, (neutral, 4, 5))
    assert larger[neutral] == keys[neutral]
    assert larger[4] != keys[4]  # another room may round differently
