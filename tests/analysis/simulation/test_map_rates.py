"""The map's rates on simulated truths, next to those expected of it; which zones and verdicts are true."""

import numpy as np
import pytest

from analysis.simulation import map_rates
from analysis.simulation.map_rates import measure, measure_free, null_study, standing
from analysis.simulation.map_truths import (
    EXPECTED_REPETITIONS,
    EXPECTED_SEEDS,
    NULL_CONDITIONS,
    NULLS,
    RIGHT,
    SILENT,
    WORST,
    ZONES,
    ability_change_K,
    loss_at,
    zone_K,
)
from analysis.simulation.scenarios import errors_apart
from analysis.simulation.simulator import PLAIN, TRUTHS, simulate
from analysis.stats import MISMATCHES, VERDICTS
from tests.analysis.conftest import slow_where

U = np.linspace(0, 1, 9)
QUICK = ("gain u; flat, then -.2", "inverse-U gain; -.2")


def generous(repetitions):
    """α with four Monte Carlo errors."""
    return 0.05 + 4 * np.sqrt(0.05 * 0.95 / repetitions)


@pytest.mark.parametrize(
    ("name", "n_seeds"),
    slow_where(lambda case: case[0] not in QUICK or case[1] != 6, [(n, s) for n in ZONES for s in EXPECTED_SEEDS]),
)
def test_zones_are_found_at_least_as_often_as_expected(name, n_seeds):
    one, repetitions = ZONES[name], 50
    rates = measure(one.truth, one.right, repetitions, n_seeds)
    expected = one.zone[EXPECTED_SEEDS.index(n_seeds)]
    assert errors_apart(rates.zone, repetitions, expected, EXPECTED_REPETITIONS) > -4
    assert rates.false_zone <= generous(repetitions)
    assert rates.false <= generous(repetitions)
    assert sum(rates.verdicts.values()) == repetitions


def test_a_weak_gain_is_found_more_often_than_without_moderation():
    one = ZONES["gain .2u; flat, then -.2"]
    assert measure(one.truth, one.right, 30, 5).zone > 0.53 + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("n_seeds", slow_where(lambda n: n != 6, [5, 6, 8, 12]))
@pytest.mark.parametrize("condition", slow_where(lambda name: name != "plain", ["plain", "heavy tails"]))
def test_false_zones_are_rare_where_gain_and_harm_can_each_go_wrong_alone(condition, n_seeds):
    rates = measure(WORST, (), 150, n_seeds, condition=NULL_CONDITIONS[condition])
    assert rates.false_zone <= generous(150)


@pytest.mark.parametrize(
    ("condition", "null"),
    slow_where(
        lambda case: case not in (("diverging", "no gain; -.2"), ("bimodal", "gain; loss of exactly delta")),
        [(condition, null) for condition in NULL_CONDITIONS for null in NULLS],
    ),
)
def test_false_zones_and_verdicts_are_rare_without_a_mismatch(condition, null):
    truth, right = NULLS[null]
    rates = measure(truth, right, 100, 8, condition=NULL_CONDITIONS[condition], rng_seed=(1,))
    assert rates.false_zone <= generous(100)
    assert rates.false <= generous(100)


def test_free_is_wrong_where_seeds_collapse_and_the_count_next_to_it_is_right():
    rates = measure_free(40, 8)
    assert 0.15 < rates.free_wrong < 0.7
    assert rates.held >= 0.95
    assert rates.not_excluded == pytest.approx(1 - 0.05 ** (1 / 8))


@pytest.mark.slow
def test_nothing_stands_in_studies_with_nothing_planted():
    rng = np.random.default_rng(0)
    studies = [null_study(rng, 8, 9) for _ in range(10)]
    assert {len(study) for study in studies} == {12}
    assert not any(standing(study) for study in studies)


def test_what_is_true_is_said_of_every_truth():
    assert set(RIGHT) == set(TRUTHS)
    said = [*RIGHT.values(), *(one.right for one in ZONES.values()), *(right for _, right in NULLS.values())]
    assert {kind for right in said for kind in right} <= set(VERDICTS)
    for one in ZONES.values():
        assert zone_K(one.truth, U, PLAIN).any()
        assert one.right[0] in MISMATCHES
        assert U[zone_K(one.truth, U, PLAIN)][0] >= loss_at(one.truth) - 1e-3
    for truth, right in NULLS.values():
        assert not zone_K(truth, U, PLAIN).any()
        assert not set(right) & set(MISMATCHES)
    assert not zone_K(WORST, U, PLAIN).any()
    assert not SILENT & set(MISMATCHES)


def test_a_loss_of_exactly_delta_is_one_under_collapse_as_well():
    change_K, delta = ability_change_K(NULLS["gain; loss of exactly delta"][0], U, PLAIN)
    np.testing.assert_allclose(change_K[1:], -delta)
    truth, _ = NULLS["gain; ability flat"]
    change_K, _ = ability_change_K(truth, U, NULL_CONDITIONS["diverging"])
    np.testing.assert_allclose(change_K, np.where(U > 0.5, -0.4 * 0.7, 0))


def test_cells_collapse_anywhere_and_diverge_past_the_middle():
    rng = np.random.default_rng(0)
    truth, _ = NULLS["gain; ability flat"]
    _, _, ability = simulate(truth, rng, repetitions=300, condition=NULL_CONDITIONS["bimodal"])
    assert (ability < 0.4).mean(axis=(0, 1)) == pytest.approx(np.full(9, 0.1), abs=0.03)
    _, metric, ability = simulate(truth, rng, repetitions=300, condition=NULL_CONDITIONS["diverging"])
    np.testing.assert_array_equal(np.isnan(metric), np.isnan(ability))
    assert np.isnan(ability).mean(axis=(0, 1)) == pytest.approx(np.where(U > 0.5, 0.4, 0.0), abs=0.05)


def test_the_table_names_every_truth(monkeypatch):
    monkeypatch.setattr(map_rates, "NULL_SEEDS", (5, 6))
    monkeypatch.setattr(
        map_rates, "NULL_CONDITIONS", {name: NULL_CONDITIONS[name] for name in ("plain", "heavy tails")}
    )
    monkeypatch.setattr(map_rates, "STUDIES", 1)
    monkeypatch.setattr(map_rates, "ZONES", {name: ZONES[name] for name in QUICK})
    monkeypatch.setattr(map_rates, "measure_looks", lambda *given: 0.0)
    text = "\n".join(map_rates.lines(1, 9, 0))
    assert all(name in text for name in (*QUICK, *NULLS, "worst case", "1 studies with nothing planted"))
