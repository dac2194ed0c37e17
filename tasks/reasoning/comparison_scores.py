"""Comparisons of facts without the facts: a score for every entity, fitted to the comparisons of training.

Shape letters: W simulated worlds, E entities, P pairs.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tasks.base import Baseline

WORLDS, WORK = 64, 1 << 16  # worlds that are simulated; fewer where they have more pairs than this together
ENTITIES = 256  # of more, so many are simulated, each compared as often
STEPS, MOMENTUM = 200, 0.9


@lru_cache(maxsize=64)
def by_scores(values: int, entities: int, trained: int) -> Baseline:
    """What fitted scores reach on the pairs that were not trained, of one attribute, as sure as they are right.

    Two logistic regressions, of 'larger' on s1 - s2 - cut and of 'smaller' on s2 - s1 - cut, share scores and cut; the
    answer is 'equal' where neither is likelier than not.

    Args:
      values: how many values entities can have, drawn uniformly.
      entities: how many of them are compared.
      trained: how many of their pairs are trained on.
    """
    if entities > ENTITIES:
        return by_scores(values, ENTITIES, max(trained * ENTITIES // entities, 1))
    generator = np.random.default_rng(0)
    one_P, two_P = np.triu_indices(entities, 1)
    worlds = max(1, min(WORLDS, WORK // one_P.size))
    value_WxE = generator.integers(values, size=(worlds, entities))
    relation_WxP = np.sign(value_WxE[:, one_P] - value_WxE[:, two_P])
    known_WxP = generator.random(relation_WxP.shape).argsort(axis=1) < trained

    score_WxE, cut_W = np.zeros(value_WxE.shape), np.ones(worlds)
    speed_WxE, speed_W = np.zeros(value_WxE.shape), np.zeros(worlds)
    for _ in range(STEPS):
        gap_WxP = score_WxE[:, one_P] - score_WxE[:, two_P]
        above_WxP = np.where(known_WxP, (relation_WxP > 0) - _logistic(gap_WxP - cut_W[:, None]), 0)
        below_WxP = np.where(known_WxP, (relation_WxP < 0) - _logistic(-gap_WxP - cut_W[:, None]), 0)
        pull_WxE = _totals(above_WxP - below_WxP, one_P, entities) - _totals(above_WxP - below_WxP, two_P, entities)
        speed_WxE = MOMENTUM * speed_WxE + pull_WxE * (entities - 1) / max(trained, 1)
        speed_W = MOMENTUM * speed_W - (above_WxP + below_WxP).sum(axis=1) / max(trained, 1)
        score_WxE, cut_W = score_WxE + speed_WxE / 4, cut_W + speed_W / 4
    gap_WxP = score_WxE[:, one_P] - score_WxE[:, two_P]
    said_WxP = np.where(np.abs(gap_WxP) > cut_W[:, None], np.sign(gap_WxP), 0)
    right = float(np.mean((said_WxP == relation_WxP)[~known_WxP]))
    shares = ((right, 1), (1 - right, 2))
    return Baseline(right, sum(share * math.log(share / ways) for share, ways in shares if share > 0))


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def _totals(amount_WxP: np.ndarray, entity_P: np.ndarray, entities: int) -> np.ndarray:
    """float64[W, E]: the amounts of each entity's pairs, summed."""
    worlds = amount_WxP.shape[0]
    cell = np.arange(worlds)[:, None] * entities + entity_P[None, :]
    return np.bincount(cell.ravel(), amount_WxP.ravel(), minlength=worlds * entities).reshape(worlds, entities)
