"""The power that `--plan` prints: of the study's own seeds, settings and spacing."""

import re
from dataclasses import replace

import numpy as np

from analysis.simulation import plan_power
from analysis.simulation.plan_power import Design, lines, power
from analysis.simulation.simulator import Truth
from tests.analysis import synthetic_study

QUIET = Truth(lambda u: u, lambda u: u, seed_sd=0.02, slope_sd=0.0, cell_sd=0.01)


def design(n_seeds=6, n_settings=9, noise=QUIET):
    return Design(np.linspace(0, 1, n_settings), n_seeds, 0.05, 0.05, 0.9, 0.1, noise)


def few(monkeypatch, repetitions=10):
    monkeypatch.setattr(plan_power, "REPETITIONS", repetitions)


def shares(line):
    return [int(share) for share in re.findall(r"(\d+)%", line)]


def test_power_grows_with_the_fall_and_falls_with_the_noise(monkeypatch):
    few(monkeypatch, 20)
    loud = replace(QUIET, cell_sd=0.2)
    assert power(design(), 0.2, 4, cliff=False) >= power(design(), 0.05, 4, cliff=False)
    assert power(design(), 0.8, 4, cliff=True) == 1
    assert power(design(noise=loud), 0.1, 4, cliff=False) < 0.5
    assert power(design(), 0.0, 4, cliff=False) <= 0.2  # a loss of nothing, nearly never


def test_a_study_says_its_power_in_one_line_and_too_small_a_one_nothing(tmp_path, monkeypatch):
    few(monkeypatch)
    study = synthetic_study.study()
    (said,) = lines(study, tmp_path)
    assert said.startswith("8 seeds × 9 settings show a fall of the ability beyond prune.sparsity = ")
    assert "simulator's noise" in said
    assert len(shares(said)) == 3
    assert lines(synthetic_study.study(seeds=3), tmp_path) == []
    assert lines(synthetic_study.study(sparsities=(0.0, 0.5)), tmp_path) == []
