"""Calibration cards: which are chosen, how they are judged, and one trained through the engine."""

import dataclasses

import numpy as np
import pytest

from lab.checks import known_results
from lab.errors import UserError
from tasks import TASKS
from tasks.base import Card

CARD = Card(
    name="half",
    sizes={"facts": 64, "values": 16},
    expected={"iid": (0.9, 1.0), "tail": (0.0, 0.2)},
    about="",
    source="",
    seconds=1,
    steps=100,
    examples=4,
    rate=1e-6,
)


def curves(iid, tail=((0.1,), (0.1,))):
    values = {"iid": np.array(iid), "tail": np.array(tail)}
    return values | {"step": 100 * (1 + np.arange(values["iid"].shape[1]))}


@pytest.mark.parametrize(
    ("iid", "tail", "verdicts"),
    [
        (((0.5, 0.95), (0.5, 1.0)), ((0.1, 0.1), (0.1, 0.2)), [True, True]),
        (((0.5, 0.95), (0.5, 0.89)), ((0.1, 0.1), (0.1, 0.2)), [False, True]),  # every seed has to
        (((1.0, 0.95), (1.0, 0.95)), ((0.1, 0.1), (0.3, 0.3)), [True, False]),  # a predicted failure that learned
        (((1.0, np.nan), (1.0, 1.0)), ((0.1, 0.1), (0.1, 0.1)), [False, True]),  # diverged
    ],
)
def test_every_seed_must_end_where_the_card_says(iid, tail, verdicts):
    assert [agree for *_, agree in known_results.judge(CARD, curves(iid, tail))] == verdicts


@pytest.mark.parametrize(("iid_from", "agree"), [(4, True), (2, False), (9, False)])
def test_grokking_is_learning_twice_as_late(iid_from, agree):
    steps = np.arange(1, 9)
    card = dataclasses.replace(CARD, expected={}, groks=("iid", "tail"))
    learned = curves(np.tile(steps >= iid_from, (2, 1)) * 1.0, np.tile(steps >= 2, (2, 1)) * 1.0)
    assert [verdict for *_, verdict in known_results.judge(card, learned)] == [agree]


def test_cards_are_chosen_by_task_or_name():
    everything = [(task, card.name) for task, made in TASKS.items() for card in made.cards]
    assert [(t, c.name) for t, c in known_results.chosen([], everything=True)] == everything
    assert [(t, c.name) for t, c in known_results.chosen(["mqar"], False)] == [p for p in everything if p[0] == "mqar"]
    assert [(t, c.name) for t, c in known_results.chosen(["path_star/forward"], False)] == [("path_star", "forward")]
    subset = known_results.chosen([], everything=False)
    assert 0 < len(subset) < len(everything)
    assert {made.family for made in TASKS.values()} == {TASKS[task].family for task, _ in subset}
    assert any(card.predicted_failure for _, card in subset)
    assert sum(card.seconds for _, card in subset) <= 300
    with pytest.raises(UserError, match="Nearest: path_star"):
        known_results.chosen(["path_stra"], False)


@pytest.mark.slow
def test_a_card_runs_through_the_engine(capsys, monkeypatch):
    monkeypatch.setattr(known_results, "EVALUATIONS", 1)
    assert known_results.run("facts", CARD) is False  # a hundred steps at this rate teach nothing
    out = capsys.readouterr().out
    assert "NOT AS EXPECTED" in out
    assert "✗ expected iid 0.90–1.00; measured iid 0." in out
    assert "✓ expected tail 0.00–0.20; measured tail 0." in out
    assert "floor iid 0." in out


@pytest.fixture
def untrained(monkeypatch):
    """Both seeds end at the floor of one in sixteen; nothing is trained."""
    monkeypatch.setattr(known_results, "train", lambda study: curves(((1 / 16,), (1 / 16,))))
    monkeypatch.setattr(known_results, "use_every_core", lambda: None)


def test_a_card_that_could_not_fail_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(known_results, "train", None)
    vacuous = dataclasses.replace(CARD, expected={"tail": (0.4, 1.0)}, sizes={"facts": 4, "values": 2})
    with pytest.raises(UserError, match=r"facts/half: tail 0.4 to 1 cannot fail: a trivial predictor"):
        known_results.run("facts", vacuous)


def test_an_unmeasured_card_is_neither_as_expected_nor_not(untrained, capsys, monkeypatch):
    unknown = dataclasses.replace(CARD, expected={})
    monkeypatch.setattr(known_results, "chosen", lambda *_: [("facts", unknown), ("facts", CARD)])
    assert known_results.main([]) == 1
    monkeypatch.setattr(known_results, "chosen", lambda *_: [("facts", unknown)])
    assert known_results.main([]) == 0
    out = capsys.readouterr().out
    assert "facts/half: not measured before, so nothing is expected" in out
    assert "measured iid 0.062 0.062" in out
    assert "0 of 1 cards as expected, 1 not measured" in out
    assert "0 of 0 cards as expected, 1 not measured" in out
