"""Which facts of two-token keys each split asks for, and what predictors reach that ignore a part of the key.

Shape letters: E entities, R relations, W simulated worlds, F their pairs in a row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tasks.base import Baseline

TRAINED, HEAD, TAIL, UNSEEN, PARAPHRASE = range(5)
SIMULATED_PAIRS = 1 << 18  # of all simulated worlds together: a large world is an average by itself
WORLDS = (8, 4000)  # the least and the most that are simulated


class Law(NamedTuple):
    """How a world is drawn and what training asks for: the task's sizes.

    Attributes:
      entities, relations, values, held_out: see `CompositeFacts`.
      exponents: of entities and relations in training.
      rephrased: share of the trained facts in all phrasings; 1 with one phrasing.
    """

    entities: int
    relations: int
    values: int
    held_out: int
    exponents: tuple[float, float]
    rephrased: float


def asked(entity_rank: Any, relation_rank: Any, held_out: Any, own_phrasing: Any = ()) -> dict[int, Any]:
    """Which pairs each part consists of: part -> bool[…, E, R], of arrays of NumPy or JAX.

    Args:
      entity_rank, relation_rank: int[…, E] and int[…, R], 0 for the most frequent.
      held_out: bool[…, E, R].
      own_phrasing: int[…, E, R], below 0 where training uses all phrasings; empty with one phrasing.
    """
    halves = entity_rank.shape[-1] // 2, relation_rank.shape[-1] // 2
    common_Ex1, common_1xR = (entity_rank < halves[0])[..., :, None], (relation_rank < halves[1])[..., None, :]
    trained = ~held_out
    parts = {
        TRAINED: trained,
        HEAD: trained & common_Ex1 & common_1xR,
        TAIL: trained & ~common_Ex1 & ~common_1xR,
        UNSEEN: held_out,
    }
    return parts if isinstance(own_phrasing, tuple) else parts | {PARAPHRASE: trained & (own_phrasing >= 0)}


def zipf(exponents: tuple[float, float], entity_rank: np.ndarray, relation_rank: np.ndarray) -> np.ndarray:
    """Relative frequencies of all pairs, float64[…, E, R]."""
    return (1.0 + entity_rank)[..., :, None] ** -exponents[0] * (1.0 + relation_rank)[..., None, :] ** -exponents[1]


def training_weights(law: Law, entity_rank: np.ndarray, relation_rank: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """How often training asks for each pair: float64[…, E, R], 1 in all for each world."""
    weight = np.where(held_out, 0.0, zipf(law.exponents, entity_rank, relation_rank))
    return weight / weight.sum(axis=(-2, -1), keepdims=True)


@lru_cache(maxsize=256)
def simulate(law: Law, part: int, exponents: tuple[float, float]) -> dict[str, Baseline]:
    """What predictors reach that know how often each value is right in training next to one part of the key, or at all.

    Args:
      part: of trained facts, which are asked for.
      exponents: at whose frequencies they are.
    """
    pairs = law.entities * law.relations
    worlds, generator = int(np.clip(SIMULATED_PAIRS // pairs, *WORLDS)), np.random.default_rng(0)

    def orders(count: int) -> np.ndarray:
        return generator.permuted(np.tile(np.arange(count), (worlds, 1)), axis=1)

    entity_rank, relation_rank = orders(law.entities), orders(law.relations)
    place = orders(law.entities)[:, :, None] + orders(law.relations)[:, None, :]
    held_out = place % law.relations < law.held_out
    alone = np.where(generator.random(held_out.shape) < law.rephrased, -1, 0)
    known = training_weights(law, entity_rank, relation_rank, held_out)
    parts = asked(entity_rank, relation_rank, held_out, alone)
    wanted = np.where(parts[part], zipf(exponents, entity_rank, relation_rank), 0.0)
    wanted /= np.maximum(wanted.sum(axis=(1, 2), keepdims=True), np.finfo(float).tiny)
    value = generator.integers(law.values, size=held_out.shape)

    world, entity, relation = (np.asarray(index) for index in np.indices(held_out.shape))
    groups = {
        "most_common_value": world,
        "entity_value": world * law.entities + entity,
        "relation_value": world * law.relations + relation,
    }
    return {name: _commonest(group, value, known, wanted, law.values) for name, group in groups.items()}


def _commonest(group: np.ndarray, value: np.ndarray, known: np.ndarray, wanted: np.ndarray, values: int) -> Baseline:
    """The predictor that answers the value of most known weight in each group, judged by the wanted weights.

    Args:
      group, value: int[W, E, R].
      known, wanted: float64[W, E, R], 1 in all for each world.
      values: how many there are.
    """
    cell_C, cell_F = np.unique((group * values + value).ravel(), return_inverse=True)
    known_C, wanted_C = (np.bincount(cell_F.ravel(), x.ravel(), cell_C.size) for x in (known, wanted))
    group_C = cell_C // values
    first = np.flatnonzero(np.diff(group_C, prepend=-1))
    size = np.diff(first, append=cell_C.size)
    best_G, all_G = np.maximum.reduceat(known_C, first), np.add.reduceat(known_C, first)
    # The least of equals, as `argmax` has it.
    place = np.where(known_C == np.repeat(best_G, size), np.arange(cell_C.size), cell_C.size)
    exact = wanted_C[np.minimum.reduceat(place, first)].sum()
    met = wanted_C > 0
    logprob = np.sum(wanted_C[met] * np.log(known_C[met] / np.repeat(all_G, size)[met]))
    return Baseline(float(exact / len(group)), float(logprob / len(group)))
