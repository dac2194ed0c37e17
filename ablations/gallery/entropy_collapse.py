"""Does restoring the entropy of a collapsed representation restore its abilities? VICReg's penalty, at nine strengths.

Claim (fixed before training): under a planted collapse (IsoScore* pressed down), decorrelation gives hidden states
their von Neumann entropy back and makes classes easier to read (probe accuracy), at no cost in ability.

    python run.py --config=ablations/gallery/entropy_collapse.py               9 strengths x 8 seeds, facts and Z6
    python run.py --config=ablations/gallery/entropy_collapse.py:uncollapsed   the penalty where nothing collapsed

Source (abstract and the opening read): Kim et al. 2023 (arXiv 2304.01434): regularizing the von Neumann entropy of a
representation manipulates its eigenvalues more effectively than whitening, rank or isotropy do, and improves domain
generalization, meta-learning, self-supervised learning and generative models. Gallery: "collapse against von Neumann
entropy", there without a paper.

Kept: collapse as eigenvalues that vanish, entropy as the quantity that is restored, a metric that no invertible
linear map moves next to it. Left out: the entropy as the penalty itself (the lab has covariance, variance and
isotropy), images, transfer to other data. ablations/collapse.py:cure has one-token facts, four tasks, and claims
participation ratio and RankMe.

Predicted (2026-11-30, before any run): entropy rises from the first strengths on, in both variants. Probe accuracy is
not shown to rise: what the collapse has taken from the spectrum can still be read. With the collapse Z6 gets better
in the middle of the axis and facts do not (transfers; gain for nothing); without it no ability gets better, and Z6 is
lost at 8. So entropy tells of ability where collapse was the cause of a loss, and of nothing where it wasn't.
Neutral, the collapsed model, is expected at .3 to .7 on Z6 and .6 to .9 on facts; uncollapsed at .75 to .95 on both.

Expected: 8 cells x 1,200 steps, then 72 x 600; minutes not measured.
What came out (2026-11-30): Prediction failed. Entropy rises on Z6 from the first strength on and nowhere on facts,
where a rise was predicted on both. Probe accuracy is not shown to rise, as predicted. Z6, which the collapse had left
at .49, gets better nowhere (.49 to .52) and no ability is shown lost, so restored entropy gives no ability back here:
all is undecided but facts, kept up to .5. `:uncollapsed`: not run.
Refined to 20 seeds on another machine (2026-12-01; the kept files are of that run): still undecided. Entropy rises on
facts, too, from .25 to 1, as predicted; probe accuracy falls there from 6 on.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; in 'uncollapsed' nothing presses the hidden states together."""
    own = dict(strengths=(0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0), planted=-12.0, seeds=8)
    config = study_config(variant, variants=("uncollapsed",), own=own)
    config.name = "entropy_collapse" + (f"_{variant}" if variant else "")
    config.question = "Does giving hidden states their von Neumann entropy back give ability back?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.stages = ("train", "shape")
    config.steps, config.saves = dict(train=1200, shape=600), dict(train=2, shape=2)
    config.claim.knob = "covariance.rate"
    config.claim.gains = dict(von_neumann_entropy=1, probe_accuracy=1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    if variant == "uncollapsed":
        config.question = "Does raising the von Neumann entropy of hidden states raise ability where none was lost?"
        config.planted = 0.0
    return config


def sweep(config):
    """Every strength with every seed, under the planted collapse; what comes before both is trained once a seed."""
    return product(
        axis("isotropy.rate", (config.planted,), stage="shape"),
        axis("covariance.rate", config.strengths, stage="shape"),
        axis("seed", range(config.seeds)),
    )
