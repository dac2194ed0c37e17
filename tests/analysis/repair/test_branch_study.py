"""From a diagnosis to a branch and its outcomes, on the tiny study: which cells train on, from where, what is read."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from analysis.activations.measure import Measurer
from analysis.diagnosis import Diagnosis, find
from analysis.repair import ARMS, branch_study, carry_out, plan_repair
from analysis.results import Records, collect, recovery_record
from lab.engine import make_plan
from lab.engine.trainer import Trainer
from lab.errors import UserError
from lab.jobs.options import Options
from lab.jobs.session import Session
from lab.stop import Stop
from lab.storage import checkpoint, open_store
from lab.study import axis, product
from lab.study.spec import WEIGHTS
from tests.lab.conftest import LAYOUT, PROGRAMS, Silent, study_of, tiny_config

SPARSEST = 0.5


ARMS_TRIED = ("continue", "relax", "rewind", "readout", "curriculum")


@pytest.fixture(scope="module")
def read(trained, tmp_path_factory):
    """The tiny study's findings without diagnoses, and with bounds that say its first ability is lost at the end."""
    plan, store, _ = trained
    directory = tmp_path_factory.mktemp("readings")
    results = collect(plan, store, Measurer(plan.study, PROGRAMS, directory), lambda done, total: None)
    findings = find(results)
    bounds = [
        replace(bound, learned=True, harmful_from=SPARSEST if bound.primary else None) for bound in findings.bounds
    ]
    return replace(findings, bounds=tuple(bounds), diagnoses=())


@pytest.fixture(scope="module")
def repaired(trained, read, tmp_path_factory):
    """Everything that `--repair` does after the verdicts."""
    _, store, _ = trained
    repair_plan = plan_repair(read, "relax,rewind,readout,curriculum", 6)
    plan, directory = make_plan(repair_plan.study, LAYOUT), tmp_path_factory.mktemp("repair")
    there = open_store(directory, repair_plan.study, print)
    there.nodes |= store.nodes
    Trainer(plan, there, Silent(), PROGRAMS).run()
    measurer = Measurer(repair_plan.study, PROGRAMS, directory)
    found = branch_study.outcomes(read.study, plan, there, measurer, repair_plan, lambda done, total: None)
    return repair_plan, plan, there, found


@pytest.mark.slow
def test_a_repair_is_trained_in_a_directory_of_its_own_and_a_rerun_trains_nothing(trained, read, repaired, tmp_path):
    _, store, _ = trained
    repair_plan, *_, expected = repaired
    printed = io.StringIO()
    session = Session(Options(workdir=tmp_path), Console(file=printed), Stop(), PROGRAMS)
    assert carry_out(session, read.study, repair_plan, store) == expected
    assert recovery_record.read(tmp_path, read.study) == expected
    assert "Everything is trained" not in printed.getvalue()
    assert carry_out(session, read.study, repair_plan, store) == expected
    assert "Everything is trained" in printed.getvalue()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_every_arm_starts_from_the_broken_cells_and_neutral_ones_stay_unchanged(read, repaired):
    repair_plan, *_ = repaired
    seeds = {cell["seed"] for cell in read.study.cells}
    expected = {(0.0, seed, "continue") for seed in seeds}
    expected |= {(SPARSEST, seed, arm) for seed in seeds for arm in ARMS_TRIED}
    assert {(setting, seed, arm) for _, setting, seed, arm in repair_plan.cells} == expected
    assert list(repair_plan.arms) == list(ARMS_TRIED)


@pytest.mark.slow
def test_outcomes_are_what_the_checkpoints_recorded(read, repaired):
    results = read.results
    repair_plan, plan, store, found = repaired
    assert [(o.label, o.split, o.arm) for o in found.outcomes] == [
        (bound.label, bound.split, arm) for bound in read.primary for arm in repair_plan.arms
    ]
    nodes = [row[-1] for row in plan.nodes_of_cells()]
    for one in found.outcomes:
        for index, seed in enumerate(one.seeds):
            cell = repair_plan.cells.index(({}, SPARSEST, seed, one.arm))
            saved, row = store.final(nodes[cell].key)
            history = checkpoint.load(saved, "history")
            column = saved.meta["abilities"].index(f"{one.label}/{one.split}")
            assert one.after[index] == history["ability"][row, -1, column, 0]
            before = next(
                i for i, c in enumerate(results.study.cells) if c["seed"] == seed and c["prune.sparsity"] == SPARSEST
            )
            assert one.before[index] == results.ability(one.label, one.split)[before, -1]
        # The claim's knob stands still in these arms: what they do to the latents is a second route.
        assert {*one.moved} == ({"participation_ratio"} if one.arm in ("rewind", "curriculum") else set())
        _, unchanged, arm = one.latents["participation_ratio"]
        if one.moved:
            np.testing.assert_allclose(np.mean(one.moved["participation_ratio"]), unchanged - arm, rtol=1e-5)
        assert all(np.isfinite(one.latents[metric]).all() for metric, _ in results.study.claim.gains)


