"""What a report says of how its cells were trained."""

import pytest

from analysis.report import answer, names
from analysis.report.tables import setting
from lab.engine import local_layout, make_plan
from lab.study import axis, product
from tests.analysis import synthetic_study
from tests.lab.conftest import study_of, tiny_config, tiny_sweep


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_the_setting_names_the_optimizer(name):
    config = tiny_config()
    config.knobs = dict(optimizer=dict(name=name))
    text = dict(setting(make_plan(study_of(config), local_layout())))["Training"]
    assert f"; {name}, learning rate 0.002 " in text
    assert "optimizer.name" not in text


def test_an_optimizer_on_an_axis_is_left_to_the_grid():
    study = study_of(grid=product(tiny_sweep(), axis("optimizer.name", ("sgd", "muon"))))
    assert "; optimizer as in the grid, learning rate" in dict(setting(make_plan(study, local_layout())))["Training"]


def test_the_answer_names_a_lone_gain_and_calls_it_rare():
    findings = synthetic_study.everything()[1]
    kept = [one for one in findings.claims if answer._is_kept(one).any()]
    rest = [one for one in findings.claims if not answer._is_kept(one).any()]
    lone, short = kept[0], names.short_gains(findings.study)
    (first, _) = answer.latent_answer(findings.study, [lone, *rest, *rest])
    assert f"Hardly: 1 of {1 + 2 * len(rest)} claimed gains is shown at a setting" in first
    assert f"({short[lone.claimed]} on {names.task(findings.study, lone.label)}, " in first
    (most, _) = answer.latent_answer(findings.study, findings.claims)
    assert f"In part: {len(kept)} of {len(findings.claims)} claimed gains are" in most
