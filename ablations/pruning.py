"""Is magnitude pruning free? One model with facts, reasoning and planning in it, pruned at nine sparsities.

Claim (fixed before training): pruning makes latents more compact (lower participation ratio and TwoNN dimension) and
better separated (higher Fisher trace), at no cost in ability.

    python run.py --config=ablations/pruning.py          9 sparsities x 8 seeds; 5 to 6 minutes on two CPU cores
    python run.py --config=ablations/pruning.py:quick    3 sparsities x 3 seeds; little more than a minute, and its
                                                         verdicts say `underpowered`

Source: Han et al. 2015 (arXiv 1506.02626); that facts go before in-context ability: arXiv 2310.04680.

What came out (2026-11-20, two CPU cores): free up to 60% sparsity for products in Z6 and for addition mod 31, 72% for
path-star, 84% for 256 facts at their Zipf frequencies; harmful from 84% (facts: only the uniform, head and tail splits,
from 96%). Of the claimed latent gains only a lower participation ratio on addition is shown, and it comes where the
ability breaks (reversal at 72%, interval 63% to 86%): the latents collapse with the ability. Separation falls on every
task. Two of the eight seeds had not fully solved path-star (exact .65), the other tasks were learned by all.
"""

from lab.grid import axis, product, study_config


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    config = study_config(variant, variants=("quick",))
    config.name = "pruning"
    config.question = "Up to which sparsity is one-shot magnitude pruning free, and does it make latents better?"
    # Latents are read where inputs repeat least: TwoNN and the Fisher trace need distinct ones.
    config.tasks.facts = dict(task="facts", facts=256, values=16, examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=6, examples=32)
    config.tasks.addition = dict(task="modular", p=31, operation="add", fraction=0.9, examples=16, probe="seen")
    config.tasks.path_star = dict(task="path_star", direction="reverse", examples=32)
    config.stages = ("train", "prune")
    config.knobs = dict(optimizer=dict(learning_rate=1.5e-3), weight_decay=dict(rate=0.3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps = dict(train=5000, prune=200)
    config.saves = dict(train=6, prune=1)
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(participation_ratio=-1, two_nn=-1, fisher_trace=1)
    config.claim.abilities = ("facts/iid", "z6/iid", "addition/iid", "path_star/iid")
    config.sparsities = (0.0, 0.12, 0.24, 0.36, 0.48, 0.6, 0.72, 0.84, 0.96)
    config.seeds = 8
    if variant == "quick":
        config.steps = dict(train=1200, prune=100)
        config.saves = dict(train=3, prune=1)
        config.sparsities = (0.0, 0.3, 0.6)
        config.seeds = 3
    return config


def sweep(config):
    """Every sparsity with every seed; the dense prefix of a seed is trained once."""
    return product(axis("prune.sparsity", config.sparsities, stage="prune"), axis("seed", range(config.seeds)))
