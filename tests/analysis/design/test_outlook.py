"""A design that can conclude nothing is said to be one, by what it lacks; one that can is left alone."""

import json

import pytest

from analysis.design import undecidable
from lab.study import axis, product, zipped
from tests.lab.conftest import study_of, tiny_config

NINE = tuple(step / 10 for step in range(9))


def sweep(values=NINE, seeds=5, *further):
    return product(*further, axis("prune.sparsity", values, stage="prune"), axis("seed", range(seeds)))


def claimed_on(knob):
    config = tiny_config()
    config.claim.knob = knob
    return config


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


@pytest.mark.parametrize(
    ("knob", "values", "said"),
    [
        ("prune.sparsity", (0.0, 1e-9, 0.5), "0 and 1e-09 of prune.sparsity come to the same number of pruned weights"),
        ("prune.sparsity", (0.0, 0.1, 0.5), ""),
        ("width.active", (1.0, 0.99999, 0.5), "0.99999 and 1 of width.active come to the same number of dimensions"),
        (
            "head_dim.active",
            (1.0, 0.52, 0.5),
            "0.5 and 0.52 of head_dim.active come to the same number of dimensions a",
        ),
        ("low_rank.rank", (1.0, 0.26, 0.27, 0.28), "0.26, 0.27 and 0.28 of low_rank.rank come to the same number of"),
        ("structured.heads", (0.0, 0.1, 0.2, 0.5, 0.6), "0, 0.1 and 0.2 of structured.heads come to the same number"),
        ("structured.neurons", (0.0, 0.5), ""),
        ("batch.share", (1.0, 0.5, 0.50000001), "0.5 and 0.50000001 of batch.share come to the same number of exa"),
        ("weight_decay.rate", (0.0, 1e-9), ""),
        ("optimizer.learning_rate", (0.1, 0.2), ""),
    ],
)
def test_values_that_round_to_one_setting_are_said(knob, values, said, tmp_path):
    study = study_of(grid=product(axis(knob, values), axis("seed", range(5))), config=claimed_on(knob))
    found = [sentence for sentence in undecidable(study, tmp_path) if "come to the same" in sentence]
    assert len(found) == bool(said)
    assert found == [] or found[0].startswith(said)


def test_values_that_round_alike_in_one_scope_only_are_two_settings(tmp_path):
    scopes = axis("prune.scope", ("global", "output"), stage="prune")
    assert not any(
        "come to the same" in one for one in undecidable(study_of(grid=sweep((0.0, 0.01), 5, scopes)), tmp_path)
    )
    output = axis("prune.scope", ("output",), stage="prune")
    assert any("0 and 0.01 of" in one for one in undecidable(study_of(grid=sweep((0.0, 0.01), 5, output)), tmp_path))


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
