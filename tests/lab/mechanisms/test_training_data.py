"""What is trained on: finite data, smaller batches, renamed symbols, hidden teachers."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lab.engine import Layout, device_grid, evaluate, make_plan
from lab.errors import UserError
from lab.mechanisms import MECHANISMS
from lab.mechanisms.base import NEVER, Context, DataSource, Mechanism
from lab.mechanisms.knobs import KNOBS
from lab.nn import model
from lab.prng import derive_key
from lab.training import step as train
from lab.training.active_mechanisms import ActiveMechanisms
from tasks import make
from tasks.base import NO_ANSWER, PAD
from tasks.mixture import Batch, Mixture
from tests.lab.conftest import LAYOUT, initial_params, initial_state, study_of, tiny_config

SEED = jnp.int32(2)
MIXTURE = Mixture((("recall", make("mqar")), ("word", make("group_word")), ("copy", make("copy", length=4, longer=5))))
COUNTS = {"recall": 8, "word": 4, "copy": 12}
SPEC = model.ModelSpec(MIXTURE.vocab_size, 20, 16, 1, 2, 16)
LENGTH = MIXTURE.length(dict.fromkeys(COUNTS, "train"))
PLAIN = train.Program(SPEC, MIXTURE, tuple(COUNTS.items()), LENGTH, train.Schedule("constant", 1), call_steps=4)
NAMES = ("data", "rename", "teacherless", "batch")
SOME = dict(data__batches=2, rename__share=0.5, teacherless__share=0.5, batch__share=0.5)
WORLDS = MIXTURE.worlds(derive_key(SEED, "world"))


def knobs_of(**changed):
    """Every traced knob at its base value but those named `mechanism__setting`."""
    values = {k.name: k.number(k.base) for k in KNOBS.values() if k.traced and k.name != "seed"}
    changes = {name.replace("__", "."): value for name, value in changed.items()}
    assert set(changes) <= set(values)
    return {name: jnp.float32(value) for name, value in (values | changes).items()}


@jax.jit
def batch_of_all(knobs, step):
    """The batch of a step with every mechanism of this file."""
    active = ActiveMechanisms.of(NAMES, knobs, SEED, step)
    return active.data_source(PLAIN.context, dict.fromkeys(NAMES, ()), SEED, step).batch(WORLDS, LENGTH)


def batch_of(step=0, **changed):
    return jax.tree.map(np.asarray, batch_of_all(knobs_of(**changed), jnp.int32(step)))


def rows_of(label):
    """Where a label's examples stand in the batch."""
    return MIXTURE.by_label(np.arange(sum(COUNTS.values())), COUNTS)[label]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_neutral_settings_make_the_batch_of_the_step():
    direct = jax.jit(lambda step: MIXTURE.batch(derive_key(SEED, "batch", step), WORLDS, COUNTS, LENGTH))
    for step in (0, 7, NEVER - 1):
        assert same(batch_of(step), direct(jnp.int32(step)))


@pytest.mark.slow  # by default, all mechanisms' neutrality is tested at once: test_neutrality.py
@pytest.mark.as_shipped
@pytest.mark.parametrize("width", [1, 4])
def test_neutral_settings_train_bitwise_as_without_them(width):
    """On tasks that each of them does something to, in the lab's own programs; the other cells aren't neutral."""
    layout, cells = Layout("cpu", 1, width, 4), 4
    seeds = jnp.full(cells, SEED)
    knobs = {name: jnp.full(cells, value) for name, value in knobs_of().items()}
    for name, value in SOME.items():
        knobs[name.replace("__", ".")] = knobs[name.replace("__", ".")].at[1:].set(value)

    def trained(names):
        program = replace(PLAIN, mechanisms=names, starting=names)

        def run(seed, knobs):
            state = train.begin(program, initial_state(program, seed), knobs, seed, jnp.int32(0))
            return train.train_call(program, jnp.int32(0), seed, knobs, state)

        (state, losses) = device_grid.over_cells(run, layout, own=2)(seeds, knobs)
        return jax.tree.map(np.asarray, (state.params, losses))

    with_them, without = trained(NAMES), trained(())
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), with_them, without)
    assert not np.array_equal(with_them[1][1], without[1][1])


