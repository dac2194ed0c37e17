"""Does a more unified representation pay where accuracy is equal? Counting, under nine rates of weight decay.

Claim (fixed before training): weight decay unifies how counts are coded across the kinds that are counted
(parallelism score, accuracy of a probe on a kind that it was not trained on), and costs nothing: neither the accuracy
on sequences like those of training nor that on sequences of fewer kinds, where counts are higher.

    python run.py --config=ablations/gallery/fractured_representation.py              9 rates x 8 seeds
    python run.py --config=ablations/gallery/fractured_representation.py:curriculum   along the share of training
                                                                                      that goes from easy to hard

Source (abstract read): Kumar, Clune, Lehman & Stanley 2025 (arXiv 2505.11581), a position paper. Reported: networks
evolved by open-ended search and networks trained by SGD give the same image, and inside differ strikingly: SGD's are
fractured and entangled, the evolved ones nearly unified and factored. That fracture costs generalization is their
conjecture; the abstract shows no loss. Gallery: "fractured representation behind equal accuracy".

Kept: equal outputs, and a measured difference inside: is one count coded alike whichever kind is asked for? Left out:
evolution, images, and single neurons that one can look at. `:curriculum`, from one step to five, stands in for the
path that evolution took.

Predicted (2026-11-30, before any run): the probe's accuracy on other kinds rises with decay up to the middle of the
axis and parallelism does not, so the two metrics disagree. Accuracy on `iid` is kept up to .6 and lost at the last
rate; that on `counts` is nowhere shown better. So unity is a gain for nothing where it is a gain. Of `:curriculum`:
neither metric is shown to move. The neutral ability is expected at .7 to .9: with eight steps and width 64 the
calibration card reaches .95 in 2,500 steps of 64; here it is five steps, 32 examples and width 32.

Expected: 72 cells x 1,500 steps; minutes not measured.
What came out (2026-11-30): Prediction held in part. The two metrics disagree, as predicted, but the other way round:
parallelism rises from a decay of .8 on and the probe's accuracy on other kinds falls from .6 on. Unity by parallelism
is a *gain for nothing*, and accuracy on `counts` is nowhere shown better, as predicted; but nothing is lost either, not
at the last rate (.997 and .961, against .999 and .992 at neutral). Neutral is at the ceiling, where .7 to .9 was
expected. `:curriculum`: Prediction held in part. Parallelism does not move, as predicted; the probe's accuracy on other
kinds falls at .875 and 1 (2026-12-01). Accuracy on `iid` is kept everywhere, that on `counts` up to .875 (.97).
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; 'curriculum' turns the order of examples in place of weight decay."""
    config = study_config(variant, variants=("curriculum",), own=dict(strengths=(), seeds=8))
    config.name = "fractured_representation" + (f"_{variant}" if variant else "")
    config.question = "Does a more unified code of counts become ability where accuracy is equal?"
    config.tasks.recall = dict(task="count_recall", length=5, longer=6, examples=32)
    config.model.update(dict(width=32, heads=4, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1500), dict(train=3)
    config.strengths = (0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.2, 1.6)
    config.claim.knob = "weight_decay.rate"
    config.claim.gains = dict(parallelism_score=1, cross_condition_accuracy=1)
    config.claim.abilities = ("recall/iid", "recall/counts")
    if variant == "curriculum":
        config.knobs = dict(config.knobs, curriculum=dict(order="ramp"))
        config.strengths = tuple(step / 8 for step in range(9))
        config.claim.knob = "curriculum.share"
    return config


def sweep(config):
    """Every rate, or share, with every seed."""
    return product(axis(config.claim.knob, config.strengths), axis("seed", range(config.seeds)))
