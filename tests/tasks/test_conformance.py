"""The contract of tasks.base, for every task of the registry."""

import dataclasses
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tasks import TASKS, gallery, make
from tasks.base import (
    FAMILIES,
    NO_ANSWER,
    PAD,
    PROCESS,
    Baseline,
    Example,
    Retold,
    Task,
    exact_match,
    problem,
    scored,
    trivial,
)
from tasks.draw import hash_bit
from tasks.fields import knob_fields
from tests.tasks import claims
from tests.tasks.task_cases import (
    FIRST,
    SIZES,
    draw,
    every_sampled,
    every_sampled_marked,
    instance,
    longest,
    one,
    quick_jit,
    shipped_jit,
    world,
)

LEARNED = 0.9  # no predicted failure may reach it
every_case = pytest.mark.parametrize("case", SIZES)


@cache
def jitted_score(task):
    return quick_jit(lambda world, example, answer: scored(task, world, example, answer))


def judged(sampled, split, example, answer):
    """Both verdicts on an example of a split, which must agree; `score` compiles once a length."""
    task, length = sampled.task, sampled.length(split)
    example, answer = jax.tree.map(np.asarray, (example, answer))
    missing = length - len(example.tokens)
    lanes = {lane: np.pad(getattr(example, lane), (0, missing)) for lane in ("tokens", "targets", "weights")}
    padded = np.pad(answer, (0, missing), constant_values=NO_ANSWER)
    scored = bool(jitted_score(task)(world(task), example._replace(**lanes), padded))
    assert scored == task.check(world(task), example, answer)
    return scored


def test_every_task_has_a_case():
    assert {instance(case).name for case in FIRST} == {name for name, _ in SIZES.values()} == set(TASKS)


@every_case
def test_is_a_hashable_task_with_the_named_splits(case):
    task = instance(case)
    assert isinstance(task, Task)
    assert hash(task) == hash(dataclasses.replace(task))
    assert task.family in FAMILIES
    assert {"train", "iid"} < set(task.splits)
    assert not task.splits["train"].disjoint
    assert len({frozenset(s.difficulty) for s in task.splits.values()}) == 1
    assert all(s.about and s.decode_steps in (1, s.answer_tokens) for s in task.splits.values())


@every_sampled
def test_shapes_and_dtypes(sampled):
    task, count = sampled.task, sampled.count
    for split, chosen in task.splits.items():
        batch = sampled.draw(split)
        for field, dtype in (("tokens", np.int32), ("targets", np.int32), ("weights", np.float32)):
            assert getattr(batch, field).shape == (count, chosen.length), split
            assert getattr(batch, field).dtype == dtype, split
        assert batch.read.shape == (count, len(task.read_names)), split
        assert batch.read.dtype == np.int32, split
        assert set(batch.factors) == set(task.factor_sizes), split
        for factor in batch.factors.values():
            assert factor.shape == (count,), split
            assert factor.dtype == np.int32, split


@every_sampled
def test_tokens_targets_weights_and_reads_are_consistent(sampled):
    task = sampled.task
    for split, chosen in task.splits.items():
        batch = sampled.draw(split)
        asked = batch.weights == 1
        supervised = batch.weights > 0
        assert np.all(asked | (batch.weights == 0) | (batch.weights == PROCESS)), split
        assert asked.any(axis=1).all(), f"{split}: something is asked"
        assert supervised.sum(axis=1).max() == chosen.answer_tokens, split
        assert np.all((batch.targets != PAD) == supervised), split
        for ids in (batch.tokens, batch.targets):
            assert ids.min() >= 0, split
            assert ids.max() < task.vocab_size, split
        assert np.all(np.diff((batch.tokens == PAD).astype(int), axis=1) >= 0), f"{split}: padding comes last"
        assert np.all(np.any(batch.tokens != PAD, axis=0)), f"{split} fills its length"
        assert np.all(np.take_along_axis(batch.tokens, batch.read, axis=1) != PAD), split
        if chosen.decode_steps > 1:
            runs = np.abs(np.diff(supervised.astype(int), prepend=0, append=0, axis=1)).sum(axis=1)
            assert np.all(runs == 2), f"{split}: one run"
            fed_back = supervised[:, :-1] & supervised[:, 1:]
            assert np.all(batch.tokens[:, 1:][fed_back] == batch.targets[:, :-1][fed_back]), split


@every_sampled
def test_factors_lie_in_their_range_and_vary_in_training(sampled):
    task = sampled.task
    for split in task.splits:
        for name, values in sampled.draw(split).factors.items():
            assert values.min() >= 0, split
            assert values.max() < task.factor_sizes[name], split
            assert split != "train" or len(np.unique(values)) > 1


