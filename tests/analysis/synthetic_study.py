"""A study's results without training: real tasks and claims, planted curves, every awkward case that a report meets."""

import numpy as np

from analysis.activations.measure import probe_sites
from analysis.design import setting_of
from analysis.diagnosis import find
from analysis.metrics.registry import BALANCE, CHECKS, METRICS
from analysis.repair import ARMS
from analysis.results import Results
from analysis.results.recovery_record import Outcome, Repairs
from lab.engine import Layout, make_plan
from lab.study import axis, product, study_config
from lab.study.parse import parse
from tasks.base import trivial

SPARSITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
FACTS = {
    "command": "python run.py --config=ablations/pruning.py",
    "python": "3.12.0",
    "versions": {"jax": "0.10.2", "numpy": "2.3.0"},
    "seconds": {"train": 312.4, "compile": 21.0, "measure": 40.5, "training_programs": 2, "total": 380.0},
    "notes": [],
}


def study(seeds=8, sparsities=SPARSITIES, strata=False, **changes):
    """Facts, Z6, addition and path-star under one-shot pruning; `strata` adds a further axis, `further` others.

    `facts` puts another task in the place of the facts, under their label; `gains` and `abilities` are the claim's.
    """
    config = study_config()
    config.name = changes.get("name", "synthetic")
    config.question = "Up to which sparsity is one-shot magnitude pruning free, and does it make latents better?"
    facts = dict(task="facts", facts=128, spurious=changes.get("spurious", 0.0))
    config.tasks.facts = dict(changes.get("facts", facts), examples=16)
    config.tasks.z6 = dict(task="group_word", group="Z6", examples=16)
    config.tasks.addition = dict(task="modular", p=31, operation="add", examples=16)
    config.tasks.path_star = dict(task="path_star", direction="reverse", examples=32)
    config.stages = ("train", "prune")
    config.steps = dict(train=2000, prune=200)
    config.saves = dict(train=5, prune=2)
    config.claim.knob = changes.get("knob", "prune.sparsity")
    config.claim.gains = changes.get("gains", dict(participation_ratio=-1, two_nn=-1, fisher_trace=1))
    config.claim.abilities = changes.get("abilities", ("facts/iid", "z6/iid", "addition/iid", "path_star/iid"))
    axes = [*changes.get("further", ()), axis(config.claim.knob, sparsities, stage="prune"), axis("seed", range(seeds))]
    if strata:
        axes.insert(0, axis("prune.scope", ("global", "layerwise"), stage="prune"))
    return parse(config, product(*axes), METRICS)


def categorical(seeds=8, control="swapped", **changes):
    """Facts and Z6 with three continuous thoughts, read with the example's own, another example's, and noise."""
    config = study_config()
    config.name, config.question = "categorical", "Is it the content of thoughts that is used?"
    config.tasks.facts = dict(task="facts", facts=128, examples=16)
    config.tasks.z6 = dict(task="group_word", group="Z6", examples=16)
    config.stages = ("train", "read")
    config.steps, config.saves = dict(train=2000, read=200), dict(train=5, read=2)
    config.knobs = dict(thoughts=dict(steps=3))
    config.claim.knob, config.claim.control = "thoughts.control", control
    config.claim.gains = dict(participation_ratio=-1, fisher_trace=1)
    config.claim.abilities = ("facts/iid", "z6/iid")
    config.claim.update(changes)
    controls = axis("thoughts.control", ("own", "swapped", "noise"), stage="read")
    return parse(config, product(controls, axis("seed", range(seeds))), METRICS)


