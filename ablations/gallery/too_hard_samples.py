"""Do samples that are too hard teach shortcuts? Subtraction, trained on next to products that only a cue gives away.

Claim (fixed before training): the larger the share of hard problems in a second stage of training, the richer the
latents of the easy ones (more directions; a probe reads the answer better), at no cost in what was learned before.

    python run.py --config=ablations/gallery/too_hard_samples.py         9 shares x 8 seeds
    python run.py --config=ablations/gallery/too_hard_samples.py:clean   the control: the cue of hard problems says
                                                                         nothing, easy ones are fewer all the same

Every question is led by a cue. On easy problems (subtraction mod 31, learned in the first stage) it names the answer
in three of ten; on hard ones (multiplication mod 31, new in the second stage, which is too short to learn it) in nine
of ten. The ability is subtraction where the cue says nothing (`uncued`).

Source (abstract read in part, and two summaries): arXiv 2605.28388, on reinforcement learning from checked answers in
language models: difficulty acts non-monotonically; overly hard problems give weak signals and degrade what was there,
for the rare success is a shortcut (an answer repeated, computation skipped) that is then reinforced. Gallery:
"too-hard samples teach shortcuts".

Kept: a model that has an ability, hard samples whose only success is a shortcut, the ability read where the shortcut
fails. Left out: rewards, advantages and sampled answers: shortcuts are planted, and learned from right answers.

Predicted (2026-11-30, before any run): probe accuracy rises with the share (it reads the cue); participation ratio is
not shown to rise. Subtraction on `uncued` is kept up to a half of hard ones and lost from .8 on. In `:clean` it is
lost at the last share or two only: the shortcut is contagious. Subtraction where cues are as in training is kept
longer.
Neutral is expected at .7 to .95, from the .95 of pruning.py:quick (same size, rate, steps), where no cue helps; the
claims are about losses, which a ceiling does not hide.

Expected: 8 cells x 1,600 steps, then 72 x 400; minutes not measured.
What came out (2026-11-30): Prediction failed. The shortcut is there from the start: at neutral subtraction is at .86
where its cue holds and at .10 where the cue says nothing (chance .03; predicted .7 to .95), so that nothing can be
shown kept or lost there; accuracy falls to .04 from a share of .875 on, undecided. On examples like those of training
subtraction counts as *not learned*, because following the cue alone scores as well. Probe accuracy falls where a rise
was predicted; directions rise at 1 alone, which does not stand the correction. `:clean`: not run. The replica needs a
pretraining in which the cue does not help.
Refined to 20 seeds on another machine (2026-12-01; the kept files are of that run): uncued questions count as not
learned (.08 at neutral), so that nothing can be lost.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; in 'clean' the hard problems' cue says nothing."""
    own = dict(shares=(0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.9375, 1.0), seeds=8)
    config = study_config(variant, variants=("clean",), own=own)
    config.name = "too_hard_samples" + (f"_{variant}" if variant else "")
    config.question = "Does an ability survive training on samples that only a shortcut solves?"
    pairs = dict(task="modular", p=31, fraction=0.9, cue=True, probe="seen")
    config.tasks.easy = dict(pairs, operation="sub", spurious=0.3, examples=dict(learn=64, hard=56))
    reliable = 0.0 if variant == "clean" else 0.9
    config.tasks.hard = dict(pairs, operation="mul", spurious=reliable, examples=dict(learn=0, hard=8))
    config.model.update(dict(width=32, layers=1, heads=2, mlp_width=64))
    config.knobs = dict(optimizer=dict(learning_rate=4.5e-3), weight_decay=dict(rate=0.25))
    config.stages = ("learn", "hard")
    config.steps, config.saves = dict(learn=1600, hard=400), dict(learn=2, hard=2)
    config.claim.knob = "mixture.hard"
    config.claim.gains = dict(probe_accuracy=1, participation_ratio=1)
    config.claim.abilities = ("easy/uncued", "easy/iid")
    return config


def sweep(config):
    """Every share of hard problems with every seed; what comes before them is trained once a seed."""
    return product(axis(config.claim.knob, config.shares, stage="hard"), axis("seed", range(config.seeds)))
