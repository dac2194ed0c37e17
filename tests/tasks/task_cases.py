"""Small instances of every task, and jitted samplers that the tests share so that each compiles once."""

from functools import cache, partial

import jax
import numpy as np

from tasks import make

CASES = {
    "modular-add": make("modular", p=7, reserved_rows=1),
    "modular-div": make("modular", p=5, operation="div", reserved_rows=1, fraction=0.5),
    "group-Z6": make("group_word", group="Z6", length=3, longer=5),
    "group-A5": make("group_word", group="A5", length=2, longer=4),
    "star-forward": make("path_star"),
    "star-reverse": make("path_star", degree=3, length=4, nodes=13, direction="reverse"),
    "mqar": make("mqar", pairs=2, more_pairs=3, keys=4, values=4),
    "facts": make("facts", facts=12, values=5),
}
PAIRS = [(case, split) for case, task in CASES.items() for split in task.splits]


# Compiling is most of what these tests do. Unoptimized programs compile three times faster; the mixture tests and
# test_jit_vmap_and_eager_agree use XLA's defaults.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


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


def one(batch, index):
    """The index-th example of a batch."""
    return jax.tree.map(lambda leaf: leaf[index], batch)


def within(share, expected, count, sigmas=5.0):
    """Whether an observed share of `count` draws agrees with its expectation."""
    return abs(share - expected) <= sigmas * np.sqrt(max(expected * (1 - expected), 1 / count) / count)