def association(seeds=5, sparsities=(0.0, 0.3, 0.6, 0.9), **changes):
    """Facts and Z6 over sparsity × weight decay; metric and ability go together."""
    config = study_config()
    config.name, config.question = "association", "Does the metric predict the ability over the grid?"
    config.tasks.facts = dict(task="facts", facts=128, examples=16)
    config.tasks.z6 = dict(task="group_word", group="Z6", examples=16)
    config.stages = ("train", "prune")
    config.steps, config.saves = dict(train=2000, prune=200), dict(train=5, prune=2)
    claimed = dict(kind="association", gains=dict(participation_ratio=1), abilities=("facts/iid", "z6/iid"))
    for name, value in (claimed | changes).items():
        config.claim[name] = value
    pruned = axis("prune.sparsity", sparsities, stage="prune")
    return parse(config, product(axis("weight_decay.rate", (0.0, 0.1)), pruned, axis("seed", range(seeds))), METRICS)


def _ability(label, u, progress, floor):
    """Planted accuracy at knob position u in [0, 1] and share of training done."""
    learned = {
        "facts": 0.97 - 0.5 * np.clip(u - 0.5, 0, None),  # holds, then falls: a reversal
        "z6": 0.97 - 0.75 * np.clip((u - 0.25) / 0.3, 0, 1),  # a cliff, then a floor
        "addition": 0.95 + 0.0 * u,  # never moves
        "path_star": floor + 0.0 * u,  # never learned
    }[label]
    return floor + (learned - floor) * progress


def _latent(name, u, progress):
    base = {"participation_ratio": 22.0, "two_nn": 9.0, "fisher_trace": 30.0, "rank_me": 40.0}.get(name, 0.5)
    slope = {"participation_ratio": -12.0, "two_nn": -4.0, "fisher_trace": 40.0}.get(name, 0.1)
    return base * (0.4 + 0.6 * progress) + slope * u


def _noise(name):
    """Standard deviations a seed and a cell."""
    return (0.2, 0.15) if name in ("participation_ratio", "two_nn", "fisher_trace") else (0.01, 0.01)


def _check(name, latents, count):
    """Columns that are no metrics."""
    if name.endswith("kept"):
        return np.full(latents["two_nn"].shape, 0.82)
    if name.endswith("_half"):
        return latents[name.removesuffix("_half")] * 0.93
    if name in BALANCE:
        return np.full(latents["two_nn"].shape, {"class_count_min": 20.0, "class_count_max": 44.0}.get(name, count))
    return np.full(latents["two_nn"].shape, 0.1)


