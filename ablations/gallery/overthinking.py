"""Do more turns of a loop at test compose more than was trained, and when do they hurt? One training, nine readings.

Claim (fixed before training): a model that was trained with four turns of one block and is read with more has latents
that hold more of the answer (V-information), in classes further apart (Fisher trace), and is better: at words as long
as in training, and at longer ones.

    python run.py --config=ablations/gallery/overthinking.py    4 to 32 turns at test x 12 seeds; 12 cells are trained

Source: Kohli et al. 2026 (arXiv 2604.07822; abstract read, 2026-11-30). Reported, on transformers of recurrent depth
that were trained from scratch on facts and compositions of them: more iterations at inference unlock compositions that
are deeper than in training, and too many of them degrade predictions (overthinking). That looping lifts reasoning where
it doesn't lift memory: Saunshi et al. 2025 (arXiv 2502.17416; abstract read), whose replica with the controls of equal
depth and equal parameters is ablations/looped_depth.py, `:equal_depth` and `:equal_parameters`. Gallery case 8, its
second half.

Kept: weights that are shared over depth, a number of turns that differs between training and test, a split with longer
compositions than training had, and composite facts as the ability that needs no turns. Left out: compositions of facts
that weights store (here the elements stand in the context), grokking over long training, and training with a random
number of turns.

Neutral ability: facts .75 to 1 (their card); Z6 of 4 elements .6 to .9 (two blocks reach .96 in as many examples; four
turns of one block were not tried). Longer compositions (words of 6 elements, never trained) begin near their floor, and
are judged as not learned unless positions carry over.

Predicted (2026-11-30, before any run of this file): no gain in V-information, which falls from 6 turns on, and so do
facts and Z6, Z6 first, both lost by 16 turns; the Fisher trace rises at 5 or 6 turns, if any metric does (gain, then
loss). Words of 6 elements stay not learned at any number of turns: a number of turns that never varied in training is
itself what the model has learned. So overthinking replicates here, and depth extrapolation doesn't.

Expected minutes: not measured.
What came out (2026-11-30): Prediction held in part. Overthinking replicates: facts (1.00) are kept up to 6 turns and
lost from 7 on, Z6 (.83) is lost from 6 on, .51 at 8 and .10 at 16. Depth does not extrapolate: words of 6 elements,
just learned (.10), are better nowhere and lost from 7 turns on (predicted: not learned). V-information falls from 6 or
7 turns on and gains nowhere, as predicted. The Fisher trace rises at 5 and 6 turns on facts, where they are kept, and
is lower again by 7: *gains, then loses the gain*, where *gain, then loss* was predicted.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; it has no variants."""
    config = study_config(variant, own=dict(turns=(4, 5, 6, 7, 8, 12, 16, 24, 32), seeds=12))
    config.name = "overthinking"
    config.question = "Do more turns at test than in training become ability, and when do they hurt?"
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, longer=6, examples=32)
    config.model.update(dict(width=32, layers=1, heads=4, mlp_width=128, positions="rotary"))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3), loop=dict(turns=4))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=3000), dict(train=4)
    config.claim.knob = "loop.turns"
    config.claim.gains = dict(v_information=1, fisher_trace=1)
    config.claim.abilities = ("facts/uniform", "z6/iid", "z6/length")
    return config


def sweep(config):
    """Every number of turns at test with every seed; a seed is trained once."""
    return product(axis("loop.turns", config.turns, at="test"), axis("seed", range(config.seeds)))
