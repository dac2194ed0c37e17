"""Loops, thoughts, pauses, memories, registers, experts, codebook and other mixers against a reference in NumPy.

Whatever a study may vary is traced: a handful of programs with room for the most serve all of this file.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.mechanisms import MECHANISMS
from lab.mechanisms import knobs as registry
from lab.mechanisms.base import StageSetup
from lab.nn import model
from lab.nn.layers import first_bias
from lab.nn.model import ModelSpec
from lab.training.active_mechanisms import ActiveMechanisms
from tests.lab.conftest import initial_params, study_of
from tests.lab.nn import numpy_latent
from tests.tasks.task_cases import first_by_default

SPEC = ModelSpec(vocab_size=11, max_length=9, width=16, layers=2, heads=2, mlp_width=24)
TOKENS_BxL = np.random.default_rng(0).integers(0, 11, (4, 7)).astype(np.int32)
QUESTION_B = np.array([2, 6, 0, 4], np.int32)  # at the end and at the beginning, too
SLOTS = {"thoughts.steps": 2, "memory.tokens": 3, "memory.compress": 1, "pause.tokens": 2, "registers.tokens": 2}
ROOM = {**SLOTS, "loop.turns": 3}
SPARSE = {"experts.count": 4, "experts.top_k": 4, "vq.codes": 6, "pause.tokens": 2, "loop.turns": 2}
LINEAR = {**SLOTS, "mixer.kind": "linear"}
CANON = {"pause.tokens": 2, "registers.tokens": 1, "canon.strength": 1.0}
SELECTIVE = {**SLOTS, "memory.compress": 0, "mixer.kind": "selective"}


def all_knobs(asked):
    return {name: knob.base for name, knob in registry.KNOBS.items()} | {"seed": 0} | asked


def traced(knobs):
    """As mechanisms are given them."""
    known = {name: registry.KNOBS[name] for name in knobs}
    return {name: jnp.float32(knob.number(knobs[name])) for name, knob in known.items() if knob.traced}


def spec_with(room, spec=SPEC):
    """The model's sizes where a study's largest values are `room`."""
    for name in registry.mechanisms_in_use([all_knobs(room)]):
        spec = MECHANISMS[name].shape(spec, all_knobs(room))
    return spec


@functools.cache
def compiled(spec, names, training):
    def run(params, tokens, question, knobs):
        step = jnp.int32(3)
        active = (
            ActiveMechanisms.of(names, knobs, jnp.int32(0), step)
            if training
            else ActiveMechanisms.reading(names, knobs, step)
        )
        return model.run(params, tokens, spec, hook=active.hook, question_B=question)

    return jax.jit(run)


def run(params, spec, room, asked, tokens=TOKENS_BxL, training=False):
    """The program with `room`, as a cell that asks for less runs in it."""
    names = registry.mechanisms_in_use([all_knobs(room)])
    settings = all_knobs({**dict.fromkeys(room, 0), "experts.top_k": 1, **asked})
    return jax.tree.map(np.asarray, compiled(spec, names, training)(params, tokens, QUESTION_B, traced(settings)))


def drawn(spec, seed=0):
    """Parameters of a model that isn't fresh: attention isn't flat, norms have scales and biases."""
    random = np.random.default_rng(seed)

    def leaf(path, like):
        noise, name = random.normal(size=like.shape), path[-1].key
        small = 1 + 0.1 * noise if name == "scale" else 0.1 * noise
        found = small if like.ndim == 1 else noise / like.shape[-2] ** 0.5
        return np.asarray(found, np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes(spec))


@functools.cache
def shapes(spec):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), spec))


@functools.cache
def having(positions="learned", **room):
    """(parameters, sizes, room); knobs' dots are double underscores."""
    room = {name.replace("__", "."): value for name, value in room.items()}
    spec = spec_with(room, replace(SPEC, positions=positions))
    return drawn(spec), spec, room


def underscored(knobs):
    return {name.replace(".", "__"): value for name, value in knobs.items()}


