"""What a task claims of trivial predictors, held against running them."""

from functools import cache

import jax
import numpy as np

from tasks.base import NO_ANSWER, trivial
from tasks.shortcuts import asked_of, obvious, right
from tests.tasks import guesses_memory, guesses_planning, guesses_reasoning  # noqa: F401  they register
from tests.tasks.guesses import Question, guesses
from tests.tasks.task_cases import draw, longest, one, quick_jit, world

# Tasks whose baselines are averages over worlds: each example then comes from one of several. Elsewhere worlds rename.
DIFFER = ("modular", "two_hop", "comparison", "facts", "composite_facts", "iid_pairs", "map_walk")
WORLDS = 32
# Rules that answer a task at some sizes always: there they are the task, which leaves them out of its baselines too.
IS_THE_TASK = {("graph_search", "the token before the last")}  # one hop away, the goal is the answer
FEW = ("regular_language-1", "regular_language-2")  # cases with some dozen instances in all
SLACK = 0.02  # baselines that are simulated, and halves of few instances


@cache
def worlds(task, count):
    """The first `count` worlds of a task, drawn by one program."""
    if count == 1:
        return [world(task)]
    make = quick_jit(task.world)
    return [jax.tree.map(np.asarray, make(jax.random.key(seed))) for seed in range(count)]


def drawn(task, split, count, seed=0):
    """[(world, batch)]: `count` examples in all."""
    chosen, several = task.splits[split], WORLDS if task.name in DIFFER else 1
    each = count // several
    return [
        (fixed, draw(task, chosen.difficulty, chosen.length, each, seed + index, fixed=fixed))
        for index, fixed in enumerate(worlds(task, several))
    ]


def reached(task, split, count, seed=0):
    """Name of a baseline -> the share of `count` answers that are right; a name is missing where nothing answered."""
    shares, generator, unique = {}, np.random.default_rng(seed), task.splits[split].unique
    for fixed, batch in drawn(task, split, count, seed):
        (_, fitted), *_ = drawn(task, split, count, seed + 1000) if task.name not in DIFFER else [(None, None)]
        for index in range(len(batch.tokens)):
            example = one(batch, index)
            said = guesses(Question(task, split, fixed, example, generator, fitted))
            for name, answer in said.items():
                share = answer if isinstance(answer, float) else judged(task, unique, fixed, example, answer)
                shares.setdefault(name, []).append(share)
    return {name: float(np.mean(found)) for name, found in shares.items()}


def judged(task, unique, fixed, example, answer):
    """Whether an answer is right, from its tokens in order."""
    asked = example.weights == 1
    if len(answer) != asked.sum():
        return False
    if unique:
        return bool(np.all(example.targets[asked] == answer))
    whole = np.full_like(example.targets, NO_ANSWER)
    whole[asked] = answer
    return bool(task.check(fixed, example, whole))


def faults(task, split, count):
    """What is wrong with the baselines of a split, a sentence each."""
    claimed, found = task.baselines(split), reached(task, split, count)
    wrong = []
    for name, baseline in claimed.items():
        if name != "chance" and name not in found:
            wrong.append(f"'{name}' has no predictor: let `guess` answer for it")
        elif name != "chance" and not agrees(found[name], baseline.exact, count):
            wrong.append(f"'{name}' claims {baseline.exact:.3f} and reaches {found[name]:.3f}")
    best = max((share for name, share in found.items() if name in claimed), default=0.0)
    chance = by_chance(task, split, claimed["chance"].logprob, count)
    if not agrees(chance, claimed["chance"].exact, count) and task.splits[split].unique:
        wrong.append(f"'chance' claims {claimed['chance'].exact:.3f}, its log-probability says {chance:.3f}")
    if claimed["chance"].exact > best and not agrees(best, claimed["chance"].exact, count):
        wrong.append(f"'chance' claims {claimed['chance'].exact:.3f} and the best predictor reaches {best:.3f}")
    floor = trivial(task, split).exact
    for name, share in simple(task, split, count).items():
        if share == 1.0 and (task.name, name) in IS_THE_TASK:
            continue
        if share > floor and not agrees(share, floor, count):
            wrong.append(f"{name} reaches {share:.3f}, more than the best baseline ({floor:.3f}): declare it")
    return wrong


def agrees(share, expected, count):
    return abs(share - expected) <= 5 * np.sqrt(max(expected * (1 - expected), 1 / count) / count) + SLACK


def by_chance(task, split, logprob, count):
    """The share of whole answers right of a predictor that gives every right token this log-probability."""
    (_, batch), *_ = drawn(task, split, count)
    return float(np.mean(np.exp(logprob * (batch.weights == 1).sum(axis=1))))


def simple(task, split, count):
    """What predictors that know nothing of the task reach, averaged over worlds."""
    found = {}
    for (_, train), (_, asked) in zip(drawn(task, "train", count, 500), drawn(task, split, count), strict=True):
        width = longest(task)
        answers = obvious(asked_of(train, width), asked_of(asked, width))
        for name, answer in answers.items():
            found.setdefault(name, []).append(right(asked_of(asked, width), answer).mean())
    return {name: float(np.mean(shares)) for name, shares in found.items()}
