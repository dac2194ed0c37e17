"""Early warning: readings against a loop, fits against scikit-learn, planted truths found, nothing seen too soon."""

import csv
import io
import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from analysis.activations.measure import claim_site
from analysis.forecast import __main__ as early
from analysis.forecast import predictors, views
from analysis.forecast.features import (
    ABILITIES,
    LATENTS,
    LOST_SO_FAR,
    POSITION,
    ForecastCase,
    cases,
    early_evaluation,
    lost,
    mechanism_of,
)
from analysis.results import NO_RECORDS
from lab.errors import UserError
from tasks.base import trivial
from tests.analysis import synthetic_study

U_K = np.arange(1, 9) / 8
KNOBS = ("prune.sparsity", "residual_dropout.rate", "label_smoothing.rate", "hidden_noise.sigma")
EARLY = -2  # the evaluation that the synthetic study is read at: step 2,050, a quarter of the way under the knob


@pytest.fixture(scope="module")
def tables():
    """Planted results of one study a mechanism."""
    studies = [synthetic_study.study(knob=knob, name=knob) for knob in KNOBS]
    return {one.claim.knob: synthetic_study.results(one, rng_seed=i) for i, one in enumerate(studies)}


@pytest.fixture(scope="module")
def judged_once():
    """`cases`, which judges every split's bounds, with what it gave before."""
    kept = {}

    def once(name, results, share, looks=None):
        assert looks is None
        key = name, id(results), share
        kept[key] = kept.get(key) or (results, cases(name, results, share))  # with it, so that no other gets its id
        return kept[key][1]

    return once


@pytest.fixture(scope="module")
def found(tables, judged_once):
    return [case for name, table in tables.items() for case in judged_once(name, table, 0.2) if case.learned]


def planted(seed=0, groups=6, each=3, truth="abilities", noise=0.02):
    """Cases with a cliff that moves from case to case; abilities, a latent, or nothing early predicts it."""
    rng, made = np.random.default_rng(seed), []
    for index in range(groups * each):
        edge = rng.uniform(0.2, 1.1)
        lost_K = np.clip((U_K - edge) / 0.2 + 0.5, 0, 1)
        readings = {name: rng.normal(size=8) for name in (*ABILITIES, *LATENTS)} | {POSITION: U_K}
        readings[LOST_SO_FAR] = rng.uniform(size=8)
        sign = {"abilities": LOST_SO_FAR, "latents": "participation_ratio"}.get(truth)
        if sign:
            readings[sign] = lost_K + noise * rng.normal(size=8)
        harmed = np.flatnonzero(lost_K > 0.5)
        broke = float(U_K[harmed[0]]) if len(harmed) else None
        made.append(
            ForecastCase(
                *("study", f"m{index // each}", "m.rate", f"task{index}/iid", {}, 100, 0.2, 0.9, 0.1, True),
                *(U_K, U_K, readings, lost_K, broke),
            )
        )
    return made


def skills(made, name, other=predictors.MEAN):
    predictions = {one: predictors.left_out(made, one) for one in (name, other)}
    return [
        predictors.score(errors(made, predictions[name]), errors(made, predictions[other])).skill
        for errors in (predictors.lost_errors, predictors.break_errors)
    ]


