"""Does the geometry of the unembedding predict ability, or does it only tell how the model was trained?

Claim (fixed before training): over a whole grid of training choices, a higher effective rank of the unembedding and of
the last hidden states (RankMe) goes with more ability. An association, not a map (docs/claim_shapes.md). Gallery case
15.

    python run.py --config=ablations/gallery/geometry_predicts_nothing.py    3 batch sizes x 4 decays x 8 seeds

Source (abstract read): Kulkarni et al. 2026, arXiv 2602.20433. Reported, of 108 language models of OLMo's kind: the
best models often have a high effective rank, though not on every task and in every setup; batch size and weight decay
move the rank strongly; other geometric metrics of the unembedding and of the last layer mostly agree with it, and none
predicts downstream performance reliably.
Kept: batch size and weight decay as the training choices, spectra of the unembedding next to the last layer's rank,
several abilities. Left out: sizes of model and of data, text, saturation late in training, fine-tuning.

Expected ability, inferred from pruning.py:quick, whose subtraction mod 31 ends at .95 after 1,600 steps of 64 with
decay .25: held-out subtraction 0 to .95 over the decays, 448 composite facts .5 to .95.
Predicted (2026-11-30, before any run): subtraction goes *against* the unembedding's rank (decay lowers the rank and
makes pairs generalize): *predicts the reverse*; facts go with it, *predicts, not shown beyond the loss*. RankMe of the
last layer: no one sign holds for both tasks. So geometry says how a model was trained, not what it can do.
Expected on two idle CPU cores: not measured; 115,200 cell-steps.
What came out (2026-11-30): Prediction held in part. Subtraction does not go against the unembedding's rank over all
cells (correlation .02 [-.11, .14]), because two parts cancel: along decay it does (-.52), along batch size it goes with
it (.70). Facts go with the rank of the unembedding (.94) and of the last layer (.96), and, against the prediction,
among cells of equal training loss, too (.80 either). No one sign of RankMe holds for both tasks, as predicted: here
geometry predicts memory and says nothing of held-out subtraction.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    own = dict(shares=(1.0, 0.5, 0.25), decays=(0.0, 0.1, 0.3, 1.0), seeds=8)
    config = study_config(own=own)
    config.name = "geometry_predicts_nothing"
    config.question = "Does the geometry of the unembedding predict ability over batch sizes and weight decays?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    # Latents are read where inputs repeat least; a probe could learn the few pairs held out by heart.
    config.tasks.subtraction = dict(task="modular", p=31, operation="sub", fraction=0.9, examples=64, probe="seen")
    config.model.update(dict(width=32, heads=2, mlp_width=64))
    config.knobs = dict(optimizer=dict(learning_rate=4e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1200), dict(train=4)
    config.claim.kind = "association"
    config.claim.gains = dict(unembedding_effective_rank=1, rank_me=1)
    config.claim.abilities = ("facts/uniform", "subtraction/iid")
    return config


def sweep(config):
    """Every batch size with every decay and every seed."""
    return product(
        axis("batch.share", config.shares), axis("weight_decay.rate", config.decays), axis("seed", range(config.seeds))
    )
