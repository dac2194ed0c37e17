"""Mixtures: the task token, shared ids, randomness by label, answer positions; and the registry's messages."""

from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import TaskError, make
from tasks.mixture import Mixture, answer_positions
from tests.tasks.task_cases import one, quick_jit

FACTS = ("facts", make("facts", facts=12, values=5))
Z6 = ("z6", make("group_word", group="Z6", length=4, longer=6))
STAR = ("star", make("path_star", length=3, nodes=8, direction="reverse"))
MIXED = Mixture((FACTS, Z6, STAR))
find_answers = jax.jit(answer_positions, static_argnames="most")
COUNTS = {"facts": 4, "z6": 4, "star": 8}


@pytest.fixture(scope="module")
def worlds():
    return quick_jit(MIXED.worlds)(jax.random.key(3))


@cache
def drawn(mixture, label, length=None):
    """Eight examples of a label's iid split."""
    sample = quick_jit(lambda key: mixture.sample(key, label, mixture.worlds(key)[label], "iid", 8, length))
    return jax.tree.map(np.asarray, sample(jax.random.key(3)))


def test_ids_are_shared_and_task_tokens_come_last():
    assert MIXED.vocab_size == 18 + 3
    assert [MIXED.task_token(label) for label in COUNTS] == [18, 19, 20]
    assert MIXED.length({"facts": "train"}) == 2
    assert MIXED.length({"facts": "train", "z6": "length", "star": "iid"}) == 12


def test_one_task_alone_is_left_as_it_is():
    alone = Mixture((Z6,))
    assert alone.vocab_size == 7
    assert alone.length({"z6": "train"}) == 4
    example = drawn(alone, "z6")
    assert example.tokens.shape == (8, 4)
    jax.tree.map(np.testing.assert_array_equal, alone.bare("z6", one(example, 0)), one(example, 0))


def test_another_task_changes_nothing_but_the_prefix():
    for label, length in (("facts", 1), ("z6", 4)):
        alone = drawn(Mixture(((label, MIXED.task(label)),)), label)
        mixed = drawn(MIXED, label, length=14)
        reordered = drawn(Mixture((STAR, FACTS, Z6)), label, length=14)
        assert np.all(mixed.tokens[:, 0] == MIXED.task_token(label))
        np.testing.assert_array_equal(mixed.tokens[:, 1 : length + 1], alone.tokens)
        np.testing.assert_array_equal(mixed.targets[:, 1 : length + 1], alone.targets)
        assert np.all(mixed.weights[:, 0] == 0)
        np.testing.assert_array_equal(mixed.read, alone.read + 1)
        np.testing.assert_array_equal(mixed.tokens[:, 1:], reordered.tokens[:, 1:])


def test_batch_holds_the_samples_of_each_task(worlds):
    key, length = jax.random.key(5), MIXED.length(dict.fromkeys(COUNTS, "train"))
    batch = jax.jit(lambda key: MIXED.batch(key, worlds, COUNTS, length))(key)
    sample = quick_jit(MIXED.sample, static_argnums=(1, 3, 4, 5))
    tokens = [sample(key, label, worlds[label], "train", count, length).tokens for label, count in COUNTS.items()]
    np.testing.assert_array_equal(batch.tokens, np.concatenate(tokens))
    assert batch.tokens.shape == batch.targets.shape == batch.weights.shape == (16, length)
    assert batch.answers.shape == batch.answer_mask.shape == (16, 4)
    assert batch.answers.dtype == np.int32
    assert batch.answer_mask.dtype == bool
    for weights, answers, mask in zip(*map(np.asarray, (batch.weights, batch.answers, batch.answer_mask)), strict=True):
        assert answers[mask].tolist() == np.flatnonzero(weights).tolist()
        assert np.all(answers[~mask] == 0)


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=3, max_size=3), st.sampled_from([1, 5, 8]))
def test_answer_positions_are_those_with_weight(rows, most):
    positions, mask = map(np.asarray, find_answers(np.array(rows, np.float32), most=most))
    for row, found, exists in zip(rows, positions, mask, strict=True):
        wanted = np.flatnonzero(row)[:most].tolist()
        assert found.tolist() == wanted + [0] * (most - len(wanted))
        assert exists.tolist() == [True] * len(wanted) + [False] * (most - len(wanted))


def test_scores_checks_and_renders_without_the_prefix(worlds):
    for label, task in MIXED.tasks:
        example = one(drawn(MIXED, label, length=14), 0)
        world = worlds[label]
        wrong = np.where(example.weights > 0, 1 + example.targets % 2, -1).astype(np.int32)
        for answer, right in ((example.targets, True), (wrong, False)):
            assert bool(MIXED.score(label, example, answer)) == right
            assert MIXED.check(label, world, example, answer) == right
        bare = MIXED.bare(label, example)
        assert MIXED.render(label, example) == task.render(bare)


def test_difficulty_values_instead_of_a_split(worlds):
    difficulty = {"length": 2, "held_out": 0}
    sample = quick_jit(MIXED.sample, static_argnums=(1, 4, 5))
    example = sample(jax.random.key(0), "z6", worlds["z6"], difficulty, 3, 9)
    assert example.tokens.shape == (3, 9)
    assert np.all(np.asarray(example.weights).sum(axis=1) == 2)
    with pytest.raises(TaskError, match="padded length"):
        MIXED.sample(jax.random.key(0), "z6", worlds["z6"], difficulty, 3)


def test_labels_are_unique():
    with pytest.raises(TaskError, match="no label twice"):
        Mixture((Z6, Z6))
    with pytest.raises(TaskError, match="at least one"):
        Mixture(())


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("path_stra", {}, r"unknown task 'path_stra'. Nearest: path_star"),
        ("zzz", {}, r"unknown task 'zzz'. Valid: addition, babi, blocksworld"),
        ("facts", {"fact": 3}, r"'facts' has no field 'fact'. Nearest: facts"),
        ("group_word", {"group": "A6"}, r"group must be one of Z6, S3, A5, S5, Z60, not 'A6'"),
        ("group_word", {"length": 2.5}, r"length must be a whole number in \[1, 1024\]"),
        ("group_word", {"length": 12, "longer": 12}, r"longer must be a whole number in \[13, 4096\]"),
        ("modular", {"p": 2}, r"p must be a whole number in \[3, 1024\], not 2"),
        ("modular", {"p": 15, "operation": "div"}, r"p must be a prime for division, not 15"),
        ("modular", {"operation": "pow"}, r"operation must be one of add, sub, mul, div"),
        ("modular", {"fraction": 1.5}, r"fraction must be a number in \[.*, 1.0\], not 1.5"),
        ("modular", {"reserved_rows": 0}, r"reserved_rows must be a whole number in \[1, 30\]"),
        ("path_star", {"nodes": 9}, r"nodes must be in \[10, 256\] for degree 2 and length 4"),
        ("path_star", {"direction": "back"}, r"direction must be one of forward, reverse"),
        ("path_star", {"degree": True}, r"degree must be a whole number in \[2, 64\], not True"),
        ("mqar", {"values": 7}, r"values must be a whole number in \[8, 4096\], not 7"),
        ("facts", {"exponent": -1}, r"exponent must be a number in \[0.0, 4.0\], not -1"),
    ],
)
def test_mistakes_are_named(name, sizes, message):
    with pytest.raises(TaskError, match=message):
        make(name, **sizes)