def plainly(params, spec, asked, tokens=TOKENS_BxL, thoughts=None, question: Any = QUESTION_B):
    """What the reference gives for every example."""
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    cell = numpy_latent.Cell(
        heads=spec.heads,
        positions=spec.positions,
        mixer=spec.mixer,
        turns=asked.get("loop.turns", 1),
        injection=asked.get("loop.injection", 1.0),
        registers=asked.get("registers.tokens", 0),
        thoughts=asked.get("thoughts.steps", 0),
        memories=asked.get("memory.tokens", 0),
        pauses=asked.get("pause.tokens", 0),
        compress=bool(asked.get("memory.compress", 0)),
        experts=asked.get("experts.count", 0),
        top_k=asked.get("experts.top_k", 1),
        temperature=asked.get("experts.temperature", 1.0),
        codes=asked.get("vq.codes", 0),
        code_layer=asked.get("vq.layer", 1),
        canon=asked.get("canon.where", "ABCD") if asked.get("canon.strength") else "",
        canon_strength=asked.get("canon.strength", 0.0),
    )
    given = thoughts or [None] * len(tokens)
    return [
        numpy_latent.answer(params, row, at, cell, thought)
        for row, at, thought in zip(tokens, question, given, strict=True)
    ]


def assert_like(found, expected):
    for example, one in enumerate(expected):
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5)
        close(found.hidden[:, example], one.hidden)
        close(found.logits[example], one.logits)
        close(found.neurons[:, example], one.neurons)
        if one.routing.size:
            close(found.routing[:, example, :, : one.routing.shape[-1]], one.routing)
            assert not found.routing[..., one.routing.shape[-1] :].any()
        close(found.quantization[example], one.cost)


BETWEEN = [
    {},
    {"pause.tokens": 2},
    {"memory.tokens": 3},
    {"registers.tokens": 2},
    {"registers.tokens": 1, "pause.tokens": 1, "memory.tokens": 1},
    {"memory.tokens": 2, "memory.compress": 1},
    {"memory.tokens": 3, "memory.compress": 1, "pause.tokens": 2, "registers.tokens": 1},
    {"memory.compress": 1, "pause.tokens": 1},  # without memories, nothing is compressed
]
THINKING = [
    {"thoughts.steps": 1},
    {"thoughts.steps": 2, "registers.tokens": 2},
    {"thoughts.steps": 2, "memory.tokens": 2, "memory.compress": 1, "pause.tokens": 1},
    {"loop.turns": 2},
    {"loop.turns": 3, "loop.injection": 0.25, "pause.tokens": 2},
    {"loop.turns": 2, "loop.injection": 0.0, "thoughts.steps": 2, "memory.tokens": 1, "registers.tokens": 1},
]


@pytest.mark.parametrize("positions", model.POSITIONS)
@pytest.mark.parametrize("asked", BETWEEN + THINKING, ids=str)
def test_it_is_a_plainly_longer_sequence(asked, positions):
    params, spec, room = having(positions, **underscored(ROOM))
    asked = {"loop.turns": 1, **asked}
    assert_like(run(params, spec, room, asked), plainly(params, spec, asked))


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("asked", [*BETWEEN, THINKING[2]], ids=str)
def test_a_linear_mixer_is_a_recurrence(asked, positions):
    params, spec, room = having(positions, **underscored(LINEAR))
    assert spec.mixer == "linear"
    assert_like(run(params, spec, room, asked), plainly(params, spec, asked))


@pytest.mark.parametrize("positions", first_by_default(["learned", "rotary"]))
@pytest.mark.parametrize("asked", [BETWEEN[0], BETWEEN[4], {"thoughts.steps": 1, "registers.tokens": 2}], ids=str)
def test_a_selective_mixer_is_a_state_space(asked, positions):
    params, spec, room = having(positions, **underscored(SELECTIVE))
    assert spec.mixer == "selective"
    assert_like(run(params, spec, room, asked), plainly(params, spec, asked))


def test_a_selective_mixer_begins_as_averages_over_two_to_64_tokens():
    bias_H = first_bias(jax.random.key(0), (4,))
    steps_H = np.log1p(np.exp(bias_H))
    np.testing.assert_allclose(1 / steps_H[[0, -1]], [2, 64], rtol=1e-5)
    np.testing.assert_allclose(steps_H[1:] / steps_H[:-1], steps_H[1] / steps_H[0], rtol=1e-5)


def test_a_selective_mixer_does_not_look_past_memories():
    knobs = all_knobs({"mixer.kind": "selective", "memory.tokens": 2, "memory.compress": 1})
    assert "past the memories" in registry.objection(StageSetup(study_of().mixture, SPEC, knobs, {}))
    assert not registry.objection(StageSetup(study_of().mixture, SPEC, knobs | {"memory.compress": 0}, {}))


@pytest.mark.parametrize("where", ["ABCD", *first_by_default(["B", "A", "C", "D", "ABC"])])
def test_canon_layers_are_a_convolution_over_four_tokens(where):
    """At the points that there are, all of them in one program; registers stand apart."""
    params, spec, room = having(**underscored(CANON))
    for asked in ({"canon.strength": 1.0}, {"canon.strength": 0.5, "registers.tokens": 1, "pause.tokens": 2}):
        asked = {**asked, "canon.where": where}
        assert_like(run(params, spec, room, asked), plainly(params, spec, asked))


