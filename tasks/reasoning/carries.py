"""Pairs of digits that carry as wanted: exact sampling of sums whose longest carry chain has a given length.

Digit pairs are of three kinds: one that carries by itself (their sum is at least the base), one that passes a carry on
(the sum is base - 1), one that stops it. A carry chain is a pair that carries and those right above it that pass it on;
its length counts all of them. Kinds of uniform digits are independent, so uniform sums with a given longest chain are a
Markov chain from the least digit up, conditioned on how it ends; its table is small and made once.

Shape letters: D digit places, least significant first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

CARRIES, PASSES, STOPS = 0, 1, 2


class Kinds(NamedTuple):
    """Kinds of digit pairs.

    Attributes:
      kinds: int32[D], one of CARRIES, PASSES, STOPS; meaningless beyond the number of digits.
      carried: bool[D], whether a carry leaves the place.
    """

    kinds: jax.Array
    carried: jax.Array


def shares(base: int) -> tuple[float, float, float]:
    """How frequent the kinds are among pairs of uniform digits."""
    return (base - 1) / (2 * base), 1 / base, (base - 1) / (2 * base)


class Pairs(NamedTuple):
    """The digit pairs (a, b) of each kind. Shape letter: P pairs of the commonest kind.

    Attributes:
      pair: int32[3, P], each as a·base + b.
      count: int32[3], how many there are; the other entries are meaningless.
      sum_of: int32[3, P], numbers of {a, b} from 0: (a, b) and (b, a) have one.
      sums: int32[3], how many such numbers there are; at least two from base 3 on.
    """

    pair: np.ndarray
    count: np.ndarray
    sum_of: np.ndarray
    sums: np.ndarray


@lru_cache
def pairs(base: int) -> Pairs:
    """All digit pairs, by kind."""
    every = [(a, b) for a in range(base) for b in range(base)]
    by_kind = {
        CARRIES: [p for p in every if sum(p) >= base],
        PASSES: [p for p in every if sum(p) == base - 1],
        STOPS: [p for p in every if sum(p) < base - 1],
    }
    count = np.array([len(by_kind[kind]) for kind in range(3)], np.int32)
    pair, sum_of = np.zeros((2, 3, max(count)), np.int32)
    sums = np.zeros(3, np.int32)
    for kind, of_kind in by_kind.items():
        number = {low_high: i for i, low_high in enumerate(sorted({(min(p), max(p)) for p in of_kind}))}
        pair[kind, : len(of_kind)] = [a * base + b for a, b in of_kind]
        sum_of[kind, : len(of_kind)] = [number[min(p), max(p)] for p in of_kind]
        sums[kind] = len(number)
    return Pairs(pair, count, sum_of, sums)


def after(kind: int, chain: int, reached: int, most: int) -> tuple[int, int] | None:
    """(running chain, whether it has been `most` long) after a pair of a kind; None if it gets longer than that."""
    chain = {CARRIES: 1, PASSES: chain + 1 if chain else 0, STOPS: 0}[kind]
    return (chain, int(reached or chain == most)) if chain <= most else None


@lru_cache
def completions(base: int, places: int) -> np.ndarray:
    """float64[c, r, s, f]: chance that r more pairs make the longest chain exactly c.

    s is the length of the chain that runs now, f whether one of length c has been seen.
    """
    weight = np.zeros((places + 1, places + 1, places + 2, 2))
    weight[:, 0, :, 1] = 1.0
    for most in range(places + 1):
        for left in range(1, places + 1):
            for chain in range(most + 1):
                for reached in range(2):
                    for kind, share in enumerate(shares(base)):
                        state = after(kind, chain, reached, most)
                        if state:
                            weight[most, left, chain, reached] += share * weight[most, left - 1, *state]
    return weight


@lru_cache
def thresholds(base: int, places: int) -> np.ndarray:
    """float32[c, r, s, f, 2]: a uniform number below the first draws CARRIES, below the second PASSES, else STOPS."""
    weight = completions(base, places)
    bounds = np.zeros((*weight.shape, 2), np.float32)
    for most, left, chain, reached in np.ndindex(*weight.shape):
        if not left or chain > most or not weight[most, left, chain, reached]:
            continue
        states = [after(kind, chain, reached, most) for kind in (CARRIES, PASSES, STOPS)]
        part = [p * weight[most, left - 1, *s] if s else 0.0 for p, s in zip(shares(base), states, strict=True)]
        carries, either = part[0] / sum(part), (part[0] + part[1]) / sum(part)
        # What cannot be is never drawn, whatever the rounding.
        either = 1.0 if not part[2] else either
        carries = either if not part[1] else carries
        bounds[most, left, chain, reached] = carries, either
    return bounds


@lru_cache
def longest_chain(base: int, places: int) -> np.ndarray:
    """float64[n, c]: share of the pairs of n-digit numbers whose longest carry chain is c."""
    weight = completions(base, places)
    return np.array([[weight[c, n, 0, int(c == 0)] for c in range(places + 1)] for n in range(places + 1)])


def draw_kinds(base: int, places: int, unit_D: jax.Array, digits: jax.Array, longest: jax.Array) -> Kinds:
    """Kinds of `digits` pairs, exactly as those of uniform numbers whose longest carry chain is `longest`.

    Args:
      base: static.
      places: the most digits a sum can have, static.
      unit_D: float32[D], uniform in [0, 1); D may be less than `places`.
      digits: int32[], at most D. Traced.
      longest: int32[], at most `digits`. Traced.
    """
    flat = jnp.asarray(thresholds(base, places).reshape(-1, 2))
    none = jnp.int32(0)

    def place(state: tuple[jax.Array, jax.Array], drawn: tuple[jax.Array, jax.Array]):
        (chain, reached), (index, number) = state, drawn
        left = jnp.clip(digits - index, 0, places)
        row = ((longest * (places + 1) + left) * (places + 2) + chain) * 2 + reached
        kind = jnp.sum(number >= flat[row], dtype=jnp.int32)
        chain = jnp.where(kind == CARRIES, 1, jnp.where((kind == PASSES) & (chain > 0), chain + 1, none))
        chain = jnp.where(left > 0, chain, none)
        return (chain, jnp.maximum(reached, (chain == longest).astype(jnp.int32))), (kind, chain > 0)

    start = (none, (longest == 0).astype(jnp.int32))
    index_D = jnp.arange(unit_D.shape[0], dtype=jnp.int32)
    _, (kind_D, carried_D) = lax.scan(place, start, (index_D, unit_D))
    return Kinds(kind_D, carried_D)


class Marginals(NamedTuple):
    """How carries are distributed in sums of n digits.

    Attributes:
      longest: float64[places+1], shares of the longest carry chain.
      everywhere: share of sums in which a carry leaves every place.
      carried: float64[n], share of sums in which a carry leaves a place.
    """

    longest: np.ndarray
    everywhere: float
    carried: np.ndarray


@lru_cache
def marginals(base: int, places: int, digits: int, least: int, most: int, balanced: bool) -> Marginals:
    """Exact shares over sums of `digits` digits whose longest chain is drawn from least … most."""
    least, most = min(least, digits), min(most, digits)
    longest = np.zeros(places + 1)
    longest[least : most + 1] = 1.0 if balanced else longest_chain(base, places)[digits, least : most + 1]
    longest /= longest.sum()
    weight, everywhere, carried = completions(base, places), 0.0, np.zeros(digits)
    for chain_most in range(least, most + 1):
        states = {(0, int(chain_most == 0), True): longest[chain_most]}  # the last: whether every place has carried
        for place in range(digits):
            reached: dict[tuple[int, int, bool], float] = {}
            for (chain, seen, always), mass in states.items():
                total = weight[chain_most, digits - place, chain, seen]
                for kind, share in enumerate(shares(base)):
                    state = after(kind, chain, seen, chain_most)
                    moved = mass * share * weight[chain_most, digits - place - 1, *state] / total if state else 0.0
                    if not state or not moved:
                        continue
                    carries = state[0] > 0
                    reached[*state, always and carries] = reached.get((*state, always and carries), 0.0) + moved
                    carried[place] += moved * carries
            states = reached
        everywhere += sum(mass for (_, _, always), mass in states.items() if always)
    return Marginals(longest, everywhere, carried)
