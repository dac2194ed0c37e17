"""The search for shortcuts: what it finds where one is planted, what it leaves alone, and what memorizing gives."""

import dataclasses

import numpy as np
import pytest

from tasks import TASKS, make, shortcuts
from tasks.__main__ import main
from tasks.base import Baseline, TaskError
from tasks.shortcuts import asked_of, nearest, obvious, right
from tests.tasks.task_cases import draw_split

SMALL = make("induction", **TASKS["induction"].small[0])  # like N_BACK, and too small to search: 64 leaves are the task
LEAKY = make("induction", length=8, longer=9, symbols=16, margin=1, leak=0.7)
N_BACK = make("n_back", **TASKS["n_back"].small[0])  # a program that the conformance tests compile, too
PARITY = make("regular_language", language="parity", shortest=6, length=6, longer=7)


def batches(task, *splits, count=1024):
    return [asked_of(draw_split(task, split, count), 8) for split in splits]


def test_answers_are_read_in_order():
    (asked,), batch = batches(N_BACK, "iid"), draw_split(N_BACK, "iid", 1024)
    for index in range(20):
        places = np.flatnonzero(batch.weights[index])
        assert asked.place[index][asked.place[index] >= 0].tolist() == places.tolist()
        assert asked.answer[index][asked.answer[index] > 0].tolist() == batch.targets[index][places].tolist()
    assert right(asked, asked.answer).all()
    assert not right(asked, 1 + asked.answer).any()


def test_predictors_that_know_nothing():
    train, asked = batches(SMALL, "train", "iid")
    answers = obvious(train, asked)
    tokens = asked.tokens[:, :7]
    assert answers["the last token"][:, 0].tolist() == tokens[:, 6].tolist()
    assert answers["the token before the last"][:, 0].tolist() == tokens[:, 5].tolist()
    assert answers["the first token"][:, 0].tolist() == tokens[:, 0].tolist()
    often = [np.bincount(row).argmax() for row in tokens]
    assert answers["the token read most often"][:, 0].tolist() == often
    commonest = np.bincount(train.answer[:, 0]).argmax()
    assert set(answers["the commonest answer"][:, 0].tolist()) == {commonest}
    assert set(answers["the commonest token at each place"][:, 0].tolist()) == {commonest}


def test_memorizing_is_worse_than_a_coin_where_mates_have_opposite_answers():
    """Flipping a bit is the mate of a parity's string: whatever is most like a held-out string has the other answer."""
    train, asked = batches(PARITY, "train", "iid")
    share = right(asked, nearest(train, asked, PARITY.vocab_size)).mean()
    assert share == 0.0
    assert PARITY.baselines("iid")["majority"].exact == 0.5
    assert right(train, nearest(train, train, PARITY.vocab_size)).all(), "it has them by heart"


@pytest.mark.slow
def test_a_shortcut_that_is_not_declared_is_found(monkeypatch):
    declared = {one.split: one for one in shortcuts.search(LEAKY, 800, 0)}
    assert not declared["iid"].undeclared
    assert declared["iid"].reached["a decision tree"] > 0.6, "the leak is found"
    monkeypatch.setattr(type(LEAKY), "baselines", lambda task, split: {"chance": Baseline(0.25, -1.4)})
    found = {one.split: one for one in shortcuts.search(dataclasses.replace(LEAKY), 800, 0)}
    assert found["iid"].undeclared
    assert "**undeclared**" in shortcuts.rows([found["iid"]])


def test_where_an_ability_is_remembering_a_fitted_table_is_no_shortcut():
    assert not list(shortcuts.search(make("facts", facts=12, values=5), 100, 0))


@pytest.mark.slow
def test_the_command_prints_a_row_for_every_task(capsys):
    assert main(["shortcuts", "--examples=200", "modular", "facts"]) == 0
    printed = capsys.readouterr().out
    assert "| modular | iid | 0.557 swapped | " in printed
    assert "| facts | (none is disjoint) |" in printed
    assert printed.splitlines()[-1] == "Nothing undeclared."


def test_a_mistake_is_a_sentence(capsys):
    assert main(["shortcuts", "modula"]) == 2
    assert "Nearest: modular" in capsys.readouterr().err
    assert main(["shortcuts", "--examples=3"]) == 2
    assert "--examples=3 must be a whole number in [100, 100000]" in capsys.readouterr().err


def test_without_scikit_learn_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.tree", None)
    with pytest.raises(TaskError, match="pip install scikit-learn"):
        list(shortcuts.search(SMALL, 100, 0))


def test_a_scratchpad_is_not_read():
    """A predictor that read the right one would be given the answer."""
    task = make("group_word", **TASKS["group_word"].small[2])
    assert task.scratchpad == "valid"
    batch = draw_split(task, "length", 1024)
    asked, steps = asked_of(batch, batch.tokens.shape[1]), np.flatnonzero(np.any(batch.weights == 0.5, axis=0))
    assert steps.size
    assert not asked.tokens[:, 1 + steps].any(), "a step is read one place after it was due"
    assert np.array_equal(asked.tokens[:, : 1 + steps[0]], batch.tokens[:, : 1 + steps[0]])
    assert all(right(asked, answer).mean() < 0.5 for answer in obvious(asked, asked).values())
