"""What recall tasks with one-token keys and values share: tokens are values, then keys, then noise."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tasks.base import PAD, Baseline, Example

VALUES_MOST = 4096  # of keys and of values


def context_value(pairs: int) -> Baseline:
    """Naming any of n values of the context.

    The exact share is that of the best such guess, which gives every query another value; the log-probability is that
    of the n values as equally likely.
    """
    return Baseline(1 / math.factorial(pairs), -math.log(pairs))


def _without_noise(tokens: np.ndarray, last_key: int) -> list[tuple[int, int]]:
    """(position, token) of every value and key token."""
    return [(i, t) for i, t in enumerate(tokens.tolist()) if t != PAD and t <= last_key]


def look_up(tokens: np.ndarray, answer: np.ndarray, last_value: int, last_key: int) -> bool:
    """Read from left to right: a key with a value behind it is remembered, a key without one must be answered."""
    memory, read = {}, _without_noise(tokens, last_key)
    for (position, token), (_, behind) in zip(read, [*read[1:], (-1, last_key)], strict=True):
        if token > last_value and behind <= last_value:
            memory[token] = behind
        elif token > last_value and int(answer[position]) != memory[token]:
            return False
    return True


def written(example: Example, last_value: int, last_key: int) -> list[tuple[int, int]]:
    """The (key, value) tokens that an example writes, in order."""
    read = [token for _, token in _without_noise(np.asarray(example.tokens), last_key)]
    return [(a, b) for a, b in itertools.pairwise(read) if a > last_value >= b]


def shown(example: Example, last_value: int, last_key: int) -> str:
    """`. 3:7 . 0:2 | 0? 2, 3? 7`: noise as dots, keys and values from 0."""
    tokens, asked = np.asarray(example.tokens), np.asarray(example.weights) > 0
    context = [
        "." if t > last_key else f"{t - 1 - last_value}:" if t > last_value else f"{t - 1}"
        for t in tokens[: int(np.argmax(asked))].tolist()
    ]
    answers = zip(tokens[asked].tolist(), np.asarray(example.targets)[asked].tolist(), strict=True)
    queries = ", ".join(f"{key - 1 - last_value}? {value - 1}" for key, value in answers)
    return f"{' '.join(context).replace(': ', ':')} | {queries}"
