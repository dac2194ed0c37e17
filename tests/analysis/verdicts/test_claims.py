"""From results to curves, strata, verdicts and the table."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from analysis.activations.measure import Measurer, claim_site
from analysis.design import controls
from analysis.results import Results, collect, to_csv
from analysis.verdicts import claims
from lab.study import axis, product, zipped
from tasks.base import trivial
from tests.lab.conftest import PROGRAMS, study_of, tiny_config

SPARSITIES = tuple(round(0.1 * k, 1) for k in range(9))


def results_for(study, ability, gain, diverged=()):
    """Results of one evaluation from functions of a cell's (knobs, seed)."""
    site = claim_site(study, "facts")
    columns = {f"{site}/participation_ratio": np.asarray([[gain(cell)] for cell in study.cells])}
    for use in study.tasks:
        for split in use.splits:
            columns[f"{use.label}/{split}/exact"] = np.asarray([[ability(cell)] for cell in study.cells])
            columns[f"{use.label}/{split}/logprob"] = np.log(columns[f"{use.label}/{split}/exact"] + 1e-9)
            columns[f"{use.label}/{split}/token_accuracy"] = columns[f"{use.label}/{split}/exact"]
    at = np.full(len(study.cells), -1)
    at[list(diverged)] = 3
    return Results(study, np.asarray([18]), ("prune",), columns, at, (("x",),) * len(study.cells))


def pruning_study(*more):
    grid = product(axis("prune.sparsity", SPARSITIES, stage="prune"), axis("seed", range(8)), *more)
    return study_of(grid=grid)


def noise(cell):
    return 0.003 * np.sin(12.9898 * cell["seed"] + 78.233 * cell["prune.sparsity"] * 10)


def cliff(cell):
    return 0.95 - 0.9 * np.clip((cell["prune.sparsity"] - 0.4) / 0.2, 0, 1) + noise(cell)


def test_a_falling_metric_that_is_claimed_to_fall_is_a_gain():
    """participation_ratio has sign -1: it falls along the knob, the ability falls off a cliff: gain, then loss."""
    study = pruning_study()
    results = results_for(study, cliff, lambda cell: 9 - 5 * cell["prune.sparsity"] + noise(cell))
    (judged,) = claims.judge(results)
    assert (judged.metric, judged.sign) == ("participation_ratio", -1)
    assert (judged.verdict.kind, judged.shape.kind) == ("gain, then loss", "reversal")
    assert judged.verdict.break_between == (0.4, 0.5)
    assert 0.3 <= judged.shape.break_at <= 0.5
    assert judged.stands
    assert judged.gain.values_SxK.shape == (8, 9)
    assert judged.gain.values_SxK[0, 0] > judged.gain.values_SxK[0, -1]  # as it was read, not signed
    bounds = {(b.label, b.split): b for b in claims.bounds(results)}
    assert bounds["facts", "iid"].free_until == 0.4
    assert bounds["facts", "iid"].harmful_from == 0.5
    np.testing.assert_array_equal(bounds["facts", "iid"].map.p_K["harmed"], judged.map.p_K["harmed"])
    assert [b.primary for b in bounds.values()] == [True] + [False] * (len(bounds) - 1)


def test_a_rising_metric_that_is_claimed_to_fall_is_no_gain():
    results = results_for(pruning_study(), cliff, lambda cell: 9 + 5 * cell["prune.sparsity"] + noise(cell))
    (judged,) = claims.judge(results)
    assert judged.verdict.kind == "moves against the claim"


def test_diverged_cells_have_lost_their_ability_and_have_no_metric():
    study = pruning_study()
    index = 5 * 8 + 2  # sparsity 0.5, seed 2
    results = results_for(study, cliff, lambda cell: 9 - 5 * cell["prune.sparsity"], diverged=[index])
    (judged,) = claims.judge(results)
    assert judged.ability.values_SxK[2, 5] == judged.trivial
    assert np.isnan(judged.gain.values_SxK).nonzero() == ((2,), (5,))
    assert np.isfinite(judged.ability.values_SxK).all()
    assert judged.map.diverged_K.tolist() == [0] * 5 + [1] + [0] * 3
    assert judged.map.counted_K.tolist() == [8] * 9
    assert judged.logprob.values_SxK[2, 5] == trivial(study.tasks[0].task, "iid").logprob


def test_other_axes_are_strata():
    study = pruning_study(axis("weight_decay.rate", (0.0, 0.1)))
    flat = lambda cell: cliff(cell) if cell["weight_decay.rate"] else 0.9 + noise(cell)  # noqa: E731
    judged = claims.judge(results_for(study, flat, lambda cell: 9 - 5 * cell["prune.sparsity"] + noise(cell)))
    kinds = {one.stratum["weight_decay.rate"]: one.verdict.kind for one in judged}
    assert kinds == {0.1: "gain, then loss", 0.0: "gain for nothing"}