def same(a, b):
    return all(
        np.array_equal(x.lost_K, y.lost_K) and (x.broke, x.harmful) == (y.broke, y.harmful)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("neutral_gone", [False, True])
def test_readings_are_those_of_a_loop_over_cells(tables, found, neutral_gone):
    table, case = tables["prune.sparsity"], found[0]
    study = table.study
    if neutral_gone:  # so that a seed has nothing to compare with while it trains
        table = synthetic_study.results(study, diverged=(3,))
        case = cases("prune.sparsity", table, 0.25)[0]
    assert (case.mechanism, case.ability, case.step, case.share) == ("prune", "facts/iid", 2050, 0.25)
    np.testing.assert_allclose(case.u_K, U_K)
    use = next(use for use in study.tasks if use.label == "facts")
    floor = trivial(use.task, "iid")
    columns = {
        "exact": table.columns["facts/iid/exact"],
        "loss": -table.columns["facts/iid/logprob"],
        "pr": table.columns[f"{claim_site(study, 'facts')}/participation_ratio"],
        "silhouette": table.columns[f"{claim_site(study, 'facts')}/silhouette"],
    }
    at = {(cell["prune.sparsity"], cell["seed"]): i for i, cell in enumerate(study.cells)}
    neutral = [at[0.0, seed] for seed in range(8)]
    gone_by = {i for i in at.values() if 0 <= table.diverged_at[i] < 2050}
    assert bool(gone_by & set(neutral)) == neutral_gone
    assert gone_by
    alive = [i for i in neutral if i not in gone_by]
    for k, value in enumerate(synthetic_study.SPARSITIES[1:]):
        own = [at[value, seed] for seed in range(8)]
        there = [s for s in range(8) if not {own[s], neutral[s]} & gone_by]

        def mean(name, of, own=own, there=there):
            values = columns[name][:, EARLY]
            return np.mean([of(values[own[s]], values[neutral[s]]) for s in there])

        room = np.mean(columns["exact"][alive, EARLY]) - floor.exact
        small = 0.05 * abs(floor.logprob)
        expected = {
            LOST_SO_FAR: mean("exact", lambda x, y: y - x) / room,
            "log-probability": mean("loss", lambda x, y, c=small: np.log((x + c) / (y + c))),
            "participation_ratio": mean("pr", lambda x, y: np.log(x / y)),
            "silhouette": mean("silhouette", lambda x, y: x - y),
        }
        for name, reading in expected.items():
            assert case.readings[name][k] == pytest.approx(reading, abs=1e-6), name
        end = np.where(table.diverged_at >= 0, floor.exact, table.columns["facts/iid/exact"][:, -1])
        gone = np.mean([end[neutral[s]] - end[own[s]] for s in range(8)]) / (np.mean(end[neutral]) - floor.exact)
        assert case.lost_K[k] == pytest.approx(np.clip(gone, 0, 1))
    assert neutral_gone or case.broke == pytest.approx(5 / 8)  # the planted study is shown harmful from .5 of .8
    assert {name: case.learned for case in cases("x", table, 0.2) for name in [case.ability]}["path_star/iid"] is False


def test_nothing_but_the_early_evaluation_is_read(tables):
    table = tables["prune.sparsity"]
    rng = np.random.default_rng(1)

    def other(name, values):
        changed = rng.permuted(values, axis=0)
        changed[:, EARLY] = values[:, EARLY]
        return changed

    shuffled = replace(table, columns={name: other(name, values) for name, values in table.columns.items()})
    for one, two in zip(cases("a", table, 0.2), cases("a", shuffled, 0.2), strict=True):
        assert one.readings.keys() == two.readings.keys()
        assert all(np.array_equal(one.readings[name], two.readings[name], equal_nan=True) for name in one.readings)
        assert not np.array_equal(one.lost_K, two.lost_K) or not one.learned
    column = tables["label_smoothing.rate"].columns["z6/iid/exact"].copy()
    column[:, EARLY] = rng.permutation(column[:, EARLY])
    moved = replace(table, columns=table.columns | {"z6/iid/exact": column})
    assert not np.allclose(
        cases("a", moved, 0.2)[1].readings[LOST_SO_FAR], cases("a", table, 0.2)[1].readings[LOST_SO_FAR]
    )


def test_the_last_evaluation_within_the_share_else_the_first():
    study = synthetic_study.study()

    def at(saves, share, knob_from=1):
        stages = (study.stages[0], replace(study.stages[1], saves=saves))
        acts_from = {**study.acts_from, "prune.sparsity": knob_from}
        return early_evaluation(replace(study, stages=stages, acts_from=acts_from), share)

    before = len(study.stages[0].saves)
    assert at((2010, 2040, 2100, 2200), 0.2) == (before + 1, 0.2)  # 2,000, where settings part, is not read
    assert at((2100, 2150, 2200), 0.2) == (before, 0.5)
    assert at((2200,), 0.2) is None
    first = [step for step in study.stages[0].saves if step <= 440]
    assert at((2200,), 0.2, knob_from=0) == (len(first) - 1, first[-1] / 2200)
    assert mechanism_of(study) == mechanism_of(synthetic_study.study(knob="structured.heads")) == "prune"


def test_nothing_is_lost_where_nothing_was_there_and_missing_cells_are_left_out():
    exact_SxK = np.asarray([[0.9, 0.5, np.nan], [0.7, 0.3, np.nan], [np.nan, 0.1, 0.2]])
    np.testing.assert_allclose(lost(exact_SxK, 0.3), [0.4 / 0.5, np.nan])
    np.testing.assert_allclose(lost(exact_SxK, 0.78), [0.0, np.nan])
    np.testing.assert_allclose(lost(np.full((2, 3), np.nan), 0.1), [np.nan, np.nan])


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_ridge_is_scikit_learns(penalty):
    rng = np.random.default_rng(0)
    x_RxF, y_R, weight_R = rng.normal(3, 5, (40, 4)), rng.uniform(0.3, 0.6, 40), rng.uniform(0.1, 2, 40)
    x_RxF[rng.random((40, 4)) < 0.2] = np.nan
    x_RxF[:, 3] = 7.0  # says nothing
    share_R = weight_R / weight_R.sum()
    filled_RxF = x_RxF.copy()
    for f in range(4):
        there = np.isfinite(x_RxF[:, f])
        filled_RxF[~there, f] = np.average(x_RxF[there, f], weights=weight_R[there])
    centre_F = np.average(filled_RxF, axis=0, weights=weight_R)
    scale_F = np.sqrt(np.average((filled_RxF - centre_F) ** 2, axis=0, weights=weight_R))
    z_RxF = (filled_RxF - centre_F) / np.where(scale_F > 1e-9, scale_F, 1)
    known = Ridge(alpha=penalty).fit(z_RxF, y_R, sample_weight=share_R)
    fit = predictors.ridge(x_RxF, y_R, weight_R, penalty)
    np.testing.assert_allclose(fit(x_RxF), np.clip(known.predict(z_RxF), 0, 1), atol=1e-10)


def test_a_break_is_where_the_loss_stays_above_the_threshold():
    u_K = np.asarray([0.25, 0.5, 0.75, 1.0])
    for curve, expected in (
        ([0.0, 0.1, 0.6, 0.9], 0.75),
        ([0.6, 0.1, 0.6, 0.9], 0.75),
        ([0.9, 0.9, 0.9, 0.1], None),
        ([0.6, 0.6, 0.6, 0.6], 0.25),
        ([0.5, 0.5, 0.5, 0.5], None),
    ):
        assert predictors.crossing(u_K, np.asarray(curve), 0.5) == expected


def test_planted_truths_are_found_and_noise_is_not():
    made = planted()
    for skill in (*skills(made, "abilities"), *skills(made, predictors.NOW), *skills(made, "both")):
        assert skill > 0.8
    assert max(skills(made, "latents")) < 0.5  # they say nothing here
    latent = planted(seed=1, truth="latents")
    assert min(skills(latent, "latents")) > 0.8
    assert min(skills(latent, "both", other="abilities")) > 0.7
    noise = [skills(planted(seed=seed, truth=None), name)[0] for seed in (2, 3, 4) for name in ("abilities", "both")]
    assert max(noise) < 0.1


def test_a_left_out_mechanism_is_predicted_without_its_own_ends():
    made = planted(groups=4, noise=0.3)
    turned = [
        replace(case, lost_K=1 - case.lost_K, broke=0.125 if case.broke is None else None)
        if case.mechanism == "m0"
        else case
        for case in made
    ]
    for name in predictors.PREDICTORS:
        before, after = predictors.left_out(made, name), predictors.left_out(turned, name)
        assert same(before[:3], after[:3]), name
        assert not same(before, after) or name in (predictors.NONE, predictors.NOW), name  # these two fit no line


def test_mechanisms_weigh_alike_however_many_studies_they_have(found):
    twice = [case for case in found if case.mechanism == "prune"]
    for name in predictors.PREDICTORS:
        once, more = predictors.left_out(found, name), predictors.left_out([*found, *twice], name)[: len(found)]
        for one, other in zip(once, more, strict=True):
            np.testing.assert_allclose(one.lost_K, other.lost_K, atol=1e-9)
            assert (one.broke, one.harmful) == (pytest.approx(other.broke), other.harmful)


def test_where_nothing_breaks_the_mean_is_never_off_and_there_is_no_skill():
    """Weights of 1/9 leave 1e-16 of an error, which skill would divide by."""
    made = [replace(case, broke=None) for case in planted(groups=4, each=9)]
    errors_G = predictors.break_errors(made, predictors.left_out(made, predictors.MEAN))
    assert errors_G.tolist() == [0.0] * 4
    assert np.isnan(predictors.score(np.full(4, 0.1), errors_G).skill)


def test_the_skill_and_its_interval_are_those_of_all_resamples():
    error_G, other_G = np.asarray([0.1, 0.3, 0.2]), np.asarray([0.4, 0.2, 0.4])
    found = predictors.score(error_G, other_G)
    assert (found.skill, found.better, found.error) == (pytest.approx(0.4), 2, pytest.approx(0.2))
    every = [1 - error_G[list(p)].sum() / other_G[list(p)].sum() for p in itertools.product(range(3), repeat=3)]
    limits = np.quantile(every, (0.025, 0.975), method="inverted_cdf")
    assert (found.low, found.high) == tuple(pytest.approx(q) for q in limits)
    nothing = predictors.score(error_G, np.zeros(3))
    assert np.isnan([nothing.skill, nothing.low, nothing.high]).all()


class Opened(SimpleNamespace):
    """As much of an open study as the command looks at."""


@pytest.fixture
def opened(tables, judged_once, monkeypatch):
    """Directories named after knobs; change an entry to change what is found there."""
    directories = {
        name: Opened(
            study=table.study,
            judgeable=table,
            records=NO_RECORDS,
            cells=table.study.cells,
            finished=np.full(72, True),
        )
        for name, table in tables.items()
    }

    def open_study(path):
        if path.name not in directories:
            raise UserError(f"{path} is no work directory.")
        return directories[path.name]

    monkeypatch.setattr(early, "open_study", open_study)
    monkeypatch.setattr(early, "cases", judged_once)
    return directories


def test_the_command_prints_and_writes_what_was_scored(opened, found, tmp_path, capsys):
    assert early.main([*KNOBS, f"--out={tmp_path / 'a'}"]) == 0
    out = capsys.readouterr().out
    assert "4 mechanisms, 12 abilities, 96 settings" in out
    assert "path_star/iid left out: not shown learned" in out
    assert "the first evaluation is read: prune.sparsity (25%)" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a" / "early.csv").read_text())))
    assert len(rows) == 96
    predictions = predictors.left_out(found, "abilities")
    np.testing.assert_allclose([float(row["lost_by_abilities"]) for row in rows[:8]], predictions[0].lost_K, atol=1e-6)
    assert [row["broke"] for row in rows[::8]].count("") == 4  # addition never breaks
    drawn = (tmp_path / "a" / "early.svg").read_text()
    assert all(name in drawn for name in (*views.SHOWN, "residual_dropout"))
    assert early.main([*KNOBS, f"--out={tmp_path / 'b'}"]) == 0
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in ("early.csv", "early.svg")
    )


