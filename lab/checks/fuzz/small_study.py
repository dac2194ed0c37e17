"""A valid study that plans in milliseconds and trains in seconds: what trials start from."""

from typing import Any

from lab.study import Grid, axis, product, study_config


def get_config() -> Any:
    """Two small tasks, pruned; every field of a study has a value."""
    config = study_config()
    config.name = "small"
    config.question = "Is bad input answered?"
    config.tasks.facts = dict(task="facts", facts=8, values=4, examples=4)
    config.tasks.word = dict(task="group_word", group="Z6", length=3, examples=4)
    config.model.update(dict(width=16, layers=1, heads=2, mlp_width=32))
    config.stages = ("train", "prune")
    config.steps = dict(train=20, prune=10)
    config.saves = dict(train=2, prune=1)
    config.call_steps = 5
    config.schedule.warmup = 4
    config.evaluation.examples = 16
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(participation_ratio=-1)
    config.claim.abilities = ("facts/iid",)
    return config


def sweep(config: Any) -> Grid:
    """Three sparsities, three seeds."""
    del config
    return product(axis("prune.sparsity", (0.0, 0.5, 0.9), stage="prune"), axis("seed", range(3)))
