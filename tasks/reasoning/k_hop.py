"""k-hop: follow a cycle, given as shuffled edges, for k steps (cf. Sanford et al., arXiv 2402.09268)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, exact_match, require_choice, require_range
from tasks.draw import hash_bit, permutation
from tasks.fields import KnobField, share
from tasks.sequence import SCRATCHPADS, Part, join, part, present, scratchpad, then, write

COUNTERS = ("token", "unary")
LEAST = 4  # nodes: two of them must be neither the start nor the answer


class HopWorld(NamedTuple):
    """What is held out for a seed.

    Attributes:
      unseen_answer: int32[labels]: with start i, label unseen_answer[i] is never the answer in training.
    """

    unseen_answer: jax.Array


@dataclass(frozen=True)
class KHop:
    """From the shuffled edges `x y` of one cycle, a start and a number k, answer the k-th successor of the start.

    The cycle is a uniformly random one over n of `labels` labels; k is uniform in hops_low … hops. Sanford et al. ask
    for k hops of 'last occurrence, then its successor' in a random text; a cycle is the form in which every hop is
    defined and no node is likelier than another.

    Tokens: labels 1 … labels, the tokens that count hops, THINK, ANSWER. Sequence: the n edges in random order, the
    start, k, ANSWER; the answer is given at ANSWER. With counter 'token' k is one token of its own, so the `hops` split
    shows tokens that training never has (their embeddings are as they were initialized); with 'unary' it is k equal
    tokens. A scratchpad is written between THINK and ANSWER: the nodes after hop 1, …, k - 1.

    `train` and `iid` are split by (cycle, start, k), whatever the order of the edges: instances that differ only by
    exchanging two nodes, the first two after the start that aren't the answer, are mates, and a hash of what they share
    says which of them is trained on. `labels` asks for (start, answer) pairs that no training example has.

    Shortcut: with probability `ordered` the edges are listed along the cycle, beginning anywhere, so that the answer
    stands 2k - 1 places after the start, or that many before it goes round. `counterfactual` has none of this.

    Attributes:
      nodes: n in all splits but `size`. Traced in `sample`.
      more_nodes: n in the `size` split.
      labels: size of the alphabet.
      hops_low, hops: the smallest and the largest k of training; equal for a fixed k. Traced in `sample`.
      more_hops: the largest k of the `hops` split, which begins at hops + 1; less than `nodes`.
      counter: 'token' or 'unary': how k is written.
      ordered: probability that the edges are listed along the cycle. Traced in `sample`.
      scratchpad: one of `SCRATCHPADS`.
      scratchpad_share: share of training examples with a scratchpad. Traced in `sample`.
    """

    nodes: int = 6
    more_nodes: int = 8
    labels: int = 12
    hops_low: int = 1
    hops: int = 2
    more_hops: int = 4
    counter: str = "token"
    ordered: float = 0.0
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "k_hop"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Sanford, Hsu & Telgarsky 2024, arXiv 2402.09268; cf. Wang et al. 2025, arXiv 2505.23683"
    known: ClassVar[str] = (
        "A depth of O(log k) suffices, by doubling, and is conjectured to be needed; recurrent and graph networks need "
        "more. Large k is learned only along with smaller ones."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"nodes": 4, "more_nodes": 5, "labels": 5, "hops": 2, "more_hops": 3},
        {
            "nodes": 5,
            "more_nodes": 6,
            "labels": 7,
            "hops": 3,
            "more_hops": 4,
            "counter": "unary",
            "ordered": 0.5,
            "scratchpad": "shuffled",
            "scratchpad_share": 0.5,
        },
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="one_hop",
            sizes={"nodes": 4, "more_nodes": 6, "labels": 8, "hops": 1, "more_hops": 3},
            expected={"iid": (0.95, 1.0)},
            about="one hop is an induction head: two layers",
            source="Sanford et al. 2024, arXiv 2402.09268",
            seconds=30,
            steps=5000,
        ),
    )

    def __post_init__(self):
        require_choice(self, "counter", COUNTERS)
        require_choice(self, "scratchpad", SCRATCHPADS)
        require_range(self, "nodes", LEAST, 127)
        require_range(self, "more_nodes", self.nodes + 1, 128)
        require_range(self, "labels", self.more_nodes, 1024)
        require_range(self, "hops_low", 1, 125)
        require_range(self, "hops", self.hops_low, 125)
        require_range(self, "more_hops", self.hops + 1, 126)
        if self.more_hops >= self.nodes:
            raise TaskError(
                f"k_hop: more_hops must be less than nodes ({self.nodes}), or k hops go round the cycle, "
                f"not {self.more_hops}."
            )
        require_range(self, "ordered", 0.0, 0.99)  # with 1, nothing tells the shortcut from the task
        require_range(self, "scratchpad_share", 0.0, 1.0)

    @property
    def _hop_tokens(self) -> int:
        return self.more_hops if self.counter == "token" else 1

    @property
    def think(self) -> int:
        """The token that asks for a scratchpad."""
        return 1 + self.labels + self._hop_tokens

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self.think + 2

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `hops`, `size`, unseen `labels`; `counterfactual` and `direct` where they differ."""
        pad = float(self.scratchpad != "absent")

        def split(about: str, **changed: float) -> Split:
            difficulty = {
                "nodes": self.nodes,
                "hops_low": self.hops_low,
                "hops": self.hops,
                "held_out": 1,
                "unseen_labels": 0,
                "ordered": self.ordered,
                "scratchpad": pad,
            } | changed
            most = int(difficulty["hops"])
            steps = most if difficulty["scratchpad"] > 0 else 0
            count = most if self.counter == "unary" else 1
            return Split(
                difficulty,
                length=2 * int(difficulty["nodes"]) + count + 2 + steps,
                answer_tokens=steps + 1,
                decode_steps=steps + 1,
                disjoint=bool(difficulty["held_out"]),
                about=about,
            )

        low, high = self.hops_low, self.hops
        splits = {
            "train": split(
                f"{low} to {high} hops on cycles of {self.nodes}", held_out=0, scratchpad=pad * self.scratchpad_share
            ),
            "iid": split("cycles with a start that are not in train"),
            "hops": split(f"{high + 1} to {self.more_hops} hops", hops_low=high + 1, hops=self.more_hops),
            "size": split(f"cycles of {self.more_nodes}", nodes=self.more_nodes),
            "labels": split("(start, answer) pairs that are not in train", unseen_labels=1),
        }
        if self.ordered > 0:
            splits["counterfactual"] = split("edges in random order only", ordered=0.0)
        if pad:
            splits["direct"] = split("the answer without a scratchpad", scratchpad=0.0)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "ordered": share("share of examples with edges listed along the cycle"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """The fewest hops."""
        return {"hops": self.hops_low}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Nodes, by label: `half_way` (after ⌈k/2⌉ hops), after the `first_hop`, `before_answer`, `answer`, `start`.

        And the number of `hops` where training has several.
        """
        nodes = dict.fromkeys(("half_way", "first_hop", "before_answer", "answer", "start"), self.labels)
        return nodes | ({"hops": 1 + self.more_hops} if self.hops_low < self.hops else {})

    @property
    def read_names(self) -> tuple[str, ...]:
        """ANSWER, and the question's last position (the same without a scratchpad)."""
        return ("answer", "question")

    def world(self, key: jax.Array) -> HopWorld:
        """Draw for every start the answer that training never gives it."""
        shift = jax.random.randint(key, (self.labels,), 1, self.labels, jnp.int32)
        return HopWorld((jnp.arange(self.labels, dtype=jnp.int32) + shift) % self.labels)

    def sample(self, key: jax.Array, world: HopWorld, difficulty: Difficulty, length: int) -> Example:
        """One cycle. Difficulty: `nodes` in [4, more_nodes], 1 ≤ `hops_low` ≤ `hops` ≤ more_hops, `held_out` 0 or 1,
        `unseen_labels` 0 or 1 (for k < nodes), and the probabilities `ordered` and `scratchpad`.

        Nodes are numbered along the cycle from the start, node 0; edge e leads from node e to the next.
        """
        names = ("nodes", "hops_low", "hops", "held_out", "unseen_labels")
        count, low, high, held_out, unseen = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
        most = self.more_nodes
        bits = jax.random.bits(key, (self.labels + most + 5,))
        free = bits[self.labels + most :]
        hops = low + (free[0] % (high - low + 1).astype(jnp.uint32)).astype(jnp.int32)
        goal = hops % count
        label_M = permutation(bits[: self.labels], self.labels, most)
        label_M = _choose_answer(label_M, free[1], world.unseen_answer, goal, unseen > 0)
        label_M = _choose_side(label_M, count, goal, held_out > 0)

        edge_M = permutation(bits[self.labels : self.labels + most], count, most)
        turned_M = (jnp.arange(most, dtype=jnp.int32) + (free[2] % count.astype(jnp.uint32)).astype(jnp.int32)) % count
        edge_M = jnp.where(_chance(free[3]) < difficulty["ordered"], turned_M, edge_M) % count
        pairs_Mx2 = 1 + jnp.stack([label_M[edge_M], label_M[(edge_M + 1) % count]], axis=1)
        thinks = _chance(free[4]) < difficulty["scratchpad"]
        question = self._question(part(pairs_Mx2.reshape(-1), 2 * count), 1 + label_M[0], hops, thinks)
        on_the_way = 1 + label_M[jnp.arange(1, self.more_hops, dtype=jnp.int32) % count]
        steps = None
        if self.scratchpad != "absent":
            shown = scratchpad(self.scratchpad, jax.random.fold_in(key, 1), part(on_the_way, hops - 1), 1, self.think)
            steps = present(then(shown, self.think + 1), thinks)
        written = write(length, question, part(1 + label_M[goal][None]), steps)
        factors = {
            "half_way": label_M[((hops + 1) // 2) % count],
            "first_hop": label_M[1],
            "before_answer": label_M[(hops - 1) % count],
            "answer": label_M[goal],
            "start": label_M[0],
            "hops": hops,
        }
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={name: factors[name] for name in self.factor_sizes},
            read=jnp.stack([written.answer, written.question]),
        )

    def _question(self, edges: Part, start: jax.Array, hops: jax.Array, thinks: jax.Array) -> Part:
        """Edges, start, k and the marker THINK or ANSWER."""
        unary = self.counter == "unary"
        k = 1 + self.labels if unary else self.labels + hops
        counted = part(jnp.full((self.more_hops if unary else 1,), k, jnp.int32), hops if unary else 1)
        marker = jnp.where(thinks, self.think, self.think + 1)
        parts = (edges, part(start[None]), counted, part(marker[None]))
        size = sum(p.tokens.shape[0] for p in parts)
        return part(join(parts, size), edges.count + counted.count + 2)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: HopWorld, example: Example, answer: np.ndarray) -> bool:
        """Read the edges into a dictionary and step through it."""
        edges, start, hops = self._read(example)
        successor = dict(edges)
        node = start
        for _ in range(hops):
            node = successor[node]
        return int(np.asarray(answer)[int(np.argmax(np.asarray(example.weights) == 1))]) == node

    def _read(self, example: Example) -> tuple[list[tuple[int, int]], int, int]:
        """(edges, start, k) as the tokens tell them."""
        tokens = np.asarray(example.tokens).tolist()
        question = tokens[: int(np.argmax(np.asarray(example.weights) > 0))]  # without the marker
        counted = [t - self.labels for t in question if t > self.labels]
        nodes = question[: len(question) - len(counted)]
        hops = len(counted) if self.counter == "unary" else counted[0]
        return list(zip(nodes[:-1:2], nodes[1::2], strict=True)), nodes[-1], hops

    def problem(self, example: Example) -> Hashable:
        """The edges in no order, the start and k."""
        edges, start, hops = self._read(example)
        return frozenset(edges), start, hops

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over all labels, `any_node` of the cycle but the start, `first_hop`: one hop exactly, else a guess.

        Where training has ordered lists, `position` counts places and pays no heed to the edges.
        """
        difficulty = self.splits[split].difficulty
        n, low, high = (int(difficulty[name]) for name in ("nodes", "hops_low", "hops"))
        once = (low == 1) / (high - low + 1)
        found = {
            "chance": Baseline(1 / self.labels, -math.log(self.labels)),
            "any_node": Baseline(1 / (n - 1), -math.log(n - 1)),
            "first_hop": _guess_after_first_hop(n, once),
        }
        if self.ordered > 0:
            found["position"] = _by_position(n, once, float(difficulty["ordered"]), self.ordered)
        return {name: baseline for name, baseline in found.items() if baseline.exact < 1}

    def render(self, example: Example) -> str:
        """`3>5 5>1 1>3 | 2 hops from 3: 1`, labels from 0; a scratchpad stands in brackets before the answer."""
        edges, start, hops = self._read(example)
        weights, targets = np.asarray(example.weights), np.asarray(example.targets)
        steps = " ".join(str(t - 1) for t in targets[(weights > 0) & (weights < 1)] if t <= self.labels)
        thought = f" [{steps}]" if np.any((weights > 0) & (weights < 1)) else ""
        shown = " ".join(f"{x - 1}>{y - 1}" for x, y in edges)
        plural = "hop" if hops == 1 else "hops"
        return f"{shown} | {hops} {plural} from {start - 1}:{thought} {int(targets[weights == 1][0]) - 1}"


def _chance(bits: jax.Array) -> jax.Array:
    """Uniform in [0, 1): float32[]."""
    return (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


def _choose_answer(
    label_M: jax.Array, bits: jax.Array, unseen_answer_N: jax.Array, goal: jax.Array, unseen: jax.Array
) -> jax.Array:
    """Exchange two labels so that the (start, answer) pair is a held-out one, or so that it is not.

    Not held out: a forbidden answer gives way to a label chosen uniformly among all but it and the start, which leaves
    exactly the uniform distribution over the permitted cycles. A label that isn't in the cycle merely takes its place.
    """
    size = unseen_answer_N.shape[0]
    node_M = jnp.arange(label_M.shape[0], dtype=jnp.int32)
    start, answer = label_M[0], label_M[goal]
    forbidden = unseen_answer_N[start]
    other = (bits % jnp.uint32(size - 2)).astype(jnp.int32)
    other = other + (other >= jnp.minimum(start, forbidden)).astype(jnp.int32)
    other = other + (other >= jnp.maximum(start, forbidden)).astype(jnp.int32)
    wanted = jnp.where(unseen, forbidden, jnp.where(answer == forbidden, other, answer))
    wanted = jnp.where(goal == 0, answer, wanted)  # once round the cycle: the answer is the start
    return jnp.where(node_M == goal, wanted, jnp.where(label_M == wanted, answer, label_M))


def _choose_side(label_M: jax.Array, count: jax.Array, goal: jax.Array, held_out: jax.Array) -> jax.Array:
    """Order the first two nodes that are neither start nor answer so that the hash puts them on the wanted side."""
    node_M = jnp.arange(label_M.shape[0], dtype=jnp.int32)
    one = jnp.where(goal == 1, 2, 1)
    two = jnp.where((goal == 1) | (goal == 2), 3, 2)
    low, high = jnp.minimum(label_M[one], label_M[two]), jnp.maximum(label_M[one], label_M[two])

    def ordered(first: jax.Array, second: jax.Array) -> jax.Array:
        return jnp.where(node_M == one, first, jnp.where(node_M == two, second, label_M))

    exchange = hash_bit(ordered(low, high), node_M < count) ^ held_out
    return jnp.where(exchange, ordered(high, low), ordered(low, high))


def _guess_after_first_hop(nodes: int, once: float) -> Baseline:
    """Knows the first hop; for k > 1 the answer is one of the nodes - 2 others."""
    return Baseline(once + (1 - once) / (nodes - 2), -(1 - once) * math.log(nodes - 2))


def _by_position(nodes: int, once: float, ordered: float, trained: float) -> Baseline:
    """Names what stands 2k - 1 places after the start in the list of edges, going round.

    On a shuffled list that is right for k = 1; for larger k it is an edge's end chosen blindly: 1/(nodes - 1). It
    trusts the place as much as is right in training, and holds the others for equally likely.
    """
    blind = 1 / (nodes - 1)
    right, trust = ordered + (1 - ordered) * blind, trained + (1 - trained) * blind
    logprob = right * math.log(trust) + (1 - right) * math.log((1 - trust) / (nodes - 2))
    return Baseline(once + (1 - once) * right, (1 - once) * logprob)
