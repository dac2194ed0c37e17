"""Is a cheaper code as good? A price on the nats that pass from the first block to the second, up to collapse.

Claim (fixed before training): the higher the price beta, the lower the rate of the code and the fewer of its
coordinates are active, at no cost in ability. Gallery case 23.

    python run.py --config=ablations/gallery/posterior_collapse.py    9 prices x 8 seeds

Source (abstract read): Alemi et al. 2017, arXiv 1711.00464. Reported: models of one evidence lower bound differ in rate
and distortion; maximum likelihood alone does not make a code useful, and strong decoders ignore theirs unless the rate
is held up. That the posterior collapses where the price outweighs the loss: Bowman et al. 2016, arXiv 1511.06349
(recalled, not checked).
Kept: rate and active coordinates of a stochastic code with a Gaussian prior, price by price; a decoder (the second
block and readout) that can name frequent values without the code. Left out: images and generation, learned priors, a
decoder that sees the input as well. planted.py:posterior_collapse plants the collapse in a second stage; this study
prices the code from the first step on, at rates at which it may be free.

Expected ability, inferred from bottleneck.py:vib run small (facts .97 to .93 at .08, copying .83 at 0 and .56 at .01):
copying six tokens .7 to .95 and 448 facts .6 to .9 at beta 0, both without noise.
Predicted (2026-11-30, before any run): the rate falls from the first price on for both tasks, active coordinates from
.004. Copying is lost from .002 on, facts are kept up to .016 and lost at .064: copying is *gain, then loss* or *harmed
from the start*, facts *gain, then loss*. At .064 a part of the seeds has no active coordinate and the ability of the
floor.
Expected on two idle CPU cores: not measured; 108,000 cell-steps of 520 tokens.
What came out (2026-11-30): Prediction failed. The rate falls from the first price on for both tasks, as predicted, and
costs neither ability anything at any price: copying is at 1.00 throughout (predicted lost from .002), facts at 1.00 and
at .97 at .064 (predicted lost there): *gain for nothing*, which for facts does not stand the correction. No coordinate
becomes inactive and no seed collapses: at these prices and this length of training the collapse lies beyond the axis.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    own = dict(prices=(0.0, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016, 0.032, 0.064), seeds=8)
    config = study_config(own=own)
    config.name = "posterior_collapse"
    config.question = "Up to which price is a cheaper code between two blocks free?"
    config.tasks.facts = dict(task="composite_facts", examples=24, probe="uniform")
    config.tasks.copy = dict(task="copy", length=6, shortest=6, longer=7, symbols=16, examples=16)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1500), dict(train=4)
    config.probe.layers, config.claim.layer = (1, -1), 1
    config.claim.knob = "vib.beta"
    config.claim.gains = dict(vib_rate=-1, vib_active_units=-1)
    config.claim.abilities = ("facts/uniform", "copy/iid")
    return config


def sweep(config):
    """Every price with every seed."""
    return product(axis("vib.beta", config.prices), axis("seed", range(config.seeds)))
