"""Nested list operations on digits (ListOps, Nangia and Bowman, arXiv 1804.06028)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from tasks.asking import READ_NAMES, Markers, ask, extent, mate, require_scratchpad, uniform, unit
from tasks.base import (
    PAD,
    PROCESS,
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
from tasks.reasoning.trees import Layout, Tree, draw_tree, evaluate, lay_out, most_operations
from tasks.sequence import Part, part

OPERATIONS = ("min", "max", "med", "sum")
SIMULATED = 1 << 13  # examples behind the baselines


@dataclass(frozen=True)
class NestedExpression:
    """Evaluate an expression such as `[max 2 9 [min 4 7 ] 0 ]` and say its value.

    Operations on digits 0 … modulus - 1: 'min', 'max', 'med' (the median, of an even number of arguments the mean of
    the middle two, rounded down) and 'sum' (modulo `modulus`). Each has 2 … `arguments` arguments, digits or
    expressions; the number is uniform.

    The depth d of an expression (brackets around its innermost digits) is uniform in its range, then its number of
    operations uniform from d to the most allowed, or the most that fit. A chain of d operations gives the depth; each
    of the others takes a free argument place within that depth, uniformly. (ListOps draws every argument as an
    expression with chance 1/4, so that depth and length grow together; here the `depth` split is deeper and no longer,
    the `size` split longer and no deeper.)

    Sequence: the expression, then ANSWER; there the value is due. With a scratchpad THINK ends the expression, then
    come the values of its operations in the order in which their brackets close, innermost first, then ANSWER.

    Tokens: digits 1 … modulus, then the operations with their opening bracket, `]`, THINK, ANSWER.

    `train` and `iid` are split by the expression as it is written (its operands in another order make another one):
    those that differ only in the first digit are mates, and a hash of what they share says which half of them (rounded
    up) is trained on.

    Attributes:
      kinds: which operations there are, of `OPERATIONS`, with spaces between.
      modulus: number of digit values.
      arguments: most arguments of an operation.
      depth: greatest depth in `train` and `iid`, which begin at 1; at least 2. Traced in `sample`.
      deeper: greatest depth in the `depth` split, which begins at depth + 1.
      operations: most operations of an expression in all splits but `size`. Traced in `sample`.
      more_operations: most operations in the `size` split, which begins at operations + 1.
      scratchpad: one of `tasks.sequence.SCRATCHPADS`.
      scratchpad_share: share of the training examples that have it, if any have. Traced in `sample`.
    """

    kinds: str = "min max med sum"
    modulus: int = 10
    arguments: int = 3
    depth: int = 3
    deeper: int = 4
    operations: int = 4
    more_operations: int = 6
    scratchpad: str = "absent"
    scratchpad_share: float = 1.0

    name: ClassVar[str] = "nested_expression"
    family: ClassVar[str] = "reasoning"
    source: ClassVar[str] = "ListOps: Nangia & Bowman 2018, arXiv 1804.06028; cf. Tay et al. 2020, arXiv 2011.04006"
    known: ClassVar[str] = (
        "Shallow expressions are learned, deeper ones less and less; those deeper than any of training tell whether a "
        "model composes."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"modulus": 4, "depth": 2, "deeper": 3, "operations": 3, "more_operations": 4},
        {
            "kinds": "max sum",
            "modulus": 3,
            "depth": 2,
            "deeper": 3,
            "operations": 3,
            "more_operations": 4,
            "scratchpad": "valid",
            "scratchpad_share": 0.5,
        },
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="minmax2",
            sizes={"kinds": "min max", "depth": 2, "deeper": 3, "operations": 3, "more_operations": 4},
            expected={"iid": (0.9, 1.0), "depth": (0.6, 0.95)},
            about="two levels of minimum and maximum are learned, a third is followed in part",
            source="measured here; cf. Nangia & Bowman 2018, arXiv 1804.06028",
            seconds=40,
            steps=4000,
        ),
    )

    def __post_init__(self):
        kinds = self.kinds.split() if isinstance(self.kinds, str) else []
        if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(OPERATIONS):
            allowed = f"of {', '.join(OPERATIONS)}, each once, with spaces between"
            raise TaskError(f"nested_expression: kinds must name one or more {allowed}, not {self.kinds!r}.")
        require_range(self, "modulus", 2, 64)
        require_range(self, "arguments", 2, 8)
        require_range(self, "depth", 2, 8)
        require_range(self, "deeper", self.depth + 1, 12)
        require_range(self, "operations", self.deeper, 16)
        require_range(self, "more_operations", self.operations + 1, 24)
        fitting = most_operations(self.arguments, self.depth)
        if self.more_operations > fitting:
            raise TaskError(
                f"nested_expression: more_operations must be at most {fitting}, what fits in depth {self.depth} with "
                f"{self.arguments} arguments, not {self.more_operations}. Raise depth or arguments, or lower it."
            )
        require_scratchpad(self)

    @property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(self.kinds.split())

    @property
    def _close(self) -> int:
        return 1 + self.modulus + len(self._kinds)

    @property
    def _markers(self) -> Markers:
        return Markers(self._close + 1, self._close + 2)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._markers.answer + 1

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, greater `depth`, greater `size` and, with a scratchpad, `direct`: iid without it."""
        always = float(self.scratchpad != "absent")

        def split(
            depths: tuple[int, int], operations: tuple[int, int], held_out: int, share: float, about: str
        ) -> Split:
            difficulty = {
                "shallowest": depths[0],
                "deepest": depths[1],
                "fewest": operations[0],
                "most": operations[1],
                "held_out": held_out,
                "scratchpad": share,
            }
            most = min(operations[1], most_operations(self.arguments, depths[1]))
            sizes = extent(most * (self.arguments + 1) + 2, most, 1, share)
            return Split(difficulty, disjoint=bool(held_out), about=about, **sizes)

        depths, operations = (1, self.depth), (1, self.operations)
        deeper, more = (self.depth + 1, self.deeper), (self.operations + 1, self.more_operations)
        roomy = next(d for d in range(1, self.depth + 1) if most_operations(self.arguments, d) >= more[0])
        about = f"depth 1 to {self.depth}, up to {self.operations} operations"
        splits = {
            "train": split(depths, operations, 0, always * self.scratchpad_share, about),
            "iid": split(depths, operations, 1, always, "expressions that are not in train"),
            "depth": split(deeper, operations, 1, always, f"depth {deeper[0]} to {deeper[1]}, no more operations"),
            "size": split((roomy, self.depth), more, 1, always, f"{more[0]} to {more[1]} operations, no deeper"),
        }
        if always:
            splits["direct"] = split(depths, operations, 1, 0.0, "iid, asked without the scratchpad")
        return splits

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """One operation."""
        return {"shallowest": 1, "deepest": 1, "fewest": 1, "most": 1}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """`value`, `depth`, the root's `operation`, the value of the `innermost` one of the chain, and `operations`."""
        return {
            "value": self.modulus,
            "depth": self.deeper + 1,
            "operation": len(self._kinds),
            "innermost": self.modulus,
            "operations": self.more_operations + 1,
        }

    @property
    def read_names(self) -> tuple[str, ...]:
        """Where the value is due, and the question's last position; without a scratchpad they are the same."""
        return READ_NAMES

    def world(self, key: jax.Array) -> World:
        """Nothing stays fixed."""
        return ()

    def sample(self, key: jax.Array, world: World, difficulty: Difficulty, length: int) -> Example:
        """One expression. Difficulty: depth in `shallowest` … `deepest`, operations in `fewest` … `most`,

        `held_out` 0 (train) or 1, and `scratchpad`, the chance that the example has one. Fewer operations than the
        depth become as many; more than fit become fewer.
        """
        shallowest, deepest, fewest, most, held_out = (
            jnp.asarray(difficulty[name], jnp.int32) for name in ("shallowest", "deepest", "fewest", "most", "held_out")
        )
        size, arguments, modulus = self.more_operations, self.arguments, self.modulus
        bits = jax.random.bits(key, (4 + size * (3 + arguments),))
        bits_Qx3, bits_QxK = bits[4 : 4 + 3 * size].reshape(size, 3), bits[4 + 3 * size :].reshape(size, arguments)
        depth = uniform(bits[0], jnp.minimum(shallowest, deepest), deepest)
        fitting = [min(size, most_operations(arguments, d)) for d in range(self.deeper + 1)]
        highest = jnp.minimum(jnp.maximum(most, depth), jnp.asarray(fitting, jnp.int32)[depth])
        count = uniform(bits[1], jnp.clip(fewest, depth, highest), highest)
        arity_Q = 2 + (bits_Qx3[:, 0] % jnp.uint32(arguments - 1)).astype(jnp.int32)
        kind_Q = (bits_Qx3[:, 1] % jnp.uint32(len(self._kinds))).astype(jnp.int32)
        digit_QxK = (bits_QxK % jnp.uint32(modulus)).astype(jnp.int32)

        tree = draw_tree(arity_Q, bits_Qx3[:, 2], arguments, depth, count)
        layout = lay_out(tree)
        token_T = self._write(tree, layout, kind_Q, digit_QxK, min(length - 1, size * (arguments + 1) + 1))
        first = jnp.min(jnp.where(tree.digits, layout.argument, length))
        index_T = jnp.arange(token_T.shape[0], dtype=jnp.int32)
        used = layout.end[0] + 1
        shared_T = jnp.where(index_T == first, 0, token_T)
        digit = mate(shared_T, index_T < used, modulus, bits[2], held_out > 0)
        token_T = jnp.where(index_T == first, 1 + digit, token_T)
        digit_QxK = jnp.where(tree.digits & (layout.argument == first), digit, digit_QxK)

        value_Q = evaluate(tree, kind_Q, digit_QxK, self._kinds, modulus)
        written = ask(
            length,
            self.scratchpad,
            jax.random.fold_in(key, 1),
            question=Part(token_T, used),
            steps=Part(1 + _in_order(value_Q, layout.end, count), count),
            answer=part((1 + value_Q[0])[None]),
            wanted=unit(bits[3]) < difficulty["scratchpad"],
            markers=self._markers,
            step_ids=(1, 1 + modulus),
        )
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={
                "value": value_Q[0],
                "depth": depth,
                "operation": kind_Q[0],
                "innermost": value_Q[depth - 1],
                "operations": count,
            },
            read=jnp.stack([written.answer, written.question]),
        )

    def _write(self, tree: Tree, layout: Layout, kind_Q: jax.Array, digit_QxK: jax.Array, capacity: int) -> jax.Array:
        """The expression's tokens: int32[T]."""
        written_Q = jnp.arange(kind_Q.shape[0], dtype=jnp.int32) < tree.count
        position = jnp.concatenate(
            [
                jnp.where(written_Q, layout.start, -1),
                jnp.where(written_Q, layout.end, -1),
                jnp.where(tree.digits, layout.argument, -1).reshape(-1),
            ]
        )
        token = jnp.concatenate(
            [1 + self.modulus + kind_Q, jnp.full_like(kind_Q, self._close), 1 + digit_QxK.reshape(-1)]
        )
        here = position[None, :] == jnp.arange(capacity, dtype=jnp.int32)[:, None]
        return jnp.sum(jnp.where(here, token[None, :], 0), axis=1, dtype=jnp.int32)

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`."""
        return exact_match(example, answer)

    def check(self, world: World, example: Example, answer: np.ndarray) -> bool:
        """Evaluate with a stack."""
        said = int(answer[int(np.argmax(np.asarray(example.weights) == 1))])
        stack: list[list[Any]] = [[]]
        for token in np.asarray(example.tokens).tolist():
            if 1 <= token <= self.modulus:
                stack[-1].append(token - 1)
            elif token < self._close:
                stack.append([self._kinds[token - 1 - self.modulus]])
            elif token == self._close:
                kind, *values = stack.pop()
                stack[-1].append(self._value(kind, values))
            else:
                break
        return said == 1 + stack[0][0]

    def _value(self, kind: str, values: list[int]) -> int:
        values = sorted(values)
        half = len(values) // 2
        median = values[half] if len(values) % 2 else (values[half - 1] + values[half]) // 2
        return {"min": values[0], "max": values[-1], "med": median, "sum": sum(values) % self.modulus}[kind]

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`; `majority`, the commonest value; `root_operation`, the commonest of the root's operation;

        `root_digits`, the root's operation on its own digits only (the commonest of that operation if it has none),
        whose log-probability is that of being as sure of it as it is right. Measured on a fixed sample of `SIMULATED`
        examples, so good to about .01.
        """
        value, kind, guess = _simulate(self, split)
        counts_OxV = np.zeros((len(self._kinds), self.modulus))
        np.add.at(counts_OxV, (kind, value), 1 / value.size)
        guess = np.where(guess < 0, counts_OxV.argmax(axis=1)[kind], guess)
        right = float(np.mean(guess == value))
        nats = -math.log(self.modulus)
        root_nats = -(_entropy(counts_OxV) - _entropy(counts_OxV.sum(axis=1)))
        sure = right * math.log(right) + (1 - right) * math.log((1 - right) / (self.modulus - 1))
        return {
            "chance": Baseline(1 / self.modulus, nats),
            "majority": Baseline(float(counts_OxV.sum(axis=0).max()), -_entropy(counts_OxV.sum(axis=0))),
            "root_operation": Baseline(float(counts_OxV.max(axis=1).sum()), root_nats),
            "root_digits": Baseline(right, sure),
        }

    def root_digits(self, tokens: np.ndarray) -> int:
        """What the root's operation makes of its own digits; -1 if it has none."""
        level, digits = 0, []
        for token in tokens.tolist():
            level += int(self.modulus < token < self._close) - int(token == self._close)
            if level == 1 and 1 <= token <= self.modulus:
                digits.append(token - 1)
            if level == 0:
                break
        return self._value(self._kinds[int(tokens[0]) - 1 - self.modulus], digits) if digits else -1

    def render(self, example: Example) -> str:
        """`[max 2 [min 4 7 ] 0 ] → 4`, with the scratchpad's values in brackets before the last."""
        tokens, targets, weights = (np.asarray(x) for x in (example.tokens, example.targets, example.weights))
        names = [*map(str, range(self.modulus)), *(f"[{kind}" for kind in self._kinds), "]"]
        text = " ".join(names[t - 1] for t in tokens[: int(example.read[1])].tolist() if t != PAD)
        steps = (targets[weights == PROCESS][:-1] - 1).tolist()
        between = f"[{' '.join(map(str, steps))}] → " if steps else ""
        return f"{text} → {between}{int(targets[weights == 1][0]) - 1}"


