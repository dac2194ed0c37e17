"""How narrow may the residual stream be? One model, cut to its first dimensions, from nine a head down to one.

Claim (fixed before training): a narrower stream makes latents more compact (lower participation ratio and TwoNN) at no
cost in ability. All widths are trained in one compiled program; each computes what a truly narrow model computes.

    python run.py --config=ablations/width.py          9 widths x 8 seeds
    python run.py --config=ablations/width.py:quick    3 widths x 3 seeds; too few seeds for a verdict

Source: Kaplan et al. 2020 (arXiv 2001.08361); that facts take about two bits a parameter: Allen-Zhu & Li 2024 (arXiv
2404.05405).

Expected on two CPU cores: about 13 minutes (808 s next to other work), 1.5 for `:quick`; on a GPU not measured.
Predicted before the map judged it (2026-11-30): a gain, then a loss for facts and copying in both metrics, breaks
between four and one ninths; Z6 a gain, then a loss, or harmed from the start.
What came out in full (2026-11-30): copying's two breaks as predicted, between three and one ninths; facts are kept at
every width while latents grow compact (a gain for nothing, not predicted); Z6 is kept up to five ninths and lost from
two on, where its latents move first. Figures: docs/studies.md.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    config = study_config(variant, variants=("quick",), own=dict(ninths=tuple(range(9, 0, -1)), seeds=8))
    config.name = "width"
    config.question = "Which abilities does a narrower residual stream cost first?"
    config.tasks.facts = dict(task="facts", facts=256, values=16, examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=16)
    config.tasks.copy = dict(task="copy", length=6, examples=32)
    config.model.update(dict(width=36, heads=4, mlp_width=144))
    config.knobs = dict(optimizer=dict(learning_rate=3e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=4000), dict(train=5)
    config.claim.knob = "width.active"
    config.claim.gains = dict(participation_ratio=-1, two_nn=-1)
    config.claim.abilities = ("facts/iid", "z6/iid", "copy/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=1000), dict(train=3)
        config.ninths, config.seeds = (9, 5, 1), 3
    return config


def sweep(config):
    """Every width with every seed."""
    shares = [ninths / 9 for ninths in config.ninths]
    return product(axis("width.active", shares), axis("seed", range(config.seeds)))
