"""Is what a pruned model no longer answers gone, or only not read out? Answers, a linear probe, and a new readout.

Claim (fixed before training): pruning raises the effective rank of latents (RankMe) and their separation (Fisher trace)
at no cost: not in answers after the cut, not in what a linear probe reads of the values (more than half of the pairs
that the probe is tested on are new to it), and not in answers after the readout alone was trained again.

    python run.py --config=ablations/gallery/elicitation.py    9 sparsities x 12 seeds

Sources: Greenblatt et al. 2024 (arXiv 2405.19550; abstract read, 2026-11-30): capabilities of language models that were
locked behind a password come back by fine-tuning on few good demonstrations, so that a failed prompt doesn't show that
an ability is missing. That facts are what pruning costs first: Jin et al. 2023 (arXiv 2310.04680; abstract read).
Gallery case 5, and elicitation against acquisition of the founding documents.

Kept: three ways to ask one model, from the cheapest on: its answers after the cut, a linear probe of its frozen states,
and its answers after 300 steps in which nothing but the readout learns. Left out: passwords and demonstrations; the
ability is taken away by cutting weights, so that what is missing may really be gone, which the readout then shows.

Neutral ability: as in facts_or_context.py, facts .8 or more and induction .9 or more, at a constant rate somewhat less:
the schedule must not come to rest before the readout learns.
Seen before [Gallery case 5, three seeds]: at 80% sparsity a new linear readout gets .76 to .88 of facts on unseen keys.

Predicted (2026-11-30, before any run of this file): answers on facts are lost from 40% on; by the probe they are kept
up to 60% at least; after the new readout they are kept to 60%, too, and lost at 80%. Induction is lost from 60% on and
the readout does not bring it back: what pruning breaks there is attention, which comes before the readout. RankMe rises
from 40% on, so that facts by answers read as a gain, then a loss, and facts by readout as a gain for nothing up to 60%.

Expected minutes: not measured (12 cells are trained; 108 train their readout).
What came out (2026-11-30): Prediction failed. By the probe facts are lost from 30% on, exactly where answers are
(predicted: kept up to 60%), and they are lost from 30% on after the new readout, too: 300 steps of it bring back little
(at 60% .28 at the cut, .38 after it, .95 at neutral; .35 by the probe). Here pruning takes what was stored, not its
readout. Induction is lost from 50% on before and after, but there the readout does help (.60 to .80 at 60%), where no
help was predicted. Effective rank rises on induction from 30% on (*gain, then loss*) and falls on facts; separation
falls on both.
Trained again with --repair on another machine (2026-12-01): the same verdicts; the kept files are of that run. No
repair, 300 steps more, fine-tuning or an easier mixture, is shown to bring back half of what is lost.
"""

from lab.study import ability, axis, gain, product, study_config


def get_config(variant: str = ""):
    """The study; it has no variants."""
    own = dict(sparsities=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), seeds=12)
    config = study_config(variant, own=own)
    config.name = "elicitation"
    config.question = "Is what a pruned model no longer answers gone, or only not read out?"
    config.tasks.facts = dict(task="composite_facts", entities=64, examples=16, probe="uniform")
    config.tasks.induction = dict(task="induction", length=8, longer=12, margin=1, examples=32)
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3), tune=dict(only="readout"))
    config.stages = ("train", "cut", "readout")
    config.steps = dict(train=3000, cut=0, readout=300)
    config.saves = dict(train=3, cut=1, readout=1)
    config.claim.knob = "prune.sparsity"
    config.claim.gains = (gain("rank_me", stage="cut"), gain("fisher_trace", stage="cut"))
    config.claim.abilities = (
        ability("facts", split="uniform", stage="cut"),
        ability("facts", probe="linear", split="uniform", stage="cut"),
        ability("facts", split="uniform", stage="readout"),
        ability("induction", stage="cut"),
        ability("induction", stage="readout"),
    )
    return config


def sweep(config):
    """Every sparsity with every seed; all sparsities of a seed are cut from one training."""
    return product(axis("prune.sparsity", config.sparsities, stage="cut"), axis("seed", range(config.seeds)))
