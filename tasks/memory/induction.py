"""Induction: what followed the trigger the last time (Olsson et al., arXiv 2209.11895)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, World, require_choice, require_range
from tasks.draw import renamed
from tasks.fields import KnobField, share
from tasks.memory._shared import (
    InContext,
    ask,
    below,
    chance,
    choose_side,
    expected_log,
    hedged,
    require_couples,
    whole,
)
from tasks.sequence import part

TRIGGERS = ("any", "special")
SIMULATED = 4096  # contexts behind the baseline `commonest_middle`; fewer where there are many symbols


@dataclass(frozen=True)
class Induction(InContext):
    """Read n tokens in which a trigger occurs once, then the trigger again: answer with what followed it.

    An induction head does it in two layers: a head of the first writes to every token which token stands before it, a
    head of the second looks for the token that the trigger stands before. One layer cannot combine the two.

    The trigger is any symbol, drawn again for each example as in random repeated text, or one special token, as in the
    induction-heads task of Mamba (arXiv 2312.00752). It stands at one of n - 1 places, never last. Training leaves
    out the `margin` first and the `margin` last of them: `position` asks for these. The other tokens are uniform over
    the symbols other than the trigger.

    `train` and `iid` are split by the context, all of its tokens in order (that the others are incidental is what is to
    be found out): exchanging the answer with its partner throughout gives its mate, and a hash of what mates share says
    which of them is trained on.

    Shortcut: with probability `leak` the trigger stands at one fixed place, the middle of training's. Reading whatever
    follows that place then answers without looking for the trigger. All splits but `position` keep the leak;
    `counterfactual` never puts the trigger there.

    Tokens: symbols 1 … symbols, then the special trigger, if there is one. Sequence: x_1 … x_n, trigger.

    Attributes:
      length: n in all splits but `length`. Traced in `sample`.
      longer: n in the `length` split.
      symbols: number of symbols, even.
      trigger: 'any' symbol or a 'special' token.
      margin: places at either end that are left for `position`. Traced in `sample`.
      leak: probability that the trigger stands at the fixed place. Traced in `sample`.
    """

    length: int = 16
    longer: int = 24
    symbols: int = 16
    trigger: str = "any"
    margin: int = 3
    leak: float = 0.0

    name: ClassVar[str] = "induction"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Olsson et al. 2022, arXiv 2209.11895; Gu & Dao 2023, arXiv 2312.00752"
    known: ClassVar[str] = "Two layers form induction heads in one sudden drop of the loss; one layer cannot."
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"length": 6, "longer": 7, "symbols": 4, "margin": 1, "leak": 0.5},
        {"length": 6, "longer": 8, "symbols": 4, "margin": 1, "trigger": "special"},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="two_layers",
            sizes={},
            expected={"iid": (0.97, 1.0), "position": (0.03, 0.4)},
            about="an induction head forms; learned positions leave it blind where training had no trigger",
            source="Olsson et al. 2022, arXiv 2209.11895",
            seconds=16,
            steps=1500,
            default=True,
        ),
        Card(
            name="one_layer",
            sizes={},
            expected={"iid": (0.1, 0.5)},
            about="one layer knows which tokens stand in the context, not which one followed the trigger",
            source="Olsson et al. 2022, arXiv 2209.11895",
            seconds=9,
            steps=1500,
            layers=1,
            predicted_failure=True,
            default=True,
        ),
        Card(
            name="leak",
            sizes={"leak": 0.9},
            expected={"iid": (0.85, 0.98), "counterfactual": (0.0, 0.4)},
            about="a leaked place is read in place of the trigger; no induction head is needed until late",
            source="measured here",
            seconds=12,
            steps=800,
            predicted_failure=True,
        ),
    )

    def __post_init__(self):
        require_choice(self, "trigger", TRIGGERS)
        require_range(self, "length", 6, 1024)
        require_range(self, "longer", self.length + 1, 4096)
        require_couples(self, "symbols", 4, 4096)
        require_range(self, "margin", 1, (self.length - 4) // 2)  # three places: without the fixed one, two are left
        require_range(self, "leak", 0.0, 1.0)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.symbols + (self.trigger == "special")

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """The symbols, without the special trigger."""
        return (range(1, 1 + self.symbols),)

    @property
    def fixed_place(self) -> int:
        """Where a leak puts the trigger, counted from 0."""
        return (self.length - 2) // 2

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, `position`, `length` and `counterfactual`."""

        def split(about: str, **changed: float) -> Split:
            usual = {"length": self.length, "margin": self.margin, "leak": self.leak, "outside": 0, "elsewhere": 0}
            difficulty = usual | {"held_out": 1} | changed
            return Split(difficulty, int(difficulty["length"]) + 1, 1, 1, bool(difficulty["held_out"]), about)

        return {
            "train": split(f"{self.length} tokens, a half of the contexts chosen by hash", held_out=0),
            "iid": split(f"the other half of the contexts of {self.length} tokens"),
            "position": split("the trigger stands earlier or later than ever in training", outside=1, leak=0.0),
            "length": split(f"{self.longer} tokens", length=self.longer),
            "counterfactual": split("the trigger never stands at the fixed place", elsewhere=1, leak=0.0),
        }

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "leak": share("share of examples whose trigger stands at the fixed place"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """The shortest context that leaves a choice of places."""
        return {"length": 2 * self.margin + 3}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `follower` of the trigger, the trigger's `place`, and the `last` token before the question."""
        return {"follower": self.symbols, "place": self.longer - 1, "last": self.symbols}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of the second trigger."""
        return ("trigger",)

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One context.

        Difficulty: `length` n ≥ 2; `margin` with n - 1 - 2·margin ≥ 1; `outside` 1 puts the trigger into the margins
        (margin ≥ 1), `elsewhere` 1 anywhere between them but at the fixed place (at least two places); `leak` in [0, 1]
        counts where both are 0; `held_out` 0 (train's half) or 1.
        """
        count, margin, outside, elsewhere, held_out = whole(
            difficulty, "length", "margin", "outside", "elsewhere", "held_out"
        )
        bits = jax.random.bits(key, (self.longer + 3,))
        places = count - 1 - 2 * margin
        fixed = jnp.clip(self.fixed_place, margin, margin + places - 1)
        within = margin + below(bits[0], jnp.maximum(places - elsewhere, 1))
        within = within + ((elsewhere > 0) & (within >= fixed)).astype(jnp.int32)
        leaks = chance(bits[1], jnp.asarray(difficulty["leak"], jnp.float32)) & (elsewhere == 0)
        beyond = below(bits[0], jnp.maximum(2 * margin, 1))
        beyond = jnp.where(beyond < margin, beyond, beyond + places)
        place = jnp.where(outside > 0, beyond, jnp.where(leaks, fixed, within))

        if self.trigger == "special":
            trigger = jnp.int32(self.symbols)
            token_K = below(bits[3:], self.symbols)
        else:
            trigger = below(bits[2], self.symbols)
            token_K = below(bits[3:], self.symbols - 1)
            token_K = token_K + (token_K >= trigger).astype(jnp.int32)
        token_K = jnp.where(jnp.arange(self.longer) == place, trigger, token_K)
        token_K = renamed(token_K, difficulty, self.symbols)
        token_K = choose_side(part(token_K, count), place + 1, held_out)
        factors = {"follower": token_K[place + 1], "place": place, "last": token_K[count - 1]}
        asked = ask(part(token_K, count), part(token_K[place][None]), (place + 1)[None], length, factors)
        return asked._replace(read=asked.read[:1])

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Walk back from the end to the trigger's earlier occurrence."""
        tokens = [t for t in np.asarray(example.tokens).tolist() if t != PAD]
        place = len(tokens) - 2
        while tokens[place] != tokens[-1]:
            place -= 1
        return int(answer[len(tokens) - 1]) == tokens[place + 1]

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `context_token`: any of the context but the trigger; `fixed_place`: what follows that place;
        `last_token`: the one before the question, which a trigger at the last place precedes; `commonest_middle`: the
        token that stands most often where training's answers do, one at random of several.

        What `commonest_middle` reaches is measured on `SIMULATED` contexts of a fixed seed, so good to about .01.
        """
        count = int(self.splits[split].difficulty["length"])
        others = self.symbols - (self.trigger == "any")
        return {
            "chance": Baseline(1 / self.symbols, -math.log(self.symbols)),
            "context_token": Baseline(
                (1 + (count - 2) / others) / (count - 1), expected_log(count - 2, 1 / others, count - 1)
            ),
            "fixed_place": _following(self.fixed_place, self._shares(split), others),
            "last_token": _following(count - 2, self._shares(split), others),
            "commonest_middle": _commonest(tuple(self._shares(split).items()), count, self.margin, others),
        }

    def _shares(self, split: str) -> dict[int, float]:
        """Place -> probability that the trigger stands there."""
        difficulty = self.splits[split].difficulty
        count, leak = int(difficulty["length"]), float(difficulty["leak"])
        inside = range(self.margin, count - 1 - self.margin)
        if difficulty["outside"]:
            inside = set(range(count - 1)) - set(inside)
        if difficulty["elsewhere"]:
            inside = set(inside) - {self.fixed_place}
        return {place: (1 - leak) / len(inside) + leak * (place == self.fixed_place) for place in inside}

    def render(self, example: Example) -> str:
        """`3 1 [4] 1 5 … 4 → 1`, symbols from 0, the trigger's earlier occurrence in brackets."""
        tokens = [t for t in np.asarray(example.tokens).tolist() if t != PAD]
        shown = [f"[{t - 1}]" if t == tokens[-1] else str(t - 1) for t in tokens[:-1]]
        answer = int(np.asarray(example.targets)[len(tokens) - 1]) - 1
        return f"{' '.join(shown)} … {tokens[-1] - 1} → {answer}"


def _following(place: int, shares: dict[int, float], others: int) -> Baseline:
    """What follows a place: right when the trigger stands there; by luck elsewhere, but not if it stands right behind.

    Args:
      place: counted from 0.
      shares: place -> probability that the trigger stands there.
      others: how many symbols stand elsewhere.
    """
    there, behind = (shares.get(place + gap, 0.0) for gap in (0, 1))
    within_context = 1 - behind
    exact = there + (within_context - there) / others
    return Baseline(
        exact,
        (within_context * hedged(exact / within_context, others) if within_context else 0.0)
        - behind * math.log(others),
    )


@lru_cache(maxsize=256)
def _commonest(shares: tuple[tuple[int, float], ...], count: int, margin: int, others: int) -> Baseline:
    """The commonest token from `margin` + 1 to count - 1 - margin, as sure of it as it is right.

    Args:
      shares: pairs of a place and the probability that the trigger stands there.
      count: tokens in a context.
      margin: places at either end where training has no trigger.
      others: how many symbols stand elsewhere.
    """
    generator, size = np.random.default_rng(0), max(256, min(SIMULATED, (1 << 22) // others))
    place_P, share_P = (np.array(x) for x in zip(*shares, strict=True))
    context_S, place_S = np.arange(size), generator.choice(place_P, size, p=share_P / share_P.sum())
    token_SxN = generator.integers(others, size=(size, count))
    answer_S = token_SxN[context_S, place_S + 1]
    token_SxN[context_S, place_S] = others  # the trigger
    cell = context_S[:, None] * (others + 1) + token_SxN[:, margin + 1 : count - margin]
    number_SxO = np.bincount(cell.ravel(), minlength=size * (others + 1)).reshape(size, -1)[:, :others]
    best_SxO = number_SxO == number_SxO.max(axis=1, keepdims=True)
    exact = float(np.mean(best_SxO[context_S, answer_S] / best_SxO.sum(axis=1)))
    return Baseline(exact, hedged(exact, others))
