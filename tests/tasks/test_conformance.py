"""The contract of tasks.base, for every task of the registry."""

import dataclasses
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import TASKS, gallery, make
from tasks.base import FAMILIES, NO_ANSWER, PAD, PROCESS, Baseline, Example, Retold, Task, exact_match, problem, trivial
from tasks.draw import hash_bit
from tests.tasks.task_cases import CASES, PAIRS, draw, draw_split, one, quick_jit, world

LEARNED = 0.9  # no predicted failure may reach it
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
    assert task.family in FAMILIES
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
    supervised = batch.weights > 0
    assert np.all(asked | (batch.weights == 0) | (batch.weights == PROCESS))
    assert asked.any(axis=1).all(), "something is asked"
    assert supervised.sum(axis=1).max() == chosen.answer_tokens
    assert np.all((batch.targets != PAD) == supervised)
    for ids in (batch.tokens, batch.targets):
        assert ids.min() >= 0
        assert ids.max() < task.vocab_size
    assert np.all(np.diff((batch.tokens == PAD).astype(int), axis=1) >= 0), "padding comes last"
    assert np.all(np.any(batch.tokens != PAD, axis=0)), "the split fills its length"
    assert np.all(np.take_along_axis(batch.tokens, batch.read, axis=1) != PAD)
    if chosen.decode_steps > 1:
        assert np.all(np.abs(np.diff(supervised.astype(int), prepend=0, append=0, axis=1)).sum(axis=1) == 2), "one run"
        fed_back = supervised[:, :-1] & supervised[:, 1:]
        assert np.all(batch.tokens[:, 1:][fed_back] == batch.targets[:, :-1][fed_back])


@every_split
def test_factors_lie_in_their_range_and_vary_in_training(case, split):
    task = CASES[case]
    for name, values in draw_split(task, split).factors.items():
        assert values.min() >= 0
        assert values.max() < task.factor_sizes[name]
        assert split != "train" or len(np.unique(values)) > 1


@every_case
def test_a_factor_that_is_the_input_token_is_told_as_a_control(case):
    """A probe for it finds the embedding."""
    task = CASES[case]
    batch = draw_split(task, "train")
    token = np.take_along_axis(batch.tokens, batch.read[:, :1], axis=1)[:, 0]
    for name, values in batch.factors.items():
        if len(np.unique(token - values)) == 1:
            assert re.search(rf"`{name}`[^`]* control|ends the query.* control", gallery.factors(task)), name


@every_split
def test_the_right_answer_and_only_it_is_right(case, split):
    task, unique, generator = CASES[case], CASES[case].splits[split].unique, np.random.default_rng(0)
    batch = draw_split(task, split)
    for index in range(24):
        example = one(batch, index)
        supervised, asked = (np.flatnonzero(example.weights >= least) for least in (PROCESS, 1))
        right = np.where(example.weights > 0, example.targets, NO_ANSWER)
        assert judged(task, example, right)
        for position in supervised:
            corrupted = right.copy()
            corrupted[position] = (right[position] + generator.integers(1, task.vocab_size)) % task.vocab_size
            verdict = judged(task, example, corrupted)
            assert verdict or position in asked, "a scratchpad is not judged"
            assert not (verdict and unique and position in asked)
        guess = right.copy()
        guess[asked] = generator.integers(task.vocab_size, size=asked.size)
        verdict = judged(task, example, guess)
        assert verdict == bool(np.all(guess[asked] == right[asked])) or not unique
        assert not judged(task, example, np.full_like(right, NO_ANSWER))


@every_case
def test_one_example_and_a_vmapped_batch_agree(case):
    """Also at XLA's default optimization, which training uses: the batch was drawn without."""
    task = CASES[case]
    chosen = task.splits["iid"]
    key = jax.random.split(jax.random.key(0), 2048)[7]
    example = jax.jit(task.sample, static_argnames="length")(key, world(task), dict(chosen.difficulty), chosen.length)
    jax.tree.map(np.testing.assert_array_equal, example, one(draw_split(task, "iid"), 7))


@every_case
def test_same_key_same_example_other_key_other_examples(case):
    task = CASES[case]
    batch, other = draw_split(task, "train"), draw_split(task, "train", seed=1)
    chosen = task.splits["train"]
    again = draw(task, chosen.difficulty, chosen.length)
    jax.tree.map(np.testing.assert_array_equal, batch, again)
    assert np.any(batch.tokens != other.tokens)
    anew = jax.jit(task.world)(jax.random.key(0))  # at XLA's default optimization
    jax.tree.map(np.testing.assert_array_equal, anew, world(task))


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


@cache
def problems(task, split, seed, held_out_like=None):
    """What a split asks in a sample: problem -> the ways in which the tokens tell it."""
    found, chosen = {}, task.splits[held_out_like or split]
    batch = draw(task, chosen.difficulty, task.splits[split].length, seed=seed)
    told = {row.tobytes(): index for index, row in enumerate(batch.tokens)}
    for told_as, i in told.items():
        example = Example(batch.tokens[i], batch.targets[i], batch.weights[i], {}, batch.read[i])
        found.setdefault(problem(task, example), set()).add(told_as)
    return found


@every_case
def test_disjoint_splits_share_no_problem_with_train(case):
    task = CASES[case]
    trained = set().union(*(problems(task, "train", seed) for seed in range(4)))
    for name, split in task.splits.items():
        if split.disjoint:
            assert not any(trained & problems(task, name, seed).keys() for seed in (0, 1)), name


