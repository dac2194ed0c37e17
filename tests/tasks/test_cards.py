"""Calibration cards: every one of them can fail."""

import dataclasses

import pytest

from tasks import TASKS, gallery, make
from tasks.base import WIDEST, Baseline, Card, TaskError

CARDS = {f"{name}/{card.name}": (name, card) for name, task in TASKS.items() for card in task.cards}
SEARCHED = (
    "maze",
    "topological_sort",
    "countdown",
    "nested_expression",
    "blocksworld",
    "sudoku4",
    "fuzzy_recall",
)  # their floors take seconds
CARD = Card(name="some", sizes={}, expected={"iid": (0.5, 1.0)}, about="", source="", seconds=1, steps=1)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if c[0] in SEARCHED else n for n, c in CARDS.items()]
)
def test_every_card_excludes_having_learned_nothing_or_everything(name):
    task, card = CARDS[name]
    assert card.measured
    assert all(high - low <= WIDEST for low, high in card.expected.values())
    made = make(task, **card.sizes)
    reaching = [split for split, (_, high) in card.expected.items() if high >= card.ceiling]  # the others exclude it
    assert not [split for split in reaching if card.vacuous(split, made.baselines(split))]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.3, 0.95), (0.5, 0.5), (0.9, 0.5), (-0.1, 0.3), (0.9, 1.1)])
def test_a_range_that_excludes_too_little_is_no_card(bounds):
    with pytest.raises(TaskError, match=r"card 'some': the range of iid must lie in \[0, 1\] and be at most 0.6 wide"):
        dataclasses.replace(CARD, expected={"iid": bounds})


def test_a_range_is_vacuous_from_the_floor_to_the_ceiling_only():
    def floor(exact, shortcut=0.0):
        return {"chance": Baseline(0.1, -1.0), "guess": Baseline(exact, -1.0), "shortcut": Baseline(shortcut, -1.0)}

    assert CARD.vacuous("iid", floor(0.5))
    assert not CARD.vacuous("iid", floor(0.49))
    assert not CARD.vacuous("iid", floor(0.49, shortcut=0.99)), "what solves the split is not its floor"
    assert not dataclasses.replace(CARD, expected={"iid": (0.4, 0.9)}).vacuous("iid", floor(0.5))


def test_an_unmeasured_card_says_so_in_the_gallery():
    unknown = dataclasses.replace(CARD, expected={})
    assert not unknown.measured
    assert dataclasses.replace(unknown, groks=("iid", "seen")).measured
    assert gallery._expected(unknown) == "not measured"
    assert gallery._expected(CARD) == "iid 0.5–1"
