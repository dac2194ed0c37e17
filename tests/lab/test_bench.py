"""The benchmark of mechanisms: each is timed at work, and alone."""

import pytest

from lab import bench
from lab import knobs as registry
from lab.mechanisms import MECHANISMS


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_mechanism_is_timed_at_valid_values_at_which_it_alone_acts(mechanism):
    values = bench.settings(mechanism)
    assert registry.mechanisms_in_use([values]) == (mechanism,)
    for knob in MECHANISMS[mechanism].knobs:
        assert registry.checked(knob.name, values[knob.name], "") == values[knob.name]


def test_the_plain_program_has_none():
    assert registry.mechanisms_in_use([bench.settings("")]) == ()


def test_what_is_overridden_exists():
    assert set(bench.TYPICAL) <= set(registry.KNOBS)


def test_a_mechanism_that_cannot_act_on_the_task_says_why(monkeypatch):
    monkeypatch.setitem(bench.TYPICAL, "width.active", 0.505)  # not a whole number of dimensions a head
    row = bench.mechanism_row("width", bench.reference(*bench.SHAPES[0]), lambda: None, None)
    assert row.startswith("| width | width.active 0.505 | — | — | — |")
    assert "must be a whole number" in row
