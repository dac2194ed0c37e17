"""Compression: a sequence read through one token (MAD, Poli et al., arXiv 2403.17844)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import Baseline, Card, Difficulty, Example, Split, World, require_range
from tasks.memory._shared import InContext, ask, below, choose_side, ends, require_couples, shuffled, uniform, whole
from tasks.sequence import part


@dataclass(frozen=True)
class Compression(InContext):
    """Read a random sequence and one compression token, then write the sequence again, each token at its own position.

    In MAD an autoencoder does this: the last hidden state, that of the compression token, plus a code for the wanted
    position goes through an MLP that has nothing else to go by. Here the wanted positions follow the compression token
    as markers that say nothing but where they stand, and no answer is fed back. Since nothing in a *task* stops a
    transformer from looking past the compression token at the sequence itself, this is copying by position until a
    study adds the bottleneck as a mechanism: no later position may attend to one before `read[0]`, the compression
    token's position, where the first answer is due as well.

    `train` and `iid` are split by the sequence: exchanging its first symbol with that symbol's partner throughout gives
    its mate, and a hash of what mates share says which of them is trained on.

    Tokens: symbols 1 … symbols, then COMPRESS, then the marker. Sequence: x_1 … x_n COMPRESS, then n - 1 markers; x_1
    is answered at COMPRESS, the others at the markers.

    Attributes:
      length: n in `train` and `iid`. Traced in `sample`.
      longer: n in the `length` split.
      symbols: number of symbols, even.
    """

    length: int = 8
    longer: int = 12
    symbols: int = 16

    name: ClassVar[str] = "compression"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "MAD: Poli et al. 2024, arXiv 2403.17844"
    known: ClassVar[str] = (
        "Behind the bottleneck accuracy falls as the sequence outgrows what one hidden state holds; without it, it is "
        "copying by position."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"length": 3, "longer": 4, "symbols": 6},)
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="open8",
            sizes={"length": 8, "longer": 12, "symbols": 16},
            expected={"iid": (0.97, 1.0), "length": (0.0, 0.05)},
            about="without the bottleneck it is copied by position, which tells nothing of longer sequences",
            source="measured here",
            seconds=15,
            steps=1500,
        ),
    )

    def __post_init__(self):
        require_range(self, "length", 1, 1024)
        require_range(self, "longer", self.length + 1, 2048)
        require_couples(self, "symbols", 2, 4096)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 3 + self.symbols

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid` and `length`."""

        def split(count: int, held_out: int, about: str) -> Split:
            return Split({"length": count, "held_out": held_out}, 2 * count, count, 1, bool(held_out), about)

        return {
            "train": split(self.length, 0, f"sequences of {self.length} tokens, a half chosen by hash"),
            "iid": split(self.length, 1, f"the other half of the sequences of {self.length} tokens"),
            "length": split(self.longer, 1, f"sequences of {self.longer} tokens"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Sequences of one token."""
        return {"length": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The `first`, `middle` and `last` token, all of which the compression token must hold."""
        return dict.fromkeys(("first", "middle", "last"), self.symbols)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The compression token, where the first answer is due, and the last marker."""
        return ("compression", "last_answer")

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One sequence. Difficulty: `length` in [1, longer], `held_out` 0 (train's half) or 1."""
        count, held_out = whole(difficulty, "length", "held_out")
        index_K = jnp.arange(self.longer, dtype=jnp.int32)
        token_K = below(jax.random.bits(key, (self.longer,)), self.symbols)
        token_K = choose_side(part(token_K, count), 0, held_out)
        asked = part(jnp.where(index_K == 0, self.symbols, self.symbols + 1), count)
        factors = {"first": token_K[0], "middle": token_K[count // 2], "last": token_K[count - 1]}
        return ask(part(token_K, count), asked, index_K, length, factors)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """What stands before COMPRESS must follow from there on."""
        tokens = np.asarray(example.tokens).tolist()
        middle = tokens.index(1 + self.symbols)
        return np.asarray(answer)[middle : 2 * middle].tolist() == tokens[:middle]

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the symbols; `shuffled`: the tokens of the sequence in random order; `ends`: the first and the
        last right, the others in random order (left out where that is the whole answer).
        """
        count = int(self.splits[split].difficulty["length"])
        found = {"chance": uniform, "shuffled": shuffled, "ends": ends}
        reached = {name: baseline(count, self.symbols) for name, baseline in found.items()}
        return {name: baseline for name, baseline in reached.items() if baseline.exact < 1}

    def render(self, example: Example) -> str:
        """`3 1 4 | → 3 1 4`, symbols from 0."""
        tokens, asked = np.asarray(example.tokens), np.asarray(example.weights) > 0
        read = " ".join(str(t - 1) for t in tokens[: int(np.argmax(asked))].tolist())
        return f"{read} | → {' '.join(str(t - 1) for t in np.asarray(example.targets)[asked])}"
