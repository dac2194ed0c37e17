"""Regular languages of the Chomsky-hierarchy study: the class of a string, asked at its end (arXiv 2207.02098)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import bdtr

from tasks.asking import (
    READ_NAMES,
    Markers,
    ask,
    extent,
    mate,
    require_scratchpad,
    uniform,
    unit,
)
from tasks.base import Baseline, Card, Difficulty, Example, Split, World, exact_match, require_choice, require_range
from tasks.reasoning.automata import CLASSES, LANGUAGES, MODULUS, STATES, SYMBOLS, classes, run, shares
from tasks.sequence import Part, part

TERM = re.compile(r"([+-]?)([0-9*]+)")


@dataclass(frozen=True)
class RegularLanguage:
    """Read a string of a regular language's alphabet to its end, then say which class it belongs to.

    - 'parity': bits; whether the number of ones is odd.
    - 'even_pairs': letters a and b; whether the number of 'ab' and 'ba' together is odd (so whether first and last
      differ).
    - 'cycle_navigation': steps left, stay and right on a cycle of five places; the place reached from place 0.
    - 'modular_arithmetic': digits 0 … 4 with + - * between them, products first, no brackets; the value mod 5. Strings
      of an even length do not exist: they are one shorter, as in the paper.

    Strings are uniform given their length, lengths uniform in `shortest` … `length`, in the `length` split in
    length + 1 … `longer`. (The paper trains on 1 … 40 and averages accuracy over 41 … 500.)

    Sequence: the string, then ANSWER; there the class is due. With a scratchpad THINK ends the string, then come the
    states of the language's automaton (after every symbol, in modular arithmetic after every digit), then ANSWER. The
    state is the class itself in parity and cycle navigation, 2·first + last letter in even pairs, and in modular
    arithmetic 5·(sum of the closed terms) + (signed term under way).

    Tokens: the symbols 1 …, then the classes, the states, THINK, ANSWER.

    `train` and `iid` are split by the string. Mates are strings that differ only in the first symbol, in parity in the
    first two, in even pairs in all, so that there mates belong to one class; a hash of what they share says which half
    of them (rounded up) is trained on. Short strings are few and can be remembered: raise `shortest` where `iid` is to
    show generalization alone.

    Attributes:
      language: one of `LANGUAGES`.
      shortest: fewest symbols in `train` and `iid`; as `length` for strings of one length only. Traced in `sample`.
      length: most symbols in `train` and `iid`. Traced in `sample`.
      longer: most symbols in the `length` split.
      scratchpad: one of `tasks.sequence.SCRATCHPADS`.
      scratchpad_share: share of the training examples that have it, if any have. Traced in `sample`.
    """

    language: str = "parity"
    shortest: int = 1
    length: int = 20
    longer: int = 60
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "regular_language"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Delétang et al. 2022, arXiv 2207.02098; scratchpads: Nye et al. 2021, arXiv 2112.00114"
    known: ClassVar[str] = (
        "Transformers trained on lengths up to 40 score 52.0 (parity), 96.4 (even pairs), 61.9 (cycle navigation) and "
        "24.2% (modular arithmetic) on lengths 41 to 500; recurrent networks solve all four."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"language": "parity", "length": 5, "longer": 7},
        {"language": "cycle_navigation", "length": 3, "longer": 5, "scratchpad": "valid", "scratchpad_share": 0.5},
        {"language": "modular_arithmetic", "shortest": 3, "length": 5, "longer": 7, "scratchpad": "shuffled"},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="parity20",
            sizes={"language": "parity", "shortest": 20, "length": 20, "longer": 24},
            expected={"iid": (0.4, 0.6)},
            about="stays at chance: parity is as sensitive as a function can be, and asked once, at the end",
            source="Delétang et al. 2022, arXiv 2207.02098; Hahn 2020, arXiv 1906.06755",
            seconds=30,
            steps=3000,
            predicted_failure=True,
            default=True,
        ),
        Card(
            name="parity20_scratchpad",
            sizes={"language": "parity", "shortest": 20, "length": 20, "longer": 24, "scratchpad": "valid"},
            expected={"iid": (0.9, 1.0)},
            about="solved when the states may be written down one by one",
            source="Nye et al. 2021, arXiv 2112.00114; Anil et al. 2022, arXiv 2207.04901",
            seconds=40,
            steps=1500,
        ),
        Card(
            name="cycle12",
            sizes={"language": "cycle_navigation", "shortest": 6, "length": 12, "longer": 16},
            expected={"iid": (0.95, 1.0), "length": (0.3, 0.85)},
            about="learned in distribution, lost on longer strings",
            source="Delétang et al. 2022, arXiv 2207.02098",
            seconds=25,
            steps=4000,
        ),
        Card(
            name="even_pairs12",
            sizes={"language": "even_pairs", "shortest": 1, "length": 12, "longer": 16},
            expected={"iid": (0.85, 1.0), "length": (0.4, 0.9)},
            about="learned in distribution (only the first and the last letter matter), lost on longer strings",
            source="Delétang et al. 2022, arXiv 2207.02098",
            seconds=25,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_choice(self, "language", LANGUAGES)
        require_range(self, "length", 3, 1024)
        require_range(self, "shortest", 1, self.length)
        require_range(self, "longer", self._beyond, 4096)
        require_scratchpad(self)

    @property
    def _arithmetic(self) -> bool:
        return self.language == "modular_arithmetic"

    @property
    def _beyond(self) -> int:
        """The least length beyond training; for arithmetic the next odd one."""
        return self.length + 1 + (self.length % 2 if self._arithmetic else 0)

    def _units(self, symbols: Any) -> Any:
        """How many states a string passes, start apart: one a symbol, in arithmetic one a digit."""
        return (symbols + 1) // 2 if self._arithmetic else symbols

    @property
    def _markers(self) -> Markers:
        think = 1 + len(SYMBOLS[self.language]) + CLASSES[self.language] + STATES[self.language]
        return Markers(think, think + 1)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._markers.answer + 1

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, longer strings (`length`) and, with a scratchpad, `direct`: iid without it."""
        always = float(self.scratchpad != "absent")

        def split(shortest: int, longest: int, held_out: int, share: float, about: str) -> Split:
            difficulty = {"shortest": shortest, "longest": longest, "held_out": held_out, "scratchpad": share}
            most = longest - int(self._arithmetic and longest % 2 == 0)
            sizes = extent(most + 1, self._units(most), 1, share)
            return Split(difficulty, disjoint=bool(held_out), about=about, **sizes)

        shortest, length, beyond, longer = self.shortest, self.length, self._beyond, self.longer
        half = f"strings of {shortest} to {length} symbols, a half chosen by hash"
        splits = {
            "train": split(shortest, length, 0, always * self.scratchpad_share, half),
            "iid": split(shortest, length, 1, always, "strings that are not in train"),
            "length": split(beyond, longer, 1, always, f"strings of {beyond} to {longer} symbols"),
        }
        if always:
            splits["direct"] = split(shortest, length, 1, 0.0, "iid, asked without the scratchpad")
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Strings of one symbol."""
        return {"shortest": 1, "longest": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`state` after the last symbol, `previous_state` before it (0 at the start), and `count`.

        `length` is a control: the position tells it. `count` is what a counter would hold: ones, changes of letter,
        steps right less steps left (plus `longer`), or terms of the sum.
        """
        states, most = STATES[self.language], self.longer
        counts = 2 * most + 1 if self.language == "cycle_navigation" else most + 1
        return {"state": states, "previous_state": states, "length": most + 1, "count": counts}

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the answer is due, and the question's last position; without a scratchpad they are the same."""
        return READ_NAMES

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One string. Difficulty: `shortest` ≤ `longest` in [1, longer], `held_out` 0 (train) or 1, `scratchpad`.

        `scratchpad` is the chance that the example has one.
        """
        shortest, longest = (jnp.asarray(difficulty[name], jnp.int32) for name in ("shortest", "longest"))
        most = min(self.longer, length - 1)
        bits = jax.random.bits(key, (most + 3,))
        if self._arithmetic:
            count = 2 * uniform(bits[0], shortest // 2 + 1, (longest + 1) // 2) - 1
            # `uniform` falls back to its lower bound where only even lengths are asked for: one too long.
            count = jnp.minimum(count, (longest + 1) // 2 * 2 - 1)
        else:
            count = uniform(bits[0], shortest, longest)
        held_out = jnp.asarray(difficulty["held_out"], jnp.int32) > 0
        symbol_K = self._string(bits[3:], count, bits[1], held_out)

        state_U, step_U = run(self.language, symbol_K)
        units = self._units(count)
        valid_U = jnp.arange(state_U.shape[0], dtype=jnp.int32) < units
        shift = self.longer if self.language == "cycle_navigation" else 0
        state = state_U[units - 1]
        first_class = 1 + len(SYMBOLS[self.language])
        first_state = first_class + CLASSES[self.language]
        written = ask(
            length,
            self.scratchpad,
            jax.random.fold_in(key, 1),
            Part(1 + symbol_K, count),
            Part(first_state + state_U, units),
            part((first_class + jnp.asarray(classes(self.language))[state])[None]),
            unit(bits[2]) < difficulty["scratchpad"],
            self._markers,
            (first_state, self._markers.think),
        )
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={
                "state": state,
                "previous_state": jnp.where(units > 1, state_U[jnp.maximum(units - 2, 0)], 0),
                "length": count,
                "count": shift + jnp.sum(jnp.where(valid_U, step_U, 0), dtype=jnp.int32),
            },
            read=jnp.stack([written.answer, written.question]),
        )

    def _string(self, bits_K: jax.Array, count: jax.Array, mate_bits: jax.Array, held_out: jax.Array) -> jax.Array:
        """Uniform symbols, the first on the wanted side: int32[K]."""
        index_K = jnp.arange(bits_K.shape[0], dtype=jnp.int32)
        if self._arithmetic:
            digit_K, sign_K = bits_K % jnp.uint32(MODULUS), jnp.uint32(MODULUS) + bits_K % jnp.uint32(3)
            drawn_K = jnp.where(index_K % 2 == 0, digit_K, sign_K).astype(jnp.int32)
            firsts = MODULUS
        else:
            firsts = len(SYMBOLS[self.language])
            drawn_K = (bits_K % jnp.uint32(firsts)).astype(jnp.int32)
        shared_K = jnp.where(index_K == 0, 0, drawn_K)
        first = mate(shared_K, index_K < count, firsts, mate_bits, held_out)
        if firsts == 2:  # bits are drawn relative to the first, where mates differ
            return shared_K ^ jnp.where(index_K < (2 if self.language == "parity" else count), first, 0)
        return jnp.where(index_K == 0, first, shared_K)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Count characters of the written-out string; take arithmetic apart into its terms."""
        names, tokens = SYMBOLS[self.language], np.asarray(example.tokens).tolist()
        text = "".join(names[t - 1] for t in tokens if 1 <= t <= len(names))
        right = {
            "parity": lambda: text.count("1") % 2,
            "even_pairs": lambda: sum(text[i : i + 2] in ("ab", "ba") for i in range(len(text))) % 2,
            "cycle_navigation": lambda: (text.count(">") - text.count("<")) % MODULUS,
            "modular_arithmetic": lambda: (
                sum((-1) ** (sign == "-") * math.prod(map(int, term.split("*"))) for sign, term in TERM.findall(text))
                % MODULUS
            ),
        }[self.language]()
        due = int(np.argmax(np.asarray(example.weights) == 1))
        return int(answer[due]) == 1 + len(names) + right

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `majority`, the commonest class; `last_symbol`, the commonest given the length and last symbol; for
        parity `count`, the class of trained strings with as many ones, else a coin.

        Exact over all strings; a half of very few strings may deviate. Where training has every number of ones `count`
        is the task, and left out.
        """
        difficulty = self.splits[split].difficulty
        most = self._units(int(difficulty["longest"]))
        least = min(most, self._units(int(difficulty["shortest"]) + int(self._arithmetic)))
        joint_NxSxC = shares(self.language, most)[least - 1 :]
        class_C = joint_NxSxC.sum(axis=(0, 1)) / len(joint_NxSxC)
        known = [float(x.max(axis=1).sum()) for x in joint_NxSxC]
        nats = [_entropy(x) - _entropy(x.sum(axis=1)) for x in joint_NxSxC]
        found = {
            "chance": Baseline(1 / len(class_C), -math.log(len(class_C))),
            "majority": Baseline(float(class_C.max()), -_entropy(class_C)),
            "last_symbol": Baseline(float(np.mean(known)), -float(np.mean(nats))),
        }
        if self.language == "parity" and most > self.length:
            met = float(np.mean(bdtr(self.length, np.arange(least, most + 1), 0.5)))  # no more ones than training has
            found["count"] = Baseline((1 + met) / 2, -(1 - met) * math.log(2))
        return found

    def render(self, example: Example) -> str:
        """`parity: 1 0 1 → odd`, with the scratchpad's states in brackets."""
        tokens, targets, weights = (np.asarray(x) for x in (example.tokens, example.targets, example.weights))
        question = int(example.read[1])
        names = SYMBOLS[self.language]
        text = " ".join(names[t - 1] for t in tokens[:question])
        states = 1 + len(names) + CLASSES[self.language]
        steps = targets[(weights > 0) & (weights < 1)][:-1] - states
        between = f"[{' '.join(map(str, steps))}] → " if steps.size else ""
        answer = int(targets[weights == 1][0]) - 1 - len(names)
        shown = {0: "even", 1: "odd"}.get(answer, str(answer)) if self.language in ("parity", "even_pairs") else answer
        return f"{self.language}: {text} → {between}{shown}"


def _entropy(share: np.ndarray) -> float:
    share = share[share > 0]
    return -float(np.sum(share * np.log(share)))
