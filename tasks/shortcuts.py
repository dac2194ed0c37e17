"""A search for shortcuts that nobody declared: `python -m tasks shortcuts`.

What a small decision tree, a logistic regression and a few predictors that know nothing reach on a task's held-out
splits, next to the best baseline that it declares. A task on which they reach more has a defect, or a baseline to
declare. Splits that are not `disjoint` from training are left out: there an ability *is* remembering, and a fitted
table no shortcut.

Shape letters: N examples, L tokens, A answers of an example, F features.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import sparse

from tasks.base import NO_ANSWER, PAD, Example, Task, TaskError, scored, trivial

# Where a fitted rule is no shortcut, for it is the task.
BY_PLACE = "each answer is the token of one place, or of one for each n or length: reading it is the task"
IS_THE_TASK = {
    ("regular_language", "iid"): "parity is a function of the number of ones",
    ("n_back", "iid"): BY_PLACE,
    ("composite_facts", "unseen"): "the commonest value of the few pairs of one world is off chance by luck",
    **{("copy", split): BY_PLACE for split in ("iid", "distinct", "duplicates")},
    ("compression", "iid"): BY_PLACE,
    **{
        ("count_recall", split): "counts of tokens are given to a fit: counting is the task"
        for split in ("iid", "counts")
    },
}
MARGIN = 0.02  # what is found may exceed what is declared by this much
NOWHERE = -1  # in `place`, where an example has fewer answers than others
ENDS = 3  # the last tokens that are features of their own, wherever a question ends
LEAVES, ITERATIONS = 64, 60


class Asked(NamedTuple):
    """Examples as a predictor sees them.

    Attributes:
      tokens: int[N, L].
      place: int[N, A], the positions where answers are due, in order, then NOWHERE.
      answer: int[N, A], the right ones, PAD where there is none.
    """

    tokens: np.ndarray
    place: np.ndarray
    answer: np.ndarray


class Found(NamedTuple):
    """What was found on one split.

    Attributes:
      task, split: their names.
      declared, baseline: the best exact accuracy of a declared baseline, and its name.
      reached: predictor -> exact accuracy; an upper bound for fitted ones that were given up.
      first: the best accuracy of a fitted predictor on the first answer token.
      nearest: exact accuracy of giving the answer of the most similar training example.
      chance: that of the baseline `chance`.
    """

    task: str
    split: str
    declared: float
    baseline: str
    reached: Mapping[str, float]
    first: float
    nearest: float
    chance: float

    @property
    def best(self) -> str:
        """The name of the predictor that reaches most."""
        return max(self.reached, key=lambda name: self.reached[name])

    @property
    def undeclared(self) -> bool:
        """Whether it beats what is declared, and is not the task."""
        return (self.task, self.split) not in IS_THE_TASK and self.reached[self.best] > self.declared + MARGIN


def asked_of(batch: Example, length: int) -> Asked:
    """A batch of examples, its tokens padded to `length`. A scratchpad is neither asked for nor read: it is PAD."""
    due_NxL = np.asarray(batch.weights) == 1
    rank_NxL = np.where(due_NxL, due_NxL.cumsum(axis=1) - 1, NOWHERE)
    place = np.full((len(due_NxL), int(due_NxL.sum(axis=1).max())), NOWHERE)
    row, column = np.nonzero(due_NxL)
    place[row, rank_NxL[row, column]] = column
    partly_NxL = (np.asarray(batch.weights) > 0) & ~due_NxL
    written_NxL = np.pad(partly_NxL[:, :-1], ((0, 0), (1, 0)))  # a step is read one place after it was due
    tokens = np.where(written_NxL, PAD, np.asarray(batch.tokens))
    answer = np.where(place >= 0, np.take_along_axis(np.asarray(batch.targets), np.maximum(place, 0), axis=1), PAD)
    return Asked(np.pad(tokens, ((0, 0), (0, length - tokens.shape[1]))), place, answer)


def right(asked: Asked, answer_NxA: np.ndarray) -> np.ndarray:
    """Whether whole answers are the right ones, bool[N]."""
    width = asked.answer.shape[1]
    said = np.pad(answer_NxA, ((0, 0), (0, max(width - answer_NxA.shape[1], 0))))[:, :width]
    return np.all((said == asked.answer) | (asked.place < 0), axis=1)


def obvious(train: Asked, asked: Asked) -> dict[str, np.ndarray]:
    """Predictors that know nothing of the task: name -> their answers, int[N, A]."""
    rows, counts = np.unique(train.answer, axis=0, return_counts=True)
    each = [np.bincount(column[column != PAD], minlength=1).argmax() for column in train.answer.T]
    read_NxL = np.arange(asked.tokens.shape[1]) <= asked.place[:, :1]
    size = int(asked.tokens.max()) + 1
    cell = np.arange(len(asked.tokens))[:, None] * size + np.where(read_NxL, asked.tokens, PAD)
    often_NxV = np.bincount(cell.ravel(), minlength=len(asked.tokens) * size).reshape(-1, size)
    often_NxV[:, PAD] = -1

    def at(place_NxA: np.ndarray) -> np.ndarray:
        return np.take_along_axis(asked.tokens, np.clip(place_NxA, 0, None), axis=1)

    shape = (len(asked.tokens), 1)
    return {
        "the commonest answer": np.tile(rows[counts.argmax()], shape),
        "the commonest token at each place": np.tile(np.array(each), shape),
        "the last token": at(asked.place),
        "the token before the last": at(asked.place - 1),
        "the first token": at(np.zeros_like(asked.place)),
        "the token read most often": np.repeat(often_NxV.argmax(axis=1)[:, None], asked.place.shape[1], axis=1),
    }


def nearest(train: Asked, asked: Asked, vocab: int) -> np.ndarray:
    """The answers of the training example whose question agrees in the most places (the first such): int[N, A].

    It is what a model answers that has learned its examples by heart. Where mates differ in one token and their answers
    are opposites, that is wrong more often than a guess.
    """
    table_NxF, mine_NxF = (_one_hot(x.tokens, x.place[:, 0], vocab) for x in (train, asked))
    return train.answer[np.asarray((mine_NxF @ table_NxF.T).todense()).argmax(axis=1)]


def _one_hot(tokens_NxL: np.ndarray, last_N: np.ndarray, vocab: int) -> sparse.csr_matrix:
    """Which token stands where, up to position `last`."""
    row, column = np.nonzero(np.arange(tokens_NxL.shape[1]) <= last_N[:, None])
    index = column * vocab + tokens_NxL[row, column]
    shape = (len(tokens_NxL), tokens_NxL.shape[1] * vocab)
    return sparse.csr_matrix((np.ones(row.size, np.float32), (row, index)), shape=shape)


def features(tokens_NxL: np.ndarray, last_N: np.ndarray, vocab: int) -> sparse.csr_matrix:
    """One-hot tokens (the first among them), counts of tokens, and the last tokens from the end: [N, F]."""
    ends = [np.take_along_axis(tokens_NxL, np.clip(last_N - back, 0, None)[:, None], axis=1) for back in range(ENDS)]
    tail = _one_hot(np.concatenate(ends, axis=1), np.full(len(tokens_NxL), ENDS - 1), vocab)
    every = _one_hot(tokens_NxL, last_N, vocab)
    counts = sum(every[:, at * vocab : (at + 1) * vocab] for at in range(tokens_NxL.shape[1]))
    return sparse.csr_matrix(sparse.hstack([every, counts, tail]))


def search(task: Task, count: int, seed: int) -> Iterator[Found]:
    """What simple predictors reach on every disjoint split, fitted to `count` training examples, tried on as many.

    Raises:
      TaskError: scikit-learn is not installed.
    """
    splits = [name for name, split in task.splits.items() if split.disjoint]
    models = _models(seed)
    if not splits:
        return
    length = max(split.length for split in task.splits.values())
    world = task.world(jax.random.key(seed))
    drawn = {name: _draw(task, name, world, count, seed) for name in ("train", *splits)}
    asked = {name: asked_of(batch, length) for name, batch in drawn.items()}
    vocab = max(task.vocab_size, 1 + max(int(each.tokens.max()) for each in asked.values()))
    floors = {name: trivial(task, name).exact for name in splits}
    bounds = {name: floors[name] + MARGIN if task.splits[name].unique else -1.0 for name in splits}
    fitted = {name: _fitted(model, asked, bounds, vocab) for name, model in models.items()}
    for split in splits:
        whole = obvious(asked["train"], asked[split])
        whole["nearest"] = nearest(asked["train"], asked[split], vocab)
        whole |= {name: answers[split] for name, answers in fitted.items()}
        judged = drawn[split], asked[split]
        shares = {name: _accuracy(task, split, world, *judged, said) for name, said in whole.items()}
        declared = task.baselines(split)
        yield Found(
            task.name,
            split,
            floors[split],
            max(declared, key=lambda name: declared[name].exact),
            {name: share for name, share in shares.items() if name != "nearest"},
            max(float(np.mean(answers[split][:, 0] == asked[split].answer[:, 0])) for answers in fitted.values()),
            shares["nearest"],
            declared["chance"].exact,
        )


def _models(seed: int) -> dict[str, Any]:
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.tree import DecisionTreeClassifier
    except ImportError as error:
        raise TaskError("the search for shortcuts fits models of scikit-learn: pip install scikit-learn.") from error
    return {
        "a decision tree": DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=seed),
        "a logistic regression": LogisticRegression(max_iter=ITERATIONS),
    }


def _fitted(model: Any, asked: Mapping[str, Asked], bounds: Mapping[str, float], vocab: int) -> dict[str, np.ndarray]:
    """Split -> what a model answers, int[N, A], fitted to `train` for one answer after the other.

    Every answer is asked for after the right ones before it. Where no split's share of answers right so far is above
    its bound, the rest is left to be as right as it may: what is reported is an upper bound then.
    """
    train, splits = asked["train"], list(bounds)
    said = {name: asked[name].answer.copy() for name in splits}
    for index in range(train.place.shape[1]):
        rows = train.place[:, index] >= 0
        wanted = train.answer[rows, index]
        inputs = features(train.tokens[rows], train.place[rows, index], vocab)
        if len(np.unique(wanted)) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 'not converged': a fit that could be better
                model.fit(inputs, wanted)
        for name in splits:
            mine = np.flatnonzero(asked[name].place[:, index] >= 0) if index < said[name].shape[1] else []
            if len(mine) and len(np.unique(wanted)) > 1:
                place = asked[name].place[mine, index]
                said[name][mine, index] = model.predict(features(asked[name].tokens[mine], place, vocab))
            elif len(mine):
                said[name][mine, index] = wanted[0]
        if all(right(asked[name], said[name]).mean() <= bounds[name] for name in splits):
            break
    for name in splits:  # answers that no training example has
        said[name][:, train.place.shape[1] :] = NO_ANSWER
    return said


def _accuracy(task: Task, split: str, world: Any, batch: Example, asked: Asked, said: np.ndarray) -> float:
    if task.splits[split].unique:
        return float(right(asked, said).mean())
    answer = np.full_like(np.asarray(batch.tokens), NO_ANSWER)
    width = min(said.shape[1], asked.place.shape[1])
    row, column = np.nonzero(asked.place[:, :width] >= 0)
    answer[row, asked.place[row, column]] = said[row, column]
    return float(np.mean(_scorer(task)(world, batch, answer)))


@lru_cache(maxsize=64)
def _sampler(task: Task, length: int) -> Any:
    def many(keys: jax.Array, world: Any, difficulty: Any) -> Example:
        return jax.vmap(lambda key: task.sample(key, world, difficulty, length))(keys)

    return jax.jit(many, compiler_options={"xla_backend_optimization_level": 0})


@lru_cache(maxsize=64)
def _scorer(task: Task) -> Any:
    judge = jax.vmap(lambda world, example, answer: scored(task, world, example, answer), (None, 0, 0))
    return jax.jit(judge, compiler_options={"xla_backend_optimization_level": 0})


def _draw(task: Task, split: str, world: Any, count: int, seed: int) -> Example:
    """Examples of a split by the one program of the task's longest split, as NumPy."""
    longest = max(each.length for each in task.splits.values())
    order = list(task.splits).index(split)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1 + order), count)
    batch = _sampler(task, longest)(keys, world, dict(task.splits[split].difficulty))
    return jax.tree.map(np.asarray, batch)


HEAD = (
    "| task | split | best declared | found | by | first token | nearest |\n|---|---|---|---|---|---|---|",
    "Found: the most that a fitted tree, a logistic regression or an obvious predictor reaches; an upper bound where\n"
    "it is not above the declared. First token: the best fit's. Nearest: the answer of the training example that is\n"
    "most alike; below chance where mates have opposite answers.",
)


def rows(found: Sequence[Found]) -> str:
    """Rows of a table in Markdown: `iid`, and every other split on which more was found than is declared."""
    return "\n".join(_row(one) for one in found if one.split == "iid" or one.undeclared)


def _row(one: Found) -> str:
    reason = IS_THE_TASK.get((one.task, one.split))
    mark = " **undeclared**" if one.undeclared else f" ({reason})" if reason else ""
    below = " (below chance)" if one.nearest < one.chance - MARGIN else ""
    return (
        f"| {one.task} | {one.split} | {one.declared:.3g} {one.baseline} | {one.reached[one.best]:.3g}{mark} | "
        f"{one.best} | {one.first:.3g} | {one.nearest:.3g}{below} |"
    )
