"""A claim over a categorical axis, from the config to the report: each value against the control."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from analysis.design import interim, matched_controls, setting_of, undecidable, value_at, values_of
from analysis.diagnosis import find
from analysis.report import answer, console, figures, map_figure, tables, verdicts_json, wording
from analysis.simulation import plan_power
from analysis.stats import categorical_map
from analysis.verdicts import check, refinement
from lab.errors import UserError
from lab.study import axis, product
from tests.analysis import synthetic_study
from tests.lab.conftest import study_of, tiny_config


@pytest.fixture(scope="module")
def findings():
    return find(synthetic_study.results(synthetic_study.categorical(), diverged=False))


def test_values_are_numbered_from_the_control(findings):
    study = findings.study
    check(study)
    assert (study.claim.kind, study.claim.control) == ("categorical", "swapped")
    assert values_of(study) == ("swapped", "own", "noise")
    assert {cell["thoughts.control"]: setting_of(study, cell) for cell in study.cells} == {
        "swapped": 0,
        "own": 1,
        "noise": 2,
    }
    assert value_at(study, 2.0) == "noise"
    controls = matched_controls(study)
    for cell, control in zip(study.cells, controls, strict=True):
        if cell["thoughts.control"] == "swapped":
            assert control is None
        else:
            assert study.cells[control] == {**cell, "thoughts.control": "swapped"}
    assert values_of(synthetic_study.categorical(control=None))[0] == "own"  # the neutral one


def test_every_claim_is_the_map_of_its_columns(findings):
    for one in findings.claims:
        column = {"swapped": 0, "own": 1, "noise": 2}
        assert one.ability.knob_K.tolist() == sorted(column.values())
        alone = categorical_map(one.sign * one.gain.values_SxK, one.ability.values_SxK, trivial=one.trivial)
        for name, p_K in alone.p_K.items():
            np.testing.assert_array_equal(one.map.p_K[name], p_K, err_msg=name)
        assert one.verdict.break_between is None
    assert all(bound.free_until is None and bound.harmful_from is None for bound in findings.bounds)
    assert all(bound.learned for bound in findings.primary)
    assert not findings.diagnoses


def test_the_report_names_values_and_no_break(findings):
    study, inside = findings.study, findings.in_stratum({})
    assert tables.claim_text(study).startswith("Against swapped, own and noise (thoughts control) raises")
    said = " ".join(answer.answers(inside))
    assert "better at another thoughts control than swapped?" in said
    assert "kept on 128 facts at own, and on products in Z6 at no value" in said
    assert "lost on 128 facts at noise, and on products in Z6 at every value" in said
    row = tables.verdict_rows(inside)[0]
    assert row["sentence"] == (
        "Class separation (Fisher trace) is higher than at swapped at every value, and at noise accuracy on 128 facts"
        " is lost."
    )
    assert row["bounds"] == "kept at own, lost at noise"
    assert "neutral" not in wording.how_tested(findings)
    assert {kind for kind, *_ in wording.kinds(study)} >= {"gain with loss", "transfers"}
    terminal = Console(width=100, record=True, file=io.StringIO())
    terminal.print(console.verdict_table(findings))
    for part in console.map_of(findings):
        terminal.print(part)
    text = terminal.export_text()
    assert "kept at" in text
    assert "┃" not in text.split("What is shown at each value")[1]
    assert "○ control" in text


def test_figures_have_named_columns_and_join_nothing(findings):
    inside = findings.in_stratum({})
    picture = map_figure.draw(inside)
    texts = [tick.get_text() for tick in picture.figure.axes[0].get_xticklabels()]
    assert texts == ["control\nswapped", "own", "noise"]
    series = {row["series"] for row in csv.DictReader(io.StringIO(picture.to_csv()))}
    assert "break" not in series
    ability = figures.abilities(inside).figure.axes[0]
    assert [tick.get_text() for tick in ability.get_xticklabels()] == ["swapped", "own", "noise"]
    assert [line.get_linestyle() for line in ability.lines if line.get_marker() == "o"] == ["None"]


def test_verdicts_json_says_it_by_value(findings):
    document = json.loads(verdicts_json.text(findings))
    assert document["knob"] == {
        "name": "thoughts.control",
        "neutral": "swapped",
        "values": ["swapped", "own", "noise"],
        "kind": "categorical",
    }
    claim, bound = document["claims"][0], document["bounds"][0]
    assert [(one["value"], one.get("kind")) for one in claim["settings"]] == [
        ("swapped", None),
        ("own", "gain for nothing"),
        ("noise", "gain with loss"),
    ]
    assert (claim["kind"], claim["break_at"], claim["shape"]) == ("gain with loss", None, None)
    assert (bound["shown_free_at"], bound["shown_harmful_at"], bound["shown_free_until"]) == (["own"], ["noise"], None)


def test_refinement_adds_seeds_and_no_values(findings):
    study = findings.study
    refinement.check_refinable(study, 4)
    looks = interim.begin(study, 4)
    assert interim.grid_of(looks, study).points
    bounds = [bound for bound in findings.bounds if bound.primary]
    assert not any(refinement.undetermined(bound) for bound in bounds)
    assert refinement.next_round(study, looks, findings.claims, bounds) is None


def test_the_plan_says_its_power(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_power, "FLIPS", 0)  # the fewest repetitions
    study = synthetic_study.categorical()
    (said,) = plan_power.lines(study, tmp_path)
    assert said.startswith("8 seeds × 3 values show at one value, next to a gain, a fall of the ability of 0.1 in ")
    assert undecidable(study, tmp_path) == []


def claimed(grid=None, **fields):
    config = tiny_config()
    config.claim.knob = "thoughts.control"
    config.knobs = dict(thoughts=dict(steps=1))
    config.claim.update(fields)
    return study_of(config, grid or product(axis("thoughts.control", ("own", "noise")), axis("seed", range(2))))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(control="swapped"), r"control='swapped' is not on the axis 'thoughts\.control', which has own, noise"),
        (dict(kind="map"), r"no order to break along.*or leave out config\.claim\.kind"),
        (dict(kind="mop"), r"config\.claim\.kind='mop' must be one of map, categorical"),
        (dict(below=-1), r"config\.claim\.below=-1 is for a knob with an order"),
        (dict(grid=product(axis("thoughts.control", ("own",)), axis("seed", (0,)))), "has one value"),
    ],
)
def test_mistakes_are_one_sentence(fields, message):
    with pytest.raises(UserError, match=message):
        claimed(**fields)


def test_values_at_test_are_compared_with_what_is_trained():
    grid = product(axis("thoughts.control", ("own", "swapped", "noise"), at="test"), axis("seed", range(2)))
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    config.claim.knob, config.knobs = "thoughts.control", dict(thoughts=dict(steps=1, control="swapped"))
    assert study_of(config, grid).claim.control == "swapped"


def test_a_control_means_nothing_to_a_map_and_numbers_may_be_categories():
    config = tiny_config()
    config.claim.control = 0.5
    with pytest.raises(UserError, match=r"config\.claim\.control=0\.5 is for a categorical claim"):
        study_of(config)
    config.claim.kind = "categorical"
    study = study_of(config)
    assert (values_of(study), study.claim.control) == ((0.5, 0.0), 0.5)
    check(study)
    assert study.claim_hash() != study_of().claim_hash()
