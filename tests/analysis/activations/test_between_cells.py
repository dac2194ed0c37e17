"""Similarity to the neutral cell and between seeds: the numbers, what a seed is given, and what they need."""

from __future__ import annotations

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analysis
from analysis import verdicts
from analysis.activations import between_cells
from analysis.activations.claimable import READINGS
from analysis.activations.measure import Measurer
from analysis.metrics import similarity
from analysis.results import collect
from lab.engine import make_plan
from lab.errors import UserError
from lab.study.parse import parse
from tests.lab.conftest import LAYOUT, PROGRAMS, study_of, tiny_config, tiny_sweep

NAMES = ("debiased_linear_cka_to_neutral", "procrustes_distance_to_neutral", "debiased_linear_cka_between_seeds")


def naming(*names, seeds=3):
    config = tiny_config()
    config.claim.gains, config.probe.extra = {names[0]: -1}, names[1:]
    return parse(config, tiny_sweep(seeds=seeds), READINGS)


def test_pseudo_values_have_the_mean_of_all_pairs_and_its_spread():
    """By leaving each seed out in turn; their standard error is that of many draws of a mean over pairs."""
    rng, seeds = np.random.default_rng(0), 9
    means, errors = [], []
    for _ in range(400):
        own_S = rng.normal(size=seeds)
        pair_SxS = own_S[:, None] + own_S[None]  # a pair's value rests on both seeds
        value_S = between_cells.pseudo_values(pair_SxS)
        above = [pair_SxS[i, j] for i, j in combinations(range(seeds), 2)]
        np.testing.assert_allclose(value_S.mean(), np.mean(above))
        means.append(np.mean(above))
        errors.append(value_S.std(ddof=1) / np.sqrt(seeds))
    without = [pair_SxS[i, j] for i, j in combinations(range(1, seeds), 2)]
    np.testing.assert_allclose(value_S[0], seeds * np.mean(above) - (seeds - 1) * np.mean(without))
    np.testing.assert_allclose(np.sqrt(np.mean(np.square(errors))), np.std(means), rtol=0.15)


def test_a_seed_that_diverged_is_left_out():
    pair_SxS = np.full((4, 4), 0.5)
    pair_SxS[2] = pair_SxS[:, 2] = np.nan
    np.testing.assert_allclose(between_cells.pseudo_values(pair_SxS), [0.5, 0.5, np.nan, 0.5])
    pair_SxS[3] = pair_SxS[:, 3] = np.nan
    np.testing.assert_allclose(between_cells.pseudo_values(pair_SxS), [0.5, 0.5, np.nan, np.nan])
    assert np.isnan(between_cells.pseudo_values(np.full((3, 3), np.nan))).all()


def test_seeds_are_needed_and_their_number_is_said():
    verdicts.check(naming("debiased_linear_cka_between_seeds"))
    with pytest.raises(UserError, match=r"config\.claim\.gains: .* needs 3 seeds at the least, and there are 2"):
        verdicts.check(naming("debiased_linear_cka_between_seeds", seeds=2))
    with pytest.raises(UserError, match=r"unknown metric .debiased_linear_cka.\. .*debiased_linear_cka_to_neutral"):
        naming("debiased_linear_cka")


@pytest.mark.slow
def test_models_of_other_widths_are_compared_apart(tmp_path):
    """Pairs of several shapes, in the order in which they come."""
    rng = np.random.default_rng(0)
    measurer, wanted = Measurer(study_of(), PROGRAMS, tmp_path), [READINGS["linear_cka_to_neutral"]]
    sizes = (4, 4, 4, 6, 4)
    pairs = [tuple(rng.normal(size=(1, 32, d)).astype(np.float32) for d in (size, 4)) for size in sizes]
    found = dict(between_cells._compared(measurer, wanted, iter(enumerate(pairs))))
    assert list(found) == list(range(len(sizes)))
    direct = jax.jit(similarity.linear_cka)
    for index, (x, y) in enumerate(pairs):
        expected = direct(jnp.asarray(x[0]), jnp.asarray(y[0]))
        np.testing.assert_allclose(found[index]["linear_cka_to_neutral"][0], expected, rtol=1e-4)


@pytest.mark.slow
def test_cells_are_compared_with_the_neutral_one_and_from_seed_to_seed(recorded, tmp_path):
    plan, store, path = recorded
    study = naming(*NAMES)
    assert study.cell_keys == plan.study.cell_keys
    measurer = Measurer(study, PROGRAMS, tmp_path)
    results = collect(make_plan(study, LAYOUT), store, measurer, lambda done, total: None)
    again = Measurer(study, PROGRAMS, tmp_path)
    kept = collect(make_plan(study, LAYOUT), store, again, lambda done, total: None)
    assert again.measured == 0
    opened = analysis.open_study(path)
    site = "word/layer1/last"
    near, far, seeds = (results.columns[f"{site}/{name}"] for name in NAMES)
    np.testing.assert_array_equal(kept.columns[f"{site}/{NAMES[2]}"], seeds)
    neutral = [cell["prune.sparsity"] == 0 for cell in study.cells]
    np.testing.assert_allclose(near[neutral], 1.0, atol=1e-5)
    np.testing.assert_allclose(far[neutral], 0.0, atol=1e-5)
    np.testing.assert_allclose(near[:, 0], 1.0, atol=1e-5)  # before anything is pruned
    found = opened.measure(
        "debiased_linear_cka", {"prune.sparsity": 0.5}, against={"prune.sparsity": 0.0}, label="word"
    )
    np.testing.assert_allclose(near[found["cell"], -1], found["debiased_linear_cka"], rtol=1e-4)
    assert np.isfinite(seeds).all()
    np.testing.assert_allclose(seeds[:3, 0], seeds[3:, 0], rtol=1e-5)  # the same networks at both settings


@pytest.mark.slow
def test_common_inputs_are_the_same_for_all_seeds(recorded, tmp_path):
    """The mean over pairs at one setting, by hand: states of every seed on the inputs of the further one."""
    plan, store, _ = recorded
    study = naming(NAMES[2])
    measurer = Measurer(study, PROGRAMS, tmp_path, keep=False)
    where = {i: store.final(row[-1].key) for i, row in enumerate(plan.nodes_of_cells()) if i < 3}
    states = dict(between_cells._states(study, measurer, where, plan.knobs, between_cells.COMMON))
    own = dict(between_cells._states(study, measurer, where, plan.knobs, None))
    assert not np.array_equal(states[0], own[0])
    direct = jax.jit(similarity.debiased_linear_cka)
    pairs = [float(direct(jnp.asarray(states[i][0]), jnp.asarray(states[j][0]))) for i, j in combinations(range(3), 2)]
    read = between_cells._between_seeds(
        study, measurer, [READINGS[NAMES[2]]], [where.get(i) for i in range(6)], plan.knobs
    )[NAMES[2]]
    np.testing.assert_allclose(read[:3, 0].mean(), np.mean(pairs), rtol=1e-4)
    assert np.isnan(read[3:]).all()
