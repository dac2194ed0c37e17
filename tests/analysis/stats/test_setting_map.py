"""The map against a brute-force enumeration of sign flips, its promises, and what fooled the slope test."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from analysis.stats import InterimLook, SettingMap, setting_map, sign_flip_p, step_down_p
from analysis.stats.setting_map import STATEMENTS, error_bounds, level_divisors

K, TRIVIAL = 9, 0.1
U = np.linspace(0, 1, K)


def claim(metric, ability, n_seeds=8, sd=0.01, rng_seed=0):
    """Metric and ability [S, K] around curves of u, with noise a cell and a level a seed."""
    rng = np.random.default_rng(rng_seed)
    level = rng.normal(0, 0.05, (n_seeds, 1))
    return (
        np.asarray(metric, float) + level + rng.normal(0, sd, (n_seeds, K)),
        np.asarray(ability, float) + 0.2 * level + rng.normal(0, sd, (n_seeds, K)),
    )


def mapped(metric, ability, **options):
    return setting_map(U, metric, ability, **{"trivial": TRIVIAL, **options})


def settings_of(found: SettingMap, name: str) -> list[float]:
    return found.knob_K[found.shown(name)].tolist()


def naive_step_down(contrasts, weights=None, common=0.0):
    """Step-down maximum statistics, rivals of negative mean moved to mean 0: plain loops."""
    columns = [[x for x in column] for column in np.asarray(contrasts, float).T]
    weights = [0.0] * len(columns) if weights is None else weights

    def statistic(values, weight):
        there = [x for x in values if np.isfinite(x)]
        size = ((1 - weight) * sum(x * x for x in there) + weight * len(there) * common) ** 0.5
        return sum(there) / size if size else 0.0

    rivals = []
    for column in columns:
        there = [x for x in column if np.isfinite(x)]
        mean = sum(there) / len(there) if there else 0.0
        rivals.append([x - min(mean, 0.0) for x in column])
    observed = [statistic(column, weight) for column, weight in zip(columns, weights, strict=True)]
    order = sorted(range(len(columns)), key=lambda b: -observed[b])
    p, largest = [1.0] * len(columns), 0.0
    flips = list(itertools.product((1, -1), repeat=len(contrasts)))
    for place, b in enumerate(order):
        reached = 0
        for flip in flips:
            best = max(
                statistic([s * x for s, x in zip(flip, rivals[c], strict=True)], weights[c]) for c in order[place:]
            )
            reached += best >= observed[b] - 1e-9
        largest = max(largest, reached / len(flips))
        p[b] = largest
    return p


@pytest.mark.parametrize("n_seeds", [4, 6])
def test_step_down_p_is_the_enumerated_one(n_seeds):
    rng = np.random.default_rng(n_seeds)
    contrasts = rng.normal([1.0, 0.4, 0.0, -1.0, -3.0], 1.0, (n_seeds, 5))
    contrasts[0, 1] = np.nan
    np.testing.assert_allclose(step_down_p(contrasts), naive_step_down(contrasts))


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_moderated_sizes_are_limmas(spread):
    """Smyth (2004): log variances matched by moments to a scaled F; the common one has at most half the weight."""
    rng = np.random.default_rng(3)
    contrasts = rng.normal([1.0, 0.4, 0.0, -1.0, 0.2], [1.0, 0.3 * spread, 1.0, spread, 0.2], (6, 5))
    contrasts[0, 1] = np.nan
    degrees = np.isfinite(contrasts).sum(axis=0) - 1.0
    logs = np.log(np.nanvar(contrasts, axis=0, ddof=1)) - special.digamma(degrees / 2) + np.log(degrees / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, degrees / 2).mean()
    assert excess > 0
    prior = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e6)
    common = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    weights = np.minimum(prior / (prior + degrees), 0.5)
    np.testing.assert_allclose(step_down_p(contrasts, moderated=True), naive_step_down(contrasts, weights, common))


def test_a_large_gain_is_not_outdone_by_a_small_one_whose_seeds_agree_by_chance():
    rng = np.random.default_rng(7)
    contrasts = rng.normal([0.2, 0.0, 0.0, 0.0], 0.1, (60, 6, 4))
    plain, moderated = (
        np.mean([step_down_p(one, moderated=each)[0] <= 1 / 64 for one in contrasts]) for each in (False, True)
    )
    assert moderated > plain + 0.1
    assert np.mean([(step_down_p(one, moderated=True)[1:] <= 1 / 64).any() for one in contrasts]) < 0.06


def test_one_contrast_and_equal_numbers_are_moderated_by_nothing():
    for contrasts in (np.ones((6, 1)), np.ones((6, 3)), np.zeros((6, 3)), np.full((6, 2), np.nan)):
        np.testing.assert_array_equal(step_down_p(contrasts, moderated=True), step_down_p(contrasts))


def test_step_down_is_never_above_the_single_step():
    contrasts = np.random.default_rng(1).normal([1.5, 0.8, 0.3, -0.5], 1.0, (8, 4))
    assert (step_down_p(contrasts) <= sign_flip_p(contrasts) + 1e-12).all()


def test_a_strong_loss_hides_no_gain():
    """Without recentring, the flip of all signs of the loss outdoes every gain, and p can't fall to 2^-S."""
    rng = np.random.default_rng(0)
    contrasts = np.stack([1 + rng.normal(0, 0.3, 5), -5 + rng.normal(0, 0.01, 5)], axis=1)
    assert step_down_p(contrasts)[0] == sign_flip_p(contrasts)[0] == 2.0**-5


