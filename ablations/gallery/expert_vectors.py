"""Are singular values enough to become an expert? A new operation, learned by five ways of moving few weights.

Claim (fixed before training): against moving everything, moving few parameters alone separates the new task's classes
better and uses other directions (more of them), and costs neither the new task nor the old ones.

    python run.py --config=ablations/gallery/expert_vectors.py          5 ways x 8 seeds: all (control), readout, norms,
                                                                        adapters, singular values
    python run.py --config=ablations/gallery/expert_vectors.py:shared   one vector of singular values for two tasks, at
                                                                        nine shares of the second in its training

Source (abstract and an article's summary read): Sun, Cetin & Tang 2025 (arXiv 2501.06252), Transformer-Squared:
vectors that scale the singular values of a language model's weights, an expert each, trained by reinforcement
learning and mixed at inference by a dispatcher, do better than LoRA with fewer parameters, also on tasks that no
expert was trained on. Gallery: "expert vectors from singular values, mixed at inference".

Kept: singular vectors stay, values move; adapters as the rival; an expert for a task that pretraining did not have.
Left out: mixing two trained vectors at inference, with its dispatcher: no knob of the lab joins two cells, so the
headline of the source is not replicated. `:shared` asks what is nearest, whether one vector has room for both tasks.
Left out as well: rewards; values move by addition and not by a factor; all kernels of a model of width 32, where
singular values are about a fiftieth of the weights.

Predicted (2026-11-30, before any run): singular values learn subtraction far less well than everything does (loss),
adapters of rank 4 come within .1 of it, readout and norms hardly start. What is kept of addition is the reverse:
norms and readout most, all least. Fisher trace of subtraction is lower for all four than for moving everything: no
gain shown. Of `:shared`, neutral at an eighth of subtraction: its Fisher trace rises with its share, its ability gets
better, addition is lost from .75 on.
Neutral, all weights moved for 600 steps, is expected at .5 to .8 on subtraction, from .49 to .71 after 400
(ablations/transfer.py, three seeds).

Expected: 8 cells x 1,600 steps, then 40 (`:shared` 72) x 600; minutes not measured.
What came out (2026-11-30): Prediction held in part. Subtraction after 600 steps: all .78, adapters .50 (predicted:
within .1), singular values .07, norms .06, readout .01: loss with all but adapters, which stay undecided. The Fisher
trace is lower for all four, as predicted; directions are more only with the readout, where the ability is lost. Nothing
is kept of addition by any way (.03 to .09, against .03 with all weights; predicted: norms and readout most): even
readout or norms alone overwrite it while they learn nothing new. Its claims are *not learned*, because the control has
nothing left to lose. `:shared`: not run.
"""

from lab.study import axis, product, study_config

WAYS = ("all", "readout", "norms", "adapters", "singular_values")


def get_config(variant: str = ""):
    """The study; 'shared' turns how much of the training of one vector is for the new task."""
    own = dict(shares=(0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 0.9375, 1.0), seeds=8)
    config = study_config(variant, variants=("shared",), own=own)
    config.name = "expert_vectors" + (f"_{variant}" if variant else "")
    config.question = "What does a new task cost the old one, by which weights may move?"
    pairs = dict(task="modular", p=31, fraction=0.9, probe="seen")
    shared = variant == "shared"
    config.tasks.add = dict(
        pairs, operation="add", unordered=True, examples=dict(pretrain=64, expert=56 if shared else 0)
    )
    config.tasks.subtract = dict(pairs, operation="sub", examples=dict(pretrain=0, expert=8 if shared else 64))
    config.model.update(dict(width=32, layers=2, heads=2, mlp_width=64))
    config.knobs = dict(optimizer=dict(learning_rate=3e-3), weight_decay=dict(rate=0.25))
    config.stages = ("pretrain", "expert")
    config.steps, config.saves = dict(pretrain=1600, expert=600), dict(pretrain=2, expert=2)
    config.claim.knob = "tune.only"
    config.claim.gains = dict(fisher_trace=1, participation_ratio=1)
    config.claim.abilities = ("subtract/iid", "add/iid")
    if shared:
        config.question = "How many tasks can one vector of singular values be an expert in?"
        config.knobs = dict(config.knobs, tune=dict(only="singular_values"))
        config.claim.knob = "mixture.subtract"
    return config


def sweep(config):
    """Every way, or share, with every seed; pretraining is done once a seed."""
    settings = config.shares if config.claim.knob == "mixture.subtract" else WAYS
    return product(axis(config.claim.knob, settings, stage="expert"), axis("seed", range(config.seeds)))
