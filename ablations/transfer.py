"""Does a better-separated source transfer? A model of addition, smoothed more and more, is read and fine-tuned.

Claim (fixed before training): label smoothing while addition is learned gives more directions (participation ratio) and
better separated classes (Fisher trace) at the end of pretraining, and costs nothing on another task, subtraction:
neither what a linear probe reads off the frozen source model, nor the accuracy after full fine-tuning.

    python run.py --config=ablations/transfer.py         9 strengths x 8 seeds
    python run.py --config=ablations/transfer.py:quick   3 strengths x 3 seeds; too few seeds for a verdict

The claim is one between places (docs/claims.md): latents of one task at the end of one stage against the ability of
another task at the end of either. Smoothing acts in both stages: a knob that acts from the first acts to the end.

Source: Kornblith et al. 2021 (arXiv 2010.16402): losses that separate classes better give fixed features that transfer
worse, with little effect once fine-tuned.

Predicted (2026-11-30, before any run of this file): both metrics gain. *Frozen: harm*, so that what the probe reads of
subtraction is a gain, then a loss, or harmed from the start. *Fine-tuned: none*, so that the accuracy of subtraction is
a gain for nothing or transfers. Seen before in three seeds of a study without these places, at 0, .1, .3 and .6: frozen
.40, .37, .32 and .28, fine-tuned .49, .67, .70 and .71.
What came out (2026-11-30, refined to 20 seeds and two more strengths): Prediction held in part. Both metrics rise at
the end of pretraining, directions from .025 on and separation from .2 on. Frozen, what the probe reads of subtraction
is lost from .1 on, so directions are *harmed from the start*, as predicted; separation is a *gain only after the
ability is lost*, a name that was not predicted. Fine-tuned, nothing is lost at any strength and subtraction is better
at .8 (.93, against .68 at neutral): *transfers*, as predicted, though the strengths between are undecided, for neutral
seeds end anywhere from .2 to .9. Eight seeds left fine-tuning undecided throughout. Addition itself is not generalized
(held-out sums .03 to .04): it is a source of representations only.
"""

from lab.study import ability, axis, gain, product, study_config


def get_config(variant: str = ""):
    """The study; 'quick' is the small version."""
    config = study_config(variant, variants=("quick",), own=dict(rates=(), seeds=8))
    config.name = "transfer" + (f"_{variant}" if variant else "")
    config.question = "Does a source task whose latents are better separated transfer better to another task?"
    # Latents are read where inputs repeat least; a probe could learn the few pairs held out by heart.
    pairs = dict(task="modular", p=31, fraction=0.9, probe="seen")
    config.tasks.add = dict(pairs, operation="add", unordered=True, examples=dict(pretrain=64, finetune=0))
    config.tasks.subtract = dict(pairs, operation="sub", examples=dict(pretrain=0, finetune=64))
    config.model.update(dict(width=32, layers=2, heads=2, mlp_width=64))
    config.stages = ("pretrain", "finetune")
    config.steps = dict(pretrain=1600, finetune=400)
    config.saves = dict(pretrain=3, finetune=2)
    config.knobs = dict(optimizer=dict(learning_rate=3e-3), weight_decay=dict(rate=0.25))
    config.rates = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    config.claim.knob = "label_smoothing.rate"
    config.claim.gains = (
        gain("participation_ratio", task="add", stage="pretrain"),
        gain("fisher_trace", task="add", stage="pretrain"),
    )
    config.claim.abilities = (ability("subtract", probe="linear", stage="pretrain"), "subtract/iid")
    if variant == "quick":
        config.steps = dict(pretrain=600, finetune=200)
        config.saves = dict(pretrain=2, finetune=1)
        config.rates, config.seeds = (0.0, 0.3, 0.6), 3
    return config


def sweep(config):
    """Every strength with every seed."""
    return product(axis("label_smoothing.rate", config.rates, stage="pretrain"), axis("seed", range(config.seeds)))
