"""The graphs of graph search: drawing them with an exact lookahead or none in mind, and finding their paths.

Shape letters: V vertices (capacity), S simulated graphs.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import uniform, unit
from tasks.base import Difficulty
from tasks.planning import dag


class Question(NamedTuple):
    """A graph and what is asked of it, in vertex numbers (every edge leads to a higher one).

    Attributes:
      graph: the edges.
      distance: int32[V, V], edges on a shortest path from row to column.
      start, goal: int32[].
    """

    graph: dag.Graph
    distance: jax.Array
    start: jax.Array
    goal: jax.Array


def draw(bits: jax.Array, difficulty: Difficulty, size: int, most_extra: int) -> Question:
    """A graph, start and goal. Vertices: some that lead to the rest, the start, its branches, some led to.

    Args:
      bits: uint32[9], uniform.
      difficulty: as in `GraphSearch.sample`.
      size: V, the largest number of vertices; static.
      most_extra: the largest `extra`, static.
    """
    names = ("vertices", "branches", "shortest", "lookahead", "extra")
    vertices, branches, shortest, longest, extra = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
    naive = unit(bits[0]) < difficulty["naive"]
    hops = uniform(bits[1], shortest, longest)
    start = jnp.where(naive, 0, uniform(bits[2], 0, vertices - 1 - branches * hops))
    behind = jnp.where(naive, 1, start + 1 + branches * hops)

    w_Vx1 = jnp.arange(size, dtype=jnp.int32)[:, None]
    x_1xV = jnp.arange(size, dtype=jnp.int32)[None, :]
    parent_Vx1 = jnp.where((w_Vx1 - start - 1) % hops == 0, start, w_Vx1 - 1)
    partners_VxV = jnp.where(
        w_Vx1 < start,
        (x_1xV > w_Vx1) & (x_1xV < behind),
        jnp.where(w_Vx1 < behind, x_1xV == parent_Vx1, (x_1xV < w_Vx1) & ((x_1xV > start) | naive)),
    )
    allowed_VxV = (w_Vx1 < x_1xV) & ((w_Vx1 < start) | ((x_1xV >= behind) & ((w_Vx1 != start) | naive)))
    outward_V = w_Vx1[:, 0] < start
    graph = dag.grow(bits[3:7], vertices, start, partners_VxV, outward_V, allowed_VxV, extra, most_extra)
    distance_VxV = dag.distances(graph.joined)
    within_VxV = (distance_VxV > 0) & (distance_VxV <= longest) & (x_1xV < vertices)
    first, last, _ = dag.best_pair(jnp.where(within_VxV, dag.scores(bits[7:9], size), jnp.uint32(0)))
    return Question(graph, distance_VxV, jnp.where(naive, first, start), jnp.where(naive, last, start + hops))


def choose_side(question: Question, label_V: jax.Array, labels: int, held_out: jax.Array) -> jax.Array:
    """Give start and goal their two labels in the order that puts the question on the wanted side of the hash."""
    vertex_V = jnp.arange(label_V.shape[0], dtype=jnp.int32)
    one, two = label_V[question.start], label_V[question.goal]
    low, high = jnp.minimum(one, two), jnp.maximum(one, two)

    def ordered(start: jax.Array, goal: jax.Array) -> jax.Array:
        return jnp.where(vertex_V == question.start, start, jnp.where(vertex_V == question.goal, goal, label_V))

    exchange = dag.side(question.graph, ordered(low, high), low * labels + high, labels) ^ held_out
    return jnp.where(exchange, ordered(high, low), ordered(low, high))


def shortest_path(question: Question, label_V: jax.Array, most: int) -> jax.Array:
    """The vertices after the start on the shortest path with the smallest labels: int32[most], meaningless behind the
    goal.
    """
    left_V = question.distance[:, question.goal]
    size = label_V.shape[0]

    def step(here: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        nearer_V = question.graph.joined[here] & (left_V == left_V[here] - 1)
        key_V = label_V * size + jnp.arange(size, dtype=jnp.int32)
        following = jnp.min(jnp.where(nearer_V, key_V, dag.FAR)) % size
        return following, following

    return lax.scan(step, question.start, None, length=most)[1]


def lookahead(question: Question, first_hop: jax.Array) -> jax.Array:
    """min(|P|, max |S|): edges to the goal, or to the farthest vertex with no shortest path by the first hop."""
    from_start_V, from_first_V = question.distance[question.start], question.distance[first_hop]
    elsewhere_V = (from_start_V < dag.FAR) & (from_first_V + 1 != from_start_V)
    return jnp.minimum(from_start_V[question.goal], jnp.max(jnp.where(elsewhere_V, from_start_V, 0)))


def simulate_naive(vertices: int, extra: int, longest: int, whole_path: bool, count: int) -> np.ndarray:
    """Naive graphs, drawn another way: float[count, 4] of edges to the goal, children of the start, those of them that
    are right, and right answers.
    """
    generator = np.random.default_rng(0)
    graph_S, vertex_V = np.arange(count), np.arange(vertices)
    joined_SxVxV = np.zeros((count, vertices, vertices), bool)
    for head in vertex_V[1:]:
        joined_SxVxV[graph_S, generator.integers(head, size=count), head] = True
    for _ in range(extra):
        open_SxVxV = ~joined_SxVxV & (vertex_V[:, None] < vertex_V[None, :])
        pair_S = np.argmax((generator.random(open_SxVxV.shape) * open_SxVxV).reshape(count, -1), axis=1)
        joined_SxVxV[graph_S, pair_S // vertices, pair_S % vertices] = True
    distance_SxVxV = np.where(np.eye(vertices, dtype=bool), 0, vertices) + np.zeros((count, 1, 1), np.int16)
    for head in vertex_V[1:]:
        through_SxVxV = np.where(joined_SxVxV[:, None, :, head], distance_SxVxV + 1, vertices)
        distance_SxVxV[:, :head, head] = through_SxVxV.min(axis=2)[:, :head]
    wanted_SxVxV = (distance_SxVxV > 0) & (distance_SxVxV <= longest)
    pair_S = np.argmax((generator.random(wanted_SxVxV.shape) * wanted_SxVxV).reshape(count, -1), axis=1)
    start_S, goal_S = pair_S // vertices, pair_S % vertices
    hops_S = distance_SxVxV[graph_S, start_S, goal_S]
    children_SxV, left_SxV = joined_SxVxV[graph_S, start_S], distance_SxVxV[graph_S, :, goal_S]
    useful_SxV = children_SxV & (left_SxV == hops_S[:, None] - 1 if whole_path else left_SxV < vertices)
    right_S = useful_SxV.sum(axis=1)
    walks_SxV, answers_S = np.eye(vertices)[start_S], right_S
    for steps in range(1, longest + 1 if whole_path else 1):
        walks_SxV = np.einsum("sv,svw->sw", walks_SxV, joined_SxVxV)
        answers_S = np.where(hops_S == steps, walks_SxV[graph_S, goal_S], answers_S)
    return np.column_stack([hops_S, children_SxV.sum(axis=1), right_S, answers_S])
