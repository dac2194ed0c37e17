"""A knob that is tuned away: what is chosen, on what, and that nothing else changes."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from analysis.activations.measure import Measurer
from analysis.design import interim, selection
from analysis.diagnosis import find
from analysis.metrics.registry import METRICS
from analysis.report import wording
from analysis.results import Records, collect
from lab.engine import make_plan
from lab.engine.evaluate import TUNING, evaluations, examples_of, names
from lab.errors import UserError
from lab.jobs.workdir import Workdir, read_study
from lab.storage import Store, checkpoint
from lab.study import axis, chain, grown, product, tuned
from lab.study.parse import parse
from tests.lab.conftest import LAYOUT, PROGRAMS, carry_out, study_of, tiny_config

RATES = (1e-5, 3e-3, 1e-2)


def grid(*, mark=tuned):
    sparsities = axis("prune.sparsity", (0.0, 0.5), stage="prune")
    return product(sparsities, mark(axis("optimizer.learning_rate", RATES)), axis("seed", range(2)))


def study(mark=tuned):
    return parse(tiny_config(), grid(mark=mark), METRICS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    plan, store, _ = carry_out(study(), tmp_path_factory.mktemp("tuned"))
    return plan, store


def readings(plan, store, cell):
    """{ability: (exact, logprob, token accuracy)} of a cell at the end."""
    final, row = store.final(plan.nodes_of_cells()[cell][-1].key)
    ability = checkpoint.load(final, "history")["ability"][row, -1]
    return dict(zip(final.meta["abilities"], map(tuple, ability.tolist()), strict=True))


@pytest.mark.slow
def test_every_setting_gets_its_best_value(trained):
    plan, store = trained
    settled, tuning = selection.settle(plan, store)
    assert tuning is not None
    assert tuning.trained == len(plan.study.cells) == 12
    labels = {label for label, _ in plan.study.claim.abilities}
    for setting in (0.0, 0.5):
        means = {
            rate: np.mean([
                readings(plan, store, i)[f"{label}/{TUNING}"][1]
                for i, cell in enumerate(plan.study.cells)
                if (cell["prune.sparsity"], cell["optimizer.learning_rate"]) == (setting, rate)
                for label in labels
            ])
            for rate in RATES
        }  # fmt: skip
        (choice,) = (one for one in tuning.choices if one.setting == setting)
        assert choice.values == {"optimizer.learning_rate": max(means, key=lambda rate: means[rate])}
        assert [score for _, score, _ in choice.scores] == pytest.approx([means[rate] for rate in RATES])
        left = [cell for cell in settled.study.cells if cell["prune.sparsity"] == setting]
        assert {cell["optimizer.learning_rate"] for cell in left} == {*choice.values.values()}
        assert [cell["seed"] for cell in left] == [0, 1]
    assert {node.key for group in settled.program_groups for node in group.nodes} <= {
        *store.nodes
    }  # nothing is retrained


@pytest.mark.slow
def test_what_is_left_is_judged_as_one_study(trained, tmp_path):
    plan, store = trained
    settled, tuning = selection.settle(plan, store)
    results = collect(settled, store, Measurer(settled.study, PROGRAMS, tmp_path), lambda done, total: None)
    findings = find(results, Records(tuning=tuning))
    assert {str(one.stratum) for one in findings.claims} == {"{}"}
    assert findings.claims[0].ability.values_SxK.shape == (2, 2)
    text = " ".join(wording.limits(findings, settled))
    assert "optimizer.learning_rate was retuned at every value of prune.sparsity" in text
    assert "not retuned" not in text


@pytest.mark.slow
def test_choosing_reads_examples_of_its_own_and_leaves_the_others_alone(trained):
    plan, store = trained
    plain, known = carry_out_plain(store)
    for cell in range(2):
        with_tuning, without = readings(plan, store, cell), readings(plain, known, cell)
        assert {name: with_tuning[name] for name in without} == without
        assert {*with_tuning} - {*without} == {f"{use.label}/{TUNING}" for use in plan.study.tasks}
    evaluation = evaluations(study())[0]
    worlds = evaluation.mixture.worlds(jax.random.key(0))
    for label in ("facts", "word"):
        iid, apart = (examples_of(evaluation, 0, worlds, label, split) for split in ("iid", TUNING))
        assert iid.tokens.shape == apart.tokens.shape
        assert not np.array_equal(iid.tokens, apart.tokens)


def carry_out_plain(store):
    """The same cells where the rate is an axis like any other."""
    plan, known, _ = carry_out(study(mark=lambda each: each), store.workdir.parent / "plain")
    assert TUNING not in {name.partition("/")[2] for name in names(plan.study)}
    return plan, known


@pytest.mark.slow
def test_a_study_reads_back_what_it_tunes(tmp_path):
    Workdir(tmp_path, study(), tiny_config(), LAYOUT).claim()
    again = read_study(tmp_path, METRICS)
    assert again.tuned == ("optimizer.learning_rate",)
    assert again.cells == study().cells
    assert not study_of().tuned


def choose(scores):
    """The choice among three rates, one cell a score."""
    one = study()
    mine = [next(i for i, c in enumerate(one.cells) if c["optimizer.learning_rate"] == rate) for rate in RATES]
    score_C = np.full(len(one.cells), np.nan)
    score_C[mine] = scores
    return selection._choose(one, mine, score_C, {}, 0.0)


@pytest.mark.parametrize(
    ("scores", "best", "edge"),
    [
        ((-2.0, -1.0, -3.0), RATES[1], ()),
        ((-2.0, -1.0, -0.5), RATES[2], ("optimizer.learning_rate",)),
        ((-2.0, -np.inf, -3.0), RATES[0], ("optimizer.learning_rate",)),  # one diverged
        ((np.nan, np.nan, -3.0), RATES[2], ("optimizer.learning_rate",)),  # two are still to be trained
        ((-np.inf, -np.inf, -np.inf), RATES[0], ("optimizer.learning_rate",)),
    ],
)
def test_ends_and_lost_cells(scores, best, edge):
    found = choose(scores)
    assert found.values == {"optimizer.learning_rate": best}
    assert found.edge == edge


@pytest.mark.slow
def test_every_value_tried_is_in_the_table(trained):
    _, tuning = selection.settle(*trained)
    assert tuning is not None
    rows = list(csv.DictReader(io.StringIO(selection.to_csv(tuning, "prune.sparsity"))))
    assert [(row["prune.sparsity"], float(row["optimizer.learning_rate"])) for row in rows] == [
        (setting, rate) for setting in ("0", "0.5") for rate in RATES
    ]
    assert sum(int(row["chosen"]) for row in rows) == 2
    assert len(selection.document(tuning)) == 2


def test_a_refined_grid_gets_every_rate_at_a_new_setting():
    more = grown(grid(), "prune.sparsity", [({}, 0.25)], range(3))
    assert len(more.points) == 3 * 3 * 3
    assert [a.tuned for a in more.axes] == [False, True, False]


@pytest.mark.slow
def test_in_a_refined_study_the_first_looks_seeds_choose(trained, tmp_path):
    plan, store = trained
    looks = interim.first((0.0, 0.5), (1,), 2)
    interim.write(tmp_path, replace(looks, seeds=((1,), (0, 1))))
    _, tuning = selection.settle(plan, replace(store, workdir=tmp_path))
    assert tuning is not None
    for choice in tuning.choices:
        for values, score, _ in choice.scores:
            (cell,) = (
                i
                for i, each in enumerate(plan.study.cells)
                if each["seed"] == 1
                and each["prune.sparsity"] == choice.setting
                and each["optimizer.learning_rate"] == values["optimizer.learning_rate"]
            )
            read = readings(plan, store, cell)
            labels = dict.fromkeys(label for label, _ in plan.study.claim.abilities)
            assert score == pytest.approx(np.mean([read[f"{label}/{TUNING}"][1] for label in labels]))


def test_what_cant_be_tuned_away_is_said():
    with pytest.raises(UserError, match=r"'prune\.sparsity' can't be tuned away"):
        parse(tiny_config(), product(tuned(axis("prune.sparsity", (0.0, 0.5))), axis("seed", (0,))), METRICS)
    with pytest.raises(UserError, match="tuned away in one part"):
        chain(tuned(axis("optimizer.learning_rate", RATES)), axis("optimizer.learning_rate", (0.1,)))


def test_nothing_to_settle_leaves_the_plan():
    plan = make_plan(study_of(), LAYOUT)
    assert selection.settle(plan, Store(Path("nowhere"))) == (plan, None)
