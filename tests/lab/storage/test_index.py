"""A checkpoint's index: no changed byte of it is believed, nor another directory's; earlier versions' stay readable."""

import json
from pathlib import Path

import pytest

from lab.storage import index
from lab.study.spec import digest
from tests.damage import flips, replaced

CELLS = ["0123456789abcdef", "fedcba9876543210"]
META = {
    "cells": CELLS,
    "stage": "train",
    "capacity": 4,
    "layout": {"platform": "cpu", "devices": 2, "width": 1, "chunk": 4},
    "abilities": ["facts/iid", "facts/rows"],
    "made_with": {"jax": "0.10.2", "device": "a CPU"},
    "checksums": {"params": 7, "state": 2**32 - 1, "history": 0},
}
PATH = Path("checkpoints") / f"train-{digest(CELLS)}" / "00000012"


def believed(text):
    """The index that a text is read as; None where it is damaged."""
    try:
        return index.verified(json.loads(text), PATH)
    except ValueError:
        return None


def test_what_was_sealed_is_verified_in_its_place_only():
    sealed = index.sealed(META, PATH)
    assert index.verified(json.loads(json.dumps(sealed)), PATH) == META
    for other in (PATH.with_name("00000009"), PATH.parent.with_name("train-fedcba9876543210") / PATH.name):
        with pytest.raises(ValueError, match="not the index that was written here"):
            index.verified(sealed, other)
    assert index.verified(index.sealed(META | {"spare": True}, PATH), PATH)["spare"] is True


@pytest.mark.parametrize("change", [flips, lambda content, count: replaced(json.loads(content), count)])
def test_no_change_of_a_sealed_index_is_believed(change):
    whole = json.dumps(index.sealed(META, PATH)).encode()
    for text in change(whole, 2000):
        assert believed(text) in (None, META), text


def test_an_index_of_an_earlier_version_is_read():
    assert index.verified(META, PATH) == META
    del (first := json.loads(json.dumps(META)))["made_with"]
    assert index.verified(first, PATH) == first


@pytest.mark.parametrize(
    "change",
    [
        {"cells": []},
        {"cells": CELLS[::-1]},
        {"cells": [CELLS[0]] * 2},
        {"cells": "train"},
        {"stage": 3},
        {"stage": "prune"},
        {"capacity": 1},
        {"capacity": True},
        {"layout": None},
        {"layout": {**META["layout"], "chunk": 0}},
        {"layout": {**META["layout"], "chunks": 4}},
        {"abilities": []},
        {"abilities": ["facts"]},
        {"abilities": ["facts/iid", "facts/iid"]},
        {"made_with": []},
        {"checksums": {"params": 7}},
        {"checksums": {**META["checksums"], "history": 0.5}},
        {"spare": 1},
        {"sparf": True},
    ],
)
def test_an_index_of_an_earlier_version_that_is_none_is_refused(change):
    with pytest.raises(ValueError, match="index"):
        index.verified(META | change, PATH)


def test_replacements_in_an_index_of_an_earlier_version_raise_nothing_else():
    for text in replaced(META, 500):
        believed(text)
