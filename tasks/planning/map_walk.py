"""A walk on a fixed map: from a start to a goal by legal turns, and on after a detour (arXiv 2406.03689)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tasks.asking import uniform, unit
from tasks.base import PAD, Baseline, Card, Difficulty, Example, Split, exact_match, require_range
from tasks.draw import in_memory, pick, words
from tasks.fields import KnobField, share
from tasks.planning.street_map import DIRECTIONS, StreetMap, arrivals, draw_map, nearer

END = len(DIRECTIONS)  # as a turn: the walk is over
MAPS, EXAMPLES = 64, 64  # behind the baselines: maps, and walks on each of them


@dataclass(frozen=True)
class MapWalk:
    """From a start and a goal on a map that no input shows, write turns that lead there, then END.

    The map is drawn once for each seed: side² crossings on a grid, its streets a random spanning tree and a share
    `streets` of the others, all two-way, the crossings' labels a permutation. Turns are N, E, S and W; where a street
    is missing the turn is illegal. Walks are all that tells of the map.

    A walk takes a turn of a shortest way or, with probability `wander`, any legal turn after which the goal can be
    reached in time: there are `slack` turns more than a shortest way needs. It ends at the goal; what is left of the
    turns is filled with END. *Any* legal way that ends with END at the goal within these turns is right, not only the
    example's own; what comes after that END is not judged.

    With probability `given` an example begins in the middle: some first turns of the walk are part of the question. In
    `detours` the last of them is forced: a legal turn, uniformly drawn among those that lead away from the goal (where
    none does, at a dead end, among all), for which two more turns are allowed. Whoever has learned the map arrives,
    whoever has learned ways does not. (In the paper the model's own turns are replaced; here the turns before the
    detour are the example's.)

    `train` and `iid` are split by (start, goal): of the pairs of each distance a half, drawn with the map, is never
    trained on, nor are their ways back. `distance` has pairs that are farther apart than any in training.

    Tokens: labels 1 … side², then N, E, S, W, END. Sequence: start, goal, turns; each turn is fed back.

    Attributes:
      side: crossings on a side of the grid.
      streets: share of the streets beyond a spanning tree that exist. Traced nowhere: the map is drawn with it.
      farthest: streets from start to goal, at most, in all splits but `distance`. Traced in `sample`.
      farther: that of the `distance` split.
      slack: turns more than a shortest way needs; a way around on a grid takes two.
      wander: share of turns of a walk that need not be the shortest. Traced in `sample`.
      given: share of examples that begin in the middle. Traced in `sample`.
    """

    side: int = 4
    streets: float = 0.5
    farthest: int = 4
    farther: int = 6
    slack: int = 2
    wander: float = 0.3
    given: float = 0.5

    name: ClassVar[str] = "map_walk"
    family: ClassVar[str] = "planning"
    source: ClassVar[str] = "Vafa et al. 2024, arXiv 2406.03689"
    known: ClassVar[str] = (
        "Models of New York taxi rides name legal turns almost always and find valid ways, and yet imply no coherent "
        "map; where turns are replaced by detours those trained on shortest ways fail, those trained on random walks "
        "hold (recalled)."
    )
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"side": 3, "farthest": 3, "farther": 4},
        {"side": 3, "farthest": 2, "farther": 3, "wander": 0.0, "given": 0.0, "streets": 1.0},
    )
    cards: ClassVar[tuple[Card, ...]] = (
        Card(
            name="wandering",
            sizes={},
            expected={"iid": (0.2, 0.5), "distance": (0.0, 0.25), "detours": (0.1, 0.45)},
            about="2,000 steps are too few: still rising, below what heading for the goal at every crossing reaches",
            source="measured here",
            seconds=40,
            steps=2000,
            examples=64,
            width=32,
            rate=3e-3,
        ),
    )

    def __post_init__(self):
        require_range(self, "side", 3, 8)
        require_range(self, "streets", 0.0, 1.0)
        require_range(self, "farthest", 2, 2 * self.side - 3)
        require_range(self, "farther", self.farthest + 1, 2 * self.side - 2)
        require_range(self, "slack", 0, 32)
        require_range(self, "wander", 0.0, 1.0)
        require_range(self, "given", 0.0, 1.0)

    @property
    def _nodes(self) -> int:
        return self.side**2

    @property
    def _turns(self) -> int:
        """The most turns of any walk, those of a detour and END included."""
        return self.farther + self.slack + 3

    @property
    def vocab_size(self) -> int:
        """See `Task`."""
        return 1 + self._nodes + len(DIRECTIONS) + 1

    @property
    def title(self) -> str:
        """What a report calls the task."""
        return "walks on a fixed map"

    @property
    def splits(self) -> Mapping[str, Split]:
        """`train`, `iid`, goals farther away (`distance`), and forced turns (`detours`)."""

        def split(about: str, **changed: float) -> Split:
            usual = {"nearest": 1, "farthest": self.farthest, "wander": self.wander, "given": self.given, "detour": 0.0}
            difficulty = usual | {"held_out": 1} | changed
            answers = int(difficulty["farthest"]) + self.slack + 1
            return Split(
                difficulty,
                length=1 + answers + 2 * int(difficulty["detour"]),
                answer_tokens=answers,
                decode_steps=answers,
                disjoint=bool(difficulty["held_out"]),
                about=about,
                unique=False,
            )

        far = self.farther
        return {
            "train": split(f"up to {self.farthest} streets, a half of the pairs of each distance", held_out=0),
            "iid": split("pairs of start and goal that are not in train"),
            "distance": split(f"{self.farthest + 1} to {far} streets", nearest=self.farthest + 1, farthest=far),
            "detours": split("iid, on after a forced turn away from the goal", nearest=2, given=1.0, detour=1.0),
        }

    @property
    def easiest(self) -> Mapping[str, float | int]:
        """Goals a street away, whole walks."""
        return {"farthest": 1, "given": 0.0}

    @property
    def knob_fields(self) -> Mapping[str, KnobField]:
        """See `tasks.fields`."""
        return {
            "wander": share("share of turns that need not be the shortest", "Vafa et al. 2024, arXiv 2406.03689"),
            "given": share("share of walks that begin in the middle"),
        }

    @property
    def factor_sizes(self) -> Mapping[str, int]:
        """Where the first answer is due: `here`, the crossing by its label, its `row` and `column`, and the `distance`
        to the goal; `midway`, the crossing after half of the turns that are left, where `midway` is read; the `goal`,
        which is a control where no turn is given: it is the input token.
        """
        labels = dict.fromkeys(("here", "midway", "goal"), self._nodes)
        return labels | {"row": self.side, "column": self.side, "distance": self.farther + self.slack // 2 + 2}

    @property
    def read_names(self) -> tuple[str, ...]:
        """The question's last position, where the first answer is due; after half of the turns that are left."""
        return ("question", "midway")

    def world(self, key: jax.Array) -> StreetMap:
        """Draw the map."""
        return draw_map(key, self.side, self.streets)

    def sample(self, key: jax.Array, world: StreetMap, difficulty: Difficulty, length: int) -> Example:
        """One walk. Difficulty: 1 ≤ `nearest` ≤ `farthest` ≤ farther, streets from start to goal, all distances equally
        often; `wander`, `given` and `detour`, the chance that the last turn given is forced, in [0, 1]; `held_out` 0
        (train) or 1.
        """
        whole = ("nearest", "farthest", "held_out")
        nearest, farthest, held_out = (jnp.asarray(difficulty[name], jnp.int32) for name in whole)
        wander, given, detour = (jnp.asarray(difficulty[name], jnp.float32) for name in ("wander", "given", "detour"))
        bits = words(key, 5 + 2 * self._turns)
        far = uniform(bits[0], nearest, farthest)
        side_NxN = (world.held_out_NxN == (held_out > 0)) | (far > self.farthest)
        pair = pick(((world.distance_NxN == far) & side_NxN).reshape(-1), bits[1])
        start, goal = pair // self._nodes, pair % self._nodes
        begins = (unit(bits[2]) < given) & (far > 1)
        forced = begins & (unit(bits[3]) < detour)
        place = uniform(bits[4], 1, far - 1)  # turns before the forced one, or all that are given
        forced_T = forced & (jnp.arange(self._turns) == place)
        noisy_T = unit(bits[5 : 5 + self._turns]) < wander
        here_T, turn_T = _walk(world, start, goal, far + self.slack, noisy_T, forced_T, bits[5 + self._turns :])

        detoured = forced.astype(jnp.int32)
        shown = jnp.where(begins, place + detoured, 0)
        most = far + self.slack + 2 * detoured
        left = jnp.sum((turn_T != END) & (jnp.arange(self._turns) >= shown), dtype=jnp.int32)
        half = jnp.maximum(left // 2, 1)
        position_L = jnp.arange(length, dtype=jnp.int32)
        ends_2 = world.label_N[jnp.stack([start, goal])]
        turn_L = self._nodes + in_memory(turn_T)[jnp.clip(position_L - 1, 0, self._turns - 1)]  # due there
        read_L = jnp.where(position_L < 2, ends_2[jnp.minimum(position_L, 1)], jnp.roll(turn_L, 1))
        asked_L = (position_L > shown) & (position_L <= most + 1)
        here = here_T[shown]
        return Example(
            tokens=jnp.where(position_L <= most + 1, 1 + read_L, PAD),
            targets=jnp.where(asked_L, 1 + turn_L, PAD),
            weights=asked_L.astype(jnp.float32),
            factors={
                "here": world.label_N[here],
                "midway": world.label_N[here_T[shown + half]],
                "goal": ends_2[1],
                "row": here // self.side,
                "column": here % self.side,
                "distance": world.distance_NxN[here, goal],
            },
            read=jnp.stack([1 + shown, 1 + shown + half]),
        )

    def score(self, example: Example, answer: jax.Array) -> jax.Array:
        """Whether it is the example's own walk; the contract's judgement needs the map, see `score_in`."""
        return exact_match(example, answer)

    def score_in(self, world: StreetMap, example: Example, answer: jax.Array) -> jax.Array:
        """See `tasks.base.JudgedInWorld`: only legal turns, then END at the goal."""
        asked_L = example.weights > 0
        said_L = jnp.where(asked_L, answer, jnp.roll(example.tokens, -1)) - 1 - self._nodes
        active_L = (jnp.arange(said_L.shape[0]) > 0) & (jnp.cumsum(asked_L[::-1])[::-1] > 0)
        start, goal = (jnp.argmax(world.label_N == example.tokens[i] - 1) for i in range(2))

        def take(state: tuple[jax.Array, ...], each: tuple[jax.Array, jax.Array]) -> tuple[tuple[jax.Array, ...], None]:
            here, walking, right = state
            turn, active = each
            after = world.next_NxD[here, jnp.clip(turn, 0, END - 1)]
            legal = (turn >= 0) & (turn < END) & (after >= 0)
            ends = turn == END
            active = active & walking
            right = right & (~active | legal | (ends & (here == goal)))
            return (jnp.where(active & legal, after, here), walking & ~(active & ends), right), None

        first = (start.astype(jnp.int32), jnp.bool_(True), jnp.bool_(True))
        (_, walking, right), _ = lax.scan(take, first, (said_L, active_L))
        return right & ~walking

    def check(self, world: StreetMap, example: Example, answer: np.ndarray) -> bool:
        """Walk along the map's streets, in plain Python."""
        tokens, asked = np.asarray(example.tokens).tolist(), np.flatnonzero(np.asarray(example.weights)).tolist()
        label = np.asarray(world.label_N).tolist()
        here, goal = label.index(tokens[0] - 1), label.index(tokens[1] - 1)
        turns = [*tokens[2 : asked[0] + 1], *np.asarray(answer)[asked].tolist()]
        streets = {(v, d): int(to) for (v, d), to in np.ndenumerate(np.asarray(world.next_NxD)) if to >= 0}
        for turn in turns:
            if turn == 1 + self._nodes + END:
                return here == goal
            if (here, turn - 1 - self._nodes) not in streets:
                return False
            here = streets[here, turn - 1 - self._nodes]
        return False

    def problem(self, example: Example) -> Hashable:
        """Start and goal."""
        return tuple(np.asarray(example.tokens)[:2].tolist())

    def baselines(self, split: str) -> Mapping[str, Baseline]:
        """`chance`: any turn or END; `legal`: any legal turn, until the goal is reached; `compass`: knows where the
        crossings lie and not the streets, and takes a turn that leads nearer as the crow flies.

        Their chances to arrive are exact, for simulated starts, goals and maps with a fixed seed.
        """
        return {name: found for name, found in _baselines(self, split).items() if found.exact < 1}

    def guess(self, world: StreetMap, example: Example, generator: np.random.Generator) -> Mapping[str, Sequence[int]]:
        """See `Guessing`."""
        tokens, asked = np.asarray(example.tokens).tolist(), np.flatnonzero(np.asarray(example.weights))
        next_NxD, label = np.asarray(world.next_NxD), np.asarray(world.label_N).tolist()
        start, goal = label.index(tokens[0] - 1), label.index(tokens[1] - 1)
        for token in tokens[2 : asked[0] + 1]:
            start = int(next_NxD[start, token - 1 - self._nodes])
        said: dict[str, list[int]] = {"legal": [], "compass": []}
        for name, answer in said.items():
            here = start
            while len(answer) < len(asked):
                options = np.flatnonzero(nearer(self.side)[goal, here] if name == "compass" else next_NxD[here] >= 0)
                turn = END if here == goal else int(generator.choice(options))
                here = here if turn == END else max(int(next_NxD[here, turn]), 0)  # an illegal turn is wrong anyway
                answer.append(1 + self._nodes + turn)
        return said

    def render(self, example: Example) -> str:
        """`from 7 to 3: (N W) S S E .`, labels from 0, turns given in brackets, END as a dot."""
        letters = [*DIRECTIONS, "."]

        def spelled(tokens: np.ndarray) -> str:
            turns = [int(token) - 1 - self._nodes for token in tokens]
            return " ".join(letters[turn] if 0 <= turn <= END else "?" for turn in turns)

        tokens, targets = np.asarray(example.tokens), np.asarray(example.targets)
        asked = np.flatnonzero(np.asarray(example.weights))
        given = f"({spelled(tokens[2 : asked[0] + 1])}) " if asked[0] > 1 else ""
        return f"from {int(tokens[0]) - 1} to {int(tokens[1]) - 1}: {given}{spelled(targets[asked])}"


def _walk(
    world: StreetMap,
    start: jax.Array,
    goal: jax.Array,
    turns: jax.Array,
    noisy_T: jax.Array,
    forced_T: jax.Array,
    bits_T: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """(the crossing before every turn, the turn or END), each int32[T]; see `MapWalk`.

    Args:
      world: the map.
      start, goal: int32[], crossings.
      turns: int32[], how many there may be; two more where one is forced.
      noisy_T, forced_T: bool, which turns need not be the shortest, and which leads away.
      bits_T: uint32.
    """

    def take(state: tuple[jax.Array, jax.Array], each: Any) -> tuple[tuple[jax.Array, jax.Array], Any]:
        here, left = state
        noisy, forced, bits = each
        after_D = world.next_NxD[here]
        far_D = world.distance_NxN[jnp.maximum(after_D, 0), goal]
        legal_D, nearer_D = after_D >= 0, far_D < world.distance_NxN[here, goal]
        away_D = legal_D & ~nearer_D
        forced_D = jnp.where(jnp.any(away_D), away_D, legal_D)
        wanted_D = jnp.where(forced, forced_D, legal_D & jnp.where(noisy, far_D < left, nearer_D))
        arrived = here == goal
        turn = pick(wanted_D | arrived, bits)
        left = left - 1 + 2 * forced.astype(jnp.int32)
        return (jnp.where(arrived, here, after_D[turn]), left), (here, jnp.where(arrived, END, turn))

    return lax.scan(take, (start, turns), (noisy_T, forced_T, bits_T))[1]


@lru_cache
def _simulated(task: MapWalk, length: int, difficulty: tuple[tuple[str, float], ...]) -> tuple[StreetMap, Example]:
    """MAPS maps and EXAMPLES walks on each of them, leaves [MAPS, …] and [MAPS, EXAMPLES, …]."""

    def on_a_map(key: jax.Array, values: Difficulty) -> tuple[StreetMap, Example]:
        world = task.world(key)
        keys = jax.random.split(jax.random.fold_in(key, 1), EXAMPLES)
        return world, jax.vmap(lambda k: task.sample(k, world, values, length))(keys)

    draw = jax.jit(jax.vmap(on_a_map, (0, None)), compiler_options={"xla_backend_optimization_level": 0})
    return jax.tree.map(np.asarray, draw(jax.random.split(jax.random.key(0), MAPS), dict(difficulty)))


@lru_cache
def _baselines(task: MapWalk, split: str) -> dict[str, Baseline]:
    """See `MapWalk.baselines`; the log-probability of `compass` is that of trusting it as often as it is right."""
    chosen = task.splits[split]
    maps, walks = _simulated(task, chosen.length, tuple(sorted(chosen.difficulty.items())))
    exact: dict[str, list[np.ndarray]] = {"chance": [], "legal": [], "compass": []}
    seen = []  # (share of a token, legal turns, turns of the compass, whether it names the turn), one column a turn
    for index in range(MAPS):
        next_NxD, crossing_of = np.asarray(maps.next_NxD[index]), np.argsort(maps.label_N[index])
        here_E, goal_E = (crossing_of[walks.factors[name][index]] for name in ("here", "goal"))
        weights_ExL, row_E = walks.weights[index], np.arange(EXAMPLES)
        asked_E, first_E = np.sum(weights_ExL > 0, axis=1), np.argmax(weights_ExL > 0, axis=1)
        for name, found in arrivals(next_NxD, task._turns).items():
            exact[name].append(found[asked_E - 1, goal_E, here_E])
        for place in range(asked_E.max()):
            due_E = walks.targets[index][row_E, np.minimum(first_E + place, chosen.length - 1)] - 1 - task._nodes
            walking_E = (place < asked_E) & (due_E < END)
            turn_E, towards_ExD = np.clip(due_E, 0, END - 1), nearer(task.side)[goal_E, here_E]
            legal_E = np.sum(next_NxD[here_E] >= 0, axis=1)
            columns = (1 / asked_E, legal_E, towards_ExD.sum(axis=1), towards_ExD[row_E, turn_E])
            seen.append(np.stack(columns)[:, walking_E])
            here_E = np.where(walking_E, next_NxD[here_E, turn_E], here_E)
    weight, legal, options, agrees = np.concatenate(seen, axis=1)
    trust = np.average(agrees, weights=weight)
    among = np.where(agrees, options, len(DIRECTIONS) - options)
    believed = np.log(np.maximum(np.where(agrees, trust, 1 - trust), 1e-9) / among)
    nats = {
        "chance": -math.log(len(DIRECTIONS) + 1),
        "legal": -float(weight @ np.log(legal)) / (MAPS * EXAMPLES),
        "compass": float(weight @ believed) / (MAPS * EXAMPLES),
    }
    return {name: Baseline(float(np.mean(shares)), min(nats[name], -1e-6)) for name, shares in exact.items()}
