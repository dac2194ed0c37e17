"""What predicting the label of `rule_deduction` from one feature reaches, by exact joint distributions.

A joint maps (feature, label) to its chance; a difficulty is a split's, with plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tasks.base import Baseline, Difficulty
from tasks.reasoning.theory import LINES

Joint = Mapping[tuple[Any, int], float]
SURE = 0.99  # a feature is never trusted more, so that its log-probability stays finite where it misleads


def learn(train: Joint, here: Joint) -> Baseline:
    """Predict the label as its frequencies given the feature in training say; a feature never seen says nothing."""
    exact = logprob = 0.0
    for (feature, label), share in here.items():
        seen = [train.get((feature, value), 0.0) for value in (label, 1 - label)]
        trust = min(max(seen[0] / sum(seen), 1 - SURE), SURE) if sum(seen) > 0 else 0.5
        exact += share * (0.5 if math.isclose(trust, 0.5) else float(trust > 0.5))
        logprob += share * math.log(trust)
    return Baseline(exact, logprob)


def counts(difficulty: Difficulty) -> Joint:
    """The number of statements."""
    joint: dict[tuple[Any, int], float] = {}
    for label in (0, 1):
        for depth, rules, share in _sizes(difficulty, label):
            statements = 2 * depth + 2 + rules
            joint[statements, label] = joint.get((statements, label), 0.0) + share
    return joint


def dead_ends(difficulty: Difficulty) -> Joint:
    """Whether every rule for the atom asked about has a premise that no statement concludes.

    So it is where the only rule is the broken one, unless a distractor leads to one of the premises that nothing
    supports; `open_ends` has the chances of their numbers so far.
    """
    found = 0.0
    for depth, rules, share in _sizes(difficulty, 0):
        open_ends = {1: float(depth == 1)}
        for atoms in range(2 * depth + 3, 2 * depth + 3 + rules):  # of which each is led to with chance 1 / (2 atoms)
            after: dict[int, float] = {}
            for ends, chance in open_ends.items():
                after[ends] = after.get(ends, 0.0) + chance * (1 - (ends + 1) / (2 * atoms))
                after[ends + 1] = after.get(ends + 1, 0.0) + chance / (2 * atoms)  # one more rule for the atom asked
            open_ends = after
        found += share * sum(open_ends.values())
    return {(True, 0): found, (False, 0): 0.5 - found, (False, 1): 0.5}


def recalled(difficulty: Difficulty, atoms: int) -> Joint:
    """Whether the world's ontology derives the atom asked about from the facts: of random names some by accident."""
    if difficulty["unseen"]:
        return {(False, 0): 0.5, (False, 1): 0.5}
    height, facts = atoms // LINES, math.comb(atoms - 1, 2)
    accident = 1 - sum(math.comb(atoms - 1 - rank, 2) for rank in range(height)) / (facts * height)
    agreement = float(difficulty["agreement"])
    joint = {}
    for label in (0, 1):
        for derives, share in ((True, accident), (False, 1 - accident)):
            named = float(derives == ((label == 1) == (agreement > 0)))
            joint[derives, label] = (abs(agreement) * named + (1 - abs(agreement)) * share) / 2
    return joint


def _sizes(difficulty: Difficulty, label: int) -> list[tuple[int, int, float]]:
    """(depth, number of distractors, its chance together with the label) of the examples with that label."""
    depths = range(int(difficulty["least_depth"]), int(difficulty["depth"]) + 1)
    rules, extra = int(difficulty["distractors"]), int(difficulty["extra"])
    many = (1 + (2 * label - 1) * float(difficulty["shortcut"])) / 2
    return [
        (depth, n, s / (2 * len(depths))) for depth in depths for n, s in ((rules, 1 - many), (rules + extra, many))
    ]
