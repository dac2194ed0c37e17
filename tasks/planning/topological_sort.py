"""Topological sort: what a vertex depends on, in an order that respects every dependency (Brevo, arXiv 2512.17351)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import append, uniform
from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, World, require_range
from tasks.draw import permutation
from tasks.planning import dag, simulated
from tasks.sequence import Part, part, write

SIMULATED = 2048  # examples behind the baselines
BELIEFS_B = np.linspace(0.0, 0.99, 100)  # how far an order by in-degree may be believed in


class Question(NamedTuple):
    """A graph and what is asked of it, in vertex numbers.

    Attributes:
      graph: the edges.
      needed: bool[V], the vertex asked about and its ancestors.
      query: int32[], the vertex asked about.
      ancestors: int32[], how many it has.
      depth: int32[], the edges on the longest path that ends there.
    """

    graph: dag.Graph
    needed: jax.Array
    query: jax.Array
    ancestors: jax.Array
    depth: jax.Array


@dataclass(frozen=True)
class TopologicalSort:
    """From the shuffled edges `x y` (y depends on x) and a query, write the query's ancestors and then the query.

    The answer is any topological order: all ancestors, each once, none before one it depends on, the query last. As
    many positions are asked as the order has. `targets` hold the order that always continues with the smallest label
    that may come next.

    This is Brevo, with the number of ancestors and the depth (the edges on the longest path to the query) controlled.
    Each ancestor has a height; one ancestor for each height 1 … depth, the others draw theirs. An ancestor leads to a
    random vertex just below it, and may lead to any lower one. Nothing leads from the other vertices to these: some of
    them are roots, each of which leads to one that isn't; the rest attach themselves to an ancestor, the query or each
    other. `extra` more edges join what these rules allow.

    Tokens: labels 1 … nodes, ANSWER. Sequence: the edges in random order, the query, ANSWER. Every answer is fed back.

    `train` and `iid` are split by the question, whatever the order of the edges: exchanging the query's label, 2j or
    2j + 1, with the other of the two (whether that is in the graph or not) makes a mate, and a hash of what mates share
    says which of them is trained on.

    Attributes:
      vertices: in all splits but `size`, which adds one for each more ancestor. Traced in `sample`.
      nodes: number of labels; even.
      fewest, ancestors: the smallest and the largest number of ancestors in training. Traced in `sample`.
      more_ancestors: the number of ancestors in the `size` split.
      depth: the largest depth in training, which begins at 1; not above what the ancestors allow. Traced in `sample`.
      deeper: the depth of the `depth` split; at most `ancestors`.
      extra: edges beyond the vertices - 1 that connect the graph, as far as the rules leave room. Traced in `sample`.
    """

    vertices: int = 8
    nodes: int = 12
    fewest: int = 2
    ancestors: int = 4
    more_ancestors: int = 6
    depth: int = 3
    deeper: int = 4
    extra: int = 2

    name: ClassVar[str] = "topological_sort"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = "Brevo: Allen-Zhu 2025, arXiv 2512.17351; cf. iGSM, Ye et al. 2024, arXiv 2407.20311"
    known: ClassVar[str] = (
        "The first answer needs the whole graph: which vertices are ancestors, and which of them depend on nothing. "
        "Studied up to 110 vertices; convolutions over a few tokens (Canon layers) extend the breadth that is learned."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"vertices": 4, "nodes": 6, "fewest": 1, "ancestors": 2, "more_ancestors": 3, "depth": 1, "deeper": 2},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="three_ancestors",
            sizes={
                "vertices": 5,
                "nodes": 8,
                "fewest": 2,
                "ancestors": 3,
                "more_ancestors": 4,
                "depth": 2,
                "deeper": 3,
                "extra": 1,
            },
            expected={"iid": (0.95, 1.0), "depth": (0.6, 1.0), "size": (0.0, 0.2)},
            about="learned with two and three ancestors; a chain of three mostly carries over, a fourth ancestor not",
            source="measured here; cf. Allen-Zhu 2025, arXiv 2512.17351",
            seconds=40,
            steps=5000,
            rate=2e-3,
        ),
    )

    def __post_init__(self):
        require_range(self, "fewest", 1, 30)
        require_range(self, "ancestors", max(2, self.fewest), 30)
        require_range(self, "more_ancestors", self.ancestors + 1, 40)
        require_range(self, "depth", 1, self.ancestors)
        require_range(self, "deeper", self.depth + 1, 30)
        if self.deeper > self.ancestors:
            raise TaskError(
                f"topological_sort: deeper must be at most ancestors ({self.ancestors}), one for each edge of the "
                f"longest path, not {self.deeper}."
            )
        require_range(self, "vertices", self.ancestors + 1, dag.VERTICES_MOST - self.more_ancestors)
        require_range(self, "nodes", self._most_vertices, 1024)
        if self.nodes % 2:
            raise TaskError(f"topological_sort: nodes must be even (labels go in pairs), not {self.nodes}.")
        require_range(self, "extra", 0, 64)

    @property
    def _most_vertices(self) -> int:
        return self.vertices + self.more_ancestors - self.ancestors

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 + self.nodes

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `size` and `depth`."""

        def split(about: str, **changed: int) -> Split:
            difficulty = {
                "vertices": self.vertices,
                "fewest": self.fewest,
                "ancestors": self.ancestors,
                "shallowest": 1,
                "depth": self.depth,
                "extra": self.extra,
                "held_out": 1,
            } | changed
            asked = difficulty["ancestors"] + 1
            return Split(
                difficulty,
                length=2 * (difficulty["vertices"] - 1 + self.extra) + 2 + asked - 1,
                answer_tokens=asked,
                decode_steps=asked,
                disjoint=bool(difficulty["held_out"]),
                about=about,
                unique=False,
            )

        few, many, most = self.fewest, self.ancestors, self.more_ancestors
        return {
            "train": split(f"{few} to {many} ancestors, depth 1 to {self.depth}", held_out=0),
            "iid": split("questions that are not in train"),
            "size": split(f"{most} ancestors", fewest=most, ancestors=most, vertices=self._most_vertices),
            "depth": split(f"depth {self.deeper}", fewest=many, shallowest=self.deeper, depth=self.deeper),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """The fewest ancestors, none of which depends on another, and no edge too many."""
        return {"ancestors": self.fewest, "depth": 1, "extra": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`first`, the first answer by label; how many `ancestors` the query has and how many of them are `sources`,
        which depend on nothing; the `depth`; and the `query` by label.
        """
        return {
            "first": self.nodes,
            "ancestors": 1 + self.more_ancestors,
            "sources": 1 + self.more_ancestors,
            "query": self.nodes,
        } | ({"depth": 1 + self.deeper} if min(self.depth, self.ancestors) > 1 else {})

    @property
    def read_names(self) -> tuple[str, ...]:
        """ANSWER, and the position where the query is due again."""
        return ("answer", "last_answer")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One question. Difficulty: `vertices` up to those of `size`, 1 ≤ `fewest` ≤ `ancestors` < vertices,
        1 ≤ `shallowest` ≤ `depth` (both cut to the number of ancestors), `extra` up to the field, `held_out` 0 or 1.
        """
        size = self._most_vertices
        most_edges = size - 1 + self.extra
        bits = jax.random.bits(key, (self.nodes + most_edges + size + 7,))
        label_bits, edge_bits, free = bits[: self.nodes], bits[self.nodes :][:most_edges], bits[-size - 7 :]
        question = self._draw(free, difficulty)
        label_V = permutation(label_bits, self.nodes, size)
        label_V = _choose_side(question, label_V, self.nodes, jnp.asarray(difficulty["held_out"], jnp.int32) > 0)
        order = _order(question, label_V, self.more_ancestors + 1)
        edges = part(1 + dag.listed(question.graph, label_V, edge_bits), 2 * question.graph.count)
        asked = append(append(edges, 1 + label_V[question.query]), 1 + self.nodes)
        written = write(length, asked, Part(1 + label_V[order], question.ancestors + 1))
        needed_VxV = question.graph.joined & question.needed[:, None]
        factors = {
            "first": label_V[order[0]],
            "ancestors": question.ancestors,
            "sources": jnp.sum(question.needed & ~jnp.any(needed_VxV, axis=0), dtype=jnp.int32),
            "query": label_V[question.query],
            "depth": question.depth,
        }
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={name: factors[name] for name in self.factor_sizes},
            read=jnp.stack([written.answer, written.last]),
        )

    def _draw(self, bits: jax.Array, difficulty: Difficulty) -> Question:
        """A graph and its query. Vertices: roots that lead elsewhere, the ancestors, the query, those led to."""
        names = ("vertices", "fewest", "ancestors", "shallowest", "depth", "extra")
        vertices, few, many, low, high, extra = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
        ancestors = uniform(bits[0], few, many)
        depth = uniform(bits[1], jnp.minimum(low, ancestors), jnp.minimum(high, ancestors))
        others = vertices - 1 - ancestors
        roots = uniform(bits[2], 0, jnp.maximum(others - 1, 0))  # one vertex at least is left for them to lead to
        query = roots + ancestors

        size = self._most_vertices
        vertex_V = jnp.arange(size, dtype=jnp.int32)
        drawn_V = 1 + (bits[7:] % depth.astype(jnp.uint32)).astype(jnp.int32)
        height_V = jnp.where(vertex_V - roots < depth, depth - (vertex_V - roots), drawn_V)
        height_V = jnp.where(vertex_V == query, 0, height_V)
        needed_V = (vertex_V >= roots) & (vertex_V <= query)
        w_Vx1, x_1xV = vertex_V[:, None], vertex_V[None, :]
        root_Vx1, needed_Vx1, needed_1xV = w_Vx1 < roots, needed_V[:, None], needed_V[None, :]
        lower_VxV = needed_Vx1 & needed_1xV & (height_V[:, None] > height_V[None, :])
        led_to_1xV = (x_1xV > query) & (x_1xV < vertices)
        just_below_VxV = lower_VxV & (height_V[:, None] == height_V[None, :] + 1)
        behind_VxV = (x_1xV < w_Vx1) & (x_1xV >= roots)
        partners_VxV = jnp.where(root_Vx1, led_to_1xV, jnp.where(needed_Vx1, just_below_VxV, behind_VxV))
        allowed_VxV = lower_VxV | (led_to_1xV & (w_Vx1 < x_1xV))
        graph = dag.grow(bits[3:7], vertices, query, partners_VxV, vertex_V < query, allowed_VxV, extra, self.extra)
        return Question(graph, needed_V, query, ancestors, depth)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`: every ancestor and the query once, and all edges among them point forwards."""
        adjacent_NxN, end = dag.read_edges(example, 2, self.nodes)
        needed_N = dag.leading_to(adjacent_NxN, example.tokens[end - 1] - 1)
        label_N = jnp.arange(1, self.nodes + 1, dtype=jnp.int32)
        said_LxN = (answer[:, None] == label_N[None, :]) & (example.weights == 1)[:, None]
        once_N = jnp.sum(said_LxN, axis=0, dtype=jnp.int32) == needed_N.astype(jnp.int32)
        place_N = jnp.argmax(said_LxN, axis=0)
        respected_NxN = (place_N[:, None] < place_N[None, :]) | ~(adjacent_NxN & needed_N[:, None] & needed_N[None, :])
        whole = jnp.sum(needed_N, dtype=jnp.int32) == jnp.sum(example.weights == 1, dtype=jnp.int32)
        return jnp.all(once_N) & jnp.all(respected_NxN) & whole

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Read the answer from the left; whatever a vertex depends on must have been read before it."""
        edges, query = self._read(example)
        said = [a for a, w in zip(np.asarray(answer).tolist(), np.asarray(example.weights).tolist(), strict=True) if w]
        read: list[int] = []
        for vertex in said:
            if vertex in read or any(tail not in read for tail, head in edges if head == vertex):
                return False
            read.append(vertex)
        if not read or read[-1] != query:
            return False
        wanted = {query}
        while more := {tail for tail, head in edges if head in wanted} - wanted:
            wanted |= more
        return set(read) == wanted

    def _read(self, example: Example) -> tuple[list[tuple[int, int]], int]:
        """(edges, query) as the tokens tell them, token ids."""
        marker = int(np.argmax(np.asarray(example.weights) > 0))
        tokens = np.asarray(example.tokens)[:marker].tolist()
        return list(zip(tokens[:-1:2], tokens[1:-1:2], strict=True)), tokens[-1]

    def problem(self, example: Example) -> Hashable:
        """The edges in no order, and the query."""
        edges, query = self._read(example)
        return frozenset(edges), query

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over all labels, `in_graph` over those in the graph; the right vertices, the query last:
        `random_order`, and `in_degree`, those with fewer edges that lead to them first, of two with as many the one
        with an edge to the other. How many orders are right is simulated with a fixed seed.

        `in_degree` is right where no edge among the ancestors leads to fewer. That is so of most graphs that are not
        deep: `iid` hardly tests more than which vertices are ancestors, and `depth`, a chain, tests little more.
        """
        return {name: found for name, found in _baselines(self, split).items() if found.exact < 1}

    def render(self, example: Example) -> str:
        """`3>5 1>5 … | before 5: 1 3 5`, labels from 0."""
        edges, query = self._read(example)
        shown = " ".join(f"{tail - 1}>{head - 1}" for tail, head in edges)
        answer = " ".join(str(t - 1) for t in np.asarray(example.targets)[np.asarray(example.weights) > 0])
        return f"{shown} | before {query - 1}: {answer}"


def _choose_side(question: Question, label_V: jax.Array, labels: int, held_out: jax.Array) -> jax.Array:
    """Give the query the one of its two labels that puts the question on the wanted side of the hash."""
    query = label_V[question.query]
    even = query - query % 2

    def exchanged(wanted: jax.Array) -> jax.Array:
        """The labels after the exchange of the pair's two, where the query doesn't have the wanted one."""
        other = 2 * even + 1 - label_V
        return jnp.where((query != wanted) & (label_V - label_V % 2 == even), other, label_V)

    odd = dag.side(question.graph, exchanged(even), even, labels) ^ held_out
    return exchanged(even + odd.astype(jnp.int32))


def _order(question: Question, label_V: jax.Array, most: int) -> jax.Array:
    """The needed vertices in topological order, always the smallest label next: int32[most]."""
    vertex_V = jnp.arange(label_V.shape[0], dtype=jnp.int32)

    def step(left_V: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        waits_V = jnp.any(question.graph.joined & left_V[:, None], axis=0)
        key_V = label_V * label_V.shape[0] + vertex_V
        following = jnp.min(jnp.where(left_V & ~waits_V, key_V, dag.FAR)) % label_V.shape[0]
        return left_V & (vertex_V != following), following

    return lax.scan(step, question.needed, None, length=most)[1]


@lru_cache
def _baselines(task: TopologicalSort, split: str) -> dict[str, Baseline]:
    """From the lengths of the answers and Knuth's estimates of how many orders are right."""
    generator, examples = np.random.default_rng(0), simulated.examples(task, split, SIMULATED)
    asked_S = np.array([np.sum(example.weights > 0) for example in examples])
    orders_S = np.array([_orders(*task._read(example), generator) for example in examples])
    blind_S = np.array([math.factorial(asked - 1) for asked in asked_S], float)  # orders with the query last
    vertices = int(task.splits[split].difficulty["vertices"])
    return {
        "chance": Baseline(float(np.mean(orders_S / float(task.nodes) ** asked_S)), -math.log(task.nodes)),
        "in_graph": Baseline(float(np.mean(orders_S / float(vertices) ** asked_S)), -math.log(vertices)),
        "random_order": Baseline(float(np.mean(orders_S / blind_S)), float(np.mean(-np.log(blind_S) / asked_S))),
        "in_degree": _in_degree(task, examples, blind_S, asked_S),
    }


def _in_degree(task: TopologicalSort, examples: list[Example], blind_S: np.ndarray, asked_S: np.ndarray) -> Baseline:
    """Its log-probability is that of an order by in-degree, equals at random, believed in as far as that serves best.

    Of several right orders `targets` hold the one by labels: an order by in-degree is right more often than it is that
    one, and whoever believes in it as often as it is right does worse than a random order where there are many.
    """
    right_S, ways_S = np.zeros((2, len(examples)))
    agrees_S = np.zeros(len(examples), bool)
    for index, example in enumerate(examples):
        edges, query = task._read(example)
        enter, target = Counter(head for _, head in edges), example.targets[example.weights > 0].tolist()
        needed = set(target) - {query}
        right_S[index] = all(enter[tail] <= enter[head] for tail, head in edges if head in needed)
        ways_S[index] = math.prod(map(math.factorial, Counter(enter[vertex] for vertex in needed).values()))
        order = [enter[vertex] for vertex in target[:-1]]
        agrees_S[index] = order == sorted(order)
    nats_BxS = np.log(BELIEFS_B[:, None] * agrees_S / ways_S + (1 - BELIEFS_B)[:, None] / blind_S)
    return Baseline(float(right_S.mean()), float(np.max(np.mean(nats_BxS / asked_S, axis=1))))


def _orders(edges: list[tuple[int, int]], query: int, generator: np.random.Generator) -> float:
    """Knuth's unbiased estimate of the number of topological orders of what the query needs: follow one at random and
    multiply by how many vertices may come next.
    """
    needs: dict[int, set[int]] = {}
    waiting = [query]
    for vertex in waiting:
        needs[vertex] = {tail for tail, head in edges if head == vertex}
        waiting += [tail for tail in needs[vertex] if tail not in waiting]
    orders = 1.0
    while needs:
        ready = [vertex for vertex, tails in needs.items() if not tails & needs.keys()]
        orders *= len(ready)
        del needs[ready[generator.integers(len(ready))]]
    return orders