def _in_order(value_Q: jax.Array, end_Q: jax.Array, count: jax.Array) -> jax.Array:
    """Values in the order in which their brackets close: int32[Q]."""
    index_Q = jnp.arange(value_Q.shape[0], dtype=jnp.int32)
    valid_Q = index_Q < count
    rank_Q = jnp.sum((end_Q[None, :] < end_Q[:, None]) & valid_Q[None, :], axis=1, dtype=jnp.int32)
    here_QxQ = (rank_Q[None, :] == index_Q[:, None]) & valid_Q[None, :]
    return jnp.sum(jnp.where(here_QxQ, value_Q[None, :], 0), axis=1, dtype=jnp.int32)


@lru_cache
def _simulate(task: NestedExpression, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, kind of the root, and `root_digits` of a fixed sample."""
    chosen = task.splits[split]
    # Unoptimized: it is drawn once.
    draw = jax.jit(
        jax.vmap(lambda key: task.sample(key, (), dict(chosen.difficulty), chosen.length)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    batch = jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), SIMULATED)))
    guess = np.array([task.root_digits(tokens) for tokens in batch.tokens])
    return batch.factors["value"], batch.factors["operation"], guess


def _entropy(share: np.ndarray) -> float:
    share = share[share > 0]
    return -float(np.sum(share * np.log(share)))
