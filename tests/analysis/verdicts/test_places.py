"""Claims at places of their own: each reading is taken where its place says, and judged as any other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.activations.measure import ProbeSite
from analysis.diagnosis import find
from analysis.diagnosis.diagnose import undiagnosed
from analysis.metrics.registry import METRICS
from analysis.report import answer, names, tables, verdicts_json
from analysis.results import ability_curve, claimed_floor
from analysis.results.places import readable
from analysis.verdicts import judge
from lab.study import ability, gain
from lab.study.places import PROBES
from tests.analysis import synthetic_study

GAINS = (
    gain("participation_ratio", -1, task="addition", stage="train"),
    gain("fisher_trace"),
    gain("fisher_trace", task="z6", step=2050),
)
ABILITIES = (
    "facts/iid",
    ability("z6", probe="linear"),
    ability("addition", measure="logprob"),
    ability("addition", probe="v_information", stage="train"),
    ability("z6", "iid", "token_accuracy", step=2050),
)


@pytest.fixture(scope="module")
def results():
    study = synthetic_study.study(seeds=5, sparsities=(0.0, 0.4, 0.8), gains=GAINS, abilities=ABILITIES)
    return synthetic_study.results(study)


@pytest.fixture(scope="module")
def findings(results):
    return find(results)


def test_a_reading_is_taken_at_its_task_step_and_column(results, findings):
    study = results.study
    evaluation = {int(step): e for e, step in enumerate(results.step)}
    assert len(findings.claims) == len(GAINS) * len(ABILITIES)
    for one in findings.claims:
        task = one.claimed.task or one.label
        assert one.site == ProbeSite(task, 2, "answer" if task != "z6" else "last")
        e = evaluation[one.claimed.step or 2200]
        column = results.columns[f"{one.site}/{one.metric}"][:, e]
        for s, seed in enumerate(one.gain.seed_S):
            for k, value in enumerate(one.gain.knob_K):
                (cell,) = (i for i, c in enumerate(study.cells) if (c["seed"], c["prune.sparsity"]) == (seed, value))
                gone = 0 <= results.diverged_at[cell] < results.step[e]
                np.testing.assert_equal(one.gain.values_SxK[s, k], np.nan if gone else column[cell])
    by_ability = {(b.label, b.split): b for b in findings.primary}
    assert list(by_ability) == [
        ("facts", "iid"),
        ("z6", "layer2/last/probe_accuracy"),
        ("addition", "iid/logprob"),
        ("addition", "layer2/answer/v_information@2000"),
        ("z6", "iid/token_accuracy@2050"),
    ]
    early = by_ability["addition", "layer2/answer/v_information@2000"].ability
    kept = results.columns["addition/layer2/answer/v_information"][:, evaluation[2000]]
    assert early.values_SxK.ravel(order="F").tolist() == kept.tolist()  # cells run over settings, then seeds


def test_a_stage_that_all_settings_share_shows_no_gain(findings):
    shared = [one for one in findings.claims if one.claimed.step == 2000]
    assert {one.verdict.kind for one in shared} == {"no gain shown"}
    assert {tuple(one.map.metric_change_K[np.isfinite(one.map.metric_change_K)]) for one in shared} == {(0.0,) * 3}


def test_a_probe_has_the_floor_of_states_that_say_nothing(results):
    assert claimed_floor(results, {}, "addition", "layer2/answer/v_information@2000") == 0
    assert claimed_floor(results, {}, "z6", "layer2/last/probe_accuracy") == pytest.approx(max(1 / 6, 44 / 1024))
    found = ability_curve(results, {}, "z6", "layer2/last/probe_accuracy")
    assert found.diverged_SxK.any()
    np.testing.assert_array_equal(found.values_SxK[found.diverged_SxK], 1 / 6)


def test_the_most_frequent_class_is_a_probes_floor_where_it_is_more_than_an_equal_share(results):
    uneven = {"z6/layer2/last/class_count_max": np.full((len(results.study.cells), len(results.step)), 512.0)}
    changed = dataclasses.replace(results, columns=results.columns | uneven)
    assert claimed_floor(changed, {}, "z6", "layer2/last/probe_accuracy") == 0.5


def test_states_that_are_all_alike_count_as_the_floor_and_are_not_left_out():
    study = synthetic_study.study(
        seeds=5, sparsities=(0.0, 0.4, 0.8), gains=(gain("two_nn"),), abilities=(ability("z6", probe="linear"),)
    )
    results = synthetic_study.results(study, diverged=False)
    collapsed = [i for i, cell in enumerate(study.cells) if cell["prune.sparsity"] == 0.8]
    results.columns["z6/layer2/last/probe_accuracy"][collapsed, -1] = np.nan
    (one,) = judge(results)
    np.testing.assert_array_equal(one.ability.values_SxK[:, -1], 1 / 6)
    assert one.map.shown("harmed")[-1]
    assert not one.map.diverged_K.any()


def test_information_below_0_is_none(results):
    early = (results.study.claim.placed_abilities[2], np.full((len(results.study.cells), len(results.step)), -0.2))
    assert early[0].probe == "v_information"
    assert not readable(results, *early).any()


def test_no_rule_is_asked_about_what_answers_at_the_end_do_not_show(findings):
    assert {(one.task, one.split) for one in findings.diagnoses} <= {("facts", "iid")}
    assert all(one.reading is not None for one in undiagnosed(findings.claims, findings.bounds))


def test_places_are_named_in_words(results, findings):
    study = results.study
    assert [names.gain(study, one) for one in study.claim.every_gain] == [
        "class separation (Fisher trace)",
        "number of directions (participation ratio) of addition mod 31 at the end of train",
        "class separation (Fisher trace) of products in Z6 at step 2,050",
    ]
    assert [names.ability(study, *pair) for pair in study.claim.abilities] == [
        "128 facts",
        "products in Z6 by probe accuracy",
        "addition mod 31 by log-probability",
        "addition mod 31 by V-information at the end of train",
        "products in Z6 by token accuracy at step 2,050",
    ]
    assert names.skill(study, "addition", "iid/logprob") == "log-probability on addition mod 31"
    said = " ".join(answer.answers(findings))
    assert "number of directions of addition mod 31 at the end of train is not shown to move" in said
    assert "costs no ability on 128 facts, products in Z6 by probe accuracy" in tables.claim_text(study)
    rows = tables.verdict_rows(findings)
    assert [row["score"] for row in rows[:: len(GAINS)]] == ["mean accuracy ", "", "", "", ""]


def test_the_verdicts_file_says_where_everything_was_read(findings):
    claims = verdicts_json.document(findings)["claims"]
    one = next(each for each in claims if each["ability"] == "addition/layer2/answer/v_information@2000")
    assert (one["metric"], one["place"], one["place_step"]) == ("fisher_trace", "addition/layer2/answer", 2200)
    assert (one["reading"], one["reading_step"]) == ("v_information", 2000)
    assert {(each["reading"], each["reading_step"]) for each in claims if each["ability"] == "facts/iid"} == {
        ("exact", 2200)
    }


def test_what_a_probe_may_read_is_a_metric_and_has_a_name():
    assert set(PROBES.values()) <= set(METRICS)
    assert set(PROBES.values()) <= set(names.MEASURES)


def test_layers_positions_factors_and_splits_are_named_where_they_are_set():
    words = names._where
    study = synthetic_study.study(seeds=1, sparsities=(0.0, 0.4))
    assert words(study, gain("two_nn", layer=1)) == " (layer 1)"
    assert words(study, gain("two_nn", task="path_star", layer=0)) == " (embedding)"
    second = study.mixture.task("path_star").read_names[1:2]
    for position in second:
        assert words(study, gain("two_nn", task="path_star", position=position)) == " (second read position)"
    both = gain("two_nn", task="z6", factor="previous_state", split="longer")
    assert words(study, both) == " (factor previous state, inputs of longer)"
