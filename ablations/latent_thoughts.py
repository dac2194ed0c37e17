"""Do continuous thoughts think? A model fed its own last hidden vectors before it answers, and two controls.

Claim (fixed before training): with more thoughts the latents hold more information about the answer (V-information,
probe accuracy) and the model is better. Each number of thoughts is read three times after the same training: with the
example's own thoughts, with the next example's, and with noise of the same length. Where an ability is the same in all
three sections of the report, the thoughts' content isn't used, whatever the latents show.

    python run.py --config=ablations/latent_thoughts.py          0 to 8 thoughts x 8 seeds x 3 controls
    python run.py --config=ablations/latent_thoughts.py:quick    3 numbers of thoughts x 3 seeds x 3 controls;
                                                                 too few seeds for a verdict
    python run.py --config=ablations/latent_thoughts.py:swap     4 thoughts x 8 seeds x 3 controls, one claim over the
                                                                 controls: own thoughts against another example's

Thoughts are learned from answers alone. The report compares settings at matched steps and at matched compute; the
learning rate stays constant, so that both are read off the same runs.

Sources: Hao et al. 2024 (arXiv 2412.06769); the content of their latent tokens: arXiv 2512.21711, 2602.01148,
2510.00494.

Predicted for composite facts before any run with them (2026-11-30): own thoughts make them no better, at equal steps
somewhat worse; another example's thoughts and noise cost more than half of them from three thoughts on.

Expected on two CPU cores: about 35 minutes, 5 for `:quick`, from whose rate it is estimated; on a GPU not measured.
Predicted of `:swap` before any run (2026-11-30): own thoughts transfer on Z6 and path-star (V-information and ability
above swapped ones), and are a gain for nothing or no gain on facts, which need no steps; noise is as swapped or worse.
Of `:quick`, with one-token facts: docs/studies.md. What came out (2026-11-30): the full study: not run. `:swap`:
Prediction held in part. Own thoughts are read better and answer better than another example's: on Z6 (.32 against .08),
as predicted, and on composite facts (.95 against .27), where no gain was predicted. Noise is worse than swapped
thoughts on both (.01, .15). Path-star was not learned (.07). So the content is used, of facts, too, which need no
steps; that thoughts *help* is not shown by it, for every model was trained with its own.
"""

from lab.study import axis, product, study_config


def get_config(variant: str = ""):
    """The study; variant 'quick' is the small version."""
    own = dict(thoughts=tuple(range(9)), controls=("own", "swapped", "noise"), seeds=8)
    config = study_config(variant, variants=("quick", "swap"), own=own)
    config.name = "latent_thoughts"
    config.question = "Up to how many continuous thoughts does latent thinking become ability, and is it their content?"
    config.tasks.z6 = dict(task="group_word", group="Z6", length=4, examples=32)
    config.tasks.facts = dict(task="composite_facts", examples=16, probe="uniform")
    config.tasks.path_star = dict(task="path_star", direction="reverse", nodes=10, examples=16)
    config.model.update(dict(width=32, mlp_width=128))
    config.knobs = dict(optimizer=dict(learning_rate=2e-3))
    config.stages = ("train", "read")  # the controls act where the model is read: a stage of one call is enough
    config.steps, config.saves = dict(train=2000, read=50), dict(train=8, read=1)
    config.claim.knob = "thoughts.steps"
    config.claim.gains = dict(v_information=1, probe_accuracy=1)
    config.claim.abilities = ("z6/iid", "facts/iid", "path_star/iid")
    if variant == "quick":
        config.steps, config.saves = dict(train=600, read=50), dict(train=5, read=1)
        config.thoughts, config.seeds = (0, 1, 3), 3
    if variant == "swap":  # a claim without order: docs/claim_shapes.md
        config.name, config.thoughts = "latent_thoughts_swap", ()
        config.knobs.update(thoughts=dict(steps=4))
        config.question = "Is it the content of continuous thoughts that is used?"
        config.claim.knob, config.claim.control = "thoughts.control", "swapped"
    return config


def sweep(config):
    """Every control with every number of thoughts and every seed; the controls share their training."""
    thoughts = [axis("thoughts.steps", config.thoughts)] if config.thoughts else []
    return product(
        axis("thoughts.control", config.controls, stage="read"), *thoughts, axis("seed", range(config.seeds))
    )
