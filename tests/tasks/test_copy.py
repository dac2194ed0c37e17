"""Copy and reverse: strings, lengths, doubled n-grams, the halved strings, baselines."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import TaskError
from tests.tasks.memory_cases import agrees, drawn, factors_of, halves, read_and_answered
from tests.tasks.task_cases import draw_split, first_by_default, one, within

LONGEST, SYMBOLS = 8, 10
TASKS = {d: make("copy", length=6, longer=LONGEST, symbols=SYMBOLS, direction=d) for d in ("copy", "reverse")}


def string_of(example):
    return read_and_answered(example)[0][: int(np.argmax(example.weights))]


def doubled(string, size):
    """Whether some n-gram of this size occurs twice without overlap."""
    starts = range(len(string) - size + 1)
    return any(string[i : i + size] == string[j : j + size] for i in starts for j in starts if j >= i + size)


@given(
    direction=st.sampled_from(sorted(TASKS)),
    longest=st.integers(1, LONGEST),
    shortest=st.integers(1, LONGEST),
    distinct=st.sampled_from([0.0, 1.0]),
    ngram=st.integers(0, 5),
    held_out=st.integers(0, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_string_comes_back(direction, longest, shortest, distinct, ngram, held_out, seed):
    difficulty = dict(length=longest, shortest=shortest, distinct=distinct, ngram=ngram, held_out=held_out)
    for example in drawn(TASKS[direction], difficulty, 2 * LONGEST, seed=seed):
        tokens, asked, answer = read_and_answered(example)
        string = string_of(example)
        count = len(string)
        assert min(shortest, longest) <= count <= longest
        assert all(1 <= token <= SYMBOLS for token in string)
        wanted = string if direction == "copy" else string[::-1]
        assert tokens == [*string, SYMBOLS + 1, *wanted[:-1]]
        assert answer == wanted
        assert asked == list(range(count, 2 * count))
        size = min(ngram, count // 2)
        assert doubled(string, size)
        if distinct:
            assert len(set(string)) == count - size
        assert factors_of(example) == {
            "first": wanted[0] - 1,
            "middle": wanted[count // 2] - 1,
            "last": wanted[-1] - 1,
        }
        assert example.read.tolist() == [asked[0], asked[-1]]
        assert TASKS[direction].check((), example, example.targets)


@pytest.mark.slow
def test_lengths_places_and_doubled_places_all_occur():
    task = make("copy", length=6, shortest=4, longer=8, symbols=10, ngram=2)
    lengths = [len(string_of(one(draw_split(task, "iid"), i))) for i in range(2048)]
    assert all(within(np.mean(np.array(lengths) == n), 1 / 3, 2048) for n in (4, 5, 6))
    places = set()
    for index in range(2048):
        string = string_of(one(draw_split(task, "duplicates"), index))
        if len(string) == 6:
            places |= {(i, j) for i in range(5) for j in range(i + 2, 5) if string[i : i + 2] == string[j : j + 2]}
    assert places == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}


@pytest.mark.parametrize("distinct", [0.0, 1.0])
def test_train_and_iid_halve_the_strings(distinct):
    task = make("copy", length=3, shortest=3, longer=4, symbols=4, ngram=1)
    difficulty = dict(length=3, shortest=3, distinct=distinct, ngram=0)
    train, iid = halves(task, difficulty, 6, lambda e: tuple(string_of(e)))
    every = itertools.permutations(range(1, 5), 3) if distinct else itertools.product(range(1, 5), repeat=3)
    assert not train & iid
    assert train | iid == set(every)
    assert len(train) == len(iid)


def looked_up(string, size):
    """Copy a string by finding the n-gram just written where it occurs first; the first n-gram is given."""
    written = string[:size]
    while len(written) < len(string):
        found = next(i for i in range(len(string)) if string[i : i + size] == written[-size:])
        written = [*written, string[found + size]] if found + size < len(string) else [*written, None]
    return written


@pytest.mark.slow
def test_an_ngram_lookup_copies_distinct_strings_and_fails_on_duplicates():
    task = make("copy", length=8, shortest=8, longer=9, symbols=26, ngram=2)
    right = {}
    for split in ("distinct", "duplicates"):
        strings = [string_of(one(draw_split(task, split), i)) for i in range(500)]
        right[split] = np.mean([looked_up(s, 2) == s for s in strings])
        position_copy = [list(s) == s for s in strings]
        assert all(position_copy), "copying by position is right on both"
    assert right["distinct"] == 1
    # It survives only a doubling at the very end: the later of two places out of five is the last for 9 of 25 draws.
    assert within(right["duplicates"], 9 / 25, 500)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["iid", "length", "distinct", "duplicates"])
def test_shuffled_baseline_matches_a_simulation(split):
    task = make("copy", length=4, shortest=2, longer=5, symbols=6, distinct=0.5, ngram=1)
    generator, measured = np.random.default_rng(0), []
    batch = draw_split(task, split, 4096)
    for index in range(4096):
        string = string_of(one(batch, index))
        share = np.array([string.count(token) / len(string) for token in string])
        measured.append((np.array_equal(generator.permutation(string), string), np.log(share).mean()))
    assert agrees(measured, task.baselines(split)["shuffled"], 4096)
    sizes = task.splits[split].difficulty
    lengths = range(sizes["shortest"], sizes["length"] + 1)
    assert task.baselines(split)["chance"].exact == pytest.approx(np.mean([6.0**-n for n in lengths]))


@pytest.mark.parametrize("split", first_by_default(["iid", "distinct"]))
def test_ends_baseline_matches_a_simulation(split):
    task = make("copy", length=5, shortest=3, longer=6, symbols=6, distinct=0.5, ngram=1)
    generator, measured, batch = np.random.default_rng(0), [], draw_split(task, split, 4096)
    for index in range(4096):
        string = string_of(one(batch, index))
        middle = string[1:-1]
        nats = sum(np.log(middle.count(token) / len(middle)) for token in middle) / len(string)
        measured.append((np.array_equal(generator.permutation(middle), middle), nats))
    assert agrees(measured, task.baselines(split)["ends"], 4096)
    assert "ends" not in task.baselines("duplicates")
    assert "ends" not in make("copy", length=3, shortest=2, ngram=1).baselines("iid")


def test_small_alphabets_have_no_distinct_strings():
    assert set(make("copy", symbols=2).splits) == {"train", "iid", "length"}


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"symbols": 5}, "even"),
        ({"ngram": 5}, r"ngram must be a whole number in \[1, 4\]"),
        ({"distinct": 0.5, "symbols": 10}, "at least longer = 16"),
        ({"shortest": 9}, "shortest must be"),
        ({"direction": "sideways"}, "one of copy, reverse"),
    ],
)
def test_bad_sizes_are_named(sizes, said):
    with pytest.raises(TaskError, match=said):
        make("copy", **sizes)
