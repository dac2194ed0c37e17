"""What may be renamed: that tasks say so truly, and that a renamed example is another one of training."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, RENAMED, Example, interchangeable, problem
from tasks.draw import renamed
from tests.tasks.task_cases import FIRST, SIZES, draw, draw_split, instance, one, quick_jit, world

NAMES = {
    *("mqar", "noisy_recall", "overwrite_recall", "induction", "n_back", "copy", "selective_copy"),
    *("path_star", "graph_search"),
}
RENAMABLE = [case for case, (name, _) in SIZES.items() if name in NAMES]
every_renamable = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in FIRST else pytest.mark.slow) for case in RENAMABLE]
)
BY_DEFAULT = ("mqar-1", "path_star-1", "copy-1")  # keys and values, node labels, symbols
every_renamed = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in BY_DEFAULT else pytest.mark.slow) for case in RENAMABLE]
)
COUNT = 2048  # drawn: what other tests draw, so that each generator compiles once
LOOKED_AT = 256


def test_these_tasks_have_interchangeable_symbols():
    assert [case for case in SIZES if interchangeable(instance(case))] == RENAMABLE
    cued = make("copy", spurious=0.5)
    assert interchangeable(cued) == interchangeable(make("copy"))
    assert not interchangeable(make("addition"))


@every_renamable
@given(data=st.data())
def test_a_permutation_within_the_groups_keeps_the_answer_right_and_wrong_ones_wrong(case, data):
    """The declaration itself, on tokens and targets, with the checker that shares no code with the generator."""
    task = instance(case)
    name_of = np.arange(task.vocab_size)
    for group in interchangeable(task):
        name_of[group.start : group.stop] = data.draw(st.permutations(list(group)))
    example = one(draw_split(task, "train"), data.draw(st.integers(0, COUNT - 1)))
    other = example._replace(tokens=name_of[example.tokens], targets=name_of[example.targets])
    answer = np.where(example.weights > 0, other.targets, NO_ANSWER)
    assert task.check(world(task), other, answer)
    asked = np.flatnonzero(example.weights == 1)
    answer[asked[0]] = name_of[-1]  # no task's last id is right everywhere
    before = np.where(example.weights > 0, example.targets, NO_ANSWER)
    before[asked[0]] = task.vocab_size - 1
    assert task.check(world(task), other, answer) == task.check(world(task), example, before)


@cache
def renamer(task, length, count):
    """Jitted (seed, world, numbers, difficulty) -> examples, each renamed by its number."""

    def many(seed, world, number_B, difficulty):
        keys = jax.random.split(jax.random.key(seed), count)
        one = lambda key, number: task.sample(key, world, {**difficulty, RENAMED: number}, length)  # noqa: E731
        return jax.vmap(one)(keys, number_B)

    return quick_jit(many)


def drawn_renamed(task, number_B, seed=0, split="train"):
    chosen = task.splits[split]
    call = renamer(task, chosen.length, len(number_B))
    return jax.tree.map(np.asarray, call(seed, world(task), jnp.asarray(number_B, jnp.uint32), dict(chosen.difficulty)))


def said(batch, index):
    """The question's tokens and the answer's: not a scratchpad, which may be one of random names."""
    weights = batch.weights[index]
    question = batch.tokens[index][: np.argmax(weights > 0) + 1]
    return np.concatenate([question, batch.targets[index][weights == 1]])


@every_renamed
def test_a_renamed_sample_is_the_sample_but_for_names_and_renaming_zero_is_the_sample(case):
    """One-to-one between what stood there and what stands there now, and only within the groups."""
    task, chosen = instance(case), instance(case).splits["train"]
    plain = draw(task, chosen.difficulty, chosen.length, COUNT)
    jax.tree.map(np.testing.assert_array_equal, plain, drawn_renamed(task, np.zeros(COUNT)))
    other = drawn_renamed(task, np.arange(1, COUNT + 1))
    np.testing.assert_array_equal(plain.weights, other.weights)
    group_of = np.zeros(task.vocab_size, int)
    for number, group in enumerate(interchangeable(task), 1):
        group_of[group.start : group.stop] = number
    changed, images = 0, {token: set() for group in interchangeable(task) for token in group}
    for i in range(LOOKED_AT):
        before, after = (said(x, i) for x in (plain, other))
        np.testing.assert_array_equal(group_of[before], group_of[after])
        pairs = set(zip(before.tolist(), after.tolist(), strict=True))
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        assert all(a == b for a, b in pairs if not group_of[a])
        changed += any(a != b for a, b in pairs)
        for a, b in pairs:
            images.get(a, set()).add(b)
        right = np.where(other.weights[i] > 0, other.targets[i], NO_ANSWER)
        assert task.check(world(task), one(other, i), right)
    assert changed > LOOKED_AT / 2
    for group in interchangeable(task):  # no group is too large: any of its ids takes the name of any other
        assert all(images[token] == set(group) for token in group)


@every_renamed
def test_no_held_out_problem_gets_into_training_by_renaming(case):
    """Instance spaces are small here: renaming the tokens after the choice of side does break it, in most tasks."""
    task = instance(case)

    def problems(batch):
        found = set()
        for i in range(COUNT):
            found.add(problem(task, Example(batch.tokens[i], batch.targets[i], batch.weights[i], {}, batch.read[i])))
        return found

    trained = problems(drawn_renamed(task, np.arange(1, COUNT + 1)))
    for name, split in task.splits.items():
        if split.disjoint:
            assert not trained & problems(draw(task, split.difficulty, split.length, COUNT)), name


def test_renamings_are_uniform():
    """Six orders of three labels, equally often."""
    task = make("mqar", pairs=2, more_pairs=3, keys=3, values=3)
    names = jax.vmap(lambda n: renamed(jnp.arange(3), {RENAMED: n}, 3))(jnp.arange(1, 6001, dtype=jnp.uint32))
    _, counts = np.unique(np.asarray(names), axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.all(abs(counts - 1000) < 5 * np.sqrt(1000 * 5 / 6))
    assert interchangeable(task) == (range(1, 4), range(4, 7))
