"""Rank correlations over a grid against scipy, a brute-force bootstrap and enumerated orders."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.stats import ASSOCIATIONS, association_of
from analysis.stats.association import _orders, _pearson, spearman

FEW = dict(draws=200, permutations=200)
LINES = {"rate": np.array([0, 0, 0, 1, 1, 1]), "width": np.array([0, 1, 2, 0, 1, 2])}


def grid(slope=1.0, noise=0.3, n_seeds=6, n_settings=6, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    latent = rng.normal(size=(1, n_settings))
    metric = latent + noise * rng.normal(size=(n_seeds, n_settings))
    ability = slope * latent + noise * rng.normal(size=(n_seeds, n_settings))
    return metric, ability, rng.normal(size=(n_seeds, n_settings))


def of(metric, ability, loss, **options):
    return association_of(metric, ability, {"training loss": loss}, LINES, **{**FEW, **options})


def part(found, name):
    return next(one for one in (found.whole, *found.parts, *found.beyond) if one.name == name)


@pytest.mark.parametrize("missing", [False, True])
def test_all_cells_and_means_are_scipys(missing):
    metric, ability, loss = grid()
    if missing:
        metric[0, 0] = ability[2, 3] = np.nan
    found, there = of(metric, ability, loss, draws=2, permutations=2), np.isfinite(metric) & np.isfinite(ability)
    expected = stats.spearmanr(metric[there], ability[there]).statistic
    assert found.whole.rho == pytest.approx(expected) == pytest.approx(spearman(metric, ability))
    assert (found.n_cells, found.left_out) == (there.sum(), (~there).sum())
    both = [np.nanmean(np.where(there, values, np.nan), axis=0) for values in (metric, ability)]
    assert part(found, "between settings").rho == pytest.approx(stats.spearmanr(*both).statistic)


def test_parts_are_pooled_within_their_groups():
    """Along a knob: ranks within a seed and a line; between seeds: ranks within a setting. Plain loops."""
    metric, ability, loss = grid(noise=1.0)
    found = of(metric, ability, loss, draws=2, permutations=2)
    groups = {
        "along rate": [(s, np.flatnonzero(LINES["rate"] == g)) for s in range(6) for g in (0, 1)],
        "along width": [(s, np.flatnonzero(LINES["width"] == g)) for s in range(6) for g in (0, 1, 2)],
        "between seeds": [(slice(None), k) for k in range(6)],
    }
    for name, places in groups.items():
        xs, ys = [], []
        for place in places:
            for values, out in ((metric[place], xs), (ability[place], ys)):
                ranks = stats.rankdata(values)
                out.extend(ranks - ranks.mean())
        assert part(found, name).rho == pytest.approx(stats.pearsonr(xs, ys).statistic), name


def test_beyond_the_loss_is_the_partial_rank_correlation():
    metric, ability, loss = grid()
    loss = loss - ability
    rank = [stats.rankdata(values).ravel() for values in (metric, ability, loss)]
    r = np.corrcoef(rank)
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    found = of(metric, ability, loss, draws=2, permutations=2)
    assert part(found, "beyond training loss").rho == pytest.approx(expected)


def test_the_interval_is_the_brute_force_one():
    """All S^S resamples of three seeds, at the widened level."""
    metric, ability, loss = grid(n_seeds=3)
    every = []
    for chosen in itertools.product(range(3), repeat=3):
        every.append(stats.spearmanr(metric[list(chosen)].ravel(), ability[list(chosen)].ravel()).statistic)
    level = stats.norm.cdf(math.sqrt(3 / 2) * stats.t.ppf(0.025, 2))
    low, high = np.quantile(every, [level, 1 - level])
    found = of(metric, ability, loss, draws=3000, permutations=2)
    assert (found.whole.low, found.whole.high) == pytest.approx((low, high), abs=0.02)


def test_p_permutes_settings_alike_in_all_seeds():
    metric, ability, loss = grid(slope=0.5, noise=0.5, n_settings=6)
    rho = abs(spearman(metric, ability))
    every = [abs(spearman(metric[:, list(order)], ability)) for order in itertools.permutations(range(6))]
    expected = np.mean(np.asarray(every) >= rho - 1e-9)
    found = of(metric, ability, loss, draws=2, permutations=1000)  # 720 orders: all of them
    assert found.whole.p == pytest.approx(expected)
    assert len(_orders(LINES["rate"], 100, np.random.default_rng(0))) == 36
    some = _orders(np.zeros(9, int), 50, np.random.default_rng(0))
    assert (some[0] == np.arange(9)).all()
    assert (np.sort(some, axis=1) == np.arange(9)).all()
    within = _orders(LINES["width"], 5, np.random.default_rng(0))
    assert (LINES["width"][within] == LINES["width"]).all()


def test_more_seeds_of_one_setting_are_no_more_evidence():
    """A hundred seeds repeat six settings: p stays a count of orders of six."""
    metric, ability, loss = grid(n_seeds=100, noise=0.01, rng_seed=3)
    assert of(metric, ability, loss, draws=2, permutations=1000).whole.p >= 1 / 720


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("predicts, beyond the loss", lambda m, a, z: (m, a, z)),
        ("predicts, not shown beyond the loss", lambda m, a, z: (m, a, -a)),
        ("predicts the reverse", lambda m, a, z: (-m, a, z)),
        ("no association shown", lambda m, a, z: (z[::-1], a, z)),
        ("too little varies", lambda m, a, z: (m, 0 * a, z)),
    ],
)
def test_a_verdict_needs_settings_and_seeds(kind, change):
    found = of(*change(*grid(noise=0.2, rng_seed=1)), draws=60, permutations=720)
    assert found.kind == kind in ASSOCIATIONS
    assert (found.p <= 0.05) == (kind in ASSOCIATIONS[:3])


def test_too_few_seeds_or_settings_say_nothing():
    metric, ability, loss = grid(n_seeds=4)
    assert of(metric, ability, loss, draws=5, permutations=5).kind == "too little varies"
    assert math.isnan(_pearson(np.ones((1, 3)), np.arange(3.0)[None]))
