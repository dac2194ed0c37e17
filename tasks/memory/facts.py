"""Facts held in weights: a fixed random map from keys to values, met with Zipf frequencies (cf. arXiv 2404.05405)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, exact_match, require_range
from tasks.fields import KnobField

BUCKETS = 4  # frequency classes that a probe may look for
SIMULATED_MAPS = 400  # over which the most-common-value baseline is averaged
TEMPLATE = 0x7E  # folded into keys for what concerns templates, so that everything else stays as it is


class FactWorld(NamedTuple):
    """The facts of a seed.

    Attributes:
      value_of_key: int32[facts], in [0, values).
      key_of_rank: int32[facts], the keys from the most to the least frequent.
      unseen_template: int32[facts], the template in which training never asks for a key; empty with one template.
    """

    value_of_key: jax.Array
    key_of_rank: jax.Array
    unseen_template: Any = ()


@dataclass(frozen=True)
class Facts:
    """Answer a key token with its value, at the key's own position.

    Nothing in the input tells the value, so remembering the training facts *is* the ability: `iid` draws the same
    facts. The r-th most frequent fact has probability proportional to r^-exponent.

    What it cannot measure is memory held in blocks: each key has a row of the embedding table, which can hold its value
    by itself. A linear readout of that row, fitted to half of the keys of a trained model, reads 90% of the other half.
    Claims about what blocks remember belong to `composite_facts`.

    With several templates a template token leads, which says nothing of the value: `template key`. Each key has one
    template, drawn by seed, that training never puts it in; `paraphrase` asks for the same facts in that one.

    Tokens: keys 1 … facts, then values, then templates where there are several.

    Attributes:
      facts: number of keys.
      values: number of values, each key's drawn uniformly.
      exponent: of the Zipf law; 0 is uniform. Traced in `sample`.
      templates: ways to ask for a fact, all but one of which are trained for each; 1 for the bare key.
    """

    facts: int = 128
    values: int = 32
    exponent: float = 1.0
    templates: int = 1

    name: ClassVar[str] = "facts"
    family: ClassVar[str] = "memory"
    source: ClassVar[str] = "Allen-Zhu & Li 2024, arXiv 2404.05405; paraphrases: arXiv 2309.14316"
    known: ClassVar[str] = (
        "About two bits are stored for each parameter once a fact has been met often enough; rare ones come last. "
        "Keys of one token have a row each in the embedding table, where their values are stored and which no knob of "
        "pruning, heads, experts, depth or width of blocks touches: what those cost memory, only composite_facts shows."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"facts": 12, "values": 5},
        {"facts": 12, "values": 5, "templates": 3},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="facts256",
            sizes={"facts": 256, "values": 16},
            expected={"iid": (0.95, 1.0)},
            about="a map far below capacity is learned by heart",
            source="Allen-Zhu & Li 2024, arXiv 2404.05405",
            seconds=20,
            steps=2000,
        ),
        Card(
            name="paraphrase",
            sizes={"facts": 256, "values": 16, "templates": 3},
            expected={"iid": (0.95, 1.0), "paraphrase": (0.9, 1.0)},
            about="two templates for each fact suffice to learn that templates tell nothing",
            source="Allen-Zhu & Li 2023, arXiv 2309.14316; the intervals measured here",
            seconds=8,
            steps=2000,
        ),
    )

    def __post_init__(self):
        require_range(self, "facts", 4, 65536)
        require_range(self, "values", 2, 65536)
        require_range(self, "exponent", 0.0, 4.0)
        require_range(self, "templates", 1, 1024)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self.facts + self.values + self.templates * self._asked

    @property
    def _asked(self) -> int:
        """The key's position: 1 behind a template, else 0."""
        return int(self.templates > 1)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`; all facts equally often, their common and rare half; unseen templates (`paraphrase`)."""
        middle, count = self.facts // 2, self.facts

        def split(exponent: float, first: int, last: int, about: str, unseen: int = 0) -> Split:
            difficulty = {"exponent": exponent, "first": first, "last": last}
            difficulty |= {"unseen_template": unseen} if self._asked else {}
            length = 1 + self._asked
            return Split(difficulty, length, answer_tokens=1, decode_steps=1, disjoint=bool(unseen), about=about)

        splits = {
            "train": split(self.exponent, 0, count, "facts at their Zipf frequencies"),
            "iid": split(self.exponent, 0, count, "the same facts at the same frequencies"),
            "uniform": split(0.0, 0, count, "every fact equally often"),
            "head": split(0.0, 0, middle, "the commonest half, uniform"),
            "tail": split(0.0, middle, count, "the rarest half, uniform"),
        }
        if self._asked:
            about = "at their frequencies, each in the template that training never puts it in"
            splits["paraphrase"] = split(self.exponent, 0, count, about, unseen=1)
        return splits

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "exponent": KnobField(0.0, 4.0, "Zipf exponent of how often each is asked"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Training has but one difficulty."""
        return {}

    @property
    def title(self) -> str:
        """What a report calls the task."""
        return f"{self.facts} facts"

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`value`; `frequency`, the quarter of the ranks that the key is in (0: commonest); `template`, if several."""
        return {"value": self.values, "frequency": BUCKETS} | ({"template": self.templates} if self._asked else {})

    @property
    def read_names(self) -> tuple[str, ...]:
        """The key's position."""
        return ("answer",)

    def world(self, key: jax.Array) -> FactWorld:
        """Draw the map, which keys are frequent and which template each is never asked in."""
        key_value, key_rank = jax.random.split(key)
        values = jax.random.randint(key_value, (self.facts,), 0, self.values, jnp.int32)
        key_of_rank = jax.random.permutation(key_rank, jnp.arange(self.facts, dtype=jnp.int32))
        if not self._asked:
            return FactWorld(values, key_of_rank)
        key_template = jax.random.fold_in(key, TEMPLATE)
        unseen = jax.random.randint(key_template, (self.facts,), 0, self.templates, jnp.int32)
        return FactWorld(values, key_of_rank, unseen)

    def sample(self, key: jax.Array, world: FactWorld, difficulty: Difficulty, length: int) -> Example:
        """One key.

        Difficulty: `exponent`, ranks from `first` to `last` - 1 and, where there are templates, `unseen_template`: 0
        for those that the key is trained in, 1 for the other.
        """
        first, last = (jnp.asarray(difficulty[name], jnp.int32) for name in ("first", "last"))
        rank_F = jnp.arange(self.facts, dtype=jnp.int32)
        exponent = jnp.asarray(difficulty["exponent"], jnp.float32)
        weight_F = jnp.exp(-exponent * jnp.log1p(rank_F.astype(jnp.float32)))
        cumulated_F = jnp.cumsum(jnp.where((rank_F >= first) & (rank_F < last), weight_F, 0.0))
        point = jax.random.uniform(key) * cumulated_F[-1]
        # Rounding can put `point` on the total, which no rank reaches.
        rank = jnp.minimum(jnp.sum(cumulated_F <= point, dtype=jnp.int32), last - 1)
        fact = world.key_of_rank[rank]
        value = world.value_of_key[fact]
        here_L = jnp.arange(length) == self._asked
        tokens_L, factors = (
            jnp.where(here_L, 1 + fact, PAD),
            {"value": value, "frequency": rank * BUCKETS // self.facts},
        )
        if self._asked:
            trained = jax.random.randint(jax.random.fold_in(key, TEMPLATE), (), 0, self.templates - 1, jnp.int32)
            trained = trained + (trained >= world.unseen_template[fact]).astype(jnp.int32)
            unseen = jnp.asarray(difficulty["unseen_template"], jnp.int32) > 0
            factors["template"] = jnp.where(unseen, world.unseen_template[fact], trained)
            template_token = 1 + self.facts + self.values + factors["template"]
            tokens_L = jnp.where(jnp.arange(length) == 0, template_token, tokens_L)
        return Example(
            tokens=tokens_L,
            targets=jnp.where(here_L, 1 + self.facts + value, PAD),
            weights=here_L.astype(jnp.float32),
            factors=factors,
            read=jnp.full((1,), self._asked, jnp.int32),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: FactWorld, example: Example, answer: np.ndarray) -> bool:
        """Look the key up."""
        (at,) = np.flatnonzero((np.asarray(example.tokens) >= 1) & (np.asarray(example.tokens) <= self.facts))
        key_token = int(np.asarray(example.tokens)[at])
        return int(answer[at]) == 1 + self.facts + int(np.asarray(world.value_of_key)[key_token - 1])

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`, and `most_common_value`: the best answer that ignores the key, averaged over simulated maps."""
        difficulty = self.splits[split].difficulty
        exponent, first, last = (difficulty[name] for name in ("exponent", "first", "last"))
        return {
            "chance": Baseline(1 / self.values, -float(np.log(self.values))),
            "most_common_value": _most_common_value(self.values, float(exponent), int(first), int(last)),
        }

    def render(self, example: Example) -> str:
        """`key 17 → value 3`, or `template 1, key 17 → value 3`."""
        tokens, targets = np.asarray(example.tokens).tolist(), np.asarray(example.targets).tolist()
        template = f"template {tokens[0] - 1 - self.facts - self.values}, " if self._asked else ""
        return f"{template}key {tokens[self._asked] - 1} → value {targets[self._asked] - 1 - self.facts}"


@lru_cache(maxsize=256)
def _most_common_value(values: int, exponent: float, first: int, last: int) -> Baseline:
    """The predictor that knows only how often each value is right in its seed's map."""
    frequency = np.arange(first + 1, last + 1, dtype=np.float64) ** -exponent
    frequency /= frequency.sum()
    generator = np.random.default_rng(0)
    exact, logprob = 0.0, 0.0
    for _ in range(SIMULATED_MAPS):
        share = np.bincount(generator.integers(values, size=frequency.size), weights=frequency, minlength=values)
        exact += share.max() / SIMULATED_MAPS
        logprob += np.sum(share[share > 0] * np.log(share[share > 0])) / SIMULATED_MAPS
    return Baseline(float(exact), float(logprob))
