"""Modular arithmetic: results by search, the three parts of the pairs, baselines."""

import math
from collections import Counter

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import TaskError, make
from tasks.reasoning.modular import OPERATIONS
from tests.tasks.task_cases import draw, draw_split, first_by_default, one, quick_jit, world

TASKS = {
    (p, operation): make("modular", p=p, operation=operation, reserved_rows=2)
    for p, operation in ((3, "add"), (11, "sub"), (10, "mul"), (11, "div"))
}


def solve(p, operation, a, b):
    """The c in 0 … p-1 that satisfies the equation, found by trying all."""
    fits = {
        "add": lambda c: c % p == (a + b) % p,
        "sub": lambda c: (c + b) % p == a,
        "mul": lambda c: c % p == (a * b) % p,
        "div": lambda c: (c * b) % p == a,
    }[operation]
    (c,) = [c for c in range(p) if fits(c)]
    return c


@given(
    size=st.sampled_from(sorted(TASKS)),
    fraction=st.floats(0.0, 1.0, width=32),
    part=st.integers(0, 2),
    seed=st.integers(0, 2**31 - 1),
)
def test_results_and_parts(size, fraction, part, seed):
    (p, operation), task = size, TASKS[size]
    order = np.asarray(world(task).pairs).tolist()
    columns = p - (operation == "div")
    open_pairs = (p - 2) * columns
    seen = min(max(round(np.float32(fraction) * np.float32(open_pairs)), 1), open_pairs)
    allowed = {0: order[:seen], 1: order[seen:open_pairs] or order[:seen], 2: order[open_pairs:]}[part]
    batch = draw(task, {"fraction": fraction, "part": part}, 4, 16, seed)
    for index in range(16):
        example = one(batch, index)
        a, b = (example.tokens[:2] - 1).tolist()
        assert a * columns + b - (operation == "div") in allowed
        result = solve(p, operation, a, b)
        assert example.tokens.tolist() == [a + 1, b + 1, p + 1, 0]
        assert example.targets.tolist() == [0, 0, result + 1, 0]
        assert {name: int(value) for name, value in example.factors.items()} == {"result": result, "a": a, "b": b}
        assert task.check(world(task), example, example.targets)


@pytest.mark.parametrize("operation", first_by_default(OPERATIONS))
def test_the_parts_are_all_the_pairs(operation):
    task = make("modular", p=7, operation=operation, fraction=0.4)
    pairs = {
        split: set(map(tuple, (draw_split(task, split).tokens[:, :2] - 1).tolist()))
        for split in ("train", "iid", "rows")
    }
    columns = 7 - (operation == "div")
    assert sum(map(len, pairs.values())) == len(set.union(*pairs.values())) == 7 * columns
    assert len(pairs["train"]) == round(0.4 * 5 * columns)
    reserved = {a for a, _ in pairs["rows"]}
    assert len(reserved) == 2
    assert not reserved & {a for a, _ in pairs["train"] | pairs["iid"]}
    assert set(map(tuple, (draw_split(task, "seen", seed=1).tokens[:, :2] - 1).tolist())) == pairs["train"]


def test_with_all_pairs_trained_iid_is_not_called_disjoint():
    assert not make("modular", fraction=1.0).splits["iid"].disjoint
    assert make("modular", fraction=0.99).splits["iid"].disjoint