def test_a_neutral_value_at_the_far_end_is_compared_with():
    """The base learning rate is the highest: the claim is read downwards from it, and -1 means falling on the way."""
    config = tiny_config()
    config.claim.knob = "optimizer.learning_rate"
    config.knobs = dict(optimizer=dict(learning_rate=0.8))
    grid = product(axis("optimizer.learning_rate", SPARSITIES), axis("seed", range(8)))
    study = study_of(config, grid)
    claims.check(study)
    assert controls.neutral_value(study) == 0.8

    def ability(cell):  # flat from 0.8 down to 0.5, then off a cliff
        return 0.95 - 0.9 * np.clip((0.5 - cell["optimizer.learning_rate"]) / 0.2, 0, 1) + 0.001 * cell["seed"]

    for slope, kind in ((5, "gain, then loss"), (-5, "moves against the claim")):
        gain = lambda cell, slope=slope: 9 + slope * cell["optimizer.learning_rate"] + 0.001 * cell["seed"]  # noqa: E731
        results = results_for(study, ability, gain)
        (judged,) = claims.judge(results)
        assert judged.verdict.kind == kind
        assert judged.map.neutral_ability == pytest.approx(0.95, abs=0.01)
    bound = claims.bounds(results)[0]
    assert bound.free_until == 0.5
    assert bound.harmful_from == 0.4


def test_an_axis_zipped_with_the_claims_knob_is_no_stratum():
    rates = tuple(round(0.001 * (k + 1), 3) for k in range(9))
    grid = product(
        zipped(
            axis("prune.sparsity", SPARSITIES, stage="prune"), axis("optimizer.learning_rate", rates, stage="prune")
        ),
        axis("seed", range(8)),
    )
    study = study_of(grid=grid)
    assert controls.strata(study) == [{}]
    claims.check(study)


@pytest.mark.slow
def test_the_table_has_every_cell_and_evaluation_with_what_the_checkpoints_hold(trained, tmp_path):
    plan, store, _ = trained
    results = collect(plan, store, Measurer(plan.study, PROGRAMS, tmp_path), lambda *_: None)
    rows = list(csv.DictReader(io.StringIO(to_csv(results))))
    study = plan.study
    evaluations = sum(len(stage.saves) for stage in study.stages)
    assert len(rows) == len(study.cells) * evaluations
    assert len({(row["cell"], row["step"]) for row in rows}) == len(rows)
    for row in rows:
        assert 0 <= float(row["facts/iid/exact"]) <= 1
        assert float(row["facts/iid/logprob"]) < 0
        assert row["facts/iid/token_accuracy"] == row["facts/iid/exact"]  # its answers are one token
        assert 0 <= float(row["word/iid/exact"]) <= float(row["word/iid/token_accuracy"]) <= 1
        pruned = row["stage"] == "prune" and float(row["prune.sparsity"]) > 0
        assert (int(row["active_parameters"]) < int(row["parameters"])) == pruned
        assert float(row["training_flops"]) > float(row["flops_per_example"]) > 0
    dense = [row for row in rows if row["stage"] == "train"]
    shared = {}
    for row in dense:  # cells that share a prefix have the same numbers there, and say whose they are
        shared.setdefault((row["seed"], row["step"]), set()).add((row["trained_as"], row["facts/iid/logprob"]))
    assert all(len(values) == 1 for values in shared.values())
    from lab.storage import checkpoint

    saved, index = store.final(plan.nodes_of_cells()[0][-1].key)
    history = checkpoint.load(saved, "history")
    column = saved.meta["abilities"].index("facts/iid")
    last = next(r for r in rows if r["cell"] == study.key(study.cells[0], 1) and r["stage"] == "prune")
    assert float(last["facts/iid/exact"]) == pytest.approx(history["ability"][index, -1, column, 0], rel=1e-6)


def test_the_table_prints_numbers_settings_and_gaps_as_documented():
    """Seven significant digits, whole numbers as they are, an empty field where there is none."""
    scopes = axis("prune.scope", ("global", "layerwise"), stage="prune")
    study = study_of(grid=product(scopes, axis("prune.sparsity", (0.0, 0.25, 0.5), stage="prune"), axis("seed", (3,))))
    values, at = (1.0, -0.0, np.nan, 1 / 3, 2e-9, 12345678), np.asarray([-1, 3, 18, -1, -1, -1])
    columns, shared = {"a": np.asarray(values)[:, None], "b,c": -np.asarray(values)[:, None]}, (("x",), ("",)) * 3
    text = to_csv(Results(study, np.asarray([18]), ("prune",), columns, at, shared))
    assert text.splitlines()[0].startswith("cell,")
    assert text.splitlines()[0].endswith(',seed,stage,step,diverged_at,trained_as,a,"b,c"')
    expected = [
        {
            "cell": study.key(cell, 1),
            "prune.scope": cell["prune.scope"],
            "prune.sparsity": f"{cell['prune.sparsity']:g}",
            "optimizer.learning_rate": "0.002",
            "seed": "3",
            "step": "18",
            "diverged_at": "3" if step == 3 else "",
            "trained_as": key,
            "a": "" if np.isnan(value) else f"{value:.7g}",
            "b,c": "" if np.isnan(value) else f"{-value:.7g}",
        }
        for cell, step, (key,), value in zip(study.cells, at, shared, values, strict=True)
    ]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