# data.batches


def test_after_so_many_batches_the_same_ones_come_again():
    first = [batch_of(step, data__batches=3) for step in range(3)]
    assert not any(same(first[i], first[j]) for i in range(3) for j in range(i))
    for step in (3, 4, 5, 301):
        assert same(batch_of(step, data__batches=3), first[step % 3])
        assert not same(batch_of(step), first[step % 3])
        assert same(batch_of(step, data__batches=NEVER), batch_of(step))


def test_draws_that_are_not_of_the_examples_are_new_when_a_batch_comes_again():
    once, again = (batch_of(step, data__batches=3, rename__share=1.0) for step in (0, 3))
    assert not np.array_equal(once.tokens[rows_of("recall")], again.tokens[rows_of("recall")])
    np.testing.assert_array_equal(once.tokens[rows_of("word")], again.tokens[rows_of("word")])


# batch.share


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
def test_a_smaller_batch_is_its_first_examples_repeated(share):
    whole, small = batch_of(5), batch_of(5, batch__share=share)
    for label, count in COUNTS.items():
        rows = rows_of(label)
        kept = [rows[i % int(count * share)] for i in range(count)]
        for before, after in zip(whole, small, strict=True):
            np.testing.assert_array_equal(after[rows], before[kept])


@pytest.mark.slow
def test_training_on_a_share_is_training_on_the_smaller_batch():
    """Parameters and losses after some steps of a program whose counts are those, with penalties on activations."""
    knobs = knobs_of(batch__share=0.25, activation_l1__rate=0.01, confidence_penalty__rate=0.1)
    names = ("activation_l1", "confidence_penalty")
    masked = replace(PLAIN, mechanisms=(*names, "batch"))
    small = replace(PLAIN, counts=tuple((label, count // 4) for label, count in COUNTS.items()), mechanisms=names)

    def trained(program, knobs):
        def run(knobs):
            state = train.begin(program, initial_state(program, SEED), knobs, SEED, jnp.int32(0))
            return train.train_call(program, jnp.int32(0), SEED, knobs, state)

        state, losses = jax.jit(run)(knobs)
        return state.params, losses

    found, losses = trained(masked, knobs)
    expected, losses_expected = trained(small, knobs)
    np.testing.assert_allclose(losses, losses_expected, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    other, _ = trained(masked, {**knobs, "batch.share": jnp.float32(0.5)})  # or the tolerance would hide anything
    gaps = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), other, expected)
    assert max(jax.tree.leaves(gaps)) > 1e-4


# rename.share


def test_only_a_share_of_the_examples_and_of_tasks_that_have_symbols_is_renamed():
    renamed = dict.fromkeys(COUNTS, 0)
    for step in range(40):
        before, after = batch_of(step), batch_of(step, rename__share=0.3)
        for label in COUNTS:
            rows = rows_of(label)
            differs = (before.tokens[rows] != after.tokens[rows]) | (before.targets[rows] != after.targets[rows])
            renamed[label] += int(differs.any(axis=1).sum())
        np.testing.assert_array_equal(before.weights, after.weights)
    assert renamed["word"] == 0
    for label in ("recall", "copy"):  # that a renaming changes nothing is rare enough
        drawn = 40 * COUNTS[label]
        assert abs(renamed[label] - 0.3 * drawn) < 4 * np.sqrt(drawn * 0.3 * 0.7), label


# teacherless.share


def test_hidden_is_what_follows_an_answer_and_repeats_it():
    """On batches made by hand: position j where j - 1 is an answer position whose target stands at j."""
    mixture = Mixture((("copy", make("copy", length=4, longer=5)), ("word", make("group_word"))))
    context = Context(mixture, (("copy", 2), ("word", 1)), 0, SPEC)
    tokens = np.array([[9, 3, 4, 5, 6, 7, 0], [9, 3, 4, 8, 6, 0, 0], [9, 3, 4, 5, 6, 7, 0]], np.int32)
    targets = np.array([[0, 4, 5, 6, 0, 0, 0], [0, 4, 5, 6, 0, 0, 0], [0, 4, 5, 6, 0, 0, 0]], np.int32)
    weights = np.array([[0, 1, 0.5, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0]], np.float32)
    nothing = jnp.zeros((3, 3), jnp.int32)
    batch = Batch(jnp.asarray(tokens), jnp.asarray(targets), jnp.asarray(weights), nothing, nothing > 0)
    mechanism = MECHANISMS["teacherless"]
    source = DataSource(context, SEED, jnp.int32(0), jnp.int32(0))
    (hide,) = mechanism.transform_data(source, (), knobs_of(teacherless__share=1.0), jax.random.key(0)).edits
    hidden = hide(batch)
    expected = [
        [9, 3, PAD, PAD, PAD, 7, 0],
        [9, 3, PAD, 8, PAD, 0, 0],  # what was fed in place of 5 isn't the answer
        [9, 3, 4, 5, 6, 7, 0],  # group_word feeds nothing back
    ]
    np.testing.assert_array_equal(hidden.tokens, expected)
    for before, after in zip(batch[1:], hidden[1:], strict=True):
        np.testing.assert_array_equal(before, after)


def test_only_a_share_of_the_examples_is_hidden_and_all_of_their_answer():
    hidden = 0
    for step in range(40):
        before, after = batch_of(step), batch_of(step, teacherless__share=0.4)
        np.testing.assert_array_equal(before.targets, after.targets)
        for label in ("recall", "word"):
            np.testing.assert_array_equal(before.tokens[rows_of(label)], after.tokens[rows_of(label)])
        for row in rows_of("copy"):
            fed = np.flatnonzero(before.weights[row])[1:]  # every answer position but the first holds the one before
            if np.array_equal(before.tokens[row], after.tokens[row]):
                continue
            hidden += 1
            assert np.all(after.tokens[row][fed] == PAD)
            kept = np.setdiff1d(np.arange(LENGTH), fed)
            np.testing.assert_array_equal(before.tokens[row][kept], after.tokens[row][kept])
    drawn = 40 * COUNTS["copy"]
    assert abs(hidden - 0.4 * drawn) < 4 * np.sqrt(drawn * 0.4 * 0.6)


READ = model.ModelSpec(vocab_size=9, max_length=10, width=16, layers=1, heads=2, mlp_width=16)


def answers_to_read():
    """Confident parameters; tokens, targets, weights of answers that are fed back, one of them shorter."""
    params = jax.tree.map(lambda p: p * 8, initial_params(jax.random.key(0), READ))
    rng = np.random.default_rng(0)
    tokens, weights = rng.integers(1, 9, (6, 10)).astype(np.int32), np.zeros((6, 10), np.float32)
    weights[:, 5:9] = 1
    weights[3, 7:9] = 0
    targets = np.roll(tokens, -1, axis=1) * (weights > 0).astype(np.int32)
    return params, tokens, targets, weights


def read(params, *example, **knobs):
    shown = ActiveMechanisms.reading(("teacherless",), knobs_of(**knobs), jnp.int32(1)).shown
    call = jax.jit(lambda p, t, y, w: evaluate.answer(p, READ, t, y, w, 4, shown=shown))
    return jax.tree.map(np.asarray, call(params, *(jnp.asarray(x) for x in example)))


def test_teacherless_answers_are_read_in_one_pass():
    """Against one pass over tokens that are hidden by hand, the log-probabilities in NumPy."""
    params, tokens, targets, weights = answers_to_read()
    blank = tokens.copy()
    for row in range(6):
        blank[row, np.flatnonzero(weights[row]) + 1] = PAD
    logits = np.asarray(model.apply(params, jnp.asarray(blank), READ)[0], np.float64)
    logprobs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
    logprobs -= logits.max(-1, keepdims=True)
    rows = [np.mean([logprobs[i, t, targets[i, t]] for t in np.flatnonzero(weights[i])]) for i in range(6)]
    answers, logprob = read(params, tokens, targets, weights, teacherless__share=0.5, teacherless__answer=1)
    np.testing.assert_array_equal(answers, np.where(weights > 0, logits.argmax(-1), NO_ANSWER))
    np.testing.assert_allclose(logprob, np.mean(rows), rtol=1e-5)
    fed = read(params, tokens, targets, weights, teacherless__share=0.5)
    assert (answers != fed[0]).any()
    assert logprob != fed[1]


@pytest.mark.slow
def test_answers_are_fed_back_unless_both_knobs_say_otherwise():
    params, *example = answers_to_read()
    call = jax.jit(lambda p, t, y, w: evaluate.answer(p, READ, t, y, w, 4))
    plain = call(params, *(jnp.asarray(x) for x in example))
    for knobs in (dict(teacherless__share=1.0), dict(teacherless__answer=1), {}):
        for ours, theirs in zip(read(params, *example, **knobs), plain, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_study_evaluates_teacherless_only_where_answers_are_fed_back():
    config = tiny_config()
    config.tasks.copy = dict(task="copy", length=4, longer=5, symbols=4, examples=4)
    study = study_of(config)
    evaluation = replace(evaluate.evaluations(study)[0], at_inference=("teacherless",))
    params = jax.tree.map(lambda p: p * 4, initial_params(jax.random.key(1), study.spec))
    call = jax.jit(lambda knobs: evaluate.evaluate(evaluation, SEED, params, knobs, jnp.int32(1)))
    off, on = (call(knobs_of(teacherless__share=1.0, teacherless__answer=answer)) for answer in (0, 1))
    for name in off:
        assert (off[name].logprob != on[name].logprob) == name.startswith("copy/"), name


# Together.


@pytest.mark.slow
def test_what_looks_at_a_batch_as_its_stage_begins_sees_the_one_that_is_trained_on(monkeypatch):
    met = []

    class Spy(Mechanism):
        name = "spy"

        def on_stage_start(self, params, extra, knobs, view):
            met.append(view.batch)
            return extra

        def penalty(self, forward, view, knobs):
            met.append(view.batch)

    monkeypatch.setitem(MECHANISMS, "spy", Spy())
    program = replace(PLAIN, mechanisms=(*NAMES, "spy"), starting=("spy",))
    knobs, step = knobs_of(**SOME), jnp.int32(5)

    @jax.jit
    def batches():
        met.clear()
        state = train.begin(program, initial_state(program, SEED), knobs, SEED, step)
        train.train_step(program, WORLDS, SEED, knobs, state, step)
        return met[0], met[1]

    entered, trained = jax.tree.map(np.asarray, batches())
    assert same(entered, trained)
    assert same(entered, batch_of(5, **SOME))
    for name in SOME:  # each of them did something
        assert not same(entered, batch_of(5, **{k: v for k, v in SOME.items() if k != name})), name


@pytest.mark.parametrize(
    ("knobs", "tasks", "message"),
    [
        (dict(rename=dict(share=0.5)), {}, "no task .* has symbols that may be renamed"),
        (dict(rename=dict(share=0.5)), dict(star=dict(task="path_star", examples=4)), ""),
        (dict(teacherless=dict(share=0.5)), {}, "no task .* feeds answers back"),
        (dict(teacherless=dict(share=0.5)), dict(star=dict(task="path_star", teacherless=True, examples=4)), "no task"),
        (dict(teacherless=dict(share=0.5)), dict(star=dict(task="path_star", examples=4)), ""),
        (dict(batch=dict(share=0.5)), {}, ""),
        (dict(batch=dict(share=0.75)), {}, "valid are 1/4, 2/4, 4/4"),
        (dict(batch=dict(share=0.1)), {}, "must leave a whole number that divides 4"),
        (dict(batch=dict(share=1 / 3)), dict(star=dict(task="path_star", examples=6)), "of 'facts'"),
        (dict(data=dict(batches=5), curriculum=dict(order="ramp")), {}, "data.batches: a curriculum"),
        (dict(batch=dict(share=0.5), curriculum=dict(order="progress")), {}, "needs the loss of every example"),
    ],
)
def test_what_does_not_fit_a_study_is_refused(knobs, tasks, message):
    config = tiny_config()
    config.knobs, config.tasks.word = knobs, dict(task="group_word", group="Z6", length=3, longer=4, examples=4)
    for label, task in tasks.items():
        config.tasks[label] = task
    if message:
        with pytest.raises(UserError, match=message):
            study_of(config)
    else:
        assert make_plan(study_of(config), LAYOUT).program_groups
