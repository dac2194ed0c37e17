"""Static fields of tasks as axes: keys as of a config that says so, a program each, and what can't be compared."""

from types import SimpleNamespace

import numpy as np
import pytest

from analysis.activations import linear_maps, measure, on_call
from analysis.activations.measure import Measurer
from analysis.design import outlook, strata
from analysis.diagnosis.broken_ability import BrokenAbility
from analysis.repair.arms import ARMS
from analysis.report import names, tables, wording
from analysis.verdicts.refinement import _admits as admits
from lab.engine import evaluate, flops, make_plan
from lab.engine.branch import branch, can_change
from lab.errors import UserError
from lab.jobs import reproduce
from lab.study import axis, product, tuned, zipped
from lab.study.comparable import changing
from tasks import TASKS, make, sizes_of, with_sizes
from tests.lab.conftest import LAYOUT, PROGRAMS, study_of, tiny_config

FACTS = "task.facts.facts"
WORD = "task.word.group"
PLAIN = "weight_decay.rate"


def config_of(knob=PLAIN, **facts):
    config = tiny_config()
    config.stages, config.steps, config.saves = ("train",), dict(train=12), dict(train=2)
    config.claim.knob = knob
    config.tasks.facts.update(facts)
    return config


def swept(*axes):
    return product(axis(PLAIN, (0.0, 0.1)), *axes, axis("seed", range(2)))


@pytest.fixture(scope="module")
def sized():
    return study_of(config_of(), swept(axis(FACTS, (8, 12)), axis(WORD, ("Z6", "S3", "Z60"))))


@pytest.mark.parametrize(("facts", "group"), [(8, "Z6"), (12, "Z6"), (12, "Z60")])
def test_a_cell_has_the_key_of_a_study_whose_config_says_the_field(sized, facts, group):
    config = config_of(facts=facts)
    config.tasks.word.group = group
    plain = study_of(config, swept())
    mine = [i for i, cell in enumerate(sized.cells) if (cell[FACTS], cell[WORD]) == (facts, group)]
    assert [sized.cell_keys[i] for i in mine] == [*plain.cell_keys]
    assert [sized.key(sized.cells[i], 0) for i in mine] == [*plain.cell_keys]
    assert sized.at(sized.cells[mine[0]]).tasks == plain.tasks
    assert {sized.bare_spec(sized.cells[i]) for i in mine} == {plain.spec}
    costs = flops.planned(sized)
    assert [costs[i] for i in mine] == flops.planned(plain)


def test_each_value_is_a_program_with_its_own_tasks(sized):
    plan = make_plan(sized, LAYOUT)
    found = {(p.mixture, p.counts, p.spec) for p in (group.program for group in plan.program_groups)}
    assert len(found) == len(plan.program_groups) == 2 * 3
    assert plan.compiles_of_axes() == {FACTS: 3, WORD: 4}
    assert len(sized.variants) == 6
    assert len({tuple(evaluate.names(one)) for one in sized.variants}) == 1
    assert "task" not in {name for group in plan.program_groups for name in group.program.mechanisms}
    assert not can_change(sized, FACTS)


def test_a_study_without_such_an_axis_is_its_own_variant():
    study = study_of(config_of(), swept())
    assert study.at(study.cells[0]) is study
    assert study.variants == (study,)


def test_a_branch_keeps_the_tasks_of_its_cells(sized):
    one = next(i for i, cell in enumerate(sized.cells) if cell[FACTS] == 12)
    continued = branch(sized, [(one, {})], steps=6)
    assert continued.key(continued.cells[0], 0) == sized.cell_keys[one]
    assert sizes_of(continued.at(continued.cells[0]).use("facts").task)["facts"] == 12


def test_other_axes_of_tasks_are_strata_and_named_in_words(sized):
    assert len(strata(sized)) == 6
    assert wording.stratum_text(sized, {FACTS: 12, WORD: "S3"}) == "facts of facts = 12, group of group word = S3"
    assert names.task(sized, "facts") == "facts"
    assert names.task(study_of(config_of(), swept()), "facts") == "8 facts"


