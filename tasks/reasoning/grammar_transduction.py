"""Commands of the SCAN grammar into actions: systematic generalization (Lake & Baroni 2018, arXiv 1711.00350)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import (
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    TaskError,
    World,
    exact_match,
    require_choice,
    require_range,
)
from tasks.draw import hash_bit
from tasks.fields import KnobField, share
from tasks.reasoning.scan import (
    AND,
    EQUALS,
    FORMS,
    LONGEST_PHRASE,
    LONGEST_UNIT,
    MOST_ACTIONS,
    VERB,
    WORDS,
    commands,
    phrases,
)
from tasks.reasoning.scan_rewriting import rewritten
from tasks.sequence import join, part, write

HOLD_OUT = ("both", "primitive", "template", "neither")
PRIMITIVE, TEMPLATE = 1, 2  # values of the traced `novel`
ALL = 2  # a value of the traced `single`, next to the two sides


@dataclass(frozen=True)
class GrammarTransduction:
    """Read a command, write the actions that it means, one after another, and END.

    The grammar is SCAN's. A command is a phrase, or two joined by `and` or `after` (`a after b`: first b, then a). A
    phrase is a verb phrase, once, `twice` or `thrice`. A verb phrase is a primitive `u` (U), `u left` (LTURN U), `u
    opposite left` (LTURN LTURN U), `u around left` (LTURN U, four times), the same to the right, or any of these but
    the first with `turn` in place of u, which adds no action. Four primitives give SCAN's 20,910 commands. Commands are
    drawn uniformly from those that the difficulty permits.

    The sequence is `command = actions`; the first action is given at `=`, and actions are fed back. Tokens: the
    primitives 1 … primitives, then `WORDS`, then the primitives' actions, LTURN, RTURN, END.

    Held out of training: the last primitive (`jump`) in any command but the one that it is alone, which is a share
    `alone` of the training examples (10% in SCAN's add-jump); and, the template split of Loula et al., all commands
    with `around right`. Splits: `primitive` has commands with jump and something else, `template` commands with `around
    right` (each without what the other split is about), `length` commands of more actions than any in training.

    `train` and `iid` halve the commands, but for those of one phrase without a direction (`u`, `u twice`, `u thrice`):
    they have no mate and are all in training. Of a phrase to the left and the same to the right one alone is trained on
    (`Phrases.side`), whatever the verb. A hash of two phrases, in order, says whether their `and` or their `after`
    command is.

    Attributes:
      primitives: how many, `jump` included.
      actions: most actions of a training command; at least the 8 of `u around left` where the template is held out.
        Traced in `sample`.
      longer: most actions in the `length` split.
      hold_out: 'both', 'primitive', 'template' or 'neither'; decides which of the splits there are.
      alone: share of the training examples that are the held-out primitive alone. Traced in `sample`.
    """

    primitives: int = 4
    actions: int = 10
    longer: int = 16
    hold_out: str = "both"
    alone: float = 0.1

    name: ClassVar[str] = "grammar_transduction"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "Lake & Baroni 2018, arXiv 1711.00350; Loula et al. 2018, arXiv 1807.07545"
    known: ClassVar[str] = (
        "Random held-out commands are solved; a primitive seen only alone is not combined (add-jump: about 1% for the "
        "recurrent networks of 2018), nor are longer sequences written. More primitives help (arXiv 2203.07402)."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"primitives": 2, "actions": 8, "longer": 10},
        {"primitives": 3, "actions": 4, "longer": 6, "hold_out": "primitive", "alone": 0.3},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="add_jump",
            sizes={"primitives": 4, "actions": 8, "longer": 12, "hold_out": "primitive"},
            expected={"iid": (0.9, 1.0), "primitive": (0.0, 0.1)},
            about="commands are understood, but not with a primitive that training shows only alone",
            source="Lake & Baroni 2018, arXiv 1711.00350",
            seconds=55,
            steps=4000,
        ),
        Card(
            name="around_right",
            sizes={"primitives": 4, "actions": 10, "longer": 16, "hold_out": "template"},
            expected={"iid": (0.85, 1.0), "template": (0.0, 0.5), "length": (0.0, 0.3)},
            about="neither an unseen template nor longer sequences",
            source="Loula et al. 2018, arXiv 1807.07545; the intervals measured here",
            seconds=65,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_choice(self, "hold_out", HOLD_OUT)
        require_range(self, "primitives", 2, 128)
        require_range(self, "actions", 8 if self._holds_out("template") else 2, MOST_ACTIONS - 1)
        require_range(self, "longer", self.actions + 1, MOST_ACTIONS)
        require_range(self, "alone", 0.0, 1.0)
        if not self._permitted(self.splits["length"].difficulty).any():
            raise TaskError(
                f"grammar_transduction: no command has {self.actions + 1} to {self.longer} actions; "
                f"set actions below {self.actions} or longer to {MOST_ACTIONS}."
            )

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 * self.primitives + len(WORDS) + 4

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `length`, and `primitive` and `template` where they are held out."""
        longest = self.actions

        def split(
            about: str, fewest: int = 1, most: int = longest, held_out: int = 1, single: int = ALL, novel: int = 0
        ):
            train = not held_out and self._holds_out("primitive")
            difficulty = {"fewest": fewest, "most": most, "held_out": held_out, "single": single, "novel": novel}
            difficulty |= {"alone": self.alone if train else 0.0}
            permitted, table = self._permitted(difficulty), commands()
            actions = int(np.max(table.actions, where=permitted, initial=1))
            length = int(np.max(table.words + table.actions, where=permitted, initial=2)) + 1
            return Split(difficulty, length, actions + 1, actions + 1, bool(held_out), about)

        splits = {
            "train": split(f"at most {longest} actions, without what is held out", held_out=0, single=0),
            "iid": split("the other half of the commands, and no undirected phrase alone", single=1),
            "length": split(f"{longest + 1} to {self.longer} actions", longest + 1, self.longer),
        }
        if self._holds_out("primitive"):
            splits["primitive"] = split("commands that combine the held-out primitive", novel=PRIMITIVE)
        if self._holds_out("template"):
            splits["template"] = split("commands with 'around right'", novel=TEMPLATE)
        return splits

    def _holds_out(self, what: str) -> bool:
        return self.hold_out in (what, "both")

    def _permitted(self, difficulty: Difficulty) -> Any:
        """bool[S, 1 + S]: the commands that a difficulty permits; NumPy if its values are Python's, else JAX."""
        table, novel = commands(), difficulty["novel"]
        fits = (table.actions >= difficulty["fewest"]) & (table.actions <= difficulty["most"])
        one = np.arange(1 + len(table.actions)) == 0
        single = difficulty["single"]
        counts = ~one[None, :] | (phrases().side == single)[:, None] | (single == ALL)
        bare = phrases().held_out & (phrases().actions == 1)
        alone = bare[:, None] & one[None, :]
        found = fits & counts & ~alone if self._holds_out("primitive") else fits & counts
        for what, code, has in (("primitive", PRIMITIVE, table.primitive), ("template", TEMPLATE, table.template)):
            if self._holds_out(what):
                found = found & (has == (novel == code))
        return found

    def _verbs(self) -> np.ndarray:
        """int32[S]: how many verbs a phrase can have."""
        table = phrases()
        return np.where(table.held_out | table.turns, 1, self.primitives - 1).astype(np.int32)

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """See `tasks.fields`."""
        return {
            "alone": share("share of examples that are the held-out primitive alone")
            if self.hold_out in ("both", "primitive")
            else None,
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Commands of one action."""
        return {"most": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Of the phrase carried out first: its `verb`, `form` and `repeats`; then the conjunction, the action count."""
        sizes = {"verb": self.primitives + 1, "form": len(FORMS), "repeats": 3}
        return sizes | {"conjunction": 3, "actions": self.longer + 1}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of `=`, where the first action is due, and the one where END is."""
        return ("command", "end")

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One command and its actions.

        Difficulty: `fewest` and `most` actions, 1 ≤ fewest ≤ most ≤ 48; `held_out` 0 (train's half) or 1; `single`:
        which commands of one phrase are drawn, those of train's side (0), of the other (1) or ALL; `novel`: 0 without
        what is held out, 1 with the primitive, 2 with the template; `alone`: probability of the held-out primitive
        alone. Some command has to be permitted.
        """
        table, bits = phrases(), jax.random.bits(key, (5,))
        first, second, verb_2 = self._draw(bits, difficulty)
        joined = second > 0
        second = jnp.maximum(second - 1, 0)
        shared = jnp.stack([first, verb_2[0], second, verb_2[1]])
        after = joined & (hash_bit(shared, jnp.ones((4,), bool)) ^ (jnp.asarray(difficulty["held_out"], jnp.int32) > 0))

        order_2 = jnp.where(after, jnp.stack([second, first]), jnp.stack([first, second]))
        verb_of_2 = jnp.where(after, verb_2[::-1], verb_2)
        count_2 = jnp.asarray(table.actions)[order_2] * jnp.stack([jnp.int32(1), joined.astype(jnp.int32)])
        total = jnp.sum(count_2, dtype=jnp.int32)
        written = write(
            length,
            self._question(first, second, verb_2, joined, after),
            part(self._actions(order_2, verb_of_2, count_2[0], total, length), total + 1),
        )
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={
                "verb": verb_of_2[0],
                "form": jnp.asarray(table.form)[order_2[0]],
                "repeats": jnp.asarray(table.repeats)[order_2[0]] - 1,
                "conjunction": joined.astype(jnp.int32) + after.astype(jnp.int32),
                "actions": total,
            },
            read=jnp.stack([written.answer, written.last]),
        )

    def _draw(self, bits: jax.Array, difficulty: Difficulty) -> tuple[jax.Array, jax.Array, jax.Array]:
        """A uniform permitted command: first phrase, 1 + second phrase or 0, and both verbs int32[2]."""
        traced = {name: jnp.asarray(value, jnp.int32) for name, value in difficulty.items() if name != "alone"}
        verbs_S = self._verbs()
        verbs_T = np.concatenate([np.ones(1, np.int32), verbs_S])
        cumulated_SxT = jnp.cumsum(jnp.where(self._permitted(traced), verbs_T[None, :], 0), axis=1, dtype=jnp.int32)
        cumulated_S = jnp.cumsum(verbs_S * cumulated_SxT[:, -1], dtype=jnp.int32)

        def place(cumulated: jax.Array, bits: jax.Array) -> jax.Array:
            point = (bits % jnp.maximum(cumulated[-1], 1).astype(jnp.uint32)).astype(jnp.int32)
            return jnp.minimum(jnp.sum(cumulated <= point, dtype=jnp.int32), cumulated.shape[0] - 1)

        # Which command is alone is known before tracing: the held-out primitive's first row.
        table = phrases()
        uniform = (bits[4] >> jnp.uint32(8)).astype(jnp.float32) / (1 << 24)
        alone = uniform < jnp.asarray(difficulty["alone"], jnp.float32)
        first = jnp.where(alone, int(np.argmax(table.held_out)), place(cumulated_S, bits[0]))
        second = jnp.where(alone, 0, place(cumulated_SxT[first], bits[1]))
        seen_2 = (bits[2:4] % jnp.uint32(self.primitives - 1)).astype(jnp.int32)
        phrase_2 = jnp.stack([first, jnp.maximum(second - 1, 0)])
        verb_2 = jnp.where(jnp.asarray(table.held_out)[phrase_2], self.primitives - 1, seen_2)
        return first, second, jnp.where(jnp.asarray(table.turns)[phrase_2], self.primitives, verb_2)

    def _question(self, first: jax.Array, second: jax.Array, verb_2: jax.Array, joined: jax.Array, after: jax.Array):
        table, base = phrases(), 1 + self.primitives
        words, counts = jnp.asarray(table.words), jnp.asarray(table.word_count)
        conjunction = base + AND + after.astype(jnp.int32)
        parts = (
            part(jnp.where(words[first] == VERB, 1 + verb_2[0], base + words[first]), counts[first]),
            part(conjunction[None], joined.astype(jnp.int32)),
            part(
                jnp.where(words[second] == VERB, 1 + verb_2[1], base + words[second]),
                jnp.where(joined, counts[second], 0),
            ),
            part(jnp.full((1,), base + EQUALS, jnp.int32)),
        )
        count = sum((p.count for p in parts), jnp.int32(0))
        return part(join(parts, 2 * LONGEST_PHRASE + 2), count)

    def _actions(self, order_2: jax.Array, verb_2: jax.Array, head: jax.Array, total: jax.Array, length: int):
        """int32[length]: the actions of both phrases in the order they are carried out, and END."""
        table, base = phrases(), 1 + self.primitives + len(WORDS)
        index_L = jnp.arange(length, dtype=jnp.int32)
        later_L = (index_L >= head).astype(jnp.int32)
        step_L = index_L - later_L * head
        unit_2xU, count_2 = jnp.asarray(table.unit)[order_2], jnp.asarray(table.unit_count)[order_2]
        code_L = unit_2xU.reshape(-1)[later_L * LONGEST_UNIT + step_L % count_2[later_L]]
        action_L = base + jnp.where(code_L == VERB, verb_2[later_L], self.primitives + code_L)
        return jnp.where(index_L < total, action_L, base + self.primitives + 2)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def _names(self) -> tuple[str, ...]:
        """What every token is called; actions in capitals."""
        seen = ("walk", "look", "run")[: self.primitives - 1]
        verbs = (*seen, *(f"verb{i}" for i in range(len(seen), self.primitives - 1)), "jump")
        return ("", *verbs, *WORDS, *(verb.upper() for verb in verbs), "LTURN", "RTURN", "END")

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Parse the command by recursive descent and carry it out."""
        names = self._names()
        words = [names[token] for token in np.asarray(example.tokens).tolist()]
        query = words.index("=")
        meaning = [*interpret(words[:query]), "END"]
        said = np.asarray(answer)[query : query + len(meaning)].tolist()
        return [names[token] if 0 <= token < len(names) else None for token in said] == meaning

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over actions and END; `any_verb`: all is understood but the verbs, of which one is guessed;
        `rewriting`: look up a trained command that tells the actions, if there is one: `b after a` for `a and b`, left
        for right, or both.

        `rewriting` is a guess at commands that are not in training. How many of them have one is measured on commands
        of a fixed seed, so good to about .01.
        """
        difficulty = self.splits[split].difficulty
        verbs_S, table, guesses = self._verbs(), phrases(), math.log(self.primitives)
        choices = np.concatenate([[1], verbs_S]) * verbs_S[:, None] * self._permitted(difficulty)
        share = (1 - difficulty["alone"]) * choices / choices.sum()
        share[int(np.argmax(table.held_out)), 0] += difficulty["alone"]
        tokens, acts = commands().actions + 1, ~table.turns
        guessed = np.concatenate([acts[:, None], acts[:, None].astype(int) + acts[None, :]], axis=1)
        nats = -math.log(self.primitives + 3)
        found = {
            "chance": Baseline(float(np.sum(share * (self.primitives + 3.0) ** -tokens)), nats),
            "any_verb": Baseline(
                float(np.sum(share * float(self.primitives) ** -guessed)),
                float(np.sum(share * -guesses * guessed / tokens)),
            ),
        }
        if self.splits[split].disjoint and (known := _rewritten(self, split)) > 0:
            found["rewriting"] = Baseline(known, (1 - known) * nats)
        return found

    def render(self, example: Example) -> str:
        """`jump opposite left and walk → LTURN LTURN JUMP WALK END`."""
        names, asked = self._names(), np.asarray(example.weights) > 0
        words = [names[t] for t in np.asarray(example.tokens)[: int(np.argmax(asked))].tolist()]
        actions = [names[t] if t < len(names) else str(t) for t in np.asarray(example.targets)[asked].tolist()]
        return f"{' '.join(words)} → {' '.join(actions)}"


@lru_cache
def _rewritten(task: GrammarTransduction, split: str) -> float:
    """The share of a split's commands of which training has a rewriting."""
    asked, trained = (task.splits[name].difficulty for name in (split, "train"))
    verbs_S = task._verbs()
    choices = np.concatenate([[1], verbs_S]) * verbs_S[:, None] * task._permitted(asked)
    return rewritten(choices / choices.sum(), task._permitted(trained), task.primitives - 1)


def interpret(words: list[str]) -> list[str]:
    """The actions of a command in plain words."""
    for conjunction in ("and", "after"):
        if conjunction in words:
            at = words.index(conjunction)
            left, right = interpret(words[:at]), interpret(words[at + 1 :])
            return left + right if conjunction == "and" else right + left
    if words[-1] in ("twice", "thrice"):
        return interpret(words[:-1]) * (2 if words[-1] == "twice" else 3)
    verb, *rest = words
    act = [] if verb == "turn" else [verb.upper()]
    if not rest:
        return act
    turn = ["LTURN" if rest[-1] == "left" else "RTURN"]
    if "around" in rest:
        return 4 * (turn + act)
    return (2 if "opposite" in rest else 1) * turn + act
