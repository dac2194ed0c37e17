"""Small instances of every task, and jitted samplers that the tests share so that each compiles once."""

from functools import cache, partial

import jax
import numpy as np

from tasks import TASKS, make

# name or name-1, name-2, …: the small sizes that each task declares
CASES = {
    name if len(task.small) == 1 else f"{name}-{index}": make(name, **sizes)
    for name, task in TASKS.items()
    for index, sizes in enumerate(task.small, 1)
}
PAIRS = [(case, split) for case, task in CASES.items() for split in task.splits]


# Compiling is most of what these tests do. Unoptimized programs of the older emitters, in one piece, compile ten times
# faster; the mixture tests and test_one_example_and_a_vmapped_batch_agree use XLA's defaults.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
quick_jit = partial(jax.jit, compiler_options=QUICK)


@cache
def sampler(task, length, count):
    """Jitted (seed, world, difficulty) -> Example with a leading axis of `count`."""

    def many(seed, world, difficulty):
        keys = jax.random.split(jax.random.key(seed), count)
        return jax.vmap(lambda key: task.sample(key, world, difficulty, length))(keys)

    return quick_jit(many)


@cache
def world(task, seed=0):
    return quick_jit(task.world)(jax.random.key(seed))


def draw(task, difficulty, length, count=2048, seed=0):
    """A NumPy batch of examples at a difficulty."""
    return jax.tree.map(np.asarray, sampler(task, length, count)(seed, world(task), dict(difficulty)))


@cache
def draw_split(task, split, count=2048, seed=0):
    chosen = task.splits[split]
    return draw(task, chosen.difficulty, chosen.length, count, seed)


@cache
def draw_padded(task, split, count=2048, seed=0):
    """`draw_split` at the length of the longest split, so that all splits share one compiled program."""
    return draw(task, task.splits[split].difficulty, max(s.length for s in task.splits.values()), count, seed)


def one(batch, index):
    """The index-th example of a batch."""
    return jax.tree.map(lambda leaf: leaf[index], batch)


def within(share, expected, count, sigmas=5.0):
    """Whether an observed share of `count` draws agrees with its expectation."""
    return abs(share - expected) <= sigmas * np.sqrt(max(expected * (1 - expected), 1 / count) / count)