def test_a_cliff_under_a_rising_metric_is_a_zone_with_its_break():
    found = mapped(*claim(U, np.where(U < 0.55, 0.9, 0.2)))
    assert settings_of(found, "gain")[0] <= 0.25
    assert (found.free_until, found.harmed_from) == (0.5, 0.625)
    assert settings_of(found, "harmed") == [0.625, 0.75, 0.875, 1.0]
    assert not found.shown("better").any()
    assert not found.shown("against").any()


def test_a_metric_against_the_claim_is_shown_where_it_falls():
    found = mapped(*claim(-U, 0.9 + 0 * U))
    assert not found.shown("gain").any()
    assert settings_of(found, "against")[-1] == 1.0
    assert found.free_until == 1.0


def test_one_dead_setting_gains_there_and_nowhere_else():
    """The participation ratio of addition: flat, and different at the last setting, where the ability is gone."""
    metric, ability = [0.0] * 8 + [5.0], [0.9] * 6 + [0.5, 0.3, 0.1]
    found = mapped(*claim(metric, ability))
    assert settings_of(found, "gain") == [1.0]
    assert settings_of(found, "harmed") == [0.75, 0.875, 1.0]


def test_diverged_cells_are_lost_abilities_not_missing_ones():
    """40% diverged past the middle: left out, the survivors would read free in more than half of all studies."""
    metric, ability = claim(U, 0.9 + 0 * U, n_seeds=10)
    diverged = np.zeros((10, K), bool)
    diverged[:4, 5:] = True
    gone = np.where(diverged, np.nan, metric), np.where(diverged, np.nan, ability)
    assert mapped(*gone).free_until == 1.0
    found = mapped(*gone, diverged_SxK=diverged)
    assert found.free_until == 0.5
    assert found.lost_K.tolist() == [0] * 5 + [4] * 4
    assert found.diverged_K.tolist() == [0] * 5 + [4] * 4
    assert found.ability_change_K[-1] == pytest.approx((0.6 * 0.9 + 0.4 * TRIVIAL) - 0.9, abs=0.03)


def test_the_share_not_excluded_is_clopper_pearsons():
    metric, ability = claim(U, np.where(U < 0.55, 0.9, 0.2))
    ability[0, 2] = 0.1
    found = mapped(metric, ability)
    bound = stats.binomtest(1, 8, alternative="less").proportion_ci(0.95).high
    assert found.not_excluded_K()[2] == pytest.approx(bound)
    assert found.not_excluded_K()[1] == pytest.approx(1 - 0.05 ** (1 / 8))
    assert found.not_excluded_K()[-1] == 1.0


@pytest.mark.parametrize(
    ("n_seeds", "metric_flips", "ability_flips"), [(4, 0, 0), (5, 1, 1), (6, 1, 2), (7, 3, 3), (8, 6, 6), (10, 25, 26)]
)
def test_metric_and_ability_share_alpha_in_whole_flips(n_seeds, metric_flips, ability_flips):
    divisors = level_divisors(n_seeds, 0.05)
    for divisor, flips in zip(divisors, (metric_flips, ability_flips), strict=True):
        assert flips * divisor <= 0.05 * 2**n_seeds < (flips + 1) * divisor
    if n_seeds >= 6:  # below, neither can be halved
        assert metric_flips + ability_flips <= 0.05 * 2**n_seeds
    found = mapped(*claim(U, np.where(U < 0.55, 0.9, 0.2), n_seeds))
    assert found.testable == (n_seeds >= 5)
    assert found.p_K["harmed"][-1] == pytest.approx(divisors[1] * 2.0**-n_seeds)
    assert found.p_K["gain"][-1] == pytest.approx(divisors[0] * 2.0**-n_seeds)
    assert (found.free_until is not None) == (n_seeds >= 5)


