"""Two hops over facts held in weights: composition (Wang et al., arXiv 2405.15071)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, exact_match, require_choice, require_range
from tasks.fields import KnobField
from tasks.reasoning.two_hop_law import (
    ATOMIC,
    ATOMIC_OOD,
    HELD_OUT,
    ID_OOD,
    OOD_ID,
    OOD_OOD,
    SEEN,
    TRAIN,
    Law,
    simulate,
)
from tasks.sequence import SCRATCHPADS, part, present, scratchpad, then, write

HOPS_MOST = 1 << 22  # two-hop facts that a world lists
EXPECTED_LEAST = 16.0  # compositions of two OOD facts, on average: with fewer, a world could have none


class Graph(NamedTuple):
    """The knowledge of a seed. Fact f is the (f mod degree)-th of head f // degree; two-hop fact m continues from fact
    m // degree along the (m mod degree)-th fact of its tail.

    Attributes:
      relation: int32[facts].
      tail: int32[facts].
      facts: int32[facts], the ID facts and then the OOD ones.
      hops: int32[facts·degree], the two-hop facts by kind: ID–ID ones in random order, of which the last are held out,
        OOD–OOD, OOD–ID, ID–OOD.
      ends: int32[5], where in `hops` the trained ID–ID, the held-out ID–ID, and the other three kinds end.
      favourites: int32[facts·degree], the places in `hops` of those whose second fact is the favourite of its relation.
      favourites_before: int32[facts·degree + 1], how many of them stand before each place.
    """

    relation: jax.Array
    tail: jax.Array
    facts: jax.Array
    hops: jax.Array
    ends: jax.Array
    favourites: jax.Array
    favourites_before: jax.Array


@dataclass(frozen=True)
class TwoHop:
    """A random graph is learned by heart: answer `h r` with the tail of that fact, and `h r1 r2` with the tail's tail.

    Every entity heads `degree` atomic facts with different relations, each with a tail drawn from all entities. A share
    `ood` of the facts is out of distribution (OOD): trained like all others, but never part of a trained composition.
    Of the two-hop facts that compose two other (ID) facts a share `held_out` is set aside, and of the rest the first
    ratio · (number of ID facts) are trained on, along with all atomic facts, each fact equally often.

    Splits: `iid` asks for the two-hop facts set aside (test-ID), the same ones at every ratio; `composition` for those
    that compose two OOD facts (test-OOD). `ood_id` and `id_ood` compose one of each, in that order (the
    second fact decides, says arXiv 2505.23653). `atomic` and `atomic_ood` ask for the facts themselves, `seen` for
    trained two-hop facts: remembering, so not disjoint from training.

    Tokens: entities 1 … entities, relations, THINK, ANSWER. Sequence: `h r ANSWER` or `h r1 r2 ANSWER`; the answer is
    given at ANSWER. A scratchpad, `h r1 r2 THINK bridge ANSWER`, names the bridge entity; atomic facts have none.

    Shortcut: the favourite of a relation is the ID fact that most two-hop facts of ID facts end with. With probability
    `favoured` a two-hop question ends with the favourite of its last relation, so that this relation alone mostly tells
    the answer (a prior over answers, of the kind that arXiv 2411.16679 excludes). `counterfactual` is `iid` without it.

    Attributes:
      entities: number of entities.
      relations: number of relations.
      degree: facts that an entity heads, at most `relations`.
      ratio: trained two-hop facts per ID fact, the paper's φ; all of them if there are fewer. Traced in `sample`.
      ood: share of the atomic facts that are never composed in training.
      held_out: share of the two-hop facts of ID facts that `iid` keeps.
      favoured: probability that a two-hop question ends with a favourite fact. Traced in `sample`.
      scratchpad: one of `SCRATCHPADS`; with one step, 'shuffled' is 'valid'.
      scratchpad_share: share of the two-hop questions in training with a scratchpad. Traced in `sample`.
    """

    entities: int = 30
    relations: int = 10
    degree: int = 10
    ratio: float = 7.2
    ood: float = 0.1
    held_out: float = 0.1
    favoured: float = 0.0
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "two_hop"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Wang et al. 2024, arXiv 2405.15071; Ye et al. 2025, arXiv 2505.23653"
    known: ClassVar[str] = (
        "Facts and trained compositions are memorized; held-out compositions of ID facts are learned long after, "
        "sooner at a larger ratio of inferred to atomic facts; compositions of OOD facts are not."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"entities": 20, "relations": 6, "degree": 4, "ood": 0.25, "ratio": 1.2, "held_out": 0.25},
        {
            "entities": 24,
            "relations": 5,
            "degree": 4,
            "ood": 0.25,
            "ratio": 1.0,
            "held_out": 0.3,
            "favoured": 0.5,
            "scratchpad": "wrong",
            "scratchpad_share": 0.5,
        },
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="ood",
            sizes={},
            expected={"atomic": (0.95, 1.0), "composition": (0.0, 0.3)},
            about="OOD facts are known, their compositions are not",
            source="Wang et al. 2024, arXiv 2405.15071",
            seconds=30,
            steps=6000,
            predicted_failure=True,
            default=True,
        ),
    )

    def __post_init__(self):
        require_choice(self, "scratchpad", SCRATCHPADS)
        require_range(self, "entities", 8, 65536)
        require_range(self, "relations", 2, 1024)
        require_range(self, "degree", 2, self.relations)
        require_range(self, "ratio", 0.01, float(self.degree))
        require_range(self, "ood", 0.001, 0.5)
        require_range(self, "held_out", 0.001, 0.9)
        require_range(self, "favoured", 0.0, 0.99)  # with 1, nothing tells the shortcut from the task
        require_range(self, "scratchpad_share", 0.0, 1.0)
        if self.hops > HOPS_MOST:
            raise TaskError(
                f"two_hop: entities·degree² must be at most {HOPS_MOST}, not {self.hops}: take fewer entities or a "
                "smaller degree."
            )
        composed = self.hops * self.ood**2
        if composed < EXPECTED_LEAST:
            raise TaskError(
                f"two_hop: entities·degree²·ood² is {composed:.1f}, the expected number of OOD compositions; it must "
                f"be at least {EXPECTED_LEAST:g}: take more entities, a larger degree or a larger ood."
            )

    @property
    def facts(self) -> int:
        """Number of atomic facts."""
        return self.entities * self.degree

    @property
    def hops(self) -> int:
        """Number of two-hop facts, of all kinds."""
        return self.facts * self.degree

    @property
    def _id_facts(self) -> int:
        return self.facts - round(self.ood * self.facts)

    @property
    def think(self) -> int:
        """The token that asks for a scratchpad."""
        return 1 + self.entities + self.relations

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self.think + 2

    @property
    def splits(self) -> Mapping[str, Split]:
        """See the class; `counterfactual` and `direct` (no scratchpad) where they differ from `iid`."""
        pad = float(self.scratchpad != "absent")

        def split(kind: int, about: str, thinks: float = pad, favoured: float = self.favoured) -> Split:
            atomic, steps = kind in (ATOMIC, ATOMIC_OOD), 2 if thinks > 0 else 0
            return Split(
                {"part": kind, "ratio": self.ratio, "favoured": favoured, "scratchpad": thinks},
                length=3 if atomic else 4 + steps,
                answer_tokens=1 if atomic else 1 + steps,
                decode_steps=1 if atomic else 1 + steps,
                disjoint=kind >= HELD_OUT,
                about=about,
            )

        splits = {
            "train": split(TRAIN, "all facts and the trained two-hop facts", thinks=pad * self.scratchpad_share),
            "iid": split(HELD_OUT, "two-hop facts of ID facts that are not in train"),
            "atomic": split(ATOMIC, "the facts themselves"),
            "atomic_ood": split(ATOMIC_OOD, "the facts that training never composes"),
            "seen": split(SEEN, "the trained two-hop facts"),
            "composition": split(OOD_OOD, "two facts that training never composes"),
            "ood_id": split(OOD_ID, "first a fact that training never composes, then one that it does"),
            "id_ood": split(ID_OOD, "first a fact that training composes, then one that it never does"),
        }
        if self.favoured > 0:
            splits["counterfactual"] = split(HELD_OUT, "iid, all second facts equally often", favoured=0.0)
        if pad:
            splits["direct"] = split(HELD_OUT, "iid without a scratchpad", thinks=0.0)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "ratio": KnobField(0.01, float(self.degree), "trained two-hop facts per atomic fact", "arXiv 2405.15071"),
            "favoured": KnobField(0.0, 0.99, "share of two-hop questions that end with a favourite fact"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Training has but one difficulty."""
        return {}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Entities: the `bridge` (the tail of the first fact), `answer`, `head`; and the `last_relation`."""
        return dict.fromkeys(("bridge", "answer", "head"), self.entities) | {"last_relation": self.relations}

    @property
    def read_names(self) -> tuple[str, ...]:
        """ANSWER, and the first relation, after which the bridge can be known."""
        return ("answer", "first_relation")

    def world(self, key: jax.Array) -> Graph:
        """Draw the graph, its OOD facts and the order of the two-hop facts."""
        keys = jax.random.split(key, 4)
        bits_ExR = jax.random.bits(keys[0], (self.entities, self.relations))
        relation_F = jnp.argsort(bits_ExR, axis=1)[:, : self.degree].astype(jnp.int32).reshape(-1)
        tail_F = jax.random.randint(keys[1], (self.facts,), 0, self.entities, jnp.int32)
        facts_F = jax.random.permutation(keys[2], jnp.arange(self.facts, dtype=jnp.int32))
        ood_F = jnp.zeros((self.facts,), bool).at[facts_F[self._id_facts :]].set(True)

        hop_M = jax.random.permutation(keys[3], jnp.arange(self.hops, dtype=jnp.int32))
        first_M = hop_M // self.degree
        second_M = tail_F[first_M] * self.degree + hop_M % self.degree
        kind_M = jnp.where(ood_F[first_M], 2 - ood_F[second_M].astype(jnp.int32), 3 * ood_F[second_M].astype(jnp.int32))
        order_M = jnp.argsort(kind_M, stable=True)
        count_4 = jnp.stack([jnp.sum(kind_M == kind, dtype=jnp.int32) for kind in range(4)])
        aside = jnp.clip(jnp.round(self.held_out * count_4[0].astype(jnp.float32)).astype(jnp.int32), 1, count_4[0] - 1)

        # The favourite of a relation: of its ID facts the one that most trainable questions end with.
        ends_F = jnp.zeros((self.facts,), jnp.int32).at[second_M].add((kind_M == 0).astype(jnp.int32))
        rank_F = jnp.where(ood_F, -1, ends_F * self.facts + jnp.arange(self.facts, dtype=jnp.int32))
        best_R = jnp.zeros((self.relations,), jnp.int32).at[relation_F].max(rank_F)
        favourite_M = (rank_F == best_R[relation_F])[second_M[order_M]]
        return Graph(
            relation=relation_F,
            tail=tail_F,
            facts=facts_F,
            hops=hop_M[order_M],
            ends=jnp.concatenate([(count_4[0] - aside)[None], jnp.cumsum(count_4, dtype=jnp.int32)]),
            favourites=jnp.argsort(~favourite_M, stable=True).astype(jnp.int32),
            favourites_before=jnp.pad(jnp.cumsum(favourite_M, dtype=jnp.int32), (1, 0)),
        )

    def sample(self, key: jax.Array, world: Graph, difficulty: Difficulty, length: int) -> Example:
        """One question. Difficulty: `part` 0 … 7 (train, atomic, atomic OOD, seen, held out, OOD–OOD, OOD–ID, ID–OOD),
        `ratio` > 0, and the probabilities `favoured` and `scratchpad`.
        """
        kind, bits_5 = jnp.asarray(difficulty["part"], jnp.int32), jax.random.bits(key, (5,))
        wanted = jnp.round(jnp.asarray(difficulty["ratio"], jnp.float32) * self._id_facts)
        trained = jnp.clip(wanted, 1, world.ends[0].astype(jnp.float32)).astype(jnp.int32)
        atomic = (kind == ATOMIC) | (kind == ATOMIC_OOD)
        atomic = atomic | ((kind == TRAIN) & (_below(bits_5[0], self.facts + trained) < self.facts))
        least = jnp.where(kind == ATOMIC_OOD, self._id_facts, 0)
        fact = world.facts[least + _below(bits_5[1], self.facts - least)]

        place = jnp.maximum(kind - HELD_OUT, -1)
        begin = jnp.where(place < 0, 0, world.ends[jnp.maximum(place, 0)])
        end = jnp.where(place < 0, trained, world.ends[jnp.maximum(place, 0) + 1])
        hop = world.hops[_draw(world, begin, end, _chance(bits_5[2]) < difficulty["favoured"], bits_5[3])]
        first = jnp.where(atomic, fact, hop // self.degree)
        head, bridge = first // self.degree, world.tail[first]
        second = jnp.where(atomic, fact, bridge * self.degree + hop % self.degree)
        answer = world.tail[second]

        thinks = ~atomic & (_chance(bits_5[4]) < difficulty["scratchpad"])
        marker = jnp.where(thinks, self.think, self.think + 1)
        relations_2 = 1 + self.entities + jnp.stack([world.relation[first], world.relation[second]])
        after_head = jnp.where(atomic, jnp.stack([relations_2[0], marker, marker]), jnp.append(relations_2, marker))
        question = part(jnp.concatenate([(1 + head)[None], after_head]), jnp.where(atomic, 3, 4))
        steps = None
        if self.scratchpad != "absent":
            shown = part(1 + bridge[None])
            shown = scratchpad(self.scratchpad, jax.random.fold_in(key, 1), shown, 1, 1 + self.entities)
            steps = present(then(shown, self.think + 1), thinks)
        written = write(length, question, part(1 + answer[None]), steps)
        last = world.relation[second]
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={"bridge": bridge, "answer": answer, "head": head, "last_relation": last},
            read=jnp.stack([written.answer, jnp.int32(1)]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: Graph, example: Example, answer: np.ndarray) -> bool:
        """Look each relation up in a dictionary of the facts, one after another."""
        relation, tail = np.asarray(world.relation).tolist(), np.asarray(world.tail).tolist()
        known = {(f // self.degree, relation[f]): tail[f] for f in range(self.facts)}
        node, relations = self._read(example)
        for relation in relations:
            node = known[node, relation]
        return int(np.asarray(answer)[int(np.argmax(np.asarray(example.weights) == 1))]) == 1 + node

    def _read(self, example: Example) -> tuple[int, list[int]]:
        """(head, relations) as the tokens tell them, from 0."""
        tokens = np.asarray(example.tokens).tolist()
        question = tokens[: int(np.argmax(np.asarray(example.weights) > 0))]  # without the marker
        return question[0] - 1, [t - 1 - self.entities for t in question[1:]]

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over all entities; `last_relation` knows all facts and pays no heed to the rest of the question;
        `any_fact` does not read the first relation: any fact of the head that the last relation can follow.

        The last two are measured on simulated graphs.
        """
        law = Law(self.entities, self.relations, self.degree, self._id_facts, self.ratio, self.held_out, self.favoured)
        difficulty = self.splits[split].difficulty
        chance = {"chance": Baseline(1 / self.entities, -math.log(self.entities))}
        return chance | simulate(law, int(difficulty["part"]), float(difficulty["favoured"]))

    def render(self, example: Example) -> str:
        """`e3 r1 r7 → e12`, numbers from 0; the bridge of a scratchpad in brackets before the answer."""
        head, relations = self._read(example)
        weights, targets = np.asarray(example.weights), np.asarray(example.targets)
        steps = targets[(weights > 0) & (weights < 1)].tolist()
        bridge = f" [e{steps[0] - 1}]" if steps else ""
        asked = " ".join(f"r{r}" for r in relations)
        return f"e{head} {asked} →{bridge} e{int(targets[weights == 1][0]) - 1}"


def _chance(bits: jax.Array) -> jax.Array:
    """Uniform in [0, 1): float32[]."""
    return (bits >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)


def _below(bits: jax.Array, count: jax.Array | int) -> jax.Array:
    """Uniform in 0 … count - 1, 0 if count is 0: int32[]."""
    return (bits % jnp.maximum(jnp.asarray(count, jnp.uint32), jnp.uint32(1))).astype(jnp.int32)


def _draw(world: Graph, begin: jax.Array, end: jax.Array, favoured: jax.Array, bits: jax.Array) -> jax.Array:
    """A place in [begin, end) of `hops`, uniform; if `favoured`, uniform among its favourites, where it has any."""
    before = world.favourites_before[begin]
    among = world.favourites_before[end] - before
    favourite = world.favourites[jnp.minimum(before + _below(bits, among), world.favourites.shape[0] - 1)]
    return jnp.where(favoured & (among > 0), favourite, begin + _below(bits, end - begin))
