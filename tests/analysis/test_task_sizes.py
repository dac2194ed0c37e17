"""Cells whose tasks differ in a static field: every number is that of a study whose config says the field."""

import numpy as np
import pytest

import analysis
from analysis.activations.claimable import READINGS
from analysis.activations.measure import Measurer
from analysis.causal.__main__ import cuts_of, measure_effects
from analysis.results import claimed_floor, collect
from analysis.verdicts import bounds, judge
from lab.engine import make_plan
from lab.jobs.workdir import Workdir
from lab.study import axis, product
from lab.study.parse import parse
from tests.lab.conftest import LAYOUT, PROGRAMS, carry_out, tiny_config

FIELD, KNOB = "task.word.group", "weight_decay.rate"
GROUPS = ("Z6", "A5")  # 6 and 60 elements: other vocabularies, floors and numbers of classes


def config_of(group="Z6"):
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    config.claim.knob, config.claim.gains = KNOB, dict(participation_ratio=-1)
    config.claim.abilities = ("facts/iid", "word/iid")
    config.probe.extra = ("within_class_collapse", "hessian_trace", "debiased_linear_cka_between_seeds")
    config.tasks.word.group = group
    return config


def study_of(config, grid):
    return parse(config, grid, READINGS)


def swept(*axes):
    return product(axis(KNOB, (0.0, 0.1)), *axes, axis("seed", range(2)))


def results_of(study, path):
    _, store, _ = carry_out(study, path)
    return collect(make_plan(study, LAYOUT), store, Measurer(study, PROGRAMS, path), lambda done, total: None)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("sized")


@pytest.fixture(scope="module")
def sized(path):
    return results_of(study_of(config_of(), swept(axis(FIELD, GROUPS))), path)


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_every_number_is_that_of_a_study_whose_config_says_the_field(sized, tmp_path, group):
    plain = results_of(study_of(config_of(group), swept()), tmp_path)
    mine = [i for i, cell in enumerate(sized.study.cells) if cell[FIELD] == group]
    assert sized.columns.keys() == plain.columns.keys()
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(sized.columns[name][mine], values, err_msg=name)


def opened(study, config, path):
    Workdir(path, study, config, LAYOUT).claim()
    return analysis.open_study(path)


@pytest.mark.slow
def test_what_is_read_on_call_is_of_the_cells_own_task(sized, path, tmp_path):
    """Metrics that take a number of classes, hidden states, and edits of activations: a program for each task."""
    config, grid = config_of("A5"), swept()
    carry_out(study_of(config, grid), tmp_path)
    plain = opened(study_of(config, grid), config, tmp_path)
    whole = opened(sized.study, config_of(), path)
    mine = {FIELD: "A5", KNOB: 0.0}
    cells = whole.select(mine)
    one, other = (o.measure("class_mean_simplex", w, label="word") for o, w in ((whole, mine), (plain, {KNOB: 0.0})))
    assert one["cell"].tolist() == list(cells)
    for name in one.keys() - {"cell"}:
        np.testing.assert_array_equal(one[name], other[name])
    blocks = [next(iter(o.hidden(w, label="word"))) for o, w in ((whole, mine), (plain, {KNOB: 0.0}))]
    np.testing.assert_array_equal(*(block.states_CxNxD for block in blocks))
    np.testing.assert_array_equal(*(block.labels_CxN for block in blocks))
    (cut,), (plain_cut,) = (cuts_of(o, "word", None, None, None) for o in (whole, plain))
    edits, plain_edits = (measure_effects(o, c).readings for o, c in ((whole, cut), (plain, plain_cut)))
    for name, values in plain_edits.items():
        np.testing.assert_array_equal(edits[name][list(cells)], values[list(plain.select({KNOB: 0.0}))], err_msg=name)


@pytest.mark.slow
def test_each_stratum_has_the_floor_of_its_own_task(sized):
    floors = {group: claimed_floor(sized, {FIELD: group}, "word", "iid") for group in GROUPS}
    for group, floor in floors.items():
        plain = study_of(config_of(group), swept())
        assert floor == max(one.exact for one in plain.tasks[1].task.baselines("iid").values())
    assert floors["A5"] < floors["Z6"]
    found = {(one.stratum[FIELD], one.label, one.split): one.trivial for one in bounds(sized)}
    assert {group: found[group, "word", "iid"] for group in GROUPS} == floors
    assert {one.trivial for one in judge(sized) if one.label == "word"} == {*floors.values()}


@pytest.mark.slow
def test_a_task_that_changes_along_the_claim_has_no_bounds(tmp_path):
    config = config_of()
    config.claim.knob, config.claim.abilities = FIELD, ("facts/iid",)
    found = results_of(study_of(config, product(axis(FIELD, GROUPS), axis("seed", range(2)))), tmp_path)
    assert {one.label for one in bounds(found)} == {"facts"}
    assert np.isfinite(found.columns["word/iid/exact"]).all()
