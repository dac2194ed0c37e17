"""Trivial predictors as programs: what they are given, and where those of each task are found.

A new task brings its own (`tasks.base.Guessing`). Those of the tasks that came before are in `guesses_memory`,
`guesses_reasoning` and `guesses_planning`, written without the tasks' formulas. Each function gets a `Question` and
gives, for every baseline but `chance`, the answer tokens in order, or the chance that they are right.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from tasks.base import PAD, Guessing

GUESSES = {}


class Question(NamedTuple):
    """One example, and what a predictor may know.

    Attributes:
      task, split, world, example: what is asked.
      generator: for whatever is drawn.
      fitted: other examples of the same split and world.
    """

    task: Any
    split: str
    world: Any
    example: Any
    generator: np.random.Generator
    fitted: Any

    @property
    def tokens(self):
        return self.example.tokens[self.example.tokens != PAD].tolist()

    @property
    def asked(self):
        return np.flatnonzero(self.example.weights == 1).tolist()

    @property
    def read(self):
        """The tokens up to the first position with a weight."""
        return self.example.tokens[: int(np.argmax(self.example.weights > 0)) + 1].tolist()

    def shuffled(self, things):
        return [things[i] for i in self.generator.permutation(len(things))]

    def choice(self, things):
        return things[self.generator.integers(len(things))]

    def commonest(self, key=lambda tokens: 0):
        """The commonest first answer of the fitted examples that share `key` with this one."""
        return table(self.task, self.split, self.fitted, key)[key(self.read)]


TABLES = {}


def table(task, split, fitted, key):
    """key -> the commonest answer, counted once for each set of examples."""
    name = (task, split, id(fitted), key.__code__)
    if name not in TABLES:
        counts = {}
        for tokens, targets, weights in zip(fitted.tokens, fitted.targets, fitted.weights, strict=True):
            read = tokens[: int(np.argmax(weights > 0)) + 1].tolist()
            counts.setdefault(key(read), Counter())[int(targets[np.argmax(weights == 1)])] += 1
        TABLES[name] = fitted, {value: found.most_common(1)[0][0] for value, found in counts.items()}  # `fitted` lives
    return Default(TABLES[name][1])


class Default(dict):
    """A table that answers nothing right where it knows nothing."""

    def __missing__(self, key):
        return PAD


def of(*names):
    def register(function):
        GUESSES.update(dict.fromkeys(names, function))
        return function

    return register


def guesses(question):
    """Name of a baseline -> its answer, or the chance that it is right."""
    task = question.task
    if isinstance(task, Guessing):
        return task.guess(question.world, question.example, question.generator)
    return GUESSES[task.name](question) if task.name in GUESSES else {}
