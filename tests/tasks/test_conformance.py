"""The contract of tasks.base, for every task of the registry."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import TASKS
from tasks.base import NO_ANSWER, PAD, Baseline, Example, Task, exact_match, trivial
from tests.tasks.task_cases import CASES, PAIRS, draw, draw_split, one, quick_jit, world

every_case = pytest.mark.parametrize("case", CASES)
every_split = pytest.mark.parametrize(("case", "split"), PAIRS)


@cache
def jitted_score(task):
    return quick_jit(task.score)


def judged(task, example, answer):
    """Both verdicts, which must agree."""
    example, answer = jax.tree.map(np.asarray, (example, answer))
    scored = bool(jitted_score(task)(example, answer))
    assert scored == task.check(world(task), example, answer)
    return scored


def test_every_task_has_a_case():
    assert {task.name for task in CASES.values()} == set(TASKS)


@every_case
def test_is_a_hashable_task_with_the_named_splits(case):
    task = CASES[case]
    assert isinstance(task, Task)
    assert hash(task) == hash(dataclasses.replace(task))
    assert task.family in ("reasoning", "planning", "memory")
    assert {"train", "iid"} < set(task.splits)
    assert not task.splits["train"].disjoint
    assert len({frozenset(s.difficulty) for s in task.splits.values()}) == 1
    assert all(s.about and s.decode_steps in (1, s.answer_tokens) for s in task.splits.values())


@every_split
def test_shapes_and_dtypes(case, split):
    task, count = CASES[case], 2048
    length = task.splits[split].length
    batch = draw_split(task, split)
    for field, dtype in (("tokens", np.int32), ("targets", np.int32), ("weights", np.float32)):
        assert getattr(batch, field).shape == (count, length)
        assert getattr(batch, field).dtype == dtype
    assert batch.read.shape == (count, len(task.read_names))
    assert batch.read.dtype == np.int32
    assert set(batch.factors) == set(task.factor_sizes)
    for factor in batch.factors.values():
        assert factor.shape == (count,)
        assert factor.dtype == np.int32


@every_split
def test_tokens_targets_weights_and_reads_are_consistent(case, split):
    task, chosen = CASES[case], CASES[case].splits[split]
    batch = draw_split(task, split)
    asked = batch.weights == 1
    assert np.all(asked | (batch.weights == 0))
    assert np.all(asked.sum(axis=1) == chosen.answer_tokens)
    assert np.all((batch.targets != PAD) == asked)
    for ids in (batch.tokens, batch.targets):
        assert ids.min() >= 0
        assert ids.max() < task.vocab_size
    assert np.all(np.diff((batch.tokens == PAD).astype(int), axis=1) >= 0), "padding comes last"
    assert np.all(np.any(batch.tokens != PAD, axis=0)), "the split fills its length"
    assert np.all(np.take_along_axis(batch.tokens, batch.read, axis=1) != PAD)
    if chosen.decode_steps > 1:
        fed_back = asked[:, :-1] & asked[:, 1:]
        assert np.all(batch.tokens[:, 1:][fed_back] == batch.targets[:, :-1][fed_back])


@every_split
def test_factors_lie_in_their_range_and_vary_in_training(case, split):
    task = CASES[case]
    for name, values in draw_split(task, split).factors.items():
        assert values.min() >= 0
        assert values.max() < task.factor_sizes[name]
        assert split != "train" or len(np.unique(values)) > 1


@every_split
def test_the_right_answer_and_only_it_is_right(case, split):
    task, generator = CASES[case], np.random.default_rng(0)
    batch = draw_split(task, split)
    for index in range(24):
        example = one(batch, index)
        asked = np.flatnonzero(example.weights)
        right = np.where(example.weights > 0, example.targets, NO_ANSWER)
        assert judged(task, example, right)
        for position in asked:
            corrupted = right.copy()
            corrupted[position] = (right[position] + generator.integers(1, task.vocab_size)) % task.vocab_size
            assert not judged(task, example, corrupted)
        guess = right.copy()
        guess[asked] = generator.integers(task.vocab_size, size=asked.size)
        assert judged(task, example, guess) == bool(np.all(guess == right))
        assert not judged(task, example, np.full_like(right, NO_ANSWER))


@every_case
def test_jit_vmap_and_eager_agree(case):
    task = CASES[case]
    chosen = task.splits["iid"]
    batch = draw_split(task, "iid")
    keys = jax.random.split(jax.random.key(0), 2048)
    example = task.sample(keys[7], world(task), chosen.difficulty, chosen.length)
    jax.tree.map(np.testing.assert_array_equal, example, one(batch, 7))


@every_case
def test_same_key_same_example_other_key_other_examples(case):
    task = CASES[case]
    batch, other = draw_split(task, "train"), draw_split(task, "train", seed=1)
    chosen = task.splits["train"]
    again = draw(task, chosen.difficulty, chosen.length)
    jax.tree.map(np.testing.assert_array_equal, batch, again)
    assert np.any(batch.tokens != other.tokens)
    jax.tree.map(np.testing.assert_array_equal, task.world(jax.random.key(0)), world(task))


@every_case
def test_padding_changes_nothing(case):
    task = CASES[case]
    longest = max(s.length for s in task.splits.values()) + 2
    batch, length = draw_split(task, "train"), task.splits["train"].length
    padded = draw(task, task.splits["train"].difficulty, longest)
    for field in ("tokens", "targets", "weights"):
        np.testing.assert_array_equal(getattr(padded, field)[:, :length], getattr(batch, field))
        assert np.all(getattr(padded, field)[:, length:] == 0)
    jax.tree.map(np.testing.assert_array_equal, padded.factors, batch.factors)
    np.testing.assert_array_equal(padded.read, batch.read)


def instances(task, split):
    """What a split asked, in a large sample: the tokens without padding and without the fed-back answer."""
    found, fed_back = set(), task.splits[split].decode_steps > 1
    for seed in range(4):
        batch = draw_split(task, split, seed=seed)
        for tokens, weights in zip(batch.tokens, batch.weights, strict=True):
            stop = np.argmax(weights) + 1 if fed_back else len(tokens)
            found.add(tokens[:stop][tokens[:stop] != PAD].tobytes())
    return found


@every_case
def test_disjoint_splits_share_no_instance_with_train(case):
    task = CASES[case]
    trained = instances(task, "train")
    for name, split in task.splits.items():
        if split.disjoint:
            assert not trained & instances(task, name), name


@every_split
def test_baselines_lie_between_nothing_and_the_ceiling(case, split):
    task = CASES[case]
    baselines = task.baselines(split)
    assert "chance" in baselines
    assert len(baselines) > 1
    for baseline in baselines.values():
        assert isinstance(baseline, Baseline)
        assert 0 < baseline.exact < 1
        assert baseline.logprob < 0
    chance, best = baselines["chance"], trivial(task, split)
    assert best.exact >= chance.exact
    assert best.logprob >= chance.logprob


@every_case
def test_render_tells_the_answer(case):
    task = CASES[case]
    example = one(draw_split(task, "train"), 0)
    asked = np.flatnonzero(example.weights)
    for position in asked:
        targets = example.targets.copy()
        targets[position] += 1
        assert task.render(example) != task.render(example._replace(targets=targets))


def test_exact_match_looks_at_answer_positions_only():
    example = Example(
        tokens=jnp.array([3, 4, 5]),
        targets=jnp.array([0, 7, 8]),
        weights=jnp.array([0.0, 1.0, 1.0]),
        factors={},
        read=jnp.array([2]),
    )
    assert exact_match(example, jnp.array([9, 7, 8]))
    assert not exact_match(example, jnp.array([9, 7, 7]))
