"""Do hidden states that stay similar behave alike, and those that do not, differently? CKA against behaviour.

Claim (fixed before training): as weights are cut, hidden states part from those of the uncut model (lower debiased
linear CKA, lower SVCCA), at no cost in ability. Gallery case 22.

    python run.py --config=ablations/gallery/similarity.py            9 sparsities x 8 seeds, nothing learned after
    python run.py --config=ablations/gallery/similarity.py:stretch    states stretched along one direction, undone
                                                                      before anything reads them: behaviour can't change

The two are read together. In `:stretch` similarity falls and nothing can follow. In the cut it is the order that
counts: where an ability is lost at a smaller sparsity than that at which CKA is shown to fall, similar states hid the
loss. The uncut cell equals itself, so that any change counts as a fall; `debiased_linear_cka_between_seeds`, which is
measured as well, says how alike two seeds of one setting are.

Source (abstract read): Davari et al. 2022, arXiv 2210.16156. Reported, of image classifiers: linear CKA is sensitive to
simple transformations that keep classes linearly separable, such as moving a subset of points; it can be changed at
will with hardly a change of what the network does.
Kept: a transformation that changes CKA and no behaviour, and its reverse, a change of behaviour next to CKA. Left out:
optimization of CKA itself, translation of subsets, images.

Expected ability, inferred from isotropy.py's design and the card of composite_facts: Z6 .7 to .95, 448 facts .9.
Predicted (2026-11-30, before any run): the cut: CKA is shown to fall from .3 on for both tasks, SVCCA from .1; facts
are lost from .3 and Z6 from .4: CKA falls no earlier than abilities do (*gain only after the ability is lost*, or
*harmed from the start*), SVCCA earlier (*gain, then loss*). `:stretch`: CKA falls from the second setting on, SVCCA
hardly or not at all, abilities are equal but for rounding: *gain for nothing*.
Expected on two idle CPU cores: not measured; 14,400 cell-steps, `:stretch` as many.
What came out (2026-11-30): Prediction failed. Predicted of CKA: that it falls no earlier than abilities. Debiased CKA
and SVCCA are both shown to fall from the first cut on (.1), long before facts (kept up to .3, lost from .4) and Z6
(kept at .1, lost from .3): *gain, then loss* for all four, where *gain only after the ability is lost* was predicted of
CKA. CKA is more sensitive here than the ability: it hides no loss. Z6 had not been learned by two seeds (mean .53).
`:stretch`: Prediction held in part. Both similarities fall from a stretch of 1.5 on (of SVCCA hardly or not was
predicted) and abilities are equal to the last digit: *gain for nothing*, four times. CKA cannot tell a cut from a
change that behaviour never sees.
Trained again with --repair on another machine (2026-12-01): the same verdicts; the kept files are of that run. 300
steps of fine-tuning bring back all that was lost of facts and Z6.
"""

from lab.study import axis, product, study_config

KNOBS = {
    "": ("prune.sparsity", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    "stretch": ("insertion.stretch", (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0)),
}


def get_config(variant: str = ""):
    """The study; 'stretch' changes similarity and nothing else."""
    config = study_config(variant, variants=("stretch",), own=dict(settings=KNOBS.get(variant, ("", ()))[1], seeds=8))
    config.name = "similarity" + (f"_{variant}" if variant else "")
    config.question = "Does similarity of hidden states to those of the unchanged model say what it can do?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.stages = ("train", "change")
    config.steps, config.saves = dict(train=1800, change=0), dict(train=4, change=1)
    config.probe.extra = ("debiased_linear_cka_between_seeds",)
    config.claim.knob = KNOBS[variant][0]
    config.claim.gains = dict(debiased_linear_cka_to_neutral=-1, svcca_to_neutral=-1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    return config


def sweep(config):
    """Every setting with every seed; the unchanged model of a seed is trained once."""
    return product(axis(config.claim.knob, config.settings, stage="change"), axis("seed", range(config.seeds)))