@pytest.mark.parametrize("operation", first_by_default(OPERATIONS))
def test_majority_baseline_matches_counting_over_seeds(operation):
    """The best constant answer over the pairs; an average over worlds gives the same as all pairs together."""
    task = make("modular", p=7, operation=operation)
    first = 1 if operation == "div" else 0
    counts = Counter(solve(7, operation, a, b) for a in range(7) for b in range(first, 7))
    shares = [count / counts.total() for count in counts.values()]
    for split in task.splits:
        baseline = task.baselines(split)["majority"]
        assert baseline.exact == pytest.approx(max(shares))
        assert baseline.logprob == pytest.approx(sum(s * math.log(s) for s in shares))
        assert task.baselines(split)["chance"].exact == pytest.approx(1 / 7)
    columns = 7 - first
    pairs = np.asarray(
        quick_jit(jax.vmap(lambda s: task.world(jax.random.key(s)).pairs))(np.arange(300, dtype=np.int32))
    )
    commonest = counts.most_common(1)[0][0]
    rows = pairs[:, -2 * columns :]
    right = [solve(7, operation, int(i) // columns, int(i) % columns + first) == commonest for i in rows.ravel()]
    assert np.mean(right) == pytest.approx(max(shares), abs=0.04)


@pytest.mark.parametrize("operation", first_by_default(["add", "mul"]))
def test_swapped_baseline_matches_looking_up_the_trained_answers(operation):
    task = make("modular", p=13, operation=operation, fraction=0.7)
    pairs = np.asarray(
        quick_jit(jax.vmap(lambda s: task.world(jax.random.key(s)).pairs))(np.arange(200, dtype=np.int32))
    )
    open_pairs = 11 * 13
    parts = {"iid": pairs[:, round(0.7 * open_pairs) : open_pairs], "rows": pairs[:, open_pairs:]}
    for split, asked in parts.items():
        right = []
        for world_pairs, questions in zip(pairs, asked, strict=True):
            trained = {(i // 13, i % 13) for i in world_pairs[: round(0.7 * open_pairs)].tolist()}
            for a, b in ((i // 13, i % 13) for i in questions.tolist()):
                right.append((b, a) in trained or solve(13, operation, a, b) == 0)
        baseline = task.baselines(split)["swapped"]
        assert np.mean(right) == pytest.approx(baseline.exact, abs=0.015)
        assert task.baselines(split)["majority"].logprob < baseline.logprob < 0


def test_swapped_is_declared_where_it_is_a_guess():
    """Where the pair itself is trained it would be remembering; a - b is not b - a."""
    task = make("modular")
    assert {split: "swapped" in task.baselines(split) for split in task.splits} == {
        "train": False,
        "iid": True,
        "seen": False,
        "rows": True,
    }
    assert task.baselines("iid")["swapped"].exact == pytest.approx(0.557, abs=0.005)
    assert "swapped" not in make("modular", operation="sub").baselines("iid")
    assert "swapped" not in make("modular", fraction=1.0).baselines("iid")


@pytest.mark.parametrize("operation", first_by_default(["div", "add", "sub", "mul"]))
def test_operand_baseline_matches_counting(operation):
    task, first = make("modular", p=7, operation=operation), 1 if operation == "div" else 0
    right = [solve(7, operation, a, b) == a for a in range(7) for b in range(first, 7)]
    share = np.mean(right)
    assert task.baselines("iid")["operand"].exact == pytest.approx(share)
    nats = share * math.log(share) + (1 - share) * math.log((1 - share) / 6)
    assert task.baselines("iid")["operand"].logprob == pytest.approx(nats)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(dict(p=31, fraction=0.9), marks=pytest.mark.slow),
        dict(p=7, reserved_rows=1),
        dict(p=3, reserved_rows=1, fraction=0.83),
    ],
)
def test_an_unordered_pair_is_held_out_with_its_swapped_pair(sizes):
    """So that no answer to a held-out pair can be looked up; as many pairs are trained as before, one more or less."""
    task, ordered = make("modular", unordered=True, **sizes), make("modular", **sizes)
    world = task.world(jax.random.key(1))

    def pairs(split):
        keys, difficulty = jax.random.split(jax.random.key(1), 12_000), dict(task.splits[split].difficulty)
        tokens = jax.jit(jax.vmap(lambda key: task.sample(key, world, difficulty, 3).tokens))(keys)
        return {(a, b) for a, b, _ in np.asarray(tokens).tolist()}

    trained, held_out, rows = pairs("train"), pairs("iid"), pairs("rows")
    assert not {(b, a) for a, b in held_out} & trained
    assert len(trained) + len(held_out) == ordered._open_pairs
    assert abs(len(trained) - round(task.fraction * ordered._open_pairs)) <= 1
    assert len(rows) == task.reserved_rows * task.p
    assert "swapped" not in task.baselines("iid")
    assert "swapped" in task.baselines("rows")


def test_division_has_no_unordered_pairs():
    with pytest.raises(TaskError, match="unordered must be False"):
        make("modular", operation="div", unordered=True)
