"""Regular languages: automata against strings, exact halves, lengths, scratchpads, baselines."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import TaskError, make
from tasks.base import PROCESS
from tasks.reasoning.automata import CLASSES, LANGUAGES, STATES, SYMBOLS
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, within

LONGEST = 7
SIZES = dict(length=LONGEST - 2, longer=LONGEST)
PLAIN = {language: make("regular_language", language=language, **SIZES) for language in LANGUAGES}
VALID = {language: make("regular_language", language=language, scratchpad="valid", **SIZES) for language in LANGUAGES}
CHANCE = ("shortest", "longest", "held_out", "scratchpad")


def difficulty(shortest, longest, held_out=0, scratchpad=0.0):
    return dict(zip(CHANCE, (shortest, longest, held_out, scratchpad), strict=True))


def read(task, example):
    """The string, its states as written, the class as asked for, straight from the tokens."""
    symbols, classes = SYMBOLS[task.language], CLASSES[task.language]
    whole = [*example.tokens.tolist(), 0]
    text = "".join(symbols[t - 1] for t in whole if 1 <= t <= len(symbols))
    steps = example.targets[example.weights == PROCESS] - 1 - len(symbols) - classes
    return text, steps.tolist(), int(example.targets[example.weights == 1][0]) - 1 - len(symbols)


def walk(language, text):
    """States and class by the definitions of the docstring, one character after another."""
    states, value = [], 0
    for index in range(len(text)):
        prefix = text[: index + 1]
        if language == "parity":
            value = prefix.count("1") % 2
            states.append(value)
        elif language == "even_pairs":
            states.append(2 * (prefix[0] == "b") + (prefix[-1] == "b"))
            value = (prefix.count("ab") + prefix.count("ba")) % 2
        elif language == "cycle_navigation":
            value = sum({"<": -1, ".": 0, ">": 1}[c] for c in prefix) % 5
            states.append(value)
        elif index % 2 == 0:
            opened = max(prefix.rfind("+"), prefix.rfind("-"), 0)
            closed = eval(prefix[:opened]) if opened else 0
            value = eval(prefix) % 5
            states.append(5 * (closed % 5) + (value - closed) % 5)
    return states, value


@given(
    language=st.sampled_from(LANGUAGES),
    lengths=st.tuples(st.integers(1, LONGEST), st.integers(1, LONGEST)).map(sorted),
    held_out=st.integers(0, 1),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_class_states_and_factors_are_those_of_the_string(language, lengths, held_out, share, seed):
    task = VALID[language]
    shortest, longest = lengths
    batch = draw(task, difficulty(shortest, longest, held_out, share), 2 * LONGEST + 2, 8, seed)
    for index in range(8):
        example = one(batch, index)
        text, steps, answer = read(task, example)
        states, right = walk(language, text)
        assert answer == right
        if language == "modular_arithmetic":
            assert len(text) % 2 == 1
            assert min(shortest, (longest + 1) // 2 * 2 - 1) <= len(text) <= longest
        else:
            assert shortest <= len(text) <= longest
        marker = task.vocab_size - 1
        thinking = example.tokens[len(text)] == marker - 1
        assert thinking == bool(steps) == (thinking if share == 0.5 else bool(share))
        assert not thinking or (steps[:-1] == states and example.targets[len(text) + len(states)] == marker)
        assert example.read.tolist() == [len(text) + thinking * (len(states) + 1), len(text)]
        factors = {name: int(value) for name, value in example.factors.items()}
        count = {
            "parity": text.count("1"),
            "even_pairs": text.count("ab") + text.count("ba"),
            "cycle_navigation": text.count(">") - text.count("<") + LONGEST,
            "modular_arithmetic": 1 + text.count("+") + text.count("-"),
        }[language]
        previous = states[-2] if len(states) > 1 else 0
        assert factors == {"state": states[-1], "previous_state": previous, "length": len(text), "count": count}
        assert task.check((), example, example.targets)


@pytest.mark.parametrize("language", first_by_default(LANGUAGES))
def test_every_state_is_reached(language):
    states = draw(PLAIN[language], difficulty(LONGEST, LONGEST), LONGEST + 1, 4096).factors["state"]
    assert len(np.unique(states)) == STATES[language]


@pytest.mark.parametrize(("language", "length"), [("parity", 1), ("even_pairs", 4), ("cycle_navigation", 3)])
def test_train_and_iid_part_the_strings_exactly(language, length):
    parts = []
    for held_out in (0, 1):
        batch = draw(PLAIN[language], difficulty(length, length, held_out), LONGEST + 1, 4096)
        parts.append(set(map(tuple, batch.tokens[:, :length].tolist())))
    symbols = len(SYMBOLS[language])
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(itertools.product(range(1, symbols + 1), repeat=length))
    assert len(parts[0]) == (symbols + 1) // 2 * symbols ** (length - 1)


@pytest.mark.parametrize("language", ["parity", "even_pairs"])
def test_the_trained_half_of_the_bits_holds_both_classes_alike(language):
    """Mates belong to one class: a suffix that has been remembered tells nothing wrong of its mate."""
    answers = []
    for held_out in (0, 1):
        batch = draw(PLAIN[language], difficulty(4, 4, held_out), LONGEST + 1, 4096)
        strings = dict.fromkeys(map(tuple, batch.tokens[:, :4].tolist()))
        answers.append(sorted(walk(language, "".join(SYMBOLS[language][t - 1] for t in s))[1] for s in strings))
    assert answers == [[0] * 4 + [1] * 4] * 2


def test_lengths_are_uniform_and_the_length_split_lies_beyond_training():
    for language in LANGUAGES:
        task = PLAIN[language]
        train, longer = (draw_split(task, split).factors["length"] for split in ("train", "length"))
        step = 2 if language == "modular_arithmetic" else 1
        lengths, counts = np.unique(train, return_counts=True)
        assert lengths.tolist() == list(range(1, LONGEST - 1, step))
        assert all(within(c / train.size, 1 / len(lengths), train.size) for c in counts)
        assert longer.min() > train.max()
        assert longer.max() == LONGEST


def test_wrong_and_shuffled_scratchpads_leave_the_answer_right():
    for kind in ("wrong", "shuffled"):
        task = make("regular_language", language="cycle_navigation", scratchpad=kind, **SIZES)
        batch = draw_split(task, "iid")
        differing = 0
        for index in range(128):
            example = one(batch, index)
            text, steps, answer = read(task, example)
            states, right = walk("cycle_navigation", text)
            assert answer == right
            assert kind == "wrong" or sorted(steps[:-1]) == sorted(states)
            assert all(0 <= step < 5 for step in steps[:-1])
            differing += steps[:-1] != states
        assert differing > 32
        assert set(task.splits) == {"train", "iid", "length", "direct"}
        assert task.splits["direct"].length == SIZES["length"] + 1


@pytest.mark.parametrize("language", first_by_default(LANGUAGES))
def test_baselines_match_the_predictors_on_samples(language):
    """Both parts of the strings together, in their proportions, are uniform: the baselines are exact there."""
    task, tables = PLAIN[language], {}
    firsts = 5 if language == "modular_arithmetic" else len(SYMBOLS[language])
    for split in ("train", "iid"):
        share = (firsts + 1) // 2 / firsts if split == "train" else firsts // 2 / firsts
        batch = draw_split(task, split, 4096)
        last = batch.tokens[np.arange(4096), batch.read[:, 1] - 1]
        answers = batch.targets[np.arange(4096), batch.read[:, 0]]
        for key in zip(batch.factors["length"].tolist(), last.tolist(), answers.tolist(), strict=True):
            tables[key] = tables.get(key, 0.0) + share / 4096
    classes = sorted({answer for *_, answer in tables})
    marginal = np.array([sum(p for k, p in tables.items() if k[2] == c) for c in classes])
    known = {}
    for (length, last, answer), p in tables.items():
        known.setdefault((length, last), dict.fromkeys(classes, 0.0))[answer] += p
    rows = np.array([list(row.values()) for row in known.values()])
    baselines = task.baselines("train")
    assert baselines["chance"].exact == 1 / len(classes)
    assert baselines["majority"].exact == pytest.approx(marginal.max(), abs=0.04)
    assert baselines["last_symbol"].exact == pytest.approx(rows.max(axis=1).sum(), abs=0.05)

    def nats(shares):
        return -float(np.sum(shares[shares > 0] * np.log(shares[shares > 0])))

    assert baselines["majority"].logprob == pytest.approx(-nats(marginal), abs=0.01)
    assert baselines["last_symbol"].logprob == pytest.approx(nats(rows.sum(axis=1)) - nats(rows), abs=0.03)


def test_count_baseline_matches_looking_up_the_number_of_ones():
    """A table of training's strings knows up to so many ones as they have symbols."""
    task = make("regular_language", language="parity", length=5, longer=12)
    batch, right = draw_split(task, "length", 4096), []
    for row, answer in zip(batch.tokens.tolist(), batch.factors["state"].tolist(), strict=True):
        ones = row.count(2)
        right.append(float(ones % 2 == answer) if ones <= 5 else 0.5)
    baselines = task.baselines("length")
    assert within(np.mean(right), baselines["count"].exact, 4096)
    assert np.mean(np.array(right) == 0.5) == pytest.approx(-baselines["count"].logprob / math.log(2), abs=0.04)
    assert "count" not in task.baselines("iid"), "there it is the task"
    assert "count" not in make("regular_language", language="even_pairs").baselines("length")


def test_baselines_say_that_long_parity_is_a_coin():
    task = make("regular_language", shortest=20, length=20)
    assert {name: b.exact for name, b in task.baselines("iid").items()} == dict.fromkeys(
        ("chance", "majority", "last_symbol"), 0.5
    )
    assert task.baselines("iid")["majority"].logprob == pytest.approx(-math.log(2))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"language": "dyck"}, "language must be one of parity, even_pairs, cycle_navigation, modular_arithmetic"),
        ({"shortest": 21}, r"shortest must be a whole number in \[1, 20\], not 21"),
        ({"language": "modular_arithmetic", "length": 5, "longer": 6}, r"longer must be a whole number in \[7, 4096\]"),
        ({"scratchpad": "good"}, "scratchpad must be one of absent, valid, shuffled, wrong"),
        ({"scratchpad_share": 2}, r"scratchpad_share must be a number in \[0.0, 1.0\], not 2"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(TaskError, match=f"regular_language: {message}"):
        make("regular_language", **sizes)
