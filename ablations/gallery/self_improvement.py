"""Can a model improve on its own answers? Nine shares of them in training, with and without a checker.

Claim (fixed before training): the larger the share of a second stage's targets that are the model's own answers, the
sharper the latents (classes farther apart, fewer directions), at no cost in ability. There is a section for the stage
without an anchor outside the model, and one with a checker that lets only right answers through.

    python run.py --config=ablations/gallery/self_improvement.py    9 shares x 2 checkers x 8 seeds

Neutral is as many more steps on right answers. Answers are those of the model as it was 100 steps ago, four
generations in all. Products in Z6 are asked for words that did not occur before; facts are the same ones again, rare
ones seldom.

Sources: Feng et al. 2024 (arXiv 2406.07515, abstract read): models trained on generated data collapse, on eigenvalues
and news summaries; a verifier, even an imperfect one, prevents it. Yi et al. 2025 (arXiv 2510.16657, abstract read):
with a verifier retraining gains at first, then converges to what the verifier knows. Shumailov et al. 2023 (arXiv
2305.17493) and Zelikman et al. 2022 (arXiv 2203.14465): recalled, not checked. Gallery: "self-improvement with and
without an external anchor".

Kept: generations of own answers, with and without an outside check, the tail of memory as what goes first. Left out:
open text, sampling at a temperature, imperfect checkers, a start from a model that is better than its data.

Predicted (2026-11-30, before any run): the Fisher trace rises with the share without a checker, for a model that
agrees with itself gets sure of it, and directions fall. Without a checker all abilities are lost against neutral from
a share of .75 on at the latest, rare facts first. With it they are kept up to .75 and nowhere better, facts at 1 the
least kept: what the model never knew it is never shown. So: gain, then loss without an anchor, gain for nothing with
it.
Neutral (1,200 steps in all) is expected at .6 to .85: Z6 of this length was .49 after 650 steps
(latent_thoughts:quick) and .96 after 2,250; the card of composite facts is .75 to 1 after 2,000 steps of 16.

Expected: 8 cells x 800 steps, then 136 x 400; minutes not measured.
What came out (2026-11-30): Prediction held in part. Without a checker every ability is lost, rare facts first (from .38
on; all facts from .5, Z6 from .62), as predicted; at 1 rare facts are at .37 of .75. A checker saves some of it: Z6 is
lost at 1 only and facts from .62 on (rare ones .51 at 1), where kept up to .75 was predicted, and nothing is better.
The Fisher trace falls, where a rise was predicted: the model does not get sharper as it agrees with itself. Directions
fall on facts: *gain, then loss* or *harmed from the start* without an anchor, *gain only after the ability is lost*
with it.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; it has no variants."""
    own = dict(shares=tuple(step / 8 for step in range(9)), seeds=8)
    config = study_config(variant, variants=(), own=own)
    config.name = "self_improvement"
    config.question = "Up to which share of its own answers does a model keep what it can, with and without a checker?"
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.tasks.facts = dict(task="composite_facts", entity_exponent=1.0, examples=16, probe="uniform")
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3), self_label=dict(generation=100))
    config.stages = ("learn", "self")
    config.steps, config.saves = dict(learn=800, self=400), dict(learn=2, self=2)
    config.claim.knob = "self_label.share"
    config.claim.gains = dict(fisher_trace=1, participation_ratio=-1)
    config.claim.abilities = ("z6/iid", "facts/uniform", "facts/tail")
    return config


def sweep(config):
    """Every share with and without a checker, with every seed; what comes before is trained once a seed."""
    return product(
        axis("self_label.checker", (0, 1), stage="self"),
        axis("self_label.share", config.shares, stage="self"),
        axis("seed", range(config.seeds)),
    )
