"""Of models with one loss, are the flatter ones better elsewhere? Addition learned with SAM and decay, read and tested.

Claim (fixed before training): over a grid of ways to learn addition, models whose loss is flatter (smaller trace of the
Hessian) and whose hidden states use more directions are better at another task, subtraction as a linear probe reads it
off the frozen model, and at pairs that training held out; also where the training loss is the same. An association
(docs/claim_shapes.md); the report has it beyond the training loss. Gallery case 21.

    python run.py --config=ablations/gallery/flatness.py    3 radii x 3 decays x 8 seeds

Source (abstract read): Liu et al. 2022, arXiv 2210.14199. Reported, of masked language models on simplified data:
models of the same (minimal) pretraining loss differ downstream; training on after convergence, larger models and
another training algorithm make such models; the trace of the Hessian goes with the downstream ability where the loss
does not.
Kept: training to a low loss by several algorithms, the trace of the Hessian of the training loss, a task that training
did not have. Left out: masked language, sizes, long training after convergence, fine-tuning (the Hessian is that of the
loss of the last stage that trains, which would be the other task's). The loss is not held fixed but taken out of the
ranks.

Expected ability, inferred from transfer.py's three seeds and pruning.py: subtraction .40 to a linear probe (floor about
1 in 31), held-out addition .5 to .9.
Predicted (2026-11-30, before any run): held-out addition goes with flatness over all cells, *predicts, not shown beyond
the loss*, for decay flattens and helps alike. The probe of subtraction: *no association shown* with the trace, and
*predicts the reverse* with the number of directions.
Expected on two idle CPU cores: not measured; 86,400 cell-steps of two gradients each.
What came out (2026-11-30): Prediction held in part. No association is shown, of four. Flatness and held-out addition: ρ
.09 [-.37, .43], where one was predicted: along decay flatter goes with better (-.54 [-.84, -.22]) and along SAM's
radius with worse (.48 [.16, .81]), so that over the grid they cancel. Flatness and the probe of subtraction: -.15
[-.39, .01], none, as predicted. Directions and that probe: -.26 [-.50, .05], not shown, where the reverse was
predicted. Which knob flattens decides what flatness says.
"""

from lab.study import ability, axis, gain, product, study_config


def get_config():
    """The study."""
    config = study_config(own=dict(radii=(0.0, 0.03, 0.1), decays=(0.1, 0.25, 0.6), seeds=8))
    config.name = "flatness"
    config.question = "Are flatter models of addition better elsewhere, where the training loss is the same?"
    # Latents are read where inputs repeat least; a probe could learn the few pairs held out by heart.
    pairs = dict(task="modular", p=31, fraction=0.9, probe="seen")
    config.tasks.add = dict(pairs, operation="add", unordered=True, examples=64)
    config.tasks.subtract = dict(pairs, operation="sub", examples=dict(train=0))  # to be read, not trained
    config.model.update(dict(width=32, heads=2, mlp_width=64))
    config.knobs = dict(optimizer=dict(learning_rate=4e-3))
    config.schedule.name = "wsd"  # abilities are read at rest, not in the noise of a high learning rate
    config.steps, config.saves = dict(train=1200), dict(train=4)
    config.claim.kind = "association"
    config.claim.gains = (gain("hessian_trace", -1, task="add"), gain("participation_ratio", task="add"))
    config.claim.abilities = (ability("subtract", probe="linear"), "add/iid")
    return config


def sweep(config):
    """Every radius with every decay and every seed."""
    return product(
        axis("sam.rho", config.radii), axis("weight_decay.rate", config.decays), axis("seed", range(config.seeds))
    )
