"""Defaults with exceptions: a property is inherited from the nearest class that states it (Touretzky 1986)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.asking import READ_NAMES, Markers, ask, extent, require_scratchpad, uniform, unit
from tasks.base import Baseline, Card, Difficulty, Example, Split, TaskError, World, exact_match, require_range
from tasks.draw import permutation
from tasks.fields import KnobField, share
from tasks.reasoning.taxonomy import choose_side, draw_values, plant, say
from tasks.sequence import Part, join, part

SURE = 0.99  # a shortcut is never trusted more, so that its log-probability stays finite where it misleads


@dataclass(frozen=True)
class Defaults:
    """Read which class is under which and what is typical of it, then answer a property of an individual.

    What the nearest class says wins: birds fly, penguins are birds and don't. Two individuals of one taxonomy are d
    edges below its root; their branches meet at a level drawn for each example. The root states the default of the
    property; one node of one branch, below the meeting point, states another value: the exception. The individual
    asked about is the exceptional one with probability `exceptions`, else the other: every context holds one default
    and one exception, and all that tells the two individuals apart is whose ancestor states it. The exception is at a
    level uniform in `lowest` … `highest` (0 is the individual itself), as far as these are below the root.

    Distractor classes hang under a random node and state a random value of a random property, asides are statements
    about other properties at random nodes of the taxonomy.

    Tokens: names 1 … names (of classes and individuals alike), a token for every value of every property, one for
    every property, THINK, ANSWER. A statement takes two: `x y`, x is a y, or `x v`, x has v. Sequence: the statements
    in random order, the individual, the property, ANSWER; the answer, a value, is given at ANSWER. A scratchpad is
    written between THINK and ANSWER: the classes above the individual up to the one that decides.

    `train` and `iid` are split by what is said and asked, whatever the order of statements: instances that differ only
    by exchanging names 2j - 1 and 2j throughout are mates, and a hash of what they share says which is trained on.

    `exceptions` has them at levels that training never has, `nested` has exceptions to exceptions (with at least three
    values, so that undoing one is not the default again).

    Shortcut: where exceptions are rare the default is a good guess. `counterfactual` asks about exceptional
    individuals only (about the others only, if training asks about exceptional ones more often than not).

    Attributes:
      depth: the largest d of `train` and `iid`; the smallest is 1. Traced in `sample`.
      deeper: the largest d of the `depth` split, which begins at depth + 1.
      lowest, highest: the levels of exceptions in training; those above are new. Traced in `sample`.
      exceptions: probability that the individual asked about is exceptional. Traced in `sample`.
      distractors: distractor classes. Traced in `sample`.
      more_distractors: of them in the `distractors` split.
      asides: statements about other properties. Traced in `sample`.
      values: values of a property.
      properties: number of properties.
      names: number of names, even.
      scratchpad: one of `SCRATCHPADS`.
      scratchpad_share: share of training examples with a scratchpad. Traced in `sample`.
    """

    depth: int = 3
    deeper: int = 5
    lowest: int = 1
    highest: int = 1
    exceptions: float = 0.5
    distractors: int = 1
    more_distractors: int = 3
    asides: int = 1
    values: int = 4
    properties: int = 2
    names: int = 16
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "defaults"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = (
        "Inheritance with exceptions: Touretzky 1986; Horty, Thomason & Touretzky 1990. "
        "Asked of language models: Allaway et al. 2023 (generics and their exemplars), arXiv 2205.11658"
    )
    known: ClassVar[str] = (
        "Specificity decides where defaults conflict. A model that answers the default is right as often as exceptions "
        "are rare."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {
            "deeper": 4,
            "distractors": 0,
            "more_distractors": 1,
            "asides": 0,
            "values": 2,
            "properties": 1,
            "names": 10,
        },
        {"deeper": 4, "values": 3, "names": 12, "exceptions": 0.3, "scratchpad": "valid"},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="even",
            sizes={"distractors": 0, "asides": 0},
            expected={"iid": (0.35, 0.6)},
            about="default or exception, the two values at hand: which of them isn't found in 4,000 steps",
            source="measured here",
            seconds=50,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_scratchpad(self)
        require_range(self, "depth", 3, 32)
        require_range(self, "deeper", self.depth + 1, 64)
        require_range(self, "highest", 1, self.depth - 2)
        require_range(self, "lowest", 0, self.highest)
        require_range(self, "exceptions", 0.0, 1.0)
        require_range(self, "distractors", 0, 63)
        require_range(self, "more_distractors", self.distractors + 1, 64)
        require_range(self, "asides", 0, 16)
        require_range(self, "values", 2, 64)
        require_range(self, "properties", 1, 16)
        if self.asides and self.properties == 1:
            raise TaskError(
                f"defaults: asides need another property: properties must be at least 2 or asides 0, not {self.asides}."
            )
        require_range(self, "names", 2, 256)
        if self.names % 2 or not self._most_nodes <= self.names <= 256:
            raise TaskError(
                f"defaults: names must be even and in [{self._most_nodes}, 256] for deeper {self.deeper} and "
                f"more_distractors {self.more_distractors}, not {self.names}."
            )

    @property
    def _most_nodes(self) -> int:
        return 2 * self.deeper + 1 + self.more_distractors

    @property
    def _most_statements(self) -> int:
        return 2 * self.deeper + 3 + 2 * self.more_distractors + self.asides

    @property
    def _first_property(self) -> int:
        return 1 + self.names + self.properties * self.values

    @property
    def _think(self) -> int:
        return self._first_property + self.properties

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._think + 2

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, a deeper taxonomy (`depth`), and the others; `direct` is `iid` without scratchpads."""
        here = dict(least_depth=1, depth=self.depth, lowest=self.lowest, highest=self.highest, nested=0.0)
        here |= dict(exceptions=self.exceptions, distractors=self.distractors, asides=self.asides)
        written = self.scratchpad != "absent"

        def split(about: str, share: float = 1.0, held_out: int = 1, **changed: float) -> Split:
            difficulty = {**here, **changed, "held_out": held_out, "scratchpad": share if written else 0.0}
            statements = 2 * int(difficulty["depth"]) + 2 + 2 * int(difficulty["distractors"]) + self.asides
            question = 2 * (statements + int(difficulty["nested"])) + 3
            climb = max(_levels(difficulty)) if difficulty["exceptions"] == 1 else int(difficulty["depth"])
            sizes = extent(question, climb, 1, difficulty["scratchpad"])
            return Split(difficulty, **sizes, disjoint=bool(held_out), about=about)

        deep = {"least_depth": self.depth + 1, "depth": self.deeper}
        new = {"least_depth": self.highest + 2, "lowest": self.highest + 1, "highest": self.depth - 1}
        rare = self.exceptions <= 0.5
        splits = {
            "train": split(f"1 to {self.depth} edges to the root", self.scratchpad_share, held_out=0),
            "iid": split("taxonomies that are not in train"),
            "depth": split(f"{self.depth + 1} to {self.deeper} edges to the root", **deep),
            "exceptions": split(f"exceptions at levels {self.highest + 1} and above", **new),
            "counterfactual": split(
                f"{'exceptional' if rare else 'ordinary'} individuals only", exceptions=float(rare)
            ),
            "distractors": split(f"{self.more_distractors} distractor classes", distractors=self.more_distractors),
        }
        if self.values > 2:
            splits["nested"] = split("exceptions to exceptions", nested=1.0, least_depth=2)
        return splits | ({"direct": split("iid, answered without a scratchpad", 0.0)} if written else {})

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """See `tasks.fields`."""
        return {
            # Where training asks about exceptional ones alone, scratchpads are padded for those alone.
            "exceptions": share("share of questions about exceptional individuals") if self.exceptions < 1 else None,
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Individuals right below the root, and nothing else."""
        return {"depth": 1, "distractors": 0, "asides": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`exception` (1) or default (0), the `level` that decides and its class `decider`, the individual's `parent`.

        `value` is the answer, counted within its property.
        """
        names = dict.fromkeys(("decider", "parent"), self.names)
        return {"exception": 2, "level": self.deeper + 1, "value": self.values} | names

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the answer is due, and the question's last position."""
        return READ_NAMES

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One taxonomy. Difficulty: 1 ≤ `least_depth` ≤ `depth` ≤ deeper, 0 ≤ `lowest` ≤ `highest` levels.

        `exceptions` and `nested` in [0, 1], `distractors` up to more_distractors, `asides` up to the field's (and to
        the nodes there are), `held_out` 0 (train's half) or 1, `scratchpad` the probability of one.
        """
        whole = ("distractors", "asides", "held_out")
        distractors, asides, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in whole)
        rate, written = (jnp.asarray(difficulty[name], jnp.float32) for name in ("exceptions", "scratchpad"))
        size, nodes = self._most_statements, self._most_nodes
        bits = jax.random.bits(key, (self.names + 3 * size + nodes + 12,))
        name_bits, rest = bits[: self.names], bits[self.names :]
        bits_3xS, rest = rest[: 3 * size].reshape(3, size), rest[3 * size :]
        aside_bits, scalars = rest[:nodes], rest[nodes:]

        tree = plant(scalars[:5], difficulty)
        asides = jnp.minimum(asides, tree.root + 1)
        count = tree.root + 2 + 2 * distractors + tree.nested + asides
        values = draw_values(scalars[5:8], self.values, tree.nested > 0)
        main = uniform(scalars[8], 0, self.properties - 1)
        aside_node = permutation(aside_bits, tree.root + 1, nodes) % nodes
        said = say(tree, bits_3xS[:2], distractors, main, values, aside_node, (self.properties, self.values))
        exceptional = unit(scalars[9]) < rate
        asked = jnp.where(exceptional, 0, 1)
        name_M = permutation(name_bits, self.names, nodes)
        name_M = choose_side(name_M, said, count, asked, main, held_out > 0)

        token_M = 1 + name_M
        object_S = jnp.where(said.parent >= 0, token_M[jnp.maximum(said.parent, 0)], 1 + self.names + said.stated)
        order_S = permutation(bits_3xS[2], count, size) % size
        level = jnp.where(exceptional, tree.level, tree.depth)
        statements = jnp.stack([token_M[said.subject][order_S], object_S[order_S]], axis=1).reshape(-1)
        query = jnp.stack([token_M[asked], self._first_property + main])
        climbed = tree.node(1 + jnp.arange(self.deeper, dtype=jnp.int32), asked)
        kind, value = self.scratchpad, jnp.where(exceptional, values[1], values[0])
        text = ask(
            length,
            kind,
            jax.random.fold_in(key, 1) if kind in ("shuffled", "wrong") else key,
            Part(join((Part(statements, 2 * count), part(query)), statements.shape[0] + 2), 2 * count + 2),
            Part(token_M[jnp.minimum(climbed, nodes - 1)], level),
            part((1 + self.names + main * self.values + value)[None]),
            unit(scalars[10]) < written,
            Markers(self._think, self._think + 1),
            (1, 1 + self.names),
        )
        return Example(
            tokens=text.tokens,
            targets=text.targets,
            weights=text.weights,
            factors={
                "exception": exceptional.astype(jnp.int32),
                "level": level,
                "value": value,
                "decider": name_M[tree.node(level, asked)],
                "parent": name_M[tree.node(jnp.int32(1), asked)],
            },
            read=jnp.stack([text.answer, text.question]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Read the statements, climb from the individual until a class states the property."""
        edges, stated, node, asked, _ = self._read(example)
        parent, value = dict(edges), {(subject, p): v for subject, p, v in stated}
        while (node, asked) not in value:
            node = parent[node]
        judged = int(np.flatnonzero(np.asarray(example.weights) == 1)[0])
        said = int(np.asarray(answer)[judged]) - 1 - self.names
        return said == asked * self.values + value[node, asked]

    def _read(
        self, example: Example
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]], int, int, list[tuple[int, int]]]:
        """(edges, (node, property, value) stated, individual, property, all statements as they stand), from 0."""
        tokens = (np.asarray(example.tokens) - 1).tolist()
        end = next(i for i, token in enumerate(tokens) if token + 1 in (self._think, self._think + 1))
        pairs = list(zip(tokens[: end - 2 : 2], tokens[1 : end - 2 : 2], strict=True))
        edges = [(below, above) for below, above in pairs if above < self.names]
        stated = [(subject, *divmod(v - self.names, self.values)) for subject, v in pairs if v >= self.names]
        return edges, stated, tokens[end - 2], tokens[end - 1] + 1 - self._first_property, pairs

    def problem(self, example: Example) -> Hashable:
        """The statements in no order, the individual and the property."""
        *_, individual, asked, pairs = self._read(example)
        return frozenset(pairs), individual, asked

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` among the property's values, and three predictors that do not climb.

        `stated_value` names one of the values stated of the property asked about. `root_default` knows the root's and
        answers it, or another value if training's exceptions make that likelier. `own_statement` answers
        what is said of the individual itself, if anything, else the default. Both trust as training teaches.
        """
        train, here = (self.splits[name].difficulty for name in ("train", split))
        others = self.values - 1
        stated = [float(d["exceptions"]) * _levels(d).get(0, 0.0) for d in (train, here)]  # by an own statement
        rates = [float(d["exceptions"]) for d in (train, here)]
        left = [(rate - own) / max(1 - own, 1e-9) for rate, own in zip(rates, stated, strict=True)]
        guess, rest = (_default(taught, rate, others) for taught, rate in (rates, left))
        own = Baseline(
            stated[1] + (1 - stated[1]) * rest.exact, stated[1] * math.log(SURE) + (1 - stated[1]) * rest.logprob
        )
        return {
            "chance": Baseline(1 / self.values, -math.log(self.values)),
            "stated_value": self._stated(here),
            "root_default": guess,
            "own_statement": own,
        }

    def _stated(self, difficulty: Difficulty) -> Baseline:
        """The answer is stated once, by the class that decides, and by as many distractor classes as happen to."""
        first, most = 2 + int(difficulty["nested"]), int(difficulty["distractors"])
        exact = logprob = 0.0
        for stating in range(most + 1):  # distractor classes of which the property asked about is stated
            for alike in range(stating + 1):
                share = _binomial(most, stating, 1 / self.properties) * _binomial(stating, alike, 1 / self.values)
                right = (1 + alike) / (first + stating)
                exact, logprob = exact + share * right, logprob + share * math.log(right)
        return Baseline(exact, logprob)

    def render(self, example: Example) -> str:
        """`n3 is n7. n7: a=2. n5 is n3. | n5: a? [n3 n7] 2`: statements as they stand; names and values from 0."""
        *_, individual, asked, pairs = self._read(example)
        name_of = [f"n{token}" for token in range(self.names)]
        value_of = [f"{chr(97 + p)}={v}" for p in range(self.properties) for v in range(self.values)]
        symbols = name_of + value_of
        statements = " ".join(f"n{x} {'is' if y < self.names else 'has'} {symbols[y]}." for x, y in pairs)
        *steps, answer = (np.asarray(example.targets)[np.asarray(example.weights) > 0] - 1).tolist()
        shown = f" [{' '.join(f'n{token}' for token in steps[:-1])}]" if steps else ""
        said = symbols[answer] if 0 <= answer < len(symbols) else f"token {answer + 1}"
        return f"{statements} | n{individual} has {chr(97 + asked)}?{shown} {said}"


def _binomial(trials: int, successes: int, chance: float) -> float:
    return math.comb(trials, successes) * chance**successes * (1 - chance) ** (trials - successes)


def _levels(difficulty: Difficulty) -> dict[int, float]:
    """Level of the exception -> its chance; `nested` is 0 or 1."""
    depths = range(int(difficulty["least_depth"]), int(difficulty["depth"]) + 1)
    chances: dict[int, float] = {}
    for depth in depths:
        top = min(int(difficulty["highest"]), depth - 1)
        levels = range(min(int(difficulty["lowest"]), top), top + 1)
        for level in levels:
            level = min(level, depth - 2) if difficulty["nested"] and depth > 1 else level
            chances[level] = chances.get(level, 0.0) + 1 / (len(depths) * len(levels))
    return chances


def _default(taught: float, rate: float, others: int) -> Baseline:
    """Knowing the default: what training's share of exceptions makes of it where their share is `rate`."""
    trust = min(max(1 - taught, 1 - SURE), SURE)
    logprob = (1 - rate) * math.log(trust) + rate * math.log((1 - trust) / others)
    return Baseline(1 - rate if trust >= (1 - trust) / others else rate / others, logprob)
