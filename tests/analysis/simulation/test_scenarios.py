"""The break test under heavy tails, lost cells and unequal settings: the simulator's conditions and its false rates."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from analysis.simulation import cliff_coverage
from analysis.simulation.__main__ import main
from analysis.simulation.scenarios import RIGHT, measure, too_often
from analysis.simulation.simulator import CONDITIONS, PLAIN, TRUTHS, Condition, settings, simulate
from tests.analysis.conftest import slow_where

REPETITIONS = 40


@pytest.mark.slow
@pytest.mark.parametrize("condition", slow_where(lambda one: one != "lost cells", ["heavy tails", "lost cells"]))
@pytest.mark.parametrize(
    "name",
    slow_where(
        lambda one: one != "both rise, then fall", ["ability flat", "both rise, then fall", "efficiency exactly rho"]
    ),
)
def test_false_verdicts_stay_rare_under_other_conditions(condition, name):
    row = measure(name, condition, REPETITIONS)
    generous = 0.05 + 4 * np.sqrt(0.05 * 0.95 / REPETITIONS)
    assert max(row.false.values(), default=0.0) <= generous
    assert row.free_wrong <= generous
    assert row.harmful_wrong <= generous


@pytest.mark.slow
def test_power_is_kept_under_heavy_tails_and_lost_cells_and_seven_settings_are_too_few():
    for condition in ("heavy tails", "lost cells"):
        assert measure("fall of .20 after a rise", condition, 10).power >= 0.8
    row = measure("fall of .20 after a rise", "plain", 5, n_settings=7)
    assert (row.power, row.false) == (0.0, {})


def test_a_false_verdict_is_counted():
    # Most settings of a geometric knob lie in the rise, so the slope over all of them is positive.
    row = measure("both rise, then fall", "geometric knob", 20)
    assert row.false["transfers"] > 0.3
    assert too_often(row.false["transfers"], 20)


def test_too_often_is_an_exact_tail():
    least = next(n for n in range(101) if too_often(n / 100, 100))
    tail = sum(stats.binom.pmf(k, 100, 0.05) for k in range(least, 101))
    assert tail < 0.005 <= tail + stats.binom.pmf(least - 1, 100, 0.05)


def test_heavy_tails_have_the_plain_standard_deviation_and_more_extremes():
    flat = dataclasses.replace(TRUTHS["ability flat"], metric_seed_sd=0.0)
    metrics = []
    for condition in (PLAIN, Condition(freedom=5.0)):  # a variance of t with 3 has no finite error
        rng = np.random.default_rng(0)
        metrics.append((simulate(flat, rng, repetitions=2000, condition=condition)[1] - settings(9)).ravel())
    assert np.std(metrics[1]) == pytest.approx(np.std(metrics[0]), rel=0.03)
    assert stats.kurtosis(metrics[1]) > 1 > stats.kurtosis(metrics[0])


def test_cells_are_lost_in_metric_and_ability_alike_and_never_at_neutral():
    _, metric, ability = simulate(
        TRUTHS["both linear"], np.random.default_rng(0), repetitions=400, condition=CONDITIONS["lost cells"]
    )
    lost = np.isnan(metric)
    np.testing.assert_array_equal(lost, np.isnan(ability))
    assert lost.mean() == pytest.approx(0.05, abs=0.005)
    assert not lost[:, :, 0].any()
    assert lost[:, :, -1].mean() > lost[:, :, 1].mean()


def test_geometric_settings_grow_by_one_factor_from_0_to_1():
    u_K = settings(9, CONDITIONS["geometric knob"])
    np.testing.assert_allclose(u_K[[0, -1]], [0, 1])
    np.testing.assert_allclose(np.diff(u_K)[1:] / np.diff(u_K)[:-1], 16 ** (1 / 8))


def test_every_truth_has_its_right_verdicts_and_the_command_prints_them(capsys):
    assert set(RIGHT) == set(TRUTHS)
    main(["--table=3", "--repetitions=1", "--condition=lost cells"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in TRUTHS)
    assert "table 1" not in printed


def test_a_cliff_is_found_near_its_place_wherever_it_is():
    found = cliff_coverage.measure(1.0, 7, rng_seed=1)
    assert len(found) == 6  # the one that begins at .24 has lost .04 at .25, the first break that can be tested
    for error, held, width in found:
        assert abs(error) < 0.125  # a step between settings
        assert 0 < width < 0.3
        assert abs(error) <= width or not held
    assert len({round(error, 6) for error, _, _ in found}) > 3  # at places of their own
    assert sum(held for _, held, _ in found) >= 4
    alike = cliff_coverage.measure(1.0, 2, rng_seed=1)
    assert alike == found[:2]
