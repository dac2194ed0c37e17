"""Reading a work directory loads no more than its reader asks for."""

import numpy as np
import pytest

from lab.storage import checkpoint, open_store


@pytest.fixture
def loads(monkeypatch):
    """(step, item) of everything that is loaded."""
    found, load = [], checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda saved, item: found.append((saved.step, item)) or load(saved, item))
    return found


def test_a_plan_reads_every_index_and_loads_nothing(trained, loads):
    plan, store, _ = trained
    notes = []
    brief = open_store(store.workdir, plan.study, notes.append, brief=True)
    assert not notes
    assert loads == []
    assert brief.nodes.keys() == store.nodes.keys()
    assert [saved.meta for saved in brief.nodes[min(brief.nodes)][0]] == [
        saved.meta for saved in store.nodes[min(store.nodes)][0]
    ]


def test_an_index_is_what_orbax_says_it_is(trained):
    workdir = trained[1].workdir
    assert checkpoint.scan(workdir, brief=True) == checkpoint.scan(workdir)


def test_small_items_are_loaded_once_for_all_readers_of_a_store(trained, loads, monkeypatch):
    plan, store, _ = trained
    opened = open_store(store.workdir, plan.study, print)
    before = len(loads)
    chunk, _ = opened.nodes[min(opened.nodes)]
    first, again = (checkpoint.load_once(chunk[-1], "history") for _ in range(2))
    assert first is again
    np.testing.assert_array_equal(first["step"], checkpoint.load(chunk[-1], "history")["step"])
    assert len(loads) == before + 1  # the one above
    monkeypatch.setattr(checkpoint, "SMALL", 0)
    fresh = open_store(store.workdir, plan.study, print)
    assert not any(saved.kept for chunk, _ in fresh.nodes.values() for saved in chunk)
