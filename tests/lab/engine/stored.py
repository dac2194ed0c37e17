"""What a work directory holds, compared row by row; and a directory as a kill would leave it."""

from __future__ import annotations

import shutil

import jax
import numpy as np

from lab.storage import checkpoint


def everything(store, keys):
    """{(key, item): tree of that node's row} of the final checkpoints."""
    found = {}
    for key in keys:
        saved, row = store.final(key)
        for item in checkpoint.ITEMS:
            found[key, item] = checkpoint.rows(checkpoint.load(saved, item), [row])
    return found


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        jax.tree.map(np.testing.assert_array_equal, a[key], b[key])


def keys_of(plan, stage):
    return [n.key for b in plan.program_groups if b.stage == stage for n in b.nodes]


def stage_of(directory):
    return directory.name.split("-")[0]


def cut_off(store_dir, copy, step, chunks=slice(None)):
    """A copy of a finished work directory as it was when it was killed after `step` of the first stage."""
    shutil.copytree(store_dir, copy)
    directories = sorted((copy / "checkpoints").iterdir())
    for directory in [d for d in directories if stage_of(d) == "prune"]:
        shutil.rmtree(directory)
    for directory in [d for d in directories if stage_of(d) == "train"][chunks]:
        for path in directory.iterdir():
            if int(path.name) > step:
                shutil.rmtree(path)
