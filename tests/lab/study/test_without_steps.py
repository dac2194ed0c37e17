"""Stages without steps, and budgets that are spent before a stage starts: what is refused, what is noted."""

import numpy as np
import pytest

from analysis.repair import branch_study
from lab.engine.branch import branch
from lab.errors import UserError
from lab.study import axis, product
from lab.study.parse import save_points
from tests.lab.conftest import study_of, tiny_config, tiny_sweep


def cut_config(**knobs):
    config = tiny_config()
    config.steps = dict(train=12, prune=0)
    config.knobs = knobs
    return config


def test_a_stage_without_steps_ends_where_it_starts_and_is_kept_once():
    study = study_of(cut_config())
    stage = study.stages[-1]
    assert (stage.start, stage.end, stage.steps, stage.saves) == (12, 12, 0, (12,))
    assert [study.steps_from(index) for index in (0, 1)] == [12, 0]
    assert save_points(0, 5, 3) == (0,)


def test_what_comes_before_it_and_after_it_is_as_without_it():
    alone, cut, after = tiny_config(), cut_config(), tiny_config()
    alone.stages, alone.steps, alone.saves = ("train",), dict(train=12), dict(train=2)
    plain = study_of(alone, product(axis("prune.sparsity", (0.0,)), axis("seed", range(3))))
    after.stages, after.steps, after.saves = (
        ("train", "prune", "tune"),
        dict(train=12, prune=0, tune=6),
        dict(train=2, prune=1, tune=1),
    )
    first, study = study_of(cut), study_of(after)
    assert first.key(first.cells[0], 0) == plain.cell_keys[0]
    assert study.stages[-1].start == 12
    assert study.schedule == study_of().schedule
    assert first.cell_keys[0] != study_of().cell_keys[0]


def test_arms_that_start_from_it_have_a_rate():
    study = branch(study_of(cut_config()), [(0, {})], 6)
    assert float(study.schedule_at(2)(np.int32(15))) > 0


def swept(knob, values, stage=None):
    return product(axis("prune.sparsity", (0.0, 0.5), stage="prune"), axis(knob, values, stage=stage))


@pytest.mark.parametrize(
    ("knobs", "grid", "message"),
    [
        ({"prune": {"over": 20}}, None, r"prune\.over=20 acts from stage 'prune'.*steps\.prune=0.*leave it at 1\."),
        ({"prune": {"regrow": "set"}}, None, r"prune\.regrow=set acts from stage 'prune'"),
        ({}, swept("tune.only", ("all", "readout")), r"tune\.only=readout acts from stage 'prune'"),
        ({}, swept("weight_decay.rate", (0.0, 0.1), "prune"), r"weight_decay\.rate=0\.1 acts from stage 'prune'"),
        (
            {},
            swept("optimizer.learning_rate", (0.1, 0.2), "prune"),
            r"_rate=0\.1 acts.*give the stage steps\.$",
        ),
    ],
)
def test_what_needs_steps_is_refused_where_none_follow(knobs, grid, message):
    with pytest.raises(UserError, match=message):
        study_of(cut_config(**knobs), grid or tiny_sweep())


def test_what_changes_a_model_at_once_is_allowed():
    for knob, neutral in (("structured.heads", 0.0), ("spectral_cap.norm", 1e6), ("low_rank.rank", 1.0)):
        study_of(cut_config(), swept(knob, (neutral, 0.5), "prune"))


def test_the_first_stage_must_train():
    config = tiny_config()
    config.steps = dict(train=0, prune=6)
    with pytest.raises(UserError, match=r"config\.steps\.train=0: a stage without steps learns nothing"):
        study_of(config)


def test_a_budget_that_is_spent_early_is_noted_and_its_arms_are_refused():
    config = tiny_config()
    config.knobs = {"budget": {"steps": 12}}
    study = study_of(config)
    (note,) = study.notes
    assert note.startswith("budget.steps=12 is spent before the study ends at step 18: stage 'prune' and repair arms")
    with pytest.raises(UserError, match=r"--repair: budget\.steps of at most 12 is spent before .* step 18"):
        branch_study.check(study, "", 6)
    config.knobs = {"budget": {"steps": 15}}
    (note,) = study_of(config).notes
    assert "step 18: repair arms that keep it" in note
    config.knobs = {"budget": {"steps": 18}}
    assert not study_of(config).notes
