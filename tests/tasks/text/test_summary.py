"""Floors, lengths, unknown words and repeats equal a count by hand and by brute force; the command prints them."""

import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tasks.__main__ import main
from tasks.base import TaskError
from tasks.text import READERS, Dataset, Item, summaries, vocabulary
from tasks.text.items import blanks
from tests.tasks.text.made_up import FILES, OPTIONS, STORY, put

HEAD = [*("split", "items", "distinct", "answers", "commonest", "chance", "median", "longest", "answer", ">20"),
        "unknown", "repeats"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=4).map(" ".join)
ITEMS = st.lists(
    st.builds(Item, st.lists(TEXTS, max_size=2).map(tuple), TEXTS, TEXTS, st.lists(TEXTS, max_size=2).map(tuple)),
    min_size=1,
    max_size=8,
).map(tuple)


def dataset(**splits):
    return Dataset("made_up", splits, (), blanks, "", "")


@given(ITEMS, ITEMS, st.integers(1, 20))
def test_counts_equal_brute_force(train, test, limit):
    found = summaries(dataset(train=train, test=test), limit)["test"]
    known = [word for item in train for text in (*item.context, item.question, *item.choices, item.answer)
             for word in text.split()]  # fmt: skip
    unknown, lengths, repeats, distinct = [], [], 0, []
    for item in test:
        words = " ".join([*item.context, item.question, *item.choices]).split()
        lengths.append(len(words))
        unknown += [word for word in [*words, *item.answer.split()] if word not in known]
        asked = [item.context, item.question, item.choices]
        repeats += any(asked == [other.context, other.question, other.choices] for other in train)
        distinct += [asked] if asked not in distinct else []
    answers = [len(item.answer.split()) for item in test]
    assert vocabulary(dataset(train=train, test=test)) == set(known)
    assert (found.unknown, found.unknown_words) == (len(unknown), len(set(unknown)))
    assert (found.repeats, found.distinct, found.items) == (repeats, len(distinct), len(test))
    assert (found.longest, found.longest_answer) == (max(lengths), max(answers))
    assert found.over_limit == sum(a + b > limit for a, b in zip(lengths, answers, strict=True))
    often = max([item.answer for item in train].count(item.answer) for item in train)
    assert [item.answer for item in train].count(found.commonest) == often
    assert found.floor == pytest.approx([item.answer for item in test].count(found.commonest) / len(test))


def test_by_hand():
    train = (Item(("a b",), "c", "yes"), Item((), "d", "no"), Item((), "d", "no"))
    test = (Item((), "d", "no", ("no", "yes")), Item(("a b",), "c", "x y", ("x y", "z", "no", "yes")))
    of_train, of_test = summaries(dataset(train=train, test=test), 4).values()
    assert (of_train.items, of_train.distinct, of_train.answers, of_train.commonest) == (3, 2, 2, "no")
    assert (of_train.floor, of_train.chance, of_train.repeats) == (2 / 3, None, None)
    assert (of_train.median, of_train.longest, of_train.over_limit) == (1.0, 3, 0)
    assert (of_test.floor, of_test.chance, of_test.repeats) == (0.5, 0.375, 0)
    assert (of_test.longest, of_test.longest_answer, of_test.over_limit) == (8, 2, 1)
    assert (of_test.unknown, of_test.unknown_words) == (5, 3)  # x y z of the choices, x y of the answer


def test_without_train_nothing_is_unknown_and_the_floor_is_the_splits_own():
    (found,) = summaries(dataset(test=(Item((), "a", "x"), Item((), "b", "x"))), 1).values()
    assert (found.floor, found.unknown, found.unknown_words, found.repeats) == (1.0, None, None, None)
    assert vocabulary(dataset(test=(Item((), "a", "x"),))) == frozenset()
    with pytest.raises(TaskError, match="limit must be at least 1"):
        summaries(dataset(test=(Item((), "a", "x"),)), 0)


def test_the_command_lists_every_format(capsys):
    assert main(["text"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.split("\n\n")[0].splitlines()] == list(READERS)
    assert "a study can't name them" in listed


@pytest.mark.parametrize("name", READERS)
def test_the_command_shows_every_format(name, tmp_path, capsys):
    put(tmp_path, *FILES[name])
    assert main(["text", name]) == 0
    described = capsys.readouterr().out
    assert READERS[name].source in described
    assert all(f"--{option}=" in described for option in READERS[name].options)
    options = [f"--{key}={value}" for key, value in OPTIONS.get(name, {}).items()]
    assert main(["text", f"--data_dir={tmp_path}", "--show=1", *options, name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(described)
    assert shown.count("\n  Question: ") == 1
    assert ("There is no train split" in shown) == (name == "prontoqa")


def test_the_command_prints_the_table_and_a_few_items(tmp_path, capsys):
    put(tmp_path, "en/qa1_x_train.txt", STORY)
    put(tmp_path, "en/qa1_x_test.txt", STORY.replace("Cid", "Dot"))
    assert main(["text", "babi", f"--data_dir={tmp_path}", "--part=1", "--limit=20", "--show=2"]) == 0
    shown = capsys.readouterr().out
    rows = [re.split(r"  +", line.strip()) for line in shown.splitlines() if re.match(r"(split|train|test) {2,}", line)]
    assert rows == [
        HEAD,
        ["train", "3", "3", "3", "33.3%", "-", "16", "25", "3", "1", "0 (0)", "-"],
        ["test", "3", "3", "3", "33.3%", "-", "16", "25", "3", "1", "2 (1)", "2"],
    ]
    assert "  Ann is in the attic.\n  Bob is in the barn.\n  Question: Where is Ann?\n  Answer: attic\n" in shown
    assert shown.count("\n  Question: ") == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["babbi"], "Nearest: babi"),
        (["babi", "scan"], "one format, not babi, scan"),
        (["--data_dir=x"], "name the format"),
        (["babi", "--part=1"], "--data_dir=DIR"),
        (["babi", "--data_dir=.", "--part"], "unknown argument '--part'"),
        (["babi", "--data_dir=.", "-x"], "unknown argument '-x'"),
        (["babi", "--data_dir=nowhere"], "there is no folder nowhere"),
        (["babi", "--data_dir=.", "--limit=0"], "--limit=0 must be a whole number"),
        (["babi", "--data_dir=.", "--show=-1"], "--show=-1 must be a whole number"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, part, capsys):
    assert main(["text", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert part in said.err
    assert said.err.count("\n") == 1
    assert not said.out


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "text.md").read_text()
    _, code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for split in ("train", "test"):
        put(tmp_path / "babi", f"en-10k/qa2_made-up_{split}.txt", STORY)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["babi"].splits["train"][0].answer == "attic"