def results(one=None, rng_seed=0, diverged=True):
    """Planted readings of every cell at every save; two cells diverge (or those named), one metric lacks a setting."""
    one = one or study()
    rng = np.random.default_rng(rng_seed)
    evaluations = [(i, step) for i, stage in enumerate(one.stages) for step in stage.saves]
    last = len(one.stages) - 1
    at_C = (
        [setting_of(one, cell) % 4 for cell in one.cells]
        if one.claim.knobs
        else [setting_of(one, cell) for cell in one.cells]
    )  # of a categorical axis the value's place, the control 0
    u_C = np.asarray(at_C) / (max(at_C) or 1)
    seed_C = np.asarray([cell["seed"] for cell in one.cells])
    acting_E = np.asarray([stage == last for stage, _ in evaluations])
    progress_E = np.minimum(1.0, (np.arange(len(evaluations)) + 1) / (len(evaluations) - 1))
    u_CxE, progress_CxE = u_C[:, None] * acting_E, np.broadcast_to(progress_E, (len(u_C), len(progress_E)))
    seed_noise = rng.normal(size=(int(seed_C.max()) + 1, len(evaluations)))

    def noisy(values, seed_sd, cell_sd):
        return values + seed_sd * seed_noise[seed_C] + cell_sd * rng.normal(size=values.shape) * acting_E

    columns = {"train/loss": noisy(2.0 - 1.9 * progress_CxE, 0.01, 0.01)}
    for use in one.tasks:
        for index, split in enumerate(use.splits):
            floor = trivial(use.task, split)
            drop = 1.0 if split == "iid" else 0.8 - 0.15 * index
            exact = noisy(_ability(use.label, u_CxE, progress_CxE * drop, floor.exact), 0.006, 0.01)
            columns[f"{use.label}/{split}/exact"] = (
                np.round(np.clip(exact, 0, 1) * one.eval_examples) / one.eval_examples
            )
            columns[f"{use.label}/{split}/logprob"] = floor.logprob * (1.02 - np.clip(exact, 0, 1))
            columns[f"{use.label}/{split}/token_accuracy"] = columns[f"{use.label}/{split}/exact"].copy()
    for site in probe_sites(one):
        latents = {name: noisy(_latent(name, u_CxE, progress_CxE), *_noise(name)) for name in METRICS}
        for name in (*METRICS, *CHECKS, *BALANCE):
            columns[f"{site}/{name}"] = latents[name] if name in latents else _check(name, latents, 31.0)
        columns[f"{site}/image_r2"] = np.where(acting_E & (u_C > 0)[:, None], 1 - 0.5 * u_CxE, np.nan)
        if site.label == "facts":
            columns[f"{site}/two_nn_kept"][:] = 0.125  # 128 facts among 1024 inputs
    missing = np.isclose(u_C, 1.0)
    for site in probe_sites(one):
        if site.label == "path_star":
            columns[f"{site}/fisher_trace"][missing, -1] = np.nan
    at = np.full(len(one.cells), -1)
    if diverged:  # True, or indices of cells
        past = np.flatnonzero(u_C > 0.6).tolist() or [*range(len(one.cells))]
        for cell in {past[min(3, len(past) - 1)], len(one.cells) - 1} if diverged is True else {*diverged}:
            at[cell] = one.stages[last].start + 40
            for values in columns.values():
                values[cell, -1] = np.nan
    shared = tuple(tuple(one.key(cell, stage) for stage, _ in evaluations) for cell in one.cells)
    names = tuple(one.stages[stage].name for stage, _ in evaluations)
    return Results(one, np.asarray([step for _, step in evaluations]), names, columns, at, shared)


def outcome(arm="relax", *, recovered=0.4, lost=0.4, unchanged=0.0, noise=0.01, seeds=8, **where):
    """Neutral at .95, lost to .55, of which training on unchanged recovers `unchanged` and the arm `recovered` more."""
    rng = np.random.default_rng(3)

    def around(value):
        return tuple(value + noise * rng.standard_normal(seeds))

    ability = {"label": "facts", "split": "iid", "stratum": {}, "setting": 0.8, "delta": 0.05} | where
    return Outcome(
        **ability,
        arm=arm,
        seeds=tuple(range(seeds)),
        before=around(0.95 - lost),
        after=around(0.95 - lost + unchanged + (0 if arm == "continue" else recovered)),
        unchanged=around(0.95 - lost + unchanged),
        neutral_before=around(0.95),
        neutral_after=around(0.95),
        latents={"participation_ratio": (22.0, 10.0, 14.0)},
        moved={} if arm in ("continue", "relax") else {"participation_ratio": around(1.0)},
    )


def repaired(bounds):
    """Three arms for every primary ability that is harmed somewhere."""
    broken = [b for b in bounds if b.primary and b.learned and b.harmful_from is not None]
    arms = {"continue": {}, "relax": {"recovered": 0.3}, "readout": {"recovered": 0.0}}
    outcomes = [
        outcome(arm, label=b.label, split=b.split, stratum=b.stratum, setting=b.harmful_from, delta=b.delta, **planted)
        for b in broken
        for arm, planted in arms.items()
    ]
    return Repairs(440, {arm: ARMS[arm].about for arm in arms}, tuple(outcomes), ())


def everything(**options):
    """(plan, findings) of `study(**options)`."""
    one = study(**options)
    findings = find(results(one))
    return make_plan(one, Layout("cpu", 2, 1, 4)), findings.with_records(repairs=repaired(findings.bounds))