@every_sampled
def test_a_factor_that_is_the_input_token_is_documented_as_a_control(sampled):
    """A probe for it finds the embedding."""
    task = sampled.task
    batch = sampled.draw("train")
    token = np.take_along_axis(batch.tokens, batch.read[:, :1], axis=1)[:, 0]
    for name, values in batch.factors.items():
        if len(np.unique(token - values)) == 1:
            assert re.search(rf"`{name}`[^`]* control|ends the query.* control", gallery.factors(task)), name


@every_sampled
def test_the_right_answer_and_only_it_is_right(sampled):
    task, generator = sampled.task, np.random.default_rng(0)
    for split, chosen in task.splits.items():
        batch, unique = sampled.draw(split), chosen.unique
        for index in range(24 if sampled.thorough else 8):
            example = one(batch, index)
            supervised, asked = (np.flatnonzero(example.weights >= least) for least in (PROCESS, 1))
            right = np.where(example.weights > 0, example.targets, NO_ANSWER)
            assert judged(sampled, split, example, right), split
            for position in supervised:
                corrupted = right.copy()
                corrupted[position] = (right[position] + generator.integers(1, task.vocab_size)) % task.vocab_size
                verdict = judged(sampled, split, example, corrupted)
                assert verdict or position in asked, f"{split}: a scratchpad is not judged"
                assert not (verdict and unique and position in asked), split
            guess = right.copy()
            guess[asked] = generator.integers(task.vocab_size, size=asked.size)
            verdict = judged(sampled, split, example, guess)
            assert verdict == bool(np.all(guess[asked] == right[asked])) or not unique, split
            assert not judged(sampled, split, example, np.full_like(right, NO_ANSWER)), split


@every_sampled_marked(pytest.mark.as_shipped)
def test_one_example_and_a_vmapped_batch_agree(sampled):
    """At the split's own length; in the slow layer with XLA's default optimization, too, which training uses."""
    task = sampled.task
    chosen = task.splits["iid"]
    key = jax.random.split(jax.random.key(0), sampled.count)[7]
    compiled = shipped_jit if sampled.thorough else quick_jit
    sample = compiled(task.sample, static_argnames="length")
    example = sample(key, world(task), dict(chosen.difficulty), chosen.length)
    jax.tree.map(np.testing.assert_array_equal, example, one(sampled.draw("iid"), 7))


@every_sampled_marked(pytest.mark.as_shipped)
def test_same_key_same_example_other_key_other_examples(sampled):
    task = sampled.task
    batch, other = sampled.draw("train"), sampled.draw("train", seed=1)
    again = draw(task, task.splits["train"].difficulty, task.splits["train"].length, sampled.count)
    jax.tree.map(np.testing.assert_array_equal, batch, again)
    assert np.any(batch.tokens != other.tokens)
    if sampled.thorough:
        at_default_optimization = shipped_jit(task.world)(jax.random.key(0))
        jax.tree.map(np.testing.assert_array_equal, at_default_optimization, world(task))


@pytest.mark.slow  # by default, test_one_example_and_a_vmapped_batch_agree compares two lengths
@every_case
def test_padding_changes_nothing(case):
    task = instance(case)
    longer = longest(task) + 2
    chosen = task.splits["train"]
    batch, length = draw(task, chosen.difficulty, chosen.length, exact=True), chosen.length
    padded = draw(task, chosen.difficulty, longer, exact=True)
    for field in ("tokens", "targets", "weights"):
        np.testing.assert_array_equal(getattr(padded, field)[:, :length], getattr(batch, field))
        assert np.all(getattr(padded, field)[:, length:] == 0)
    jax.tree.map(np.testing.assert_array_equal, padded.factors, batch.factors)
    np.testing.assert_array_equal(padded.read, batch.read)


@cache
def problems(task, split, seed, held_out_like=None, count=2048):
    """What a split asks in a sample: problem -> the rows of tokens, as bytes, that ask it."""
    found, chosen = {}, task.splits[held_out_like or split]
    batch = draw(task, chosen.difficulty, task.splits[split].length, count, seed)
    rows = {row.tobytes(): index for index, row in enumerate(batch.tokens)}
    for asked_as, i in rows.items():
        example = Example(batch.tokens[i], batch.targets[i], batch.weights[i], {}, batch.read[i])
        found.setdefault(problem(task, example), set()).add(asked_as)
    return found


