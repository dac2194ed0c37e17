"""Flip-flop strings with undo: the stack by hand, where instructions stand, the halves, baselines by enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import drawn, factors_of
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, within

TASK = make("flip_flop", length=6, longer=9, reads=2)
LENGTH = 17  # of the longest split: one program for all
LETTERS = dict(zip((3, 4, 5, 6), "wriu", strict=True))


def instructions(example):
    """[(letter, bit)], the last read's bit from the targets."""
    tokens = example.tokens[example.tokens != 0].tolist()
    tokens.append(int(example.targets[len(tokens) - 1]))
    return [(LETTERS[tokens[i]], tokens[i + 1] - 1) for i in range(0, len(tokens), 2)]


def history(steps):
    """The writes not taken back, after every instruction: each time carried out from the start, backwards."""

    def standing(steps):
        kept, cancelled = [], 0
        for letter, bit in reversed([step for step in steps if step[0] in "wu"]):
            if letter == "u":
                cancelled += 1
            elif cancelled:
                cancelled -= 1
            else:
                kept.append(bit)
        return kept[::-1]

    # An undo of the first write does nothing: leave it out, so that what is left can be cancelled in pairs.
    legal = []
    for letter, bit in steps:
        if letter != "u" or len(standing(legal)) > 1:
            legal.append((letter, bit))
        else:
            legal.append(("i", bit))
    return [standing(legal[: index + 1]) for index in range(len(legal))]


@given(
    count=st.integers(2, 9),
    reads=st.integers(1, 4),
    ignore=st.sampled_from([0.0, 0.5, 1.0]),
    undo=st.sampled_from([0.0, 0.5, 1.0]),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_read_names_the_bit_on_top_of_the_writes(count, reads, ignore, undo, held_out, seed):
    difficulty = dict(length=count, reads=reads, ignore=ignore, undo=undo, held_out=held_out)
    for example in drawn(TASK, difficulty, LENGTH, seed=seed):
        steps = instructions(example)
        assert len(steps) == count
        assert steps[0][0] == "w"
        assert steps[-1][0] == "r"
        letters = [letter for letter, _ in steps]
        assert letters.count("r") == min(reads, count - 1)
        allowed = {0.0: "w", 0.5: "wu", 1.0: "u"}[undo] * (ignore < 1) + "i" * (ignore > 0) + "r"
        assert set(letters[1:]) <= set(allowed)
        stacks = history(steps)
        asked = np.flatnonzero(example.weights)
        assert asked.tolist() == [2 * i for i, letter in enumerate(letters) if letter == "r"]
        assert all(steps[place // 2][1] == stacks[place // 2][-1] for place in asked)
        assert example.targets[asked].tolist() == [1 + steps[place // 2][1] for place in asked]
        assert example.read.tolist() == [asked[-1], asked[0]]
        last_write = [bit for letter, bit in steps if letter == "w"][-1]
        assert factors_of(example) == {"bit": stacks[-1][-1], "depth": len(stacks[-1]) - 1, "last_write": last_write}


def test_the_hand_of_the_reference():
    """w0 w1 u r, and an undo of the first write."""
    assert history([("w", 0), ("w", 1), ("u", 0), ("r", 0)])[-1] == [0]
    assert history([("w", 0), ("u", 1), ("w", 1), ("u", 0)]) == [[0], [0], [0, 1], [0]]


def test_instructions_come_as_often_as_was_asked_for():
    difficulty = dict(length=6, reads=2, ignore=0.25, undo=0.4, held_out=0)
    batch = draw(TASK, difficulty, LENGTH, 4096)
    between = batch.tokens[:, 2:10:2]
    assert all(within(np.mean(between[:, place] == 4), 1 / 4, 4096) for place in range(4)), "reads stand anywhere"
    others = between[between != 4]
    assert within(np.mean(others == 5), 0.25, others.size)
    assert within(np.mean(others[others != 5] == 6), 0.4, np.sum(others != 5))
    meaningless = batch.tokens[:, 3:11:2][(between == 5) | (between == 6)]
    assert within(np.mean(meaningless == 1), 0.5, meaningless.size)


def test_train_and_iid_halve_the_strings_whatever_is_ignored():
    """Of two strings that differ in the first bit alone one is in each half; bits without meaning don't count."""
    halves = []
    for held_out in (0, 1):
        batch = draw(TASK, dict(length=4, reads=1, ignore=0.3, undo=0.4, held_out=held_out), LENGTH, 4096)
        halves.append({TASK.problem(one(batch, index)) for index in range(4096)})
    assert not halves[0] & halves[1]
    assert len(halves[0]) == len(halves[1])
    mates = {(((3, 3 - first), *rest)) for (_, first), *rest in halves[0]}
    assert mates == halves[1]


@pytest.mark.parametrize("split", first_by_default(["iid", "pressure", "sparse"]))
def test_baselines_match_an_enumeration(split):
    """All strings of five instructions, two of them reads, by their probability."""
    task = make("flip_flop", length=5, longer=6, reads=2, ignore=0.2, undo=0.4, sparse=0.5, pressed=0.8)
    ignore, undo = (task.splits[split].difficulty[name] for name in ("ignore", "undo"))
    chance = {"i": ignore, "u": (1 - ignore) * undo, "w": (1 - ignore) * (1 - undo)}
    exact = dict.fromkeys(("first", "last_bit", "latest", "toggle"), 0.0)
    for place, letters, bits in itertools.product(
        range(3), itertools.product("iuw", repeat=2), itertools.product((0, 1), repeat=3)
    ):
        others = list(zip(letters, bits[1:], strict=True))  # a read stands before, between or after the two
        steps = [("w", bits[0]), *others[:place], ("r", None), *others[place:], ("r", None)]
        said = dict.fromkeys(exact, True)
        for index, stack in enumerate(history(steps)):
            if steps[index][0] == "r":
                latest = [i for i in range(index) if steps[i][0] in "wr"][-1]
                undone = sum(step[0] == "u" for step in steps[latest:index])
                answers = (bits[0], steps[index - 1][1], steps[latest][1], steps[latest][1] ^ (undone % 2))
                for name, answer in zip(exact, answers, strict=True):
                    said[name] &= answer == stack[-1]
                steps[index] = ("r", stack[-1])
        for name, right in said.items():
            exact[name] += right * chance[letters[0]] * chance[letters[1]] / (8 * 3)
    for name, share in exact.items():
        assert abs(task.baselines(split)[name].exact - share) < 0.02, name


def test_without_undo_the_latest_write_is_the_task():
    task = make("flip_flop", undo=0.0)
    assert "pressure" not in task.splits
    assert set(task.baselines("iid")) == {"chance", "first", "last_bit"}
    batch = draw_split(make("flip_flop", length=6, longer=9, reads=2, undo=0.0), "iid")
    np.testing.assert_array_equal(batch.factors["bit"], batch.factors["last_write"])


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"reads": 16}, r"reads must be a whole number in \[1, 15\], not 16"),
        ({"dense": 0.8}, r"dense must be a number in \[0.0, 0.3\]"),
        ({"sparse": 0.1}, r"sparse must be a number in \[0.3, 1.0\]"),
        ({"pressed": 0.2}, r"pressed must be a number in \[0.5, 0.95\]"),
        ({"longer": 16}, r"longer must be a whole number in \[17"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("flip_flop", **sizes)
