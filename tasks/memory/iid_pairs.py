"""Keys whose value is random: answer twice, with two independent draws (Johnson et al. 2024, arXiv 2402.08733)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, TaskError, exact_match, require_range

BUCKETS = 4  # frequency classes that a probe may look for
KEYS_MOST = 1 << 16  # of a world
MAPS = (16, 400)  # over so many the baselines are averaged, the fewer the larger they are
SIMULATED = 1 << 22  # odds in all of them


class PairWorld(NamedTuple):
    """The keys of a seed.

    Attributes:
      odds_KxV: float32[keys, values], how likely each value is for a key.
      key_of_rank: int32[keys], the keys from the most to the least frequent.
    """

    odds_KxV: jax.Array
    key_of_rank: jax.Array


@dataclass(frozen=True)
class IidPairs:
    """Answer a key of two tokens with its value, twice; both values are drawn from the key's own distribution.

    Nothing in the input tells the distribution, so it has to be remembered, and where a model knows it the first value
    tells nothing of the second. Where a model doesn't, the first value is a hint: a model that uses it says how much
    there is that it does not know. `analysis.second_order` reads whether it says so rightly.

    A key has a favourite value, drawn uniformly, whose probability is uniform between 1/values and 1; the others share
    the rest. The r-th most frequent key has probability proportional to r^-exponent. Even whoever knows every
    distribution is right only as often as both draws are favourites: .58 of the time with two values.

    Tokens: first parts of keys 1 … firsts, then second parts, then values. Sequence: `first second`, the first value
    answered at the second part and fed back.

    Attributes:
      firsts, seconds: parts of keys; there are firsts × seconds keys.
      values: number of values.
      exponent: of the Zipf law; 0 is uniform. Traced in `sample`.
    """

    firsts: int = 16
    seconds: int = 16
    values: int = 2
    exponent: float = 1.0

    name: ClassVar[str] = "iid_pairs"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Johnson et al. 2024, arXiv 2402.08733"
    known: ClassVar[str] = (
        "The covariance of the two answers of a model that is calibrated on pairs is the squared error of its odds: it"
        " knows where it does not know."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"firsts": 4, "seconds": 3, "values": 3},)
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="pairs256",
            sizes={},
            expected={"iid": (0.48, 0.66), "tail": (0.4, 0.6)},
            about="favourites are learned, those of frequent keys first; a draw itself is not known beforehand",
            source="measured here",
            seconds=20,
            steps=2000,
            ceiling=0.7,  # .58 over all worlds; the frequent keys of one world may be surer
        ),
    )

    def __post_init__(self):
        require_range(self, "firsts", 2, 4096)
        require_range(self, "seconds", 2, 4096)
        require_range(self, "values", 2, 64)
        require_range(self, "exponent", 0.0, 4.0)
        if self.keys > KEYS_MOST:
            raise TaskError(
                f"iid_pairs: firsts must be at most {KEYS_MOST // self.seconds} with {self.seconds} seconds, not "
                f"{self.firsts}: a world has at most {KEYS_MOST} keys."
            )

    @property
    def keys(self) -> int:
        """How many there are."""
        return self.firsts * self.seconds

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.firsts + self.seconds + self.values

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`; all keys equally often, their common and rare half."""
        middle, count = self.keys // 2, self.keys

        def split(exponent: float, first: int, last: int, about: str) -> Split:
            difficulty = {"exponent": exponent, "first": first, "last": last}
            return Split(difficulty, 3, answer_tokens=2, decode_steps=2, disjoint=False, about=about)

        return {
            "train": split(self.exponent, 0, count, "keys at their Zipf frequencies"),
            "iid": split(self.exponent, 0, count, "the same keys at the same frequencies"),
            "uniform": split(0.0, 0, count, "every key equally often"),
            "head": split(0.0, 0, middle, "the commonest half, uniform"),
            "tail": split(0.0, middle, count, "the rarest half, uniform"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Training has but one difficulty."""
        return {}

    @property
    def title(self) -> str:
        """What a report calls the task."""
        return f"pairs of draws for {self.keys} keys"

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`favourite`, the key's likeliest value; `frequency`, the quarter of the ranks it is in (0: commonest)."""
        return {"favourite": self.values, "frequency": BUCKETS}

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the first value is answered, and where the second is."""
        return ("answer", "second answer")

    def world(self, key: jax.Array) -> PairWorld:
        """Draw every key's distribution, and which keys are frequent."""
        key_favourite, key_odds, key_rank = jax.random.split(key, 3)
        favourite = jax.random.randint(key_favourite, (self.keys,), 0, self.values, jnp.int32)
        sure = jax.random.uniform(key_odds, (self.keys,), minval=1 / self.values, maxval=1.0)
        is_favourite_KxV = jnp.arange(self.values, dtype=jnp.int32)[None] == favourite[:, None]
        odds_KxV = jnp.where(is_favourite_KxV, sure[:, None], (1 - sure[:, None]) / (self.values - 1))
        return PairWorld(odds_KxV, jax.random.permutation(key_rank, jnp.arange(self.keys, dtype=jnp.int32)))

    def sample(self, key: jax.Array, world: PairWorld, difficulty: Difficulty, length: int) -> Example:
        """One key and two draws; `exponent` and ranks from `first` to `last` - 1 are the difficulty."""
        key_rank, key_draws = jax.random.split(key)
        first, last = (jnp.asarray(difficulty[name], jnp.int32) for name in ("first", "last"))
        rank_K = jnp.arange(self.keys, dtype=jnp.int32)
        exponent = jnp.asarray(difficulty["exponent"], jnp.float32)
        weight_K = jnp.exp(-exponent * jnp.log1p(rank_K.astype(jnp.float32)))
        rank = _drawn(jax.random.uniform(key_rank), jnp.where((rank_K >= first) & (rank_K < last), weight_K, 0.0))
        rank = jnp.minimum(rank, last - 1)  # rounding can put a point on the total, which no rank reaches
        which = world.key_of_rank[rank]
        odds_V = world.odds_KxV[which]
        points = jax.random.uniform(key_draws, (2,))
        one, two = (jnp.minimum(_drawn(point, odds_V), self.values - 1) for point in points)
        value = 1 + self.firsts + self.seconds
        tokens = jnp.stack([1 + which // self.seconds, 1 + self.firsts + which % self.seconds, value + one])
        targets = jnp.stack([jnp.int32(PAD), value + one, value + two])
        beyond = (0, length - 3)
        return Example(
            tokens=jnp.pad(tokens, beyond),
            targets=jnp.pad(targets, beyond),
            weights=jnp.pad(jnp.asarray([0.0, 1.0, 1.0], jnp.float32), beyond),
            factors={"favourite": jnp.argmax(odds_V).astype(jnp.int32), "frequency": rank * BUCKETS // self.keys},
            read=jnp.asarray([1, 2], jnp.int32),
        )

    def odds(self, world: PairWorld, example: Example) -> tuple[jax.Array, jax.Array]:
        """The values' tokens int32[V], and how likely each is, float32[V]: see `tasks.base.Random`."""
        which = (example.tokens[0] - 1) * self.seconds + example.tokens[1] - 1 - self.firsts
        return 1 + self.firsts + self.seconds + jnp.arange(self.values, dtype=jnp.int32), world.odds_KxV[which]

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """Whether both draws are named, which nobody can be sure of."""
        return exact_match(example, answer)

    def check(self, world: PairWorld, example: Example, answer: np.ndarray) -> bool:
        """Compare with the draws: the first one stands in the input, the second is due there."""
        tokens, targets = np.asarray(example.tokens), np.asarray(example.targets)
        one, two = int(tokens[2]), int(targets[2])
        possible = np.asarray(world.odds_KxV)[(tokens[0] - 1) * self.seconds + tokens[1] - 1 - self.firsts] > 0
        first_value = 1 + self.firsts + self.seconds
        likely = all(possible[value - first_value] for value in (one, two))
        return likely and (int(answer[1]), int(answer[2])) == (one, two)

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, and `commonest_pair`: the best that ignores the key, averaged over simulated maps."""
        difficulty = self.splits[split].difficulty
        exponent, first, last = (difficulty[name] for name in ("exponent", "first", "last"))
        return {
            "chance": Baseline(self.values**-2, -float(np.log(self.values))),
            "commonest_pair": _commonest_pair(self.values, float(exponent), int(first), int(last)),
        }

    def render(self, example: Example) -> str:
        """`key 3-7 → value 1, value 0`."""
        (first, second, _), (_, one, two) = (np.asarray(x)[:3].tolist() for x in (example.tokens, example.targets))
        value = 1 + self.firsts + self.seconds
        return f"key {first - 1}-{second - 1 - self.firsts} → value {one - value}, value {two - value}"


def _drawn(point: jax.Array, weight_N: jax.Array) -> jax.Array:
    """The index at a share of the weights' sum: int32[]."""
    cumulated_N = jnp.cumsum(weight_N)
    return jnp.sum(cumulated_N <= point * cumulated_N[-1], dtype=jnp.int32)


@lru_cache(maxsize=256)
def _commonest_pair(values: int, exponent: float, first: int, last: int) -> Baseline:
    """The predictor that knows only how often each pair of values is right in its seed's map."""
    weight_K = np.arange(first + 1, last + 1, dtype=np.float64) ** -exponent
    weight_K /= weight_K.sum()
    generator = np.random.default_rng(0)
    exact, logprob = 0.0, 0.0
    maps = min(max(SIMULATED // (weight_K.size * values), MAPS[0]), MAPS[1])
    for _ in range(maps):
        sure_K = generator.uniform(1 / values, 1, weight_K.size)
        odds_KxV = np.repeat(((1 - sure_K) / (values - 1))[:, None], values, axis=1)
        odds_KxV[np.arange(weight_K.size), generator.integers(values, size=weight_K.size)] = sure_K
        pair_VxV = (weight_K[:, None] * odds_KxV).T @ odds_KxV
        exact += pair_VxV.max() / maps
        logprob += np.sum(pair_VxV * np.log(pair_VxV)) / 2 / maps  # the mean of both answers' tokens
    return Baseline(float(exact), float(logprob))
