"""Forward chaining over facts and if-then rules (RuleTaker, arXiv 2002.05867; ProntoQA, arXiv 2210.01240)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.asking import READ_NAMES, Markers, ask, extent, require_scratchpad, uniform, unit
from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, TaskError, exact_match, require_range
from tasks.draw import permutation
from tasks.fields import KnobField, share
from tasks.reasoning.theory import EMPTY, LINES, Shape, Theory, build, choose_side, derived, places
from tasks.reasoning.theory_shortcuts import counts, dead_ends, learn, recalled
from tasks.sequence import Part, part


class NameWorld(NamedTuple):
    """The names of a seed and, by their places, its ontology.

    Attributes:
      names: int32[atoms + reserved], the name at every place. Places 0 … atoms - 1 are those of the ontology: place
        2·(line // 2 · height + rank) + line % 2 is the one of that rank on that line. The others are reserved.
    """

    names: jax.Array


@dataclass(frozen=True)
class RuleDeduction:
    """Read facts and rules in random order, then an atom: does it follow?

    Two chains of d rules end in two atoms, and one of these is asked about, each with chance 1/2. The true chain goes
    from a fact x_0 by x_0 → x_1, … to x_d. The broken one is the same but for its i-th rule, in which an atom u that
    nothing supports stands in place of y_(i-1): the fact y_0 leads to y_(i-1) and no further, and y_d does not follow
    though it has rules behind it. i is uniform in 1 … d - 1, so that the last rule looks alike in both chains; d = 1
    leaves only i = 1. The context holds both chains whichever end is asked about, so that nothing that can be counted
    in it (facts, rules, atoms, uses of an atom) says anything about the answer: the features that Zhang et al. saw
    learned in place of reasoning. d is uniform in least_depth … depth.

    Distractors come after that, each by a fresh atom f and an atom a that is already there, of either chain or of
    another distractor: `a → f`, a branch to nowhere, or `f → a`, a second way to a that nothing supports.

    A rule has a second premise with probability `conjunctions`: one of the two facts; for the broken rule y_(i-1),
    which does follow, so that reading 'and' as 'or' gives a wrong answer there.

    Tokens: names 1 … atoms + reserved, NONE, THINK, ANSWER, TRUE, FALSE. A statement takes three tokens, two premises
    in random order and the conclusion: `p q r`, `p NONE r` for a single premise, `NONE NONE r` for a fact. Sequence:
    the statements, the atom asked about, ANSWER; the answer is given at ANSWER. A scratchpad is written between THINK
    and ANSWER: what forward chaining adds to the facts, round by round, each round in the order in which its rules
    stand in the context.

    World: an ontology of four lines of names, in which each name implies the next of its line (ProntoQA's ontologies
    are such lines too). With probability |agreement| an example's chains are named by it; otherwise all names are
    drawn at random (ProntoQA's fictional ontologies). Positive: the chains' rules agree with the ontology, an atom
    that follows is one that the ontology alone derives from the facts, and context and memory give the same answer.
    Negative: one rule of each chain contradicts it, so that memory alone gives the wrong answer in every example.

    `train` and `iid` are split by what is said and asked, whatever the order of statements and premises: instances
    that differ only by exchanging lines 2j and 2j + 1 of the ontology throughout are mates, and a hash of what they
    share says which of them is trained on. `names` has names that training never shows, for as many atoms as there
    are reserved names, beginning with the two that may be asked about and going back along the chains.

    Shortcut: an example has `distractors` rules more than its chains, or `distractors + extra`, each with chance 1/2.
    With `shortcut` s the larger number has chance (1 + s)/2 where the answer is true and (1 - s)/2 where it is false
    (Zhang et al.: more rules, more that follows). `counterfactual` turns that round: s = -1.

    Attributes:
      depth: the largest number of rules in a proof in `train` and `iid`; the smallest is 1. Traced in `sample`.
      deeper: the largest in the `depth` split, which begins at depth + 1.
      distractors: distractor rules. Traced in `sample`.
      more_distractors: of them in the `distractors` split.
      extra: how many more distractor rules a half of the examples has. Traced in `sample`.
      conjunctions: share of rules with two premises. Traced in `sample`.
      atoms: names for training, a multiple of four.
      reserved: names that only the `names` split shows.
      agreement: in [-1, 1], of training's contexts with the ontology; 0 for random names. Traced in `sample`.
      shortcut: in [0, 1], how much the number of rules tells of the answer in training. Traced in `sample`.
      scratchpad: one of `SCRATCHPADS`.
      scratchpad_share: share of training examples with a scratchpad. Traced in `sample`.
    """

    depth: int = 2
    deeper: int = 4
    distractors: int = 1
    more_distractors: int = 4
    extra: int = 1
    conjunctions: float = 0.25
    atoms: int = 20
    reserved: int = 4
    agreement: float = 0.0
    shortcut: float = 0.0
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "rule_deduction"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = (
        "RuleTaker: Clark et al. 2020, arXiv 2002.05867; ProntoQA: Saparov & He 2022, arXiv 2210.01240; "
        "SimpleLogic: Zhang et al. 2022, arXiv 2205.11502"
    )
    known: ClassVar[str] = (
        "Trained transformers are near perfect in distribution, and rest on statistics such as the number of rules: "
        "they fail on the same problems drawn in another way. Language models reason worse where rules contradict the "
        "world."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"depth": 2, "deeper": 3, "distractors": 0, "more_distractors": 1, "atoms": 16, "agreement": 0.9},
        {
            "depth": 2,
            "deeper": 3,
            "distractors": 0,
            "more_distractors": 2,
            "conjunctions": 0.5,
            "atoms": 16,
            "reserved": 2,
            "shortcut": 0.8,
            "scratchpad": "valid",
        },
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="balanced",
            sizes={"depth": 2, "deeper": 3, "conjunctions": 0.0, "atoms": 16},
            expected={"iid": (0.4, 0.6)},
            about="with balanced statistics nothing short of chaining helps, and that isn't found in 4,000 steps",
            source="measured here",
            seconds=70,
            steps=4000,
        ),
        Card(
            name="chained",
            sizes={
                "depth": 2,
                "deeper": 3,
                "conjunctions": 0.0,
                "distractors": 0,
                "atoms": 16,
                "scratchpad": "valid",
            },
            expected={"iid": (0.75, 1.0), "counterfactual": (0.75, 1.0), "depth": (0.0, 0.5)},
            about="found where the proof is written down first, without the statistics' help; longer proofs aren't",
            source="measured here",
            seconds=170,
            steps=8000,
        ),
        Card(
            name="rule_count",
            sizes={"depth": 2, "deeper": 3, "conjunctions": 0.0, "atoms": 16, "shortcut": 1.0},
            expected={"iid": (0.99, 1.0), "counterfactual": (0.0, 0.05)},
            about="where the number of rules tells the answer nothing else is learned",
            source="Zhang et al. 2022, arXiv 2205.11502",
            seconds=10,
            steps=600,
            predicted_failure=True,
        ),
    )

    def __post_init__(self):
        require_scratchpad(self)
        require_range(self, "depth", 2, 32)
        require_range(self, "deeper", self.depth + 1, 64)
        require_range(self, "distractors", 0, 63)
        require_range(self, "more_distractors", self.distractors + 1, 64)
        require_range(self, "extra", 1, 64)
        for field in ("conjunctions", "shortcut"):
            require_range(self, field, 0.0, 1.0)
        require_range(self, "agreement", -1.0, 1.0)
        require_range(self, "reserved", 2, 64)
        require_range(self, "atoms", LINES, 256 - self.reserved)
        least = max(self._most_statements + 1, LINES * (self.deeper + 1))
        if self.atoms < least or self.atoms % LINES:
            raise TaskError(
                f"rule_deduction: atoms must be a multiple of {LINES} in [{least}, 256 - reserved] for deeper "
                f"{self.deeper}, more_distractors {self.more_distractors} and extra {self.extra}, not {self.atoms}."
            )

    @property
    def _most_statements(self) -> int:
        return 2 * self.deeper + 2 + self.more_distractors + self.extra

    @property
    def _all_names(self) -> int:
        return self.atoms + self.reserved

    @property
    def _none(self) -> int:
        return 1 + self._all_names

    @property
    def _false(self) -> int:
        return self._none + 4

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._false + 1

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, longer proofs (`depth`), and the others; `direct` is `iid` without scratchpads."""
        here = dict(least_depth=1, depth=self.depth, distractors=self.distractors, extra=self.extra)
        here |= dict(conjunctions=self.conjunctions, agreement=self.agreement, shortcut=self.shortcut, unseen=0)
        written = self.scratchpad != "absent"

        def split(about: str, share: float = 1.0, held_out: int = 1, **changed: float) -> Split:
            difficulty = {**here, **changed, "held_out": held_out, "scratchpad": share if written else 0.0}
            depth, rules = int(difficulty["depth"]), int(difficulty["distractors"]) + self.extra
            question = 3 * (2 * depth + 2 + rules) + 2
            sizes = extent(question, 2 * depth - 2 + rules, 1, difficulty["scratchpad"])
            return Split(difficulty, **sizes, disjoint=bool(held_out), about=about)

        deep = {"least_depth": self.depth + 1, "depth": self.deeper}
        splits = {
            "train": split(f"proofs of 1 to {self.depth} rules", self.scratchpad_share, held_out=0),
            "iid": split("theories that are not in train"),
            "depth": split(f"proofs of {self.depth + 1} to {self.deeper} rules", **deep),
            "distractors": split(f"{self.more_distractors} distractor rules", distractors=self.more_distractors),
            "names": split(f"{self.reserved} names that are not in train", unseen=self.reserved),
            "contrary": split("rules that contradict the ontology", agreement=-1.0),
            "counterfactual": split("more rules where the answer is false", shortcut=-1.0),
        }
        return splits | ({"direct": split("iid, answered without a scratchpad", 0.0)} if written else {})

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "conjunctions": share("share of rules with two premises"),
            "agreement": KnobField(-1.0, 1.0, "agreement of contexts with the ontology"),
            "shortcut": KnobField(-1.0, 1.0, "how much the number of rules tells of the answer"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Proofs of one rule, no distractors."""
        return {"depth": 1, "distractors": 0}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`label` (1 is true); `reached`, how many rules of the chain asked about apply, and `depth`, how many it has.

        `premise` is the name of the atom before the one asked about, `frontier` of the last of its chain that follows.
        """
        names = self._all_names
        sizes = {"label": 2, "reached": self.deeper + 1, "depth": self.deeper + 1}
        return sizes | {"premise": names, "frontier": names}

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the answer is due, and the question's last position."""
        return READ_NAMES

    def world(self, key: jax.Array) -> NameWorld:
        """Draw which names are reserved, and the ontology of the others."""
        return NameWorld(jax.random.permutation(key, jnp.arange(self._all_names, dtype=jnp.int32)))

    def sample(self, key: jax.Array, world: NameWorld, difficulty: Difficulty, length: int) -> Example:
        """One theory. Difficulty: 1 ≤ `least_depth` ≤ `depth` ≤ deeper; `distractors` + `extra` as far as they fit.

        `conjunctions` in [0, 1], `agreement` and `shortcut` in [-1, 1], `unseen` 0 … reserved atoms with reserved
        names, `held_out` 0 (train's half) or 1, `scratchpad` the probability of one.
        """
        whole = ("least_depth", "depth", "distractors", "extra", "unseen", "held_out")
        least, most, distractors, extra, unseen, held_out = (jnp.asarray(difficulty[n], jnp.int32) for n in whole)
        shares = ("conjunctions", "agreement", "shortcut", "scratchpad")
        conjunctions, agreement, shortcut, written = (jnp.asarray(difficulty[n], jnp.float32) for n in shares)
        size = self._most_statements
        bits = jax.random.bits(key, (self._all_names + 3 * size + 9,))
        name_bits, rest = bits[: self._all_names], bits[self._all_names :]
        bits_3xS, scalars = rest[: 3 * size].reshape(3, size), rest[3 * size :]

        label = scalars[0] % jnp.uint32(2) == 0
        many = unit(scalars[0]) < (1 + jnp.where(label, shortcut, -shortcut)) / 2
        depth = uniform(scalars[1], least, most)
        count = 2 * depth + 2 + distractors + jnp.where(many, extra, 0)
        shape = Shape(depth, uniform(scalars[2], 1, jnp.maximum(depth - 1, 1)), count)
        theory = build(shape, bits_3xS[:2], conjunctions)
        place_M = places(shape, name_bits, scalars[3:8], self.atoms, unseen, agreement)
        asked = jnp.where(label, 0, 1)
        place_M = choose_side(shape, theory, place_M, asked, self.atoms, held_out > 0)
        token_M = 1 + world.names[place_M]

        statement_S = permutation(bits_3xS[2], count, size)
        question = self._question(theory, token_M, statement_S % size, bits_3xS[0], count, token_M[asked])
        kind, steps = self.scratchpad, question  # without scratchpads there is nothing to derive
        if kind != "absent":
            steps = derived(shape, theory, statement_S, token_M, self.more_distractors + self.extra)
        text = ask(
            length,
            kind,
            jax.random.fold_in(key, 1) if kind in ("shuffled", "wrong") else key,
            question,
            steps,
            part(jnp.where(label, self._false - 1, self._false)[None]),
            unit(scalars[8]) < written,
            Markers(self._none + 1, self._none + 2),
            (1, 1 + self._all_names),
        )
        last = jnp.where(shape.cut == depth, shape.unsupported, shape.atom(depth - 1, 1))
        premise = jnp.where(label, shape.atom(depth - 1, 0), last)
        frontier = jnp.where(label, asked, shape.atom(shape.cut - 1, 1))
        return Example(
            tokens=text.tokens,
            targets=text.targets,
            weights=text.weights,
            factors={
                "label": label.astype(jnp.int32),
                "reached": jnp.where(label, depth, shape.cut - 1),
                "depth": depth,
                "premise": token_M[premise] - 1,
                "frontier": token_M[frontier] - 1,
            },
            read=jnp.stack([text.answer, text.question]),
        )

    def _question(
        self,
        theory: Theory,
        token_M: jax.Array,
        statement_S: jax.Array,
        bits_S: jax.Array,
        count: jax.Array,
        asked: jax.Array,
    ) -> Part:
        """The statements in their order, three tokens each, and the atom asked about."""
        exchange_S = (theory.second != EMPTY) & (bits_S // jnp.uint32(4) % jnp.uint32(2) == 1)
        left_S = jnp.where(exchange_S, theory.second, theory.first)
        right_S = jnp.where(exchange_S, theory.first, theory.second)
        atom_Sx3 = jnp.stack([left_S, right_S, theory.head], axis=1)
        word_Sx3 = jnp.where(atom_Sx3 == EMPTY, self._none, token_M[jnp.maximum(atom_Sx3, 0)])
        statement_T = word_Sx3[statement_S].reshape(-1)
        index = jnp.arange(statement_T.shape[0] + 1, dtype=jnp.int32)
        return Part(jnp.where(index == 3 * count, asked, jnp.append(statement_T, PAD)), 3 * count + 1)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: NameWorld, example: Example, answer: np.ndarray) -> bool:
        """Read the statements, chain forward until nothing is new, look the question up."""
        rules, asked, _ = self._read(example)
        known: set[int] = set()
        while True:
            new = {head for premises, head in rules if head not in known and premises <= known}
            if not new:
                break
            known |= new
        judged = int(np.flatnonzero(np.asarray(example.weights) == 1)[0])
        return int(np.asarray(answer)[judged]) == (self._false - 1 if asked in known else self._false)

    def _read(self, example: Example) -> tuple[list[tuple[set[int], int]], int, list[int]]:
        """The statements as (premises, conclusion), the atom asked about, and the scratchpad, if any."""
        tokens = np.asarray(example.tokens).tolist()
        end = next(i for i, token in enumerate(tokens) if token in (self._none + 1, self._none + 2))
        statements = tokens[: end - 1]
        rules = [({*statements[i : i + 2]} - {self._none}, statements[i + 2]) for i in range(0, len(statements), 3)]
        written = np.asarray(example.targets)[np.asarray(example.weights) > 0].tolist()
        return rules, tokens[end - 1], written[:-2]

    def problem(self, example: Example) -> Hashable:
        """The statements in no order, their premises neither, and the atom asked about."""
        rules, asked, _ = self._read(example)
        return frozenset((frozenset(premises), head) for premises, head in rules), asked

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, and three predictors that do not chain.

        `last_rule` says false only where a rule for the atom asked about has a premise that no statement concludes, and
        so has every other. `rule_count` says true where there are more rules and `memory` where the ontology derives
        the atom from the facts, as far as training teaches that: on `counterfactual` and `contrary` they are wrong.
        """
        train, here = (self.splits[name].difficulty for name in ("train", split))
        joints = {"last_rule": dead_ends, "rule_count": counts, "memory": partial(recalled, atoms=self.atoms)}
        learned = {name: learn(joint(train), joint(here)) for name, joint in joints.items()}
        return {"chance": Baseline(0.5, -math.log(2))} | learned

    def render(self, example: Example) -> str:
        """`p4.  p4 → p9.  p9 ∧ p4 → p2.  p2? [p9 p2] true`: facts and rules as they stand, names from 0."""
        rules, asked, steps = self._read(example)
        sides = [(" ∧ ".join(f"p{token - 1}" for token in sorted(premises)), head) for premises, head in rules]
        lines = "  ".join(f"{side} → p{head - 1}." if side else f"p{head - 1}." for side, head in sides)
        shown = f" [{' '.join(f'p{token - 1}' for token in steps)}]" if steps else ""
        judged = int(np.asarray(example.targets)[np.asarray(example.weights) == 1][0])
        answer = {self._false - 1: "true", self._false: "false"}.get(judged, f"token {judged}")
        return f"{lines}  p{asked - 1}?{shown} {answer}"
