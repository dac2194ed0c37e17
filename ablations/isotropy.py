"""Is a more isotropic cloud of hidden states better, or a less isotropic one? A penalty of either sign, at 17 rates.

Claim (fixed before training): a penalty on anisotropy raises the number of directions that are used (participation
ratio, RankMe) and costs no ability; the same penalty below 0 lowers both, and costs none either. Neutral, rate 0, lies
inside the axis: it is two claims, one on either side (docs/claim_shapes.md).

    python run.py --config=ablations/isotropy.py          17 rates x 9 seeds
    python run.py --config=ablations/isotropy.py:quick    5 rates x 3 seeds; too few seeds for a verdict

Source: Rudman & Eickhoff 2024 (arXiv 2305.19358), who fine-tune under the penalty and find that *decreasing* isotropy
helps, where Arora et al. and others wanted more of it. Gallery case 3.

Minutes not measured.
Predicted before the run (2026-11-30): above neutral participation ratio and RankMe gain from the first rates on, and Z6
is harmed from 4 on at the latest (harmed from the start, or gain, then loss); facts are kept up to 4 and lost at 12.
Below neutral both metrics move down as claimed from -1 on, and no ability gets better: facts are kept throughout (gain
for nothing), Z6 is kept up to -2 and lost at -12. So neither half of the dispute is right here: isotropy harms, and a
collapse does not help.
What came out (2026-11-30): Prediction held in part. Above neutral both metrics rise from the first rate on, on both
tasks, but nothing is harmed: facts are kept at every rate (.99 at 12) and Z6 is kept up to .5 and undecided beyond (.88
at neutral, .84 at 12), where it was predicted lost from 4 on. Below neutral directions and rank fall on Z6 from -.5 on;
on facts directions do not move and the rank rises, against the claim. No ability gets better there, as predicted, and
none is lost: facts are kept, Z6 is undecided (.86 to .90). At these rates isotropy is a *gain for nothing* on facts and
decides little on Z6.
Refined to 24 seeds on another machine (2026-12-01): the same verdicts; the kept files are of that run. Above neutral Z6
is kept up to 8 and undecided at 12; below neutral it is undecided from -1 on (.86 to .88).
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    above = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    own = dict(rates=(*(-rate for rate in reversed(above)), 0.0, *above), seeds=9)
    config = study_config(variant, variants=("quick",), own=own)
    config.name = "isotropy"
    config.question = "Does a more isotropic cloud of hidden states become ability, or a less isotropic one?"
    config.tasks.facts = dict(task="facts", facts=256, values=16, examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.stages = ("train", "shape")
    config.steps, config.saves = dict(train=1500, shape=750), dict(train=5, shape=4)
    config.claim.knob = "isotropy.rate"
    config.claim.gains = dict(participation_ratio=1, rank_me=1)
    config.claim.below = -1  # below 0 the penalty is to lower them: the gain that its authors claim
    config.claim.abilities = ("facts/iid", "z6/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=600, shape=150), dict(train=3, shape=2)
        config.rates, config.seeds = (-4.0, -1.0, 0.0, 1.0, 4.0), 3
    return config


def sweep(config):
    """Every rate with every seed; what comes before the penalty is trained once a seed."""
    return product(axis("isotropy.rate", config.rates, stage="shape"), axis("seed", range(config.seeds)))