@every_sampled
def test_disjoint_splits_share_no_problem_with_train(sampled):
    task, count = sampled.task, sampled.count
    trained = set().union(*(problems(task, "train", seed, count=count) for seed in range(4)))
    for name, split in task.splits.items():
        if split.disjoint:
            assert not any(trained & problems(task, name, seed, count=count).keys() for seed in (0, 1)), name


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_the_overlap_test_would_see_an_overlap(name):
    """Problems of some small case repeat: an `iid` that ignored the hash would share some with `train`.

    Where the tokens may ask a problem in several ways, one that they do ask so: a hash that minded the order or the
    noise would put it on both sides.
    """
    cases = [instance(case) for case, (of, _) in SIZES.items() if of == name]
    cases = [task for task in cases if task.splits["iid"].disjoint]
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
    """Raw tokens would not show it: every list of pairs is on one side only. (Own sizes, for samplers are cached.)"""
    monkeypatch.setattr(f"{module}.hash_bit", lambda words, valid, ordered=True: hash_bit(words, valid))
    trained, broken = (problems(task, split, 0) for split in ("train", "iid"))
    assert trained.keys() & broken.keys()
    assert all(not trained[each] & broken.get(each, set()) for each in trained)


@every_sampled
def test_a_broken_generator_is_caught_by_the_checker(sampled):
    """Answers that belong to other questions: the checker, which shares nothing with the generator, refuses most."""
    task, count = sampled.task, 64
    batch = sampled.draw("train")
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


@every_sampled
def test_a_curriculum_may_move_training_from_the_easiest_difficulty(sampled):
    task, chosen = sampled.task, sampled.task.splits["train"]
    assert set(task.easiest) <= set(chosen.difficulty)
    for share in (0.0, 0.5, 1.0):
        between = {
            name: type(value)(round(low + share * (value - low)) if isinstance(value, int) else low)
            for name, low in task.easiest.items()
            for value in [chosen.difficulty[name]]
        }
        batch = draw(task, {**chosen.difficulty, **between}, chosen.length, sampled.count)
        for index in range(8):
            example = one(batch, index)
            assert (example.weights == 1).any()
            right = np.where(example.weights > 0, example.targets, NO_ANSWER)
            assert judged(sampled, "train", example, right)


@every_sampled
def test_what_a_study_may_turn_in_training_keeps_it_valid_and_disjoint(sampled):
    """Each declared field at either end, then all at ends at random: right answers, the padded length, held out."""
    task, chosen, generator = sampled.task, sampled.task.splits["train"], np.random.default_rng(0)
    fields = knob_fields(task)
    ends = {name: (field.low, field.high) for name, field in fields.items()}
    settings = [{name: end} for name in ends for end in ends[name]]
    settings += [{name: generator.choice(two) for name, two in ends.items()} for _ in range(2 if len(ends) > 1 else 0)]
    held_out = set().union(
        *(problems(task, name, 0, count=sampled.count) for name, split in task.splits.items() if split.disjoint)
    )
    for setting in settings:
        kind = {name: type(chosen.difficulty[name]) for name in setting}
        assert all(field.about and field.low <= chosen.difficulty[name] <= field.high for name, field in fields.items())
        difficulty = {**chosen.difficulty, **{name: kind[name](value) for name, value in setting.items()}}
        batch = draw(task, difficulty, chosen.length, sampled.count)
        supervised = batch.weights > 0
        assert supervised.sum(axis=1).max() <= chosen.answer_tokens, setting
        assert (batch.weights == 1).any(axis=1).all(), setting
        for index in range(sampled.count if sampled.thorough else 48):
            assert problem(task, one(batch, index)) not in held_out, setting
        for index in range(4):
            right = np.where(supervised[index], batch.targets[index], NO_ANSWER)
            assert task.check(world(task), one(batch, index), right), setting


@every_case
def test_every_field_is_explained_and_every_card_can_be_made(case):
    task = type(instance(case))
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


@every_sampled
def test_baselines_lie_between_nothing_and_the_ceiling(sampled):
    task = sampled.task
    for split in task.splits if sampled.thorough else ("train",):
        baselines = task.baselines(split)
        assert "chance" in baselines, split
        assert len(baselines) > 1, split
        for baseline in baselines.values():
            assert isinstance(baseline, Baseline), split
            assert 0 <= baseline.exact < 1, split
            assert baseline.logprob < 0, split
        chance, best = baselines["chance"], trivial(task, split)
        assert best.exact >= chance.exact, split
        assert best.logprob >= chance.logprob, split


@every_sampled
def test_baselines_are_what_their_predictors_reach(sampled):
    """Each is run; and no predictor that knows nothing beats them: on `iid`, when thorough on every evaluated split.

    Not on `train`, where nothing is judged: what a rule reaches there depends on what was trained.
    """
    if sampled.thorough and sampled.case in claims.FEW:
        pytest.skip("a half of so few strings is not what all of them are, over which the baselines are exact")
    evaluated = [split for split in sampled.task.splits if split != "train"]
    for split in evaluated if sampled.thorough else ("iid",):
        assert claims.faults(sampled.task, split, sampled.count // 2) == [], split


@every_sampled
def test_render_shows_the_answer(sampled):
    task = sampled.task
    example = one(sampled.draw("train"), 0)
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