def test_a_claim_along_a_field_may_read_other_tasks_only():
    grid = product(axis(FACTS, (8, 12)), axis("seed", range(2)))
    config = config_of(FACTS)
    config.claim.abilities = ("word/iid",)
    assert changing(study_of(config, grid)) == {"facts": FACTS}
    with pytest.raises(UserError, match=r"the claim reads 'facts', and along it task\.facts\.facts makes another task"):
        study_of(config_of(FACTS), grid)
    with pytest.raises(UserError, match=r"the claim reads 'facts'"):
        study_of(config_of(), product(zipped(axis(PLAIN, (0.0, 0.1)), axis(FACTS, (8, 12))), axis("seed", range(2))))
    config = config_of("")
    config.claim.kind = "association"
    with pytest.raises(UserError, match=r"the claim reads 'facts'"):
        study_of(config, product(axis(PLAIN, (0.0, 0.1, 0.2)), axis(FACTS, (8, 12)), axis("seed", range(2))))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([axis(FACTS, (8, 0))], r"sweep\(\): task\.facts\.facts=0: facts: "),
        ([axis(FACTS, (8, 9.5))], r"task\.facts\.facts=9\.5 must be a whole number"),
        ([axis(FACTS, (8, "many"))], r"axis 'task\.facts\.facts': 'many' must be a number, as 8 is"),
        ([axis(WORD, ("Z6", "Z7"))], r"task\.word\.group='?Z7'?: group_word: group must be one of"),
        ([axis(WORD, ("Z6", 7))], r"axis 'task\.word\.group': 7 must be a name, as 'Z6' is"),
        ([axis(FACTS, (8, 12), at="test")], r"can't have at='test': its value is part of the model"),
        ([axis(FACTS, (8, 12), stage="later")], r"unknown stage 'later'"),
        ([tuned(axis(FACTS, (8, 12)))], r"makes another task of each value; none is best"),
        ([axis("task.facts.fatcs", (8, 12))], r"no such difficulty or size to turn\. Nearest: task\.facts\.facts"),
        (
            [axis("task.word.length", (2, 3)), axis(WORD, ("Z6", "S3")), axis("task.facts.values", (4, 10**9))],
            r"task\.facts\.values=",
        ),
    ],
)
def test_what_a_task_cannot_have_is_refused(axes, message):
    with pytest.raises(UserError, match=message):
        study_of(config_of(), swept(*axes))


def test_a_value_with_other_splits_is_refused():
    with pytest.raises(
        UserError, match=r"where task\.facts\.templates=3, the splits of 'facts' are .*paraphrase.*, and as"
    ):
        study_of(config_of(), swept(axis("task.facts.templates", (1, 3))))


@pytest.mark.parametrize(
    ("task", "turned", "field", "message"),
    [
        (dict(task="modular", p=7), axis("task.word.fraction", (0.6, 0.3)), axis("task.word.p", (7, 11)), ""),
        (
            dict(task="n_back"),
            axis("task.word.n", (3, 1)),
            axis("task.word.least_n", (1, 2)),
            r"where task\.word\.least_n=2, task\.word\.n=1 is out of range; it must lie in \[2, 3\]",
        ),
        (
            dict(task="addition", digits=4),
            axis("task.word.most_chain", (2, 1)),
            axis("task.word.carry_chain", (2, 1)),
            r"where task\.word\.carry_chain=1, 1 is the neutral value of 'task\.word\.most_chain', and 2 as",
        ),
    ],
)
def test_a_difficulty_is_turned_next_to_a_field_that_leaves_its_neutral_value(task, turned, field, message):
    config = config_of()
    config.tasks.word = dict(**task, examples=4)
    config.claim.abilities = ("facts/iid",)
    if not message:
        assert len(study_of(config, swept(turned, field)).variants) == 2
        return
    with pytest.raises(UserError, match=message):
        study_of(config, swept(turned, field))


def test_a_field_is_set_among_the_tasks_and_not_among_the_knobs():
    config = config_of()
    config.knobs = {"task": {"facts": {"facts": 12}}}
    with pytest.raises(UserError, match=r"config\.knobs\.task\.facts\.facts: .* is set as config\.tasks\.facts\.facts"):
        study_of(config, swept(axis(FACTS, (8, 12))))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_with_some_fields_changed_is_the_task_made_with_them(name):
    default = make(name)
    assert with_sizes(default, {}) == default
    for sizes in default.small:
        assert with_sizes(default, sizes) == make(name, **sizes)
    planted = make(name, spurious=0.5)
    assert with_sizes(planted, {"spurious": 0.25}) == make(name, spurious=0.25)


def sized_by(task, *axes, knob=PLAIN):
    config = config_of(knob)
    config.tasks.word = dict(**task, examples=4)
    return study_of(config, swept(*axes) if knob == PLAIN else product(*axes, axis("seed", range(2))))


def test_a_planted_difficulty_is_no_size_and_its_switch_is_asked_for():
    with pytest.raises(UserError, match=r"set config\.tasks\.word\.noise=True"):
        sized_by(dict(task="modular", p=7, spurious=0.5), axis("task.word.label_noise", (0.0, 0.5)))


@pytest.mark.parametrize(
    ("task", "field", "values"),
    [
        (dict(task="mqar", field=True), "vocabulary", (8192, 512)),  # a later field, at its default
        (dict(task="addition", scratchpad="valid"), "scratchpad", ("valid", "shuffled")),  # next to its share, a number
        (dict(task="iid_pairs", exponent=1), "exponent", (1, 0.5)),  # a whole number for a field that needn't be one
        (dict(task="modular", p=7, unordered=True), "unordered", (True, False)),
    ],
)
def test_every_field_that_holds_one_value_can_be_an_axis(task, field, values):
    study = sized_by(task, axis(f"task.word.{field}", values))
    assert [sizes_of(one.use("word").task).get(field, values[0]) for one in study.variants] == [*values]