@pytest.mark.parametrize("name", TASKS)
def test_the_overlap_test_would_see_an_overlap(name):
    """Problems of some small case repeat: an `iid` that ignored the hash would share some with `train`.

    Where the tokens may tell a problem in several ways, one that they do tell so: a hash that minded the order or the
    noise would put it on both sides.
    """
    cases = [task for task in CASES.values() if task.name == name and task.splits["iid"].disjoint]
    for task in cases:
        trained, broken = problems(task, "train", 0), problems(task, "iid", 2, held_out_like="train")
        shared = trained.keys() & broken.keys()
        if any(len(trained[each] | broken[each]) > 1 or not isinstance(task, Retold) for each in shared):
            return
    assert not cases, f"{name}: declare a case in `small` whose problems repeat"


@pytest.mark.parametrize(
    ("module", "task"),
    [
        ("tasks.memory.mqar", make("mqar", pairs=2, more_pairs=3, keys=5, values=4)),
        ("tasks.memory._shared", make("noisy_recall", pairs=2, more_pairs=3, keys=5, values=4, noise_symbols=1)),
    ],
)
def test_the_overlap_test_sees_a_hash_that_minds_the_order(module, task, monkeypatch):
    """Raw tokens would not tell: every list of pairs is on one side only. (Sizes of their own: samplers are cached.)"""
    monkeypatch.setattr(f"{module}.hash_bit", lambda words, valid, ordered=True: hash_bit(words, valid))
    trained, broken = (problems(task, split, 0) for split in ("train", "iid"))
    assert trained.keys() & broken.keys()
    assert all(not trained[each] & broken.get(each, set()) for each in trained)


@every_case
def test_a_broken_generator_is_caught_by_the_checker(case):
    """Answers that belong to other questions: the checker, which shares nothing with the generator, refuses most."""
    task, count = CASES[case], 64
    batch = draw_split(task, "train")
    tokens_of = [set(np.flatnonzero(w)) for w in batch.weights]
    refused = tried = 0
    for index in range(count):
        example = one(batch, index)
        others = [i for i in range(count) if tokens_of[i] == tokens_of[index] and i != index]
        differing = [i for i in others if np.any((batch.targets[i] != example.targets) & (example.weights == 1))]
        if differing:
            broken = np.where(example.weights > 0, batch.targets[differing[0]], NO_ANSWER)
            tried, refused = tried + 1, refused + (not task.check(world(task), example, broken))
    assert tried > 0
    assert refused == tried if task.splits["train"].unique else refused > tried / 2


@every_case
def test_a_curriculum_may_move_training_from_the_easiest_difficulty(case):
    task, chosen = CASES[case], CASES[case].splits["train"]
    assert set(task.easiest) <= set(chosen.difficulty)
    for share in (0.0, 0.5, 1.0):
        between = {
            name: type(value)(round(low + share * (value - low)) if isinstance(value, int) else low)
            for name, low in task.easiest.items()
            for value in [chosen.difficulty[name]]
        }
        batch = draw(task, {**chosen.difficulty, **between}, chosen.length)
        for index in range(8):
            example = one(batch, index)
            assert (example.weights == 1).any()
            assert judged(task, example, np.where(example.weights > 0, example.targets, NO_ANSWER))


@every_case
def test_every_field_is_explained_and_every_card_can_be_made(case):
    task = type(CASES[case])
    attributes = (task.__doc__ or "").partition("Attributes:")[2]
    assert attributes
    assert "arXiv" in task.source or "et al" in task.source or re.search(r"[12][90][0-9]{2}", task.source)
    assert task.known
    for field in dataclasses.fields(task):
        assert re.search(rf"^\s+(\w+, )*{field.name}(, \w+)*: ", attributes, re.MULTILINE), field.name
    assert task.cards, "a task has a calibration card"
    assert len({card.name for card in task.cards}) == len(task.cards)
    for card in task.cards:
        made = make(task.name, **card.sizes)
        named = {*card.expected, *(card.groks or ())}
        assert named <= set(made.splits)
        for split, (low, high) in card.expected.items():
            assert 0 <= low < high <= card.ceiling <= 1, split
        assert not card.predicted_failure or min(high for _, high in card.expected.values()) < LEARNED


@every_split
def test_baselines_lie_between_nothing_and_the_ceiling(case, split):
    task = CASES[case]
    baselines = task.baselines(split)
    assert "chance" in baselines
    assert len(baselines) > 1
    for baseline in baselines.values():
        assert isinstance(baseline, Baseline)
        assert 0 <= baseline.exact < 1
        assert baseline.logprob < 0
    chance, best = baselines["chance"], trivial(task, split)
    assert best.exact >= chance.exact
    assert best.logprob >= chance.logprob


@every_case
def test_render_tells_the_answer(case):
    task = CASES[case]
    example = one(draw_split(task, "train"), 0)
    for position in np.flatnonzero(example.weights == 1):
        targets = example.targets.copy()
        targets[position] += 1
        assert task.render(example) != task.render(example._replace(targets=targets))


def test_exact_match_looks_at_answer_positions_only():
    example = Example(
        tokens=jnp.array([3, 4, 5]),
        targets=jnp.array([0, 7, 8]),
        weights=jnp.array([PROCESS, 1.0, 1.0]),
        factors={},
        read=jnp.array([2]),
    )
    assert exact_match(example, jnp.array([9, 7, 8]))
    assert not exact_match(example, jnp.array([9, 7, 7]))
