"""What `.ci/run` asks of the quick study: a map that shows nothing, or everything, does not pass."""

from __future__ import annotations

import copy

import pytest

from tests.test_command import ROOT, load

CHECK = load(ROOT / ".ci" / "check_quick.py")


def verdicts():
    settings = [{"value": value, "shown": ["against"]} for value in (0.24, 0.36, 0.48)]
    claims = [
        {"ability": ability, "metric": metric, "kind": "moves against the claim", "settings": settings}
        for ability in ("facts/uniform", "subtraction/iid")
        for metric in ("fisher_trace", "participation_ratio")
    ]
    bounds = [
        {"ability": "facts/uniform", "shown_free_until": 0.6, "shown_harmful_from": 0.84},
        {"ability": "facts/tail", "shown_free_until": None, "shown_harmful_from": None},
        {"ability": "subtraction/iid", "shown_free_until": 0.36, "shown_harmful_from": 0.6},
    ]
    return {"seeds": [*range(8)], "knob": {"values": [*range(9)]}, "claims": claims, "bounds": bounds}


def test_what_the_study_finds_passes():
    assert CHECK.missed(verdicts()) == []


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        (lambda v: v.update(seeds=[0, 1, 2]), ["8 seeds"]),
        (lambda v: v["bounds"][2].update(shown_free_until=None), ["subtraction/iid free"]),
        (lambda v: v["bounds"][2].update(shown_harmful_from=None), ["subtraction/iid harmed", "facts/uniform harmed"]),
        (lambda v: v["bounds"][0].update(shown_free_until=0.36), ["facts/uniform free"]),
        (lambda v: v["bounds"][0].update(shown_harmful_from=None), ["facts/uniform harmed"]),
        (lambda v: v["bounds"][0].update(shown_harmful_from=0.6), ["facts/uniform harmed"]),
        (lambda v: v["claims"][2].update(settings=[]), ["subtraction/iid, fisher_trace"]),
    ],
)
def test_what_it_does_not_find_is_named(change, lacks):
    found = copy.deepcopy(verdicts())
    change(found)
    missed = CHECK.missed(found)
    assert len(missed) == len(lacks)
    assert all(what.startswith(start) for what, start in zip(missed, lacks, strict=True))
