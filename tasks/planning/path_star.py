"""Path-star graphs: find the arm that leads to the goal (Bachmann and Nagarajan, arXiv 2403.06963)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import (
    PAD,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    TaskError,
    exact_match,
    require_choice,
    require_range,
)
from tasks.draw import hash_bit, in_memory, permutation, renamed, words
from tasks.fields import KnobField, share

DIRECTIONS = ("forward", "reverse")
ARRANGEMENT = 0xA2  # folded into an example's key for the leak of positions, so that everything else stays as it is


class StarWorld(NamedTuple):
    """What is held out for a seed.

    Attributes:
      unseen_goal: int32[nodes]: with start node i, node unseen_goal[i] is never the goal in training.
    """

    unseen_goal: jax.Array


@dataclass(frozen=True)
class PathStar:
    """From the shuffled edges of a star, a start and a goal, write the path between them.

    `degree` arms leave the start. `length` counts the *nodes* of a path, start and goal included, as in the paper: an
    arm has length - 1 edges, the star degree·(length - 1) + 1 nodes, labelled without repetition from `nodes` labels.

    Tokens (node labels 1 … nodes): the edges in random order, each as (nearer the start, farther); then the query; then
    the path. Forward, the query is `goal start` and the answer leads from the start: first hop, …, goal. Reverse, it
    is `start goal` and the answer goes back from the goal: the node before it, …, start. Either way the first answer is
    given at the query's last position, there are length - 1 answer tokens, and each is fed back. (The paper also asks
    for the first node of the path, which is a copy; here it is the query's last token.)

    `train` and `iid` are split by the graph, whatever the order of its edges: graphs that differ only by exchanging the
    goal's first hop with that of another arm (the one whose end has the smallest label) are mates, and a hash of what
    they share says which of them is trained on. `labels` asks for (start, goal) pairs that no training example has.

    A path of three nodes needs no search: the one edge into the goal names the node between its ends, so that a single
    lookup gives the whole answer, in either direction, and forward training learns it. From four nodes on, which is
    the default, that edge says nothing of the first hop; the baseline `one_edge` is what it is worth there.

    Teacherless, a mask token stands in the input wherever an answer would be fed back, in training and in evaluation:
    nothing can be copied from the teacher, so the arm has to be known before its first node is written.

    With goal_first > 0 positions leak the arm: with that probability the goal's arm has the first edges of the list,
    in random order; else the order is any in which it doesn't. All splits keep this but `counterfactual`, which is
    `iid` with the goal's arm never first: who relies on positions falls there.

    Attributes:
      degree: number of arms. Traced in `sample`.
      length: nodes on a path. Traced in `sample`.
      nodes: number of labels; large enough for one more arm and for arms one node longer.
      direction: 'forward' or 'reverse'.
      teacherless: whether a mask token replaces the answers that would be fed back.
      goal_first: share of examples whose list begins with the edges of the goal's arm. Traced in `sample`; static only
        in whether it is 0, which leaves the order to chance.
    """

    degree: int = 2
    length: int = 4
    nodes: int = 16
    direction: str = "forward"
    teacherless: bool = False
    goal_first: float = 0.0

    name: ClassVar[str] = "path_star"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = "Bachmann & Nagarajan 2024, arXiv 2403.06963"
    known: ClassVar[str] = (
        "Forward, next-token training guesses the arm (1/degree) and follows it: a shortcut, the Clever Hans cheat. "
        "Reverse, every step is determined and it is learned. Teacherless, where the cheat is impossible, some of the "
        "paper's graphs are solved."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"nodes": 10},
        {"degree": 3, "length": 4, "nodes": 13, "direction": "reverse"},
        {"nodes": 10, "teacherless": True, "goal_first": 0.5},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="forward",
            sizes={"degree": 2, "length": 4, "nodes": 16, "direction": "forward"},
            expected={"iid": (0.35, 0.65)},
            about="the first hop stays a guess: 1/degree",
            source="Bachmann & Nagarajan 2024, arXiv 2403.06963",
            seconds=30,
            steps=3500,
            predicted_failure=True,
            default=True,
        ),
        Card(
            name="reverse",
            sizes={"degree": 2, "length": 4, "nodes": 16, "direction": "reverse"},
            expected={"iid": (0.95, 1.0)},
            about="solved when written from the goal back",
            source="Bachmann & Nagarajan 2024, arXiv 2403.06963",
            seconds=30,
            steps=3500,
            default=True,
        ),
        Card(
            name="teacherless",
            sizes={"degree": 2, "length": 4, "nodes": 16, "teacherless": True},
            expected={"iid": (0.35, 0.65)},
            about="still 1/degree at this size and budget; the paper solves some graphs so, with larger models",
            source="Bachmann & Nagarajan 2024, arXiv 2403.06963; the interval measured here, also after 9,000 steps",
            seconds=40,
            steps=4000,
        ),
        Card(
            name="goal_first",
            sizes={"degree": 2, "length": 4, "nodes": 16, "goal_first": 0.9},
            expected={"iid": (0.85, 0.99), "counterfactual": (0.25, 0.6)},
            about="the leak is learned and nothing else: where the goal's arm is never first, no better than a guess",
            source="measured here",
            seconds=26,
            steps=2000,
        ),
    )

    def __post_init__(self):
        require_choice(self, "direction", DIRECTIONS)
        require_range(self, "degree", 2, 64)
        require_range(self, "length", 3, 64)
        require_range(self, "nodes", 5, 256)
        require_range(self, "goal_first", 0.0, 0.99)
        if not isinstance(self.teacherless, bool):
            raise TaskError(f"path_star: teacherless must be True or False, not {self.teacherless!r}.")
        least = 1 + max((self.degree + 1) * (self.length - 1), self.degree * self.length)
        if self.nodes < least:
            raise TaskError(
                f"path_star: nodes must be in [{least}, 256] for degree {self.degree} and length {self.length} "
                f"(the splits add an arm, or a node to every arm), not {self.nodes}."
            )

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.nodes + self.teacherless

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """The node labels."""
        return (range(1, 1 + self.nodes),)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, unseen `labels`, one more node on every arm (`length`), and one more arm (`degree`).

        Where positions leak, `counterfactual` too.
        """
        leak = {"goal_first": self.goal_first} if self.goal_first else {}

        def split(degree: int, length: int, held_out: int, unseen_labels: int, about: str, **other: float) -> Split:
            difficulty = {"degree": degree, "length": length, "held_out": held_out, "unseen_labels": unseen_labels}
            return Split(
                difficulty=difficulty | leak | other,
                length=2 * degree * (length - 1) + length,
                answer_tokens=length - 1,
                decode_steps=1 if self.teacherless else length - 1,
                disjoint=bool(held_out),
                about=about,
            )

        degree, length = self.degree, self.length
        lookup = ": one edge answers" if length == 3 else ""
        splits = {
            "train": split(degree, length, 0, 0, f"{degree} arms, paths of {length} nodes{lookup}"),
            "iid": split(degree, length, 1, 0, "graphs that are not in train"),
            "labels": split(degree, length, 1, 1, "(start, goal) pairs that are not in train"),
            "length": split(degree, length + 1, 1, 0, f"paths of {length + 1} nodes"),
            "degree": split(degree + 1, length, 1, 0, f"{degree + 1} arms"),
        }
        if self.goal_first:
            about = "iid, the edges of the goal's arm never first"
            splits["counterfactual"] = split(degree, length, 1, 0, about, goal_first=0.0)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """See `tasks.fields`."""
        return {
            "goal_first": share("share of lists that begin with the goal's arm") if self.goal_first else None,
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """The shortest arms, and two of them."""
        return {"degree": 2, "length": 3}

    @property
    def title(self) -> str:
        """What a report calls the task."""
        return "path-star"

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Node labels: the `first_hop`, which a forward answer must plan, the node `before_goal`, `goal` and `start`.

        Of the last two the one that ends the query (forward the start) is a control: it is the input token.
        """
        return dict.fromkeys(("first_hop", "before_goal", "goal", "start"), self.nodes)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The query's last position, where the first answer is due, and the position of the last answer."""
        return ("query", "last_answer")

    def world(self, key: jax.Array) -> StarWorld:
        """Draw for every start the goal that training never pairs it with."""
        shift = jax.random.randint(key, (self.nodes,), 1, self.nodes, jnp.int32)
        return StarWorld((jnp.arange(self.nodes, dtype=jnp.int32) + shift) % self.nodes)

    def sample(self, key: jax.Array, world: StarWorld, difficulty: Difficulty, length: int) -> Example:
        """One star.

        Difficulty: `degree` ≥ 2, `length` ≥ 3, `held_out` 0 (train) or 1, `unseen_labels` 0 or 1 and, where the task's
        own isn't 0, `goal_first` in [0, 1].

        The star must fit: degree·(length - 1) < nodes, 2·degree·(length - 1) + length ≤ padded length.

        Nodes are numbered along the arms: 0 is the start, arm a holds 1 + a·(length - 1) and on, the goal ends arm 0.
        Edge e then leads to node e + 1, from node e or, where an arm begins, from the start.
        """
        names = ("degree", "length", "held_out", "unseen_labels")
        degree, path, held_out, unseen_labels = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
        hops = path - 1
        edges = degree * hops
        bits = words(key, 2 * self.nodes)
        label_N = permutation(bits[: self.nodes], self.nodes, self.nodes)
        label_N = renamed(label_N, difficulty, self.nodes)
        label_N = _choose_goal(label_N, bits[-1], world.unseen_goal, hops, unseen_labels > 0)
        label_N = in_memory(_choose_side(label_N, hops, edges, held_out > 0))
        slot_bits = bits[self.nodes : -1]
        if self.goal_first:
            goal_first = jnp.asarray(difficulty["goal_first"], jnp.float32)
            leak_key = jax.random.fold_in(key, ARRANGEMENT)
            edge_of_slot = _goal_first_or_not(leak_key, slot_bits, edges, hops, goal_first)
        else:
            edge_of_slot = permutation(slot_bits, edges, self.nodes - 1)

        position_L = jnp.arange(length, dtype=jnp.int32)
        edge_L = edge_of_slot[jnp.minimum(position_L // 2, self.nodes - 2)]
        tail_L = jnp.where(edge_L % hops == 0, 0, edge_L)
        edge_node_L = jnp.where(position_L % 2 == 0, tail_L, edge_L + 1)
        step_L = position_L - 2 * edges - 1  # hops made along the answer; -1 is the query's other end
        forward = self.direction == "forward"
        walk_L = jnp.where(step_L < 0, hops, step_L) if forward else jnp.where(step_L < 0, 0, hops - step_L)
        next_L = step_L + 1 if forward else hops - step_L - 1
        node_L = jnp.where(position_L < 2 * edges, edge_node_L, walk_L)
        asked_L = (step_L >= 0) & (step_L < hops)
        tokens_L = 1 + label_N[node_L]
        if self.teacherless:
            tokens_L = jnp.where(step_L > 0, 1 + self.nodes, tokens_L)
        return Example(
            tokens=jnp.where(step_L < hops, tokens_L, PAD),
            targets=jnp.where(asked_L, 1 + label_N[next_L], PAD),
            weights=asked_L.astype(jnp.float32),
            factors={
                "first_hop": label_N[1],
                "before_goal": label_N[hops - 1],
                "goal": label_N[hops],
                "start": label_N[0],
            },
            read=jnp.stack([2 * edges + 1, 2 * edges + hops]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`; the path in a star is unique."""
        return exact_match(example, answer)

    def check(self, world: StarWorld, example: Example, answer: np.ndarray) -> bool:
        """Read the edges, climb from the goal to the start, compare."""
        tokens = np.asarray(example.tokens).tolist()
        query = int(np.argmax(np.asarray(example.weights))) - 1
        parent = {tokens[i + 1]: tokens[i] for i in range(0, query, 2)}
        goal, start = tokens[query : query + 2] if self.direction == "forward" else tokens[query : query + 2][::-1]
        path = [goal]
        while path[-1] != start:
            path.append(parent[path[-1]])
        wanted = path[-2::-1] if self.direction == "forward" else path[1:]
        return np.asarray(answer)[query + 1 : query + 1 + len(wanted)].tolist() == wanted

    def problem(self, example: Example) -> Hashable:
        """The edges in no order, and the query."""
        tokens = np.asarray(example.tokens).tolist()
        query = int(np.argmax(np.asarray(example.weights))) - 1
        return frozenset(zip(tokens[:query:2], tokens[1:query:2], strict=True)), *tokens[query : query + 2]

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over all labels; `random_arm`: ignore the goal, pick an arm, follow it; `one_edge`: look up the node
        before the goal, and guess the arm where that node doesn't end the search; `first_arm`: the leak.

        With a teacher only the first node of an arm is a guess; without, all but the last, which the query tells, and
        for `one_edge` the node before the goal. On paths of three nodes `one_edge` is the task itself and left out.
        `first_arm` takes the arm whose first node is listed first, and believes in it as often as it is right in
        training.
        """
        difficulty = self.splits[split].difficulty
        degree, hops = int(difficulty["degree"]), int(difficulty["length"]) - 1
        guessed = (hops - 1 if self.teacherless else 1) / hops
        found = {
            "chance": Baseline(float(self.nodes) ** -hops, -math.log(self.nodes)),
            "random_arm": Baseline(1 / degree, -math.log(degree) * guessed),
        }
        if hops > 2:
            unknown = (hops - 2 if self.teacherless else 1) / hops
            found["one_edge"] = Baseline(1 / degree, -math.log(degree) * unknown)
        if self.goal_first:
            # In a uniform order 1/degree of the time; less those where the whole arm is first, which are left out.
            by_chance = 1 / degree - 1 / math.comb(degree * hops, hops)
            believed, true = (g + (1 - g) * by_chance for g in (self.goal_first, difficulty["goal_first"]))
            logprob = true * math.log(believed) + (1 - true) * math.log((1 - believed) / (degree - 1))
            found["first_arm"] = Baseline(true, logprob * guessed)
        return found

    def render(self, example: Example) -> str:
        """`3>5 1>2 … | from 3 to 7: 5 7` (forward) or `… | back from 7 to 3: 5 3`, labels from 0."""
        tokens, asked = np.asarray(example.tokens) - 1, np.asarray(example.weights) > 0
        query = int(np.argmax(asked)) - 1
        edges = " ".join(f"{tokens[i]}>{tokens[i + 1]}" for i in range(0, query, 2))
        answer = " ".join(str(t - 1) for t in np.asarray(example.targets)[asked])
        way = "from" if self.direction == "forward" else "back from"
        return f"{edges} | {way} {tokens[query + 1]} to {tokens[query]}: {answer}"


def _goal_first_or_not(
    key: jax.Array, bits_E: jax.Array, edges: jax.Array, hops: jax.Array, goal_first: jax.Array
) -> jax.Array:
    """The edge in every slot: those of the goal's arm, 0 … hops - 1, first with the given probability, else never.

    A drawn order that happens to have them first has every edge changed for that of the next arm.
    """
    slot_E = jnp.arange(bits_E.shape[0], dtype=jnp.int32)
    wanted = jax.random.uniform(key) < goal_first
    leading_E = (bits_E >> jnp.uint32(1)) | jnp.where(slot_E < hops, jnp.uint32(0), jnp.uint32(1 << 31))
    edge_E = permutation(jnp.where(wanted, leading_E, bits_E), edges, bits_E.shape[0])
    by_chance = ~wanted & jnp.all((edge_E < hops) | (slot_E >= hops))
    return jnp.where(by_chance, (edge_E + hops) % edges, edge_E)


def _choose_goal(
    label_N: jax.Array, bits: jax.Array, unseen_goal_N: jax.Array, hops: jax.Array, unseen: jax.Array
) -> jax.Array:
    """Exchange two labels so that the (start, goal) pair is a held-out one, or so that it is not.

    Not held out: a forbidden goal changes places with a node chosen uniformly among all others but the start, which
    leaves exactly the uniform distribution over the permitted labellings.
    """
    node_N = jnp.arange(label_N.shape[0], dtype=jnp.int32)
    goal, forbidden = label_N[hops], unseen_goal_N[label_N[0]]
    other = 1 + (bits % jnp.uint32(label_N.shape[0] - 2)).astype(jnp.int32)
    other = other + (other >= hops).astype(jnp.int32)
    permitted = jnp.where(goal == forbidden, label_N[other], goal)
    wanted = jnp.where(unseen, forbidden, permitted)
    return jnp.where(node_N == hops, wanted, jnp.where(label_N == wanted, goal, label_N))


def _choose_side(label_N: jax.Array, hops: jax.Array, edges: jax.Array, held_out: jax.Array) -> jax.Array:
    """Order the two exchangeable first hops so that the graph lies on the wanted side of the hash."""
    size = label_N.shape[0]
    node_N = jnp.arange(size, dtype=jnp.int32)
    other_end_N = (node_N % hops == 0) & (node_N > hops) & (node_N <= edges)
    mate = jnp.min(jnp.where(other_end_N, label_N * size + node_N, size * size)) % size - hops + 1
    low, high = jnp.minimum(label_N[1], label_N[mate]), jnp.maximum(label_N[1], label_N[mate])

    def ordered(first: jax.Array, second: jax.Array) -> jax.Array:
        return jnp.where(node_N == 1, first, jnp.where(node_N == mate, second, label_N))

    shared_N = ordered(low, high)
    tail = jnp.where(node_N[:-1] % hops == 0, shared_N[0], shared_N[:-1])
    goal = (size * size + shared_N[hops])[None]
    edge_words = jnp.concatenate([tail * size + shared_N[1:], goal])  # the edges, as a set, and last the goal
    exchange = hash_bit(edge_words, (node_N < edges) | (node_N == size - 1), ordered=False) ^ held_out
    return ordered(jnp.where(exchange, high, low), jnp.where(exchange, low, high))
