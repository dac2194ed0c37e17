"""Do lookahead tokens in training data teach to look ahead? Graphs whose search from the goal back is shown, or not.

Claim (fixed before training): the more training examples show the vertices from the goal back before the answer, the
more the state at the end of a question without them holds about the first hop (V-information, probe accuracy), and the
more often such questions are answered right. Of Gallery's founding documents: lookahead tokens in training data.

    python run.py --config=ablations/gallery/lookahead_tokens.py    9 shares x 8 seeds

Questions with and without lookahead end in tokens of their own. Both are evaluated: `direct` without, `iid` with
vertices that the model writes itself. Neutral is one example in twenty with lookahead, for a program without any has no
room for it.

Source (abstract read): Thankaraj et al. 2025, arXiv 2504.11336. Reported: training sequences into which future tokens
are inserted between special tokens improve planning, algorithmic reasoning and stories with no change of the model,
which can then write such goals itself.
Kept: tokens from the end of the way inserted before its start, in a share of the data, plain questions and those with
self-written lookahead. Left out: the paper's own graphs and stories, random places and lengths of what is inserted,
pretrained models.

Expected ability, inferred from the card graph_search/two_steps (width 64, 5,000 steps of 64: .9 on 7 vertices): direct
.75 to .9, with a floor of .75 where half of the questions look one step ahead; that two steps are learned in 2,200
steps of 32 is not known. Neutral has to be steadied before the study is run in full.
Predicted (2026-11-30, before any run): `direct` is lost from .8 on, for fewer examples ask directly, and is nowhere
better; V-information at its question is not shown to rise. With lookahead the ability is better from .3 on, and reads
*no gain shown*.
Expected on two idle CPU cores: not measured; 158,400 cell-steps of 540 tokens.
What came out (2026-11-30): Prediction failed. Nothing is learned that could be lost: at one example in twenty with
lookahead `direct` reaches .51 and `iid` .52, both below the floor of .75, and no share of lookahead changes that (.50
to .54). No latent reading moves. As built the study measures nothing; it wants more training, or a smaller graph.
"""

from lab.study import axis, gain, product, study_config


def get_config():
    """The study."""
    config = study_config(own=dict(shares=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 0.95), seeds=8))
    config.name = "lookahead_tokens"
    config.question = "Does a search from the goal back, shown in part of the examples, teach to look ahead without it?"
    config.tasks.search = dict(
        task="graph_search",
        vertices=7,
        larger=8,
        nodes=9,
        extra=0,
        scratchpad="valid",
        scratchpad_share=0.05,
        examples=32,
    )
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=2200), dict(train=4)
    config.claim.knob = "task.search.scratchpad"
    config.claim.gains = (gain("v_information", split="direct"), gain("probe_accuracy", split="direct"))
    config.claim.abilities = ("search/direct", "search/iid")
    return config


def sweep(config):
    """Every share with every seed."""
    return product(axis(config.claim.knob, config.shares), axis("seed", range(config.seeds)))