@pytest.mark.slow
def test_canon_layers_have_weights_where_they_are_and_move_no_other_draw():
    plain, mixed = (initial_params(jax.random.key(0), spec) for spec in (SPEC, replace(SPEC, canon=4)))
    knobs = traced(all_knobs({"canon.strength": 1.0, "canon.where": "BD"}))
    placed = MECHANISMS["canon"].project(mixed, (), knobs)
    for path, leaf in jax.tree_util.tree_leaves_with_path(placed):
        point = next((e.key for e in path if e.key.startswith("canon_")), "")
        if not point:
            # The same draws; scaled in two programs, they may differ by the last bit (test_neutrality compares bits).
            drawn = functools.reduce(lambda tree, e: tree[e.key], path, plain)
            np.testing.assert_allclose(leaf, drawn, rtol=3e-7, atol=0)
        assert point not in ("canon_a", "canon_c") or not leaf.any()
        assert point not in ("canon_b", "canon_d") or ((np.abs(leaf) <= 0.5).all() and leaf.std() > 0.25)


@pytest.mark.parametrize(
    ("others", "message"),
    [({"experts.count": 2}, "experts have no point D"), ({"memory.tokens": 1, "memory.compress": 1}, "past the mem")],
)
def test_canon_layers_refuse_what_they_would_undo(others, message):
    knobs = all_knobs({"canon.strength": 1.0, **others})
    assert message in MECHANISMS["canon"].objection(StageSetup(study_of().mixture, SPEC, knobs, {}))
    assert not MECHANISMS["canon"].objection(StageSetup(study_of().mixture, SPEC, all_knobs({"canon.strength": 1}), {}))


ROUTED = [
    {"experts.count": 4, "experts.top_k": 1},
    {"experts.count": 4, "experts.top_k": 3, "experts.temperature": 0.5},
    {"experts.count": 3, "experts.top_k": 2, "pause.tokens": 2, "loop.turns": 2},
    {"experts.count": 2, "experts.top_k": 2, "experts.temperature": 4.0},
    {"experts.count": 2, "experts.top_k": 1, "vq.codes": 6, "vq.layer": 0},
    {"experts.count": 2, "experts.top_k": 1, "vq.codes": 4, "vq.layer": 1, "pause.tokens": 1},
    {"experts.count": 2, "experts.top_k": 1, "vq.codes": 5, "vq.layer": 2, "loop.turns": 2},
]


@pytest.mark.parametrize("asked", ROUTED, ids=str)
def test_experts_and_codes_are_those_of_loops_over_tokens(asked):
    params, spec, room = having(**underscored(SPARSE))
    asked = {"loop.turns": 1, **asked}
    found = run(params, spec, room, asked)
    assert_like(found, plainly(params, spec, asked))
    if asked.get("vq.layer") == 2:  # codes are all that is unembedded
        assert 1 < len(np.unique(found.logits.reshape(-1, 11).round(4), axis=0)) <= asked["vq.codes"]


def test_among_equal_experts_exactly_top_k_are_used():
    params, spec, room = having(**underscored(SPARSE))
    flat = jax.tree.map(lambda p: p, params)
    for block in ("block_0", "block_1"):
        flat[block]["mixture"]["router"]["kernel"] *= 0
    for asked in ({"experts.count": 4, "experts.top_k": k} for k in (1, 2, 4)):
        assert_like(run(flat, spec, room, asked), plainly(flat, spec, asked))


# Room.


def find(tree, path):
    return functools.reduce(lambda tree, entry: tree[entry.key], path, tree)


def first_of(params, like):
    """Parameters of a larger room, cut to the sizes of a smaller one."""
    cut = lambda path, leaf: find(params, path)[tuple(slice(size) for size in leaf.shape)]  # noqa: E731
    return jax.tree_util.tree_map_with_path(cut, like)


EIGHT = {name: 8 for name in (*ROOM, "vq.codes")} | {"memory.compress": 1}
TIGHT = [
    {"pause.tokens": 3, "memory.tokens": 3, "registers.tokens": 3},
    {"memory.tokens": 3, "memory.compress": 1, "vq.codes": 3, "vq.layer": 2},
    {"thoughts.steps": 3, "loop.turns": 3},
    {"experts.count": 3, "experts.top_k": 2},
]