def test_a_study_that_is_still_training_is_predicted_from_what_is_there(opened, tables, capsys):
    table = tables["prune.sparsity"]
    done = np.asarray([cell["prune.sparsity"] <= 0.65 for cell in table.study.cells])
    columns = {name: np.where(done[:, None], values, np.nan) for name, values in table.columns.items()}
    running = Opened(
        **vars(opened["prune.sparsity"]) | {"judgeable": replace(table, columns=columns), "finished": done}
    )
    opened["mine"] = running
    assert early.main([*KNOBS, "--of=mine"]) == 0
    out = capsys.readouterr().out.partition("break of prune.sparsity expected at")[2]
    z6 = next(line for line in out.splitlines() if "z6/iid" in line)
    assert "0.3 (37%)" in z6  # planted: a cliff between .2 and .44
    assert "nowhere up to 0.6" in next(line for line in out.splitlines() if "addition/iid" in line)
    assert "broke at" not in out
    assert "leave-out error" in out
    assert "Of saying nowhere: ±" in out
    opened["mine"] = Opened(**vars(running) | {"judgeable": replace(table, columns={})})
    assert early.main([*KNOBS, "--of=mine"]) == 2
    assert "try again later" in capsys.readouterr().err


def test_bad_input_gets_one_sentence(opened, tables, tmp_path, capsys):
    half = np.arange(72) < 36
    opened["running"] = Opened(**vars(opened["prune.sparsity"]) | {"finished": half})
    once = replace(tables["prune.sparsity"].study.stages[1], saves=(2200,))
    study = replace(tables["prune.sparsity"].study, stages=(tables["prune.sparsity"].study.stages[0], once))
    opened["late"] = Opened(**vars(opened["prune.sparsity"]) | {"study": study})
    (tmp_path / "file").write_text("")
    for given, message in (
        (["none", *KNOBS], "none is no work directory"),
        ([*KNOBS, KNOBS[0]], "named twice"),
        ([*KNOBS, f"--of={KNOBS[0]}"], "among the studies to learn from"),
        ([*KNOBS[:2]], "3 mechanisms are the least to leave one out of, and prune and residual_dropout can be used"),
        ([*KNOBS[:2], "late"], "late is left out: nothing was evaluated"),
        (["running", *KNOBS], "36 of 72 cells are not trained to the end"),
        ([*KNOBS, "--of=late"], "--of=late: nothing was evaluated between where prune.sparsity begins to act"),
        ([*KNOBS[:3], "--of=running"], "--of=running: apart from its own mechanism, prune, there are 2 others"),
        ([*KNOBS, "--share=1.5"], "--share=1.5 must lie between 0 and 1"),
        ([*KNOBS, f"--out={tmp_path / 'file'}"], "can't be written"),
    ):
        assert early.main(given) == 2, given
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
