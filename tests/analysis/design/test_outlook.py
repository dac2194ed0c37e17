"""A design that can conclude nothing is said to be one, by what it lacks; one that can is left alone."""

import json

import pytest

from analysis.design import undecidable
from lab.study import axis, product, zipped
from tests.lab.conftest import study_of, tiny_config

NINE = tuple(step / 10 for step in range(9))


def sweep(values=NINE, seeds=5, *further):
    return product(*further, axis("prune.sparsity", values, stage="prune"), axis("seed", range(seeds)))


def untrained():
    config = tiny_config()
    config.tasks.facts.examples = dict(train=0, prune=0)
    return config


def test_nine_settings_and_five_seeds_are_enough(tmp_path):
    assert undecidable(study_of(grid=sweep()), tmp_path) == []


@pytest.mark.parametrize(
    ("config", "grid", "expected"),
    [
        (None, sweep(NINE[:8]), ["8 settings of prune.sparsity leave a break somewhere"]),
        (None, sweep(seeds=4), ["4 seeds can never reject at alpha=0.05"]),
        (None, sweep(NINE[:1], 1), ["1 setting of", "1 seed can", "The axis prune.sparsity has one value, 0.0"][:2]),
        (None, sweep(NINE, 5, axis("weight_decay.rate", (0.1,))), ["The axis weight_decay.rate has one value, 0.1"]),
        (None, sweep(NINE, 5, axis("prune.scope", ("layerwise",), stage="prune")), []),  # the stage says something
        (None, zipped(axis("prune.sparsity", NINE), axis("seed", range(9))), ["prune.sparsity and the seed change"]),
        (untrained(), sweep(), ["No stage trains facts"]),
    ],
)
def test_what_a_design_leaves_open_is_said(config, grid, expected, tmp_path):
    found = undecidable(study_of(config, grid), tmp_path)
    assert len(found) == len(expected)
    for sentence, beginning in zip(found, expected, strict=True):
        assert sentence.startswith(beginning)


@pytest.mark.parametrize(("seeds", "said"), [(5, True), (6, True), (7, False)])
def test_too_few_seeds_for_one_finding_among_several_claims_are_said(seeds, said, tmp_path):
    config = tiny_config()
    config.claim.gains = dict(participation_ratio=-1, two_nn=-1)
    found = undecidable(study_of(config, sweep(seeds=seeds)), tmp_path)
    assert [sentence.endswith("7 seeds are the least; add seeds, or claim less.") for sentence in found] == [
        True
    ] * said


@pytest.mark.parametrize(("neutral", "said"), [(0.999, True), (0.9, False), (None, False)])
def test_an_ability_at_its_ceiling_when_last_judged_is_said(neutral, said, tmp_path):
    claim = {"ability": "facts/iid", "neutral_ability": neutral, "delta": 0.05}
    (tmp_path / "verdicts.json").write_text(json.dumps({"claims": [claim, claim]}))
    found = undecidable(study_of(grid=sweep()), tmp_path)
    assert [sentence.startswith("facts/iid was 0.999") for sentence in found] == [True] * said


@pytest.mark.parametrize("text", ["", "[]", "3", '{"claims": 3}', '{"claims": [3, {}, {"ability": [1]}]}', "\0"])
def test_verdicts_that_cannot_be_read_say_nothing(text, tmp_path):
    (tmp_path / "verdicts.json").write_text(text)
    assert undecidable(study_of(grid=sweep()), tmp_path) == []