@pytest.mark.slow
@pytest.mark.parametrize("asked", first_by_default(TIGHT), ids=str)
def test_room_that_is_not_used_changes_nothing(asked):
    """Three of it in a room for eight are three in a room for three."""
    params, spec, room = having(**underscored({"experts.count": 8} if "experts.count" in asked else EIGHT))
    tight = spec_with(asked)
    roomy = run(params, spec, room, {"loop.turns": 1, **asked})
    alone = run(first_of(params, shapes(tight)), tight, asked, asked)
    for name in ("logits", "hidden", "neurons", "quantization"):
        np.testing.assert_allclose(getattr(roomy, name), getattr(alone, name), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("positions", model.POSITIONS)
def test_nothing_in_a_room_is_the_plain_model(positions):
    params, spec, room = having(positions, **underscored(ROOM))
    plain = replace(SPEC, positions=positions)
    expected = model.run(first_of(params, shapes(plain)), jnp.asarray(TOKENS_BxL), plain)
    found = run(params, spec, room, {"loop.turns": 1})
    for name in ("logits", "hidden", "neurons"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-6, atol=2e-6)


@pytest.mark.slow
def test_cells_with_another_room_begin_with_the_same_weights():
    """All but the router, whose draws are laid out by the number of experts."""
    small = replace(SPEC, layers=1)
    begin = jax.jit(lambda room: model.init(jax.random.key(0), spec_with(dict(room), small)), static_argnums=0)
    roomy, plain, some = begin(tuple(EIGHT.items())), begin(()), begin((("registers.tokens", 1), ("vq.codes", 3)))
    more, fewer = (begin((("experts.count", count),)) for count in (4, 2))
    del fewer["block_0"]["mixture"]["router"]
    for large, small in ((roomy, plain), (roomy, some), (more, fewer)):
        jax.tree.map(np.testing.assert_array_equal, first_of(large, small), small)


# What may depend on what.


@pytest.mark.parametrize("asked", [THINKING[2], {**SLOTS, "memory.compress": 0, "loop.turns": 3}], ids=str)
@pytest.mark.parametrize("place", range(7))
def test_nothing_before_a_token_depends_on_it(asked, place):
    """The first answer, read behind all that was put in, counts as at the question's last token."""
    params, spec, room = having(**underscored(ROOM))
    asked = {"loop.turns": 1, **asked}
    changed = TOKENS_BxL.copy()
    changed[:, place] = (changed[:, place] + 1) % 11
    before, after = run(params, spec, room, asked), run(params, spec, room, asked, changed)
    np.testing.assert_array_equal(before.logits[:, :place], after.logits[:, :place])
    np.testing.assert_array_equal(before.hidden[:, :, :place], after.hidden[:, :, :place])
    assert (before.logits[:, place] != after.logits[:, place]).any(axis=1).all()


def answers(params, compress, severed, tokens):
    """Logits from the first answer on, with the memories kept from looking at the question where `severed`."""
    asked = {"memory.tokens": 2, "memory.compress": compress, "pause.tokens": 1}
    room = {"memory.tokens": 2, "memory.compress": 1, "pause.tokens": 1}
    spec, question = spec_with(room), 3
    hook = ActiveMechanisms.reading(
        registry.mechanisms_in_use([all_knobs(room)]), traced(all_knobs(asked)), jnp.int32(1)
    ).hook

    def sever(hook_point, layer, x):
        x = hook(hook_point, layer, x)
        if hook_point == "attention" and severed:  # each memory looks at itself alone
            x = x.at[:, :, question + 1 : question + 3].set(
                jnp.eye(x.shape[-1])[None, None, question + 1 : question + 3]
            )
        return x

    questions = jnp.full(len(tokens), question, jnp.int32)
    run = jax.jit(lambda p, tokens: model.run(p, tokens, spec, hook=sever, question_B=questions).logits)
    return np.asarray(run(params, jnp.asarray(tokens))[:, question:])


@pytest.mark.slow
def test_compressed_questions_pass_through_the_memories_alone():
    params = drawn(spec_with({"memory.tokens": 2, "memory.compress": 1, "pause.tokens": 1}))
    other = TOKENS_BxL.copy()
    other[:, :4] = (other[:, :4] + 3) % 11
    get = functools.partial(answers, params)
    np.testing.assert_array_equal(get(1, True, TOKENS_BxL), get(1, True, other))
    for compress, severed in ((1, False), (0, True), (0, False)):
        assert (get(compress, severed, TOKENS_BxL) != get(compress, severed, other)).any(axis=(1, 2)).all()
    forgetful = {**params, "memories": {"vectors": params["memories"]["vectors"][::-1]}}
    assert not np.allclose(get(1, False, TOKENS_BxL), answers(forgetful, 1, False, TOKENS_BxL))
