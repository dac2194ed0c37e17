"""What metrics, tasks and abilities are called in prose: no raw name of a config where a reader has to understand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from analysis.activations.claimable import READINGS
from lab.mechanisms import NEVER
from lab.study.parts import TaskUse
from lab.study.places import Ability, Gain
from lab.study.spec import Study
from lab.values import exact
from tasks.base import title


def metric(name: str) -> str:
    """A latent metric in words: 'class separation (Fisher trace)'."""
    return READINGS[name].title if name in READINGS else name.replace("_", " ")


def or_never(write: Callable[[float, int], str]) -> Callable[[float, int], str]:
    """What writes a knob's value in so many digits, with 'never' for the step that no study reaches."""
    return lambda value, digits: "never" if value == NEVER else write(value, digits)


def task(study: Study, label: str, setting: Mapping[str, Any] | None = None) -> str:
    """A task in words: '256 facts'; with its label where two of the study would read alike.

    Where the study's cells differ in its sizes, without them, or as 'facts, facts = 12' with a `setting`.
    """
    mine = [name for name in study.task_sizes if name.split(".")[1] == label]
    titles = {use.label: _title(study, use) for use in study.tasks}
    found = titles[label]
    found = f"{found} ({label})" if list(titles.values()).count(found) > 1 else found
    given = [f"{name.split('.')[2].replace('_', ' ')} = {exact(setting[name])}" for name in mine] if setting else []
    return ", ".join([found, *given])


def _title(study: Study, use: TaskUse) -> str:
    sized = {name.split(".")[1] for name in study.task_sizes}
    return use.task.name.replace("_", " ") if use.label in sized else title(use.task)


def ability(study: Study, label: str, split: str) -> str:
    """An ability in words: the task, the split unless it is `iid`, and how and where it is read if a claim says so."""
    place = study.claim.place(label, split)
    if place is None:
        return _examples(study, label, split)
    noun = MEASURES[str(place.probe or place.measure)]
    by = "" if place.measure == "exact" else f" by {noun}"
    return f"{_examples(study, label, _split(place))}{by}{_when(study, place)}{_where(study, place)}"


def skill(study: Study, label: str, split: str) -> str:
    """An ability as what rises and falls: 'accuracy on 256 facts'."""
    place = study.claim.place(label, split)
    if place is None:
        return f"accuracy on {ability(study, label, split)}"
    noun = MEASURES[str(place.probe or place.measure)]
    when = f"{_when(study, place)}{_where(study, place)}"
    return f"{noun} on {_examples(study, label, _split(place))}{when}"


def gain(study: Study, one: Gain) -> str:
    """A claimed gain in words: the metric, and where it is read if a claim says so."""
    return f"{metric(one.metric)}{_place(study, one)}"


def short_gains(study: Study) -> dict[Gain, str]:
    """The claimed gains in few words; see `short_metrics`."""
    brief = short_metrics(one.metric for one in study.claim.every_gain)
    return {one: f"{brief[one.metric]}{_place(study, one)}" for one in study.claim.every_gain}


def claimed_metrics(study: Study) -> list[str]:
    """The latent metrics that a claim is about, as gains and as what probes read of an ability, each once."""
    found = [one.metric for one in study.claim.every_gain]
    return list(dict.fromkeys([*found, *(one.probe for one in study.claim.placed_abilities if one.probe)]))


def _split(place: Ability) -> str:
    """The split that examples are named by; where a probe reads is said at the end."""
    return "iid" if place.probe is not None else str(place.split)


def _examples(study: Study, label: str, split: str) -> str:
    return task(study, label) if split == "iid" else f"{task(study, label)}, {split.replace('_', ' ')}"


def _place(study: Study, one: Gain) -> str:
    """' of addition at the end of pretrain (layer 1, second read position)'."""
    of = "" if one.task is None else f" of {task(study, one.task)}"
    return f"{of}{_when(study, one)}{_where(study, one)}"


