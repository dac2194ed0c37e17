"""Small instances of every task, and jitted samplers that the tests share so that each compiles once."""

from functools import cache, partial
from typing import NamedTuple

import jax
import numpy as np
import pytest

from tasks import TASKS, make

# name or name-1, name-2, …: (task's name, sizes) of the small instances that each task declares. They are made when a
# test asks for them: some enumerate a domain, and collecting tests should not.
SIZES = {
    name if len(task.small) == 1 else f"{name}-{index}": (name, sizes)
    for name, task in TASKS.items()
    for index, sizes in enumerate(task.small, 1)
}
FIRST = [case for case, (name, _) in SIZES.items() if case in (name, f"{name}-1")]


@cache
def instance(case):
    """The task of a case."""
    name, sizes = SIZES[case]
    return make(name, **sizes)


class Sampled(NamedTuple):
    """A case, and how thoroughly the layer of the test looks at it.

    Attributes:
      case: a name of SIZES.
      thorough: draw many examples of each split, by a program of its own length, as the slow layer does; else few, by
        one program for all splits.
    """

    case: str
    thorough: bool

    @property
    def task(self):
        return instance(self.case)

    @property
    def count(self):
        return 2048 if self.thorough else 512

    def length(self, split):
        """Of the program that the split's examples are drawn by."""
        return self.task.splits[split].length if self.thorough else longest(self.task)

    def draw(self, split, seed=0):
        """Examples of a split, cut to its length."""
        chosen = self.task.splits[split]
        return draw(self.task, chosen.difficulty, chosen.length, self.count, seed, exact=self.thorough)

    def __str__(self):
        return self.case + ("-thorough" if self.thorough else "")


def every_sampled_marked(*marks):
    """One small case of each task by default; every case, with many examples and `marks`, in the slow layer."""
    thorough = [pytest.param(Sampled(case, True), marks=[pytest.mark.slow, *marks]) for case in SIZES]
    return pytest.mark.parametrize("sampled", [Sampled(case, False) for case in FIRST] + thorough, ids=str)


every_sampled = every_sampled_marked()


def first_by_default(values, count=1):
    """Parameters of which the first (or the first `count`) are tried by default, the others in the slow layer."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*row, marks=() if i < count else pytest.mark.slow) for i, row in enumerate(rows)]


def longest(task):
    """The length of the longest split."""
    return max(split.length for split in task.splits.values())


# Compiling is most of what these tests do. Unoptimized programs of the older emitters, in one piece, compile ten times
# faster; a mixture test and the thorough cases of two conformance tests compile as training does.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
BLOCK = 512  # examples that a compiled sampler draws
quick_jit = partial(jax.jit, compiler_options=QUICK)
shipped_jit = partial(jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True})  # in tests marked as_shipped


@cache
def sampler(task, length):
    """Jitted (key data uint32[BLOCK, 2], world, difficulty) -> BLOCK examples."""

    def many(data_Bx2, world, difficulty):
        return jax.vmap(lambda key: task.sample(key, world, difficulty, length))(jax.random.wrap_key_data(data_Bx2))

    return quick_jit(many)


@cache
def scorer(task):
    """Jitted `score`."""
    return quick_jit(task.score)


@cache
def world(task, seed=0):
    return quick_jit(task.world)(jax.random.key(seed))


def draw(task, difficulty, length, count=2048, seed=0, exact=False, fixed=None):
    """A NumPy batch of examples at a difficulty.

    One program of BLOCK examples serves all counts of a task, and all lengths up to that of its longest split: what is
    longer than asked for is padding, and cut. `exact` compiles the length itself, as training does; `fixed` is another
    world than that of seed 0.
    """
    data = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), count)))
    data = data[np.arange(-(-count // BLOCK) * BLOCK) % count]
    call = sampler(task, length if exact else max(length, longest(task)))
    fixed = world(task) if fixed is None else fixed
    blocks = [call(some, fixed, dict(difficulty)) for some in np.split(data, len(data) // BLOCK)]
    batch = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *blocks)
    lanes = {lane: getattr(batch, lane) for lane in ("tokens", "targets", "weights")}
    assert all(np.all(lane[:, length:] == 0) for lane in lanes.values()), "padding is zero"
    return batch._replace(**{name: lane[:, :length] for name, lane in lanes.items()})


@cache
def draw_split(task, split, count=2048, seed=0):
    chosen = task.splits[split]
    return draw(task, chosen.difficulty, chosen.length, count, seed)


def one(batch, index):
    """The index-th example of a batch."""
    return jax.tree.map(lambda leaf: leaf[index], batch)


def within(share, expected, count, sigmas=5.0):
    """Whether an observed share of `count` draws agrees with its expectation."""
    return abs(share - expected) <= sigmas * np.sqrt(max(expected * (1 - expected), 1 / count) / count)
