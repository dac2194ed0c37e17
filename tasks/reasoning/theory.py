"""The theories of `rule_deduction`: two chains of rules, one of them broken, distractors, and names for their atoms.

Atoms are numbered from the chains' ends: atom 2·(depth - level) + chain has that level on the true (0) or the broken
(1) chain, atom 2·depth + 2 is the one that nothing supports. Statements 0 and 1 are the facts, 2·level + chain are the
chains' rules, and statement s ≥ 2·depth + 2 is a distractor, whose fresh atom is s + 1.

Shape letters: S statements, M atoms, N places of the ontology, R reserved names.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import uniform, unit
from tasks.draw import hash_bit, permutation
from tasks.sequence import Part

LINES = 4  # of the ontology: one for a chain that it derives, two for one that it doesn't, one for something else
ORDERS = np.array(list(itertools.permutations(range(LINES))), np.int32)
EMPTY = -1  # in place of a premise


class Shape(NamedTuple):
    """What a theory is before its details are drawn.

    Attributes:
      depth: int32[], rules of a chain, at least 1.
      cut: int32[], the broken rule, in 1 … depth.
      count: int32[], statements, distractors included.
    """

    depth: jax.Array
    cut: jax.Array
    count: jax.Array

    def atom(self, level: jax.Array | int, chain: jax.Array | int) -> jax.Array:
        """The atom of that level on that chain."""
        return 2 * (self.depth - level) + chain

    @property
    def unsupported(self) -> jax.Array:
        """The atom that stands in for the broken rule's premise."""
        return 2 * self.depth + 2


class Theory(NamedTuple):
    """Facts and rules over atoms, before atoms have names and statements an order; entries from `count` on are idle.

    Attributes:
      first, second: int32[S], the premises, EMPTY where there is none.
      head: int32[S], the conclusion.
      source: int32[S], the statement that concludes `first`; the statement itself where none does. For distractors.
      branch: bool[S], whether it is a distractor that leads on from an atom, not to it.
    """

    first: jax.Array
    second: jax.Array
    head: jax.Array
    source: jax.Array
    branch: jax.Array