def test_a_scratchpads_share_stays_a_difficulty():
    study = sized_by(dict(task="addition", scratchpad="valid"), axis("task.word.scratchpad", (1.0, 0.5)))
    assert study.task_sizes == ()
    assert study.own_knobs["task.word.scratchpad"].traced


def test_a_value_that_gives_other_factors_is_refused():
    with pytest.raises(UserError, match=r"where task\.word\.hops_low=2, the factors of 'word' are"):
        sized_by(dict(task="k_hop"), axis("task.word.hops_low", (1, 2)))


def test_refining_takes_only_settings_that_the_task_can_have():
    grid = product(axis("task.word.p", (31, 61)), axis("seed", range(2)))
    config = config_of("task.word.p")
    config.tasks.word = dict(task="modular", operation="div", p=31, examples=4)
    study = study_of(config, grid)
    assert [admits(study, {}, p) for p in (37, 34)] == [True, False]


def test_arms_and_tables_are_of_the_tasks_of_all_cells():
    task = dict(task="addition", scratchpad="valid", scratchpad_share=1.0)
    study = sized_by(task, axis("task.word.scratchpad_share", (1.0, 0.5)))
    assert ARMS["process_supervision"].fits(study)
    assert not ARMS["process_supervision"].fits(sized_by(task))
    study = sized_by(dict(task="modular", p=7), axis("task.word.p", (31, 61)))
    rows = [row for row in tables.task_rows(study) if row["label"] == "word"]
    assert [row["title"] for row in rows] == ["modular, p = 31", "modular, p = 61"]
    assert all(f"({p} values)" in row["factor"] for row, p in zip(rows, (31, 61), strict=True))
    assert study.longest_training == max(one.train_length for one in study.variants)


def test_a_field_with_one_value_is_to_be_set_among_the_tasks():
    study = sized_by(dict(task="modular", p=7), axis("task.word.p", (7,)))
    assert any("set config.tasks.word.p in its place" in text for text in outlook._nothing_compared(study))


def test_a_cell_is_named_by_a_field_that_is_true_or_false():
    study = sized_by(dict(task="modular", p=7, unordered=True), axis("task.word.unordered", (True, False)))
    assert reproduce._setting(study, "task.word.unordered", "False") is False
    assert reproduce._setting(study, "task.word.unordered", "no") is None


def test_cells_of_other_sizes_are_read_on_other_inputs(sized):
    cells = {}
    for index in range(len(sized.cells)):
        cells.setdefault(on_call._inputs(sized, index), []).append(index)
    assert len(cells) == 2 * 6
    with pytest.raises(
        UserError, match=r"against: no cell of seed 0 and task\.facts\.facts=8 and task\.word\.group=Z6"
    ):
        on_call._other(sized, {}, 0)


def test_a_broken_ability_has_the_splits_of_its_own_stratum():
    study = sized_by(dict(task="flip_flop", length=6, longer=8, reads=3), axis("task.word.reads", (3, 1)))
    results = SimpleNamespace(study=study)
    for reads in (3, 1):
        bound = SimpleNamespace(stratum={"task.word.reads": reads}, label="word")
        assert BrokenAbility(results, bound).splits["iid"].answer_tokens == reads


def test_few_distinct_inputs_of_one_size_are_named_next_to_many_of_another():
    study = sized_by(dict(task="modular", p=31), axis("task.word.p", (31, 7, 61)))
    kept = np.asarray([[0.04 if cell["task.word.p"] == 7 else 1.0] for cell in study.cells])
    site = measure.claim_site(study, "word")
    results = SimpleNamespace(columns={f"{site}/two_nn_kept": kept})
    findings = SimpleNamespace(study=study, results=results, claims=[SimpleNamespace(site=site)])
    (caution,) = wording._few_inputs(findings)
    assert f"modular, p = 7 ({round(0.04 * study.probe_examples)} distinct), against" in caution


def test_a_task_that_changes_along_the_claim_is_not_compared_with_neutral(tmp_path, monkeypatch):
    config = config_of(FACTS)
    config.claim.abilities = ("word/iid",)
    study = study_of(config, product(axis(FACTS, (8, 12)), axis("seed", range(2))))
    monkeypatch.setattr(linear_maps, "_measured", lambda measurer, pairs, knobs: [[0.5, 0.5]] * len(pairs))
    measurer = Measurer(study, PROGRAMS, tmp_path, keep=False)
    saved = SimpleNamespace(meta={"checksums": {"params": "x"}, "cells": ["k"], "stage": "train"})
    found = linear_maps.read(measurer, [((saved, 0), (saved, 0))], {"k": study.cells[0]})
    assert {name.split("/")[0]: bool(np.isnan(values).all()) for name, values in found.items()} == {
        "facts": True,
        "word": False,
    }