@pytest.mark.slow
def test_a_cell_that_diverged_takes_its_seed_out_of_the_pairs(read):
    results = read.results
    lost = next(i for i, c in enumerate(results.study.cells) if c["seed"] == 1 and c["prune.sparsity"] == SPARSEST)
    diverged = results.diverged_at.copy()
    diverged[lost] = 15
    repair_plan = plan_repair(replace(read, results=replace(results, diverged_at=diverged)), "relax", 6)
    assert (SPARSEST, 1) not in {(setting, seed) for _, setting, seed, _ in repair_plan.cells}


def diagnosed(findings, *diagnoses):
    """Findings with these (task, cause, status)."""
    made = (Diagnosis(task, "iid", {}, cause, status, SPARSEST) for task, cause, status in diagnoses)
    return replace(findings, diagnoses=tuple(made))


@pytest.mark.slow
def test_arms_are_run_where_causes_ask_for_them(read):
    assert [*plan_repair(read, "", 6).arms] == ["continue", "relax", "rewind", "readout"]
    assert "variance_covariance" in plan_repair(diagnosed(read, ("facts", "collapse", "holds")), "", 6).arms
    assert "variance_covariance" not in plan_repair(diagnosed(read, ("facts", "collapse", "refuted")), "", 6).arms
    asked = plan_repair(diagnosed(read, ("facts", "undertrained", "suspected")), "", 6).arms
    assert {"curriculum", "mixed_difficulty"} <= {*asked}  # never one without its control


def test_a_curriculum_fills_the_first_half_of_the_arms_steps():
    knobs = ARMS["curriculum"].knobs(study_of(), 18, 6)
    assert knobs == {"curriculum.order": "ramp", "curriculum.begins": 18, "curriculum.share": 3 / 12}
    assert ARMS["mixed_difficulty"].knobs(study_of(), 18, 6) == knobs | {"curriculum.order": "random"}
    assert ARMS["curriculum"].fits(study_of())
    config = tiny_config()
    config.knobs = dict(curriculum=dict(order="ramp"))
    assert not ARMS["curriculum"].fits(study_of(config))


def test_rewinding_says_to_which_step_and_is_left_out_with_a_sentence_where_no_early_checkpoint_is(read):
    rewind, repair_plan = ARMS["rewind"], plan_repair(read, "rewind", 6)
    assert rewind.knobs(read.study, 18, 6) == {WEIGHTS: 3}  # of the kept 3 and 12
    assert "go back to those of step 3," in repair_plan.arms["rewind"]
    config = tiny_config()
    config.saves.train = 1
    late = study_of(config)
    repair_plan = plan_repair(replace(read, results=replace(read.results, study=late)), "", 6)
    assert "rewind" not in repair_plan.arms
    (note,) = repair_plan.notes
    assert re.fullmatch(
        r"The arm 'rewind' is left out: no checkpoint is kept .*; raise config\.saves\.train .*\.", note
    )
    with pytest.raises(UserError, match=r"--arms=rewind: no checkpoint is kept"):
        branch_study.check(late, "rewind", 6)
    config = tiny_config()
    config.knobs = dict(prune=dict(regrow="set"))
    with pytest.raises(UserError, match=r"--arms=rewind: prune\.regrow moves the masks"):
        branch_study.check(study_of(config), "rewind", 6)


def test_only_a_knob_that_prunes_can_be_rewound():
    config = tiny_config()
    config.claim.knob = "weight_decay.rate"
    study = study_of(config, product(axis("weight_decay.rate", (0.0, 1.0)), axis("seed", range(3))))
    assert not ARMS["rewind"].fits(study)
    with pytest.raises(UserError, match=r"--arms=rewind means nothing for a study of weight_decay\.rate"):
        branch_study.check(study, "rewind", 6)


def test_activations_are_edited_where_a_shortcut_is_suspected(read):
    found = diagnosed(
        read, ("facts", "shortcut", "suspected"), ("word", "shortcut", "not shown"), ("word", "collapse", "suspected")
    )
    assert branch_study.suspected_shortcuts(found) == ["facts"]
    edits = {"facts/remove/factor/exact": np.zeros(len(read.study.cells))}
    assert branch_study.suspected_shortcuts(replace(found, records=Records(activation_edits=edits))) == []


def test_by_default_an_arm_has_a_fifth_of_the_studys_steps(read):
    assert plan_repair(read).steps == 3  # of 18, in calls of 3


@pytest.mark.parametrize(
    ("arms", "steps", "message"),
    [
        ("relex", 6, "there is no arm 'relex'.*relax"),
        ("anneal", 6, "--arms=anneal means nothing for a study of prune.sparsity"),
        ("relax", 7, "--repair_steps=7 must be a multiple of config.call_steps=3"),
        ("relax", 3 * 2**29, "--repair_steps=1610612736 must be at most 1,073,741,805"),
        ("teacherless", 6, "--arms=teacherless: .*no task .* feeds answers back"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_trains(arms, steps, message):
    with pytest.raises(UserError, match=message):
        branch_study.check(study_of(), arms, steps)


def test_a_knob_that_sizes_the_model_cannot_be_relaxed():
    config = tiny_config()
    config.claim.knob = "memory.tokens"

    study = study_of(config, product(axis("memory.tokens", (0, 2)), axis("seed", range(3))))
    with pytest.raises(UserError, match=r"--arms=relax means nothing for a study of memory\.tokens"):
        branch_study.check(study, "relax", 6)
