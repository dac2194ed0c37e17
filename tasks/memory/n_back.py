"""n-back: at every step the token seen n steps ago (POPGym's RepeatPrevious, Morad et al., arXiv 2303.01859)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, World, require_range
from tasks.draw import renamed
from tasks.memory._shared import InContext, average, below, choose_side, expected_log, require_couples, uniform, whole
from tasks.sequence import part

SIMULATED = 4096  # sequences over which the exact share of the `seen` baseline is averaged


@dataclass(frozen=True)
class NBack(InContext):
    """Read cards one by one; at every card from the (n + 1)-th on, answer the card n steps back.

    The sequence says how far back by n BACK tokens before the first card, so that n can vary and be larger than in
    training. (POPGym's environments fix it and count the card in sight as k = 1, so their k is n + 1: 4, 32 and 64.
    They deal suits from finite decks; here cards are independent and uniform.) Nothing is fed back.

    `train` and `iid` are split by the cards, whatever n is: exchanging the first card with its partner throughout gives
    the sequence's mate, and a hash of what mates share says which of them is trained on.

    Tokens: cards 1 … symbols, then BACK. Sequence: n times BACK, then the cards.

    Attributes:
      n: largest n in all splits but `n`. Traced in `sample`.
      least_n: smallest n in all splits but `n`; n is uniform between the two. Traced in `sample`.
      larger_n: n in the `n` split.
      length: cards in all splits but `length`. Traced in `sample`.
      longer: cards in the `length` split.
      symbols: number of different cards, even; 4 suits in POPGym.
    """

    n: int = 3
    least_n: int = 1
    larger_n: int = 5
    length: int = 12
    longer: int = 20
    symbols: int = 4

    name: ClassVar[str] = "n_back"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "POPGym (RepeatPrevious): Morad et al. 2023, arXiv 2303.01859"
    known: ClassVar[str] = (
        "The longer the lag, the more a recurrent state must keep at once; attention needs only the offset."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"n": 2, "larger_n": 3, "length": 4, "longer": 5, "symbols": 4},)
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="three_back",
            sizes={},
            expected={"iid": (0.95, 1.0), "n": (0.0, 0.05), "length": (0.0, 0.05)},
            about="the offsets that the prefix names are learned one by one: not a larger one, nor at new positions",
            source="measured here",
            seconds=10,
            steps=800,
        ),
    )

    def __post_init__(self):
        require_range(self, "n", 1, 512)
        require_range(self, "least_n", 1, self.n)
        require_range(self, "larger_n", self.n + 1, 1024)
        require_range(self, "length", self.larger_n + 1, 2048)
        require_range(self, "longer", self.length + 1, 4096)
        require_couples(self, "symbols", 2, 4096)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 2 + self.symbols

    @property
    def interchangeable(self) -> tuple[range, ...]:
        """The cards."""
        return (range(1, 1 + self.symbols),)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, a larger `n`, and more cards (`length`)."""

        def split(least: int, most: int, cards: int, held_out: int, about: str) -> Split:
            difficulty = {"n": most, "least_n": least, "length": cards, "held_out": held_out}
            sizes = f"{cards} cards, n = {least}" + (f" to {most}" if most > least else "")
            return Split(difficulty, most + cards, cards - least, 1, bool(held_out), sizes + about)

        return {
            "train": split(self.least_n, self.n, self.length, 0, ", a half of the sequences chosen by hash"),
            "iid": split(self.least_n, self.n, self.length, 1, ", the other half of the sequences"),
            "n": split(self.larger_n, self.larger_n, self.length, 1, ""),
            "length": split(self.least_n, self.n, self.longer, 1, ""),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """The smallest n."""
        return {"n": self.least_n}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """At the last card: the one `due`, the `next` one, and that in `sight`: a control, it is the input token."""
        return dict.fromkeys(("due", "next", "sight"), self.symbols)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The last card's position, where the most has been read."""
        return ("last",)

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One sequence. Difficulty: `n` ≥ `least_n` ≥ 1, `length` > `n`, `held_out` 0 (train's half) or 1."""
        most, least, count, held_out = whole(difficulty, "n", "least_n", "length", "held_out")
        bits = jax.random.bits(key, (1 + self.longer,))
        back = least + below(bits[0], most - least + 1)
        card_T = renamed(below(bits[1:], self.symbols), difficulty, self.symbols)
        card_T = choose_side(part(card_T, count), 0, held_out)
        position_L = jnp.arange(length, dtype=jnp.int32)
        card_L = card_T[jnp.clip(position_L - back, 0, self.longer - 1)]
        due_L = card_T[jnp.clip(position_L - 2 * back, 0, self.longer - 1)]
        asked_L = (position_L >= 2 * back) & (position_L < back + count)
        tokens_L = jnp.where(position_L < back, 1 + self.symbols, 1 + card_L)
        return Example(
            tokens=jnp.where(position_L < back + count, tokens_L, PAD),
            targets=jnp.where(asked_L, 1 + due_L, PAD),
            weights=asked_L.astype(jnp.float32),
            factors={"due": card_T[count - 1 - back], "next": card_T[count - back], "sight": card_T[count - 1]},
            read=(back + count - 1)[None],
        )

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Push the cards through a queue that holds n + 1 of them."""
        tokens = [t for t in np.asarray(example.tokens).tolist() if t != PAD]
        back = tokens.count(1 + self.symbols)
        queue: list[int] = []
        for card, said in zip(tokens[back:], np.asarray(answer).tolist()[back:], strict=False):
            queue.append(card)
            if len(queue) == back + 1 and queue.pop(0) != said:
                return False
        return True

    def problem(self, example: Example) -> Hashable:
        """The cards, whatever n is."""
        return tuple(t for t in np.asarray(example.tokens).tolist() if 1 <= t <= self.symbols)

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `seen`: one of the cards seen so far, each as likely as it has come up; `fixed_lag`: the card a
        fixed number of steps back, the middle one of training's n, if it has several.

        The exact share of `seen` is a mean over simulated sequences.
        """
        difficulty = self.splits[split].difficulty
        least, most, count = (int(difficulty[name]) for name in ("least_n", "n", "length"))
        backs, trained = range(least, most + 1), self.n - self.least_n + 1
        found = {
            "chance": average(uniform(count - back, self.symbols) for back in backs),
            "seen": average(_seen(back, count, self.symbols) for back in backs),
        }
        if trained > 1:
            lag = (self.least_n + self.n) // 2
            found["fixed_lag"] = average(_fixed_lag(lag, 1 / trained, back, count, self.symbols) for back in backs)
        return found

    def render(self, example: Example) -> str:
        """`2-back: 3 1 4→3 1→1 …`, cards from 0."""
        tokens, targets = (np.asarray(x).tolist() for x in (example.tokens, example.targets))
        back = tokens.count(1 + self.symbols)
        cards = zip(tokens[back:], targets[back:], strict=True)
        shown = (f"{card - 1}→{due - 1}" if due else str(card - 1) for card, due in cards if card != PAD)
        return f"{back}-back: {' '.join(shown)}"


@lru_cache(maxsize=256)
def _seen(back: int, count: int, symbols: int) -> Baseline:
    """At card t (from 0) the answer is one of t + 1 cards; the t others agree with it by chance."""
    nats = [expected_log(t, 1 / symbols, t + 1) for t in range(back, count)]
    cards_SxT = np.random.default_rng(0).integers(symbols, size=(SIMULATED, count))
    right_S = np.ones(SIMULATED)
    for t in range(back, count):
        right_S *= np.mean(cards_SxT[:, : t + 1] == cards_SxT[:, t - back, None], axis=1)
    return Baseline(float(right_S.mean()), sum(nats) / len(nats))


def _fixed_lag(lag: int, belief: float, back: int, count: int, symbols: int) -> Baseline:
    """The card `lag` steps back, where there is one, believed in as often as training asks for it.

    With another n a card agrees by chance: no two of these agreements depend on each other.
    """
    asked, other = count - back, (1 - belief) / symbols
    if lag == back:
        return Baseline(1.0, math.log(belief + other))
    blind = min(max(lag - back, 0), asked)  # answers due before the card that stands so far back
    nats = (math.log(belief + other) + (symbols - 1) * math.log(other)) / symbols
    return Baseline(float(symbols) ** -asked, (blind * -math.log(symbols) + (asked - blind) * nats) / asked)
