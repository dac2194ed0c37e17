"""Graph search: the next vertex, or the whole path, towards a goal in a directed acyclic graph (arXiv 2412.04703)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.asking import READ_NAMES, Markers, append, ask, extent, require_scratchpad, unit
from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, World, require_choice, require_range
from tasks.draw import permutation, renamed
from tasks.fields import KnobField, share
from tasks.planning import dag, search_graphs
from tasks.sequence import Part, part

ANSWERS = ("next", "path")
SIMULATED = 2048  # examples behind the baselines of random graphs


@dataclass(frozen=True)
class GraphSearch:
    """From the shuffled edges of a directed acyclic graph, a start and a goal, answer where to go.

    `answer` 'next' asks for a child of the start from which the goal can be reached (any counts, as in the paper),
    'path' for the vertices after the start on a shortest path, goal included (any shortest path counts). `targets` hold
    the shortest path that takes the smallest label wherever it may choose.

    Lookahead, as the paper defines it: the steps of a breadth-first search from the start until it has met the goal or
    until all that it has just met lies behind the right child. The *balanced* distribution has each lookahead equally
    often: `branches` paths of so many edges leave the start, the goal ends one of them and the others are dead ends of
    the same length. The remaining vertices, a random number of them before and the others behind, attach themselves to
    what is there, and `extra` more edges join them to it: whatever they join, no branch is left, shortened or entered
    from another, and the start keeps its children. So the right path is unique and the lookahead exact. In a *naive*
    graph every vertex but the first has one random earlier parent, `extra` random edges are added, and (start, goal) is
    a random pair with a path of at most `lookahead` edges; most of these need hardly any lookahead, and more than one
    answer may be right.

    Tokens: labels 1 … nodes, THINK, ANSWER. Sequence: the edges in random order, each as (tail, head); start; goal;
    ANSWER. A scratchpad is written between THINK and ANSWER: the search from the goal back, the vertices between goal
    and start in that order. Every answer token is fed back.

    `train` and `iid` are split by the question, whatever the order of the edges: questions that differ only by
    exchanging the labels of start and goal are mates, and a hash of what they share says which of them is trained on.

    Shortcut: with probability `naive` a training graph is a naive one, where looking one step ahead is often enough.
    The split `balanced` has none of these.

    Attributes:
      vertices: in all splits but `size`. Traced in `sample`.
      larger: vertices in the `size` split.
      nodes: number of labels.
      branches: paths that leave the start. Traced in `sample`.
      shortest, lookahead: the smallest and the largest lookahead of training. Traced in `sample`.
      longer: the lookahead of the `lookahead` split.
      extra: edges beyond the vertices - 1 that connect the graph. Traced in `sample`.
      answer: 'next' or 'path'.
      naive: probability that a training graph is a naive one. Traced in `sample`.
      scratchpad: one of `SCRATCHPADS`.
      scratchpad_share: share of training examples with a scratchpad. Traced in `sample`.
    """

    vertices: int = 8
    larger: int = 11
    nodes: int = 12
    branches: int = 2
    shortest: int = 1
    lookahead: int = 2
    longer: int = 3
    extra: int = 2
    answer: str = "next"
    naive: float = 0.0
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "graph_search"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = "Saparov et al. 2024, arXiv 2412.04703"
    known: ClassVar[str] = (
        "Learned on small graphs when every lookahead is trained on equally often, not from naive graphs; every layer "
        "extends the sets of vertices known to be reachable. It gets harder as graphs grow, whatever the model's size, "
        "and with the search written out too."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"vertices": 5, "larger": 6, "nodes": 6, "lookahead": 1, "longer": 2, "extra": 0, "naive": 0.5},
        {
            "vertices": 8,
            "larger": 10,
            "nodes": 10,
            "answer": "path",
            "scratchpad": "wrong",
            "scratchpad_share": 0.5,
        },
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="two_steps",
            sizes={"vertices": 7, "larger": 9, "nodes": 9, "extra": 0},
            expected={"iid": (0.9, 1.0), "lookahead": (0.0, 0.4)},
            about="lookahead 1 and 2 are learned by two layers, and nothing beyond",
            source="Saparov et al. 2024, arXiv 2412.04703; measured here",
            seconds=40,
            steps=5000,
            rate=2e-3,
        ),
        Card(
            name="four_steps",
            sizes={"vertices": 13, "larger": 15, "nodes": 16, "lookahead": 4, "longer": 5},
            expected={"iid": (0.1, 0.65)},
            about="a larger graph isn't: not even what looking one step ahead gives (.63)",
            source="Saparov et al. 2024, arXiv 2412.04703",
            seconds=50,
            steps=3000,
            rate=2e-3,
            predicted_failure=True,
        ),
    )

    def __post_init__(self):
        require_choice(self, "answer", ANSWERS)
        require_scratchpad(self)
        require_range(self, "branches", 2, 16)
        require_range(self, "shortest", 1, 30)
        require_range(self, "lookahead", self.shortest, 30)
        require_range(self, "longer", self.lookahead + 1, 31)
        require_range(self, "vertices", 3, dag.VERTICES_MOST - 1)
        if self.vertices < 1 + self.branches * self.longer:
            raise TaskError(
                f"graph_search: vertices must be at least {1 + self.branches * self.longer} for {self.branches} "
                f"branches of {self.longer} edges (the lookahead split), not {self.vertices}."
            )
        require_range(self, "larger", self.vertices + 1, dag.VERTICES_MOST)
        require_range(self, "nodes", self.larger, 1024)
        # Every vertex outside the branches can take an edge to or from all of them, but for the one that attached it.
        room = min(
            (self.vertices - 1 - self.branches * hops) * (self.branches * hops - 1)
            for hops in (*range(self.shortest, self.lookahead + 1), self.longer)
        )
        require_range(self, "extra", 0, 64)
        if self.extra > room:
            raise TaskError(
                f"graph_search: extra must be at most {room} with {self.vertices} vertices (more of them make room "
                f"next to the branches), not {self.extra}."
            )
        require_range(self, "naive", 0.0, 1.0)

    @property
    def _markers(self) -> Markers:
        return Markers(think=1 + self.nodes, answer=2 + self.nodes)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 3 + self.nodes

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """The labels."""
        return (range(1, 1 + self.nodes),)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `lookahead`, `size`; `naive` and `balanced` where they differ from iid; `direct`."""
        pad = float(self.scratchpad != "absent")

        def split(about: str, **changed: float) -> Split:
            difficulty = {
                "vertices": self.vertices,
                "branches": self.branches,
                "shortest": self.shortest,
                "lookahead": self.lookahead,
                "extra": self.extra,
                "naive": self.naive,
                "held_out": 1,
                "scratchpad": pad,
            } | changed
            most = int(difficulty["lookahead"])
            question = 2 * (int(difficulty["vertices"]) - 1 + self.extra) + 3
            return Split(
                difficulty,
                disjoint=bool(difficulty["held_out"]),
                about=about,
                unique=not difficulty["naive"],
                **extent(question, most - 1, most if self.answer == "path" else 1, difficulty["scratchpad"]),
            )

        low, high = self.shortest, self.lookahead
        splits = {
            "train": split(f"lookahead {low} to {high}", held_out=0, scratchpad=pad * self.scratchpad_share),
            "iid": split("questions that are not in train"),
            "lookahead": split(f"lookahead {self.longer}", shortest=self.longer, lookahead=self.longer, naive=0.0),
            "size": split(f"{self.larger} vertices", vertices=self.larger),
        }
        if self.naive < 1:
            splits["naive"] = split("random graphs, lookahead as it comes", naive=1.0)
        if self.naive > 0:
            splits["balanced"] = split(f"lookahead {low} to {high}, equally often", naive=0.0)
        if pad:
            splits["direct"] = split("the answer without a scratchpad", scratchpad=0.0)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "naive": share("share of naive graphs"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """The shortest lookahead, and no edge too many."""
        return {"lookahead": self.shortest, "extra": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`first_hop` by label; the `branch`, how many children of the start are listed before it; `goal` and `start`.

        And, where training has several, the `distance` to the goal and the `lookahead`; both agree in balanced graphs.
        """
        steps = {"distance": 1 + self.longer, "lookahead": 1 + self.longer} if self.shortest < self.lookahead else {}
        return {"first_hop": self.nodes, "branch": self.larger, "goal": self.nodes, "start": self.nodes} | steps

    @property
    def read_names(self) -> tuple[str, ...]:
        """ANSWER, and the question's last position (the same without a scratchpad)."""
        return READ_NAMES

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One question. Difficulty: `vertices` up to larger, 1 ≤ `shortest` ≤ `lookahead` ≤ longer and `branches` ≥ 1
        with branches·lookahead < vertices, `extra` up to the field, `held_out` 0 (train) or 1, and the probabilities
        `naive` and `scratchpad`.
        """
        most_edges = self.larger - 1 + self.extra
        bits = jax.random.bits(key, (self.nodes + most_edges + 10,))
        label_bits, edge_bits, free = bits[: self.nodes], bits[self.nodes : -10], bits[-10:]
        question = search_graphs.draw(free[:9], difficulty, self.larger, self.extra)
        held_out = jnp.asarray(difficulty["held_out"], jnp.int32) > 0
        label_V = permutation(label_bits, self.nodes, self.larger)
        label_V = renamed(label_V, difficulty, self.nodes)
        label_V = search_graphs.choose_side(question, label_V, self.nodes, held_out)
        path = search_graphs.shortest_path(question, label_V, self.longer)
        hops = question.distance[question.start, question.goal]
        edges = part(1 + dag.listed(question.graph, label_V, edge_bits), 2 * question.graph.count)
        ends = 1 + label_V[jnp.stack([question.start, question.goal])]
        back = jnp.maximum(hops - 2 - jnp.arange(self.longer, dtype=jnp.int32), 0)  # from before the goal to first hop
        written = ask(
            length,
            self.scratchpad,
            jax.random.fold_in(key, 1),
            append(append(edges, ends[0]), ends[1]),
            Part(1 + label_V[path[back]], hops - 1),
            Part(1 + label_V[path], hops if self.answer == "path" else jnp.int32(1)),
            unit(free[9]) < difficulty["scratchpad"],
            self._markers,
            (1, 1 + self.nodes),
        )
        factors = {
            "first_hop": label_V[path[0]],
            "branch": _branch(edges, ends[0], 1 + label_V[path[0]]),
            "goal": label_V[question.goal],
            "start": label_V[question.start],
            "distance": hops,
            "lookahead": search_graphs.lookahead(question, path[0]),
        }
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={name: factors[name] for name in self.factor_sizes},
            read=jnp.stack([written.answer, written.question]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`. 'next': a child of the start that leads to the goal. 'path': it can be walked and ends there; as
        it has as many vertices as a shortest path, it then is one.
        """
        adjacent_NxN, end = dag.read_edges(example, 3, self.nodes)
        start, goal = example.tokens[end - 2] - 1, example.tokens[end - 1] - 1
        judged_L = example.weights == 1
        first_L = judged_L & (jnp.cumsum(judged_L, dtype=jnp.int32) == 1)
        here_L = jnp.clip(answer - 1, 0, self.nodes - 1)
        from_L = jnp.where(first_L, start, jnp.roll(here_L, 1))
        right_L = (answer >= 1) & (answer <= self.nodes) & adjacent_NxN[from_L, here_L]
        if self.answer == "next":
            right_L = right_L & dag.leading_to(adjacent_NxN, goal)[here_L]
        else:
            last_L = judged_L & ~jnp.roll(judged_L, -1)
            right_L = right_L & (~last_L | (here_L == goal))
        return jnp.all(right_L | ~judged_L)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Read the edges, search breadth-first from whatever vertex is asked about."""
        edges, start, goal = self._read(example)
        said = [
            a for a, w in zip(np.asarray(answer).tolist(), np.asarray(example.weights).tolist(), strict=True) if w == 1
        ]

        def search(source: int) -> dict[int, int]:
            """Vertex -> edges from the source."""
            found, queue = {source: 0}, [source]
            for vertex in queue:
                for tail, head in edges:
                    if tail == vertex and head not in found:
                        found[head] = found[vertex] + 1
                        queue.append(head)
            return found

        if self.answer == "next":
            return (start, said[0]) in edges and goal in search(said[0])
        walked = list(zip([start, *said], said, strict=False))
        return set(walked) <= set(edges) and said[-1] == goal and len(said) == search(start)[goal]

    def _read(self, example: Example) -> tuple[list[tuple[int, int]], int, int]:
        """(edges, start, goal) as the tokens tell them, token ids."""
        marker = int(np.argmax(np.asarray(example.weights) > 0))
        tokens = np.asarray(example.tokens)[:marker].tolist()
        return list(zip(tokens[:-2:2], tokens[1:-2:2], strict=True)), tokens[-2], tokens[-1]

    def problem(self, example: Example) -> Hashable:
        """The edges in no order, start and goal."""
        edges, start, goal = self._read(example)
        return frozenset(edges), start, goal

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over all labels; `random_child` of the start, and all later steps right; `one_step`: the goal if it
        is a child of the start, else like random_child. Naive graphs are simulated with a fixed seed.
        """
        return {name: found for name, found in _baselines(self, split).items() if found.exact < 1}

    def render(self, example: Example) -> str:
        """`3>5 1>2 … | from 3 to 7: 5 7`, labels from 0; a scratchpad stands in brackets before the answer."""
        edges, start, goal = self._read(example)
        weights, targets = np.asarray(example.weights), np.asarray(example.targets)
        steps = " ".join(str(t - 1) for t in targets[(weights > 0) & (weights < 1)] if t <= self.nodes)
        thought = f" [{steps}]" if np.any((weights > 0) & (weights < 1)) else ""
        shown = " ".join(f"{tail - 1}>{head - 1}" for tail, head in edges)
        answer = " ".join(str(t - 1) for t in targets[weights == 1])
        return f"{shown} | from {start - 1} to {goal - 1}:{thought} {answer}"


def _branch(edges: Part, start: jax.Array, first_hop: jax.Array) -> jax.Array:
    """How many children of the start are listed before its first hop."""
    pairs_Ex2 = edges.tokens.reshape(-1, 2)
    children_E = (pairs_Ex2[:, 0] == start) & (2 * jnp.arange(pairs_Ex2.shape[0], dtype=jnp.int32) < edges.count)
    taken_E = children_E & (pairs_Ex2[:, 1] == first_hop)
    return jnp.sum(children_E & (jnp.cumsum(taken_E, dtype=jnp.int32) == 0), dtype=jnp.int32)


@lru_cache
def _baselines(task: GraphSearch, split: str) -> dict[str, Baseline]:
    """From (share, edges to the goal, children of the start, those of them that are right, right answers)."""
    difficulty = task.splits[split].difficulty
    low, high, naive = int(difficulty["shortest"]), int(difficulty["lookahead"]), float(difficulty["naive"])
    share = (1 - naive) / (high - low + 1)
    cases = np.array([(share, hops, task.branches, 1, 1) for hops in range(low, high + 1)], float)
    if naive > 0:
        sizes = int(difficulty["vertices"]), int(difficulty["extra"]), high
        simulated = search_graphs.simulate_naive(*sizes, whole_path=task.answer == "path", count=SIMULATED)
        cases = np.concatenate([cases, np.column_stack([np.full(SIMULATED, naive / SIMULATED), simulated])])
    share, hops, children, right, answers = cases.T
    asked = hops if task.answer == "path" else np.ones_like(hops)
    lucky, guess = right / children, -np.log(children) / asked
    return {
        "chance": Baseline(float(share @ (answers / task.nodes**asked)), -math.log(task.nodes)),
        "random_child": Baseline(float(share @ lucky), float(share @ guess)),
        "one_step": Baseline(
            float(share @ np.where(hops == 1, 1, lucky)), float(share @ np.where(hops == 1, 0, guess))
        ),
    }
