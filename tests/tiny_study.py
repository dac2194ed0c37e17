"""A study that trains in seconds, for tests of the whole command."""

from lab.study import axis, product, study_config


def get_config():
    """Two small tasks, pruned."""
    config = study_config(own=dict(seeds=2))
    config.name = "tiny"
    config.question = "Does the command work?"
    config.tasks.facts = dict(task="facts", facts=8, values=4, examples=4)
    config.tasks.word = dict(task="group_word", group="Z6", length=3, examples=4)
    config.model.update(dict(width=16, layers=1, heads=2, mlp_width=32))
    config.stages = ("train", "prune")
    config.steps = dict(train=200, prune=50)
    config.saves = dict(train=4, prune=2)
    config.call_steps = 10
    config.evaluation.examples = 64
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(participation_ratio=-1)
    config.claim.abilities = ("facts/iid",)
    return config


def sweep(config):
    """Three sparsities."""
    return product(axis("prune.sparsity", (0.0, 0.5, 0.9), stage="prune"), axis("seed", range(config.seeds)))
