"""An association over a grid, from the config to the report."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from analysis import repair
from analysis.activations.claimable import READINGS
from analysis.causal import __main__ as causal
from analysis.comparison import read
from analysis.design import matched_controls, setting_of, strata, undecidable, value_at
from analysis.diagnosis import find
from analysis.forecast import __main__ as forecast
from analysis.report import console
from analysis.report.shapes import association as views
from analysis.report.write import write_views
from analysis.simulation import pilot_noise, plan_power
from analysis.stats.association import spearman
from analysis.verdicts import associated, check, refinement
from lab.engine import make_plan
from lab.errors import UserError
from lab.study import axis, gain, product, tuned
from lab.study.parse import parse
from tests.analysis import synthetic_study
from tests.lab.conftest import LAYOUT, study_of, tiny_config


@pytest.fixture(scope="module")
def findings():
    return find(synthetic_study.results(synthetic_study.association(), diverged=[0]))


def test_settings_are_the_combinations_of_its_knobs(findings):
    study = findings.study
    check(study)
    assert (study.claim.knob, study.claim.knobs) == ("", ("weight_decay.rate", "prune.sparsity"))
    for cell in study.cells:
        assert value_at(study, setting_of(study, cell)) == {name: cell[name] for name in study.claim.knobs}
    assert len({setting_of(study, cell) for cell in study.cells}) == 8
    assert strata(study) == [{}]
    assert set(matched_controls(study)) == {None}
    lines = associated.lines(study, np.arange(8.0))
    assert lines["weight_decay.rate"].tolist() == [0, 1, 2, 3] * 2
    assert lines["prune.sparsity"].tolist() == [0] * 4 + [1] * 4
    part = synthetic_study.association(knobs=("prune.sparsity",), seeds=2, sparsities=(0.0, 0.2, 0.4, 0.6, 0.8))
    assert part.claim.knobs == ("prune.sparsity",)


def test_a_knob_left_out_is_a_stratum_and_too_few_settings_are_refused():
    with pytest.raises(UserError, match=r"2 settings of weight_decay\.rate are too few"):
        synthetic_study.association(knobs=("weight_decay.rate",))


def test_a_claim_is_the_correlation_of_its_cells(findings):
    assert (findings.claims, findings.bounds, findings.diagnoses) == ((), (), ())
    for one in findings.associations:
        assert one.found.whole.rho == pytest.approx(spearman(one.gain.values_SxK, one.ability.values_SxK))
        assert one.found.left_out == 1  # the diverged cell
        assert [each.name for each in one.found.beyond] == ["beyond training loss", "beyond log-probability"]
        names = [each.name for each in one.found.parts]
        assert names == ["between settings", "along weight_decay.rate", "along prune.sparsity", "between seeds"]
    z6 = findings.associations[1]
    assert z6.found.whole.rho > 0.5  # both fall along sparsity
    assert z6.adjusted_p >= z6.found.p


def test_a_cell_that_diverged_has_no_metric_either_where_it_was_read_before():
    early = synthetic_study.association(gains=(gain("participation_ratio", stage="train"),))
    whole = synthetic_study.results(synthetic_study.association(), diverged=())
    diverged_at = whole.diverged_at.copy()
    diverged_at[0] = 2100  # after the metric was read
    results = dataclasses.replace(whole, study=early, diverged_at=diverged_at)
    for one in associated.associate(results):
        assert one.found.left_out == 1
        assert np.isnan(one.gain.values_SxK).sum() == 1


def test_a_similarity_to_neutral_has_none_to_compare_with():
    config = tiny_config()
    config.claim.update(dict(kind="association", knob="", gains=dict(debiased_linear_cka_to_neutral=1)))
    with pytest.raises(UserError, match="similarity to the neutral cell, and an association has none"):
        check(parse(config, GRID, READINGS))


def test_other_commands_say_that_an_association_is_not_for_them(findings, tmp_path, monkeypatch):
    study = findings.study
    write_views(tmp_path, make_plan(study, LAYOUT), findings, synthetic_study.FACTS)
    with pytest.raises(UserError, match="an association over a whole grid, and this table"):
        read.read([tmp_path])
    with pytest.raises(UserError, match="an association over a whole grid, so that there is no noise"):
        pilot_noise.read(tmp_path, None, None)
    opened = SimpleNamespace(study=study)
    for module in (forecast, causal):
        monkeypatch.setattr(module, "open_study", lambda path: opened)
    with pytest.raises(UserError, match="an association over a whole grid, so that there is no knob"):
        forecast.open_test_study(tmp_path)
    with pytest.raises(UserError, match="an association over a whole grid, and edits"):
        causal.edit_activations(tmp_path)


def test_every_view_is_written_and_the_sentence_agrees(findings, tmp_path):
    study = findings.study
    write_views(tmp_path, make_plan(study, LAYOUT), findings, synthetic_study.FACTS)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("report.html", "report.md", "verdicts.json", "results.csv", "figures"),
    }
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"scatter.svg", "scatter.csv"}
    document = json.loads((tmp_path / "verdicts.json").read_text())
    assert (document["kind"], document["cells"]) == ("association", 40)
    one = document["associations"][0]
    assert (one["reading"], one["reading_step"], one["place_step"]) == ("exact", 2200, 2200)
    assert one["correlations"][0]["over"] == "all cells"
    assert one["kind"] == findings.associations[0].found.kind
    page = (tmp_path / "report.md").read_text()
    assert one["sentence"] in page
    assert not any("{{" in line or "{%" in line for line in page.splitlines())
    assert len(console.verdict_table(findings).rows) == 2 * 7
    assert [part.plain for part in console.map_of(findings)] == [f"• {text}" for text in views.answers(findings)]


def test_plan_and_refusals(tmp_path):
    study = synthetic_study.association()
    assert plan_power.lines(study, tmp_path) == []
    assert undecidable(study, tmp_path) == []
    with pytest.raises(UserError, match="--refine looks for breaks"):
        refinement.check_refinable(study, 4)
    with pytest.raises(UserError, match="--repair trains on from where an ability breaks"):
        repair.check(study, "", 0)


GRID = product(axis("prune.sparsity", (0.0, 0.2, 0.4, 0.6, 0.8), stage="prune"), axis("seed", (0, 1)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(knob="prune.sparsity"), r"config\.claim\.knob='prune\.sparsity' is for a claim along one knob"),
        (dict(knobs=("width.active",)), r"config\.claim\.knobs: 'width\.active' is not an axis"),
        (dict(knobs=("seed",)), r"'seed' is not an axis"),
        (dict(control=0.0), r"config\.claim\.control=0\.0 has no meaning for an association"),
        (dict(kind=None, knob="prune.sparsity", knobs=("prune.sparsity",)), r"claim\.knobs=.* is for an association"),
    ],
)
def test_mistakes_are_one_sentence(fields, message):
    config = tiny_config()
    config.claim.update({"kind": "association", "knob": "", **fields})
    with pytest.raises(UserError, match=message):
        study_of(config, GRID)


def test_nothing_is_tuned_away_in_an_association():
    config = tiny_config()
    config.claim.update(dict(kind="association", knob=""))
    grid = product(tuned(axis("optimizer.learning_rate", (0.001, 0.002))), GRID)
    with pytest.raises(UserError, match=r"'optimizer\.learning_rate' is tuned away"):
        study_of(config, grid)
