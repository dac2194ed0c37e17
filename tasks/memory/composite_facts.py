"""Facts with keys of two tokens, held in weights: (entity, relation) → value (cf. arXiv 2404.05405, 2309.14316)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, TaskError, exact_match, require_range
from tasks.fields import KnobField
from tasks.memory._composite_law import HEAD, PARAPHRASE, TAIL, TRAINED, UNSEEN, Law, asked, simulate, training_weights

PAIRS_MOST = 1 << 16  # entity-relation pairs of a world


class CompositeWorld(NamedTuple):
    """The facts of a seed, for E entities and R relations.

    Attributes:
      value: int32[E, R], in [0, values).
      held_out: bool[E, R], the pairs that training never asks for.
      entity_rank: int32[E], 0 for the entity that training asks for most often.
      relation_rank: int32[R], likewise.
      own_phrasing: int32[E, R], the one phrasing in which training asks for a fact, -1 where it uses all; empty with
        one phrasing.
    """

    value: jax.Array
    held_out: jax.Array
    entity_rank: jax.Array
    relation_rank: jax.Array
    own_phrasing: Any = ()


@dataclass(frozen=True)
class CompositeFacts:
    """Answer an entity and a relation with the value of that pair, at the relation's position.

    The values of all pairs are drawn independently, so that no part of a key tells the value: remembering the pair
    *is* the ability. Unlike the one-token keys of `facts`, a pair has no row of its own in the embedding table. A
    score that adds what the entity says to what the relation says can't hold all values (the best reads a third of
    them at the default sizes), so that blocks must.

    The pair of the i-th most frequent entity and the j-th most frequent relation is asked for with a probability
    proportional to i^-entity_exponent · j^-relation_exponent, among the pairs that training knows. `held_out` relations
    of each entity are kept from training: `unseen` asks for them, which nobody can answer but by chance. `head` and
    `tail` ask for the pairs of the commonest half of the entities with the commonest half of the relations, and of the
    rarest with the rarest: at whatever exponents, no pair of the one is rarer than a pair of the other.

    With several phrasings each relation has a token for each of them. A share `rephrased` of the facts is asked for in
    all phrasings, each other one in a phrasing of its own; `paraphrase` asks for those in the others.

    Tokens: entities 1 … entities, the relations in the first phrasing, in the second …, values.

    Attributes:
      entities: number of entities, at least as many as relations.
      relations: number of relations.
      values: number of values, each pair's drawn uniformly.
      held_out: relations of each entity that training never asks for.
      entity_exponent: of the Zipf law of entities; 0 is uniform. Traced in `sample`.
      relation_exponent: of the Zipf law of relations; 0 is uniform. Traced in `sample`.
      phrasings: ways to say each relation.
      rephrased: share of the trained facts that training asks for in all phrasings.
    """

    entities: int = 32
    relations: int = 16
    values: int = 16
    held_out: int = 2
    entity_exponent: float = 0.5
    relation_exponent: float = 0.0
    phrasings: int = 1
    rephrased: float = 0.5

    name: ClassVar[str] = "composite_facts"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Allen-Zhu & Li 2024, arXiv 2404.05405; paraphrases: arXiv 2309.14316"
    known: ClassVar[str] = (
        "About two bits are stored for each parameter once a fact has been met often enough; rare ones come last. A "
        "fact is known in other words where enough other facts were met in several."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"entities": 6, "relations": 4, "values": 5, "held_out": 1},
        {"entities": 8, "relations": 6, "values": 4, "held_out": 2, "relation_exponent": 1.0, "phrasings": 3},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="facts448",
            sizes={},
            expected={"iid": (0.75, 1.0), "tail": (0.6, 1.0), "unseen": (0.0, 0.25)},
            about="a table far below capacity (.07 bits a weight of blocks) is learned but for the noise of a constant "
            "rate (at rest all of it is known); unseen pairs stay at chance",
            source="Allen-Zhu & Li 2024, arXiv 2404.05405; the intervals measured here",
            seconds=20,
            steps=2000,
            examples=16,
            width=32,
            rate=3e-3,
            decay=0.3,
        ),
    )

    def __post_init__(self):
        require_range(self, "entities", 4, PAIRS_MOST // 4)
        require_range(self, "relations", 4, min(256, self.entities))
        require_range(self, "values", 2, 65536)
        require_range(self, "held_out", 1, self.relations // 2 - 1)  # or no pair of a half might be trained
        require_range(self, "entity_exponent", 0.0, 4.0)
        require_range(self, "relation_exponent", 0.0, 4.0)
        require_range(self, "phrasings", 1, 64)
        require_range(self, "rephrased", 0.01, 0.99)
        if self.entities * self.relations > PAIRS_MOST:
            raise TaskError(
                f"composite_facts: entities must be at most {PAIRS_MOST // self.relations} with {self.relations} "
                f"relations, not {self.entities}: a world has at most {PAIRS_MOST} pairs."
            )

    @property
    def facts(self) -> int:
        """Number of facts that training asks for."""
        return self.entities * (self.relations - self.held_out)

    @property
    def _first_value(self) -> int:
        return 1 + self.entities + self.relations * self.phrasings

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._first_value + self.values

    @property
    def splits(self) -> Mapping[str, Split]:
        """See the class; `uniform` asks for all trained facts equally often, `paraphrase` comes with phrasings."""

        def split(part: int, about: str, uniform: bool = True) -> Split:
            exponents = (0.0, 0.0) if uniform else (self.entity_exponent, self.relation_exponent)
            difficulty = {"entity_exponent": exponents[0], "relation_exponent": exponents[1], "part": part}
            disjoint = part in (UNSEEN, PARAPHRASE)
            return Split(difficulty, length=2, answer_tokens=1, decode_steps=1, disjoint=disjoint, about=about)

        splits = {
            "train": split(TRAINED, "trained facts at their Zipf frequencies", uniform=False),
            "iid": split(TRAINED, "the same facts at the same frequencies", uniform=False),
            "uniform": split(TRAINED, "every trained fact equally often"),
            "head": split(HEAD, "the commonest half of the entities with that of the relations, uniform"),
            "tail": split(TAIL, "the rarest half of the entities with that of the relations, uniform"),
            "unseen": split(UNSEEN, "pairs that training never asks for, of parts that it does: by chance, or a leak"),
        }
        if self.phrasings > 1:
            about = "facts of one phrasing, at their frequencies, in the phrasings that training never asks for them in"
            splits["paraphrase"] = split(PARAPHRASE, about, uniform=False)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "entity_exponent": KnobField(0.0, 4.0, "Zipf exponent of how often each entity is asked for"),
            "relation_exponent": KnobField(0.0, 4.0, "Zipf exponent of how often each relation is asked for"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Training has but one difficulty."""
        return {}

    @property
    def title(self) -> str:
        """What a report calls the task."""
        return f"{self.facts} composite facts"

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `value`; the `entity`, one token back; the `relation`, where answers are read (with one phrasing the
        token itself: a control); the `phrasing`, if several.
        """
        sizes = {"value": self.values, "entity": self.entities, "relation": self.relations}
        return sizes | ({"phrasing": self.phrasings} if self.phrasings > 1 else {})

    @property
    def read_names(self) -> tuple[str, ...]:
        """The relation's position, where the answer is due."""
        return ("answer",)

    def world(self, key: jax.Array) -> CompositeWorld:
        """Draw the values, which pairs training leaves out, which parts are frequent and which facts it rephrases."""
        shape, keys = (self.entities, self.relations), jax.random.split(key, 7)

        def order(key: jax.Array, count: int) -> jax.Array:
            return jax.random.permutation(key, jnp.arange(count, dtype=jnp.int32))

        # A band around a circle, in random order: each entity lacks as many relations, and no relation all entities.
        place_ExR = order(keys[1], self.entities)[:, None] + order(keys[2], self.relations)[None, :]
        held_ExR = place_ExR % self.relations < self.held_out
        world = CompositeWorld(
            value=jax.random.randint(keys[0], shape, 0, self.values, jnp.int32),
            held_out=held_ExR,
            entity_rank=order(keys[3], self.entities),
            relation_rank=order(keys[4], self.relations),
        )
        if self.phrasings == 1:
            return world
        order_ExR = order(keys[5], self.entities * self.relations).reshape(shape)
        last_F = jnp.where(held_ExR, order_ExR + order_ExR.size, order_ExR).reshape(-1)  # trained facts first
        place_F = jnp.argsort(jnp.argsort(last_F)).astype(jnp.int32)
        rephrased = min(max(round(self.rephrased * self.facts), 1), self.facts - 1)
        alone_ExR = ((place_F >= rephrased) & (place_F < self.facts)).reshape(shape)
        own_ExR = jax.random.randint(keys[6], shape, 0, self.phrasings, jnp.int32)
        return world._replace(own_phrasing=jnp.where(alone_ExR, own_ExR, -1))

    def sample(self, key: jax.Array, world: CompositeWorld, difficulty: Difficulty, length: int) -> Example:
        """One key. Difficulty: `entity_exponent` and `relation_exponent`, and `part` 0 … 4 (trained facts, head, tail,
        held-out pairs, facts of one phrasing in others).
        """
        key_entity, key_relation, key_phrasing = jax.random.split(key, 3)
        weight_ExR = _weights(world, difficulty)
        entity = _drawn(key_entity, jnp.sum(weight_ExR, axis=1))
        relation = _drawn(key_relation, weight_ExR[entity])
        value = world.value[entity, relation]
        factors = {"value": value, "entity": entity, "relation": relation}
        phrasing = jnp.int32(0)
        if self.phrasings > 1:
            own = world.own_phrasing[entity, relation]
            other = (jnp.asarray(difficulty["part"], jnp.int32) == PARAPHRASE).astype(jnp.int32)
            some = jax.random.randint(key_phrasing, (), 0, self.phrasings - other, jnp.int32)
            some = some + other * (some >= own).astype(jnp.int32)  # any but its own
            phrasing = jnp.where((own < 0) | (other > 0), some, own)
            factors["phrasing"] = phrasing
        relation_token = 1 + self.entities + phrasing * self.relations + relation
        position_L = jnp.arange(length)
        return Example(
            tokens=jnp.where(position_L == 0, 1 + entity, jnp.where(position_L == 1, relation_token, PAD)),
            targets=jnp.where(position_L == 1, self._first_value + value, PAD),
            weights=(position_L == 1).astype(jnp.float32),
            factors=factors,
            read=jnp.ones((1,), jnp.int32),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: CompositeWorld, example: Example, answer: np.ndarray) -> bool:
        """Look the pair up in a list of lists."""
        entity, relation, _ = self._read(example)
        return int(answer[1]) - self._first_value == np.asarray(world.value).tolist()[entity][relation]

    def _read(self, example: Example) -> tuple[int, int, int]:
        """(entity, relation, phrasing) as the tokens say them."""
        entity, relation = np.asarray(example.tokens).tolist()[:2]
        phrasing, relation = divmod(relation - 1 - self.entities, self.relations)
        return entity - 1, relation, phrasing

    @property
    def _law(self) -> Law:
        exponents = (self.entity_exponent, self.relation_exponent)
        rephrased = self.rephrased if self.phrasings > 1 else 1.0
        return Law(self.entities, self.relations, self.values, self.held_out, exponents, rephrased)

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `most_common_value` of all training; `entity_value` and `relation_value`, the most common in
        training next to that part of the key. On `unseen` all are chance, as nothing that training shows says a word of
        those pairs; elsewhere the last three are averages over simulated worlds.
        """
        chance = Baseline(1 / self.values, -math.log(self.values))
        difficulty = self.splits[split].difficulty
        part = int(difficulty["part"])
        if part == UNSEEN:
            return dict.fromkeys(("chance", "most_common_value", "entity_value", "relation_value"), chance)
        exponents = (float(difficulty["entity_exponent"]), float(difficulty["relation_exponent"]))
        return {"chance": chance} | simulate(self._law, part, exponents)

    def guess(
        self, world: CompositeWorld, example: Example, generator: np.random.Generator
    ) -> Mapping[str, Sequence[int]]:
        """See `Guessing`; each knows how often training asks for each fact."""
        entity, relation, _ = self._read(example)
        ranks = np.asarray(world.entity_rank), np.asarray(world.relation_rank)
        weight_ExR = training_weights(self._law, *ranks, np.asarray(world.held_out))
        value_ExR = np.asarray(world.value)

        def best(values: np.ndarray, weights: np.ndarray) -> list[int]:
            return [self._first_value + int(np.bincount(values.ravel(), weights.ravel()).argmax())]

        return {
            "most_common_value": best(value_ExR, weight_ExR),
            "entity_value": best(value_ExR[entity], weight_ExR[entity]),
            "relation_value": best(value_ExR[:, relation], weight_ExR[:, relation]),
        }

    def render(self, example: Example) -> str:
        """`entity 17, relation 2 → value 3`, or `entity 17, relation 2 (phrasing 1) → value 3`."""
        entity, relation, phrasing = self._read(example)
        said = f" (phrasing {phrasing})" if self.phrasings > 1 else ""
        return f"entity {entity}, relation {relation}{said} → value {int(example.targets[1]) - self._first_value}"


def _weights(world: CompositeWorld, difficulty: Difficulty) -> jax.Array:
    """How often each pair is asked for, relatively: float32[E, R]."""
    entity, relation = (
        jnp.exp(-jnp.asarray(difficulty[name], jnp.float32) * jnp.log1p(rank.astype(jnp.float32)))
        for name, rank in (("entity_exponent", world.entity_rank), ("relation_exponent", world.relation_rank))
    )
    every = asked(world.entity_rank, world.relation_rank, world.held_out, world.own_phrasing)
    part = jnp.asarray(difficulty["part"], jnp.int32)
    wanted_ExR = jnp.any(jnp.stack([mask & (part == kind) for kind, mask in every.items()]), axis=0)
    return jnp.where(wanted_ExR, entity[:, None] * relation[None, :], 0.0)


def _drawn(key: jax.Array, weight_N: jax.Array) -> jax.Array:
    """An index drawn in proportion to the weights, of which one at least is positive: int32[]."""
    total_N = jnp.cumsum(weight_N)
    found = jnp.sum(total_N <= jax.random.uniform(key) * total_N[-1], dtype=jnp.int32)
    # Rounding can put the point on the total, which no index exceeds: then it is the last that weighs anything.
    return jnp.minimum(found, jnp.sum(total_N < total_N[-1], dtype=jnp.int32))
