"""What metrics, tasks and abilities are called in prose: no raw name of a config where a reader has to understand."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.activations.claimable import READINGS
from lab.study.spec import Study
from tasks.base import title


def metric(name: str) -> str:
    """A latent metric in words: 'class separation (Fisher trace)'."""
    return READINGS[name].title if name in READINGS else name.replace("_", " ")


def task(study: Study, label: str) -> str:
    """A task in words: '256 facts'; with its label where two of the study would read alike."""
    titles = {use.label: title(use.task) for use in study.tasks}
    found = titles[label]
    return f"{found} ({label})" if list(titles.values()).count(found) > 1 else found


def ability(study: Study, label: str, split: str) -> str:
    """An ability in words: the task, and the split unless it is `iid`."""
    return task(study, label) if split == "iid" else f"{task(study, label)}, {split.replace('_', ' ')}"


def knob(name: str, study: Study | None = None) -> str:
    """A knob in words: 'weight decay rate'; of a task's own knob, with its study, 'Zipf exponent in training on …'."""
    if study and name in study.own_knobs:
        return study.own_knobs[name].about
    match name.split("."):
        case ["task", label, field]:
            return f"{field.replace('_', ' ')} in training on {label}"
    return KNOBS.get(name, name.replace("_", " ").replace(".", " "))


def layer(study: Study, number: int) -> str:
    """A layer in words: 'layer 2 of 2'; counted from the end where cells are not equally deep."""
    from_end = ", counted from each cell's last" if number < 0 else ""
    return f"layer {number}{from_end} of {study.size_text('layers')}"


KNOBS = {
    "model.layers": "number of layers",
    "model.width": "stream width",
    "model.heads": "number of heads",
    "model.mlp_width": "number of neurons a block",
    "prune.sparsity": "sparsity",
    "width.active": "model width",
    "low_rank.rank": "rank",
    "head_dim.active": "head width",
    "fsq.coordinates": "number of code coordinates",
    "vib.beta": "bottleneck strength β",
    "label_smoothing.rate": "label smoothing",
    "weight_decay.rate": "weight decay",
    "residual_dropout.rate": "dropout",
    "hidden_noise.sigma": "noise on hidden states",
    "disturb.noise": "noise at test",
    "disturb.swap": "swap at test",
    "confidence_penalty.rate": "confidence penalty",
    "isotropy.rate": "isotropy penalty",
    "covariance.rate": "decorrelation penalty",
    "memory.tokens": "number of memories",
    "canon.strength": "strength of Canon layers",
    "nested.rate": "weight of narrower widths",
    "self_label.share": "self-labelled share",
}


def short_metrics(chosen: Iterable[str]) -> dict[str, str]:
    """Metrics in few words, without what stands in brackets, where that tells the chosen ones apart."""
    chosen = list(dict.fromkeys(chosen))
    brief = [metric(name).partition(" (")[0] for name in chosen]
    return {name: text if brief.count(text) == 1 else metric(name) for name, text in zip(chosen, brief, strict=True)}
