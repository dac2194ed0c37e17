"""Does the effective rank of the latents predict ability, over learning rates and weight decays?

Claim (fixed before training): over a whole grid, cells whose hidden states have a higher effective rank (RankMe) and
more directions (participation ratio) know more facts and multiply better in Z6. An association, not a map: no knob is
switched on (docs/claim_shapes.md). Gallery case 14.

    python run.py --config=ablations/gallery/effective_rank.py    3 learning rates x 4 decays x 8 seeds

Source (abstract read): Gulcehre et al. 2022, arXiv 2207.02099. Reported, of offline reinforcement learning (bsuite,
Atari, DeepMind Lab): effective rank and performance go together in restricted settings only, and no longer in wider
sweeps of hyperparameters; other factors confound the two.
Kept: a sweep of hyperparameters, rank of the last hidden layer, its association with ability over all cells, along each
knob and beyond the training loss. Left out: bootstrapped values and offline data, which were to make the rank collapse.
So this is an analogue: supervised answers of a small transformer.

Expected ability, inferred from runs of the same sizes: Z6 .4 to .95 over the rates (.38 after 600 steps at .002, .96
after 2,250), 448 composite facts .6 to .95 (.86 after 2,000 steps at a constant rate); strong decay costs both.
Predicted (2026-11-30, before any run): facts go with both ranks over all cells, for learning rate and decay move all
three, and not beyond the loss (*predicts, not shown beyond the loss*). Z6 goes against the participation ratio
(*predicts the reverse*): a learned product needs few directions. RankMe of Z6: *no association shown*.
Expected on two idle CPU cores: not measured; 115,200 cell-steps.
What came out (2026-11-30): Prediction held in part. The same metric predicts two abilities with opposite signs. Facts:
more directions and a higher RankMe go with more facts (ρ .77 [.68, .90] and .82 [.74, .90]), among cells of equal loss,
too (.55 and .64), which was not predicted. Z6: the reverse of both (-.81 [-.89, -.76] and -.88 [-.93, -.82]; predicted
of participation ratio only). It is decay that does it: at 3.0 and a rate of .004 facts are at .35 and Z6 at .98,
without decay at .001 facts are at 1.00 and Z6 at .23. No single direction of rank means ability.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    own = dict(rates=(1e-3, 2e-3, 4e-3), decays=(0.0, 0.3, 1.0, 3.0), seeds=8)
    config = study_config(own=own)
    config.name = "effective_rank"
    config.question = "Does the effective rank of latents predict ability over learning rates and weight decays?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1200), dict(train=4)
    config.claim.kind = "association"
    config.claim.gains = dict(rank_me=1, participation_ratio=1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    return config


def sweep(config):
    """Every learning rate with every decay and every seed."""
    return product(
        axis("optimizer.learning_rate", config.rates),
        axis("weight_decay.rate", config.decays),
        axis("seed", range(config.seeds)),
    )
