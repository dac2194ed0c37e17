"""The taxonomies of `defaults`: two individuals under one root, an exception on the way up from one of them.

Node 2·level + branch lies below the level at which the branches meet, node join + level from there to the root;
distractor classes have the nodes after the root's.

Shape letters: S statements, M nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tasks.asking import uniform, unit
from tasks.base import Difficulty
from tasks.draw import hash_bit


class Tree(NamedTuple):
    """The taxonomy of one example.

    Attributes:
      depth: int32[], edges from an individual to the root, at least 1.
      join: int32[], the level at which the branches of the two individuals meet, in 1 … depth.
      level: int32[], that of the exception, below the join on branch 0.
      upper: int32[], that of the exception it is an exception to; `level` if there is none.
    """

    depth: jax.Array
    join: jax.Array
    level: jax.Array
    upper: jax.Array

    @property
    def root(self) -> jax.Array:
        """Its node."""
        return self.join + self.depth

    @property
    def nested(self) -> jax.Array:
        """Whether there is an exception to an exception: int32[], 0 or 1."""
        return (self.upper > self.level).astype(jnp.int32)

    def node(self, level: jax.Array, branch: jax.Array) -> jax.Array:
        """The node at that level above the individual of that branch."""
        return jnp.where(level < self.join, 2 * level + branch, self.join + level)


class Statements(NamedTuple):
    """What is said, before nodes have names and statements an order.

    Attributes:
      subject: int32[S], the node that a statement is about.
      parent: int32[S], the node that it is said to be under; -1 where the statement is about a property.
      stated: int32[S], property · values + value, of those.
    """

    subject: jax.Array
    parent: jax.Array
    stated: jax.Array


def plant(bits_5: jax.Array, difficulty: Difficulty) -> Tree:
    """Draw the levels: uniformly, the exception's as far as it has room below the root."""
    names = ("least_depth", "depth", "lowest", "highest")
    least, most, lowest, highest = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
    depth = uniform(bits_5[0], least, most)
    nested = (unit(bits_5[1]) < jnp.asarray(difficulty["nested"], jnp.float32)) & (depth >= 2)
    above = 1 + nested.astype(jnp.int32)  # levels that the exception needs between itself and the root
    top = jnp.minimum(highest, depth - 1)
    level = jnp.minimum(uniform(bits_5[2], jnp.minimum(lowest, top), top), depth - above)
    join = uniform(bits_5[3], level + above, depth)
    return Tree(depth, join, level, jnp.where(nested, uniform(bits_5[4], level + 1, join - 1), level))


def draw_values(bits_3: jax.Array, values: int, nested: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The default, the exception, and the exception to which that is one: neighbours differ, all three if they can."""
    count = jnp.uint32(values)
    default = (bits_3[0] % count).astype(jnp.int32)
    upper = (default + uniform(bits_3[1], 1, values - 1)) % values
    low, high = jnp.minimum(default, upper), jnp.maximum(default, upper)
    third = uniform(bits_3[2], 0, values - 3)
    third = third + (third >= low).astype(jnp.int32)
    third = third + (third >= high).astype(jnp.int32)
    third = third if values > 2 else default
    return default, jnp.where(nested, third, upper), upper


def say(
    tree: Tree,
    bits_2xS: jax.Array,
    distractors: jax.Array,
    main: jax.Array,
    values: tuple[jax.Array, jax.Array, jax.Array],
    aside_node: jax.Array,
    sizes: tuple[int, int],
) -> Statements:
    """The edges, what is said about property `main`, then of the distractor classes, then aside.

    Args:
      tree: the taxonomy.
      bits_2xS: uint32[2, S], random.
      distractors: their number.
      main: the property asked about.
      values: the default, the exception, and the exception to which that is one.
      aside_node: int32[M], the nodes of which something is said about other properties.
      sizes: properties and values of each, static.
    """
    index_S = jnp.arange(bits_2xS.shape[1], dtype=jnp.int32)
    properties, count = sizes
    edges = tree.root + distractors
    node_S = index_S + (index_S >= tree.root).astype(jnp.int32)  # which has an edge up
    up_S = jnp.where(node_S < 2 * tree.join, jnp.minimum(node_S + 2, 2 * tree.join), node_S + 1)
    anchors_S = jnp.maximum(node_S - 2, 1).astype(jnp.uint32)  # a distractor is put under any class before it
    anchor_S = 2 + (bits_2xS[0] % anchors_S).astype(jnp.int32)

    rank_S = index_S - edges - 2 - tree.nested  # among the distractors' statements, then the asides
    fixed = [(0, tree.root, values[0]), (1, 2 * tree.level, values[1])]
    subject_S = jnp.where(rank_S < 0, 2 * tree.upper, tree.root + 1 + rank_S)
    value_S = jnp.where(rank_S < 0, values[2], (bits_2xS[1] % jnp.uint32(count)).astype(jnp.int32))
    for place, node, value in fixed:
        subject_S = jnp.where(index_S - edges == place, node, subject_S)
        value_S = jnp.where(index_S - edges == place, value, value_S)
    aside_S = rank_S >= distractors
    subject_S = jnp.where(aside_S, aside_node[jnp.clip(rank_S - distractors, 0, aside_node.shape[0] - 1)], subject_S)
    random_S = (bits_2xS[0] % jnp.uint32(properties)).astype(jnp.int32)
    other_S = (main + 1 + (bits_2xS[0] % jnp.uint32(max(properties - 1, 1))).astype(jnp.int32)) % properties
    property_S = jnp.where(rank_S < 0, main, jnp.where(aside_S, other_S, random_S))
    return Statements(
        subject=jnp.where(index_S < edges, node_S, subject_S),
        parent=jnp.where(index_S < edges, jnp.where(node_S < tree.root, up_S, anchor_S), -1),
        stated=property_S * count + value_S,
    )


def choose_side(
    name_M: jax.Array, said: Statements, count: jax.Array, asked: jax.Array, main: jax.Array, held_out: jax.Array
) -> jax.Array:
    """Exchange names 2j and 2j + 1 throughout, or don't, so that the instance lies on the wanted side of the hash.

    Of two mates the one whose individual asked about has an even name is hashed.
    """
    even_M = name_M ^ (name_M[asked] % 2)
    size = 2048  # names, then values
    object_S = jnp.where(said.parent >= 0, even_M[jnp.maximum(said.parent, 0)], 256 + said.stated)
    words = jnp.append(even_M[said.subject] * size + object_S, size * size + even_M[asked] * size + main)
    valid = jnp.append(jnp.arange(words.shape[0] - 1, dtype=jnp.int32) < count, True)
    return even_M ^ (hash_bit(words, valid, ordered=False) ^ held_out).astype(jnp.int32)
