"""Countdown: combine numbers with arithmetic so that a target comes out (Stream of Search, arXiv 2404.03683)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.base import Baseline, Card, Difficulty, Example, Split, require_choice, require_range
from tasks.draw import permutation
from tasks.planning.countdown_play import random_steps
from tasks.planning.take_apart import Problem, Rules, make_problem, words
from tasks.sequence import join, part, write

OPERATIONS = ("+-", "+-*", "+-*/")
ANSWERS = ("steps", "postfix")
SPARES = 64


class CountdownWorld(NamedTuple):
    """What is held out for a seed.

    Attributes:
      targets: int32[largest], all targets in random order, the reserved ones last.
      spare: a `Problem` for each number of operands and side, leaves leading with [N + 1, 2].
    """

    targets: jax.Array
    spare: Problem


@dataclass(frozen=True)
class Countdown:
    """From a few numbers and a target, write arithmetic that uses every number once and gives the target.

    All values, the intermediate ones too, are whole numbers in 1 … largest; a difference is positive and a quotient
    whole. Any solution is right.

    A problem is made backwards, so none has to be thrown away: the target, uniform over those allowed, is taken apart
    into `a operation b`, the operation uniform over those that can give it (without multiplying or dividing by 1), then
    `a` uniform; a random one of the numbers then there is taken apart in turn, until there are enough. The paper draws
    the numbers and keeps what its solver solves: there the numbers are uniform, here the targets and operations are.

    Sequence: the numbers in random order, TO, the target, ASK, then the solution that the problem was made from, which
    is fed back: as 'steps' `a operation b result`, where later steps use earlier results (the paper's optimal path), or
    as 'postfix' with no intermediate result written.

    Tokens: numbers 1 … largest, then the operations, TO, ASK.

    `train` and `iid` are split by a hash of the numbers, in whatever order, and the target. The last number is taken
    apart up to 16 times over, until the problem lies on the wanted side; should it never (one problem in a thousand,
    with two numbers one in two hundred), a fixed problem of the seed that does takes its place. `targets` asks for
    targets that training never has.

    Attributes:
      operands: numbers in `train` and `iid`. Traced in `sample`.
      more_operands: numbers in the `operands` split.
      largest: the largest value.
      reserved_targets: how many targets only the `targets` split has.
      operations: the signs that may be used, one of `OPERATIONS`.
      answer: 'steps' or 'postfix'.
    """

    operands: int = 3
    more_operands: int = 4
    largest: int = 30
    reserved_targets: int = 3
    operations: str = "+-*/"
    answer: str = "steps"

    name: ClassVar[str] = "countdown"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = "Stream of Search: Gandhi et al. 2024, arXiv 2404.03683"
    known: ClassVar[str] = (
        "With four operands and targets up to 100, a transformer trained on solutions alone solves 25 points less than "
        "one trained on whole searches, dead ends included."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"operands": 2, "more_operands": 3, "largest": 10, "reserved_targets": 2},
        {"operands": 3, "more_operands": 4, "largest": 12, "reserved_targets": 2, "answer": "postfix"},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="operands2",
            sizes={"operands": 2, "more_operands": 3, "largest": 20, "reserved_targets": 2},
            expected={"iid": (0.25, 0.5)},
            about="a few hundred problems are learned by heart: held-out ones no better than by a random step (0.47)",
            source="measured here",
            seconds=22,
            steps=4000,
        ),
    )

    def __post_init__(self):
        require_range(self, "operands", 2, 5)
        require_range(self, "more_operands", self.operands + 1, 6)
        require_range(self, "largest", 8, 256)
        require_range(self, "reserved_targets", 1, self.largest - 2)
        require_choice(self, "operations", OPERATIONS)
        require_choice(self, "answer", ANSWERS)

    @property
    def _rules(self) -> Rules:
        return Rules(self.largest, len(self.operations), self.more_operands)

    @property
    def _to(self) -> int:
        return 1 + self.largest + len(self.operations)

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return self._to + 2

    def _answer_tokens(self, operands: Any) -> Any:
        return 4 * (operands - 1) if self.answer == "steps" else 2 * operands - 1

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, more `operands`, and reserved `targets`."""

        def split(operands: int, held_out: int, reserved: int, about: str) -> Split:
            tokens = self._answer_tokens(operands)
            return Split(
                difficulty={"operands": operands, "held_out": held_out, "reserved": reserved},
                length=operands + 2 + tokens,
                answer_tokens=tokens,
                decode_steps=tokens,
                disjoint=bool(held_out or reserved),
                about=about,
                unique=False,
            )

        return {
            "train": split(self.operands, 0, 0, f"{self.operands} numbers, half of the problems by hash"),
            "iid": split(self.operands, 1, 0, "the other half of the problems"),
            "operands": split(self.more_operands, 1, 0, f"{self.more_operands} numbers"),
            "targets": split(self.operands, 1, 1, f"{self.reserved_targets} targets that are not in train"),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Two numbers."""
        return {"operands": 2}

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Codes of the `first_operation` and `last_operation` written; `first_number` and `target`, less one."""
        operations = len(self.operations)
        return {
            "first_operation": operations,
            "last_operation": operations,
            "first_number": self.largest,
            "target": self.largest,
        }

    @property
    def read_names(self) -> tuple[str, ...]:
        """The position of ASK, where the first answer is due, and that of the last answer."""
        return ("ask", "last_answer")

    def world(self, key: jax.Array) -> CountdownWorld:
        """Draw the reserved targets, and spare problems of every number of operands on both sides."""
        key_targets, key_spare = jax.random.split(key)
        targets = jax.random.permutation(key_targets, jnp.arange(1, self.largest + 1, dtype=jnp.int32))
        most = self.more_operands
        bits = jax.random.bits(key_spare, (SPARES, 1 + words(self._rules)))

        def spare(count: jax.Array, side: jax.Array) -> Problem:
            problems, right = jax.vmap(lambda b: self._problem(b, targets, count, side, jnp.bool_(False)))(bits)
            return jax.tree.map(lambda leaf: leaf[jnp.argmax(right)], problems)

        counts = jnp.maximum(jnp.arange(most + 1, dtype=jnp.int32), 2)
        sides = jnp.array([False, True])
        return CountdownWorld(targets, jax.vmap(lambda c: jax.vmap(lambda s: spare(c, s))(sides))(counts))

    def _problem(
        self, bits: jax.Array, targets: jax.Array, count: jax.Array, held_out: jax.Array, reserved: jax.Array
    ) -> tuple[Problem, jax.Array]:
        """A problem, and whether it lies on the wanted side; those with reserved targets always do."""
        common = self.largest - self.reserved_targets
        choices = jnp.where(reserved, self.reserved_targets, common).astype(jnp.uint32)
        target = targets[(bits[0] % choices).astype(jnp.int32) + jnp.where(reserved, common, 0)]
        return make_problem(self._rules, bits[1:], target, count, held_out, reserved)

    def sample(self, key: jax.Array, world: CountdownWorld, difficulty: Difficulty, length: int) -> Example:
        """One problem.

        Difficulty: `operands` in [2, more_operands]; `held_out` 0 (train's half) or 1; `reserved` 0, or 1 for a
        reserved target (then `held_out` does not matter).
        """
        names = ("operands", "held_out", "reserved")
        count, held_out, reserved = (jnp.asarray(difficulty[name], jnp.int32) for name in names)
        most = self.more_operands
        bits = jax.random.bits(key, (most + 1 + words(self._rules),))
        drawn, right = self._problem(bits[most:], world.targets, count, held_out > 0, reserved > 0)
        side = jnp.clip(held_out, 0, 1)
        problem = jax.tree.map(lambda new, spare: jnp.where(right, new, spare[count, side]), drawn, world.spare)

        leaf = problem.postfix > 0
        place = jnp.where(leaf, jnp.cumsum(leaf, dtype=jnp.int32) - 1, -1)
        shown_N = permutation(bits[:most], count, most)
        is_shown = place[None, :] == shown_N[:, None]
        number_N = jnp.sum(jnp.where(is_shown, problem.postfix[None, :], 0), axis=1, dtype=jnp.int32)
        ends = jnp.stack([jnp.int32(self._to), problem.target, jnp.int32(self._to + 1)])
        question = join((part(number_N, count), part(ends)), most + 3)
        if self.answer == "steps":
            order = jnp.clip(count - 2 - jnp.arange(most - 1, dtype=jnp.int32), 0, most - 2)
            ordered = problem.steps[order] + jnp.asarray([[0, self.largest + 1, 0, 0]], jnp.int32)
            solution = ordered.reshape(-1)
        else:
            solution = jnp.where(leaf, problem.postfix, self.largest - problem.postfix)
        written = write(length, part(question, count + 3), part(solution, self._answer_tokens(count)))
        signs = solution > self.largest
        return Example(
            tokens=written.tokens,
            targets=written.targets,
            weights=written.weights,
            factors={
                "first_operation": solution[jnp.argmax(signs)] - self.largest - 1,
                "last_operation": problem.steps[0, 1],
                "first_number": solution[0] - 1,
                "target": problem.target - 1,
            },
            read=jnp.stack([written.question, written.last]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """See `Task`: carry the answer out on the numbers there are."""
        tokens, most = example.tokens, self.more_operands
        last = tokens.shape[0] - 1
        count = jnp.argmax(tokens == self._to).astype(jnp.int32)
        index_N = jnp.arange(most, dtype=jnp.int32)
        number_N = jnp.where(index_N < count, tokens[jnp.minimum(index_N, last)], 0)
        target = tokens[jnp.minimum(count + 1, last)]
        size = self._answer_tokens(most)
        position = count + 2 + jnp.arange(size, dtype=jnp.int32)
        said = jnp.where(position <= last, answer[jnp.minimum(position, last)], 0)
        run = self._run_steps if self.answer == "steps" else self._run_postfix
        result, legal = run(number_N, said, self._answer_tokens(count))
        return legal & (result == target)

    def _apply(self, operation: jax.Array, a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The result of a legal operation, given as its token; and whether it is one."""
        code = operation - self.largest - 1
        whole = a // jnp.maximum(b, 1)
        result = jnp.select([code == c for c in range(4)], [a + b, a - b, a * b, whole], 0)
        legal = (code >= 0) & (code < len(self.operations)) & ((code != 3) | (whole * b == a))
        return result, legal & (a > 0) & (b > 0) & (result > 0) & (result <= self.largest)

    def _run_steps(self, number_N: jax.Array, said: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The last result, and whether every step uses numbers that are there and is right."""

        def step(carry: tuple[jax.Array, jax.Array, jax.Array], x: tuple[jax.Array, jax.Array]):
            (left_N, result, legal), (words, index) = carry, x
            a, operation, b, claimed = words
            without_a, has_a = _take(left_N, a)
            without_b, has_b = _take(without_a, b)
            value, right = self._apply(operation, a, b)
            right = right & has_a & has_b & (value == claimed)
            put_N = jnp.where(jnp.arange(left_N.shape[0]) == jnp.argmin(without_b), value, without_b)
            asked = 4 * index < count
            after = (jnp.where(asked, put_N, left_N), jnp.where(asked, value, result), legal & (right | ~asked))
            return after, None

        words = (said.reshape(-1, 4), jnp.arange(said.shape[0] // 4, dtype=jnp.int32))
        (_, result, legal), _ = lax.scan(step, (number_N, jnp.int32(0), jnp.bool_(True)), words)
        return result, legal

    def _run_postfix(self, number_N: jax.Array, said: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        """What a stack machine ends with, and whether it ran legally and ends with one number."""
        size = number_N.shape[0]

        def step(carry: tuple[jax.Array, jax.Array, jax.Array, jax.Array], x: tuple[jax.Array, jax.Array]):
            (left_N, stack_N, height, legal), (token, index) = carry, x
            is_number = token <= self.largest
            without, there = _take(left_N, token)
            top, below = (stack_N[jnp.clip(height - k, 0, size - 1)] for k in (1, 2))
            value, right = self._apply(token, below, top)
            right = jnp.where(is_number, there, right & (height >= 2))
            place = jnp.where(is_number, height, height - 2)
            pushed = jnp.where(jnp.arange(size) == place, jnp.where(is_number, token, value), stack_N)
            after = (jnp.where(is_number, without, left_N), pushed, place + 1, legal & right)
            asked = index < count
            return jax.tree.map(lambda new, old: jnp.where(asked, new, old), after, carry), None

        start = (number_N, jnp.zeros_like(number_N), jnp.int32(0), jnp.bool_(True))
        words = (said, jnp.arange(said.shape[0], dtype=jnp.int32))
        (_, stack_N, height, legal), _ = lax.scan(step, start, words)
        return stack_N[0], legal & (height == 1)

    def check(self, world: CountdownWorld, example: Example, answer: np.ndarray) -> bool:
        """Carry the answer out in fractions, ticking the numbers off."""
        tokens = np.asarray(example.tokens).tolist()
        to = tokens.index(self._to)
        left, target = Counter(tokens[:to]), tokens[to + 1]
        said = np.asarray(answer)[np.asarray(example.weights) > 0].tolist()
        sign = {self.largest + 1 + code: s for code, s in enumerate(self.operations)}
        if self.answer == "steps":
            steps = [(said[i], said[i + 2], sign.get(said[i + 1]), said[i + 3]) for i in range(0, len(said), 4)]
            for a, b, operation, claimed in steps:
                left.subtract([a, b])
                if operation is None or min(left.values()) < 0 or _combine(operation, a, b, self.largest) != claimed:
                    return False
                left[claimed] += 1
            return left[target] == 1 and left.total() == 1
        stack = []
        for token in said:
            if token in sign:
                if len(stack) < 2:
                    return False
                b, a = stack.pop(), stack.pop()
                value = _combine(sign[token], a, b, self.largest)
                if value is None:
                    return False
                stack.append(value)
            else:
                left[token] -= 1
                stack.append(token)
        return stack == [target] and not any(left.values())

    def problem(self, example: Example) -> Hashable:
        """The numbers in no order, and the target."""
        tokens = np.asarray(example.tokens).tolist()
        to = tokens.index(self._to)
        return tuple(sorted(tokens[:to])), tokens[to + 1]

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance` over the tokens; `random`: random legal steps; `closing`: random ones until two numbers are left,
        then the step that gives the target, if there is one (with two numbers that is the task, so it is left out).

        A random step takes a uniform pair of the numbers there are and one of the legal results of combining them. Its
        share is simulated, and the log-probability averaged, over problems of a fixed seed with any target; that of
        'postfix' is a bound, as several orders of the steps give one expression. So is `chance`, which counts one
        solution a problem.
        """
        count = int(self.splits[split].difficulty["operands"])
        tokens = self._answer_tokens(count)
        played = random_steps(self._rules, count)
        found = {
            "chance": Baseline(float(self.vocab_size) ** -tokens, -math.log(self.vocab_size)),
            "random": Baseline(played.exact, -played.nats / tokens),
        }
        if count > 2:
            found["closing"] = Baseline(played.closing, -played.closing_nats / tokens)
        return found

    def render(self, example: Example) -> str:
        """`3 5 2 to 21: 3 * 5 = 15, ...`, or the expression in postfix."""
        tokens = np.asarray(example.tokens).tolist()
        to = tokens.index(self._to)
        said = np.asarray(example.targets)[np.asarray(example.weights) > 0].tolist()
        word = {self.largest + 1 + code: s for code, s in enumerate(self.operations)}
        words = [word.get(t, str(t)) for t in said]
        if self.answer == "steps":
            solution = ", ".join("{} {} {} = {}".format(*words[i : i + 4]) for i in range(0, len(words), 4))
        else:
            solution = " ".join(words)
        return f"{' '.join(map(str, tokens[:to]))} to {tokens[to + 1]}: {solution}"


def _take(left_N: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The numbers without the first that equals `number` (0 in its place), and whether there is one."""
    equal_N = (left_N == number) & (left_N > 0)
    first = jnp.argmax(equal_N)
    there = equal_N[first]
    return jnp.where((jnp.arange(left_N.shape[0]) == first) & there, 0, left_N), there


def _combine(operation: str, a: int, b: int, largest: int) -> int | None:
    """The exact result, or None if it is no whole number in 1 … largest."""
    if operation == "/" and b == 0:
        return None
    x, y = Fraction(a), Fraction(b)
    value = {"+": x + y, "-": x - y, "*": x * y}[operation] if operation != "/" else x / y
    return int(value) if value.denominator == 1 and 1 <= value <= largest else None
