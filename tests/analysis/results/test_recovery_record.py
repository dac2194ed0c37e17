"""What an arm recovered, on planted outcomes; and that arms decide the diagnoses that rest on them."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from analysis.design import neutral_value
from analysis.diagnosis import find
from analysis.repair import ARMS
from analysis.report import console, repair_section, verdicts_json
from analysis.results import recovery_record
from analysis.results.recovery_record import KINDS, Repairs
from tests.analysis import synthetic_study
from tests.analysis.synthetic_study import outcome
from tests.tasks.task_cases import first_by_default


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (dict(recovered=0.4), "all of it"),
        (dict(recovered=0.3), "at least half"),
        (dict(recovered=0.1), "less than half"),
        (dict(recovered=0.0), "less than half"),
        (dict(recovered=-0.2), "worse than unchanged"),
        (dict(recovered=0.2, noise=0.06), "some of it"),
        (dict(recovered=0.0, unchanged=0.4), "nothing left"),
        (dict(recovered=-0.3, unchanged=0.4), "worse than unchanged"),
        (dict(arm="continue", unchanged=0.4), "all of it"),
        (dict(arm="continue", unchanged=0.3), "at least half"),
        (dict(arm="continue", unchanged=0.0), "less than half"),
        (dict(recovered=0.15, noise=0.3), "not shown"),
    ],
)
def test_what_was_planted_is_shown(planted, kind):
    one = outcome(**planted)
    assert one.kind(0.05) == kind
    assert kind in KINDS


def test_an_arm_is_counted_against_going_on_and_going_on_against_the_checkpoint():
    arm, control = outcome(recovered=0.1, unchanged=0.2, noise=0.0), outcome("continue", unchanged=0.2, noise=0.0)
    np.testing.assert_allclose([arm.lost_S[0], arm.recovered_S[0], arm.share], [0.2, 0.1, 0.5], atol=1e-12)
    np.testing.assert_allclose([control.lost_S[0], control.recovered_S[0], control.share], [0.4, 0.2, 0.5], atol=1e-12)


def test_nothing_recovered_is_rarely_called_a_recovery():
    """Sign flips hold their level: 400 arms that bring nothing back of a loss of .4."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(400):
        base = outcome(noise=0.0, recovered=0.0)
        unchanged = 0.55 + 0.05 * rng.standard_normal(len(base.seeds))
        after = 0.55 + 0.05 * rng.standard_normal(len(base.seeds))
        one = replace(base, unchanged=tuple(unchanged), after=tuple(after))
        found += one.p("some") <= 0.05
    assert 4 <= found <= 34  # 20 expected; three standard errors are 13


@pytest.mark.parametrize(
    ("moved", "recovered", "noise", "response"),
    [
        (2.0, 0.0, 0.002, "stays"),
        (2.0, 0.2, 0.01, "rises"),
        (2.0, -0.2, 0.01, "falls"),
        (2.0, 0.05, 0.05, "open"),
        (-2.0, 0.2, 0.01, None),  # the metric does not gain: nothing was tried
    ],
)
def test_a_latent_moved_by_a_second_route_has_a_response_of_the_ability(moved, recovered, noise, response):
    one = replace(outcome("variance_covariance", recovered=recovered, noise=noise), moved={"two_nn": (moved,) * 8})
    assert [route.response for route in recovery_record.routes(one, 0.05)] == ([response] if response else [])
    for route in recovery_record.routes(one, 0.05):
        assert (route.gain, route.metric) == (moved, "two_nn")
        assert route.change == pytest.approx(np.mean(np.asarray(one.after) - np.asarray(one.unchanged)))


def with_repairs(*outcomes, knob="prune.sparsity", change=None):
    """The findings of the synthetic study after some arms, and the diagnoses of facts, which break at 0.8, by cause."""
    results = synthetic_study.results(synthetic_study.study(knob=knob), diverged=False)
    far = np.asarray([cell[knob] != neutral_value(results.study) for cell in results.study.cells])
    columns = {name: values.copy() for name, values in results.columns.items()}
    if change:
        change(columns, far)
    findings = find(replace(results, columns=columns))
    facts = next(b for b in findings.bounds if (b.label, b.split) == ("facts", "iid"))
    placed = tuple(replace(one, setting=facts.harmful_from, delta=facts.delta) for one in outcomes)
    arms = {one.arm: ARMS[one.arm].about for one in placed}
    findings = findings.with_records(repairs=Repairs(400, arms, placed, ()) if placed else None)
    return findings, {one.cause: one for one in findings.diagnoses if (one.task, one.split) == ("facts", "iid")}


def pull(columns, far):
    columns["train/loss"][far] = columns["train/loss"][~far].mean(axis=0) + 0.5


@pytest.mark.parametrize(
    ("recovered", "status"), first_by_default([(0.35, "holds"), (0.05, "refuted"), (None, "not shown")], 2)
)
def test_relaxing_decides_over_regularization(recovered, status):
    arms = [] if recovered is None else [outcome("continue"), outcome("relax", recovered=recovered)]
    _, found = with_repairs(*arms, knob="label_smoothing.rate", change=pull)
    one = found["over-regularization"]
    assert one.status == status
    assert bool(one.needs) == (recovered is None)
    assert one.by == ("relax" if status == "holds" else "")
    if status == "holds":
        assert next(iter(found)) == "over-regularization"  # the strongest evidence first
        assert one.evidence["recovered by relax"] == pytest.approx(0.35 / 0.4, abs=0.1)


