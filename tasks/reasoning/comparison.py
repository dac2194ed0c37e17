"""Comparing facts held in weights: which of two entities has the larger value (Wang et al., arXiv 2405.15071)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, TaskError, exact_match, require_range
from tasks.fields import KnobField, share
from tasks.reasoning.comparison_scores import by_scores

# Values of the traced `part`: what is asked. 'ID' and 'OOD' are the two kinds of entities of an attribute.
TRAIN, ATOMIC, ATOMIC_OOD, SEEN, HELD_OUT, OOD_OOD, MIXED = range(7)
PAIRS_MOST = 1 << 23  # pairs of ID entities that a world lists
SMALLER, EQUAL, LARGER = range(3)  # the first entity's value compared with the second's
SIMULATED_WORLDS = 400


class Attributes(NamedTuple):
    """The knowledge of a seed.

    Attributes:
      value: int32[attributes, entities], in [0, values).
      entity: int32[attributes, entities], the ID entities of each attribute and then its OOD ones.
      pairs: int32[pairs], the pairs of ID entities, of all attributes, in random order; the last are held out.
    """

    value: jax.Array
    entity: jax.Array
    pairs: jax.Array


@dataclass(frozen=True)
class Comparison:
    """A table of values is learned by heart: answer `e a` with e's value, `a e1 e2` with how e1's compares to e2's.

    Every entity has a value of every attribute, drawn uniformly. For each attribute a share `ood` of the entities is
    out of distribution (OOD): their values are trained like all others, but never compared in training. Of the pairs of
    other (ID) entities a share `held_out` is set aside, both ways round, and of the rest so many are trained on that
    there are `ratio` comparisons, counting both ways round, for each ID value. Values and comparisons are trained on
    together, each equally often.

    Splits: `iid` compares the pairs set aside (the paper's test-ID), the same ones at every ratio, `ood` two entities
    that training never compares on the attribute (test-OOD), `mixed` one that it does and one that it doesn't. `atomic`
    and `atomic_ood` ask for the values themselves, `seen` for the trained comparisons: remembering, so not disjoint
    from training.

    Tokens: entities 1 … entities, attributes, values, and for each attribute `<`, `=`, `>`. The answer is given at the
    last position of `e a` or `a e1 e2`.

    Shortcut: with probability `larger_first` the entity with the larger value is mentioned first (mention order is one
    of the cues that language models follow against their own knowledge, arXiv 2510.16815). `counterfactual` is `iid`
    with probability 1 - larger_first.

    Attributes:
      entities: number of entities.
      attributes: number of attributes.
      values: values that an attribute can take.
      ratio: trained comparisons per ID value, the paper's φ; all of them if there are fewer. Traced in `sample`.
      ood: share of the entities, for each attribute, that training never compares.
      held_out: share of the pairs of ID entities that `iid` keeps.
      larger_first: probability that the larger one is mentioned first; 0.5 plants nothing. Traced in `sample`.
    """

    entities: int = 40
    attributes: int = 4
    values: int = 10
    ratio: float = 12.6
    ood: float = 0.2
    held_out: float = 0.1
    larger_first: float = 0.5

    name: ClassVar[str] = "comparison"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Wang et al. 2024, arXiv 2405.15071"
    known: ClassVar[str] = (
        "Memorized first; held-out comparisons and, unlike compositions, those of entities never compared in training "
        "are learned long after: both values are looked up in parallel, by the same layers."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"entities": 10, "attributes": 2, "values": 4, "ood": 0.4, "ratio": 2.0, "held_out": 0.3},
        {"entities": 9, "attributes": 3, "values": 5, "ood": 0.3, "ratio": 3.0, "held_out": 0.2, "larger_first": 0.9},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="ood",
            sizes={"attributes": 1, "entities": 100, "ratio": 9.0},
            expected={"atomic": (0.95, 1.0), "ood": (0.75, 1.0)},  # on iid additive scores reach .92
            about="comparing generalizes, also to entities never compared (with fewer pairs of each it doesn't)",
            source="Wang et al. 2024, arXiv 2405.15071",
            seconds=15,
            steps=4000,
            rate=2e-3,
            decay=0.3,
        ),
    )

    def __post_init__(self):
        require_range(self, "entities", 6, 65536)
        require_range(self, "attributes", 1, 1024)
        require_range(self, "values", 2, 1024)
        require_range(self, "ratio", 0.01, float(self.entities))
        require_range(self, "ood", 0.001, 0.6)
        require_range(self, "held_out", 0.001, 0.9)
        require_range(self, "larger_first", 0.5, 0.99)  # with 1, nothing tells the shortcut from the task
        inside, outside = self._inside, self.entities - self._inside
        if outside < 2:
            raise TaskError(f"comparison: ood must be at least {2 / self.entities:.3g}, for two entities to compare.")
        pairs = _pairs(inside) * self.attributes
        if not 1 <= self._aside < pairs:
            raise TaskError(
                f"comparison: held_out ({self.held_out}) of {pairs} pairs must leave a pair on either side: take more "
                "entities."
            )
        if pairs > PAIRS_MOST:
            raise TaskError(
                f"comparison: there are {pairs} pairs of ID entities, at most {PAIRS_MOST} can be listed: take fewer "
                "entities or attributes."
            )

    @property
    def _inside(self) -> int:
        return self.entities - round(self.ood * self.entities)

    @property
    def _aside(self) -> int:
        return round(self.held_out * _pairs(self._inside) * self.attributes)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._answers_from + self.values + 3 * self.attributes

    @property
    def _answers_from(self) -> int:
        return 1 + self.entities + self.attributes

    @property
    def splits(self) -> Mapping[str, Split]:
        """See the class; `counterfactual` where mention order tells anything."""

        def split(kind: int, about: str, larger_first: float = self.larger_first) -> Split:
            difficulty = {"part": kind, "ratio": self.ratio, "larger_first": larger_first}
            length = 2 if kind in (ATOMIC, ATOMIC_OOD) else 3
            return Split(difficulty, length, answer_tokens=1, decode_steps=1, disjoint=kind >= HELD_OUT, about=about)

        splits = {
            "train": split(TRAIN, "all values and the trained comparisons"),
            "iid": split(HELD_OUT, "comparisons of ID entities that are not in train"),
            "atomic": split(ATOMIC, "the values themselves"),
            "atomic_ood": split(ATOMIC_OOD, "the values that training never compares"),
            "seen": split(SEEN, "the trained comparisons"),
            "ood": split(OOD_OOD, "two entities that training never compares on the attribute"),
            "mixed": split(MIXED, "one entity that training compares on the attribute, one that it doesn't"),
        }
        if self.larger_first > 0.5:
            about = "iid, the larger one mostly mentioned second"
            splits["counterfactual"] = split(HELD_OUT, about, 1 - self.larger_first)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "ratio": KnobField(0.01, float(self.entities), "trained comparisons per value", "arXiv 2405.15071"),
            "larger_first": share("share of questions that name the larger one first"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Training has but one difficulty."""
        return {}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`first_value`, `second_value`, and their `relation` (0 smaller, 1 equal, 2 larger).

        Where a value itself is asked for, both are it.
        """
        return {"first_value": self.values, "second_value": self.values, "relation": 3}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last position, where the answer is due, and the one before it."""
        return ("answer", "first")

    def world(self, key: jax.Array) -> Attributes:
        """Draw the values, the OOD entities of each attribute, and the order of the pairs."""
        keys = jax.random.split(key, 3)
        shape = (self.attributes, self.entities)
        pairs = jnp.arange(_pairs(self._inside) * self.attributes, dtype=jnp.int32)
        return Attributes(
            value=jax.random.randint(keys[0], shape, 0, self.values, jnp.int32),
            entity=jnp.argsort(jax.random.bits(keys[1], shape), axis=1).astype(jnp.int32),
            pairs=jax.random.permutation(keys[2], pairs),
        )

    def sample(self, key: jax.Array, world: Attributes, difficulty: Difficulty, length: int) -> Example:
        """One question. Difficulty: `part` 0 … 6 (train, atomic, atomic OOD, seen, held out, both OOD, one of each),
        `ratio` > 0, and the probability `larger_first`.
        """
        kind, bits_6 = jnp.asarray(difficulty["part"], jnp.int32), jax.random.bits(key, (6,))
        atomic, attribute, rank_2 = self._ask(world, kind, jnp.asarray(difficulty["ratio"], jnp.float32), bits_6[:5])
        entity_2 = world.entity[attribute, rank_2]
        value_2 = world.value[attribute, entity_2]
        chance = (bits_6[5] >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2**-24)
        turned = (value_2[0] > value_2[1]) != (chance < difficulty["larger_first"])
        turned = jnp.where(value_2[0] == value_2[1], chance < 0.5, turned)
        entity_2, value_2 = (jnp.where(turned, pair[::-1], pair) for pair in (entity_2, value_2))
        relation = 1 + jnp.sign(value_2[0] - value_2[1])

        one, two, of = 1 + entity_2[0], 1 + entity_2[1], 1 + self.entities + attribute
        tokens_3 = jnp.stack([jnp.where(atomic, one, of), jnp.where(atomic, of, one), two])
        answer = jnp.where(atomic, value_2[0], self.values + 3 * attribute + relation)
        position_L, last = jnp.arange(length, dtype=jnp.int32), jnp.where(atomic, 1, 2)
        here_L = position_L == last
        return Example(
            tokens=jnp.where(position_L <= last, tokens_3[jnp.minimum(position_L, 2)], PAD),
            targets=jnp.where(here_L, self._answers_from + answer, PAD),
            weights=here_L.astype(jnp.float32),
            factors={"first_value": value_2[0], "second_value": value_2[1], "relation": relation},
            read=jnp.stack([last, last - 1]),
        )

    def _ask(
        self, world: Attributes, kind: jax.Array, ratio: jax.Array, bits_5: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(whether a value itself is asked for, attribute, ranks int32[2] of two entities in `world.entity`)."""
        inside, outside = self._inside, self.entities - self._inside
        listed = world.pairs.shape[0] - self._aside
        wanted = jnp.round(ratio * (self.attributes * inside / 2))
        trained = jnp.clip(wanted, 1, listed).astype(jnp.int32)
        values = self.attributes * self.entities
        atomic = (kind == TRAIN) & (_below(bits_5[0], values + 2 * trained) < values)
        atomic = atomic | (kind == ATOMIC) | (kind == ATOMIC_OOD)

        begin = jnp.where(kind == HELD_OUT, listed, 0)
        pair = world.pairs[begin + _below(bits_5[1], jnp.where(kind == HELD_OUT, self._aside, trained))]
        attribute = jnp.where(atomic | (kind >= OOD_OOD), _below(bits_5[2], self.attributes), pair // _pairs(inside))
        least = jnp.where(kind == ATOMIC_OOD, inside, 0)
        alone = least + _below(bits_5[3], self.entities - least)
        mixed_2 = jnp.stack([_below(bits_5[3], inside), inside + _below(bits_5[4], outside)])
        outer_2 = inside + _unrank(_below(bits_5[3], _pairs(outside)), outside)
        across_2 = jnp.where(kind == MIXED, mixed_2, outer_2)
        compared_2 = jnp.where(kind >= OOD_OOD, across_2, _unrank(pair % _pairs(inside), inside))
        return atomic, attribute, jnp.where(atomic, alone, compared_2)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: Attributes, example: Example, answer: np.ndarray) -> bool:
        """Look the values up and sort them."""
        attribute, entities, last = self._read(example)
        row = np.asarray(world.value)[attribute].tolist()
        right = 1 + self.entities + self.attributes
        if len(entities) == 1:
            right += row[entities[0]]
        else:
            ascending = sorted(row[e] for e in entities)
            same, increasing = ascending[0] == ascending[1], ascending[0] == row[entities[0]]
            right += self.values + 3 * attribute + (EQUAL if same else SMALLER if increasing else LARGER)
        return int(np.asarray(answer)[last]) == right

    def _read(self, example: Example) -> tuple[int, list[int], int]:
        """(attribute, entities, last position) as the tokens tell them, from 0."""
        tokens = [t for t in np.asarray(example.tokens).tolist() if t != PAD]
        (attribute,) = [t - 1 - self.entities for t in tokens if t > self.entities]
        return attribute, [t - 1 for t in tokens if t <= self.entities], len(tokens) - 1

    def problem(self, example: Example) -> Hashable:
        """The attribute and the entities, whichever is mentioned first."""
        return frozenset(np.asarray(example.tokens).tolist())

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the answers of the attribute asked for, `majority`, `one_entity` and, for pairs that training
        holds out, `scores`.

        `majority` knows how often each answer is right in training; `one_entity` knows the value of the first entity
        and answers what is likeliest of a second one drawn at random. Of a value itself both name the commonest.
        `scores` gives every entity a number, fitted to the trained comparisons alone, and compares these: it never
        learns a value.
        """
        difficulty = self.splits[split].difficulty
        commonest = _most_common_value(self.values, self.entities)
        atomic = {"chance": Baseline(1 / self.values, -math.log(self.values))}
        atomic |= dict.fromkeys(("majority", "one_entity"), commonest)
        kind, asked = int(difficulty["part"]), _joint(self.values, float(difficulty["larger_first"]))
        trained = _joint(self.values, self.larger_first)
        compared = {
            "chance": Baseline(1 / 3, -math.log(3)),
            "majority": _predict(trained.sum(axis=0, keepdims=True), asked.sum(axis=0, keepdims=True)),
            "one_entity": _predict(trained, asked),
        }
        if kind in (ATOMIC, ATOMIC_OOD):
            return atomic
        pairs = _pairs(self._inside) * self.attributes
        trained_pairs = min(max(round(self.ratio * self.attributes * self._inside / 2), 1), pairs - self._aside)
        if kind == HELD_OUT:
            compared["scores"] = by_scores(self.values, self._inside, max(trained_pairs // self.attributes, 1))
        if kind != TRAIN:
            return compared
        values, comparisons = self.attributes * self.entities, 2 * trained_pairs
        share = values / (values + comparisons)
        return {
            name: Baseline(*(share * a + (1 - share) * c for a, c in zip(atomic[name], compared[name], strict=True)))
            for name in compared
        }

    def render(self, example: Example) -> str:
        """`e5 a2 = 7` or `a2: e5 < e9`, numbers from 0."""
        attribute, entities, last = self._read(example)
        answer = int(np.asarray(example.targets)[last]) - self._answers_from
        if len(entities) == 1:
            return f"e{entities[0]} a{attribute} = {answer}"
        sign = {SMALLER: "<", EQUAL: "=", LARGER: ">"}.get(answer - self.values - 3 * attribute, f"[token {answer}]")
        return f"a{attribute}: e{entities[0]} {sign} e{entities[1]}"


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _below(bits: jax.Array, count: jax.Array | int) -> jax.Array:
    """Uniform in 0 … count - 1, count > 0: int32[]."""
    return (bits % jnp.asarray(count, jnp.uint32)).astype(jnp.int32)


def _unrank(pair: jax.Array, count: int) -> jax.Array:
    """The pair of that number: int32[2]. An item and the one so many further on, as around a table.

    With `count` items there are count pairs at each distance below count/2 and, if count is even, count/2 pairs at
    distance count/2, which come last: numbers 0 … count·(count - 1)/2 - 1 are all the pairs.
    """
    one = pair % count
    return jnp.stack([one, (one + 1 + pair // count) % count])


def _joint(values: int, larger_first: float) -> np.ndarray:
    """float64[values, 3]: probability of the first entity's value and the relation."""
    v = np.arange(values)
    above, below = 2 * larger_first * v, 2 * (1 - larger_first) * (values - 1 - v)
    return np.stack([below, np.ones(values), above], axis=1) / values**2


def _predict(trained: np.ndarray, asked: np.ndarray) -> Baseline:
    """Answer by the shares that training has in each row: of float64[rows, 3] probabilities."""
    exact = np.sum(asked[np.arange(len(asked)), trained.argmax(axis=1)])
    share = trained / trained.sum(axis=1, keepdims=True)
    return Baseline(float(exact), float(np.sum(asked * np.log(np.where(share > 0, share, 1.0)))))


@lru_cache(maxsize=256)
def _most_common_value(values: int, entities: int) -> Baseline:
    """The predictor that knows how often an attribute has each value, averaged over simulated worlds."""
    generator = np.random.default_rng(0)
    counts = generator.multinomial(entities, np.full(values, 1 / values), size=SIMULATED_WORLDS)
    share = counts / entities
    logs = np.log(np.where(share > 0, share, 1.0))
    return Baseline(float(share.max(axis=1).mean()), float(np.sum(share * logs, axis=1).mean()))