def build(shape: Shape, bits_2xS: jax.Array, conjunctions: jax.Array) -> Theory:
    """Both chains and the distractors; a rule has a second premise with probability `conjunctions`."""
    index_S = jnp.arange(bits_2xS.shape[1], dtype=jnp.int32)
    level_S, chain_S = index_S // 2, index_S % 2
    fresh_S = index_S + 1
    distractor_S = index_S >= shape.unsupported
    broken_S = (level_S == shape.cut) & (chain_S == 1)
    before_S = jnp.where(broken_S, shape.unsupported, shape.atom(level_S - 1, chain_S))
    anchor_S = (bits_2xS[1] % fresh_S.astype(jnp.uint32)).astype(jnp.int32)
    forward_S = bits_2xS[0] % jnp.uint32(2) == 0

    rule_S = jnp.where(distractor_S, jnp.where(forward_S, anchor_S, fresh_S), before_S)
    first_S = jnp.where(index_S < 2, EMPTY, rule_S)
    head_S = jnp.where(distractor_S, jnp.where(forward_S, fresh_S, anchor_S), shape.atom(level_S, chain_S))
    facts = shape.atom(0, 0), shape.atom(0, 1)
    either_S = jnp.where(bits_2xS[0] // jnp.uint32(2) % jnp.uint32(2) == 0, facts[0], facts[1])
    fact_S = jnp.where(first_S == facts[0], facts[1], jnp.where(first_S == facts[1], facts[0], either_S))
    partner_S = jnp.where(broken_S & ~distractor_S, shape.atom(shape.cut - 1, 1), fact_S)
    double_S = (unit(bits_2xS[0]) < conjunctions) & (index_S >= 2)

    on_chain_S = 2 * (shape.depth - anchor_S // 2) + anchor_S % 2
    of_anchor_S = jnp.where(anchor_S < shape.unsupported, on_chain_S, anchor_S - 1)
    return Theory(
        first=first_S,
        second=jnp.where(double_S, partner_S, EMPTY),
        head=head_S,
        source=jnp.where(anchor_S == shape.unsupported, index_S, of_anchor_S),
        branch=distractor_S & forward_S,
    )


def places(
    shape: Shape, key_A: jax.Array, bits_5: jax.Array, atoms: int, unseen: jax.Array, agreement: jax.Array
) -> jax.Array:
    """A place of its own for every atom: int32[M].

    Args:
      shape: of the theory.
      key_A: uint32[N + R], random.
      bits_5: uint32[5], random.
      atoms: N, static.
      unseen: the first so many atoms have reserved places.
      agreement: with probability |agreement| the chains lie along the ontology's lines. Which one lies on a single
        line, so that the ontology derives its end from its fact: the true chain if agreement > 0, else the broken one.
    """
    size = atoms  # no theory has more atoms than there are places
    atom_M, place_N = jnp.arange(size, dtype=jnp.int32), jnp.arange(atoms, dtype=jnp.int32)
    ontological = unit(bits_5[0]) < jnp.abs(agreement)
    given_M = _along_lines(shape, bits_5, atoms // LINES, agreement > 0, atom_M)
    fixed_M = ontological & (atom_M <= shape.unsupported)
    taken_N = jnp.any((given_M[None, :] == place_N[:, None]) & fixed_M[None, :], axis=1)
    key_N = jnp.where(taken_N, jnp.uint32(0xFFFFFFFF), key_A[:atoms] // jnp.uint32(2))  # taken ones rank last
    rank_N = permutation(key_N, atoms, atoms)
    wanted_M = atom_M - jnp.where(ontological, shape.unsupported + 1, 0)
    free_MxN = rank_N[None, :] == wanted_M[:, None]
    drawn_M = jnp.sum(jnp.where(free_MxN, place_N[None, :], 0), axis=1, dtype=jnp.int32)
    reserved_R = permutation(key_A[atoms:], key_A.shape[0] - atoms, key_A.shape[0] - atoms)
    hidden_M = atoms + reserved_R[jnp.minimum(atom_M, reserved_R.shape[0] - 1)]
    return jnp.where(atom_M < unseen, hidden_M, jnp.where(fixed_M, given_M, drawn_M))


def _along_lines(shape: Shape, bits_5: jax.Array, height: int, agree: jax.Array, atom_M: jax.Array) -> jax.Array:
    """Places along the lines for the chains' atoms and the unsupported one; meaningless for others.

    One chain lies on a line of its own. The other lies on two, and changes from one to the other at the cut. The
    unsupported atom precedes the broken chain's upper part on its line where that agrees, and lies apart where not.
    """
    line_4 = jnp.asarray(ORDERS)[(bits_5[0] % jnp.uint32(len(ORDERS))).astype(jnp.int32)]
    depth, cut = shape.depth, shape.cut
    room_4 = jnp.stack([depth + 1, cut, depth - cut + 2, jnp.int32(1)])
    start_4 = jnp.stack([uniform(bits_5[1 + i], 0, height - room_4[i]) for i in range(LINES)])
    level_M, chain_M = depth - atom_M // 2, atom_M % 2
    derived_M = (chain_M == 0) == agree
    which_M = jnp.where(derived_M, 0, jnp.where(level_M < cut, 1, 2))
    rank_M = jnp.where(which_M == 2, level_M - cut + 1, level_M)
    apart_M = atom_M == shape.unsupported
    which_M = jnp.where(apart_M, jnp.where(agree, 2, 3), which_M)
    rank_M = start_4[which_M] + jnp.where(apart_M, 0, rank_M)
    line_M = line_4[which_M]
    return 2 * (line_M // 2 * height + rank_M) + line_M % 2


def choose_side(
    shape: Shape, theory: Theory, place_M: jax.Array, asked: jax.Array, atoms: int, held_out: jax.Array
) -> jax.Array:
    """Exchange lines 2j and 2j + 1 throughout, or don't, so that the instance lies on the wanted side of the hash.

    Of two mates the one whose atom asked about lies on an even line is hashed. Reserved places stay where they are.
    """
    side = place_M[asked] % 2
    even_M = jnp.where(place_M < atoms, place_M ^ side, place_M)
    size = 256  # places, and one for EMPTY: three fit an int32
    of_S = [jnp.where(part_S < 0, size, even_M[part_S]) for part_S in (theory.first, theory.second, theory.head)]
    low_S, high_S = jnp.minimum(of_S[0], of_S[1]), jnp.maximum(of_S[0], of_S[1])
    words = (low_S * (size + 1) + high_S) * (size + 1) + of_S[2]
    question = (size + 1) ** 3 + even_M[asked]
    valid_S = jnp.arange(words.shape[0], dtype=jnp.int32) < shape.count
    words, valid = jnp.append(words, question), jnp.append(valid_S, True)
    bit = hash_bit(words, valid, ordered=False) ^ held_out
    return jnp.where(place_M < atoms, even_M ^ bit.astype(jnp.int32), even_M)


def derived(shape: Shape, theory: Theory, slot_of: jax.Array, token_M: jax.Array, distractors: int) -> Part:
    """What forward chaining adds to the facts, round by round, each round in the order of its rules.

    Args:
      shape, theory: the theory.
      slot_of: int32[S], the statement in every slot of the context.
      token_M: the atoms' tokens.
      distractors: how many there can be, static.
    """
    size = theory.head.shape[0]
    index_S, never = jnp.arange(size, dtype=jnp.int32), size
    applies_S = (index_S < shape.unsupported) & ((index_S % 2 == 0) | (index_S // 2 < shape.cut))
    round_S = jnp.where(applies_S, index_S // 2, never)

    def lead_on(_: int, round_S: jax.Array) -> jax.Array:
        return jnp.where(theory.branch, jnp.minimum(round_S[theory.source] + 1, never), round_S)

    round_S = lax.fori_loop(0, distractors, lead_on, round_S)
    here_SxS = (slot_of[None, :] == index_S[:, None]) & (index_S[None, :] < shape.count)
    slot_S = jnp.sum(jnp.where(here_SxS, index_S[None, :], 0), axis=1, dtype=jnp.int32)
    new_S = (round_S < never) & (index_S >= 2) & (index_S < shape.count)
    time_S = jnp.where(new_S, round_S * size + slot_S, never * size)
    rank_S = jnp.sum(time_S[None, :] < time_S[:, None], axis=1, dtype=jnp.int32)
    at_SxS = (rank_S[None, :] == index_S[:, None]) & new_S[None, :]
    stated_S = jnp.sum(jnp.where(at_SxS, token_M[theory.head][None, :], 0), axis=1, dtype=jnp.int32)
    return Part(stated_S, jnp.sum(new_S, dtype=jnp.int32))