def test_what_further_training_under_the_penalty_brings_back_was_not_the_penaltys_doing():
    arms = outcome("continue", unchanged=0.4), outcome("relax", recovered=0.0, unchanged=0.4)
    _, found = with_repairs(*arms, knob="label_smoothing.rate", change=pull)
    assert (found["undertrained"].status, found["undertrained"].by) == ("holds", "continue")
    assert found["over-regularization"].status == "not shown"


@pytest.mark.parametrize(
    ("unchanged", "rewound", "recovered", "status", "by"),
    first_by_default(
        [
            (0.35, 0.0, 0.0, "holds", "continue"),
            (0.02, 0.02, 0.35, "holds", "relax"),
            (0.02, 0.35, 0.35, "holds", "rewind"),
            (0.02, 0.02, 0.02, "refuted", ""),
        ],
        2,
    ),
    ids=["optimization", "capacity", "optimization from early weights", "neither"],
)
def test_fine_tuning_rewinding_and_regrowth_decide_over_pruning(unchanged, rewound, recovered, status, by):
    def lose_the_tail(columns, far):
        columns["facts/tail/exact"][far] -= 0.3

    further = {"continue": 0.0, "rewind": rewound, "relax": recovered}
    arms = [outcome(arm, recovered=more, unchanged=unchanged) for arm, more in further.items()]
    _, found = with_repairs(*arms, change=lose_the_tail)
    assert (found["over-pruning"].status, found["over-pruning"].by) == (status, by)


@pytest.mark.parametrize(
    ("recovered", "status"), first_by_default([(0.35, "holds"), (0.02, "refuted"), (None, "suspected")], 2)
)
def test_a_new_readout_decides_an_elicitation_gap(recovered, status):
    def keep_information(columns, far):
        for name in columns:
            if name.endswith("/v_information"):
                columns[name][far] = columns[name][~far].mean(axis=0)

    arms = [] if recovered is None else [outcome("continue"), outcome("readout", recovered=recovered)]
    _, found = with_repairs(*arms, change=keep_information)
    assert found["elicitation gap"].status == status


def test_where_information_falls_there_is_no_elicitation_gap():
    def lose_information(columns, far):
        for name in columns:
            if name.endswith("/v_information"):
                columns[name][far] *= 0.5

    _, found = with_repairs(outcome("continue"), outcome("readout"), change=lose_information)
    assert found["elicitation gap"].status == "refuted"


def test_outcomes_come_back_from_their_file_only_for_the_cells_they_are_of(tmp_path):
    findings, _ = with_repairs(outcome("continue"), outcome("relax"))
    study = findings.study
    mine = replace(findings.records.repairs, parents=(study.key(study.cells[0], len(study.stages) - 1),))
    (tmp_path / "repair").mkdir()
    assert recovery_record.read(tmp_path, study) is None
    recovery_record.write(tmp_path, mine)
    assert recovery_record.read(tmp_path, study) == mine
    recovery_record.write(tmp_path, replace(mine, parents=("another",)))
    assert recovery_record.read(tmp_path, study) is None
    (tmp_path / recovery_record.FILE).write_text("{")
    with pytest.warns(UserWarning, match=r"repair\.json can't be read .*--repair reads them again"):
        assert recovery_record.read(tmp_path, study) is None


def test_the_report_says_what_was_recovered_and_what_was_not():
    findings, _ = with_repairs(outcome("continue"), outcome("relax", recovered=0.3), outcome("readout", recovered=0.0))
    mine = findings.in_stratum({})
    ((ability, text),) = repair_section.sentences(mine)
    assert ability == "128 facts"
    assert "At least half: `relax` (7" in text
    assert "Less than half: `continue` (1%) and `readout` (-" in text
    (top,) = repair_section.headline(mine)
    assert top.startswith("Repaired, at least by half, in 400 further steps: 128 facts by `relax` (7")
    rows = list(repair_section.rows(mine))
    assert [row["arm"] for row in rows] == ["continue", "relax", "readout"]
    assert repair_section.figure(mine).figure.axes
    records = json.loads(verdicts_json.text(findings))["repairs"]
    assert [record["outcome"] for record in records] == ["less than half", "at least half", "less than half"]
    assert records[1]["share"] == pytest.approx(findings.repairs[1].share, rel=1e-6)


def printed(table):
    terminal = Console(width=200, record=True, file=io.StringIO())
    terminal.print(table)
    return terminal.export_text()


@pytest.mark.slow
def test_the_terminal_names_the_stratum_of_every_row():
    """Rich takes [name=value] for a style and leaves it out unless it is escaped."""
    _, findings = synthetic_study.everything(strata=True)
    assert printed(console.verdict_table(findings)).count("[prune scope = layerwise]") == 12
    assert printed(console.repair_table(findings)).count("[prune scope = layerwise]") >= 3
