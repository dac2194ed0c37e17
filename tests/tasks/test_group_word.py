"""Group word problem: tables, products, the exact half-and-half split, baselines."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import TaskError, make
from tasks.base import PROCESS
from tasks.reasoning.group_word import GROUPS, elements, table
from tests.tasks.task_cases import draw, draw_split, one, within

LONGEST = 7
TASKS = {group: make("group_word", group=group, length=LONGEST - 1, longer=LONGEST) for group in GROUPS}


@pytest.mark.parametrize(("group", "order"), [("Z6", 6), ("S3", 6), ("A5", 60), ("S5", 120), ("Z60", 60)])
def test_table_is_a_group_of_the_right_order(group, order):
    product = table(group)
    assert product.shape == (order, order)
    everything = np.arange(order)
    np.testing.assert_array_equal(product[0], everything)
    np.testing.assert_array_equal(product[:, 0], everything)
    assert np.all(np.sort(product, axis=0) == everything[:, None])
    a, b, c = np.random.default_rng(0).integers(order, size=(3, 500))
    np.testing.assert_array_equal(product[product[a, b], c], product[a, product[b, c]])
    assert np.array_equal(product, product.T) == group.startswith("Z")


def test_a5_is_its_own_commutator_group_and_s5_is_not():
    for group, size in (("A5", 60), ("S5", 60), ("S3", 3)):
        product = table(group)
        inverse = np.argmin(product, axis=1)
        a, b = np.meshgrid(*[np.arange(len(product))] * 2)
        reached = set(product[product[a, b], product[inverse[a], inverse[b]]].ravel().tolist())
        smaller = set()
        while smaller != reached:
            smaller = reached
            reached = smaller | set(product[np.ix_(list(smaller), list(smaller))].ravel().tolist())
        assert len(reached) == size


def compose(group, word):
    """Prefix products of element indices, by applying permutations to points as functions."""
    permutations = [tuple(row) for row in elements(group).tolist()]
    states, state = [], {point: point for point in range(len(permutations[0]))}
    for element in word:
        state = {point: permutations[element][image] for point, image in state.items()}
        states.append(permutations.index(tuple(state[point] for point in range(len(state)))))
    return states


@given(
    group=st.sampled_from(GROUPS),
    length=st.integers(1, LONGEST),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_states_are_the_products_so_far(group, length, held_out, seed):
    task = TASKS[group]
    batch = draw(task, {"length": length, "held_out": held_out}, LONGEST, 8, seed)
    for index in range(8):
        example = one(batch, index)
        word = (example.tokens[:length] - 1).tolist()
        states = compose(group, word)
        assert example.targets.tolist() == [s + 1 for s in states] + [0] * (LONGEST - length)
        assert example.weights.sum() == length
        previous = states[-2] if length > 1 else 0
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == {"state": states[-1], "previous_state": previous, "last": word[-1]}
        assert example.read.tolist() == [length - 1]
        assert task.check((), example, example.targets)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_train_and_iid_halve_the_words_of_every_length(length):
    words = []
    for held_out in (0, 1):
        batch = draw(TASKS["Z6"], {"length": length, "held_out": held_out}, LONGEST, 4096)
        words.append(set(map(tuple, (batch.tokens[:, :length] - 1).tolist())))
    assert not words[0] & words[1]
    assert words[0] | words[1] == set(itertools.product(range(6), repeat=length))
    assert len(words[0]) == len(words[1])


@pytest.mark.slow
@pytest.mark.parametrize("group", ["Z6", "S3"])
def test_copy_baseline_matches_a_simulation(group):
    """With words so short a half of them is too few to be typical: both halves together are."""
    task = make("group_word", group=group, length=2, longer=3)
    halves = [draw_split(task, split, 4096) for split in ("train", "iid")]
    tokens, targets = (np.concatenate([getattr(half, field) for half in halves]) for field in ("tokens", "targets"))
    baseline = task.baselines("iid")["copy"]
    assert within(np.mean(np.all(tokens == targets, axis=1)), baseline.exact, 8192)
    assert np.all(tokens[:, 0] == targets[:, 0])
    # The second state is uniform whatever the last element: nothing better than log(order) is to be had of it.
    for last in range(1, task.order + 1):
        shares = np.bincount(targets[tokens[:, 1] == last, 1] - 1, minlength=task.order)
        shares = shares / shares.sum()
        entropy = -np.sum(shares * np.log(shares))
        assert baseline.logprob == pytest.approx(-entropy / 2, abs=0.02)
    assert task.baselines("length")["chance"].exact == pytest.approx(task.order**-3)
    assert task.baselines("length")["copy"].logprob == pytest.approx(-2 / 3 * math.log(task.order))


LAST = {
    group: make("group_word", group=group, length=LONGEST - 1, longer=LONGEST, ask="last", scratchpad="valid")
    for group in ("Z6", "S3", "A5")
}


@given(
    group=st.sampled_from(tuple(LAST)),
    length=st.integers(1, LONGEST),
    held_out=st.integers(0, 1),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_asked_for_the_last_product_the_states_are_the_scratchpad(group, length, held_out, share, seed):
    task = LAST[group]
    batch = draw(task, {"length": length, "held_out": held_out, "scratchpad": share}, 2 * LONGEST + 2, 8, seed)
    think, marker = task.order + 1, task.order + 2
    for index in range(8):
        example = one(batch, index)
        states = compose(group, (example.tokens[:length] - 1).tolist())
        thinking = example.tokens[length] == think
        assert thinking or example.tokens[length] == marker
        assert share == 0.5 or thinking == bool(share)
        steps = [*(s + 1 for s in states), marker] if thinking else []
        assert example.targets[example.weights == PROCESS].tolist() == steps
        assert example.targets[example.weights == 1].tolist() == [states[-1] + 1]
        assert example.read.tolist() == [length + len(steps), length]
        assert example.factors["state"] == states[-1]
        assert example.factors["previous_state"] == (states[-2] if length > 1 else 0)
        assert task.check((), example, example.targets)


def test_asking_every_product_keeps_its_vocabulary_and_difficulties():
    task = TASKS["Z6"]
    assert task.vocab_size == 7
    assert set(task.splits) == {"train", "iid", "length"}
    assert set(task.splits["train"].difficulty) == {"length", "held_out"}
    assert LAST["Z6"].vocab_size == 9
    assert set(LAST["Z6"].splits["train"].difficulty) == {"length", "held_out", "scratchpad"}
    assert LAST["Z6"].splits["direct"].answer_tokens == 1


@pytest.mark.parametrize("length", [1, 3])
def test_asked_for_the_last_product_train_and_iid_halve_the_words(length):
    words = []
    for held_out in (0, 1):
        difficulty = {"length": length, "held_out": held_out, "scratchpad": 0.0}
        batch = draw(LAST["S3"], difficulty, 2 * LONGEST + 2, 4096)
        words.append(set(map(tuple, (batch.tokens[:, :length] - 1).tolist())))
    assert not words[0] & words[1]
    assert words[0] | words[1] == set(itertools.product(range(6), repeat=length))


@pytest.mark.slow
def test_sign_and_copy_baselines_match_their_predictors():
    task = make("group_word", group="S3", length=4, longer=5, ask="last")
    halves = [draw_split(task, split, 4096) for split in ("train", "iid")]
    tokens, answer = (np.concatenate([getattr(half, field) for half in halves]) for field in ("tokens", "targets"))
    answer, baselines = answer[:, 4] - 1, task.baselines("iid")
    assert within(np.mean(answer == tokens[:, 3] - 1), baselines["copy"].exact, 8192)
    odd = np.array([sum(a > b for a, b in itertools.combinations(row, 2)) % 2 for row in elements("S3").tolist()])
    sign = odd[tokens[:, :4] - 1].sum(axis=1) % 2
    assert np.all(odd[answer] == sign), "the sign is known of every product"
    for known in (0, 1):
        chosen = answer[sign == known]
        shares = np.bincount(chosen, minlength=6) / chosen.size
        assert np.all(np.abs(shares[odd == known] - baselines["sign"].exact) < 0.04)
    assert baselines["sign"].logprob == pytest.approx(-math.log(3))
    assert "sign" not in make("group_word", group="A5", ask="last").baselines("iid")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"ask": "first"}, "ask must be one of every, last, not 'first'"),
        ({"scratchpad": "valid"}, "scratchpad 'valid' needs ask='last', not ask='every'"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("group_word", **sizes)
