"""Does length carry over from one task to another? Copying short strings next to reversing long ones, ever shorter.

Claim (fixed before training): the shorter the strings that are reversed, the more compact (participation ratio) and
better separated (Fisher trace) the latents of copying strings longer than were ever copied, at no cost in copying them.
Of Gallery's founding documents: length generalization carried between tasks.

    python run.py --config=ablations/gallery/length_carried.py    reversed strings of up to 9 down to 1 tokens x 8 seeds

Copying is trained on five tokens and asked of eight. Neutral is the longest auxiliary task, so that what it carried
over is what the map shows lost as it gets shorter. Both tasks share their symbols.

Source (abstract read): Cai et al. 2025, arXiv 2506.09251. Reported: trained jointly with a related task on longer
inputs, transformers generalize on the other task to lengths of which it showed none, in arithmetic, string operations
and mazes; this goes with attention heads that both tasks use.
Kept: two string operations trained jointly, one of them longer; rotary positions. Left out: unrelated control tasks,
other domains, pretrained models, attention heads.

Expected ability, inferred from the card copy/copy8 (width 64, 800 steps of 64: .97): copying five tokens .95, eight
tokens .2 to .8 at neutral.
Predicted (2026-11-30, before any run): copying eight tokens is lost from 7 on and at the floor from 5 on, strings of
five are kept throughout. Directions fall with it: *gain only after the ability is lost* for eight tokens, *gain for
nothing* for those of five; separation is not shown to rise.
Expected on two idle CPU cores: not measured; 72,000 cell-steps of 460 tokens.
What came out (2026-11-30): Prediction failed. Nothing carries over: copying eight tokens is at .00 at every setting,
next to reversed strings of nine that are reversed at .97 (of ten: .07), so its claims are *not learned*; strings of
five are copied at 1.00 throughout, and neither metric moves. The paper's heads that both tasks use are not formed by
these two.
"""

from lab.study import axis, gain, product, study_config


def get_config():
    """The study."""
    config = study_config(own=dict(longest=(9, 8, 7, 6, 5, 4, 3, 2, 1), seeds=8))
    config.name = "length_carried"
    config.question = "Does the length of one task's strings carry over to another task?"
    strings = dict(task="copy", symbols=8, examples=12)
    config.tasks.copy = dict(strings, length=5, shortest=5, longer=8, direction="copy")
    config.tasks.reverse = dict(strings, length=9, shortest=1, longer=10, direction="reverse")
    config.model.update(dict(width=32, mlp_width=128, positions="rotary"))
    config.knobs = dict(optimizer=dict(learning_rate=3e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1000), dict(train=4)
    config.claim.knob = "task.reverse.length"
    config.claim.gains = (
        gain("participation_ratio", -1, task="copy", split="length"),
        gain("fisher_trace", task="copy", split="length"),
    )
    config.claim.abilities = ("copy/length", "copy/iid")
    return config


def sweep(config):
    """Every length with every seed."""
    return product(axis(config.claim.knob, config.longest), axis("seed", range(config.seeds)))