def _when(study: Study, one: Gain | Ability) -> str:
    """' at the end of pretrain', ' at step 600'; nothing for the last step."""
    if one.step is None:
        return ""
    ended = [one.stage] if one.stage else [stage.name for stage in study.stages if stage.end == one.step]
    return f" at the end of {ended[0]}" if ended else f" at step {one.step:,}"


def _where(study: Study, one: Gain | Ability) -> str:
    """' (layer 1, second read position, factor carry, inputs of longer)', of that what goes without saying left out."""
    reads = {use.label: use.task.read_names for use in study.tasks}
    known = reads.get(one.task or "", next((each for each in reads.values() if one.position in each), ()))
    parts = []
    if one.layer is not None and one.layer != study.claim.layer:
        parts.append("embedding" if one.layer == 0 else f"layer {one.layer}")
    if one.position is not None and one.position != known[0]:
        at = known.index(one.position)
        parts.append(f"{ORDINALS[at]} read position" if at < len(ORDINALS) else f"read position {at + 1}")
    if one.factor is not None:
        parts.append(f"factor {one.factor.replace('_', ' ')}")
    if one.split is not None and (isinstance(one, Gain) or one.probe is not None):
        parts.append(f"inputs of {one.split.replace('_', ' ')}")
    return f" ({', '.join(parts)})" if parts else ""


ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
PLACED = ", or where the name of a gain says"  # added to where latents are read
MEASURES = {
    "exact": "accuracy",
    "token_accuracy": "token accuracy",
    "logprob": "log-probability",
    "probe_accuracy": "probe accuracy",
    "probe_selectivity": "probe selectivity",
    "v_information": "V-information",
}


def knob(name: str, study: Study | None = None) -> str:
    """A knob in words: 'weight decay rate'; of a task's own knob, with its study, 'Zipf exponent in training on …'."""
    if study and name in study.own_knobs:
        about, label = study.own_knobs[name].about, name.split(".")[1]
        use = next((one for one in study.tasks if one.label == label), None)
        return about if use is None else about.replace(title(use.task), task(study, label))
    match name.split("."):
        case ["task", label, field]:
            return f"{field.replace('_', ' ')} in training on {label}"
        case ["mixture", label]:
            return f"share of {label} in a batch"
    return KNOBS.get(name, name.replace("_", " ").replace(".", " "))


def knob_about(study: Study) -> str:
    """What the claim's knob is, with its source."""
    claimed = study.knobs[study.claim.knob]
    about = knob(claimed.name, study) if claimed.name in study.own_knobs else claimed.about
    return f"{about} ({claimed.source})"


def alike(study: Study) -> str:
    """Which cells see the same inputs."""
    return "one seed and task" if study.task_sizes else "a seed"


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


# What a diagnosis measured, in words; changes are means over seeds, harmed setting less neutral.
EVIDENCE = {
    "change": "change by token",
    "logprob": "change of log-probability",
    "v_information": "change of V-information",
    "information": "change of V-information",
    "fisher_trace": "change of the Fisher trace",
    "probe_accuracy": "change of probe accuracy",
    "probe": "change of probe accuracy",
    "rank": "change of the number of directions",
    "image_r2": "R² of a linear map",
    "room": "room above neutral",
    "rise": "rise",
    "neutral_rise": "rise of neutral",
    "cued": "change with a helpful cue",
    "uncued": "change with a useless cue",
    "head": "change of the common ones",
    "tail": "change of the rare ones",
    "answer_tokens": "tokens of an answer",
    "p_stays": "p of staying within the margin",
    "p_falls": "p of falling below it",
    "p_rises": "p of rising",
    "p_rests": "p of being at rest",
    "p_gain": "p of the gain",
    "p_image": "p of a linear map",
    "p_no_image": "p of none",
    "p_information_stays": "p of V-information staying",
}


def evidence(found: Mapping[str, float]) -> str:
    """The numbers behind a diagnosis in words; a dash where there are none."""
    return "; ".join(f"{EVIDENCE.get(key, key.replace('_', ' '))} {value:.3g}" for key, value in found.items()) or "—"
