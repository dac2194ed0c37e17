"""Does training without the answer's own tokens plan ahead? Path-star graphs, with the path so far fed back or hidden.

Claim (fixed before training): where the tokens of the path that would be fed back are hidden from training examples,
the state before the first answer holds more about the first hop (V-information, probe accuracy), and the path is found
more often. Categorical: none, half or all of the examples without a teacher, against none. Gallery case 20.

    python run.py --config=ablations/gallery/teacherless.py    3 shares x 8 seeds

Two graphs: paths of three nodes, whose first hop is one look-up back from the goal, and of four nodes, where it is two.
All cells are asked alike, feeding their own answers back.

Source (abstract read): Bachmann & Nagarajan 2024, arXiv 2403.06963. Reported: on a minimal planning task (a star of
paths, a start and a goal) transformers and Mamba trained with teacher forcing fail, for they need not plan any token
but the first; preliminary evidence that training without a teacher, on dummy tokens, resolves the failure.
Kept: the star, the forward path, dummy tokens in place of the answer. Left out: more than two arms, longer paths, large
and pretrained models, answering in one pass.

Expected ability, inferred from the tasks' cards and the three-node graphs of docs/studies.md (reverse, .81 to .95):
three nodes .7 to .95; four nodes .5, a guess between two arms, which is the floor: there the verdict is *not learned*,
and only a better teacherless setting in the map would speak for the paper.
Predicted (2026-11-30, before any run): three nodes: V-information is not shown to rise at a share of one half and falls
at one, where the path is lost. Four nodes: at .5 whatever the share, as in the card path_star/teacherless; no gain is
shown.
Expected on two idle CPU cores: not measured; 72,000 cell-steps of 950 tokens.
What came out (2026-11-30): Prediction held in part. Three nodes: three of eight seeds find the path with a teacher and
a fourth nearly (the others guess, mean .70), too few to show it learned, so both claims are *not learned*; without a
teacher the path is at .31. Four nodes: a guess (.50) with a teacher, as predicted, and .09 without, which was not:
without a teacher not even the arms are written. V-information rises nowhere and falls on four nodes. The paper's
resolution does not show at this size.
"""

from lab.study import axis, product, study_config


def get_config():
    """The study."""
    config = study_config(own=dict(shares=(0.0, 0.5, 1.0), seeds=8))
    config.name = "teacherless"
    config.question = "Does hiding the answers that would be fed back make a model plan, and find more paths?"
    config.tasks.three = dict(task="path_star", length=3, nodes=8, examples=32)
    config.tasks.four = dict(task="path_star", length=4, nodes=10, examples=24)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=3000), dict(train=5)
    config.claim.kind, config.claim.knob, config.claim.control = "categorical", "teacherless.share", 0.0
    config.claim.gains = dict(v_information=1, probe_accuracy=1)
    config.claim.abilities = ("three/iid", "four/iid")
    return config


def sweep(config):
    """Every share with every seed."""
    return product(axis("teacherless.share", config.shares), axis("seed", range(config.seeds)))
