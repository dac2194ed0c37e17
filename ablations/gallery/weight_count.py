"""Does the number of weights cost knowledge more than reasoning? Models that are sparse at random from the first step.

Claim (fixed before training): fewer weights make latents more compact (participation ratio and RankMe fall), at no cost
in ability. Gallery case 25.

    python run.py --config=ablations/gallery/weight_count.py    9 shares of removed weights x 8 seeds

Which weights of the blocks are removed is drawn at random before the first step and stays, so that the knob is the
number of weights and no choice among trained ones. 896 facts of 4 bits are 3.6 kbit; at two bits a weight (Allen-Zhu &
Li 2024, arXiv 2404.05405) that takes 1,800 weights of the blocks' 16,400, which are left at 89% removed.

Source (abstract read): Zhang et al. 2025, arXiv 2504.02010. Reported, of DeepSeek-R1 and models distilled from it,
quantized, distilled and pruned, on four reasoning sets: the number of weights matters more for what a model remembers
than for how it reasons, which speaks against pruning and distillation.
Kept: number of weights at equal width, stored facts against a computed answer. Left out: language, distillation,
quantization, pruning of trained weights (which pruning.py has), and multi-hop questions that mix both.

Expected ability, inferred from the card of composite_facts (448 facts, .86 after 2,000 steps of 16 at a constant rate)
and Z6 at 1,500 steps: facts .7 to .95, Z6 .7 to .95 with all weights.
Predicted (2026-11-30, before any run): the reverse of the paper. Z6 is lost from .4 on, for products are found late and
a sparse model finds them later; facts are kept up to .5 and lost from .8 on, where the count above says so. Compact
latents come only where the ability is lost.
Expected on two idle CPU cores: not measured; 108,000 cell-steps.
What came out (2026-11-30): Prediction held in part. The reverse of the paper, as predicted: Z6 is lost from .8 on
(predicted .4; below, undecided: .53 falls to .37 at .7, and four of eight seeds had hardly learned it) and facts from
.9 on (predicted .8), kept up to .7. The count of bits says 89%: facts are at .965 with 80% removed and at .83 with 90%.
Directions and effective rank fall only where the ability is lost, as predicted (facts at .95, Z6 effective rank from .8
on); on facts they rise before.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    config = study_config(own=dict(removed=(0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95), seeds=8))
    config.name = "weight_count"
    config.question = "Do fewer weights cost what a model knows before what it computes?"
    config.tasks.facts = dict(task="composite_facts", entities=64, relations=16, examples=32, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, mlp_width=64))
    config.knobs = dict(optimizer=dict(learning_rate=3e-3), prune=dict(method="random", scope="layerwise"))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1500), dict(train=4)
    config.claim.knob = "prune.sparsity"
    config.claim.gains = dict(participation_ratio=-1, rank_me=-1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    return config


def sweep(config):
    """Every share with every seed."""
    return product(axis("prune.sparsity", config.removed, stage="train"), axis("seed", range(config.seeds)))