def test_random_flips_halve_alpha():
    assert level_divisors(20, 0.05) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("n_seeds", "mismatch", "ability"),
    [(5, 2 / 32, 1 / 32), (6, 3 / 64, 2 / 64), (8, 12 / 256, 6 / 256), (20, 0.05, 0.025)],
)
def test_the_bounds_of_the_error_are_what_so_many_seeds_reach(n_seeds, mismatch, ability):
    assert error_bounds(n_seeds, 0.05) == pytest.approx((mismatch, ability))


def test_a_knob_swept_downwards_has_the_same_map():
    metric, ability = claim(U, np.where(U < 0.55, 0.9, 0.2))
    up = mapped(metric, ability)
    down = setting_map(-U[::-1], metric[:, ::-1], ability[:, ::-1], trivial=TRIVIAL, neutral_index=K - 1)
    np.testing.assert_array_equal(down.knob_K, -up.knob_K)
    for name in STATEMENTS:
        np.testing.assert_allclose(down.p_K[name], up.p_K[name])


def test_every_look_spends_its_share():
    metric, ability = claim(U, np.where(U < 0.55, 0.9, 0.2), n_seeds=10)
    first = np.arange(10) < 6
    looks = (InterimLook(first, 0.6), InterimLook(np.ones(10, bool), 0.4))
    found = mapped(metric, ability, looks=looks)
    alone = mapped(metric[first], ability[first]), mapped(metric, ability)
    for name in ("gain", "harmed", "free"):
        expected = np.minimum(alone[0].p_K[name] / 0.6, alone[1].p_K[name] / 0.4)
        assert (found.p_K[name][1:] <= np.minimum(expected, 1.0)[1:] + 1e-12).all()
        assert (found.p_K[name][1:] >= np.minimum(expected, 1.0)[1:] / 2 - 1e-12).all()  # a level may not be halved


def test_added_settings_do_not_change_what_the_designed_ones_show():
    metric, ability = claim(U, np.where(U < 0.55, 0.9, 0.2))
    designed = np.arange(K) % 2 == 0
    found, alone = (
        mapped(metric, ability, designed_K=designed),
        setting_map(U[designed], metric[:, designed], ability[:, designed], trivial=TRIVIAL),
    )
    for name in STATEMENTS:
        np.testing.assert_allclose(found.p_K[name][designed], alone.p_K[name])
    assert found.designed_K.tolist() == designed.tolist()
    assert found.of_designed().knob_K.tolist() == alone.knob_K.tolist()
    np.testing.assert_allclose(found.of_designed().p_K["harmed"], alone.p_K["harmed"])
    np.testing.assert_array_equal(found.of_designed().lost_K, alone.lost_K)


def test_the_gain_that_comes_and_goes_is_shown_lost():
    hump = np.interp(U, [0, 0.4, 1], [0, 1, 0])
    found = mapped(*claim(hump, 0.9 + 0 * U))
    assert 0.375 in settings_of(found, "gain")
    assert 1.0 in settings_of(found, "gain lost")
    assert not mapped(*claim(U, 0.9 + 0 * U)).shown("gain lost").any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 6), st.booleans())
def test_any_data_has_a_map_that_contradicts_nothing(rng_seed, n_seeds, n_settings, exact):
    rng = np.random.default_rng(rng_seed)
    draw = (
        (lambda: rng.integers(0, 3, (n_seeds, n_settings)) / 2)
        if exact
        else (lambda: rng.normal(size=(n_seeds, n_settings)))
    )
    metric, ability = draw(), draw()
    metric[rng.random(metric.shape) < 0.1] = np.nan
    ability[rng.random(ability.shape) < 0.1] = np.nan
    diverged = rng.random(ability.shape) < 0.1
    found = setting_map(np.arange(n_settings), metric, ability, trivial=0.0, diverged_SxK=diverged)
    for name in STATEMENTS:
        assert ((found.p_K[name] > 0) & (found.p_K[name] <= 1)).all()
        assert not found.shown(name)[0]
    assert not (found.shown("gain") & found.shown("against")).any()
    assert not (found.shown("free") & found.shown("harmed")).any()
    assert not (found.shown("better") & found.shown("harmed")).any()
    assert (found.lost_K <= found.counted_K).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(alpha=0.0), "alpha"),
        (dict(trivial=np.nan), "trivial"),
        (dict(neutral_index=3), "neutral_index"),
    ],
)
def test_impossible_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        mapped(*claim(U, 0.9 + 0 * U), **change)
