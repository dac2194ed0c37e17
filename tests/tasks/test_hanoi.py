"""Towers of Hanoi: distances against the closed form, the exact partition, optimal plans and trivial policies."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import make
from tasks.base import NO_ANSWER, TaskError
from tasks.planning.domains import towers_of_hanoi
from tasks.planning.hanoi import _distances_to, _moves
from tasks.planning.state_space import IID, STRUCTURE, TRAIN
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, within

NEXT = make("hanoi", more_disks=5)
PEG = make("hanoi", goal="peg", answer="plan", farthest=6)
LENGTHS = {NEXT: 4 * 5 + 3, PEG: 2 * 4 + 3 + 2 * 15 - 1}
SCORES = {task: quick_jit(task.score) for task in LENGTHS}


def pegs_of(state, disks):
    return tuple(state // 3**disk % 3 for disk in range(disks))


def to_peg(pegs, goal):
    """Moves from a state to the full tower on a peg: the largest disk elsewhere moves once (Hinz)."""
    moves = 0
    for disk in reversed(range(len(pegs))):
        if pegs[disk] != goal:
            moves += 2**disk
            goal = 3 - pegs[disk] - goal
    return moves


def closed_form(start, goal):
    """Moves between two states: their largest differing disk moves once, or twice by way of the third peg."""
    for disk in reversed(range(len(start))):
        a, b = start[disk], goal[disk]
        if a != b:
            c = 3 - a - b
            once = to_peg(start[:disk], c) + 1 + to_peg(goal[:disk], c)
            twice = to_peg(start[:disk], b) + 1 + 2**disk - 1 + 1 + to_peg(goal[:disk], a)
            return min(once, twice)
    return 0


def test_distances_are_the_closed_form():
    domain = towers_of_hanoi(4, "state", 0.25)
    states = [pegs_of(s, 4) for s in range(81)]
    assert domain.distance.tolist() == [[closed_form(s, g) for g in states] for s in states]
    assert domain.distance.max() == 15
    assert [_distances_to(states[7])[s] for s in states] == domain.distance[:, 7].tolist()


@pytest.mark.parametrize("goal", ["state", "peg"])
def test_parts_are_a_partition_and_structures_are_held_out_whole(goal):
    domain, parts = towers_of_hanoi(4, goal, 0.25), []
    for part in (TRAIN, IID, STRUCTURE):
        pairs = set()
        for distance in range(1, 8):
            starts, goals = domain.problems_at(3, part, distance)
            assert np.all(domain.distance[starts, goals] == distance)
            pairs |= {(pegs_of(s, 3), pegs_of(g, 3)) for s, g in zip(starts, goals, strict=True)}
        parts.append(pairs)
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == (27 * 26 if goal == "state" else 26 * 3)
    assert goal == "state" or all(len(set(g)) == 1 for pairs in parts for _, g in pairs)
    for pair in parts[STRUCTURE]:
        for names in itertools.permutations(range(3)):
            assert tuple(tuple(names[peg] for peg in pegs) for pegs in pair) in parts[STRUCTURE]


@pytest.mark.parametrize("task", [NEXT, PEG], ids=["next", "peg"])
@given(
    disks=st.integers(1, 4),
    nearest=st.integers(1, 15),
    span=st.integers(0, 14),
    part=st.sampled_from([TRAIN, IID, STRUCTURE]),
    seed=st.integers(0, 2**31 - 1),
)
def test_answers_are_optimal_and_factors_true(task, disks, nearest, span, part, seed):
    domain = task._domain
    if disks < 3 and part == STRUCTURE:
        part = IID  # so few disks leave no structures to hold out
    farthest = min(nearest + span, 15)
    difficulty = {"disks": disks, "nearest": nearest, "farthest": farthest, "part": part}
    batch = draw(task, difficulty, LENGTHS[task], 8, seed)
    expected = {int(domain.closest[disks, part, d]) for d in range(nearest, farthest + 1)}
    for index in range(8):
        example = one(batch, index)
        names, start, goal = task._read(example)
        assert names == sorted(names)
        assert len(names) == disks
        assert names[0] >= 1
        assert names[-1] <= task.sizes
        distance = closed_form(start, goal)
        assert distance in expected
        said = example.targets[example.weights > 0]
        assert said.size == 2 * (1 if task is NEXT else distance)
        assert task.check((), example, example.targets)
        assert SCORES[task](example, example.targets)
        factors = {name: int(value) for name, value in example.factors.items()}
        assert factors == {
            "target": said[1] - task.sizes - 1,
            "disk": names.index(said[0]),
            "distance": distance,
        }
        assert example.read[0] == (4 * disks + 1 if task is NEXT else 2 * disks + 2)
        best = [d for d, after in _moves(start) if closed_form(after, goal) == distance - 1]
        assert 1 <= len(best) <= (1 if task is PEG else 2)


def random_walk(task, example, generator, prefers):
    """An answer of random preferred moves, or of legal ones where none is preferred."""
    names, state, goal = task._read(example)
    asked, said = np.flatnonzero(example.weights > 0), []
    for _ in range(asked.size // 2):
        legal = list(_moves(state))
        disk, state = (lambda moves: moves[generator.integers(len(moves))])(
            [(d, s) for d, s in legal if prefers(d, s[d], goal)] or legal
        )
        said += [names[disk], task.sizes + 1 + state[disk]]
    answer = np.full_like(example.targets, NO_ANSWER)
    answer[asked] = said
    return answer


@pytest.mark.parametrize(("task", "split"), first_by_default([(NEXT, "iid"), (PEG, "train")]), ids=["next", "peg"])
@pytest.mark.parametrize(
    ("name", "prefers"),
    [
        ("legal", lambda disk, peg, goal: True),
        ("smallest", lambda disk, peg, goal: disk == 0),
        ("greedy", lambda disk, peg, goal: goal[disk] == peg),
    ],
)
def test_policies_reach_their_baselines_and_score_agrees_with_check(task, split, name, prefers):
    batch, generator, count = draw_split(task, split), np.random.default_rng(0), 600
    examples = [one(batch, index) for index in range(count)]
    answers = [random_walk(task, example, generator, prefers) for example in examples]
    right = [task.check((), e, a) for e, a in zip(examples, answers, strict=True)]
    padded = [jax_padded(task, e, a) for e, a in zip(examples[:80], answers[:80], strict=True)]
    assert [bool(SCORES[task](*p)) for p in padded] == right[:80]
    assert within(np.mean(right), task.baselines(split)[name].exact, count)


def jax_padded(task, example, answer):
    """Padded to the length that the score is compiled for already."""
    more = LENGTHS[task] - answer.size
    fields = {f: np.pad(getattr(example, f), (0, more)) for f in ("tokens", "targets", "weights")}
    return example._replace(**fields), np.pad(answer, (0, more), constant_values=NO_ANSWER)


def test_illegal_moves_and_foreign_tokens_are_wrong():
    batch = draw_split(NEXT, "train")
    for index in range(20):
        example = one(batch, index)
        ask = int(example.read[0])
        names, start, _ = NEXT._read(example)
        unknown = next(size for size in range(1, NEXT.sizes + 1) if size not in names)
        legal = {(names[d], NEXT.sizes + 1 + s[d]) for d, s in _moves(start)}
        for said in [(unknown, NEXT.sizes + 1), (0, 0), (NEXT.vocab_size - 1, names[0]), (names[0], names[1])] + [
            (n, NEXT.sizes + 1 + p) for n in names for p in range(3) if (n, NEXT.sizes + 1 + p) not in legal
        ]:
            answer = np.full_like(example.targets, NO_ANSWER)
            answer[ask : ask + 2] = said
            padded = jax_padded(NEXT, example, answer)
            assert not NEXT.check((), example, answer)
            assert not SCORES[NEXT](*padded)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"disks": 6}, "disks must be a whole number in \\[2, 5\\]"),
        ({"more_disks": 3}, "more_disks must be"),
        ({"sizes": 3}, "sizes must be"),
        ({"farthest": 7}, "farthest must be a whole number in \\[1, 6\\]"),
        ({"farthest": 2, "goal": "peg"}, "farthest must be a whole number in \\[3, 6\\]"),
        ({"goal": "any"}, "goal must be one of state, peg"),
        ({"answer": "all"}, "answer must be one of next, plan"),
        ({"held_out": 0.0}, "held_out must be"),
    ],
)
def test_bad_sizes(sizes, message):
    with pytest.raises(TaskError, match=message):
        make("hanoi", **sizes)
