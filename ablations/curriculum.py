"""Does the order of examples matter? A curriculum over a growing share of training, against its two controls.

Claim (fixed before training): the longer training goes from easy to hard, the more information the latents hold about
the answer (probe accuracy, V-information) and the better the model is. `anti` (hard to easy) and `random` show the same
levels equally often, each in its own section of the report: an effect that they share is not due to the order.

    python run.py --config=ablations/curriculum.py        9 shares x 3 orders x 8 seeds
    python run.py --config=ablations/curriculum.py:quick  3 shares x 3 orders x 3 seeds; too few seeds for a verdict

Source: Wu et al. 2021 (arXiv 2012.03107), who find little benefit at standard budgets.

Expected on two CPU cores: about 15 minutes, 1.5 for `:quick`, from whose rate it is estimated; on a GPU not measured.
What came out of `:quick`: docs/studies.md. The full study has not been run.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    shares = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
    own = dict(orders=("ramp", "anti", "random"), shares=shares, seeds=8)
    config = study_config(variant, variants=("quick",), own=own)
    config.name = "curriculum"
    config.question = "Does training from easy to hard help, and is it the order that does?"
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.tasks.copy = dict(task="copy", length=6, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.steps, config.saves = dict(train=2000), dict(train=4)
    config.claim.knob = "curriculum.share"
    config.claim.gains = dict(probe_accuracy=1, v_information=1)
    config.claim.abilities = ("z6/iid", "copy/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=400), dict(train=2)
        config.shares, config.seeds = (0.0, 0.5, 1.0), 3
    return config


def sweep(config):
    """Every order with every share and seed."""
    return product(
        axis("curriculum.order", config.orders),
        axis("curriculum.share", config.shares),
        axis("seed", range(config.seeds)),
    )
