"""Countdown played at random: the floors of the task, simulated on problems of a fixed seed."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.planning.take_apart import Problem, Rules, make_problem, random_play, results, surprise, words

SIMULATED = 2048  # problems that a baseline is simulated on
PLAYS = 64  # of each


@partial(jax.jit, static_argnums=0)
def _problems(rules: Rules, count: jax.Array) -> Problem:
    """SIMULATED problems on either side with any target, leaves leading with their number."""

    def one(bits: jax.Array) -> Problem:
        target = 1 + (bits[0] % jnp.uint32(rules.largest)).astype(jnp.int32)
        return make_problem(rules, bits[1:], target, count, jnp.bool_(False), jnp.bool_(True))[0]

    return jax.vmap(one)(jax.random.bits(jax.random.key(0), (SIMULATED, 1 + words(rules))))


class Played(NamedTuple):
    """What random play reaches.

    Attributes:
      exact: share of problems that random steps solve.
      nats: of a solution's steps under them.
      closing: share that they solve with the last step looked for.
      closing_nats: of a solution's steps then.
    """

    exact: float
    nats: float
    closing: float
    closing_nats: float


@lru_cache(maxsize=64)
def random_steps(rules: Rules, count: int) -> Played:
    """What random steps reach on problems of `count` numbers, simulated with a fixed seed."""
    problem = jax.tree.map(np.asarray, _problems(rules, jnp.int32(count)))
    postfix = problem.postfix[:, : 2 * count - 1]
    numbers = postfix[postfix > 0].reshape(-1, count)
    often, target = np.repeat(numbers, PLAYS, axis=0), np.repeat(problem.target, PLAYS)
    played = random_play(rules, often)[:, 0] == target
    left = random_play(rules, often, leave=2)
    closed = np.any(_closing(rules, left[:, 0], left[:, 1], target), axis=1) & np.all(left > 0, axis=1)

    steps = problem.steps[:, : count - 1][:, ::-1]
    a, operation, b, value = steps[:, -1].T
    ways = np.sum(_closing(rules, a, b, value), axis=1) * np.where((operation % 2 == 0) & (a != b), 2, 1)
    closing_nats = surprise(rules, numbers, steps[:, :-1]) + np.log(ways)
    nats = surprise(rules, numbers, steps)
    return Played(*(float(x.mean()) for x in (played, nats, closed, closing_nats)))


def _closing(rules: Rules, a: np.ndarray, b: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Which operations lead from two numbers to the target: bool[·, 4]."""
    found, legal = results(rules, a, b)
    return legal & (found == target[:, None])
