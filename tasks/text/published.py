"""Published benchmarks as tasks: what a study trains on under the name of a format, `config.tasks.babi`.

Items lie on the device, and an example is one of them, drawn evenly. The splits are the published ones; the published
test that is drawn as `train` is called `iid`, as in every other task.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from tasks.base import (
    NO_ANSWER,
    PAD,
    ROW,
    Baseline,
    Card,
    Difficulty,
    Example,
    Split,
    TaskError,
    World,
    exact_match,
    require_range,
)
from tasks.fields import KnobField
from tasks.text import READERS, read, values_of
from tasks.text.encoding import UNKNOWN, Encoded, content_of, encoded
from tasks.text.items import Dataset, Value
from tasks.text.summary import summaries

PREFERRED = ("test", "dev", "valid", "validation", "eval", "validate")  # which split drawn as `train` is `iid`
OWN = ("data_dir", "limit", "held_back", "content")  # the fields that are no format's options
LIMIT_MOST = 2**20
COUNT_MOST = 2**24  # whole numbers up to here are float32s, which knobs are


@dataclass(frozen=True)
class Published:
    """A published benchmark, read from its own files.

    Attributes:
      data_dir: the folder of its files, or one that holds them in a folder with the format's name.
      limit: words that an item may have, answer included; longer ones are left out and counted. 0: no limit.
      held_back: share of `train` that is kept from training as `iid` where no test is published that is drawn as
        `train`; without effect where there is one.
      content: hash of all that the files say when the task is made, so that nothing read earlier stands for them.
    """

    data_dir: str = ""
    limit: int = 0
    held_back: float = 0.1
    content: str = dataclasses.field(default="", init=False)

    name: ClassVar[str]
    family: ClassVar[str] = "reasoning"
    known: ClassVar[str] = "docs/real.md"
    source: ClassVar[str]
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    cards: ClassVar[tuple[Card, ...]] = ()

    def __post_init__(self):
        require_range(self, "limit", 0, LIMIT_MOST)
        require_range(self, "held_back", 0.001, 0.5)
        if not isinstance(self.data_dir, str) or not self.data_dir:
            raise TaskError(
                f"{self.name}: no folder of its files; give it as --config.data_dir=DIR, or for this task alone as its"
                " field data_dir."
            )
        for key, value in values_of(self.name, self.options).items():  # 2, '2' and '02' are one part
            object.__setattr__(self, key, value)
        object.__setattr__(self, "content", content_of(_read(self)))  # follows from the other fields
        _splits(self)  # so that what is wrong in the files is said before anything compiles

    @property
    def options(self) -> dict[str, Value]:
        """The values of the format's own options."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in OWN}

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it this benchmark, wherever its files lie: a part of checkpoints' keys."""
        own = {"limit": self.limit, "held_back": self.held_back}
        return {**self.options, **own, "content": self.content}

    @property
    def title(self) -> str:
        """Its name in a report: 'bAbI (part 2)'."""
        reader = READERS[self.name]
        changed = [f"{key} {value}" for key, value in self.options.items() if value != reader.options[key].default]
        return reader.about.partition(":")[0] + (f" ({', '.join(changed)})" if changed else "")

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return len(_encoded(self).words)

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Nothing: training has one difficulty."""
        return {}

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the answer is asked for."""
        return ("answer",)

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, and the other published splits by their names."""
        return _splits(self)

    @property
    def tuning(self) -> str:
        """The published validation split, on which tuned knobs are chosen: '' if there is none, never the test."""
        alike = _alike(_dataset(self))[1:]
        return next((split for split in alike if not split.startswith("test")), "")

    @property
    def knob_fields(self) -> Mapping[str, KnobField | None]:
        """How many of the training items are drawn from: the first ones of the file."""
        count = len(_encoded(self).splits["train"])
        return {"count": KnobField(1, min(count, COUNT_MOST), "number of different training items")}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """The first word of the answer, and what the files say about every item."""
        return {name: len(values) for name, values in _encoded(self).factor_values.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of the files: items left out, unknown words, repeats; a sentence each."""
        return _notes(self)

    def world(self, key: jax.Array) -> World:
        """Nothing differs between seeds."""
        del key
        return ()

    def rows(self, key: jax.Array, split: str, count: int) -> jax.Array:
        """See `tasks.base.Listed`."""
        there = self.splits[split].difficulty["count"]
        shuffled = jax.random.permutation(key, jnp.arange(int(there), dtype=jnp.int32))
        return shuffled[jnp.arange(count, dtype=jnp.int32) % int(there)]

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One item of `count` from `first` on: the one with the number `row`, or any if that is -1."""
        del world
        data = _encoded(self)
        count, row, first = (jnp.asarray(difficulty[one]).astype(jnp.int32) for one in ("count", ROW, "first"))
        number = first + jnp.where(row < 0, jax.random.randint(key, (), 0, count), row)
        start, asked, answered = (jnp.asarray(x)[number] for x in (data.starts_R, data.inputs_R, data.answers_R))
        ids_T, place_L = jnp.asarray(data.ids_T), jnp.arange(length, dtype=jnp.int32)
        here_L, next_L = (ids_T[jnp.clip(start + place_L + ahead, 0, len(data.ids_T) - 1)] for ahead in (0, 1))
        due_L = (place_L >= asked) & (place_L < asked + answered)
        return Example(
            tokens=jnp.where(place_L < asked + answered, here_L, PAD),
            targets=jnp.where(due_L, next_L, PAD),
            weights=due_L.astype(jnp.float32),
            factors={name: jnp.asarray(values)[number] for name, values in data.factors.items()},
            read=asked[None],
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """Whether the whole answer is right. One with a word that training never shows never is."""
        return exact_match(example, answer) & ~jnp.any((example.targets == UNKNOWN) & (example.weights > 0))

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Look the question up among the items, and compare words."""
        del world
        data, given = _encoded(self), np.asarray(answer)
        words = [data.words[one] for one in given[given != NO_ANSWER]]
        asked = tuple(np.asarray(example.tokens)[: int(np.asarray(example.read)[0])].tolist())
        return any(" ".join(words) == right for right in _answers(self).get(asked, ()))

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` guesses among the answers of `train`, or the choices; `commonest` gives the commonest of `train`."""
        return _baselines(self)[split]

    def guess(self, world: World, example: Example, generator: np.random.Generator) -> Mapping[str, Sequence[int]]:
        """What `commonest` answers."""
        del world, example, generator
        return {"commonest": Counter(_answers_of(_encoded(self), "train")).most_common(1)[0][0]}

    def render(self, example: Example) -> str:
        """Its words, and the answer behind an arrow."""
        words, tokens, targets = _encoded(self).words, np.asarray(example.tokens), np.asarray(example.targets)
        asked = int(np.asarray(example.read)[0])
        answer = targets[np.asarray(example.weights) > 0]
        return " → ".join(" ".join(words[one] for one in part) for part in (tokens[:asked], answer))


def _kind(name: str) -> type[Published]:
    """The task of one format: its options are fields."""
    reader = READERS[name]
    options = [(key, type(one.default), dataclasses.field(default=one.default)) for key, one in reader.options.items()]
    about = reader.about.rpartition(": ")[2]
    doc = f"{about[:1].upper()}{about[1:]}{'' if about.endswith('?') else '.'}"
    namespace = {"name": name, "source": reader.source, "__doc__": doc}
    made = dataclasses.make_dataclass(name, options, bases=(Published,), namespace=namespace, frozen=True)
    return cast(type[Published], made)


PUBLISHED: dict[str, type[Published]] = {name: _kind(name) for name in READERS}


def _read(task: Published) -> Dataset:
    """What the files say now."""
    folder = Path(task.data_dir).expanduser()
    inner = folder / task.name
    return read(task.name, inner if inner.is_dir() else folder, **task.options)


@lru_cache(maxsize=16)
def _dataset(task: Published) -> Dataset:
    """The files as read, with a share of `train` held back where no test is drawn as it is."""
    found = _read(task)
    if "train" not in found.splits:
        raise TaskError(
            f"{task.name}: {task.data_dir} holds no training file, only {', '.join(found.splits)}; give the folder of a"
            " version with one."
        )
    if _alike(found):
        return found
    items = found.splits["train"]
    questions = list(dict.fromkeys(item.asked for item in items))  # an item that is published twice stays on one side
    count = round(task.held_back * len(questions))
    if not count:
        raise TaskError(
            f"{task.name}: no test is published that is drawn as train, and {len(questions)} training questions are too"
            f" few to hold back {task.held_back:g} of them; raise held_back."
        )
    # Drawn, for a file may be in an order that a fixed stride falls in with; the same ones wherever the file is read.
    held = {questions[n] for n in np.random.default_rng(0).permutation(len(questions))[:count]}
    parts = [tuple(item for item in items if (item.asked in held) is back) for back in (False, True)]
    return replace(found, splits={**found.splits, "train": parts[0], "iid": parts[1]})


@lru_cache(maxsize=16)
def _encoded(task: Published) -> Encoded:
    """Its items as token ids, under the names that the task's splits have."""
    dataset = _dataset(task)
    test = _alike(dataset)[0]
    named = {"iid" if split == test else split: items for split, items in dataset.splits.items()}
    return encoded(replace(dataset, splits=named), task.limit)


def _alike(dataset: Dataset) -> list[str]:
    """The splits that are published as drawn as `train` is, the one first that is `iid`."""
    found = [split for split in dataset.splits if split not in ("train", *dataset.out_of_distribution)]
    return sorted(found, key=lambda split: PREFERRED.index(split) if split in PREFERRED else len(PREFERRED))


@lru_cache(maxsize=16)
def _splits(task: Published) -> Mapping[str, Split]:
    data, dataset = _encoded(task), _dataset(task)
    test = "a share of train, held back" if "iid" in dataset.splits else f"published '{_alike(dataset)[0]}'"
    asked = {item.asked for item in _items(data, "train")}
    alike = [split for split in data.splits if split not in dataset.out_of_distribution]
    longest = max(map(data.longest, alike))
    found = {}
    for split, rows in data.splits.items():
        of = test if split == "iid" else f"published '{split}'"
        repeats = sum(item.asked in asked for item in _items(data, split))
        answer = data.longest_answer(split)
        found[split] = Split(
            difficulty={"first": rows.start, "count": len(rows), ROW: -1},
            length=longest if split in alike else data.longest(split),
            answer_tokens=answer,
            decode_steps=answer,
            disjoint=split != "train" and not repeats,
            about=f"{of}, {len(rows):,} items" + ("" if split in alike else ", drawn otherwise than train"),
        )
    order = ("train", "iid", *(split for split in found if split not in ("train", "iid")))
    return {split: found[split] for split in order}


def _items(data: Encoded, split: str) -> Sequence[Any]:
    rows = data.splits[split]
    return data.items_R[rows.start : rows.stop]


def _answers_of(data: Encoded, split: str) -> list[tuple[int, ...]]:
    """The answer tokens of each item of a split."""
    found = []
    for row in data.splits[split]:
        begin = int(data.starts_R[row] + data.inputs_R[row]) + 1
        found.append(tuple(data.ids_T[begin : begin + int(data.answers_R[row])].tolist()))
    return found


@lru_cache(maxsize=16)
def _answers(task: Published) -> Mapping[tuple[int, ...], tuple[str, ...]]:
    """Tokens of an input -> the answers that items with this input have, in words."""
    data = _encoded(task)
    found: dict[tuple[int, ...], tuple[str, ...]] = {}
    for split in data.splits:
        for row, answer in zip(data.splits[split], _answers_of(data, split), strict=True):
            begin = int(data.starts_R[row])
            asked = tuple(data.ids_T[begin : begin + int(data.inputs_R[row])].tolist())
            if UNKNOWN not in answer:
                found[asked] = (*found.get(asked, ()), " ".join(data.words[one] for one in answer))
    return found


@lru_cache(maxsize=16)
def _baselines(task: Published) -> Mapping[str, Mapping[str, Baseline]]:
    """By split. Log-probabilities are those of the frequencies in `train`, with one more for an answer never seen."""
    data = _encoded(task)
    counted = Counter(_answers_of(data, "train"))
    total, commonest = sum(counted.values()) + 1, counted.most_common(1)[0][0]
    found = {}
    for split in data.splits:
        answers = _answers_of(data, split)
        offered = [len(item.choices) or len(counted) for item in _items(data, split)]
        even = float(np.mean([1 / n for n in offered]))
        logprob = float(np.mean([np.log(max(counted[one], 1) / total) / len(one) for one in answers]))
        chance = float(np.mean([-np.log(n) / len(a) for n, a in zip(offered, answers, strict=True)]))
        exact = float(np.mean([one == commonest for one in answers]))
        found[split] = {"chance": Baseline(even, chance), "commonest": Baseline(exact, logprob)}
    return found


@lru_cache(maxsize=16)
def _notes(task: Published) -> tuple[str, ...]:
    data, dataset, found = _encoded(task), _dataset(task), []
    if "iid" in dataset.splits:
        held = len(dataset.splits["iid"])
        of = f"{held:,} of its {held + len(dataset.splits['train']):,} items"
        found.append(f"no test is published that is drawn as train: {of} are held back")
    for split, left_out in data.left_out.items():
        if left_out:
            found.append(f"items of '{split}' with more than limit={task.limit} words, left out: {left_out:,}")
    for split, one in summaries(dataset, task.limit or 1).items():
        if one.unknown:
            found.append(f"words of '{split}' that train lacks: {one.unknown:,} ({one.unknown_words:,} different)")
        if one.repeats:
            found.append(f"questions of '{split}' that train has, too: {one.repeats:,}")
    return tuple(found)
