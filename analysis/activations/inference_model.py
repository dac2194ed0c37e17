"""What is part of a checkpoint's models next to their parameters, and the text that its readings are kept under."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from lab.mechanisms import knobs as registry
from lab.mechanisms.base import Knobs
from lab.nn import model
from lab.storage import Saved
from lab.study.spec import Study
from lab.training.active_mechanisms import ActiveMechanisms

# The last fields of a `ModelSpec` and an `InferenceModel` that older versions did not have, where they do nothing.
LATER = (", canon=0", ", learned=-1")


class InferenceModel(NamedTuple):
    """What is part of the models of a checkpoint next to their parameters.

    Attributes:
      spec: the model's sizes.
      names: the mechanisms that act at inference or have readings, and do something in at least one of the cells.
      static: (knob, value) of their static knobs, and of the static fields of tasks that cells differ in.
      values: their traced knobs in each cell, as (cell's row, knob, value); none where there are no such mechanisms.
      learned: the stage whose tasks they learned last, where the last stage that trains has others; else -1.
    """

    spec: model.ModelSpec
    names: tuple[str, ...] = ()
    static: tuple[tuple[str, Any], ...] = ()
    values: tuple[tuple[int, str, Any], ...] = ()
    learned: int = -1


def model_of(
    study: Study, saved: Saved, knobs: Mapping[str, Mapping[str, Any]], also: Collection[str] = ()
) -> InferenceModel:
    """What is part of the models of a checkpoint, from its cells' knobs (node key -> knobs).

    Args:
      study, saved, knobs: of the checkpoint.
      also: mechanisms that belong to it even where they do nothing.
    """
    settings = [knobs[key] for key in saved.meta["cells"]]
    in_use = study.mechanisms(settings)
    acting = [n for n in in_use if registry.EVERY[n].active_at_inference or registry.EVERY[n].reads]
    names = tuple(n for n in registry.EVERY if n in acting or n in also)
    values = [
        (row, knob, value)
        for row, each in enumerate(settings)
        for knob, value in study.active(each).items()
        if knob.split(".")[0] in names and study.knobs[knob].traced
    ]
    fixed = [k.name for n in names for k in registry.EVERY[n].knobs if not k.traced]
    static = tuple((name, settings[0][name]) for name in (*fixed, *study.task_sizes))
    at_test = study.stages[-1].name == saved.meta["stage"]
    spec = study.spec_of(settings[0], at_test)
    return InferenceModel(spec, names, static, tuple(values), _learned(study, saved.meta["stage"]))


def study_of(study: Study, inference: InferenceModel) -> Study:
    """The study of the cells that such a model is part of, with their own tasks, see `Study.at`."""
    return study.at(dict(inference.static))


def _learned(study: Study, name: str) -> int:
    """See `InferenceModel`; of a checkpoint of the stage of this name."""
    at = [stage.name for stage in study.stages].index(name)
    trains = [index for index, count in enumerate(study.examples) if count]
    stage, mixtures = max((i for i in trains if i <= at), default=trains[0]), [use.examples for use in study.tasks]
    return -1 if all(counts[stage] == counts[trains[-1]] for counts in mixtures) else stage


def kept_under(models: Any) -> str:
    """The text that readings are kept under: as before where what is newer does nothing, so that older are found."""
    text = repr(models).replace("InferenceModel(", "Staying(")
    for later in LATER:
        text = text.replace(f"{later})", ")")
    return text


def active_in(inference: InferenceModel, knobs: Knobs | None, trained: Any) -> ActiveMechanisms:
    """The mechanisms of a cell that is read after `trained` steps."""
    return ActiveMechanisms.reading(inference.names, {**(knobs or {}), **dict(inference.static)}, trained)
