"""Do widths that are trained jointly serve alone? A stream cut to its first dimensions, trained for that or not.

Claim (fixed before training): cut to its first dimensions, a model has more compact latents (participation ratio,
RankMe) at no cost in ability, where its half and quarter were trained with it. The rate of that joint training is a
stratum: 0, the control, and 1. Of Gallery's founding documents: nested widths (chain of model).

    python run.py --config=ablations/gallery/nested_widths.py    9 widths x 2 rates x 9 seeds

The widths of a seed and rate share their training; nothing is learned after the cut. Nine seeds, for the cells are
cheap.

Sources (abstract read): Song et al. 2025, arXiv 2505.11820: hidden states in chains, each of which sees those before
it, give several models in one, comparable to a plain transformer of the same size. The same for embeddings: Kusupati et
al. 2022, arXiv 2205.13147 (recalled, not checked).
Kept: leading dimensions that serve alone, several widths from one training, the whole width at no cost. Left out: the
restriction that a chain sees only those before it (here all weights of the leading dimensions are shared and the whole
model uses all), progressive growth, keys shared between chains, language.

Expected ability, inferred from width.py and the card of composite_facts: 448 facts .8 to .95, Z6 of four elements .7 to
.95 at the whole width.
Predicted (2026-11-30, before any run): rate 0: all is lost from seven eighths on (*gain only after the ability is
lost*). Rate 1: facts and Z6 are kept at one half and lose something between that and the whole, where no width was
trained, yet less than at rate 0; at one quarter facts lose a third and Z6 is lost. The whole width costs Z6 up to .1.
So compactness is a *gain, then loss* at rate 1.
Expected on two idle CPU cores: not measured; 32,400 cell-steps, half of them of two passes.
What came out (2026-11-30): Prediction failed. Rate 0: all is lost from seven eighths on (facts .36, Z6 .05 there), as
predicted. Rate 1: everything is lost from seven eighths on as well. Of the widths that were trained jointly, the half
holds .75 of the facts (without: .07) and .38 of Z6 (.62 whole), where both were predicted kept, the quarter .28 and
.11; widths that were never trained hold less than the half does (.31 at seven eighths, .18 at three quarters). The
whole width costs facts nothing and Z6 .11 (.62 against .73). Directions and effective rank fall with the width at
either rate: *harmed from the start*, or *gain only after the ability is lost*.
Trained again with --repair on another machine (2026-12-01): the same verdicts; the kept files are of that run. 300
steps more bring back all that is lost of Z6 and at least half that is lost of facts.
"""

from lab.study import axis, product, study_config

SIXTEENTHS = (16, 14, 12, 10, 8, 6, 4, 2, 1)  # of the width; 8 and 4 are trained jointly


def get_config():
    """The study."""
    config = study_config(own=dict(sixteenths=SIXTEENTHS, rates=(0.0, 1.0), seeds=9))
    config.name = "nested_widths"
    config.question = "Do a model's leading dimensions serve alone where they were trained to?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.model.update(dict(width=32, heads=2, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3), nested=dict(halvings=2))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.stages = ("train", "cut")
    config.steps, config.saves = dict(train=1800, cut=0), dict(train=4, cut=1)
    config.claim.knob = "width.active"
    config.claim.gains = dict(participation_ratio=-1, rank_me=-1)
    config.claim.abilities = ("facts/uniform", "z6/iid")
    return config


def sweep(config):
    """Every width at both rates with every seed; the widths share their training."""
    widths = [sixteenths / 16 for sixteenths in config.sixteenths]
    return product(
        axis("nested.rate", config.rates), axis("width.active", widths, stage="cut"), axis("seed", range(config.seeds))
    )
